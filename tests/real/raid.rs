//! RAID volumes on real disks: they bear the loss of what they say, grow, and leave nothing.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rstest::rstest;
use tonic::Code;

use crate::support::{
    Scene, Volume, Wish,
    content::{forget_cached, holds, put, stands_in},
    machine::{attempt, run, wait_until},
    mib, refused,
};

const NUMBER: usize = 6;

type Class = &'static [(&'static str, &'static str)];

fn scene(wipe: &str) -> Scene {
    Scene::new(&[120; NUMBER], wipe)
}

fn wish(name: &str, kind: &str, size: u64, class: Class) -> Wish {
    class.iter().fold(Wish::new(name, kind, size), |wish, (key, value)| wish.with(key, value))
}

/// The name of a volume's layer in device-mapper, where hyphens are doubled.
fn mapped(scene: &Scene, layer: &str) -> String {
    format!("{}-{}", scene.ground.vg.replace('-', "--"), layer.replace('-', "--"))
}

/// Waits until every leg has what it is to have: before that none may be lost.
pub(crate) fn wait_for_sync(scene: &Scene, raid: &str) {
    let name = format!("{}/{raid}", scene.ground.vg);
    wait_until("the legs are the same", || {
        run("lvs", &["--noheadings", "-o", "copy_percent", &name]).trim() == "100.00"
    });
}

/// Has a leg's disk fail: every read and write of what the leg has on it is an error.
pub(crate) fn fail_leg(scene: &Scene, raid: &str, leg: usize) {
    for layer in ["rimage", "rmeta"] {
        let name = mapped(scene, &format!("{raid}_{layer}_{leg}"));
        let sectors = run("blockdev", &["--getsz", &format!("/dev/mapper/{name}")]);
        let table = format!("0 {} error", sectors.trim());
        run("dmsetup", &["suspend", "--noflush", "--nolockfs", &name]);
        run("dmsetup", &["load", &name, "--table", &table]);
        run("dmsetup", &["resume", &name]);
    }
}

/// What is written to a volume is there, and more can be, when every one of these RAIDs has lost so many legs.
pub(crate) fn assert_bears_loss(scene: &Scene, target: &Path, raids: &[&str], losses: usize) {
    put(target, 0, 1);
    run("sync", &[]);
    for raid in raids {
        wait_for_sync(scene, raid);
        (0..losses).for_each(|leg| fail_leg(scene, raid, leg));
    }
    forget_cached();
    assert!(holds(target, 0, 1));
    put(target, 1, 2);
    run("sync", &[]);
    forget_cached();
    assert!(holds(target, 0, 1) && holds(target, 1, 2));
}

#[rstest]
#[case::mirror(&[("layout", "Raid1")], 1)]
#[case::two_copies(&[("layout", "Raid1"), ("mirrors", "2")], 2)]
#[case::parity(&[("layout", "Raid5"), ("stripes", "2")], 1)]
#[case::two_parities(&[("layout", "Raid6"), ("stripes", "3")], 2)]
#[case::mirrored_stripes(&[("layout", "Raid10"), ("stripes", "2")], 1)]
#[ignore = "guest: disks that fail"]
fn the_disks_that_it_can_lose_are_lost(#[case] class: Class, #[case] legs: usize) {
    let scene = scene("wipe: None");
    let (volume, target) = scene.make_used(&wish("v", "ext4", mib(24), class));
    assert_bears_loss(&scene, &target, &[&volume.id], legs);
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
}

#[rstest]
#[case::mirror(&[("layout", "Raid1")], 1)]
#[case::parity(&[("layout", "Raid5"), ("stripes", "2"), ("stripeSize", "64Ki")], 2)]
#[case::two_parities(&[("layout", "Raid6"), ("stripes", "3")], 3)]
#[case::mirrored_stripes(&[("layout", "Raid10"), ("stripes", "2")], 2)]
#[ignore = "guest: LVM's own allocator"]
fn it_grows_while_it_is_used_and_to_the_last_row(#[case] class: Class, #[case] row: u64) {
    let scene = scene("wipe: None");
    let row = row * mib(4);
    let all = scene.capacity(class).1;
    assert_eq!(all % row, 0);
    refused(scene.try_make(&wish("more", "block", all + row, class)), Code::ResourceExhausted);
    let (mut volume, target) = scene.make_used(&wish("v", "ext4", mib(24), class));
    put(&target, 0, 1);
    refused(scene.expand(&volume, all + 1), Code::OutOfRange);
    assert_eq!(scene.expand(&volume, all).unwrap(), all);
    scene.node_expand(&volume, &target).unwrap();
    volume.size = all;
    assert!(holds(&target, 0, 1));
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
}

