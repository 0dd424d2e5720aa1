//! A disk leaves its pool while its volumes are in use.

use std::{fs, path::PathBuf};

use crate::support::{
    Scene, Volume, Wish,
    content::{forget_cached, holds, put},
    disks::{Disks, Emptied, Scsi, disk, members},
    machine::{attempt, run, wait_until},
    mib,
};

const GROUP: &str = "tarn-pool";

/// Has the first `pvmove` killed in its middle, and with it the driver.
fn kill_in_first_move(disks: &Disks) {
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
}

fn is_physical(disk: &str) -> bool {
    run("pvs", &["--noheadings", "-o", "pv_name"]).contains(disk)
}

/// A driver was killed in a move of what it had written to a volume on a disk that is to leave.
struct Killed {
    scene: Scene,
    volume: Volume,
    at: PathBuf,
    _emptied: Emptied,
    scsi: Scsi,
}

impl Killed {
    fn in_the_first_move() -> Self {
        let scsi = Scsi::new();
        let disks = Disks::new(1);
        kill_in_first_move(&disks);
        let devices = r#"{paths: ["/dev/ubda", "/dev/sd*"]}"#;
        let (emptied, mut scene) = disks.scene(devices, "", &[]);
        let (volume, at) = scene.make_used(&Wish::new("v", "ext4", mib(200)));
        let devices = run("lvs", &["--noheadings", "-o", "devices", GROUP]);
        assert!(devices.contains(&scsi.path), "{devices}");
        (0..20).for_each(|slot| put(&at, slot, slot + 1));
        scene.stop();
        Scsi::is_to_leave(&scene, "", true);
        scene.start();
        let ended = scene.driver().ended();
        assert_eq!(ended.code(), None, "it was not killed: {ended}");
        Self { scene, volume, at, _emptied: emptied, scsi }
    }
}

#[test]
#[ignore = "guest: moves extents of whole disks"]
fn a_disk_is_emptied_under_a_pod_also_when_the_move_is_killed() {
    let mut killed = Killed::in_the_first_move();
    let Killed { scene, volume, at, scsi, .. } = &mut killed;
    let left = attempt("lvs", &["-a", "-o", "lv_name,devices", GROUP]).stdout;
    eprintln!("what was left:\n{}", String::from_utf8_lossy(&left));
    put(at, 20, 21);
    scene.start();
    wait_until("the disk has left", || members(GROUP) == [disk(0)]);
    wait_until("it is no physical volume any more", || !is_physical(&scsi.path));
    forget_cached();
    assert!((0..21).all(|slot| holds(at, slot, slot + 1)), "not a byte is lost");
    scene.put_down(volume);
    scene.take_up(volume);
    assert!((0..21).all(|slot| holds(at, slot, slot + 1)));
    scene.stop();
    fs::remove_file(scene.home().join("killed")).unwrap();
    Scsi::is_to_leave(scene, "", true);
}

/// All of a disk that volumes can have.
fn extents_of(disk: &str) -> Vec<u8> {
    let start = run("pvs", &["--noheadings", "--units", "b", "--nosuffix", "-o", "pe_start", disk]);
    forget_cached();
    let mut bytes = fs::read(disk).unwrap();
    bytes.drain(..start.trim().parse::<usize>().unwrap());
    bytes
}

