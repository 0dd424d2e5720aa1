//! Logical volumes of other drivers and of people become volumes as they are, and are handed back as they were.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use rstest::rstest;
use tarn::volume::VolumeId;
use tonic::Code;

use crate::support::{
    Scene, Volume, Wish,
    content::{forget_cached, holds, put},
    ground::Ground,
    machine::{attempt, run},
    mib, refused,
};

/// What TopoLVM calls a volume: the UID of its LogicalVolume object.
const TOPOLVM: &str = "5d0f4a3e-6f83-4e0c-9b7e-2c1d1d9b6a10";
/// What OpenEBS lvm-localpv calls one: as its LVMVolume object, and its PersistentVolume.
const OPENEBS: &str = "pvc-213ca1e6-e271-4ec8-875c-c7def3a4908d";

/// What was there before Tarn: a volume that holds a file.
struct Theirs {
    vg: String,
    lv: String,
    kind: &'static str,
}

impl Theirs {
    /// Makes a volume as a driver does, its file system, and a file in it.
    fn make(ground: &Ground, lv: &str, how: &str, kind: &'static str) -> Self {
        let vg = &ground.vg;
        let how = how.replace("VG", vg).replace("LV", lv);
        run("lvcreate", &how.split(' ').collect::<Vec<_>>());
        let theirs = Self { vg: vg.clone(), lv: lv.to_owned(), kind };
        let device = theirs.device();
        let device = device.to_str().unwrap();
        match kind {
            "ext4" => run("mkfs.ext4", &["-q", "-F", "-m0", "-E", "nodiscard", device]),
            "xfs" => run("mkfs.xfs", &["-q", "-f", "-K", device]),
            "btrfs" => run("mkfs.btrfs", &["-q", "-f", "-K", device]),
            other => panic!("{other}"),
        };
        theirs.mounted(ground, |at| put(at, 0, 7));
        theirs
    }

    fn path(&self) -> String {
        format!("{}/{}", self.vg, self.lv)
    }

    fn device(&self) -> PathBuf {
        Path::new("/dev").join(self.path())
    }

    /// Mounts it by hand for a moment.
    fn mounted<T>(&self, ground: &Ground, look: impl FnOnce(&Path) -> T) -> T {
        let at = ground.home.join("by-hand");
        fs::create_dir(&at).unwrap();
        run("mount", &[self.device().to_str().unwrap(), at.to_str().unwrap()]);
        let found = look(&at);
        run("umount", &[at.to_str().unwrap()]);
        fs::remove_dir(&at).unwrap();
        found
    }

    /// Every byte of it.
    fn hash(&self) -> String {
        forget_cached();
        let said = run("sha256sum", &[self.device().to_str().unwrap()]);
        said.split(' ').next().unwrap().to_owned()
    }
}

/// What LVM says of every volume of the group.
fn reported(vg: &str) -> String {
    let columns = "lv_name,lv_uuid,lv_size,lv_layout,lv_tags,lv_active,pool_lv,devices";
    run("lvs", &["-a", "--noheadings", "-o", columns, vg])
}

/// Runs the program beside the driver.
fn tarn(ground: &Ground, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarn"));
    command.args(args).args(["--node-id", "guest", "--pools"]).arg(ground.home.join("pools.yaml"));
    command.output().unwrap()
}

