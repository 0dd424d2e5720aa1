//! File systems on thin volumes give back what they do not use: whose, when, and beside calls.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, thread};

use rstest::rstest;
use serde_json::{Value, json};
use tarn::{
    csi::proto::{CreateVolumeRequest, NodeUnstageVolumeRequest},
    fs::{Access, Filesystems, Stretch, fake::Call},
    pool::Trimmed,
    units::Bytes,
};
use tonic::Code;

use crate::{
    ground::{Ground, code},
    requests::*,
};

const DAY: i64 = 24 * 60 * 60;
const WEEK: i64 = 7 * DAY;
/// A Thursday.
const NOW: i64 = 20_000 * DAY;

/// One pool of thin volumes, whose thin pool's entry has this, too.
fn ground(more: &Value) -> Ground {
    let mut thin = json!({"size": "2Gi", "overprovision": 10_000});
    thin.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let pool = json!({"volumeGroup": "vg0", "provisioning": "ThickAndThin", "thinPool": thin});
    Ground::with(vec![("disks", pool)])
}

fn thin(wanted: CreateVolumeRequest) -> CreateVolumeRequest {
    CreateVolumeRequest { parameters: map(&[("provisioning", "Thin")]), ..wanted }
}

/// A thin volume of so many GiB that is staged, as ext4.
fn staged(ground: &Ground, name: &str, gib: i64) -> String {
    let id = ground.made(thin(sized(name, gib << 30)));
    ground.stage(staging(&id, &ground.path(name))).unwrap();
    id
}

/// What was trimmed: where, and from which GiB on.
fn trims(ground: &Ground) -> Vec<(String, u64)> {
    let told =
        |(at, stretch): (PathBuf, Stretch)| (at.to_str().unwrap().to_owned(), stretch.from.0 >> 30);
    ground.fs.trims().into_iter().map(told).collect()
}

fn trimmed(ground: &Ground) -> Trimmed {
    ground.host().status().pools[0].trimmed
}

#[rstest]
#[case::nothing_said(json!({}), WEEK, 1)]
#[case::too_early(json!({}), 0, 0)]
#[case::daily(json!({"trim": "Daily"}), DAY, 1)]
#[case::often(json!({"trim": "1m"}), 60, 1)]
#[case::never(json!({"trim": "Off"}), 1000 * DAY, 0)]
fn a_moment_comes_in_each_period(#[case] more: Value, #[case] passed: i64, #[case] want: usize) {
    let ground = ground(&more);
    staged(&ground, "a", 1);
    assert_eq!(ground.host().groups().due_between(NOW, NOW + passed).len(), want);
}

#[test]
fn only_file_systems_on_thin_volumes_that_are_mounted_for_writing_are_trimmed() {
    let ground = ground(&json!({}));
    staged(&ground, "used", 1);
    ground.made(thin(sized("unused", 1 << 30)));
    let block = ground.made(thin(block_volume("block")));
    ground.stage(block_staging(&block, &ground.path("block"))).unwrap();
    let thick = ground.made(volume("thick"));
    ground.stage(staging(&thick, &ground.path("thick"))).unwrap();
    let reader = ground.made(thin(sized("reader", 1 << 30)));
    let mut request = staging(&reader, &ground.path("reader"));
    request.volume_capability = Some(flagged("ext4", &["ro"]));
    ground.stage(request).unwrap();

    assert_eq!(ground.trim(NOW, NOW + WEEK), BTreeSet::new());
    assert_eq!(trims(&ground), [(ground.path("used"), 0)]);
    assert_eq!(trimmed(&ground), Trimmed { succeeded: 1, failed: 0 });
}

#[test]
fn what_is_published_is_trimmed_once_and_piece_by_piece() {
    let ground = ground(&json!({}));
    let id = staged(&ground, "a", 20);
    ground.publish(publishing(&id, &ground.path("a"), &ground.path("pod"))).unwrap();
    ground.trim(NOW, NOW + WEEK);
    assert_eq!(trims(&ground), [0, 8, 16].map(|from| (ground.path("a"), from)));
    let lengths: Vec<_> = ground.fs.trims().iter().map(|(_, it)| it.length).collect();
    assert_eq!(lengths, [Some(Bytes::gib(8)), Some(Bytes::gib(8)), None]);
}

#[rstest]
#[case::ext4_in_pieces("ext4", true)]
#[case::xfs_as_a_whole("xfs", false)]
fn a_call_waits_for_the_piece_or_comes_again(#[case] kind: &str, #[case] waits: bool) {
    let ground = ground(&json!({}));
    let wanted = thin(sized("a", 1 << 30));
    let id = ground.made(CreateVolumeRequest { volume_capabilities: vec![mount(kind)], ..wanted });
    let at = ground.path("a");
    let mut request = staging(&id, &at);
    request.volume_capability = Some(mount(kind));
    ground.stage(request).unwrap();
    let (host, turns) = (Arc::clone(ground.host()), ground.turns().clone());
    let gate = ground.fs.gate_trim();
    let due = ground.host().groups().due_between(NOW, NOW + WEEK);
    let trimming = thread::spawn(move || host.groups().trim(&turns, due));
    gate.reached();
    let answer = match waits {
        true => {
            let mut node = ground.node();
            let request = NodeUnstageVolumeRequest { volume_id: id, staging_target_path: at };
            let call = ground.runtime.spawn(async move { node.node_unstage_volume(request).await });
            drop(gate);
            ground.runtime.block_on(call).unwrap().map(drop)
        }
        false => ground.unstage(&id, &at),
    };
    assert_eq!(code(answer), if waits { Code::Ok } else { Code::Aborted });
    drop(trimming);
}

#[test]
fn what_a_mount_of_somebody_else_covers_is_left_alone() {
    let ground = ground(&json!({}));
    staged(&ground, "a", 1);
    let thick = ground.made(volume("thick"));
    ground.stage(staging(&thick, &ground.path("thick"))).unwrap();
    let path = |name| PathBuf::from(ground.path(name));
    ground.fs.bind(&path("thick"), &path("a"), Access::ReadWrite).unwrap();
    ground.trim(NOW, NOW + WEEK);
    assert_eq!(trims(&ground), []);
}

#[test]
fn what_a_call_has_in_hand_is_tried_again() {
    let ground = ground(&json!({}));
    let id = staged(&ground, "a", 1);
    let turn = ground.turns().take(&id).unwrap();
    let left = ground.trim(NOW, NOW + WEEK);
    assert_eq!((left.len(), trims(&ground).len()), (1, 0));
    drop(turn);
    assert_eq!(ground.host().groups().trim(ground.turns(), left), BTreeSet::new());
    assert_eq!(trims(&ground).len(), 1);
}

#[test]
fn a_failure_is_counted_and_keeps_no_other_from_being_trimmed() {
    let ground = ground(&json!({}));
    staged(&ground, "a", 1);
    staged(&ground, "b", 1);
    ground.fs.fail_once(Call::Trim);
    assert_eq!(ground.trim(NOW, NOW + WEEK), BTreeSet::new());
    assert_eq!(trimmed(&ground), Trimmed { succeeded: 1, failed: 1 });
    ground.trim(NOW + WEEK, NOW + 2 * WEEK);
    assert_eq!(trimmed(&ground), Trimmed { succeeded: 3, failed: 1 });
}

#[test]
fn nothing_is_trimmed_once_the_driver_stops() {
    let ground = ground(&json!({}));
    staged(&ground, "a", 1);
    ground.host().stop();
    ground.trim(NOW, NOW + WEEK);
    assert_eq!(trims(&ground), []);
}
