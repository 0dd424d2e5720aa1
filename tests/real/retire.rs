//! A disk leaves its pool while its volumes are in use.

use std::fs;

use crate::support::{
    Scene, Wish,
    content::{forget_cached, holds, put},
    disks::{Disks, Scsi, disk, members},
    machine::{attempt, run, wait_until},
    mib,
};

const GROUP: &str = "tarn-pool";

/// Says whether the SCSI disk is to leave; the driver reads it at its start. Its serial is always the same.
fn retire(scene: &Scene, leaving: bool) {
    let retire = if leaving { ", retire: [\"2000\"]" } else { "" };
    let devices = format!(r#"{{paths: ["/dev/ubda", "/dev/sd*"]{retire}}}"#);
    let text = format!("pools: [{{name: pool, devices: {devices}}}]\n");
    fs::write(scene.home().join("pools.yaml"), text).unwrap();
}

fn is_physical(disk: &str) -> bool {
    run("pvs", &["--noheadings", "-o", "pv_name"]).contains(disk)
}

#[test]
#[ignore = "guest: moves extents of whole disks"]
fn a_disk_is_emptied_under_a_pod_also_when_the_move_is_killed() {
    let scsi = Scsi::new();
    let disks = Disks::new(1);
    let flag = disks.ground.home.join("killed");
    let flag = flag.display();
    disks.wrap(
        "pvmove",
        &format!(
            r#"if [[ ! -e {flag} ]]; then
                touch {flag}; timeout -s KILL 0.8 "$real" "$@"; kill -9 $PPID; exit 1
            fi
            exec "$real" "$@""#
        ),
    );
    let devices = r#"{paths: ["/dev/ubda", "/dev/sd*"]}"#;
    let (_emptied, mut scene) = disks.scene(devices, "", &[]);
    let (volume, at) = scene.make_used(&Wish::new("v", "ext4", mib(200)));
    let devices = run("lvs", &["--noheadings", "-o", "devices", GROUP]);
    assert!(devices.contains(&scsi.path), "{devices}");
    (0..20).for_each(|slot| put(&at, slot, slot + 1));
    scene.stop();
    retire(&scene, true);
    scene.start();
    let ended = scene.driver().ended();
    assert_eq!(ended.code(), None, "it was not killed: {ended}");
    let left = attempt("lvs", &["-a", "-o", "lv_name,devices", GROUP]).stdout;
    eprintln!("what was left:\n{}", String::from_utf8_lossy(&left));
    put(&at, 20, 21);
    scene.start();
    wait_until("the disk has left", || members(GROUP) == [disk(0)]);
    wait_until("it is no physical volume any more", || !is_physical(&scsi.path));
    forget_cached();
    assert!((0..21).all(|slot| holds(&at, slot, slot + 1)), "not a byte is lost");
    scene.put_down(&volume);
    scene.take_up(&volume);
    assert!((0..21).all(|slot| holds(&at, slot, slot + 1)));
    scene.stop();
    fs::remove_file(scene.home().join("killed")).unwrap();
    retire(&scene, true);
}