#[track_caller]
fn does(ground: &Ground, args: &[&str]) -> String {
    let output = tarn(ground, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it says when it does not, having changed nothing.
#[track_caller]
fn refuses(ground: &Ground, args: &[&str]) -> String {
    let before = reported(&ground.vg);
    let output = tarn(ground, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert_eq!(reported(&ground.vg), before, "{args:?}: {said}");
    assert!(output.stdout.is_empty(), "{:?}", output.stdout);
    said
}

fn scene(ground: Ground) -> Scene {
    let pools = format!("pools: [{{name: pool, volumeGroup: {}}}]\n", ground.vg);
    Scene::on(ground, &pools, &[])
}

fn adopted(scene: &Scene, name: &str, theirs: &Theirs) -> Volume {
    let id = VolumeId::of(&name.parse().unwrap());
    scene.known(id.as_str(), &Wish::new(name, theirs.kind, 0))
}

// As `lvmd` and the agent of lvm-localpv make them; `LV` is the volume's name.
#[rstest]
#[case::topolvm(TOPOLVM, "-n LV -L 335544320b -W y -y VG", "xfs")]
#[case::topolvm_striped(TOPOLVM, "-n LV -L 335544320b -W y -y -i 2 -I 64k VG", "ext4")]
#[case::topolvm_thin(TOPOLVM, "-T VG/pool0 -n LV -V 335544320b -W y -y", "ext4")]
#[case::openebs(OPENEBS, "-L 335544320b -n LV VG -y", "ext4")]
#[case::openebs_thin(OPENEBS, "-L 400m -T VG/VG_thinpool -V 335544320b -n LV -y", "btrfs")]
#[case::openebs_raid(OPENEBS, "-L 104857600b --type raid1 -m 1 -n LV VG -y", "ext4")]
#[ignore = "guest: real LVM and file systems"]
fn volumes_of_other_drivers_are_adopted_and_handed_back(
    #[case] lv: &str,
    #[case] how: &str,
    #[case] kind: &'static str,
) {
    let ground = Ground::new(&[900, 900]);
    if how.contains("pool0") {
        run("lvcreate", &["-q", "-T", &format!("{}/pool0", ground.vg), "--size", "400m"]);
    }
    let theirs = Theirs::make(&ground, lv, how, kind);
    let mut scene = scene(ground);
    let (before, hash) = (reported(&theirs.vg), theirs.hash());

    // Adopted and handed back, it is as it was, byte for byte and name for name.
    let said = does(&scene.ground, &["adopt", &theirs.path(), "--name", "diary"]);
    assert!(said.contains(&theirs.path()) && said.contains(kind), "{said}");
    assert!(!theirs.device().exists());
    does(&scene.ground, &["release", "diary"]);
    assert_eq!((reported(&theirs.vg), theirs.hash()), (before.clone(), hash));

    // The running driver has it at the next call, with its file.
    does(&scene.ground, &["adopt", &theirs.path(), "--name", "diary"]);
    let volume = adopted(&scene, "diary", &theirs);
    let target = scene.take_up(&volume);
    assert!(holds(&target, 0, 7));
    put(&target, 1, 8);
    let in_use = refuses(&scene.ground, &["release", "diary"]);
    assert!(in_use.contains("mounted at"), "{in_use}");
    // It is a volume like any other, also to a driver that begins.
    scene.kill();
    scene.start();
    forget_cached();
    assert!(holds(&target, 0, 7) && holds(&target, 1, 8));
    assert_eq!(scene.volumes(), std::slice::from_ref(&volume.id));
    scene.put_down(&volume);

    // Handed back after use, its owner reads both files.
    does(&scene.ground, &["release", &volume.id]);
    assert_eq!(reported(&theirs.vg), before);
    let (first, second) = theirs.mounted(&scene.ground, |at| (holds(at, 0, 7), holds(at, 1, 8)));
    assert!(first && second);
    refused(scene.stage(&volume), Code::NotFound);
}

#[test]
#[ignore = "guest: real LVM and file systems"]
fn an_adopted_volume_grows_has_snapshots_and_is_deleted_as_any() {
    let ground = Ground::new(&[900]);
    let theirs = Theirs::make(&ground, OPENEBS, "-L 104857600b -n LV VG -y", "ext4");
    let scene = scene(ground);
    does(&scene.ground, &["adopt", &theirs.path(), "--name", "diary"]);
    let volume = adopted(&scene, "diary", &theirs);
    let target = scene.take_up(&volume);
    assert_eq!(scene.expand(&volume, mib(140)).unwrap(), mib(140));
    assert_eq!(scene.node_expand(&volume, &target).unwrap(), mib(140));
    assert!(holds(&target, 0, 7) && scene.total(&volume, &target).unwrap() > mib(120));
    let snapshot = scene.snapshot("then", &volume).unwrap().snapshot_id;
    scene.put_down(&volume);
    let kept = refuses(&scene.ground, &["release", "diary"]);
    assert!(kept.contains(&snapshot), "{kept}");
    scene.delete_snapshot(&snapshot).unwrap();
    // What a repeated CreateVolume of its name wants is compared with it.
    let other = Wish::new("diary", "block", mib(140));
    refused(scene.try_make(&other), Code::AlreadyExists);
    does(&scene.ground, &["release", "diary"]);
    assert!(theirs.mounted(&scene.ground, |at| holds(at, 0, 7)));

    does(&scene.ground, &["adopt", &theirs.path(), "--name", "diary", "--wipe", "None"]);
    scene.take_up(&volume);
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    assert!(!reported(&theirs.vg).contains(&volume.id));
    // What was there when the scene began is there when it ends.
    run("lvcreate", &["-qq", "-y", "-Wn", "-L", "100m", "-n", &theirs.lv, &theirs.vg]);
}

#[test]
#[ignore = "guest: real LVM and file systems"]
fn what_may_not_be_adopted_stays_as_it_is() {
    let ground = Ground::new(&[900, 900]);
    let vg = ground.vg.clone();
    let theirs = Theirs::make(&ground, "photos", "-L 40m -n LV VG -y", "ext4");
    for how in [
        "-L 40m -n raw",
        "-L 40m -n origin",
        "-T pool -L 100m",
        "--type mirror -m 1 --mirrorlog core -L 40m -n old",
    ] {
        let how = how.replace("-T pool", &format!("-T {vg}/pool"));
        let mut args: Vec<&str> = vec!["-qq", "-y"];
        args.extend(how.split(' '));
        if !how.contains("/pool") {
            args.push(&vg);
        }
        run("lvcreate", &args);
    }
    run("lvcreate", &["-qq", "-y", "-s", "-L", "12m", "-n", "then", &format!("{vg}/origin")]);
    let scene = scene(ground);
    let ground = &scene.ground;
    let says = |lv: &str, why: &str| {
        let said = refuses(ground, &["adopt", &format!("{vg}/{lv}"), "--name", "diary"]);
        assert!(said.contains(why) && said.lines().count() == 1, "{said}");
    };
    theirs.mounted(ground, |_| says("photos", "mounted at"));
    let held = fs::File::open(theirs.device()).unwrap();
    says("photos", "in use");
    drop(held);
    says("raw", "(as block)");
    says("origin", "then");
    says("then", "a snapshot");
    says("pool", "a thin pool");
    says("pool_tdata", "LVM keeps for itself");
    says("old", "does not serve: mirror");
    says("nothing", "`lvs` shows");
    let elsewhere = refuses(ground, &["adopt", "other/photos", "--name", "diary"]);
    assert!(elsewhere.contains(&format!("which have {vg}")), "{elsewhere}");
    let bad = refuses(ground, &["adopt", "photos", "--name", "Di_ary", "--print-pv"]);
    assert!(bad.contains("Di_ary"), "{bad}");
    let volume = scene.make(&Wish::new("made", "block", mib(40)));
    says(&volume.id, "Tarn's already");
    let own = refuses(ground, &["release", "made"]);
    assert!(own.contains("was made by Tarn"), "{own}");

    // Said to be raw, and kept to the last byte.
    fs::write(format!("/dev/{vg}/raw"), vec![7; 4 << 20]).unwrap();
    let raw = Theirs { vg: vg.clone(), lv: "raw".to_owned(), kind: "block" };
    let hash = raw.hash();
    let said = does(
        ground,
        &["adopt", "raw", "--name", "raw", "--as", "block", "--print-pv", "--claim", "home/raw"],
    );
    assert!(said.contains("volumeMode: Block") && said.contains("namespace: home"), "{said}");
    let of_raw = adopted(&scene, "raw", &raw);
    let target = scene.take_up(&of_raw);
    assert!(fs::read(&target).unwrap().starts_with(&[7; 4096]));
    scene.put_down(&of_raw);
    does(ground, &["release", "raw"]);
    assert_eq!(raw.hash(), hash);
}

#[test]
#[ignore = "guest: real LVM and file systems"]
fn what_was_killed_half_way_is_finished_or_undone() {
    let ground = Ground::new(&[400]);
    let theirs = Theirs::make(&ground, TOPOLVM, "-n LV -L 41943040b -W y -y VG", "ext4");
    let scene = scene(ground);
    let (ground, vg) = (&scene.ground, &theirs.vg);
    let (before, hash) = (reported(vg), theirs.hash());
    let path = theirs.path();
    let adopt = ["adopt", &path, "--name", "diary"];
    does(ground, &adopt);
    let volume = adopted(&scene, "diary", &theirs);
    let id = &volume.id;
    let after = |text: String| text.replace(|c: char| c.is_ascii_digit(), "");
    let whole = after(reported(vg));
    // Killed between the two commands, it has its tags and its old name.
    for finishing in [&adopt[..], &["release", "diary"]] {
        let there = reported(vg).contains(id.as_str());
        if !there {
            does(ground, &adopt);
        }
        run("lvrename", &["-qq", vg, id, &theirs.lv]);
        assert!(reported(vg).contains("tarn.was"));
        does(ground, finishing);
        match finishing[0] {
            "adopt" => assert_eq!(after(reported(vg)), whole),
            _ => assert_eq!(reported(vg), before),
        }
    }
    assert_eq!(theirs.hash(), hash);
    assert!(!attempt("lvs", &[&format!("{vg}/{id}")]).status.success());
}

#[test]
#[ignore = "guest: real LVM and file systems"]
fn of_two_that_take_one_name_at_once_one_has_it() {
    let ground = Ground::new(&[400]);
    let make = |lv| Theirs::make(&ground, lv, "-n LV -L 41943040b -W y -y VG", "ext4");
    let both = [make("first"), make("second")];
    let scene = scene(ground);
    let (ground, vg) = (&scene.ground, &both[0].vg);
    let before = reported(vg);
    let paths = both.each_ref().map(Theirs::path);
    let outputs = thread::scope(|scope| {
        let adopts = paths
            .each_ref()
            .map(|path| scope.spawn(move || tarn(ground, &["adopt", path, "--name", "diary"])));
        adopts.map(|it| it.join().unwrap())
    });
    let winner = outputs.iter().position(|it| it.status.success()).unwrap();
    let (lost, loser) = (&outputs[1 - winner], &both[1 - winner]);
    let said = String::from_utf8_lossy(&lost.stderr);
    assert_eq!(lost.status.code(), Some(1), "{said}");
    assert!(said.contains("the name is taken"), "{said}");
    let of_loser = |report: &str| {
        let line = report.lines().find(|it| it.trim_start().starts_with(&loser.lv));
        // The columns are as wide as what is in them.
        line.map(|it| it.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    assert!(of_loser(&before).is_some());
    assert_eq!(of_loser(&reported(vg)), of_loser(&before));
    does(ground, &["release", "diary"]);
    assert_eq!(reported(vg), before);
}
