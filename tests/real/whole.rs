//! Volumes that are whole devices.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{FileExt as _, symlink},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tonic::{Code, Status};

use crate::support::{
    Scene, Volume, Wish,
    content::{holds, put},
    dice::Dice,
    disks::Disks,
    ground::Ground,
    machine::{attempt, run, wait_until},
    mib, refused,
};

/// A pool over a directory with links to loop devices.
struct Yard {
    scene: Scene,
    devices: Vec<String>,
}

/// Loop devices of so many MiB, each with a link in the directory `disks` of the ground.
fn loops(ground: &Ground, sizes: &[u64]) -> Vec<String> {
    fs::create_dir(ground.home.join("disks")).unwrap();
    // It is made with the first record, and stays.
    fs::create_dir_all(ground.home.join("volumes/pool")).unwrap();
    let device = |(at, size): (usize, &u64)| {
        let file = ground.home.join(format!("image{at}"));
        fs::File::create(&file).unwrap().set_len(mib(*size)).unwrap();
        let device = run("losetup", &["--find", "--show", file.to_str().unwrap()]);
        let device = device.trim().to_owned();
        symlink(&device, ground.home.join(format!("disks/d{at}"))).unwrap();
        device
    };
    sizes.iter().enumerate().map(device).collect()
}

fn entry(home: &Path) -> String {
    format!("{{name: pool, wholeDevices: {{directories: [{}/disks]}}}}", home.display())
}

impl Yard {
    fn new(sizes: &[u64]) -> Self {
        let ground = Ground::new(&[]);
        let devices = loops(&ground, sizes);
        let pools = format!("pools: [{}]\n", entry(&ground.home));
        Self { scene: Scene::on(ground, &pools, &[]), devices }
    }

    fn records(&self) -> PathBuf {
        self.scene.home().join("volumes/pool")
    }

    /// Waits until the devices of all deleted volumes are free again.
    fn await_clean(&self) {
        wait_until("every device is clean", || fs::read_dir(self.records()).unwrap().count() == 0);
        for device in &self.devices {
            let bytes = fs::read(device).unwrap();
            assert!(bytes.iter().all(|it| *it == 0), "{device} is not all zeroes");
        }
    }
}

#[test]
#[ignore = "guest: real devices"]
fn a_life_on_a_whole_device() {
    let mut yard = Yard::new(&[96, 80, 128]);
    assert_eq!(yard.scene.capacity(&[]), (mib(304), mib(128)));
    let (volume, target) = yard.scene.make_used(&Wish::new("a", "ext4", mib(16)));
    assert_eq!((volume.size, yard.scene.capacity(&[])), (mib(80), (mib(224), mib(128))));
    put(&target, 0, 100);
    for is_killed in [false, true] {
        if is_killed {
            yard.scene.kill()
        } else {
            yard.scene.stop()
        }
        yard.scene.start();
        assert!(holds(&target, 0, 100), "the pod goes on");
        assert_eq!(yard.scene.volumes(), [volume.id.as_str()]);
    }
    yard.scene.put_down(&volume);
    let target = yard.scene.take_up(&volume);
    assert!(holds(&target, 0, 100), "the next pod finds what the last one wrote");
    assert_eq!(yard.scene.expand(&volume, mib(80)).unwrap(), mib(80));
    refused(yard.scene.expand(&volume, mib(81)), Code::OutOfRange);
    let said = refused(yard.scene.delete(&volume), Code::FailedPrecondition);
    assert!(said.contains("in use"), "{said}");

    let (raw, device) = yard.scene.make_used(&Wish::new("b", "block", mib(100)));
    assert_eq!(raw.size, mib(128));
    let file = OpenOptions::new().write(true).open(&device).unwrap();
    file.write_all_at(b"secret", mib(64)).unwrap();
    file.sync_all().unwrap();
    drop(file);
    refused(yard.scene.delete(&raw), Code::FailedPrecondition);
    let said =
        refused(yard.scene.try_make(&Wish::new("c", "ext4", mib(97))), Code::ResourceExhausted);
    assert!(said.contains("the largest free one has 96Mi"), "{said}");
    refused(
        yard.scene.try_make(&Wish::new("c", "ext4", mib(16)).with("wipe", "none")),
        Code::InvalidArgument,
    );
    for volume in [&volume, &raw] {
        yard.scene.put_down(volume);
        yard.scene.delete(volume).unwrap();
    }
    yard.await_clean();
    assert_eq!(yard.scene.capacity(&[]), (mib(304), mib(128)));
}

