//! The real tools in a guest: the contract, and what only they can show.

use std::{cell::RefCell, fs::File, io::Write, os::unix::fs::FileExt};

use nix::fcntl::{Flock, FlockArg};

use super::*;
use crate::{
    fs::{
        probe::superblock,
        superblock::{BTRFS_AT, State},
        tools::FsTools,
    },
    process::Invocation,
};

/// Loop devices on files of a memory file system. All goes when it is dropped, also in a panic.
struct Guest {
    home: PathBuf,
    held: RefCell<Vec<File>>,
    names: RefCell<Vec<String>>,
}

impl Guest {
    fn new() -> Self {
        let why = "this test attaches loop devices and mounts: tests/guest/boot runs it";
        assert!(std::env::var_os("TARN_GUEST").is_some(), "{why}");
        let home = tempfile::tempdir().unwrap().keep().canonicalize().unwrap();
        Self { home, held: RefCell::default(), names: RefCell::default() }
    }

    fn world() -> Box<dyn World> {
        Box::new(Self::new())
    }

    /// The file behind a device.
    fn file(&self, device: &Path) -> PathBuf {
        let name = device.file_name().unwrap();
        let sys = Path::new("/sys/block").join(name).join("loop/backing_file");
        PathBuf::from(fs::read_to_string(sys).unwrap().trim_end())
    }

    fn write(&self, device: &Path, at: u64, bytes: &[u8]) {
        let device = File::options().write(true).open(device).unwrap();
        device.write_all_at(bytes, at).unwrap();
        device.sync_all().unwrap();
    }

    /// A device-mapper device, removed in the end.
    fn mapped(&self, name: &str, table: &str) -> PathBuf {
        run("dmsetup", &["create", name, "--table", table]);
        self.names.borrow_mut().push(name.to_owned());
        Path::new("/dev/mapper").join(name)
    }
}

#[rstest]
#[ignore = "guest: needs root and block devices"]
fn guest_a_file_system_is_known_as_blkid_knows_it(
    #[values(FsKind::Ext4, FsKind::Xfs, FsKind::Btrfs)] kind: FsKind,
) {
    let guest = Guest::new();
    let device = guest.made(kind);
    let said = run("blkid", &["-p", "-o", "value", "-s", "UUID", device.to_str().unwrap()]);
    let want = Identity { uuid: said.trim().to_owned(), devices: 1 };
    assert_eq!(FsTools.identity(&device, kind).unwrap(), want);
}

fn run(program: &'static str, args: &[&str]) -> String {
    let out = Invocation::changes(program).args(args).run();
    let out = out.unwrap_or_else(|failure| panic!("{failure}: {}", failure.cause));
    String::from_utf8(out).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl World for Guest {
    fn fs(&self) -> &dyn Filesystems {
        &FsTools
    }

    fn device(&self, size: Bytes) -> PathBuf {
        let file = tempfile::NamedTempFile::new_in(&self.home).unwrap();
        file.as_file().set_len(size.0).unwrap();
        let (_, path) = file.keep().unwrap();
        PathBuf::from(run("losetup", &["--find", "--show", text(&path)]).trim())
    }

    fn resize(&self, device: &Path, size: Bytes) {
        File::options().write(true).open(self.file(device)).unwrap().set_len(size.0).unwrap();
        run("losetup", &["--set-capacity", text(device)]);
    }

    fn copy(&self, from: &Path, to: &Path) {
        // Through the files: what has reached the device, as a snapshot or a power cut sees it.
        let from = format!("if={}", text(&self.file(from)));
        run("dd", &[&from, &format!("of={}", text(to)), "bs=1M", "conv=sparse,fsync"]);
    }

    fn hold(&self, at: &Path) {
        self.held.borrow_mut().push(File::create(at.join("held")).unwrap());
    }

    fn release(&self, _: &Path) {
        self.held.borrow_mut().clear();
    }

    fn home(&self) -> &Path {
        &self.home
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.held.borrow_mut().clear();
        let mounts = FsTools.mounts().unwrap_or_default();
        for mount in mounts.iter().rev().filter(|mount| mount.at.starts_with(&self.home)) {
            drop(FsTools.unmount(&mount.at));
        }
        for name in self.names.borrow().iter() {
            drop(Invocation::changes("dmsetup").args(["remove", name]).run());
        }
        let list =
            Invocation::reads("losetup").args(["--noheadings", "-O", "NAME,BACK-FILE"]).run();
        let list = String::from_utf8(list.unwrap_or_default()).unwrap_or_default();
        for line in list.lines().filter(|line| line.contains(text(&self.home))) {
            let name = line.split_whitespace().next().unwrap_or_default();
            drop(Invocation::changes("losetup").args(["--detach", name]).run());
        }
        drop(fs::remove_dir_all(&self.home));
    }
}

#[rstest]
#[ignore = "guest: needs root and block devices"]
fn guest_tools_keep_the_contract(#[values(FsKind::Ext4, FsKind::Xfs, FsKind::Btrfs)] kind: FsKind) {
    holds(&mut Guest::world, kind);
}

#[test]
#[ignore = "guest: needs root and block devices"]
fn guest_tools_keep_the_rest_of_the_contract() {
    holds_for_any(&mut Guest::world);
}

#[rstest]
#[case::luks("crypto_LUKS", "cryptsetup",
    &["luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", "/etc/hostname"])]
