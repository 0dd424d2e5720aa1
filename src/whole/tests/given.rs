//! Volumes that are mounts: which are given, how they are staged, and how they become empty.

use super::*;
use crate::{
    device::Wipe,
    fs::{MemoryHow, MkfsOptions, MountHow, fake::Call},
    pool::EntryState,
};

impl Machine {
    /// A disk with a file system that is mounted in the directory, under the disk's name.
    fn with_mount(&self, name: &str, gib: u64, kind: FsKind) -> PathBuf {
        let device = BlockDevice { size: Bytes::gib(gib), ..disk(name) };
        self.plug_in(&device);
        self.fs.make(&device.path, kind, &MkfsOptions::default()).unwrap();
        let at = self.path("disks").join(name);
        std::fs::create_dir(&at).unwrap();
        self.mount_there(name, kind);
        at
    }

    fn mount_there(&self, name: &str, kind: FsKind) {
        let how =
            MountHow { kind, options: MountOptions::default(), access: MountAccess::ReadWrite };
        self.fs.mount(&disk(name).path, &self.path("disks").join(name), &how).unwrap();
    }
}

fn one(kind: FsKind) -> (Machine, PathBuf) {
    let machine = Machine::with(&[]);
    let at = machine.with_mount("sda", 10, kind);
    paths::ensure_directory(&machine.path("staged")).unwrap();
    (machine, at)
}

fn of_kind(kind: FsKind, name: &str, size: Bytes) -> Wanted {
    Wanted { purpose: Purpose::Filesystem(kind), ..wanted(name, size) }
}

/// How the entry of this name stands, in a word or in the sentence of it.
fn state(whole: &WholeDevices, name: &str) -> String {
    let view = whole.look_around(true).unwrap();
    let mut all = view.judged.values().flatten();
    let state = &all.find(|it| it.entry.path.ends_with(name)).unwrap().state;
    state.message().unwrap_or(state.word()).to_owned()
}

/// Every step of a life, each twice; the pod writes something.
fn live_on(machine: &Machine, whole: &WholeDevices, at: &Path) -> Result<(), Error> {
    let (wish, id) = (wanted("a", Bytes::gib(2)), id_of("a"));
    let target = machine.path("pod");
    let twice = |step: &dyn Fn() -> Result<(), Error>| step().and_then(|()| step());
    twice(&|| whole.create(&wish).map(drop))?;
    twice(&|| whole.stage(&machine.stage(&id)))?;
    twice(&|| whole.publish(&machine.publish(&id)))?;
    std::fs::create_dir_all(at.join("data")).unwrap();
    std::fs::write(at.join("data/secret"), "x").unwrap();
    twice(&|| whole.node_expand(&id, &target, SizeRange::at_least(Bytes::gib(2))).map(drop))?;
    let Stats::Filesystem(usage) = whole.stats(&id, &target)? else { panic!("a file system") };
    assert_eq!(usage.bytes.total, Bytes::gib(10).0);
    twice(&|| whole.unpublish(&id, &target))?;
    twice(&|| whole.unstage(&id, &machine.path("staged")))?;
    twice(&|| whole.delete(&id))?;
    whole.do_chores_now();
    Ok(())
}

#[test]
fn a_life_on_a_mount_leaves_it_empty_and_free() {
    let (machine, at) = one(FsKind::Ext4);
    std::fs::create_dir(at.join("lost+found")).unwrap();
    let whole = machine.started();
    let ten = (Bytes::gib(10), Bytes::gib(10));
    assert_eq!((state(&whole, "sda").as_str(), room(&whole)), ("Free", ten));
    live_on(&machine, &whole, &at).unwrap();
    let before = machine.things();
    assert!(!before.iter().any(|it| it.contains("secret") || it.contains(id_of("a").as_str())));
    live_on(&machine, &whole, &at).unwrap();
    assert_eq!((machine.things(), machine.fs.made()), (before, 1), "it keeps its file system");
    assert_eq!((state(&whole, "sda").as_str(), room(&whole)), ("Free", ten));
    assert!(at.join("lost+found").is_dir());
    assert_eq!(machine.devices.take_wipes(), [], "its device is not written to");
}