/// blkid has something to say of every partition, also of one with nothing on it.
#[test]
#[ignore = "guest: real devices"]
fn an_empty_partition_is_given_out_and_no_other() {
    let ground = Ground::new(&[]);
    let disk = loops(&ground, &[300]).remove(0);
    run("sgdisk", &["--new=1:0:+96M", "--new=2:0:+96M", &disk]);
    // Only so are partitions of a loop device seen.
    run("losetup", &["--detach", &disk]);
    let image = ground.home.join("image0");
    let args = ["--partscan", "--find", "--show", image.to_str().unwrap()];
    let disk = run("losetup", &args).trim().to_owned();
    run("mkfs.ext4", &["-q", &format!("{disk}p2")]);
    for part in ["p1", "p2"] {
        symlink(format!("{disk}{part}"), ground.home.join("disks").join(part)).unwrap();
    }
    let pools = format!("pools: [{}]\n", entry(&ground.home));
    let mut scene = Scene::on(ground, &pools, &[]);
    assert_eq!(scene.capacity(&[]), (mib(96), mib(96)));
    let (volume, target) = scene.make_used(&Wish::new("a", "ext4", mib(16)));
    put(&target, 0, 100);
    scene.kill();
    scene.start();
    scene.put_down(&volume);
    let target = scene.take_up(&volume);
    assert!(holds(&target, 0, 100));
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    let records = scene.home().join("volumes/pool");
    wait_until("the partition is clean", || fs::read_dir(&records).unwrap().count() == 0);
    run("cmp", &["-n", "96M", &format!("{disk}p1"), "/dev/zero"]);
    run("e2fsck", &["-fn", &format!("{disk}p2")]);
    assert_eq!(scene.capacity(&[]), (mib(96), mib(96)));
}

#[test]
#[ignore = "guest: real devices"]
fn only_what_is_empty_and_unused_is_given_out() {
    let ground = Ground::new(&[]);
    let devices = loops(&ground, &[80, 80, 80, 80, 80, 80]);
    let disks = ground.home.join("disks");
    run("mkfs.ext4", &["-q", &devices[1]]);
    run("mkswap", &["-q", &devices[2]]);
    let raw = OpenOptions::new().write(true).open(&devices[3]).unwrap();
    raw.write_all_at(b"x", 0).unwrap();
    drop(raw);
    run("blockdev", &["--setro", &devices[4]]);
    fs::remove_file(disks.join("d5")).unwrap();
    fs::write(disks.join("node"), "").unwrap();
    run("mount", &["--bind", &devices[5], disks.join("node").to_str().unwrap()]);
    fs::create_dir(disks.join("directory")).unwrap();
    fs::write(disks.join("file"), "").unwrap();
    symlink("/dev/nothing", disks.join("nowhere")).unwrap();
    symlink(&devices[0], disks.join("twice")).unwrap();
    let pools = format!("pools: [{}]\n", entry(&ground.home));
    let scene = Scene::on(ground, &pools, &[]);
    assert_eq!(scene.capacity(&[]), (mib(160), mib(80)), "d0 and node");
    let log = fs::read_to_string(scene.home().join("driver.log")).unwrap();
    for why in [
        "an ext4 file system",
        "a swap area",
        "it is not empty",
        "it is read-only",
        "not a mount point",
        "no block device",
        "leads nowhere",
        "the same device as",
    ] {
        assert!(log.contains(why), "{why}:\n{log}");
    }
    let volumes = ["a", "b"].map(|name| scene.make(&Wish::new(name, "block", mib(1))));
    refused(scene.try_make(&Wish::new("c", "block", mib(1))), Code::ResourceExhausted);
    // What comes later is found by who wants it.
    run("wipefs", &["-qa", &devices[1]]);
    refused(scene.try_make(&Wish::new("c", "block", mib(1))), Code::ResourceExhausted);
    run("blkdiscard", &["--zeroout", &devices[1]]);
    let third = scene.make(&Wish::new("c", "block", mib(1)));
    for volume in volumes.iter().chain([&third]) {
        scene.delete(volume).unwrap();
    }
    let records = scene.home().join("volumes/pool");
    wait_until("every device is clean", || fs::read_dir(&records).unwrap().count() == 0);
    run("umount", &[disks.join("node").to_str().unwrap()]);
    run("blockdev", &["--setrw", &devices[4]]);
    run("mount", &["--bind", &devices[5], disks.join("node").to_str().unwrap()]);
}

