//! A disk leaves its pool, and `pvmove` is killed before one of its steps that changes something in the kernel, alone or
//! together with the driver. The disk leaves all the same, with nothing lost of volumes that are in use in every way.

use std::path::PathBuf;

use crate::support::{
    Scene, Wish,
    content::{forget_cached, holds, put},
    disks::{Disks, Scsi, disk, empty, members},
    killer::{Killer, some_of},
    machine::{run, wait_until},
    mib,
};

const GROUP: &str = "tarn-pool";

/// What the pools file says of the pool.
const MORE: &str = ", provisioning: Thick";

/// So many of about sixty steps are tried in a run.
const TRIED: usize = 5;

/// All volumes lie on the SCSI disk again, which is to stay.
fn move_back(scene: &mut Scene, scsi: &Scsi) {
    scene.stop();
    if members(GROUP).len() == 1 {
        empty(&scsi.path);
    }
    Scsi::is_to_leave(scene, MORE, false);
    scene.start();
    wait_until("the disk is back", || members(GROUP).len() == 2);
    scene.stop();
    let args = ["--noheadings", "--nosuffix", "--units", "b", "-o", "pv_used", &disk(0)];
    let used = || run("pvs", &args);
    if used().trim() != "0" {
        run("pvmove", &["--interval", "1", &disk(0), &scsi.path]);
    }
    assert_eq!(used().trim(), "0");
    Scsi::is_to_leave(scene, MORE, true);
}

#[test]
#[ignore = "guest: moves extents of whole disks"]
fn a_disk_is_emptied_at_whichever_step_the_move_is_killed() {
    let scsi = Scsi::new();
    let disks = Disks::new(1);
    let (_emptied, mut scene) = disks.scene(r#"{paths: ["/dev/ubda", "/dev/sd*"]}"#, MORE, &[]);
    let wish = |name, kind| Wish::new(name, kind, mib(16));
    let (_mounted, mounted) = scene.make_used(&wish("mounted", "ext4"));
    let (_raw, raw) = scene.make_used(&wish("raw", "block"));
    let closed = scene.make(&wish("closed", "block"));
    let places: [PathBuf; 3] = [mounted, raw, format!("/dev/{GROUP}/{}", closed.id).into()];
    let killer = Killer::new(&scene, "pvmove");

    let round = |scene: &mut Scene, seed: u64, step: Option<usize>, dies_too: bool| {
        move_back(scene, &scsi);
        places.iter().for_each(|at| put(at, 0, seed));
        killer.arm(step);
        scene.start();
        wait_until("a move has ended", || killer.is_over());
        if dies_too {
            scene.kill();
            scene.start();
        }
        places.iter().for_each(|at| put(at, 1, seed));
        wait_until("the disk has left", || members(GROUP) == [disk(0)]);
        forget_cached();
        for at in &places {
            assert!(holds(at, 0, seed) && holds(at, 1, seed), "{} has changed", at.display());
        }
    };
    round(&mut scene, 1, None, false);
    let steps = killer.steps();
    assert!(!steps.is_empty(), "{}", killer.trace());
    eprintln!("{} ioctls of pvmove", steps.len());
    for ((step, dies_too), seed) in some_of(&steps, TRIED).into_iter().zip(2..) {
        eprintln!("ioctl {step}, with the driver: {dies_too}");
        round(&mut scene, seed, Some(step), dies_too);
    }
}
