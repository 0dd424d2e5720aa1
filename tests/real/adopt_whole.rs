//! Disks, partitions and mount points with data become volumes as they are, and are handed back as they were.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use rstest::rstest;
use tarn::volume::VolumeId;
use tonic::Code;

use crate::support::{
    Scene, Volume, Wish,
    content::{forget_cached, holds, put},
    ground::Ground,
    machine::{run, wait_until},
    mib, refused,
};

/// A directory for a pool, with devices in it that hold a file.
struct Shelf {
    ground: Ground,
}

impl Shelf {
    fn new() -> Self {
        let ground = Ground::new(&[]);
        fs::create_dir(ground.home.join("disks")).unwrap();
        // It is made with the first record, and stays.
        fs::create_dir_all(ground.home.join("volumes/pool")).unwrap();
        Self { ground }
    }

    fn device(&self, name: &str) -> String {
        let file = self.ground.home.join(format!("{name}.image"));
        fs::File::create(&file).unwrap().set_len(mib(320)).unwrap();
        run("losetup", &["--partscan", "--find", "--show", file.to_str().unwrap()])
            .trim()
            .to_owned()
    }

    fn link(&self, name: &str, device: &str) {
        symlink(device, self.ground.home.join("disks").join(name)).unwrap();
    }

    /// A device with a file system and a file in it, and its link.
    fn with_file(&self, name: &str, kind: &str) -> String {
        let device = self.device(name);
        self.link(name, &device);
        make(&self.ground, &device, kind);
        device
    }

    fn open(self) -> Scene {
        let home = self.ground.home.display();
        let pools =
            format!("pools: [{{name: pool, wholeDevices: {{directories: [{home}/disks]}}}}]\n");
        Scene::on(self.ground, &pools, &[])
    }
}

/// Makes a file system, and a file in it.
fn make(ground: &Ground, device: &str, kind: &str) {
    match kind {
        "ext4" => run("mkfs.ext4", &["-q", "-F", "-m0", "-E", "nodiscard", device]),
        "xfs" => run("mkfs.xfs", &["-q", "-f", "-K", device]),
        "btrfs" => run("mkfs.btrfs", &["-q", "-f", "-K", device]),
        other => panic!("{other}"),
    };
    by_hand(ground, device, |at| put(at, 0, 7));
}

/// Mounts a device by hand for a moment.
fn by_hand<T>(ground: &Ground, device: &str, look: impl FnOnce(&Path) -> T) -> T {
    let at = ground.home.join("by-hand");
    fs::create_dir(&at).unwrap();
    run("mount", &[device, at.to_str().unwrap()]);
    let found = look(&at);
    run("umount", &[at.to_str().unwrap()]);
    fs::remove_dir(&at).unwrap();
    found
}

/// Every byte of a device.
fn hash(device: &str) -> String {
    forget_cached();
    run("sha256sum", &[device]).split(' ').next().unwrap().to_owned()
}

fn entry(ground: &Ground, name: &str) -> String {
    ground.home.join("disks").join(name).display().to_string()
}

fn program(ground: &Ground, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarn"));
    command.args(args).args(["--node-id", "guest", "--pools"]).arg(ground.home.join("pools.yaml"));
    command.arg("--volumes-dir").arg(ground.home.join("volumes"));
    command
}

fn tarn(ground: &Ground, args: &[&str]) -> Output {
    program(ground, args).output().unwrap()
}

