//! A disk leaves its pool, and `pvmove` is killed before one of its steps that changes something in the kernel, alone or
//! together with the driver. The disk leaves all the same, with nothing lost of volumes that are in use in every way.

use std::path::PathBuf;

use rstest::rstest;

use crate::support::{
    Scene, Wish,
    content::{forget_cached, holds, put},
    disks::{Disks, Scsi, disk, empty, members},
    killer::{Killer, tried},
    machine::{attempt, run, wait_until},
    mib,
};

const GROUP: &str = "tarn-pool";

/// All volumes lie on the SCSI disk again, which is to stay.
fn move_back(scene: &mut Scene, more: &str, scsi: &Scsi) {
    scene.stop();
    if members(GROUP).len() == 1 {
        empty(&scsi.path);
    }
    Scsi::is_to_leave(scene, more, false);
    scene.start();
    wait_until("the disk is back", || members(GROUP).len() == 2);
    scene.stop();
    let args = ["--noheadings", "--nosuffix", "--units", "b", "-o", "pv_used", &disk(0)];
    let used = || run("pvs", &args);
    // What a thin pool's metadata may need to be repaired is moved apart from it.
    for _ in 0..2 {
        if used().trim() != "0" {
            attempt("pvmove", &["--interval", "1", &disk(0), &scsi.path]);
        }
    }
    assert_eq!(used().trim(), "0");
    Scsi::is_to_leave(scene, more, true);
}

#[rstest]
#[case::thick("Thick", ", provisioning: Thick")]
#[case::thin("Thin", ", provisioning: Thin, thinPool: {size: 64Mi}")]
#[ignore = "guest: moves extents of whole disks"]
fn a_disk_is_emptied_at_whichever_step_the_move_is_killed(
    #[case] provisioning: &str,
    #[case] more: &str,
) {
    let scsi = Scsi::new();
    let disks = Disks::new(1);
    let (_emptied, mut scene) = disks.scene(r#"{paths: ["/dev/ubda", "/dev/sd*"]}"#, more, &[]);
    let wish = |name, kind| Wish::new(name, kind, mib(16)).with("provisioning", provisioning);
    let (_mounted, mounted) = scene.make_used(&wish("mounted", "ext4"));
    let (_raw, raw) = scene.make_used(&wish("raw", "block"));
    let closed = scene.make(&wish("closed", "block"));
    let places: [PathBuf; 3] = [mounted, raw, format!("/dev/{GROUP}/{}", closed.id).into()];
    let killer = Killer::new(&scene, "pvmove");

    let round = |scene: &mut Scene, seed: u64, step: Option<usize>, dies_too: bool| {
        move_back(scene, more, &scsi);
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
    eprintln!("{provisioning}: {} ioctls of pvmove", steps.len());
    for ((step, dies_too), seed) in tried(&steps).into_iter().zip(2..) {
        eprintln!("ioctl {step}, with the driver: {dies_too}");
        round(&mut scene, seed, Some(step), dies_too);
    }
}
