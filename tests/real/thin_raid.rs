//! Thin pools that lie on RAIDs: made in steps that are cut short, and used while disks go and come.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};

use rstest::rstest;

use crate::raid::assert_bears_loss;
use crate::support::{
    Scene, Volume, Wish,
    content::{forget_cached, holds, put},
    disks::{Disks, Scsi, disk, empty, members, scribble, tell_change},
    killer::some_of,
    machine::{attempt, run, wait_until, wait_within},
    mib,
    pages::{PAGES, figure},
};

const GROUP: &str = "tarn-pool";
const THIN: &str = ", provisioning: ThickAndThin, layout: Raid1, \
                    thinPool: {size: 64Mi, layout: Raid1, overprovision: 400}";
/// A disk is waited for a minute before another takes its place, and the machine may be busy.
const LONG: Duration = Duration::from_secs(400);

/// Every layer, and the disk of each leg.
fn layers() -> String {
    run("lvs", &["-a", "--noheadings", "-o", "lv_name,lv_attr,copy_percent,devices", GROUP])
}

/// The disks on which the legs of the thin pool's data, and of its metadata, lie; each leg on one.
#[track_caller]
fn legs() -> [Vec<String>; 2] {
    let segments = run("pvs", &["--segments", "--noheadings", "-o", "lv_name,pv_name"]);
    ["tdata", "tmeta"].map(|layer| {
        // LVM gives a new leg a number of its own.
        let mut legs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for line in segments.lines() {
            let mut words = line.split_whitespace();
            let (Some(name), Some(disk)) = (words.next(), words.next()) else { continue };
            let of_layer = name.strip_prefix(&format!("[tarn-thin_{layer}_r"));
            let leg = of_layer.and_then(|it| it.strip_suffix(']')?.rsplit_once('_'));
            if let Some((_, leg)) = leg {
                legs.entry(leg).or_default().insert(disk);
            }
        }
        assert_eq!(legs.len(), 2, "{segments}");
        assert!(legs.values().all(|disks| disks.len() == 1), "a leg lies on one disk: {segments}");
        let disks: BTreeSet<&str> = legs.into_values().flatten().collect();
        assert_eq!(disks.len(), 2, "legs lie apart: {segments}");
        disks.into_iter().map(str::to_owned).collect()
    })
}

fn is_filled() -> bool {
    let percent = ["tdata", "tmeta"].map(|layer| {
        let name = format!("{GROUP}/tarn-thin_{layer}");
        run("lvs", &["--noheadings", "-o", "copy_percent", &name]).trim() == "100.00"
    });
    percent == [true; 2]
}

fn thin(name: &str, kind: &str, size: u64) -> Wish {
    Wish::new(name, kind, size).with("provisioning", "Thin")
}

/// Thin volumes in use, each with content of its own, on legs that all have it.
fn used(scene: &Scene) -> Vec<(Volume, PathBuf)> {
    let made: Vec<_> = ["ext4", "block"]
        .into_iter()
        .zip(0..)
        .map(|(kind, number)| {
            let made = scene.make_used(&thin(&format!("v{number}"), kind, mib(48)));
            put(&made.1, 0, number);
            made
        })
        .collect();
    run("sync", &[]);
    wait_until("its legs are the same", is_filled);
    made
}

fn assert_whole(scene: &Scene, made: Vec<(Volume, PathBuf)>, slots: u32) {
    forget_cached();
    for (number, (_, at)) in (0..).zip(&made) {
        let whole = (0..slots).all(|slot| holds(at, slot.into(), number + 100 * u64::from(slot)));
        assert!(whole, "{number}: a byte is lost");
    }
    for (volume, _) in made {
        scene.put_down(&volume);
        scene.take_up(&volume);
        scene.put_down(&volume);
        scene.delete(&volume).unwrap();
    }
    scene.make(&thin("more", "block", mib(8)));
    scene.make(&Wish::new("thick", "block", mib(8)).with("provisioning", "Thick"));
}

