//! Volumes that are file systems which an admin has mounted in the directory of a pool of whole devices.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, chown, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{XattrFlags, listxattr, setxattr, statvfs};
use tonic::Code;

use crate::support::{
    Scene, Wish,
    content::{holds, put},
    ground::Ground,
    machine::{run, wait_until},
    mib, refused,
};

const FSTYPE: &str = "csi.storage.k8s.io/fstype";

/// A directory for a pool, with loop devices whose file systems are mounted in it.
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

    fn device(&self, name: &str, size: u64) -> String {
        let file = self.ground.home.join(format!("{name}.image"));
        fs::File::create(&file).unwrap().set_len(mib(size)).unwrap();
        run("losetup", &["--find", "--show", file.to_str().unwrap()]).trim().to_owned()
    }

    fn directory(&self, name: &str) -> PathBuf {
        let at = self.ground.home.join("disks").join(name);
        fs::create_dir(&at).unwrap();
        at
    }

    /// A file system of this kind, mounted under its name; gives its device, too.
    fn mounted(&self, name: &str, kind: &str, size: u64) -> (PathBuf, String) {
        let (device, at) = (self.device(name, size), self.directory(name));
        run(&format!("mkfs.{kind}"), &["-q", &device]);
        mount(&device, &at);
        (at, device)
    }

    fn open(self) -> Scene {
        let home = self.ground.home.display();
        let entry = format!("{{name: pool, wholeDevices: {{directories: [{home}/disks]}}}}");
        let pools = format!("pools: [{entry}]\n");
        Scene::on(self.ground, &pools, &[])
    }
}

fn mount(what: &str, at: &Path) {
    run("mount", &[what, at.to_str().unwrap()]);
}

fn unmount(at: &Path) {
    run("umount", &[at.to_str().unwrap()]);
}

/// How large the file system says it is.
fn size_of(at: &Path) -> u64 {
    let told = statvfs(at).unwrap();
    told.f_blocks * told.f_frsize
}

fn await_said(scene: &Scene, what: &str) {
    let log = scene.home().join("driver.log");
    wait_until(what, || fs::read_to_string(&log).unwrap().contains(what));
}

fn records(scene: &Scene) -> usize {
    fs::read_dir(scene.home().join("volumes/pool")).unwrap().count()
}

fn await_clean(scene: &Scene) {
    wait_until("what was deleted is empty", || records(scene) == 0);
}

