//! The kernel's devices in a guest: the contract, and what only they can show.

use std::{
    cell::RefCell,
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
};

use nix::{
    libc,
    sys::stat::{self, Mode, SFlag},
};

use super::*;
use crate::{device::host::HostDevices, process::Invocation};

/// Device-mapper devices on loop devices on files of a memory file system. All goes when it is
/// dropped, also in a panic.
struct Guest {
    home: PathBuf,
    count: RefCell<u32>,
    open: RefCell<Vec<File>>,
}

const WHY: &str = "this test attaches loop devices: tests/guest/boot runs it";

impl Guest {
    fn new() -> Self {
        assert!(std::env::var_os("TARN_GUEST").is_some(), "{WHY}");
        let home = tempfile::tempdir().unwrap().keep().canonicalize().unwrap();
        Self { home, count: RefCell::default(), open: RefCell::default() }
    }

    fn next(&self) -> u32 {
        *self.count.borrow_mut() += 1;
        *self.count.borrow()
    }

    fn mapped(&self, table: &str) -> PathBuf {
        let name = format!("tarn-test-{}", self.next());
        run("dmsetup", &["create", &name, "--table", table]);
        Path::new("/dev/mapper").join(name)
    }

    fn linear(&self, below: &Path, size: Bytes) -> PathBuf {
        self.mapped(&format!("0 {} linear {} 0", size.0 / 512, below.display()))
    }
}

fn run(program: &'static str, args: &[&str]) -> String {
    let out = Invocation::changes(program).args(args).run();
    let out = out.unwrap_or_else(|failure| panic!("{failure}: {}", failure.cause));
    String::from_utf8(out).unwrap()
}

impl World for Guest {
    fn devices(&self) -> &dyn Devices {
        &HostDevices
    }

    fn device(&self, size: Bytes) -> PathBuf {
        let below = HostDevices.ensure_loop(&self.file(), size).unwrap();
        self.linear(&below, size)
    }

    fn write(&self, device: &Path, at: Bytes, bytes: &[u8]) {
        let device = File::options().write(true).open(device).unwrap();
        device.write_all_at(bytes, at.0).unwrap();
        device.sync_all().unwrap();
    }

    fn read(&self, device: &Path, at: Bytes, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        File::open(device).unwrap().read_exact_at(&mut bytes, at.0).unwrap();
        bytes
    }

    fn open(&self, device: &Path) {
        self.open.borrow_mut().push(File::open(device).unwrap());
    }

    fn close(&self, _: &Path) {
        self.open.borrow_mut().clear();
    }

    fn listed(&self) -> PathBuf {
        HostDevices.ensure_loop(&self.file(), SIZE).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.home.join(format!("{}.img", self.next()))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.open.borrow_mut().clear();
        for count in (1..=*self.count.borrow()).rev() {
            let name = format!("tarn-test-{count}");
            drop(Invocation::changes("dmsetup").args(["remove", &name]).run());
        }
        let list =
            Invocation::reads("losetup").args(["--noheadings", "-O", "NAME,BACK-FILE"]).run();
        let list = String::from_utf8(list.unwrap_or_default()).unwrap_or_default();
        for line in list.lines().filter(|line| line.contains(self.home.to_str().unwrap_or("?"))) {
            let name = line.split_whitespace().next().unwrap_or_default();
            drop(Invocation::changes("losetup").args(["--detach", name]).run());
        }
        drop(fs::remove_dir_all(&self.home));
    }
}

#[test]
#[ignore = "guest: needs root and device-mapper"]
fn guest_devices_keep_the_contract() {
    holds(&Guest::new());
}

#[test]
#[ignore = "guest: needs root and loop devices"]
fn guest_a_loop_file_is_private_sparse_and_told_by_its_inode() {
    let guest = Guest::new();
    let file = guest.home.join("a/b.img");
    let device = HostDevices.ensure_loop(&file, SIZE).unwrap();
    let data = fs::metadata(&file).unwrap();
    assert_eq!((data.permissions().mode() & 0o777, data.blocks()), (0o600, 0));

    let link = guest.file();
    fs::hard_link(&file, &link).unwrap();
    assert_eq!(HostDevices.ensure_loop(&link, SIZE).unwrap(), device);

    fs::remove_file(&file).unwrap();
    let another = HostDevices.ensure_loop(&file, SIZE).unwrap();
    assert_ne!(another, device, "a deleted file's device is not that of its successor");

    let path = guest.file();
    std::os::unix::fs::symlink(&file, &path).unwrap();
    HostDevices.ensure_loop(&path, SIZE).unwrap_err();
    HostDevices.ensure_loop(&guest.home, SIZE).unwrap_err();
}

