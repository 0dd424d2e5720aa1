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

/// Says whether the SCSI disk is to leave a pool of which the file says `more`; the driver reads it at its start.
/// Its serial is always the same.
fn retire(scene: &Scene, more: &str, leaving: bool) {
    let retire = if leaving { ", retire: [\"2000\"]" } else { "" };
    let devices = format!(r#"{{paths: ["/dev/ubda", "/dev/sd*"]{retire}}}"#);
    let text = format!("pools: [{{name: pool, devices: {devices}{more}}}]\n");
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
    retire(&scene, "", true);
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
    retire(&scene, "", true);
}

/// LVM does not move the room that it spares for a thin pool's metadata together with its data.
#[test]
#[ignore = "guest: moves extents of whole disks"]
fn a_disk_with_a_thin_pool_and_its_spare_is_emptied() {
    const THIN: &str = ", provisioning: Thin, thinPool: {size: 64Mi}";
    let scsi = Scsi::new();
    let disks = Disks::new(1);
    let (_emptied, mut scene) = disks.scene(r#"{paths: ["/dev/ubda", "/dev/sd*"]}"#, THIN, &[]);
    let (_volume, at) = scene.make_used(&Wish::new("v", "ext4", mib(48)));
    let layers = run("lvs", &["-a", "--noheadings", "-o", "lv_name,devices", GROUP]);
    for layer in ["[lvol0_pmspare]", "[tarn-thin_tdata]"] {
        let row = layers.lines().find(|row| row.contains(layer)).unwrap();
        assert!(row.contains(&scsi.path), "{layers}");
    }
    (0..10).for_each(|slot| put(&at, slot, slot + 1));
    scene.stop();
    retire(&scene, THIN, true);
    scene.start();
    put(&at, 10, 11);
    wait_until("the disk has left", || members(GROUP) == [disk(0)]);
    wait_until("it is no physical volume any more", || !is_physical(&scsi.path));
    forget_cached();
    assert!((0..11).all(|slot| holds(&at, slot, slot + 1)), "not a byte is lost");
}
