//! What every [`Filesystems`] must do. It holds for the fake on any machine, and for the real tools
//! in a guest.

mod guest;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rstest::rstest;

use super::{fake::FakeFs, *};

/// Where a contract is tried: something to make devices, and a directory to mount them in.
trait World {
    fn fs(&self) -> &dyn Filesystems;
    /// An empty device.
    fn device(&self, size: Bytes) -> PathBuf;
    fn resize(&self, device: &Path, size: Bytes);
    fn copy(&self, from: &Path, to: &Path);
    /// Begins to use the mount at `at`, as a program does that has a file open there.
    fn hold(&self, at: &Path);
    /// Stops using it.
    fn release(&self, at: &Path);
    fn home(&self) -> &Path;

    fn directory(&self, name: &str) -> PathBuf {
        let path = self.home().join(name);
        paths::ensure_directory(&path).unwrap();
        path
    }

    fn made(&self, kind: FsKind) -> PathBuf {
        let device = self.device(SIZE);
        self.fs().make(&device, kind, &MkfsOptions::default()).unwrap();
        device
    }

    fn mounted(&self, kind: FsKind, name: &str) -> (PathBuf, PathBuf) {
        let (device, at) = (self.made(kind), self.directory(name));
        self.fs().mount(&device, &at, &how(kind)).unwrap();
        (device, at)
    }

    /// The topmost mount at `at`.
    fn top(&self, at: &Path) -> Option<Mount> {
        let at = at.canonicalize().unwrap();
        self.fs().mounts().unwrap().into_iter().rfind(|mount| mount.at == at)
    }
}

/// Enough for each kind.
const SIZE: Bytes = Bytes::mib(320);
const LARGER: Bytes = Bytes::mib(384);

fn how(kind: FsKind) -> MountHow {
    MountHow { kind, options: MountOptions::default(), access: Access::ReadWrite }
}

fn size(fs: &dyn Filesystems, device: &Path) -> Bytes {
    match fs.probe(device).unwrap() {
        Content::Filesystem { size, .. } => size,
        Content::Nothing | Content::Unfinished(_) | Content::Foreign(_) => panic!("no file system"),
    }
}

fn is_made_once(world: &dyn World, kind: FsKind) {
    let (fs, device) = (world.fs(), world.device(SIZE));
    assert_eq!(fs.probe(&device).unwrap(), Content::Nothing);
    assert!(fs.look(&device).unwrap().is_nothing());
    fs.make(&device, kind, &MkfsOptions::default()).unwrap();
    let made = fs.probe(&device).unwrap();
    let look = fs.look(&device).unwrap();
    let found = look.signature.map(|it| (it.name, it.family));
    assert_eq!(found, Some((kind.name().to_owned(), Family::FileSystem)));
    assert_eq!(look.edges, Edges::Written);
    assert!(matches!(made, Content::Filesystem { kind: found, .. } if found == kind), "{made}");
    assert!(size(fs, &device) <= SIZE && size(fs, &device) > SIZE.percent(95));
    for kind in FsKind::ALL {
        let again = fs.make(&device, kind, &MkfsOptions::default()).unwrap_err();
        assert!(matches!(&again, Error::NotEmpty { found, .. } if *found == made), "{again}");
    }
    assert_eq!(fs.probe(&device).unwrap(), made);
    fs.check(&device, kind).unwrap();
    let other = world.made(kind);
    assert_eq!(fs.identity(&device, kind).unwrap(), fs.identity(&device, kind).unwrap());
    assert_ne!(fs.identity(&device, kind).unwrap(), fs.identity(&other, kind).unwrap());
    for another in FsKind::ALL.into_iter().filter(|it| *it != kind) {
        fs.identity(&device, another).unwrap_err();
    }
}