#[test]
#[ignore = "guest: needs root and loop devices"]
fn guest_of_several_loop_devices_the_one_in_use_is_taken() {
    let guest = Guest::new();
    let file = guest.file();
    let first = HostDevices.ensure_loop(&file, SIZE).unwrap();
    let attach = ["--find", "--show", file.to_str().unwrap()];
    let second = PathBuf::from(run("losetup", &attach).trim());
    assert_ne!(second, first);
    for used in [&first, &second] {
        let held = File::options().read(true).custom_flags(libc::O_EXCL).open(used).unwrap();
        assert_eq!(HostDevices.ensure_loop(&file, SIZE).unwrap(), *used);
        drop(held);
    }
}

#[test]
#[ignore = "guest: needs root and loop devices"]
fn guest_only_block_devices_have_a_size() {
    let guest = Guest::new();
    let file = guest.file();
    fs::write(&file, "no device").unwrap();
    for path in [&file, &guest.home] {
        assert!(matches!(HostDevices.size(path).unwrap_err(), Error::NotBlock(_)));
        assert!(matches!(HostDevices.open_count(path).unwrap_err(), Error::NotBlock(_)));
    }
}

#[test]
#[ignore = "guest: needs root"]
fn guest_a_node_without_a_device_is_nothing() {
    let node = Path::new("/dev/tarn-nothing");
    let nobody = stat::makedev(254, 9999);
    stat::mknod(node, SFlag::S_IFBLK, Mode::S_IRUSR, nobody).unwrap();
    let (size, open) = (HostDevices.size(node), HostDevices.open_count(node));
    fs::remove_file(node).unwrap();
    assert_eq!((size.unwrap(), open.unwrap()), (None, 0));
}

#[test]
#[ignore = "guest: needs root and device-mapper"]
fn guest_zeroes_come_where_nothing_can_be_unmapped() {
    let guest = Guest::new();
    let below = guest.device(SIZE);
    // dm-crypt passes no discards on unless it is told to, and knows no other way to write zeroes.
    let (sectors, key) = (SIZE.0 / 512, "0".repeat(64));
    let table = format!("0 {sectors} crypt aes-xts-plain64 {key} 0 {} 0", below.display());
    let device = guest.mapped(&table);
    for how in [Wipe::Discard, Wipe::Zero] {
        mark(&guest, &device, b"mark");
        HostDevices.wipe(&device, MIDDLE, how).unwrap();
        assert!(at_each(&guest, &device, INSIDE, &[0; 4]));
        assert!(at_each(&guest, &device, OUTSIDE, b"mark"));
    }
}

#[test]
#[ignore = "guest: needs root and device-mapper"]
fn guest_what_is_in_use_is_not_overwritten() {
    let guest = Guest::new();
    let device = guest.device(SIZE);
    let source = guest.device(SIZE);
    mark(&guest, &device, b"mark");
    guest.linear(&device, SIZE);
    for how in [Wipe::Zero, Wipe::Discard] {
        HostDevices.wipe(&device, MIDDLE, how).unwrap_err();
    }
    HostDevices.copy(&source, &device, MIDDLE).unwrap_err();
    assert!(at_each(&guest, &device, INSIDE, b"mark"));
}

#[test]
#[ignore = "guest: needs root and loop devices"]
fn guest_zeroes_are_not_written_over_zeroes() {
    let guest = Guest::new();
    let files = [guest.file(), guest.file()];
    let [from, to] = [&files[0], &files[1]].map(|it| HostDevices.ensure_loop(it, SIZE).unwrap());
    guest.write(&from, Bytes::mib(6), b"data");
    let whole = Part { offset: Bytes::ZERO, length: SIZE };
    HostDevices.copy(&from, &to, whole).unwrap();
    HostDevices.flush(&to).unwrap();
    assert_eq!(guest.read(&to, Bytes::mib(6), 4), b"data");
    let taken = fs::metadata(&files[1]).unwrap().blocks() * 512;
    assert!(taken <= Bytes::mib(1).0, "{taken} bytes are taken");
}
