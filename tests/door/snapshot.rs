//! CreateSnapshot and DeleteSnapshot, thin and thick.

use rstest::rstest;
use tarn::{
    csi::proto::CreateSnapshotRequest,
    lvm::{Kind, fake::FailAt},
};
use tonic::Code;

use crate::{
    ground::{Ground, code},
    requests::*,
};

#[rstest]
#[case::no_name("", "v-aaaaaaaaaaaaaaaaaaaaaaaaaa", Code::InvalidArgument)]
#[case::no_source("s", "", Code::InvalidArgument)]
#[case::unknown_source("s", "v-aaaaaaaaaaaaaaaaaaaaaaaaaa", Code::NotFound)]
#[case::source_of_another_driver("s", "../vg/lv", Code::NotFound)]
#[case::snapshot_as_source("s", "s-aaaaaaaaaaaaaaaaaaaaaaaaaa", Code::NotFound)]
fn what_is_refused(#[case] name: &str, #[case] source: &str, #[case] want: Code) {
    assert_eq!(code(Ground::thin().snapshot(name, source)), want);
}

#[test]
fn unknown_parameters_are_no_silent_default() {
    let ground = Ground::thin();
    let id = ground.made(volume("a"));
    let request = |pairs: &[(&str, &str)]| CreateSnapshotRequest {
        name: "s".into(),
        source_volume_id: id.clone(),
        parameters: map(pairs),
        ..Default::default()
    };
    assert_eq!(code(ground.snapshot_answer(request(&[("type", "x")]))), Code::InvalidArgument);
    ground.snapshot_answer(request(&[("csi.storage.k8s.io/volumesnapshot/name", "x")])).unwrap();
}

#[rstest]
#[case::thick(Ground::thick())]
#[case::thin(Ground::thin())]
fn the_same_wish_finds_the_same_snapshot(#[case] ground: Ground) {
    let (a, b) = (ground.made(volume("a")), ground.made(volume("b")));
    let commands = ground.commands(|| drop(ground.snapshot("s", &a).unwrap()));
    assert_eq!(commands, ["create_snapshot"]);
    let first = ground.snapshot("s", &a).unwrap();
    assert!(first.ready_to_use && first.size_bytes == 64 * MIB);
    assert!(first.creation_time.is_some_and(|it| it.seconds > 1_700_000_000));
    assert_eq!(first.source_volume_id, a);
    assert_eq!(ground.snapshot("s", &a).unwrap(), first, "creation time included");
    assert_eq!(code(ground.snapshot("s", &b)), Code::AlreadyExists);
}

#[test]
fn a_name_of_128_bytes() {
    let ground = Ground::thin();
    let id = ground.made(volume("a"));
    ground.snapshot(&"ß".repeat(64), &id).unwrap();
    assert_eq!(code(ground.snapshot(&"s".repeat(129), &id)), Code::InvalidArgument);
}

#[test]
fn a_thin_snapshot_is_asleep() {
    let ground = Ground::thin();
    let id = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    assert!(ground.lvm.is_skipped("vg0", &snapshot) && !ground.lv(&snapshot).active);
}

#[test]
fn a_thick_snapshot_has_room_for_every_block_and_a_full_pool_has_none() {
    let ground = Ground::thick();
    let id = ground.made(sized("a", 3 * GIB));
    ground.snapshot("s1", &id).unwrap();
    let free = ground.free();
    assert_eq!(code(ground.snapshot("s2", &id)), Code::ResourceExhausted);
    assert_eq!(ground.free(), free);
}

#[test]
fn a_full_thin_pool_takes_no_snapshots() {
    let ground = Ground::thin();
    let id = ground.made(volume("a"));
    ground.lvm.fill_pool("vg0", "tarn-thin", 100.0, 10.0);
    assert_eq!(code(ground.snapshot("s", &id)), Code::ResourceExhausted);
}

#[test]
fn a_volume_in_use_is_snapshot() {
    for ground in [Ground::thick(), Ground::thin()] {
        let id = ground.made(volume("a"));
        ground.stage(staging(&id, &ground.path("staging"))).unwrap();
        ground.snapshot("s", &id).unwrap();
    }
}

#[rstest]
#[case::empty("", Code::InvalidArgument)]
#[case::unknown("s-aaaaaaaaaaaaaaaaaaaaaaaaaa", Code::Ok)]
#[case::malformed("../../s", Code::Ok)]
fn what_is_deleted(#[case] id: &str, #[case] want: Code) {
    assert_eq!(code(Ground::thin().delete_snapshot(id)), want);
}

#[rstest]
#[case::thick(Ground::thick())]
#[case::thin(Ground::thin())]
fn everything_is_given_back(#[case] ground: Ground) {
    let free = ground.free();
    let id = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    ground.delete_snapshot(&snapshot).unwrap();
    ground.delete_snapshot(&snapshot).unwrap();
    ground.delete(&id).unwrap();
    ground.settle();
    assert_eq!((ground.free(), ground.lvs().len()), (free, 0));
}