#[rstest]
fn a_step_on_a_mount_that_fails_is_done_again(
    #[values(false, true)] started_anew: bool,
    #[values(false, true)] of_devices: bool,
) {
    let calls = |machine: &Machine| match of_devices {
        true => machine.devices.all_calls(),
        false => machine.fs.all_calls(),
    };
    let lived = || {
        let (machine, at) = one(FsKind::Ext4);
        let whole = machine.started();
        live_on(&machine, &whole, &at).unwrap();
        (machine, whole, at)
    };
    let count = {
        let (machine, whole, at) = lived();
        let before = calls(&machine);
        live_on(&machine, &whole, &at).unwrap();
        calls(&machine) - before
    };
    assert!(count > 10, "{count}");
    for step in 0..count {
        let (machine, mut whole, at) = lived();
        let before = machine.things();
        match of_devices {
            true => machine.devices.fail_later(step),
            false => machine.fs.fail_later(step),
        }
        if let Err(err) = live_on(&machine, &whole, &at) {
            assert!(!matches!(err, Error::Invalid { .. }), "{step}: {err}");
        }
        if started_anew {
            whole = machine.started();
        }
        whole.do_chores_now();
        live_on(&machine, &whole, &at).unwrap_or_else(|err| panic!("after call {step}: {err}"));
        assert_eq!(machine.things(), before, "after call {step} failed");
    }
}

#[test]
fn every_mount_that_is_not_free_says_why() {
    let machine = Machine::with(&[]);
    let full = machine.with_mount("sda", 10, FsKind::Ext4);
    std::fs::write(full.join("precious"), "").unwrap();
    machine.with_mount("sdb", 10, FsKind::Xfs);
    let disks = machine.path("disks");
    let directory = |name: &str| {
        std::fs::create_dir(disks.join(name)).unwrap();
        disks.join(name)
    };
    directory("plain");
    let memory = MemoryHow {
        size: Bytes::GIB,
        inodes: 9,
        mode: 0o755,
        huge_pages: crate::fs::HugePages::Never,
        swap: true,
    };
    machine.fs.mount_memory("tmpfs", &directory("tmpfs"), &memory).unwrap();
    let read_write = MountAccess::ReadWrite;
    machine.fs.bind(&disks.join("sdb"), &directory("sdb-again"), read_write).unwrap();
    let part = machine.with_mount("sdc", 10, FsKind::Ext4).join("part");
    std::fs::create_dir(&part).unwrap();
    std::fs::create_dir(machine.path("home")).unwrap();
    machine.fs.bind(&part, &directory("bound"), read_write).unwrap();
    machine.with_mount("sdd", 10, FsKind::Ext4);
    std::fs::create_dir(machine.path("elsewhere")).unwrap();
    machine.fs.bind(&disks.join("sdd"), &machine.path("elsewhere"), read_write).unwrap();
    machine.link("sdb-device", "/dev/sdb");
    machine.fs.mount_with_quotas(directory("unseen"), Bytes::GIB);
    let whole = machine.started();
    let all = [
        ("sda", "it is not empty: "),
        ("sda", "/sda/precious is there"),
        ("sdb", "Free"),
        ("sdb-again", "it is of the same file system as "),
        ("sdb-device", "it leads to the same device as "),
        ("plain", "a directory, and not a mount point"),
        ("tmpfs", "a mount of tmpfs, whose files go"),
        ("bound", "it shows only /part of its file system"),
        ("sdc", "it is of the same file system as "),
        ("sdd", "its file system is mounted at "),
        ("unseen", "its device is not seen"),
    ];
    for (name, want) in all {
        let found = state(&whole, name);
        assert!(found.contains(want), "{name}: {found}");
    }
    let xfs = Parameters { filesystem: Some(FsKind::Xfs), ..Parameters::default() };
    let free = (room(&whole).1, whole.capacity(&xfs).available);
    assert_eq!(free, (Bytes::ZERO, Bytes::gib(10)), "each counts once, and only the free one");
    assert!(full.join("precious").is_file());
}

#[test]
fn only_a_wish_that_a_mount_can_be_gets_one() {
    let (machine, _) = one(FsKind::Xfs);
    let whole = machine.started();
    let refused = |wish: &Wanted| match whole.create(wish) {
        Err(Error::NoRoom(why)) => why,
        other => panic!("{other:?}"),
    };
    let why = refused(&block("a", Bytes::GIB));
    assert!(why.contains("disks/sda is free, but volume_capability.block: "), "{why}");
    let why = refused(&wanted("a", Bytes::GIB));
    assert!(why.contains("fs_type: ext4 is wanted, and it has xfs"), "{why}");
    let mut wish = of_kind(FsKind::Xfs, "a", Bytes::GIB);
    wish.parameters.wipe = Some(Wipe::Zero);
    assert!(refused(&wish).contains("parameters[wipe]"));
    refused(&of_kind(FsKind::Xfs, "a", Bytes::gib(11)));
    let made = whole.create(&of_kind(FsKind::Xfs, "a", Bytes::GIB)).unwrap();
    assert_eq!((made.size, room(&whole).1), (Bytes::gib(10), Bytes::ZERO));
    // A device serves what the mount cannot.
    machine.plug_in(&disk("sdb"));
    machine.link("sdb", "/dev/sdb");
    whole.create(&block("b", Bytes::GIB)).unwrap();
}

