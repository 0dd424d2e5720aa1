//! What a killed driver or a power cut leaves, and what the next start makes of it.

use rstest::rstest;
use tarn::{lvm::fake::FailAt, volume::VolumeId};

use crate::{ground::Ground, requests::*};

/// LVM enters a thin snapshot in the group first and makes it in the pool then.
#[test]
fn a_snapshot_that_its_pool_never_knew_is_taken_anew() {
    let mut ground = Ground::thin();
    let a = ground.made(volume("a"));
    let older = ground.snapshot("older", &a).unwrap().snapshot_id;
    let lost = ground.snapshot("lost", &a).unwrap().snapshot_id;
    ground.lvm.lose_in_pool("vg0", &lost);
    ground.reboot();
    assert_eq!(ground.lvs(), [older.clone(), a.clone()]);
    assert_eq!(ground.snapshot("lost", &a).unwrap().snapshot_id, lost);
    assert!(ground.lvm.is_skipped("vg0", &lost));
}

#[test]
fn the_youngest_snapshot_is_looked_at_and_sleeps_on() {
    let mut ground = Ground::thin();
    let a = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &a).unwrap().snapshot_id;
    ground.reboot();
    assert!(!ground.lv(&snapshot).active);
    assert_eq!(ground.lvm.count("deactivate"), 1);
    ground.create(copy("b", &snapshot)).unwrap();
}

#[test]
fn a_volume_without_a_device_node_gets_one() {
    let mut ground = Ground::thick();
    let (a, _) = (ground.made(volume("a")), ground.made(volume("b")));
    ground.devices.hide(ground.device(&a));
    ground.start();
    assert_eq!(ground.lvm.count("refresh"), 1);
}

/// What was prepared must not come into force, whatever is resumed.
#[test]
fn what_an_interrupted_command_has_prepared_is_dropped_before_anything_else() {
    let mut ground = Ground::thick();
    let a = ground.made(volume("a"));
    ground.lvm.prepare("vg0", &a);
    ground.lvm.suspend("vg0", &a);
    ground.start();
    assert!(!ground.lv(&a).suspended && ground.lvm.is_led_well("vg0", &a));
}

/// A volume that was never staged was not acknowledged either, also when it has its source's
/// content.
#[rstest]
#[case::new(None)]
#[case::copy(Some("a"))]
fn a_volume_that_its_pool_never_knew_is_made_anew(#[case] source: Option<&str>) {
    let mut ground = Ground::thin();
    let a = ground.made(volume("a"));
    let wanted = match source {
        Some(_) => copy("b", &a),
        None => volume("b"),
    };
    let lost = ground.made(wanted.clone());
    ground.lvm.lose_in_pool("vg0", &lost);
    ground.reboot();
    assert_eq!(ground.lvs(), [a]);
    assert_eq!(ground.made(wanted), lost);
    assert!(ground.lv(&lost).active);
}

/// LVM was killed after it had activated the volume, and before it made its node.
#[test]
fn a_volume_whose_making_was_cut_short_at_the_last_gets_its_node() {
    let ground = Ground::thick();
    let id = VolumeId::of(&"a".parse().unwrap());
    ground.devices.hide(ground.device(id.as_str()));
    ground.lvm.fail_once("create_volume", FailAt::After);
    assert_eq!(ground.made(volume("a")), id.as_str());
    assert_eq!(ground.lvm.count("refresh"), 1);
}

#[test]
fn a_copy_that_failed_does_not_leave_its_source_suspended() {
    let ground = Ground::thin();
    let a = ground.made(volume("a"));
    ground.lvm.suspend("vg0", &a);
    ground.lvm.fail_once("create_snapshot", FailAt::Before);
    ground.create(copy("b", &a)).unwrap_err();
    assert!(!ground.lv(&a).suspended);
}