/// Killed in a move, and its disk is wished back: nothing of what was moved away is left for the next owner.
#[test]
#[ignore = "guest: moves extents of whole disks"]
fn a_disk_that_stays_after_all_is_wiped_where_it_was_emptied() {
    let mut killed = Killed::in_the_first_move();
    let Killed { scene, volume, at, scsi, .. } = &mut killed;
    let is_marked = || run("pvs", &["--noheadings", "-o", "pv_tags"]).contains("tarn.leaving");
    assert!(is_marked());
    Scsi::is_to_leave(scene, "", false);
    scene.start();
    wait_until("the disk stays", || !is_marked());
    let volumes = || run("lvs", &["-a", "--noheadings", "-o", "lv_name", GROUP]);
    wait_until("what was moved is wiped", || {
        let all = volumes();
        !all.contains("x-p-") && !all.contains("pvmove")
    });
    let mut devices = members(GROUP);
    devices.sort();
    assert_eq!(devices, [scsi.path.clone(), disk(0)]);
    assert!((0..20).all(|slot| holds(at, slot, slot + 1)), "not a byte is lost");
    scene.put_down(volume);
    scene.delete(volume).unwrap();
    wait_until("the volume is wiped", || volumes().trim().is_empty());
    assert!(extents_of(&scsi.path).iter().all(|it| *it == 0), "a tenant's bytes are left");
    fs::remove_file(scene.home().join("killed")).unwrap();
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
    Scsi::is_to_leave(&scene, THIN, true);
    scene.start();
    put(&at, 10, 11);
    wait_until("the disk has left", || members(GROUP) == [disk(0)]);
    wait_until("it is no physical volume any more", || !is_physical(&scsi.path));
    forget_cached();
    assert!((0..11).all(|slot| holds(&at, slot, slot + 1)), "not a byte is lost");
}

/// Every leg of the RAID volumes, with its disk.
fn legs() -> Vec<(String, String)> {
    let layers = run("pvs", &["--segments", "--noheadings", "-o", "lv_name,pv_name"]);
    let pairs = layers.lines().filter(|line| line.contains("_r")).map(|line| {
        let mut words = line.split_whitespace();
        (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
    });
    pairs.collect()
}

#[test]
#[ignore = "guest: moves legs of RAID volumes"]
fn a_leg_of_a_raid_is_moved_apart_from_the_others_also_when_that_is_killed() {
    let scsi = Scsi::new();
    let disks = Disks::new(2);
    kill_in_first_move(&disks);
    let devices = r#"{paths: ["/dev/ubd[ab]", "/dev/sd*"]}"#;
    let three = ", layout: Raid1, mirrors: 2";
    let (_emptied, mut scene) = disks.scene(devices, three, &[]);
    // On all three; then a copy of it is taken off a disk by hand, so that there is one to go to.
    let (volume, at) = scene.make_used(&Wish::new("v", "ext4", mib(150)));
    (0..20).for_each(|slot| put(&at, slot, slot + 1));
    let name = format!("{GROUP}/{}", volume.id);
    wait_until("its legs are the same", || {
        run("lvs", &["--noheadings", "-o", "copy_percent", &name]).trim() == "100.00"
    });
    run("lvconvert", &["--yes", "--mirrors", "1", &name, &disk(1)]);
    scene.stop();
    let devices = devices.replace('}', ", retire: [\"2000\"]}");
    let text = format!("pools: [{{name: pool, devices: {devices}{three}}}]\n");
    fs::write(scene.home().join("pools.yaml"), text).unwrap();
    scene.start();
    let ended = scene.driver().ended();
    assert_eq!(ended.code(), None, "it was not killed: {ended}");
    put(&at, 20, 21);
    scene.start();
    wait_until("the disk has left", || members(GROUP) == [disk(0), disk(1)]);
    wait_until("it is no physical volume any more", || !is_physical(&scsi.path));
    let legs = legs();
    for leg in 0..2 {
        let its = legs.iter().filter(|(name, _)| name.contains(&format!("_{leg}]")));
        let mut on: Vec<&String> = its.map(|(_, disk)| disk).collect();
        on.dedup();
        assert_eq!(on.len(), 1, "{legs:?}");
    }
    forget_cached();
    assert!((0..21).all(|slot| holds(&at, slot, slot + 1)), "not a byte is lost");
    scene.put_down(&volume);
    scene.take_up(&volume);
    assert!((0..21).all(|slot| holds(&at, slot, slot + 1)));
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    fs::remove_file(scene.home().join("killed")).unwrap();
}
