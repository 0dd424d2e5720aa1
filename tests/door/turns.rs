//! One call for each volume at a time, and work that goes on without its caller; how often LVM is
//! asked.

use std::{
    thread,
    time::{Duration, Instant},
};

use rstest::rstest;
use tonic::Code;

use crate::{
    ground::{Ground, code},
    requests::*,
};

#[test]
fn a_second_create_of_the_name_is_told_to_wait() {
    let ground = Ground::thick();
    thread::scope(|scope| {
        let gate = ground.lvm.gate("create_volume");
        let first = scope.spawn(|| ground.create(volume("a")));
        gate.wait_until_reached();
        let began = Instant::now();
        assert_eq!(code(ground.create(volume("a"))), Code::Aborted);
        assert_eq!(code(ground.create(sized("a", GIB))), Code::Aborted);
        assert!(began.elapsed() < Duration::from_secs(5), "told at once, not queued");
        gate.release();
        first.join().unwrap().unwrap();
    });
    assert_eq!(ground.lvs().len(), 1);
}

#[test]
fn every_call_on_a_busy_volume_is_told_to_wait() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let path = ground.path("staging");
    thread::scope(|scope| {
        let gate = ground.lvm.gate("extend");
        let first = scope.spawn(|| ground.expand(expansion(&id, 128 * MIB)));
        gate.wait_until_reached();
        let answers = [
            code(ground.create(volume("a"))),
            code(ground.delete(&id)),
            code(ground.expand(expansion(&id, 128 * MIB))),
            code(ground.snapshot("s", &id)),
            code(ground.stage(staging(&id, &path))),
            code(ground.unstage(&id, &path)),
            code(ground.publish(publishing(&id, &path, &path))),
            code(ground.unpublish(&id, &path)),
            code(ground.node_expand(node_expansion(&id, &path, 0))),
        ];
        assert_eq!(answers, [Code::Aborted; 9]);
        ground.list(Default::default()).unwrap();
        ground.capacity(Default::default()).unwrap();
        gate.release();
        first.join().unwrap().unwrap();
    });
    ground.stage(staging(&id, &path)).unwrap();
}

#[test]
fn a_second_snapshot_of_the_name_is_told_to_wait() {
    let ground = Ground::thin();
    let (a, b) = (ground.made(volume("a")), ground.made(volume("b")));
    thread::scope(|scope| {
        let gate = ground.lvm.gate("create_snapshot");
        let first = scope.spawn(|| ground.snapshot("s", &a));
        gate.wait_until_reached();
        assert_eq!(code(ground.snapshot("s", &b)), Code::Aborted);
        assert_eq!(code(ground.snapshot("t", &a)), Code::Aborted);
        assert_eq!(code(ground.delete(&a)), Code::Aborted);
        gate.release();
        first.join().unwrap().unwrap();
    });
}

#[test]
fn a_source_that_is_being_deleted_is_not_copied() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    thread::scope(|scope| {
        let gate = ground.lvm.gate("rename");
        let deleting = scope.spawn(|| ground.delete(&id));
        gate.wait_until_reached();
        let copying = scope.spawn(|| ground.create(copy("b", &id)));
        thread::sleep(Duration::from_millis(50));
        gate.release();
        deleting.join().unwrap().unwrap();
        let answer = code(copying.join().unwrap());
        assert!(matches!(answer, Code::Aborted | Code::NotFound | Code::FailedPrecondition));
    });
    drop(ground.create(copy("b", &id)));
    ground.settle();
    assert!(ground.lvs().is_empty(), "{:?}", ground.lvs());
}

#[test]
fn work_goes_on_when_the_caller_hangs_up() {
    let ground = Ground::thick();
    let gate = ground.lvm.gate("create_volume");
    ground.hang_up(ground.controller().create_volume(volume("a")));
    assert_eq!(code(ground.create(volume("a"))), Code::Aborted);
    gate.release();
    let made = loop {
        match ground.create(volume("a")) {
            Ok(made) => break made,
            Err(status) => assert_eq!(status.code(), Code::Aborted),
        }
    };
    assert_eq!(ground.lvs(), [made.volume_id]);
    assert_eq!(ground.lvm.count("create_volume"), 1);
}

#[test]
fn a_caller_who_hangs_up_during_mkfs_finds_the_volume_staged() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    let gate = ground.fs.gate_make();
    ground.hang_up(ground.node().node_stage_volume(staging(&id, &at)));
    assert_eq!(code(ground.stage(staging(&id, &at))), Code::Aborted);
    assert_eq!(code(ground.delete(&id)), Code::Aborted);
    drop(gate);
    while let Err(status) = ground.stage(staging(&id, &at)) {
        assert_eq!(status.code(), Code::Aborted);
    }
    assert_eq!((ground.mounts().len(), ground.fs.made()), (1, 1));
}

#[test]
fn many_at_once_all_get_their_own() {
    let ground = Ground::thick();
    let free = ground.free();
    thread::scope(|scope| {
        let made: Vec<_> = (0..16)
            .map(|at| {
                let ground = &ground;
                scope.spawn(move || ground.made(volume(&format!("pvc-{at}"))))
            })
            .collect();
        let ids: Vec<String> = made.into_iter().map(|it| it.join().unwrap()).collect();
        assert_eq!(ground.lvs().len(), 16);
        for id in ids {
            let ground = &ground;
            scope.spawn(move || ground.delete(&id).unwrap());
        }
    });
    ground.settle();
    assert_eq!((ground.free(), ground.lvs().len()), (free, 0));
}

#[rstest]
#[case::thick(Ground::thick(), &["rename", "remove"])]
#[case::thin(Ground::thin(), &["remove"])]
fn how_many_commands_each_call_takes(#[case] ground: Ground, #[case] deletion: &[&str]) {
    let path = ground.path("staging");
    let mut id = String::new();
    let created = ground.commands(|| id = ground.made(volume("a")));
    assert_eq!(created, ["create_volume"]);
    let reports = ground.lvm.count("report");
    let quiet = ground.commands(|| {
        ground.made(volume("a"));
        ground.stage(staging(&id, &path)).unwrap();
        ground.publish(publishing(&id, &path, &ground.path("target"))).unwrap();
        ground.stats(&id, &path).unwrap();
        ground.capacity(Default::default()).unwrap();
        ground.list(Default::default()).unwrap();
        ground.list_snapshots(Default::default()).unwrap();
        ground.unpublish(&id, &ground.path("target")).unwrap();
        ground.unstage(&id, &path).unwrap();
    });
    assert!(quiet.is_empty() && ground.lvm.count("report") == reports, "{quiet:?}");
    assert_eq!(ground.commands(|| ground.settle()), ["change_tags"], "staged once");
    let grown = ground.commands(|| {
        ground.expand(expansion(&id, 128 * MIB)).unwrap();
    });
    assert_eq!(grown, ["extend"]);
    let deleted = ground.commands(|| {
        ground.delete(&id).unwrap();
        ground.settle();
    });
    assert_eq!(deleted, deletion);
}

#[test]
fn a_burst_of_changes_shares_one_report() {
    let ground = Ground::thin();
    ground.start_background();
    let before = ground.lvm.count("report");
    for at in 0..20 {
        ground.made(volume(&format!("pvc-{at}")));
    }
    assert_eq!(ground.lvm.count("report"), before, "the callers wait for none");
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(ground.lvm.count("report"), before + 1);
}