/// Makes a volume and uses it, and takes the last one away.
fn live(scene: &Scene, wish: &Wish, last: Option<&Volume>) -> Result<Volume, Status> {
    let volume = scene.try_make(wish)?;
    scene.stage(&volume)?;
    let target = scene.publish(&volume, "pod", false)?;
    fs::write(target.join("name"), &wish.name).unwrap();
    if let Some(last) = last {
        scene.unpublish(last, "pod")?;
        scene.unstage(last)?;
        scene.delete(last)?;
    }
    Ok(volume)
}

#[test]
#[ignore = "guest: real devices, kills the driver"]
fn killed_anywhere_with_whole_devices() {
    let mut yard = Yard::new(&[64, 64, 64, 64]);
    let (mut dice, mut last) = (Dice::new(11), None::<Volume>);
    for round in 0..25 {
        let pid = yard.scene.driver_pid();
        let pause = Duration::from_micros(dice.roll(60_000));
        let killer = thread::spawn(move || {
            thread::sleep(pause);
            run("kill", &["-KILL", &pid.to_string()]);
        });
        let wish = Wish::new(&format!("v{round}"), "ext4", mib(16));
        let first = live(&yard.scene, &wish, last.as_ref());
        killer.join().unwrap();
        // It is dead; now its socket is, too.
        yard.scene.kill();
        yard.scene.start();
        // The devices of those before may still be wiped.
        let mut volume = first.ok();
        wait_until("there is a device", || {
            volume = volume.take().or_else(|| live(&yard.scene, &wish, last.as_ref()).ok());
            volume.is_some()
        });
        let volume = volume.unwrap();
        assert_eq!(yard.scene.volumes(), [volume.id.as_str()], "round {round}");
        let target = yard.scene.target(&volume, "pod");
        assert_eq!(fs::read_to_string(target.join("name")).unwrap(), wish.name);
        last = Some(volume);
    }
    let last = last.unwrap();
    yard.scene.put_down(&last);
    yard.scene.delete(&last).unwrap();
    yard.await_clean();
    assert_eq!(yard.scene.capacity(&[]), (mib(256), mib(64)));
}

/// A driver over one pool whose entry has these fields beside the directory.
fn scene(ground: Ground, wipe: &str, of_devices: &str) -> Scene {
    let directories = format!("directories: [{}/disks]", ground.home.display());
    let entry =
        format!("{{name: pool, wipe: {wipe}, wholeDevices: {{{directories}, {of_devices}}}}}");
    Scene::on(ground, &format!("pools: [{entry}]\n"), &[])
}

/// Makes a raw volume, writes into its middle, and deletes it; gives its record.
fn write_and_delete(scene: &Scene) -> PathBuf {
    let (volume, device) = scene.make_used(&Wish::new("raw", "block", mib(16)));
    let file = OpenOptions::new().write(true).open(&device).unwrap();
    file.write_all_at(b"secret", mib(64)).unwrap();
    file.sync_all().unwrap();
    drop(file);
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    scene.home().join(format!("volumes/pool/{}.json", volume.id))
}

/// What is there where that was written.
fn middle(device: &str) -> [u8; 6] {
    let mut bytes = [0; 6];
    fs::File::open(device).unwrap().read_exact_at(&mut bytes, mib(64)).unwrap();
    bytes
}