#[test]
fn a_deleted_thick_snapshot_frees_its_volume_at_once() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    assert_eq!(ground.lv(&snapshot).kind, Kind::CopyOnWrite);
    let deleted = ground.commands(|| ground.delete_snapshot(&snapshot).unwrap());
    assert_eq!(deleted, ["split_snapshot"]);
    ground.delete_snapshot(&snapshot).unwrap();
    assert!(ground.list_snapshots(Default::default()).unwrap().entries.is_empty());
    assert_eq!(code(ground.create(copy("b", &snapshot))), Code::NotFound);
    ground.expand(expansion(&id, 128 * MIB)).unwrap();
    assert_eq!(ground.lvs().len(), 2, "its blocks wait to be wiped");
    let emptied = ground.commands(|| assert!(ground.host().groups().empty_trash_now()));
    assert_eq!(emptied, ["remove"]);
    assert_eq!(ground.lvs(), [id]);
}

#[test]
fn a_snapshot_keeps_its_name_until_it_is_wiped() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    ground.delete_snapshot(&snapshot).unwrap();
    ground.devices.fail_once(tarn::device::fake::Call::Wipe);
    assert!(!ground.host().groups().empty_trash_now());
    assert_eq!(code(ground.snapshot("s", &id)), Code::Aborted);
    assert!(ground.host().groups().empty_trash_now());
    ground.snapshot("s", &id).unwrap();
    assert!(ground.host().groups().empty_trash_now());
    ground.delete_snapshot(&snapshot).unwrap();
    assert_eq!(ground.lvs().len(), 2, "the new one was left alone, then deleted as the first");
}

/// A kill in the middle of `lvcreate --snapshot` leaves its room as a plain volume in the group, and
/// the half-made snapshot as that one's device.
#[test]
fn what_a_cut_short_snapshot_leaves_is_wiped() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    ground.delete_snapshot(&snapshot).unwrap();
    let path = ground.device(&snapshot);
    ground.devices.set_size(&path, tarn::units::Bytes::mib(64));
    ground.devices.fail_once(tarn::device::fake::Call::Wipe);
    let emptied = ground.commands(|| assert!(!ground.host().groups().empty_trash_now()));
    assert_eq!(emptied, ["deactivate", "activate"]);
    ground.devices.remove_device(&path);
    let emptied = ground.commands(|| assert!(ground.host().groups().empty_trash_now()));
    assert_eq!(emptied, ["remove"]);
}

#[rstest]
#[case::thick_before(Ground::thick(), FailAt::Before)]
#[case::thick_after(Ground::thick(), FailAt::After)]
#[case::thin_before(Ground::thin(), FailAt::Before)]
#[case::thin_after(Ground::thin(), FailAt::After)]
fn a_failed_command_is_made_good(#[case] ground: Ground, #[case] at: FailAt) {
    let free = ground.free();
    let id = ground.made(volume("a"));
    ground.lvm.fail_once("create_snapshot", at);
    let first = ground.snapshot("s", &id);
    assert_eq!(first.is_ok(), at == FailAt::After, "{first:?}");
    let taken = ground.snapshot("s", &id).unwrap();
    if let Ok(first) = first {
        assert_eq!(first, taken);
    }
    ground.delete_snapshot(&taken.snapshot_id).unwrap();
    ground.delete(&id).unwrap();
    ground.settle();
    assert_eq!((ground.free(), ground.lvs().len()), (free, 0));
}

#[rstest]
#[case::split_before("split_snapshot", FailAt::Before)]
#[case::split_after("split_snapshot", FailAt::After)]
#[case::remove_before("remove", FailAt::Before)]
#[case::remove_after("remove", FailAt::After)]
fn a_failed_deletion_is_made_good(#[case] verb: &'static str, #[case] at: FailAt) {
    let ground = Ground::thick();
    let free = ground.free();
    let id = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    ground.lvm.fail_once(verb, at);
    drop(ground.delete_snapshot(&snapshot));
    ground.delete_snapshot(&snapshot).unwrap();
    assert_eq!(code(ground.snapshot("s", &id)), Code::Aborted, "the first is still there");
    ground.settle();
    ground.settle();
    assert_eq!(ground.snapshot("s", &id).unwrap().snapshot_id, snapshot);
    ground.delete_snapshot(&snapshot).unwrap();
    ground.delete(&id).unwrap();
    ground.settle();
    assert_eq!((ground.free(), ground.lvs().len()), (free, 0));
}

#[test]
fn a_snapshot_that_left_its_volume_hanging_lets_it_go() {
    let ground = Ground::thin();
    let id = ground.made(volume("a"));
    ground.lvm.suspend("vg0", &id);
    ground.lvm.fail_once("create_snapshot", FailAt::After);
    ground.snapshot("s", &id).unwrap();
    assert!(!ground.lv(&id).suspended);
}

#[rstest]
#[case::before(FailAt::Before)]
#[case::after(FailAt::After)]
fn a_snapshot_s_removal_that_left_its_volume_hanging_lets_it_go(#[case] at: FailAt) {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    ground.lvm.suspend("vg0", &id);
    ground.lvm.fail_once("split_snapshot", at);
    drop(ground.delete_snapshot(&snapshot));
    ground.settle();
    assert!(!ground.lv(&id).suspended);
}