#[case::lvm("LVM2_member", "pvcreate", &["-y"])]
#[case::swap("swap", "mkswap", &[])]
#[case::gpt("gpt partition table", "sgdisk", &["-n", "1"])]
#[case::raid("linux_raid_member", "mdadm",
    &["--create", "/dev/md7", "--run", "--level=1", "--raid-devices=2", "missing"])]
#[case::raid_at_the_end("linux_raid_member", "mdadm",
    &["--create", "/dev/md7", "--run", "--level=1", "--raid-devices=2", "--metadata=1.0", "missing"])]
#[case::old_ext("ext3", "mkfs.ext3", &["-q"])]
#[ignore = "guest: needs root and block devices"]
fn guest_what_is_foreign_stays(
    #[case] name: &str,
    #[case] program: &'static str,
    #[case] args: &[&str],
) {
    let guest = Guest::new();
    let device = guest.device(Bytes::mib(32));
    let mut args = args.to_vec();
    args.push(text(&device));
    run(program, &args);
    if program == "mdadm" {
        run(program, &["--stop", "/dev/md7"]);
    }
    assert_eq!(FsTools.probe(&device).unwrap(), Content::Foreign(name.to_owned()));
    let before = fs::read(guest.file(&device)).unwrap();
    for kind in FsKind::ALL {
        let refused = FsTools.make(&device, kind, &MkfsOptions::default()).unwrap_err();
        assert!(matches!(refused, Error::NotEmpty { .. }), "{refused}");
    }
    assert!(before == fs::read(guest.file(&device)).unwrap(), "the device was written to");
}

#[test]
#[ignore = "guest: needs root and block devices"]
fn guest_two_signatures_are_foreign() {
    let guest = Guest::new();
    let (device, other) = (guest.made(FsKind::Ext4), guest.made(FsKind::Xfs));
    // The superblock of ext4 begins at 1024, where that of xfs has ended.
    guest.write(&device, 0, &fs::read(guest.file(&other)).unwrap()[..512]);
    let found = FsTools.probe(&device).unwrap();
    assert_eq!(found, Content::Foreign("several signatures".to_owned()));
}

#[test]
#[ignore = "guest: needs root and block devices"]
fn guest_a_device_that_cannot_be_read_is_not_empty() {
    let guest = Guest::new();
    let device = guest.device(SIZE);
    let sectors = SIZE.0 / 512;
    let good = |from: u64, to: u64| format!("{from} {} linear {} {from}", to - from, text(&device));
    let bad = |from: u64, to: u64| format!("{from} {} error", to - from);
    let whole = guest.mapped("tarn-bad-whole", &bad(0, sectors));
    let start = format!("{}\n{}", bad(0, 8), good(8, sectors));
    let start = guest.mapped("tarn-bad-start", &start);
    let end = format!("{}\n{}", good(0, sectors - 8), bad(sectors - 8, sectors));
    let end = guest.mapped("tarn-bad-end", &end);
    for device in [whole, start, end] {
        let refused = FsTools.probe(&device).unwrap_err();
        assert!(matches!(refused, Error::Path { .. }), "{refused}");
        FsTools.make(&device, FsKind::Ext4, &MkfsOptions::default()).unwrap_err();
    }
}

#[test]
#[ignore = "guest: needs root and block devices"]
fn guest_an_unfinished_xfs_is_made_again() {
    let guest = Guest::new();
    let (device, at) = (guest.made(FsKind::Xfs), guest.directory("at"));
    guest.write(&device, 126, &[1]); // sb_inprogress
    assert_eq!(FsTools.probe(&device).unwrap(), Content::Unfinished(FsKind::Xfs));
    FsTools.mount(&device, &at, &how(FsKind::Xfs)).unwrap_err();
    FsTools.make(&device, FsKind::Ext4, &MkfsOptions::default()).unwrap();
    FsTools.mount(&device, &at, &how(FsKind::Ext4)).unwrap();
}

#[test]
#[ignore = "guest: needs root and block devices"]
fn guest_two_do_not_work_on_one_device() {
    let guest = Guest::new();
    let device = guest.device(SIZE);
    let file = File::open(&device).unwrap();
    let other = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
    let busy = FsTools.make(&device, FsKind::Ext4, &MkfsOptions::default()).unwrap_err();
    assert!(matches!(busy, Error::Busy(_)), "{busy}");
    drop(other);
    FsTools.make(&device, FsKind::Ext4, &MkfsOptions::default()).unwrap();
}