fn is_mounted_and_unmounted(world: &dyn World, kind: FsKind) {
    let (fs, device, at) = (world.fs(), world.made(kind), world.directory("at"));
    for other in FsKind::ALL.into_iter().filter(|other| *other != kind) {
        let wrong = fs.mount(&device, &at, &how(other)).unwrap_err();
        assert!(matches!(wrong, Error::Mount { .. }), "{wrong}");
    }
    let nowhere = fs.mount(&device, &world.home().join("nowhere"), &how(kind)).unwrap_err();
    assert!(matches!(nowhere, Error::Mount { .. }), "{nowhere}");
    assert_eq!(world.top(&at), None);

    fs.mount(&device, &at, &how(kind)).unwrap();
    let mount = world.top(&at).unwrap();
    assert_eq!(Some(mount.device), fs.device_at(&device).unwrap());
    assert_eq!((mount.root.as_path(), mount.access), (Path::new("/"), Access::ReadWrite));
    assert_eq!(mount.fs_type, kind.name());
    fs.mount(&device, &at, &how(kind)).unwrap_err(); // never twice at one place
    fs.unmount(&at).unwrap();
    fs.unmount(&at).unwrap();
    fs.unmount(&world.home().join("nowhere")).unwrap();

    for asked in ["noatime", "", "nodiratime"] {
        let options = MountOptions::parse(&[asked.to_owned()]).unwrap();
        let mark = options.mark();
        fs.mount(&device, &at, &MountHow { options, ..how(kind) }).unwrap();
        assert_eq!(fs.mark_of(&world.top(&at).unwrap()), Some(mark));
        let root = fs.mounts().unwrap().into_iter().find(|mount| mount.at == Path::new("/"));
        assert_eq!(root.and_then(|root| fs.mark_of(&root)), None, "not ours");
        fs.unmount(&at).unwrap();
    }

    let options = MountOptions::parse(&["ro,noatime".to_owned()]).unwrap();
    for options in [options, MountOptions::default()] {
        let access = if options.is_empty() { Access::ReadOnly } else { Access::ReadWrite };
        fs.mount(&device, &at, &MountHow { kind, options, access }).unwrap();
        assert_eq!(world.top(&at).unwrap().access, Access::ReadOnly);
        fs.unmount(&at).unwrap();
    }
    fs.check(&device, kind).unwrap();
}

fn a_held_mount_stays(world: &dyn World) {
    let (fs, (_, at)) = (world.fs(), world.mounted(FsKind::Ext4, "at"));
    world.hold(&at);
    let refused = fs.unmount(&at).unwrap_err();
    assert!(matches!(&refused, Error::InUse(path) if *path == at), "{refused}");
    assert!(world.top(&at).is_some());
    world.release(&at);
    fs.unmount(&at).unwrap();
    assert_eq!(world.top(&at), None);
}

fn a_mount_is_bound(world: &dyn World, kind: FsKind) {
    let (fs, (_, stage)) = (world.fs(), world.mounted(kind, "stage"));
    let (pod, reader) = (world.directory("pod"), world.directory("reader"));
    fs.bind(&stage, &pod, Access::ReadWrite).unwrap();
    fs.bind(&stage, &reader, Access::ReadOnly).unwrap();
    let seen = |at| world.top(at).unwrap();
    assert_eq!(seen(&pod), Mount { at: seen(&pod).at, ..seen(&stage) });
    assert_eq!(seen(&reader).device, seen(&stage).device);
    assert_eq!(seen(&reader).access, Access::ReadOnly);
    assert_eq!(seen(&pod).access, Access::ReadWrite);

    fs::create_dir(stage.join("inside")).unwrap();
    let part = world.directory("part");
    fs.bind(&stage.join("inside"), &part, Access::ReadWrite).unwrap();
    assert_eq!(seen(&part).root, Path::new("/inside"));

    let file = world.home().join("file");
    paths::ensure_file(&file).unwrap();
    fs.bind(&stage, &file, Access::ReadWrite).unwrap_err();
    fs.bind(&world.home().join("nowhere"), &pod, Access::ReadWrite).unwrap_err();

    fs.unmount(&stage).unwrap(); // binds do not hold the mount that they came from
    for at in [&part, &reader, &pod] {
        fs.unmount(at).unwrap();
    }
    assert_eq!(world.top(&pod), None);
}