/// Everything that a pod may leave; `outside` is what links lead to.
fn leave_a_mess(at: &Path, outside: &Path) {
    let mut deep = at.to_owned();
    for _ in 0..120 {
        deep.push("deeper");
        fs::create_dir(&deep).unwrap();
    }
    fs::write(deep.join("file"), "secret").unwrap();
    fs::write(at.join(OsStr::from_bytes(b"\xff \n\x80")), "secret").unwrap();
    symlink(outside, at.join("link")).unwrap();
    symlink(outside.join("precious"), at.join("link to a file")).unwrap();
    run("mkfifo", &[at.join("pipe").to_str().unwrap()]);
    run("mknod", &[at.join("node").to_str().unwrap(), "b", "98", "0"]);
    let kept = at.join("kept");
    fs::create_dir(&kept).unwrap();
    for (name, flag) in [("immutable", "+i"), ("grows", "+a")] {
        fs::create_dir(kept.join(name)).unwrap();
        fs::write(kept.join(name).join("file"), "secret").unwrap();
        run("chattr", &["-R", flag, kept.join(name).to_str().unwrap()]);
    }
    chown(at.join("deeper"), Some(1000), Some(2000)).unwrap();
    chown(at, Some(1000), Some(2000)).unwrap();
    run("chmod", &["3777", at.to_str().unwrap()]);
    for name in ["user.secret", "trusted.secret"] {
        setxattr(at, name, b"secret", XattrFlags::empty()).unwrap();
    }
    // An access list (linux/posix_acl_xattr.h): what the owner, user 1000, the group, and others may.
    let entries: [(u16, u32); 5] =
        [(1, u32::MAX), (2, 1000), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, id) in entries {
        list.extend([tag.to_le_bytes(), 7u16.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        setxattr(at, name, &list, XattrFlags::empty()).unwrap();
    }
    run("chattr", &["+i", at.to_str().unwrap()]);
}

/// That a mount is as mkfs has made it.
#[track_caller]
fn is_new(at: &Path) {
    let left: Vec<_> = fs::read_dir(at).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(left.iter().all(|it| it == "lost+found"), "{left:?}");
    let data = at.metadata().unwrap();
    assert_eq!((data.uid(), data.gid(), data.mode() & 0o7777), (0, 0, 0o755));
    let mut list = [0; 1024];
    let length = listxattr(at, &mut list[..]).unwrap();
    assert_eq!(String::from_utf8_lossy(&list[..length]), "");
}

#[test]
#[ignore = "guest: real mounts"]
fn a_life_on_mounts_leaves_them_as_new() {
    let shelf = Shelf::new();
    let all = [("ext4", 64), ("xfs", 320), ("btrfs", 128)];
    let mounts: Vec<PathBuf> =
        all.iter().map(|(kind, size)| shelf.mounted(kind, kind, *size).0).collect();
    let raw = shelf.device("raw", 96);
    symlink(&raw, shelf.ground.home.join("disks/raw")).unwrap();
    let outside = shelf.ground.home.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "").unwrap();
    let mut scene = shelf.open();
    let room = |scene: &Scene| {
        let of = |kind: &str| scene.capacity(&[(FSTYPE, kind)]).1;
        [scene.capacity(&[]).1, of("ext4"), of("xfs"), of("btrfs")]
    };
    // The device, and what has the file system already.
    let sizes: Vec<u64> = mounts.iter().map(|at| size_of(at)).collect();
    let free = [mib(96), mib(96), sizes[1], sizes[2]];
    assert_eq!(room(&scene), free);
    let block = scene.make(&Wish::new("raw", "block", mib(1)));
    assert_eq!(block.size, mib(96), "no mount is given as raw block");
    let said =
        refused(scene.try_make(&Wish::new("raw too", "block", mib(1))), Code::ResourceExhausted);
    assert!(said.contains("a mount is never given as raw block"), "{said}");
    assert_eq!(room(&scene), [sizes[0], sizes[0], sizes[1], sizes[2]]);
    for ((kind, _), at) in all.iter().zip(&mounts) {
        let (volume, target) = scene.make_used(&Wish::new(kind, kind, mib(16)));
        assert_eq!(volume.size, size_of(at), "{kind}");
        assert_eq!(scene.capacity(&[(FSTYPE, kind)]).1, 0);
        refused(scene.expand(&volume, volume.size + 1), Code::OutOfRange);
        put(&target, 0, 7);
        scene.kill();
        scene.start();
        scene.put_down(&volume);
        let target = scene.take_up(&volume);
        assert!(holds(&target, 0, 7), "the next pod finds what the last one wrote");
        refused(scene.delete(&volume), Code::FailedPrecondition);
        leave_a_mess(&target, &outside);
        if *kind == "btrfs" {
            run("chattr", &["-i", target.to_str().unwrap()]);
            let one = target.join("subvolume");
            run("btrfs", &["subvolume", "create", one.to_str().unwrap()]);
            run("btrfs", &["subvolume", "create", one.join("below").to_str().unwrap()]);
            fs::write(one.join("below/file"), "secret").unwrap();
        }
        scene.put_down(&volume);
        scene.delete(&volume).unwrap();
        wait_until("it is empty", || records(&scene) == 1);
        is_new(at);
    }
    scene.delete(&block).unwrap();
    await_clean(&scene);
    assert!(outside.join("precious").is_file());
    wait_until("all is free", || room(&scene) == free);
}

#[test]
#[ignore = "guest: real mounts"]
fn what_is_no_empty_file_system_is_refused_and_stays() {
    let shelf = Shelf::new();
    let (full, _) = shelf.mounted("full", "ext4", 64);
    fs::write(full.join("precious"), "x").unwrap();
    let (part, _) = shelf.mounted("part", "ext4", 64);
    fs::create_dir(part.join("inside")).unwrap();
    run(
        "mount",
        &[
            "--bind",
            part.join("inside").to_str().unwrap(),
            shelf.directory("bound").to_str().unwrap(),
        ],
    );
    shelf.directory("plain");
    run("mount", &["-t", "tmpfs", "none", shelf.directory("memory").to_str().unwrap()]);
    let (locked, _) = shelf.mounted("locked", "ext4", 64);
    run("mount", &["-o", "remount,ro", locked.to_str().unwrap()]);
    let (outer, _) = shelf.mounted("outer", "ext4", 64);
    run("mount", &["-t", "tmpfs", "none", outer.join("lost+found").to_str().unwrap()]);
    let (one, two) = (shelf.device("one", 128), shelf.device("two", 128));
    run("mkfs.btrfs", &["-q", &one, &two]);
    mount(&one, &shelf.directory("pair"));
    let scene = shelf.open();
    for why in [
        "full why=\"it is not empty: ",
        "full/precious is there",
        "it shows only /inside of its file system",
        "it is a directory, and not a mount point",
        "it is a mount of tmpfs",
        "it is mounted read-only",
        "something else is mounted within it",
        "its file system lies on several devices",
    ] {
        await_said(&scene, why);
    }
    for kind in ["ext4", "btrfs", "block"] {
        refused(scene.try_make(&Wish::new("a", kind, mib(1))), Code::ResourceExhausted);
    }
    assert_eq!(scene.capacity(&[]), (0, 0));
    assert!(full.join("precious").is_file() && part.join("inside").is_dir());
    // What is emptied by its owner is free, and found by who wants it.
    fs::remove_file(full.join("precious")).unwrap();
    let volume = scene.make(&Wish::new("a", "ext4", mib(1)));
    scene.delete(&volume).unwrap();
    await_clean(&scene);
    fs::write(full.join("precious"), "x").unwrap();
}

#[test]
#[ignore = "guest: real mounts"]
fn only_the_very_file_system_that_was_the_volume_is_emptied() {
    let shelf = Shelf::new();
    let (at, device) = shelf.mounted("first", "ext4", 64);
    let other = shelf.device("other", 64);
    run("mkfs.ext4", &["-q", &other]);
    let uuid = run("blkid", &["-p", "-o", "value", "-s", "UUID", &device]).trim().to_owned();
    let mut scene = shelf.open();
    let volume = scene.make(&Wish::new("a", "ext4", mib(16)));
    unmount(&at);
    let said = refused(scene.stage(&volume), Code::FailedPrecondition);
    assert!(said.contains("is not mounted at"), "{said}");
    mount(&other, &at);
    fs::write(at.join("precious"), "x").unwrap();
    let said = refused(scene.stage(&volume), Code::FailedPrecondition);
    assert!(said.contains("something else than its file system"), "{said}");
    scene.delete(&volume).unwrap();
    await_said(&scene, "not wiped yet");
    assert!(at.join("precious").is_file(), "that of another device");
    fs::remove_file(at.join("precious")).unwrap();
    unmount(&at);

    // Its own device, with another file system.
    let rename = |uuid: &str| {
        run("e2fsck", &["-fp", &device]);
        run("tune2fs", &["-U", uuid, &device]);
    };
    rename("random");
    mount(&device, &at);
    fs::write(at.join("precious"), "x").unwrap();
    let anew = |scene: &mut Scene, why: &str| {
        scene.kill();
        fs::remove_file(scene.home().join("driver.log")).unwrap();
        scene.start();
        await_said(scene, "not wiped yet");
        await_said(scene, why);
        assert!(at.join("precious").is_file(), "{why}");
        assert_eq!(records(scene), 1);
    };
    anew(&mut scene, "its disk is missing");
    unmount(&at);
    rename(&uuid);
    mount(&device, &at);

    // The very one, and something mounted within it.
    let within = at.join("within");
    fs::create_dir(&within).unwrap();
    run("mount", &["-t", "tmpfs", "none", within.to_str().unwrap()]);
    fs::write(within.join("file"), "x").unwrap();
    anew(&mut scene, "is not emptied while it is mounted, or something within it");
    assert!(within.join("file").is_file());
    unmount(&within);
    scene.kill();
    scene.start();
    await_clean(&scene);
    is_new(&at);
}

#[test]
#[ignore = "guest: real mounts"]
fn a_subvolume_that_is_read_only_keeps_its_volume_from_others() {
    let shelf = Shelf::new();
    let (at, _) = shelf.mounted("first", "btrfs", 128);
    let mut scene = shelf.open();
    let (volume, target) = scene.make_used(&Wish::new("a", "btrfs", mib(16)));
    let below = target.join("below");
    run("btrfs", &["subvolume", "create", below.to_str().unwrap()]);
    fs::write(below.join("file"), "secret").unwrap();
    run("btrfs", &["property", "set", below.to_str().unwrap(), "ro", "true"]);
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    await_said(&scene, "a subvolume of a btrfs, which `btrfs property set` frees");
    assert_eq!((records(&scene), scene.capacity(&[(FSTYPE, "btrfs")])), (1, (0, 0)));
    run("btrfs", &["property", "set", at.join("below").to_str().unwrap(), "ro", "false"]);
    scene.kill();
    scene.start();
    await_clean(&scene);
    is_new(&at);
}

#[test]
#[ignore = "guest: real mounts, kills the driver"]
fn a_killed_driver_goes_on_emptying_where_it_was() {
    let shelf = Shelf::new();
    let (at, _) = shelf.mounted("first", "ext4", 128);
    let mut scene = shelf.open();
    let (volume, target) = scene.make_used(&Wish::new("a", "ext4", mib(16)));
    for name in 0..12_000 {
        symlink("nowhere", target.join(name.to_string())).unwrap();
    }
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    let record = scene.home().join(format!("volumes/pool/{}.json", volume.id));
    let removed = || {
        let text = fs::read_to_string(&record).ok()?;
        let value = serde_json::from_str::<serde_json::Value>(&text).unwrap();
        value["fileSystem"]["removed"].as_u64()
    };
    wait_until("some are removed", || removed().is_none_or(|it| it >= 5000));
    scene.kill();
    let (before, left) = (removed().unwrap(), fs::read_dir(&at).unwrap().count());
    assert!((1..=7_001).contains(&left), "{left} are left, {before} are noted");
    scene.start();
    let mut least = u64::MAX;
    wait_until("it is empty", || {
        least = least.min(removed().unwrap_or(u64::MAX));
        records(&scene) == 0
    });
    assert!(least >= before, "it began anew at {least}, and had been at {before}");
    is_new(&at);
}