#[rstest]
#[case::mirror(&[("layout", "Raid1")])]
#[case::parity(&[("layout", "Raid5"), ("stripes", "2")])]
#[case::mirrored_stripes(&[("layout", "Raid10"), ("stripes", "2")])]
#[ignore = "guest: real blocks"]
fn no_byte_of_a_deleted_one_is_left_on_any_disk(#[case] class: Class) {
    let scene = scene("wipe: Zero");
    let free = scene.capacity(&[]);
    let (volume, target) = scene.make_used(&wish("v", "block", mib(24), class));
    for slot in 0..4 {
        put(&target, slot, 3001);
    }
    run("sync", &[]);
    let is_on = |disk: usize| {
        forget_cached();
        stands_in(Path::new(scene.ground.disk(disk)), mib(124), &[3001])
    };
    assert!((0..NUMBER).any(is_on), "it never came to a disk");
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    wait_until("the deleted volume is wiped", || scene.capacity(&[]) == free);
    assert!(!(0..NUMBER).any(is_on), "old bytes are on a disk");
}

#[test]
#[ignore = "guest: real snapshots"]
fn it_is_cloned_and_restored() {
    const MIRROR: Class = &[("layout", "Raid1")];
    let scene = scene("wipe: None");
    let (volume, target) = scene.make_used(&wish("v", "ext4", mib(24), MIRROR));
    put(&target, 0, 1);
    let snapshot = scene.snapshot("s", &volume).unwrap().snapshot_id;
    put(&target, 0, 2);
    run("sync", &[]);
    let restored = wish("r", "ext4", mib(24), MIRROR).of_snapshot(&snapshot);
    let (restored, its) = scene.make_used(&restored);
    assert!(holds(&its, 0, 1));
    scene.delete_snapshot(&snapshot).unwrap();
    let (clone, its) = scene.make_used(&wish("c", "ext4", mib(24), MIRROR).of_volume(&volume.id));
    assert!(holds(&its, 0, 2));
    for volume in [volume, restored, clone] {
        scene.put_down(&volume);
        scene.delete(&volume).unwrap();
    }
}

#[test]
#[ignore = "guest: real kills"]
fn what_a_cut_short_command_leaves_is_ended() {
    const MIRROR: Class = &[("layout", "Raid1")];
    let mut scene = scene("wipe: None");
    let (used, target) = scene.make_used(&wish("used", "ext4", mib(24), MIRROR));
    let half = scene.make(&wish("half", "block", mib(8), MIRROR));
    put(&target, 0, 1);
    scene.put_down(&used);
    scene.kill();
    half_make(&scene, &half);
    // An activation that was cut short leaves the legs active.
    run("dmsetup", &["remove", &mapped(&scene, &used.id)]);
    scene.start();
    let vg = &scene.ground.vg;
    wait_until("the half-made volume is gone", || {
        !run("lvs", &["--noheadings", "-o", "lv_name", vg]).contains(&half.id)
    });
    assert_eq!(scene.volumes(), std::slice::from_ref(&used.id));
    let target = scene.take_up(&used);
    assert!(holds(&target, 0, 1));
    scene.put_down(&used);
    let again = wish("half", "block", mib(8), MIRROR);
    wait_until("it is made again", || scene.try_make(&again).is_ok_and(|it| it.id == half.id));
    scene.clear();
}

/// Makes a volume again and kills LVM at it, until that comes at the moment when its legs' metadata are
/// shown and not cleared yet.
fn half_make(scene: &Scene, volume: &Volume) {
    let (vg, id) = (scene.ground.vg.as_str(), volume.id.as_str());
    let (name, size) = (format!("{vg}/{id}"), format!("{}b", volume.size));
    let tags = run("lvs", &["--noheadings", "-o", "lv_tags", &name]);
    let tags = tags.trim().split(',').flat_map(|tag| ["--addtag", tag]);
    let raid = ["--yes", "--type", "raid1", "--size", &size, "--name", id, vg];
    let args: Vec<&str> = raid.into_iter().chain(tags).collect();
    for delay in (10..300).step_by(7).cycle().take(400) {
        attempt("lvremove", &["--yes", &name]);
        let mut making = Command::new("lvcreate");
        making.args(&args).stdout(Stdio::null()).stderr(Stdio::null());
        let mut making = making.spawn().unwrap();
        thread::sleep(Duration::from_millis(delay));
        making.kill().unwrap();
        making.wait().unwrap();
        let shown = run("lvs", &["--noheadings", "-o", "lv_name", vg]);
        if shown.contains(&format!("{id}_rmeta_0")) && shown.contains(&format!("{id}_rmeta_1")) {
            return;
        }
    }
    panic!("LVM was never killed at the right moment");
}
