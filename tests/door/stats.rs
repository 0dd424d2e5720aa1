//! NodeGetVolumeStats: never LVM, never another volume's turn.

use std::thread;

use rstest::rstest;
use tarn::csi::proto::volume_usage::Unit;
use tonic::Code;

use crate::{
    ground::{Ground, code},
    requests::*,
};

const NOBODY: &str = "v-aaaaaaaaaaaaaaaaaaaaaaaaaa";

#[rstest]
#[case::no_id("", "/x", Code::InvalidArgument)]
#[case::no_path(NOBODY, "", Code::InvalidArgument)]
#[case::unknown(NOBODY, "/x", Code::NotFound)]
#[case::malformed_id("/", "/x", Code::NotFound)]
fn what_is_refused(#[case] id: &str, #[case] at: &str, #[case] want: Code) {
    assert_eq!(code(Ground::thick().stats(id, at)), want);
}

#[test]
fn bytes_and_inodes_where_it_is_mounted() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let (at, target) = (ground.path("staging"), ground.path("target"));
    ground.stage(staging(&id, &at)).unwrap();
    ground.publish(publishing(&id, &at, &target)).unwrap();
    let reports = ground.lvm.count("report");
    let commands = ground.commands(|| {
        for path in [&at, &target] {
            let usage = ground.stats(&id, path).unwrap();
            let units: Vec<i32> = usage.iter().map(|it| it.unit).collect();
            assert_eq!(units, [i32::from(Unit::Bytes), i32::from(Unit::Inodes)]);
            assert!(usage.iter().all(|it| it.total >= it.used + it.available && it.total > 0));
        }
    });
    assert!(commands.is_empty() && ground.lvm.count("report") == reports, "{commands:?}");
}

#[test]
fn the_size_of_a_block_volume() {
    let ground = Ground::thick();
    let id = ground.made(block_volume("a"));
    let target = ground.path("target");
    ground.stage(block_staging(&id, &ground.path("staging"))).unwrap();
    ground.publish(block_publishing(&id, &ground.path("staging"), &target)).unwrap();
    let usage = ground.stats(&id, &target).unwrap();
    assert_eq!((usage.len(), usage[0].total), (1, 64 * MIB));
    assert_eq!(usage[0].unit, i32::from(Unit::Bytes));
}

#[test]
fn any_other_path_is_not_found() {
    let ground = Ground::thick();
    let (a, b) = (ground.made(volume("a")), ground.made(volume("b")));
    let at = ground.path("staging");
    ground.stage(staging(&a, &at)).unwrap();
    std::fs::create_dir(ground.path("empty")).unwrap();
    let empty = ground.path("empty");
    for path in ["some/path", "/", "/not/there", "../staging", &empty, &format!("{at}/inside")] {
        assert_eq!(code(ground.stats(&a, path)), Code::NotFound, "{path}");
    }
    assert_eq!(code(ground.stats(&b, &at)), Code::NotFound);
}

#[test]
fn nobody_waits_for_the_mkfs_of_another_volume() {
    let ground = Ground::thick();
    let (a, b) = (ground.made(volume("a")), ground.made(volume("b")));
    let at = ground.path("a");
    ground.stage(staging(&a, &at)).unwrap();
    thread::scope(|scope| {
        let gate = ground.fs.gate_make();
        let making = scope.spawn(|| ground.stage(staging(&b, &ground.path("b"))));
        gate.reached();
        ground.stats(&a, &at).unwrap();
        ground.publish(publishing(&a, &at, &ground.path("target"))).unwrap();
        ground.made(volume("c"));
        ground.snapshot("s", &a).unwrap();
        drop(gate);
        making.join().unwrap().unwrap();
    });
}

#[test]
fn stats_need_no_turn() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    thread::scope(|scope| {
        let gate = ground.lvm.gate("extend");
        let growing = scope.spawn(|| ground.expand(expansion(&id, 128 * MIB)));
        gate.wait_until_reached();
        ground.stats(&id, &at).unwrap();
        gate.release();
        growing.join().unwrap().unwrap();
    });
}