#[test]
fn it_is_staged_only_with_the_very_file_system_that_it_was() {
    let (machine, at) = one(FsKind::Ext4);
    let whole = machine.started();
    let id = whole.create(&wanted("a", Bytes::GIB)).unwrap().id;
    let refused = |whole: &WholeDevices| match whole.stage(&machine.stage(&id)) {
        Err(Error::Precondition(why)) => why,
        other => panic!("{other:?}"),
    };
    machine.fs.unmount(&at).unwrap();
    let why = refused(&whole);
    assert!(why.contains("is not mounted at ") && why.contains("UUID 0000"), "{why}");
    whole.do_chores_now();
    let health = whole.status().pop().unwrap().health;
    assert_eq!((health.state(), health.lost.as_slice()), ("Degraded", &[id.to_string()][..]));
    assert!(health.to_string().contains("whose file system is not mounted there"), "{health}");

    machine.with_mount("sdb", 10, FsKind::Ext4);
    machine.fs.bind(&machine.path("disks/sdb"), &at, MountAccess::ReadWrite).unwrap();
    assert!(refused(&whole).contains("something else than its file system"));
    machine.fs.unmount(&at).unwrap();

    let was = machine.fs.content("/dev/sda");
    machine.fs.set_content("/dev/sda", was.clone());
    machine.mount_there("sda", FsKind::Ext4);
    assert!(refused(&whole).contains("its disk is missing"), "another UUID");
    machine.fs.unmount(&at).unwrap();

    // The disk comes back as it was, under another name, after a restart.
    let (machine, at) = one(FsKind::Ext4);
    let id = machine.started().create(&wanted("a", Bytes::GIB)).unwrap().id;
    machine.fs.reboot();
    let whole = machine.started();
    assert!(refused_by(&whole, &machine, &id).contains("is not mounted at "));
    machine.mount_there("sda", FsKind::Ext4);
    whole.stage(&machine.stage(&id)).unwrap();
    whole.publish(&machine.publish(&id)).unwrap();
    // What is published can be taken off also when the mount is gone.
    machine.fs.unmount(&at).unwrap();
    assert!(whole.publish(&Publish { at: machine.path("other"), ..machine.publish(&id) }).is_err());
    whole.unpublish(&id, &machine.path("pod")).unwrap();
    whole.unstage(&id, &machine.path("staged")).unwrap();
    assert_eq!(machine.fs.peek_mounts(), []);
}

/// The kubelet unstages only what is mounted nowhere but where it was staged.
#[test]
fn nothing_is_mounted_where_it_is_staged() {
    let (machine, _) = one(FsKind::Ext4);
    let whole = machine.started();
    let id = whole.create(&wanted("a", Bytes::GIB)).unwrap().id;
    let before = machine.fs.peek_mounts();
    whole.stage(&machine.stage(&id)).unwrap();
    assert_eq!(machine.fs.peek_mounts(), before);
    whole.unstage(&id, &machine.path("staged")).unwrap();
    assert_eq!(machine.fs.peek_mounts(), before);
}

fn refused_by(whole: &WholeDevices, machine: &Machine, id: &VolumeId) -> String {
    whole.stage(&machine.stage(id)).unwrap_err().to_string()
}

#[test]
fn it_is_staged_as_it_is_asked_for_or_refused() {
    let (machine, _) = one(FsKind::Ext4);
    let whole = machine.started();
    let id = whole.create(&wanted("a", Bytes::GIB)).unwrap().id;
    let with = |kind: Option<FsKind>, flags: &[&str]| {
        let flags: Vec<String> = flags.iter().map(|it| (*it).to_owned()).collect();
        let options = MountOptions::parse(&flags).unwrap();
        let access = Access::Mount { kind, options };
        let capability = Capability { access, mode: Mode::ManyWriters };
        whole.stage(&Stage { capability, ..machine.stage(&id) })
    };
    let raw = Capability { access: Access::Block, mode: Mode::ManyWriters };
    let raw = whole.stage(&Stage { capability: raw, ..machine.stage(&id) }).unwrap_err();
    assert!(matches!(raw, Error::Precondition(_)), "{raw}");
    let other = with(Some(FsKind::Xfs), &[]).unwrap_err();
    assert!(matches!(other, Error::Precondition(_)), "{other}");
    let flags = with(None, &["noatime"]).unwrap_err();
    assert!(flags.to_string().contains("volume_capability.mount.mount_flags"), "{flags}");
    assert!(matches!(flags, Error::Invalid { .. }));
    with(Some(FsKind::Ext4), &["ro"]).unwrap();
    let options = MountOptions::parse(&["ro".to_owned()]).unwrap();
    let access = Access::Mount { kind: None, options };
    let capability = Capability { access, mode: Mode::ManyWriters };
    let read_only = Publish { capability, ..machine.publish(&id) };
    whole.publish(&read_only).unwrap();
    assert_eq!(machine.fs.peek_mounts().pop().unwrap().access, MountAccess::ReadOnly);
    assert!(matches!(whole.publish(&machine.publish(&id)), Err(Error::Exists { .. })));
    assert!(matches!(whole.delete(&id), Err(Error::InUse(_))));
}

