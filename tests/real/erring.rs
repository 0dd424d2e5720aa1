//! A disk that errs under load: all its reads and writes fail, and then it is good again.

use std::{
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rstest::rstest;
use tonic::Code;

use crate::support::{
    Scene, Wish,
    content::{forget_cached, pattern},
    disks::{disk, empty},
    ground::Ground,
    machine::{run, wait_until},
    mib,
    pages::{PAGES, figure},
    refused,
};

/// The disk's length, and where on the scratch disk it begins, in sectors: its label is not to be seen
/// there, too.
const SECTORS: u64 = 300 << 11;
const FROM: u64 = 16 << 11;

/// A disk that errs when it is told to.
struct Erring {
    below: String,
}

impl Erring {
    fn new(below: String) -> Self {
        empty(&below);
        let it = Self { below };
        run("dmsetup", &["create", "erring", "--table", &it.good()]);
        it
    }

    fn good(&self) -> String {
        format!("0 {SECTORS} linear {} {FROM}", self.below)
    }

    fn set(&self, table: &str) {
        run("dmsetup", &["suspend", "erring"]);
        run("dmsetup", &["reload", "erring", "--table", table]);
        run("dmsetup", &["resume", "erring"]);
    }

    fn err(&self) {
        self.set(&format!("0 {SECTORS} error"));
    }

    /// Only what lies behind LVM's own metadata errs: the disk is there, and its data are not.
    fn err_behind_the_label(&self) {
        const LABEL: u64 = 64 << 11;
        let good = format!("0 {LABEL} linear {} {FROM}", self.below);
        self.set(&format!("{good}\n{LABEL} {} error", SECTORS - LABEL));
    }

    fn recover(&self) {
        self.set(&self.good());
    }
}

impl Drop for Erring {
    fn drop(&mut self) {
        run("wipefs", &["-qa", "/dev/mapper/erring"]);
        run("dmsetup", &["remove", "erring"]);
    }
}

/// Ends what runs beside a test, also when that fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes pieces to a device, each on disk before the next, until it is told to stop or a write fails;
/// says which was the last in each of its places.
fn load(device: &Path, stop: &AtomicBool) -> Vec<u64> {
    const PLACES: usize = 16;
    let file = std::fs::OpenOptions::new().write(true).open(device).unwrap();
    let mut last = vec![0; PLACES];
    for (seed, place) in (1..).zip((0..PLACES).cycle()) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let written = file.write_all_at(&pattern(seed, 1 << 16), (place as u64) << 16);
        if written.and_then(|()| file.sync_data()).is_err() {
            // It may have been written, or not, or in part.
            last[place] = u64::MAX;
            break;
        }
        last[place] = seed;
    }
    last
}

#[track_caller]
fn assert_holds(device: &Path, last: &[u64]) {
    forget_cached();
    let file = std::fs::File::open(device).unwrap();
    let mut found = vec![0; 1 << 16];
    for (place, seed) in (0..).zip(last).filter(|(_, seed)| ![0, u64::MAX].contains(*seed)) {
        file.read_exact_at(&mut found, place << 16).unwrap();
        assert!(found == pattern(*seed, 1 << 16), "place {place} of {}", device.display());
    }
}