#[rstest]
#[case::mirror("layout: Raid1", 1)]
#[case::two_copies("layout: Raid1, mirrors: 2", 2)]
#[case::parity("layout: Raid5", 1)]
#[case::two_parities("layout: Raid6, stripes: 3", 2)]
#[case::mirrored_stripes("layout: Raid10", 1)]
#[ignore = "guest: disks that fail"]
fn its_data_and_its_metadata_bear_what_its_layout_does(
    #[case] layout: &str,
    #[case] losses: usize,
) {
    let spec = format!("provisioning: Thin, thinPool: {{size: 48Mi, {layout}}}");
    let scene = Scene::new(&[120; 6], &spec);
    let (volume, target) = scene.make_used(&Wish::new("v", "ext4", mib(24)));
    assert_bears_loss(&scene, &target, &["tarn-thin_tdata", "tarn-thin_tmeta"], losses);
    scene.put_down(&volume);
    let target = scene.take_up(&volume);
    assert!(holds(&target, 0, 1) && holds(&target, 1, 2));
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
}

#[test]
#[ignore = "guest: pulls a disk"]
fn a_new_disk_gets_the_legs_of_a_lost_one_and_the_volumes_go_on() {
    let scsi = Scsi::new();
    let disks = Disks::new(2);
    scribble(&disk(1), 0, &[1; 4096]);
    let (_emptied, mut scene) =
        disks.scene(r#"{paths: ["/dev/ubd[ab]", "/dev/sd*"]}"#, THIN, &PAGES);
    let both = [scsi.path.clone(), disk(0)];
    assert_eq!(legs(), [both.clone(), both]);
    let made = used(&scene);
    scsi.pull();
    wait_until("it is missed", || figure("disks_missing") == 1.0);
    for (number, (_, at)) in (0..).zip(&made) {
        put(at, 1, number + 100);
    }
    // Also after a start, when nothing of it is active any more.
    made.iter().for_each(|(volume, _)| scene.put_down(volume));
    scene.stop();
    run("vgchange", &["-an", GROUP]);
    scene.start();
    eprintln!("without a disk:\n{}", layers());
    for (number, (volume, at)) in (0..).zip(&made) {
        assert_eq!(scene.take_up(volume), *at);
        assert!(holds(at, 0, number) && holds(at, 1, number + 100));
        put(at, 2, number + 200);
    }
    empty(&disk(1));
    tell_change(&disk(1));
    wait_within(LONG, "the group is whole", || members(GROUP) == [disk(0), disk(1)]);
    wait_until("nothing is missing", || figure("disks_missing") == 0.0);
    wait_until("nothing is lost", || figure("volumes_on_missing_disks") == 0.0);
    wait_until("the new legs are filled", || is_filled() && figure("volumes_filling") == 0.0);
    assert_eq!(legs(), [[disk(0), disk(1)], [disk(0), disk(1)]]);
    assert_whole(&scene, made, 3);
}

#[test]
#[ignore = "guest: pulls a disk"]
fn its_repair_is_cut_short() {
    let scsi = Scsi::new();
    let disks = Disks::new(2);
    let home = disks.ground.home.clone();
    // At once, and when LVM has gone so far with either of the two; where that is over before it is seen, at its end.
    disks.wrap(
        "lvconvert",
        &format!(
            r#"number=$(cat {home}/kills 2>/dev/null || echo 0)
            moments=(. '_rmeta_[2-9]:' '_rimage_[2-9]:' ':..s' _extracted)
            [[ " $* " = *" --repair "* && $number -lt ${{#moments[@]}} ]] || exec "$real" "$@"
            echo $((number + 1)) > {home}/kills
            "$real" "$@" & it=$!
            until dmsetup info -c --noheadings -o name,attr | grep -q "tarn--thin.*${{moments[number]}}"; do
                kill -0 $it || break
            done
            kill -9 $it $PPID"#,
            home = home.display(),
        ),
    );
    scribble(&disk(1), 0, &[1; 4096]);
    let (_emptied, mut scene) =
        disks.scene(r#"{paths: ["/dev/ubd[ab]", "/dev/sd*"]}"#, THIN, &PAGES);
    let made = used(&scene);
    scsi.pull();
    wait_until("it is missed", || figure("disks_missing") == 1.0);
    for (number, (_, at)) in (0..).zip(&made) {
        put(at, 1, number + 100);
    }
    empty(&disk(1));
    tell_change(&disk(1));
    let mut kills = 0;
    wait_within(4 * LONG, "the group is whole", || {
        let number = fs::read_to_string(home.join("kills")).unwrap_or_default();
        if number.trim().parse::<u32>().is_ok_and(|it| it > kills) {
            kills += 1;
            let ended = scene.driver().ended();
            assert_eq!(ended.code(), None, "it was not killed: {ended}");
            eprintln!("what was left:\n{}", layers());
            scene.launch();
        }
        members(GROUP) == [disk(0), disk(1)]
    });
    assert!(kills >= 2, "each of the two was killed");
    scene.await_answer();
    wait_until("nothing is missing", || figure("disks_missing") == 0.0);
    wait_until("nothing is lost", || figure("volumes_on_missing_disks") == 0.0);
    wait_until("the new legs are filled", || is_filled() && figure("volumes_filling") == 0.0);
    assert!(!layers().contains("_extracted"), "{}", layers());
    assert_eq!(legs(), [[disk(0), disk(1)], [disk(0), disk(1)]]);
    assert_whole(&scene, made, 2);
    fs::remove_file(home.join("kills")).unwrap();
}

#[test]
#[ignore = "guest: pulls a disk"]
fn a_disk_that_comes_back_is_used_again() {
    let mut scsi = Scsi::new();
    let disks = Disks::new(1);
    let (_emptied, scene) = disks.scene(r#"{paths: ["/dev/ubda", "/dev/sd*"]}"#, THIN, &PAGES);
    let made = used(&scene);
    scsi.pull();
    wait_until("it is missed", || figure("disks_missing") == 1.0);
    for (number, (_, at)) in (0..).zip(&made) {
        put(at, 1, number + 100);
    }
    run("sync", &[]);
    scsi.plug_in();
    wait_until("nothing is missing", || figure("disks_missing") == 0.0);
    wait_until("nothing is lost", || figure("volumes_on_missing_disks") == 0.0);
    wait_until("nothing is shut out", || figure("disks_erring") == 0.0);
    wait_until("its legs are the same", is_filled);
    assert!(!layers().contains("aor-r"), "{}", layers());
    assert_whole(&scene, made, 2);
}

#[test]
#[ignore = "guest: moves legs of a thin pool"]
fn a_disk_with_legs_of_a_thin_pool_leaves() {
    let scsi = Scsi::new();
    let disks = Disks::new(2);
    scribble(&disk(1), 0, &[1; 4096]);
    let devices = r#"{paths: ["/dev/ubd[ab]", "/dev/sd*"]}"#;
    let (_emptied, mut scene) = disks.scene(devices, THIN, &PAGES);
    let made = used(&scene);
    scene.stop();
    empty(&disk(1));
    let devices = devices.replace('}', ", retire: [\"2000\"]}");
    let text = format!("pools: [{{name: pool, devices: {devices}{THIN}}}]\n");
    fs::write(scene.home().join("pools.yaml"), text).unwrap();
    scene.start();
    for (number, (_, at)) in (0..).zip(&made) {
        put(at, 1, number + 100);
    }
    wait_within(LONG, "the disk has left", || members(GROUP) == [disk(0), disk(1)]);
    wait_until("it is no physical volume any more", || {
        !run("pvs", &["--noheadings", "-o", "pv_name"]).contains(&scsi.path)
    });
    assert_eq!(legs(), [[disk(0), disk(1)], [disk(0), disk(1)]]);
    assert_whole(&scene, made, 2);
}

/// Has the driver and one of its commands be killed: `$left` others go before, and `$how` says when.
fn killer(home: &str) -> String {
    format!(
        r#"left=$(cat {home}/left)
        if [[ $left = never ]]; then exec "$real" "$@"; fi
        if ((left > 0)); then echo $((left - 1)) > {home}/left; exec "$real" "$@"; fi
        how=$(cat {home}/how)
        case $how in
        before) ;;
        after) "$real" "$@" ;;
        *) "$real" "$@" & it=$!; sleep "$how"; kill -9 $it ;;
        esac
        kill -9 $PPID"#
    )
}

#[rstest]
#[case::in_its_steps(&[("0", "before"), ("0", "after"), ("1", "after"), ("2", "before"), ("2", "after")])]
#[case::in_the_first(&[("0", "0.03"), ("0", "0.08"), ("0", "0.12"), ("0", "0.16"), ("0", "0.2")])]
#[case::in_the_last(
    &[("2", "0.05"), ("2", "0.1"), ("2", "0.15"), ("2", "0.2"), ("2", "0.25"), ("2", "0.3"), ("2", "0.35"), ("2", "0.4"), ("2", "0.5")]
)]
#[ignore = "guest: kills LVM"]
fn its_making_is_cut_short(#[case] kills: &[(&str, &str)]) {
    let disks = Disks::new(2);
    let home = disks.ground.home.clone();
    let write = |left: &str, how: &str| {
        fs::write(home.join("left"), left).unwrap();
        fs::write(home.join("how"), how).unwrap();
    };
    write("never", "");
    for program in ["lvcreate", "lvconvert"] {
        disks.wrap(program, &killer(&home.display().to_string()));
    }
    let devices = r#"{paths: ["/dev/ubd[ab]"]}"#;
    let (_emptied, mut scene) = disks.scene(devices, ", layout: Raid1", &[]);
    let (theirs, at) = scene.make_used(&Wish::new("theirs", "ext4", mib(24)));
    put(&at, 0, 1);
    scene.stop();
    let text = format!("pools: [{{name: pool, devices: {devices}{THIN}}}]\n");
    fs::write(home.join("pools.yaml"), text).unwrap();
    for (left, how) in some_of(kills) {
        // What an earlier round has made goes; what it has left of one does not.
        if run("lvs", &["--noheadings", "-o", "lv_layout", GROUP]).contains("thin,pool") {
            run("lvremove", &["-qq", "-y", &format!("{GROUP}/tarn-thin")]);
        }
        write(left, how);
        scene.launch();
        let ended = scene.driver().ended();
        assert_eq!(ended.code(), None, "it was not killed: {ended}");
        eprintln!("{left} {how}:\n{}", layers());
        write("never", "");
        scene.start();
        legs();
        let made = scene.make(&thin("v", "block", mib(8)));
        scene.delete(&made).unwrap();
        let left = attempt("lvs", &["--noheadings", "-o", "lv_name", GROUP]).stdout;
        let left = String::from_utf8_lossy(&left).into_owned();
        let mut left: Vec<&str> = left.split_whitespace().collect();
        left.sort_unstable();
        assert_eq!(left, ["tarn-thin", &theirs.id], "nothing else is left");
        scene.stop();
        run("lvremove", &["-qq", "-y", &format!("{GROUP}/tarn-thin")]);
    }
    fs::write(home.join("pools.yaml"), format!("pools: [{{name: pool, devices: {devices}}}]\n"))
        .unwrap();
    scene.start();
    forget_cached();
    assert!(holds(&at, 0, 1));
    scene.put_down(&theirs);
    scene.delete(&theirs).unwrap();
}