#[test]
fn a_mount_that_comes_later_is_found_and_one_that_goes_is_not_given() {
    let machine = Machine::with(&[]);
    let whole = machine.started();
    assert_eq!(room(&whole).1, Bytes::ZERO);
    let at = machine.with_mount("sda", 10, FsKind::Ext4);
    whole.do_chores_now();
    assert_eq!(room(&whole).1, Bytes::gib(10));
    machine.fs.unmount(&at).unwrap();
    assert!(matches!(whole.create(&wanted("a", Bytes::GIB)), Err(Error::NoRoom(_))));
    assert_eq!(state(&whole, "sda"), "it is a directory, and not a mount point");
    machine.mount_there("sda", FsKind::Ext4);
    whole.create(&wanted("a", Bytes::GIB)).unwrap();
}

#[test]
fn what_is_not_surely_the_volume_is_not_emptied() {
    let (machine, at) = one(FsKind::Ext4);
    let whole = machine.started();
    let id = whole.create(&wanted("a", Bytes::GIB)).unwrap().id;
    std::fs::write(at.join("file"), "x").unwrap();
    machine.fs.unmount(&at).unwrap();
    whole.delete(&id).unwrap();
    let clean = |want: &str| {
        whole.do_chores_now();
        assert!(at.join("file").is_file(), "{want}");
        let failure = whole.cleanings.failure(&id).unwrap();
        assert!(failure.contains(want), "{failure}");
    };
    clean("is not mounted at ");
    machine.mount_there("sda", FsKind::Ext4);
    for name in ["elsewhere", "disks/sda/within"] {
        std::fs::create_dir(machine.path(name)).unwrap();
        let other = machine.path(name);
        let from = if name == "elsewhere" { at.clone() } else { machine.path("staged") };
        machine.fs.bind(&from, &other, MountAccess::ReadWrite).unwrap();
        clean(&format!("at {}", other.display()));
        assert_eq!((whole.has(&id), room(&whole).1), (true, Bytes::ZERO));
        machine.fs.unmount(&other).unwrap();
    }
    machine.fs.fail_once(Call::Root);
    clean("cannot work on");
    assert!(state(&whole, "sda").contains("cannot work on"), "{}", state(&whole, "sda"));
    whole.do_chores_now();
    assert_eq!((whole.has(&id), room(&whole).1), (false, Bytes::gib(10)));
    assert!(!at.join("file").try_exists().unwrap());
}

#[test]
fn how_far_it_is_counts_on_after_a_restart() {
    let (machine, at) = one(FsKind::Ext4);
    let whole = machine.started();
    let id = whole.create(&wanted("a", Bytes::GIB)).unwrap().id;
    for name in 0..5001 {
        std::fs::write(at.join(name.to_string()), "").unwrap();
    }
    whole.delete(&id).unwrap();
    assert_eq!(state(&whole, "sda"), "0 files and directories are removed");
    whole.stop();
    whole.do_chores_now();
    let left = || std::fs::read_dir(&at).unwrap().count();
    assert_eq!((left(), whole.has(&id)), (5000, true), "it stops at once");
    std::fs::write(at.join("more"), "").unwrap();

    let whole = machine.started();
    let found = whole.roster.look_up(&id).unwrap();
    let mut record = found.record.clone();
    record.file_system.as_mut().unwrap().removed = 5000;
    found.pool.put("writing", &id, record).unwrap();
    assert_eq!(state(&whole, "sda"), "5000 files and directories are removed");
    whole.do_chores_now();
    assert_eq!((left(), whole.has(&id), state(&whole, "sda").as_str()), (0, false, "Free"));
}

#[test]
fn its_root_is_as_mkfs_makes_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (machine, at) = one(FsKind::Ext4);
    let mode = |at: &Path| at.metadata().unwrap().permissions().mode() & 0o7777;
    let whole = machine.started();
    let id = whole.create(&wanted("a", Bytes::GIB)).unwrap().id;
    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o2777)).unwrap();
    whole.delete(&id).unwrap();
    whole.do_chores_now();
    assert_eq!((mode(&at), whole.has(&id)), (0o755, false));
    assert!(whole.view().judged.values().flatten().all(|it| it.state == EntryState::Free));
}