#[test]
#[ignore = "guest: has a disk err"]
fn what_lies_on_other_disks_is_served_while_a_disk_errs_and_all_is_well_when_it_does_not() {
    let ground = Ground::new(&[300]);
    let erring = Erring::new(disk(1));
    let vg = ground.vg.clone();
    run("pvcreate", &["-qq", "-y", "/dev/mapper/erring"]);
    run("vgextend", &["-qq", &vg, "/dev/mapper/erring"]);
    let pools = format!("pools: [{{name: pool, volumeGroup: {vg}, wipe: None}}]\n");
    let scene = Scene::on(ground, &pools, &PAGES);
    let (intact, intact_at) = scene.make_used(&Wish::new("intact", "block", mib(200)));
    let spares = ["one", "two"].map(|name| scene.make(&Wish::new(name, "block", mib(40))));
    let (lost, lost_at) = scene.make_used(&Wish::new("lost", "block", mib(100)));
    let lies_on = |id: &str| run("lvs", &["--noheadings", "-o", "devices", &format!("{vg}/{id}")]);
    assert!(lies_on(&lost.id).contains("erring") && !lies_on(&intact.id).contains("erring"));

    let stop = AtomicBool::new(false);
    let (of_intact, of_lost) = thread::scope(|scope| {
        let stopping = Stop(&stop);
        let on_intact = scope.spawn(|| load(&intact_at, &stop));
        let on_lost = scope.spawn(|| load(&lost_at, &stop));
        thread::yield_now();
        erring.err();
        let of_lost = on_lost.join().unwrap();
        // Each deletion is followed by a report.
        scene.delete(&spares[0]).unwrap();
        wait_until("the disk counts as missing", || figure("disks_missing") == 1.0);
        assert_eq!((figure("volumes_on_missing_disks"), figure("unreadable")), (1.0, 0.0));
        assert_eq!(scene.capacity(&[]), (0, 0));
        refused(scene.try_make(&Wish::new("new", "block", mib(8))), Code::ResourceExhausted);
        erring.recover();
        scene.delete(&spares[1]).unwrap();
        wait_until("all disks are there", || figure("disks_missing") == 0.0);
        wait_until("the volume is whole", || figure("volumes_on_missing_disks") == 0.0);
        drop(stopping);
        (on_intact.join().unwrap(), of_lost)
    });
    assert!(!of_intact.contains(&u64::MAX), "a write to the intact volume failed");
    assert!(of_lost.contains(&u64::MAX), "no write met the error");
    assert_holds(&intact_at, &of_intact);
    assert_holds(&lost_at, &of_lost);
    scene.put_down(&lost);
    assert_holds(&scene.take_up(&lost), &of_lost);
    scene.put_down(&intact);
    scene.make(&Wish::new("new", "block", mib(8)));
}

#[rstest]
#[case::thick("layout: Raid1", None)]
#[case::thin("provisioning: Thin, thinPool: {size: 64Mi, layout: Raid1}", Some("tarn-thin_tdata"))]
#[ignore = "guest: has a disk err"]
fn a_mirror_goes_on_without_a_disk_that_errs_and_takes_it_again_when_it_is_well(
    #[case] spec: &str,
    #[case] layer: Option<&str>,
) {
    let ground = Ground::new(&[300]);
    let erring = Erring::new(disk(1));
    let vg = ground.vg.clone();
    run("pvcreate", &["-qq", "-y", "--metadatasize", "63m", "/dev/mapper/erring"]);
    run("vgextend", &["-qq", &vg, "/dev/mapper/erring"]);
    let pools = format!("pools: [{{name: pool, volumeGroup: {vg}, wipe: None, {spec}}}]\n");
    let mut scene = Scene::on(ground, &pools, &PAGES);
    let (volume, at) = scene.make_used(&Wish::new("mirror", "block", mib(40)));
    let spare = scene.make(&Wish::new("spare", "block", mib(8)));
    let mirror = format!("{vg}/{}", layer.unwrap_or(&volume.id));
    let health = || run("lvs", &["--noheadings", "-o", "lv_health_status", &mirror]);
    wait_until("the mirror is full", || figure("volumes_filling") == 0.0);

    let stop = AtomicBool::new(false);
    let last = thread::scope(|scope| {
        let stopping = Stop(&stop);
        let writer = scope.spawn(|| load(&at, &stop));
        erring.err_behind_the_label();
        wait_until("the leg is shut out", || health().contains("refresh needed"));
        // A deletion is followed by a report.
        scene.delete(&spare).unwrap();
        wait_until("it is told", || figure("disks_erring") == 1.0);
        assert_eq!((figure("disks_missing"), figure("volumes_on_missing_disks")), (0.0, 0.0));
        drop(stopping);
        writer.join().unwrap()
    });
    assert!(!last.contains(&u64::MAX), "a write to the mirror failed");
    assert!(health().contains("refresh needed"), "it errs on, and was tried again in vain");

    // A new life tries at once, and so does a pause that has passed.
    erring.recover();
    scene.stop();
    scene.start();
    wait_until("the leg is there again", || health().trim().is_empty());
    wait_until("all is told to be well", || figure("disks_erring") == 0.0);
    wait_until("the mirror is full", || figure("volumes_filling") == 0.0);
    assert_holds(&at, &last);
}