fn a_device_is_bound(world: &dyn World) {
    let (fs, device) = (world.fs(), world.device(SIZE));
    let file = world.home().join("file");
    paths::ensure_file(&file).unwrap();
    assert_eq!(fs.device_at(&file).unwrap(), None);
    fs.bind(&device, &file, Access::ReadWrite).unwrap();
    let number = fs.device_at(&device).unwrap();
    assert!(number.is_some());
    assert_eq!(fs.device_at(&file).unwrap(), number);
    assert!(world.top(&file).is_some());
    let copy = world.home().join("copy");
    paths::ensure_file(&copy).unwrap();
    fs.bind(&file, &copy, Access::ReadOnly).unwrap();
    assert_eq!(fs.device_at(&copy).unwrap(), number);
    assert_eq!(world.top(&copy).unwrap().access, Access::ReadOnly);
    fs.bind(&device, &world.directory("directory"), Access::ReadWrite).unwrap_err();
    fs.unmount(&copy).unwrap();
    fs.unmount(&file).unwrap();
    assert_eq!(fs.device_at(&file).unwrap(), None);
    assert_eq!(fs.device_at(world.home()).unwrap(), None);
    assert_eq!(fs.device_at(&world.home().join("nowhere")).unwrap(), None);
}

fn it_grows(world: &dyn World, kind: FsKind) {
    let (fs, (device, at)) = (world.fs(), world.mounted(kind, "at"));
    fs.grow(&device, &at, kind).unwrap();
    let before = fs.usage(&at).unwrap().bytes.total;
    world.resize(&device, LARGER);
    assert_eq!(fs.usage(&at).unwrap().bytes.total, before);
    for _ in 0..2 {
        fs.grow(&device, &at, kind).unwrap();
        assert!(fs.usage(&at).unwrap().bytes.total > before);
    }
    fs.unmount(&at).unwrap();
    assert!(size(fs, &device) > LARGER.percent(95));
    fs.check(&device, kind).unwrap();
}

fn a_copy_lives_beside_its_origin(world: &dyn World, kind: FsKind) {
    let (fs, (origin, at)) = (world.fs(), world.mounted(kind, "origin"));
    fs::write(at.join("file"), "contents").unwrap();
    fs.unmount(&at).unwrap();
    let copy = world.device(SIZE);
    world.copy(&origin, &copy);
    fs.mount(&origin, &at, &how(kind)).unwrap();
    let beside = world.directory("copy");
    if kind == FsKind::Btrfs {
        let taken = fs.mount(&copy, &beside, &how(kind)).unwrap_err();
        assert!(matches!(taken, Error::Mount { .. }), "{taken}");
        fs.part_from_origin(&origin, kind).unwrap_err();
    }
    for _ in 0..2 {
        fs.part_from_origin(&copy, kind).unwrap();
        fs.check(&copy, kind).unwrap();
        fs.mount(&copy, &beside, &how(kind)).unwrap();
        assert_eq!(Some(world.top(&beside).unwrap().device), fs.device_at(&copy).unwrap());
        assert_eq!(Some(world.top(&at).unwrap().device), fs.device_at(&origin).unwrap());
        fs.unmount(&beside).unwrap();
    }
}

fn it_says_how_full_it_is(world: &dyn World, kind: FsKind) {
    let (fs, (_, at)) = (world.fs(), world.mounted(kind, "at"));
    let Usage { bytes, inodes } = fs.usage(&at).unwrap();
    assert!(bytes.total > SIZE.percent(70).0 && bytes.total <= SIZE.0, "{bytes:?}");
    assert!(bytes.used + bytes.available <= bytes.total && bytes.available > 0, "{bytes:?}");
    match kind {
        FsKind::Btrfs => assert_eq!(inodes, Share::default()),
        FsKind::Ext4 | FsKind::Xfs => assert!(inodes.used > 0 && inodes.total > inodes.used),
    }
    fs.usage(&world.home().join("nowhere")).unwrap_err();
}

