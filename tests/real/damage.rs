//! A disk is pulled from a pool in use, and comes back: what lies on other disks never notices, and
//! nobody lends a hand.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tarn::csi::proto::*;
use tonic::Code;

use crate::support::{
    Scene, Wish,
    content::{holds, put},
    disks::{Disks, Scsi, disk},
    machine::{run, wait_until},
    mib,
    pages::{PAGES, figure},
    refused,
};

/// By when a pulled disk is noticed, also on a busy machine: long before the look that comes without a
/// change.
const SOON: Duration = Duration::from_secs(60);
const DEVICES: &str = r#"{paths: ["/dev/ubda", "/dev/sd*"]}"#;

fn await_figure(name: &str, value: f64) {
    let began = Instant::now();
    wait_until(name, || figure(name) == value);
    eprintln!("{name} was {value} after {:?}", began.elapsed());
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

/// The devices that a volume lies on.
fn lies_on(id: &str) -> String {
    run("lvs", &["--noheadings", "-o", "devices", &format!("tarn-pool/{id}")])
}

#[test]
#[ignore = "guest: pulls a disk"]
fn intact_volumes_are_served_while_a_disk_is_away_and_the_others_afterwards() {
    let mut scsi = Scsi::new();
    let (_emptied, scene) = Disks::new(1).scene(DEVICES, "", &PAGES);
    let (intact, intact_at) = scene.make_used(&Wish::new("intact", "ext4", mib(3900)));
    let (lost, lost_at) = scene.make_used(&Wish::new("lost", "ext4", mib(180)));
    let other = scene.make(&Wish::new("other", "block", mib(100)));
    assert!(lies_on(&lost.id).contains(&scsi.path) && lies_on(&intact.id).contains(&disk(0)));
    put(&intact_at, 1, 1);
    put(&lost_at, 1, 2);

    scsi.pull();
    await_figure("disks_missing", 1.0);
    assert_eq!((figure("volumes_on_missing_disks"), figure("unreadable")), (1.0, 0.0));
    assert_eq!(scene.capacity(&[]), (0, 0));
    put(&intact_at, 2, 3);
    assert!(scene.total(&intact, &intact_at).unwrap() > mib(3000));
    scene.put_down(&intact);
    scene.take_up(&intact);
    assert!(holds(&intact_at, 1, 1) && holds(&intact_at, 2, 3));
    scene.put_down(&lost);
    refused(scene.stage(&lost), Code::FailedPrecondition);
    refused(scene.try_make(&Wish::new("new", "block", mib(16))), Code::ResourceExhausted);
    refused(scene.snapshot("s", &intact), Code::FailedPrecondition);
    // This changes the group, and so marks the disk as missing.
    scene.delete(&other).unwrap();
    wait_until("it is wiped and gone", || !run("lvs", &["tarn-pool"]).contains(&other.id));

    scsi.plug_in();
    await_figure("disks_missing", 0.0);
    await_figure("volumes_on_missing_disks", 0.0);
    assert!(scene.capacity(&[]).0 > 0);
    scene.take_up(&lost);
    assert!(holds(&lost_at, 1, 2), "what was written before is there");
    scene.make(&Wish::new("new", "block", mib(16)));
}

/// The disk comes back while the group is unchanged and a volume on it is open all the time.
#[test]
#[ignore = "guest: pulls a disk"]
fn a_volume_in_use_finds_its_way_to_the_disk_and_one_that_was_deleted_is_wiped() {
    let mut scsi = Scsi::new();
    let (_emptied, scene) = Disks::new(1).scene(DEVICES, "", &PAGES);
    scene.make(&Wish::new("filler", "block", mib(3900)));
    let (open, open_at) = scene.make_used(&Wish::new("open", "block", mib(80)));
    let deleted = scene.make(&Wish::new("deleted", "block", mib(80)));
    assert!(lies_on(&open.id).contains(&scsi.path) && lies_on(&deleted.id).contains(&scsi.path));
    put(&open_at, 0, 1);
    put(&scene_device(&deleted.id), 0, 2);
    let held = fs::File::open(&open_at).unwrap();
    scsi.pull();
    await_figure("disks_missing", 1.0);
    scene.delete(&deleted).unwrap();
    assert_eq!(scene.volumes().len(), 2);
    assert!(run("lvs", &["-o", "lv_tags", "tarn-pool"]).contains("tarn.deleted"));
    scsi.plug_in();
    await_figure("disks_missing", 0.0);
    wait_until("it is wiped and gone", || !run("lvs", &["tarn-pool"]).contains(&deleted.id));
    drop(held);
    assert!(holds(&open_at, 0, 1), "without being staged anew");
}

/// The device of a volume of the pool.
fn scene_device(id: &str) -> std::path::PathBuf {
    Path::new("/dev/tarn-pool").join(id)
}

/// A thin pool whose metadata cannot be written gives up.
#[test]
#[ignore = "guest: pulls a disk"]
fn a_thin_pool_that_has_given_up_is_there_again_when_its_volumes_are_free() {
    let mut scsi = Scsi::new();
    let thin = ", provisioning: Thin, thinPool: {size: 100Mi}";
    let (_emptied, scene) = Disks::new(0).scene(r#"{paths: ["/dev/sd*"]}"#, thin, &PAGES);
    let (volume, at) = scene.make_used(&Wish::new("v", "ext4", mib(64)));
    put(&at, 1, 1);
    scsi.pull();
    wait_until("writes fail", || fs::write(at.join("x"), "x").and_then(|()| sync(&at)).is_err());
    await_figure("unreadable", 1.0);
    refused(scene.delete(&volume), Code::FailedPrecondition);
    scsi.plug_in();
    await_figure("unreadable", 0.0);
    scene.put_down(&volume);
    // Its last user is gone, of which nobody tells: the next report finds it.
    wait_until("it is whole again", || figure("volumes_on_missing_disks") == 0.0);
    scene.take_up(&volume);
    assert!(holds(&at, 1, 1));
}

/// The kernel makes a thin pool read-only whose data it could not write, and notes that in its metadata.
#[test]
#[ignore = "guest: pulls a disk"]
fn a_thin_pool_that_lost_its_data_for_a_while_takes_new_blocks_when_its_volumes_are_free() {
    let mut scsi = Scsi::new();
    let thin = ", provisioning: Thin, thinPool: {size: 100Mi}";
    let (_emptied, mut scene) = Disks::new(1).scene(DEVICES, thin, &PAGES);
    let layers = run("lvs", &["-a", "--noheadings", "-o", "lv_name,devices", "tarn-pool"]);
    let on = |layer: &str| layers.lines().find(|it| it.contains(layer)).unwrap().to_owned();
    assert!(on("tdata]").contains(&scsi.path) && on("tmeta]").contains(&disk(0)), "{layers}");
    let mut number = 0;
    let mut lose_its_data = |scene: &Scene, at: &Path| {
        number += 1;
        put(at, number, number);
        run("sync", &[]);
        scsi.pull();
        let written = || fs::write(at.join("x"), "x").and_then(|()| sync(at));
        wait_until("writes fail", || written().is_err());
        await_figure("disks_missing", 1.0);
        scsi.plug_in();
        await_figure("disks_missing", 0.0);
        wait_until("it has a note that it must be checked", || {
            run("dmsetup", &["status", "tarn--pool-tarn--thin-tpool"]).contains("needs_check")
        });
        wait_until("that is known", || scene.capacity(&[]).0 == 0);
    };
    let (volume, at) = scene.make_used(&Wish::new("v", "ext4", mib(64)));
    lose_its_data(&scene, &at);
    assert_eq!(figure("volumes_on_missing_disks"), 2.0, "the pool and what is in it");
    scene.put_down(&volume);
    wait_until("it is whole again", || figure("volumes_on_missing_disks") == 0.0);
    scene.take_up(&volume);
    assert!(holds(&at, 1, 1));
    lose_its_data(&scene, &at);
    // Also where all that was mounted went while the driver was away.
    scene.kill();
    run("umount", &["--all-targets", scene_device(&volume.id).to_str().unwrap()]);
    run("vgchange", &["-qq", "-an", "tarn-pool"]);
    scene.start();
    assert_eq!(figure("volumes_on_missing_disks"), 0.0);
    scene.take_up(&volume);
    assert!(holds(&at, 1, 1) && holds(&at, 2, 2));
    put(&at, 3, 3);
    scene.make(&Wish::new("new", "ext4", mib(16)));
}

fn sync(at: &Path) -> std::io::Result<()> {
    fs::File::open(at)?.sync_all()
}

/// Nothing of a deletion is lost with the driver: the tag is all there is.
#[test]
#[ignore = "guest: pulls a disk"]
fn a_driver_that_was_away_when_the_disk_came_back_finds_all_that_is_to_be_done() {
    let mut scsi = Scsi::new();
    let (_emptied, mut scene) = Disks::new(1).scene(DEVICES, "", &PAGES);
    scene.make(&Wish::new("filler", "block", mib(3900)));
    let lost = scene.make(&Wish::new("lost", "ext4", mib(80)));
    let deleted = scene.make(&Wish::new("deleted", "block", mib(80)));
    scsi.pull();
    await_figure("disks_missing", 1.0);
    scene.delete(&deleted).unwrap();
    scene.kill();
    scene.start();
    assert_eq!(figure("disks_missing"), 1.0);
    scene.kill();
    scsi.plug_in();
    scene.start();
    await_figure("disks_missing", 0.0);
    wait_until("it is wiped and gone", || !run("lvs", &["tarn-pool"]).contains(&deleted.id));
    scene.take_up(&lost);
    let request = ListVolumesRequest::default();
    assert_eq!(scene.csi.list_volumes(request).unwrap().entries.len(), 2);
}