/// How many passes of the wipe the record says are done.
fn passes(record: &Path) -> Option<u64> {
    let text = fs::read_to_string(record).ok()?;
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["wiped"]["passes"].as_u64()
}

#[test]
#[ignore = "guest: real disks, kills the driver"]
fn a_device_is_shredded_and_a_killed_driver_goes_on_where_it_was() {
    let disks = Disks::new(1);
    let home = disks.ground.home.clone();
    run("blkdiscard", &["--force", "/dev/ubda"]);
    // It is known by the serial number of its disk.
    run("sgdisk", &["--new=1:0:+128M", "/dev/ubda"]);
    fs::create_dir(home.join("disks")).unwrap();
    fs::create_dir_all(home.join("volumes/pool")).unwrap();
    symlink("/dev/ubda1", home.join("disks/first")).unwrap();
    let (_emptied, ground) = disks.apart();
    let mut scene = scene(ground, "Shred", "shredPasses: 9");
    assert_eq!(scene.capacity(&[]), (mib(128), mib(128)));
    let record = write_and_delete(&scene);
    wait_until("two passes are done", || passes(&record) >= Some(2));
    scene.kill();
    let before = passes(&record).unwrap();
    assert_ne!(&middle("/dev/ubda1"), b"secret");
    scene.start();
    let mut least = u64::MAX;
    wait_until("the device is clean", || {
        least = least.min(passes(&record).unwrap_or(u64::MAX));
        !record.try_exists().unwrap()
    });
    assert!((before..=9).contains(&least), "it began anew at {least}, and had been at {before}");
    run("cmp", &["-n", "128M", "/dev/ubda1", "/dev/zero"]);
    wait_until("it is free", || scene.capacity(&[]) == (mib(128), mib(128)));
}

#[test]
#[ignore = "guest: real devices"]
fn a_quick_reset_leaves_a_device_that_looks_empty() {
    let ground = Ground::new(&[]);
    let device = loops(&ground, &[320]).remove(0);
    let scene = scene(ground, "QuickReset", "allowQuickReset: true");
    let whole = (mib(320), mib(320));
    for kind in ["ext4", "xfs", "btrfs"] {
        let (volume, target) = scene.make_used(&Wish::new(kind, kind, mib(128)));
        put(&target, 0, 10);
        scene.put_down(&volume);
        scene.delete(&volume).unwrap();
        wait_until("the device is free", || scene.capacity(&[]) == whole);
        let found = attempt("blkid", &["-p", &device]);
        assert_eq!(found.status.code(), Some(2), "{}", String::from_utf8_lossy(&found.stdout));
    }
    let record = write_and_delete(&scene);
    wait_until("the device is free", || !record.try_exists().unwrap());
    assert_eq!(&middle(&device), b"secret", "that is what the pool consents to");
}

#[test]
#[ignore = "guest: real disks"]
fn whole_devices_are_kept_from_pools_of_disks() {
    let disks = Disks::new(2);
    let home = disks.ground.home.clone();
    fs::create_dir(home.join("disks")).unwrap();
    symlink("/dev/ubda", home.join("disks/first")).unwrap();
    let of_disks = "{name: fast, devices: {paths: [/dev/ubd*]}}";
    let pools = format!("pools: [{of_disks}, {}]\n", entry(&home));
    fs::write(home.join("pools.yaml"), pools).unwrap();
    let plan = disks.plan();
    let lines: Vec<&str> = plan.lines().filter(|it| it.contains("/dev/ubda")).collect();
    let offered = format!("offers  {}/disks/first (/dev/ubda, ", home.display());
    assert!(lines.iter().any(|it| it.contains(&offered)), "{plan}");
    let is_refused = |it: &&str| it.contains("refuses /dev/ubda") && it.contains("of pool pool");
    assert!(lines.iter().any(is_refused), "{plan}");
    let driver = disks.start();
    let members = run("pvs", &["--noheadings", "-o", "pv_name"]);
    assert!(members.contains("/dev/ubdb") && !members.contains("/dev/ubda"), "{members}");
    driver.stop();
}