fn it_gives_back_what_it_does_not_use(world: &dyn World, kind: FsKind) {
    let (fs, (device, at)) = (world.fs(), world.mounted(kind, "at"));
    fs::write(at.join("file"), vec![1; 64 << 20]).unwrap();
    nix::unistd::sync();
    fs::remove_file(at.join("file")).unwrap();
    nix::unistd::sync();
    let piece = Bytes::mib(256);
    let first = fs.trim(&at, Stretch { length: Some(piece), ..Stretch::ALL }).unwrap();
    let rest = fs.trim(&at, Stretch { from: piece, length: None }).unwrap();
    assert!(first <= SIZE && rest <= SIZE && first.0 + rest.0 >= 64 << 20, "{first}, {rest}");
    assert!(kind != FsKind::Ext4 || first <= piece, "{first}");
    assert!(fs.trim(&at, Stretch::ALL).unwrap() <= SIZE);
    fs.trim(&world.home().join("nowhere"), Stretch::ALL).unwrap_err();
    fs.unmount(&at).unwrap();
    fs.check(&device, kind).unwrap();
}

fn what_is_missing_is_an_error(world: &dyn World) {
    let (fs, nothing) = (world.fs(), Path::new("/dev/tarn-no-such-device"));
    fs.probe(nothing).unwrap_err();
    fs.look(nothing).unwrap_err();
    fs.check(nothing, FsKind::Ext4).unwrap_err();
    fs.part_from_origin(nothing, FsKind::Btrfs).unwrap_err();
    for kind in FsKind::ALL {
        fs.make(nothing, kind, &MkfsOptions::default()).unwrap_err();
        fs.mount(nothing, world.home(), &how(kind)).unwrap_err();
    }
    assert_eq!(fs.device_at(nothing).unwrap(), None);
    let small = world.device(Bytes::mib(1));
    fs.make(&small, FsKind::Xfs, &MkfsOptions::default()).unwrap_err();
    assert_eq!(fs.probe(&small).unwrap(), Content::Nothing);
}

/// All of it, for one kind of file system.
fn holds(world: &mut dyn FnMut() -> Box<dyn World>, kind: FsKind) {
    is_made_once(&*world(), kind);
    is_mounted_and_unmounted(&*world(), kind);
    a_mount_is_bound(&*world(), kind);
    it_grows(&*world(), kind);
    a_copy_lives_beside_its_origin(&*world(), kind);
    it_says_how_full_it_is(&*world(), kind);
    it_gives_back_what_it_does_not_use(&*world(), kind);
}

/// All of it that has to do with no kind.
fn holds_for_any(world: &mut dyn FnMut() -> Box<dyn World>) {
    a_held_mount_stays(&*world());
    a_device_is_bound(&*world());
    what_is_missing_is_an_error(&*world());
    a_file_system_in_memory_has_its_size(&*world());
    what_a_kernel_lacks_in_memory_it_does_not_mount(&*world());
}

/// A file system in memory that every kernel has.
const PLAIN: MemoryHow = MemoryHow {
    size: Bytes::mib(4),
    inodes: 64,
    mode: 0o755,
    huge_pages: HugePages::Never,
    swap: true,
};

fn a_file_system_in_memory_has_its_size(world: &dyn World) {
    let (fs, at, other) = (world.fs(), world.directory("memory"), world.directory("other"));
    assert!(fs.memory().unwrap() > Bytes::mib(16));
    let how = PLAIN;
    fs.mount_memory("v-name", &at, &how).unwrap();
    let mount = world.top(&at).unwrap();
    assert_eq!((mount.root.as_path(), mount.fs_type.as_str()), (Path::new("/"), "tmpfs"));
    let totals = |at| {
        let usage = fs.usage(at).unwrap();
        (Bytes(usage.bytes.total), usage.inodes.total)
    };
    assert_eq!(totals(&at), (how.size, how.inodes));

    let larger = MemoryHow { size: Bytes::mib(8), inodes: 128, ..how };
    fs.resize_memory(&at, &larger).unwrap();
    assert_eq!(totals(&at), (larger.size, larger.inodes));
    assert_eq!(world.top(&at).unwrap().device, mount.device, "the same as before");

    fs.mount_memory("v-other", &other, &how).unwrap();
    assert_ne!(world.top(&other).unwrap().device, mount.device, "each is one of its own");
    fs.bind(&at, &world.directory("bound"), Access::ReadWrite).unwrap();
    let bound = world.top(&world.directory("bound")).unwrap();
    assert_eq!((bound.device, bound.root.as_path()), (mount.device, Path::new("/")));
    fs.unmount(&world.directory("bound")).unwrap();
    fs.unmount(&other).unwrap();
    fs.unmount(&at).unwrap();
    assert_eq!(world.top(&at), None);
    fs.resize_memory(&at, &how).unwrap_err();
    fs.mount_memory("v-name", &world.home().join("nowhere"), &how).unwrap_err();
}