#[track_caller]
fn does(ground: &Ground, args: &[&str]) -> String {
    let output = tarn(ground, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn records(ground: &Ground) -> Vec<PathBuf> {
    let all = fs::read_dir(ground.home.join("volumes/pool")).unwrap();
    all.map(|it| it.unwrap().path()).collect()
}

/// What it says when it does not, having changed nothing.
#[track_caller]
fn refuses(ground: &Ground, args: &[&str]) -> String {
    let before = records(ground);
    let output = tarn(ground, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert_eq!(records(ground), before, "{args:?}: {said}");
    said
}

fn adopted(scene: &Scene, name: &str, kind: &'static str) -> Volume {
    let id = VolumeId::of(&name.parse().unwrap());
    scene.known(id.as_str(), &Wish::new(name, kind, 0))
}

/// Adopted and handed back it is as it was, byte for byte; adopted again, it is used by pods.
fn live_on(scene: &mut Scene, device: &str, name: &str, kind: &'static str) {
    let before = hash(device);
    let path = entry(&scene.ground, name);
    let adopt = ["adopt", &path, "--name", "photos"];
    let said = does(&scene.ground, &adopt);
    assert!(said.contains(&path) && said.contains(kind), "{said}");
    assert_eq!(does(&scene.ground, &adopt), said, "twice is once");
    let released = does(&scene.ground, &["release", "photos"]);
    assert!(released.contains(&format!("it is {path} again")), "{released}");
    assert_eq!((hash(device), records(&scene.ground).len()), (before, 0));

    // The running driver has it at its next call, with its file.
    does(&scene.ground, &adopt);
    let volume = adopted(scene, "photos", kind);
    let target = scene.take_up(&volume);
    assert!(holds(&target, 0, 7));
    put(&target, 1, 8);
    let in_use = refuses(&scene.ground, &["release", "photos"]);
    assert!(in_use.contains("mounted at"), "{in_use}");
    scene.kill();
    scene.start();
    forget_cached();
    assert!(holds(&target, 0, 7) && holds(&target, 1, 8));
    assert_eq!(scene.volumes(), std::slice::from_ref(&volume.id));
    scene.put_down(&volume);

    // Handed back after use, its owner reads both files, and nobody else gets it.
    does(&scene.ground, &["release", &volume.id]);
    let both = by_hand(&scene.ground, device, |at| holds(at, 0, 7) && holds(at, 1, 8));
    assert!(both);
    refused(scene.stage(&volume), Code::NotFound);
    refused(scene.try_make(&Wish::new("new", "ext4", mib(16))), Code::ResourceExhausted);
    assert!(scene.volumes().is_empty());
}

#[rstest]
#[case("ext4")]
#[case("xfs")]
#[case("btrfs")]
#[ignore = "guest: real devices"]
fn a_disk_is_adopted_and_handed_back(#[case] kind: &'static str) {
    let shelf = Shelf::new();
    let device = shelf.with_file("d0", kind);
    let mut scene = shelf.open();
    live_on(&mut scene, &device, "d0", kind);
}

#[test]
#[ignore = "guest: real devices"]
fn a_partition_is_adopted_and_its_neighbour_stays() {
    let shelf = Shelf::new();
    let disk = shelf.device("disk");
    run("sgdisk", &["--new=1:0:+128M", "--new=2:0:+128M", &disk]);
    let parts = [format!("{disk}p1"), format!("{disk}p2")];
    wait_until("the partitions are there", || parts.iter().all(|it| Path::new(it).exists()));
    for (part, name) in parts.iter().zip(["p1", "p2"]) {
        make(&shelf.ground, part, "ext4");
        shelf.link(name, part);
    }
    shelf.link("whole", &disk);
    let other = hash(&parts[1]);
    let mut scene = shelf.open();
    let path = entry(&scene.ground, "whole");
    let whole = refuses(&scene.ground, &["adopt", &path, "--name", "photos"]);
    assert!(whole.contains("it has the partitions"), "{whole}");
    live_on(&mut scene, &parts[0], "p1", "ext4");
    assert_eq!(hash(&parts[1]), other);
}

#[test]
#[ignore = "guest: real devices"]
fn a_mount_point_is_adopted_as_it_is_and_emptied_only_when_it_is_deleted() {
    let shelf = Shelf::new();
    let device = shelf.device("m");
    make(&shelf.ground, &device, "ext4");
    let at = shelf.ground.home.join("disks/m");
    fs::create_dir(&at).unwrap();
    run("mount", &[&device, at.to_str().unwrap()]);
    let scene = shelf.open();
    let (ground, path) = (&scene.ground, entry(&scene.ground, "m"));
    let adopt = ["adopt", &path, "--name", "photos"];
    let elsewhere = ground.home.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    run("mount", &["--bind", at.to_str().unwrap(), elsewhere.to_str().unwrap()]);
    let used = refuses(ground, &adopt);
    assert!(used.contains("its file system is mounted at"), "{used}");
    run("umount", &[elsewhere.to_str().unwrap()]);
    fs::remove_dir(&elsewhere).unwrap();

    let said = does(ground, &adopt);
    assert!(said.contains("photos, ext4"), "{said}");
    let volume = adopted(&scene, "photos", "ext4");
    let target = scene.take_up(&volume);
    assert!(holds(&target, 0, 7));
    put(&target, 1, 8);
    assert!(refuses(ground, &["release", "photos"]).contains("mounted at"));
    scene.put_down(&volume);
    does(ground, &["release", "photos"]);
    assert!(holds(&at, 0, 7) && holds(&at, 1, 8), "it stays mounted where it was");

    does(ground, &adopt);
    scene.take_up(&volume);
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    wait_until("what was deleted is empty", || records(&scene.ground).is_empty());
    assert!(fs::read_dir(&at).unwrap().all(|it| it.unwrap().file_name() == "lost+found"));
    // What was there when the scene began is there when it ends.
    put(&at, 0, 7);
}

#[test]
#[ignore = "guest: real devices"]
fn what_may_not_be_adopted_stays_as_it_is() {
    let shelf = Shelf::new();
    let plain = shelf.with_file("plain", "ext4");
    let all = ["pv", "swap", "raw", "empty"].map(|name| {
        let device = shelf.device(name);
        shelf.link(name, &device);
        device
    });
    run("pvcreate", &["-qq", &all[0]]);
    run("mkswap", &[&all[1]]);
    fs::write(&all[2], vec![7; 4 << 20]).unwrap();
    let stray = shelf.device("stray");
    let hashes = || [&plain, &all[0], &all[1], &all[2]].map(|it| hash(it));
    let scene = shelf.open();
    let ground = &scene.ground;
    let says = |name: &str, why: &str| {
        let said = refuses(ground, &["adopt", &entry(ground, name), "--name", "photos"]);
        assert!(said.contains(why) && said.lines().count() == 1, "{said}");
    };
    by_hand(ground, &plain, |_| says("plain", "is mounted at"));
    let before = hashes();
    says("pv", "a physical volume of LVM's");
    says("swap", "holds swap");
    says("raw", "(as block)");
    says("nothing", "is in no directory");
    let linked = refuses(ground, &["adopt", &stray, "--name", "photos"]);
    assert!(linked.contains(&format!("ln -s {stray} ")), "{linked}");
    let made = scene.make(&Wish::new("made", "block", mib(16)));
    assert!(refuses(ground, &["release", "made"]).contains("was made by Tarn"));
    does(ground, &["adopt", &entry(ground, "plain"), "--name", "photos"]);
    let again = refuses(ground, &["adopt", &entry(ground, "plain"), "--name", "music"]);
    assert!(again.contains("tarn release photos"), "{again}");
    let taken =
        refuses(ground, &["adopt", &entry(ground, "swap"), "--as", "block", "--name", "photos"]);
    assert!(taken.contains("the name is taken"), "{taken}");
    does(ground, &["release", "photos"]);

    // Said to be raw, and kept to the last byte.
    let raw = ["adopt", &entry(ground, "raw"), "--name", "raw", "--as", "block", "--print-pv"];
    let said = does(ground, &raw);
    assert!(said.contains("volumeMode: Block"), "{said}");
    let of_raw = adopted(&scene, "raw", "block");
    let target = scene.take_up(&of_raw);
    assert!(fs::read(&target).unwrap().starts_with(&[7; 4096]));
    scene.put_down(&of_raw);
    does(ground, &["release", "raw"]);
    assert_eq!(hashes(), before);
    scene.delete(&made).unwrap();
    wait_until("the device is clean", || records(&scene.ground).is_empty());
}

/// A wipe needs DeleteVolume; nothing else begins one.
#[test]
#[ignore = "guest: real devices"]
fn one_that_is_deleted_is_wiped() {
    let shelf = Shelf::new();
    let device = shelf.with_file("d0", "ext4");
    let mut scene = shelf.open();
    does(&scene.ground, &["adopt", &entry(&scene.ground, "d0"), "--name", "photos"]);
    scene.stop();
    scene.start();
    let volume = adopted(&scene, "photos", "ext4");
    let target = scene.take_up(&volume);
    assert!(holds(&target, 0, 7));
    refused(scene.delete(&volume), Code::FailedPrecondition);
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    wait_until("the device is clean", || records(&scene.ground).is_empty());
    assert!(fs::read(&device).unwrap().iter().all(|it| *it == 0));
}

/// Killed at any moment, it has adopted or released it or not, and the same call goes on.
#[test]
#[ignore = "guest: real devices"]
fn one_that_was_killed_at_any_moment_is_adopted_or_not() {
    let shelf = Shelf::new();
    let device = shelf.with_file("d0", "ext4");
    let scene = shelf.open();
    let ground = &scene.ground;
    let path = entry(ground, "d0");
    let adopt = ["adopt", &path, "--name", "photos"];
    let before = hash(&device);
    let kill_after = |args: &[&str], pause: u64| {
        let mut child: Child =
            program(ground, args).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
    };
    for pause in (0..100).step_by(10) {
        kill_after(&adopt, pause);
        does(ground, &adopt);
        kill_after(&["release", "photos"], pause);
        if records(ground).iter().any(|it| it.extension().is_some_and(|it| it == "json")) {
            does(ground, &["release", "photos"]);
        }
    }
    assert_eq!(hash(&device), before);
    wait_until("nothing is left of what was killed", || records(ground).is_empty());
}
