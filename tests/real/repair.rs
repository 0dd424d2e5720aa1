//! A disk is lost for good, and RAID volumes get new legs on another while they are in use.

use std::{fs, path::PathBuf, time::Duration};

use crate::support::{
    Scene, Volume, Wish,
    content::{forget_cached, holds, put},
    disks::{Disks, Scsi, disk, empty, members, scribble, tell_change},
    machine::{run, wait_until, wait_within},
    mib,
    pages::{PAGES, figure},
};

const GROUP: &str = "tarn-pool";
const DEVICES: &str = r#"{paths: ["/dev/ubd[ab]", "/dev/sd*"]}"#;
const RAID: &str = ", layout: Raid1";
/// A disk is waited for a minute before another takes its place, and the machine may be busy.
const LONG: Duration = Duration::from_secs(400);

/// Every volume, LVM's own too, with what it lies on.
fn layers() -> String {
    run("lvs", &["-a", "--noheadings", "-o", "lv_name,lv_attr,devices", GROUP])
}

fn is_filled(volume: &Volume) -> bool {
    let name = format!("{GROUP}/{}", volume.id);
    run("lvs", &["--noheadings", "-o", "copy_percent", &name]).trim() == "100.00"
}

/// Mirrors in use, each with content of its own and whole.
fn mirrors(scene: &Scene, count: u64) -> Vec<(Volume, PathBuf)> {
    let make = |number: u64| {
        let kind = if number == 0 { "block" } else { "ext4" };
        let made = scene.make_used(&Wish::new(&format!("v{number}"), kind, mib(24)));
        put(&made.1, 0, number);
        made
    };
    let made: Vec<_> = (0..count).map(make).collect();
    run("sync", &[]);
    made.iter().for_each(|(volume, _)| wait_until("its legs are the same", || is_filled(volume)));
    made
}

fn assert_whole(scene: &Scene, made: Vec<(Volume, PathBuf)>) {
    forget_cached();
    for (number, (volume, at)) in (0..).zip(&made) {
        assert!(holds(at, 0, number) && holds(at, 1, number + 100), "{number}: a byte is lost");
        wait_until("its new leg is filled", || is_filled(volume));
    }
    assert!(!layers().contains("_extracted"), "{}", layers());
    assert!(!run("vgs", &["--noheadings", "-o", "vg_tags", GROUP]).contains("tarn.gone"));
    for (volume, _) in made {
        scene.put_down(&volume);
        scene.take_up(&volume);
        scene.put_down(&volume);
        scene.delete(&volume).unwrap();
    }
    scene.make(&Wish::new("more", "block", mib(24)));
}

#[test]
#[ignore = "guest: pulls a disk"]
fn a_new_disk_gets_the_legs_of_a_lost_one_also_when_that_is_killed() {
    let scsi = Scsi::new();
    let disks = Disks::new(2);
    let home = disks.ground.home.display().to_string();
    // At once, and when LVM has gone so far; where that is over before it is seen, at the end.
    disks.wrap(
        "lvconvert",
        &format!(
            r#"number=$(cat {home}/kills 2>/dev/null || echo 0)
            echo $((number + 1)) > {home}/kills
            moments=(. '_rmeta_[2-9]:' '_rimage_[2-9]:' ':..s' _extracted)
            [[ $number -lt ${{#moments[@]}} ]] || exec "$real" "$@"
            "$real" "$@" & it=$!
            until dmsetup info -c --noheadings -o name,attr | grep -q "${{moments[number]}}"; do
                kill -0 $it || break
            done
            kill -9 $it $PPID"#
        ),
    );
    scribble(&disk(1), 0, &[1; 4096]);
    let (_emptied, mut scene) = disks.scene(DEVICES, RAID, &PAGES);
    assert_eq!(members(GROUP), [scsi.path.clone(), disk(0)]);
    let made = mirrors(&scene, 4);
    scsi.pull();
    wait_until("it is missed", || figure("disks_missing") == 1.0);
    assert_eq!(figure("volumes_on_missing_disks"), 4.0);
    for (number, (_, at)) in (0..).zip(&made) {
        put(at, 1, number + 100);
    }
    empty(&disk(1));
    tell_change(&disk(1));
    let kills = scene.home().join("kills");
    for kill in 0..5 {
        wait_within(LONG, "a repair is killed", || {
            let number = fs::read_to_string(&kills).unwrap_or_default();
            number.trim().parse::<u32>().is_ok_and(|it| it > kill)
        });
        let ended = scene.driver().ended();
        assert_eq!(ended.code(), None, "it was not killed: {ended}");
        eprintln!("what was left:\n{}", layers());
        scene.launch();
    }
    scene.await_answer();
    wait_within(LONG, "the group is whole", || members(GROUP) == [disk(0), disk(1)]);
    wait_until("nothing is missing", || figure("disks_missing") == 0.0);
    wait_until("nothing is lost", || figure("volumes_on_missing_disks") == 0.0);
    assert!(scene.capacity(&[]).0 > 0);
    assert_whole(&scene, made);
    fs::remove_file(kills).unwrap();
}

#[test]
#[ignore = "guest: pulls a disk"]
fn a_lost_disk_that_is_retired_is_given_up_and_is_foreign_when_it_comes_back() {
    let mut scsi = Scsi::new();
    let (_emptied, mut scene) = Disks::new(2).scene(DEVICES, RAID, &PAGES);
    // The other disks have most of the room, so the first legs lie on them; LVM moves one of them, which is
    // its data and its metadata.
    let made = mirrors(&scene, 2);
    let uuid = run("pvs", &["--noheadings", "-o", "pv_uuid", &scsi.path]).trim().to_owned();
    run("pvmove", &["-qq", &format!("{}:0-6", disk(0)), &scsi.path]);
    let first = format!("{}(", scsi.path);
    assert_eq!(layers().matches(&first).count(), 2, "{}", layers());
    scsi.pull();
    wait_until("it is missed", || figure("disks_missing") == 1.0);
    for (number, (_, at)) in (0..).zip(&made) {
        put(at, 1, number + 100);
    }
    scene.stop();
    let devices = DEVICES.replace('}', &format!(", retire: [\"{uuid}\"]}}"));
    let pools = format!("pools: [{{name: pool, devices: {devices}{RAID}}}]\n");
    fs::write(scene.home().join("pools.yaml"), pools).unwrap();
    scene.start();
    wait_within(LONG, "the group is whole", || members(GROUP) == [disk(0), disk(1)]);
    wait_until("nothing is lost", || figure("volumes_on_missing_disks") == 0.0);
    scsi.plug_in();
    tell_change(&scsi.path);
    scene.make(&Wish::new("beside", "block", mib(24)));
    assert_eq!(members(GROUP), [disk(0), disk(1)], "what is on the old disk counts no more");
    assert_whole(&scene, made);
    run("dd", &["if=/dev/zero", &format!("of={}", scsi.path), "bs=1M", "count=8", "conv=fsync"]);
}