fn what_a_kernel_lacks_in_memory_it_does_not_mount(world: &dyn World) {
    let (fs, at) = (world.fs(), world.directory("memory"));
    let huge = |huge_pages| (MemoryOption::Huge(huge_pages), MemoryHow { huge_pages, ..PLAIN });
    let all = [
        huge(HugePages::Never),
        huge(HugePages::Always),
        huge(HugePages::WithinSize),
        huge(HugePages::Advise),
        (MemoryOption::NoSwap, MemoryHow { swap: false, ..PLAIN }),
    ];
    for (option, how) in all {
        let lacks = fs.lacks_in_memory(option).unwrap();
        let mounted = fs.mount_memory("v-name", &at, &how);
        assert_eq!(mounted.is_err(), lacks.is_some(), "{option:?}: {lacks:?}, {mounted:?}");
        if mounted.is_ok() {
            // What it was mounted with stays, whatever is said now.
            fs.resize_memory(&at, &MemoryHow { size: Bytes::mib(8), ..how }).unwrap();
            fs.resize_memory(&at, &MemoryHow { swap: !how.swap, ..how }).unwrap();
            fs.unmount(&at).unwrap();
        }
    }
    assert_eq!(fs.lacks_in_memory(MemoryOption::Huge(HugePages::Never)).unwrap(), None);
}

struct FakeWorld {
    fs: FakeFs,
    home: tempfile::TempDir,
    count: std::cell::Cell<u64>,
}

impl FakeWorld {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { fs: FakeFs::new(), home, count: 0.into() }
    }

    fn world() -> Box<dyn World> {
        Box::new(Self::new())
    }
}

impl World for FakeWorld {
    fn fs(&self) -> &dyn Filesystems {
        &self.fs
    }

    fn device(&self, size: Bytes) -> PathBuf {
        let minor = self.count.replace(self.count.get() + 1);
        let path = PathBuf::from(format!("/dev/fake/{minor}"));
        self.fs.add_device(&path, DeviceNumber { major: 254, minor }, size);
        path
    }

    fn resize(&self, device: &Path, size: Bytes) {
        self.fs.set_size(device, size);
    }

    fn copy(&self, from: &Path, to: &Path) {
        self.fs.copy_content(from, to);
    }

    fn hold(&self, at: &Path) {
        self.fs.hold(at);
    }

    fn release(&self, at: &Path) {
        self.fs.release(at);
    }

    fn home(&self) -> &Path {
        self.home.path()
    }
}

#[rstest]
fn the_fake_keeps_the_contract(#[values(FsKind::Ext4, FsKind::Xfs, FsKind::Btrfs)] kind: FsKind) {
    holds(&mut FakeWorld::world, kind);
}

#[test]
fn the_fake_keeps_the_rest_of_the_contract() {
    holds_for_any(&mut FakeWorld::world);
}

#[test]
fn the_fake_of_an_old_kernel_keeps_it_too() {
    let world = FakeWorld::new();
    world.fs.lack_memory_options();
    assert!(world.fs.lacks_in_memory(MemoryOption::NoSwap).unwrap().is_some());
    what_a_kernel_lacks_in_memory_it_does_not_mount(&world);
}