#[test]
#[ignore = "guest: needs root and block devices"]
fn guest_what_is_mounted_is_not_checked() {
    let guest = Guest::new();
    let (device, _) = guest.mounted(FsKind::Ext4, "at");
    let refused = FsTools.check(&device, FsKind::Ext4).unwrap_err();
    assert!(matches!(refused, Error::InUse(_)), "{refused}");
}

#[test]
#[ignore = "guest: needs root and block devices"]
fn guest_ext4_is_mended_or_named_damaged() {
    let guest = Guest::new();
    let (origin, _) = guest.mounted(FsKind::Ext4, "at");
    let device = guest.device(SIZE);
    guest.copy(&origin, &device); // while it is mounted: as a crash leaves it
    let state = |device: &Path| superblock(device, FsKind::Ext4).unwrap().state;
    assert_eq!(state(&device), State::Unknown);
    FsTools.check(&device, FsKind::Ext4).unwrap();
    assert_eq!(state(&device), State::Clean);

    let debugfs = |request| run("debugfs", &["-w", "-R", request, text(&device)]);
    debugfs("set_super_value state 3"); // an error is on record, but none to be found
    assert_eq!(state(&device), State::Unknown);
    FsTools.check(&device, FsKind::Ext4).unwrap();
    assert_eq!(state(&device), State::Clean);

    debugfs("clri <2>"); // the root directory is lost
    debugfs("set_super_value state 0");
    let damaged = FsTools.check(&device, FsKind::Ext4).unwrap_err();
    assert!(matches!(damaged, Error::Damaged { .. }), "{damaged}");
    assert!(damaged.to_string().contains("UNEXPECTED INCONSISTENCY"), "{damaged}");
}

#[test]
#[ignore = "guest: needs root and block devices"]
fn guest_a_read_only_bind_keeps_the_other_flags() {
    let guest = Guest::new();
    let (device, stage) = (guest.made(FsKind::Ext4), guest.directory("stage"));
    let options =
        MountOptions::parse(&["nosuid,nodev,noexec,noatime,commit=7".to_owned()]).unwrap();
    let how = MountHow { kind: FsKind::Ext4, options, access: Access::ReadWrite };
    FsTools.mount(&device, &stage, &how).unwrap();
    let pod = guest.directory("pod");
    FsTools.bind(&stage, &pod, Access::ReadOnly).unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(text(&pod))).unwrap();
    assert!(line.contains(" ro,nosuid,nodev,noexec,noatime "), "{line}");
    assert!(line.contains(" rw,"), "the file system itself stays writable: {line}");
    fs::write(stage.join("file"), "contents").unwrap();
    assert_eq!(fs::read(pod.join("file")).unwrap(), b"contents");
    let refused = fs::write(pod.join("file"), "other").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

/// A snapshot of a btrfs in use has a log tree: files that were synced but are in no transaction.
#[rstest]
#[case::crc32c("")]
#[case::sha256("--checksum sha256")]
#[ignore = "guest: needs root and block devices"]
fn guest_a_copy_of_a_btrfs_in_use_keeps_what_was_synced(#[case] options: &str) {
    let guest = Guest::new();
    let (origin, at) = (guest.device(SIZE), guest.directory("origin"));
    let options = MkfsOptions::parse(FsKind::Btrfs, options).unwrap();
    FsTools.make(&origin, FsKind::Btrfs, &options).unwrap();
    FsTools.mount(&origin, &at, &how(FsKind::Btrfs)).unwrap();
    let mut file = File::create(at.join("file")).unwrap();
    for round in 0..3 {
        write!(file, "round {round};").unwrap();
        file.sync_all().unwrap();
    }
    let copy = guest.device(SIZE);
    guest.copy(&origin, &copy);
    let log = |device| {
        let bytes = fs::read(guest.file(device)).unwrap();
        bytes[BTRFS_AT + 0x60..BTRFS_AT + 0x68].to_vec()
    };
    assert_ne!(log(&copy), [0; 8], "the copy has no log tree");

    FsTools.part_from_origin(&copy, FsKind::Btrfs).unwrap();
    let beside = guest.directory("copy");
    FsTools.mount(&copy, &beside, &how(FsKind::Btrfs)).unwrap();
    assert_eq!(fs::read(beside.join("file")).unwrap(), b"round 0;round 1;round 2;");
    FsTools.unmount(&beside).unwrap();
    run("btrfs", &["check", text(&copy)]);

    let second = guest.device(SIZE);
    guest.copy(&copy, &second); // a copy of the copy
    FsTools.mount(&copy, &beside, &how(FsKind::Btrfs)).unwrap();
    FsTools.part_from_origin(&second, FsKind::Btrfs).unwrap();
    let third = guest.directory("second");
    FsTools.mount(&second, &third, &how(FsKind::Btrfs)).unwrap();
    assert_eq!(fs::read(third.join("file")).unwrap(), b"round 0;round 1;round 2;");
}
