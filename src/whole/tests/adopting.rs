//! What entries lead to is adopted with all that is on it, and handed back.

use super::*;
use crate::{
    device::{DeviceType, Wipe},
    fs::{MkfsOptions, MountHow},
    volume::{Adopted, Adoption},
};

/// Something that is not all zeroes, in the middle of a disk.
const MARK: (Bytes, &[u8]) = (Bytes::gib(5), b"precious");

impl Machine {
    /// A disk with a link in the directory, with a file system on it and some bytes.
    fn with_data(&self, name: &str, kind: FsKind) {
        let device = BlockDevice { size: Bytes::gib(10), ..disk(name) };
        self.plug_in(&device);
        self.link(name, &device.path);
        self.fs.make(&device.path, kind, &MkfsOptions::default()).unwrap();
        self.devices.write(&device.path, MARK.0, MARK.1);
    }

    /// A file system that is mounted in the directory, with a file in it.
    fn with_files(&self, name: &str, kind: FsKind) -> PathBuf {
        let device = BlockDevice { size: Bytes::gib(10), ..disk(name) };
        self.plug_in(&device);
        self.fs.make(&device.path, kind, &MkfsOptions::default()).unwrap();
        let at = self.path("disks").join(name);
        std::fs::create_dir(&at).unwrap();
        self.fs.mount(&device.path, &at, &how(kind, MountAccess::ReadWrite)).unwrap();
        std::fs::write(at.join("file"), "precious").unwrap();
        at
    }

    fn wish(&self, entry: &str, name: &str) -> Adoption<PathBuf> {
        let what = self.path("disks").join(entry);
        Adoption { what, name: name.parse().unwrap(), purpose: None, wipe: None }
    }

    /// That nothing of a disk has been touched.
    #[track_caller]
    fn is_whole(&self, name: &str) {
        let path = format!("/dev/{name}");
        assert_eq!(self.devices.read(&path, MARK.0, MARK.1.len()), MARK.1);
        assert_eq!(self.devices.take_wipes(), []);
    }
}

fn how(kind: FsKind, access: MountAccess) -> MountHow {
    MountHow { kind, options: MountOptions::default(), access }
}

fn one(kind: FsKind) -> Machine {
    let machine = Machine::with(&[]);
    machine.with_data("sda", kind);
    paths::ensure_directory(&machine.path("staged")).unwrap();
    machine
}

/// How the only entry stands.
fn state(whole: &WholeDevices) -> String {
    let state =
        whole.look_around(true).unwrap().judged.values().flatten().next().unwrap().state.clone();
    state.message().unwrap_or(state.word()).to_owned()
}

#[rstest]
fn a_disk_is_adopted_used_and_handed_back(
    #[values(FsKind::Ext4, FsKind::Xfs, FsKind::Btrfs)] kind: FsKind,
) {
    let machine = one(kind);
    let (driver, beside) = (machine.started(), machine.started());
    let (wish, id) = (machine.wish("sda", "photos"), id_of("photos"));
    assert!(!beside.is_adopted(&wish).unwrap());
    let first = beside.adopt(&wish).unwrap();
    let Adopted { volume, pool, was, .. } = &first;
    assert_eq!(
        (&volume.id, volume.size, volume.purpose),
        (&id, Bytes::gib(10), Purpose::Filesystem(kind))
    );
    assert_eq!((pool.as_str(), was.as_str()), ("whole", wish.what.to_str().unwrap()));
    assert_eq!(beside.adopt(&wish).unwrap(), first, "twice is once");
    assert!(beside.is_adopted(&wish).unwrap());

    // The driver has it at its next call.
    assert!(!driver.has(&id));
    driver.look_for(&id);
    assert_eq!((driver.find(&id), state(&driver).as_str()), (Some(volume.clone()), "Used"));
    assert_eq!(driver.adopted_from(&id).as_ref(), Some(was));
    assert_eq!(driver.kept(&|_| true)[0].entry.as_ref(), Some(&wish.what));
    for _ in 0..2 {
        driver.stage(&machine.stage(&id)).unwrap();
        driver.publish(&machine.publish(&id)).unwrap();
    }
    let in_use = beside.release(&id).unwrap_err();
    assert!(matches!(&in_use, Error::InUse(why) if why.contains("mounted at")), "{in_use}");
    driver.unpublish(&id, &machine.path("pod")).unwrap();
    driver.unstage(&id, &machine.path("staged")).unwrap();

    assert_eq!(beside.release(&id).unwrap().is, *was);
    assert!(matches!(beside.release(&id), Err(Error::NotFound(_))));
    driver.look_for(&id);
    assert!(!driver.has(&id) && state(&driver).contains("file system"), "{}", state(&driver));
    assert!(matches!(driver.create(&block("b", Bytes::GIB)), Err(Error::NoRoom(_))));
    assert_eq!(machine.fs.made(), 1, "by who had it before");
    machine.is_whole("sda");
    driver.adopt(&wish).unwrap();
}

/// Each call of the kernel fails once; then the caller asks again, or another process does.
#[rstest]
fn a_step_that_fails_is_done_again(#[values(false, true)] of_devices: bool) {
    let calls = |machine: &Machine| match of_devices {
        true => machine.devices.all_calls(),
        false => machine.fs.all_calls(),
    };
    let go = |machine: &Machine, whole: &WholeDevices| {
        whole.adopt(&machine.wish("sda", "photos"))?;
        whole.release(&id_of("photos"))
    };
    let count = {
        let machine = one(FsKind::Ext4);
        let whole = machine.started();
        let before = calls(&machine);
        go(&machine, &whole).unwrap();
        calls(&machine) - before
    };
    assert!(count > 5, "{count}");
    for at in 0..count {
        let machine = one(FsKind::Ext4);
        let whole = machine.started();
        let before = machine.things();
        match of_devices {
            true => machine.devices.fail_later(at),
            false => machine.fs.fail_later(at),
        }
        drop(go(&machine, &whole));
        let next = machine.started();
        go(&machine, &next).unwrap_or_else(|err| panic!("after call {at} failed: {err}"));
        let after: Vec<_> =
            machine.things().into_iter().filter(|it| !it.contains("/volumes")).collect();
        assert_eq!(after, before, "after call {at} failed");
        machine.is_whole("sda");
    }
}

#[test]
fn no_mkfs_ever_runs_on_what_was_adopted() {
    let machine = one(FsKind::Ext4);
    machine.started().adopt(&machine.wish("sda", "photos")).unwrap();
    machine.fs.set_content("/dev/sda", Content::Nothing);
    let refused = machine.started().stage(&machine.stage(&id_of("photos"))).unwrap_err();
    assert!(refused.to_string().contains("has been in use"), "{refused}");
    assert_eq!((machine.fs.made(), machine.fs.content("/dev/sda")), (1, Content::Nothing));
}

#[rstest]
#[case::none(None, Wipe::Zero)]
#[case::as_said(Some(Wipe::Discard), Wipe::Discard)]
fn it_is_wiped_only_when_it_is_deleted(#[case] said: Option<Wipe>, #[case] want: Wipe) {
    let machine = one(FsKind::Ext4);
    let whole = machine.started();
    let wish = Adoption { wipe: said, ..machine.wish("sda", "photos") };
    let id = whole.adopt(&wish).unwrap().volume.id;
    whole.do_chores_now();
    machine.is_whole("sda");
    whole.delete(&id).unwrap();
    let gone = whole.release(&id).unwrap_err();
    assert!(gone.to_string().contains("is being wiped"), "{gone}");
    let gone = whole.adopt(&wish).unwrap_err();
    assert!(gone.to_string().contains("is being wiped"), "{gone}");
    machine.join_wipe("sda");
    whole.do_chores_now();
    assert!(machine.devices.take_wipes().iter().all(|(_, how)| *how == want));
    assert_eq!((whole.has(&id), state(&whole).as_str()), (false, "Free"));
}

#[test]
fn a_mount_is_adopted_with_its_files() {
    let machine = Machine::with(&[]);
    let at = machine.with_files("sda", FsKind::Xfs);
    paths::ensure_directory(&machine.path("staged")).unwrap();
    let whole = machine.started();
    let (wish, id) = (machine.wish("sda", "photos"), id_of("photos"));
    let first = whole.adopt(&wish).unwrap();
    assert_eq!(first.volume.purpose, Purpose::Filesystem(FsKind::Xfs));
    assert_eq!(whole.adopt(&wish).unwrap(), first);
    whole.stage(&machine.stage(&id)).unwrap();
    whole.publish(&machine.publish(&id)).unwrap();
    let is_seen = |it: &crate::fs::Mount| it.at == machine.path("pod");
    assert!(machine.fs.peek_mounts().iter().any(is_seen));
    assert!(matches!(whole.release(&id), Err(Error::InUse(_))));
    whole.unpublish(&id, &machine.path("pod")).unwrap();
    whole.unstage(&id, &machine.path("staged")).unwrap();
    whole.release(&id).unwrap();
    assert!(state(&whole).contains("it is not empty: "), "{}", state(&whole));

    // Its files go only with the volume.
    whole.adopt(&wish).unwrap();
    whole.do_chores_now();
    assert_eq!(std::fs::read(at.join("file")).unwrap(), b"precious");
    whole.delete(&id).unwrap();
    whole.do_chores_now();
    assert!(!at.join("file").try_exists().unwrap() && !whole.has(&id));
    assert_eq!(state(&whole), "Free");
}

/// Disks of which only some can be adopted, and then not as anything.
fn zoo() -> Machine {
    let machine = Machine::with(&[10, 10, 10, 10, 10]);
    machine.with_data("sdk", FsKind::Ext4);
    for (name, content) in [
        ("sda", Content::Foreign("LVM2_member".to_owned())),
        ("sdb", Content::Foreign("linux_raid_member".to_owned())),
        ("sdc", Content::Foreign("crypto_LUKS".to_owned())),
        ("sdd", Content::Unfinished(FsKind::Ext4)),
        ("sde", Content::Nothing),
    ] {
        machine.fs.set_content(format!("/dev/{name}"), content);
    }
    let others = [
        BlockDevice { read_only: true, ..disk("sdl") },
        BlockDevice { zoned: true, ..disk("sdm") },
        BlockDevice { holders: vec!["md0".to_owned()], ..disk("sdn") },
        disk("sdo"),
        BlockDevice {
            kind: Some(DeviceType::Partition),
            partition_of: Some("sdo".to_owned()),
            ..disk("sdo1")
        },
        disk("sdp"),
        disk("sdq"),
        BlockDevice {
            name: "sdr".to_owned(),
            path: "/dev/sdr".into(),
            number: (65, 9),
            ..disk("sds")
        },
        disk("sds"),
    ];
    for device in &others {
        machine.plug_in(device);
        machine.link(&device.name, &device.path);
        machine.fs.make(&device.path, FsKind::Ext4, &MkfsOptions::default()).unwrap();
    }
    machine.devices.set_open("/dev/sdp", 1);
    std::fs::create_dir(machine.path("elsewhere")).unwrap();
    let read_write = how(FsKind::Ext4, MountAccess::ReadWrite);
    machine.fs.mount(Path::new("/dev/sdq"), &machine.path("elsewhere"), &read_write).unwrap();
    std::fs::create_dir(machine.path("disks/directory")).unwrap();
    machine.link("nowhere", "/dev/gone");
    machine
}

#[test]
fn what_may_not_be_adopted_says_why() {
    let machine = zoo();
    let whole = machine.started();
    // It is there from the first turn on.
    whole.ensure_home().unwrap();
    let before = machine.things();
    let all = [
        ("sda", "it is a physical volume of LVM's"),
        ("sdb", "the mark of a RAID member"),
        ("sdc", "crypto_LUKS, which is no file system"),
        ("sdd", "(as block)"),
        ("sde", "(as block)"),
        ("sdl", "read-only"),
        ("sdm", "zoned"),
        ("sdn", "below the device md0"),
        ("sdo", "partitions sdo1"),
        ("sdp", "in use"),
        ("sdq", "mounted at "),
        ("sds", "the identity of /dev/sdr too"),
        ("directory", "not a mount point"),
        ("nowhere", "leads nowhere"),
        ("nothing", "is in no directory"),
    ];
    for (name, want) in all {
        let refused = whole.adopt(&machine.wish(name, "photos")).unwrap_err();
        assert!(refused.to_string().contains(want), "{name}: {refused}");
        let is_use = ["sda", "sdn", "sdp", "sdq"].contains(&name);
        assert_eq!(matches!(refused, Error::InUse(_)), is_use, "{name}: {refused:?}");
    }
    let said = Adoption {
        purpose: Some(Purpose::Filesystem(FsKind::Xfs)),
        ..machine.wish("sdk", "photos")
    };
    assert!(whole.adopt(&said).unwrap_err().to_string().contains("holds ext4, not xfs"));
    let left = Adoption { wipe: Some(Wipe::None), ..machine.wish("sdk", "photos") };
    assert!(matches!(whole.adopt(&left), Err(Error::Invalid { .. })));
    assert_eq!((machine.things(), whole.volumes(None, 9)), (before, Vec::new()));
}

#[test]
fn what_no_program_knows_is_a_raw_device_if_somebody_says_so() {
    let machine = zoo();
    let whole = machine.started();
    // A partition is one, whatever its disk is; and what no program knows is a raw device if somebody says so.
    whole.adopt(&machine.wish("sdo1", "part")).unwrap();
    for (entry, name) in [("sdc", "luks"), ("sde", "empty")] {
        let raw = Adoption { purpose: Some(Purpose::Block), ..machine.wish(entry, name) };
        assert_eq!(whole.adopt(&raw).unwrap().volume.purpose, Purpose::Block);
    }
    for entry in ["sda", "sdb"] {
        let raw = Adoption { purpose: Some(Purpose::Block), ..machine.wish(entry, "raw") };
        whole.adopt(&raw).expect_err("another puts it together");
    }
}

#[test]
fn what_is_known_already_and_names_that_are_taken_are_refused() {
    let machine = Machine::with(&[10]);
    machine.with_data("sdk", FsKind::Ext4);
    machine.with_data("sdl", FsKind::Ext4);
    let whole = machine.started();
    let made = whole.create(&block("made", Bytes::GIB)).unwrap().id;
    let says = |entry: &str, name: &str, want: &str| {
        let refused = whole.adopt(&machine.wish(entry, name)).unwrap_err();
        assert!(refused.to_string().contains(want), "{refused}");
    };
    says("sda", "made", "was made by Tarn");
    says("sda", "other", &format!("it is volume {made} of pool whole already"));
    says("sdk", "made", "the name is taken");
    whole.adopt(&machine.wish("sdk", "photos")).unwrap();
    says("sdk", "other", "release that first (tarn release photos)");
    says("sdl", "photos", "the name is taken");
    let own = whole.release(&made).unwrap_err();
    assert!(own.to_string().contains("was made by Tarn"), "{own}");

    // Also of a pool that is of another kind, or not here any more.
    let of_other = machine.path("volumes/other");
    std::fs::create_dir(&of_other).unwrap();
    std::fs::write(of_other.join(format!("{}.json", id_of("third"))), "{}").unwrap();
    says("sdl", "third", "in pool other");
}

#[test]
fn what_two_pools_have_and_what_none_has_is_refused() {
    let machine = Machine::with(&[]);
    machine.with_data("sdk", FsKind::Ext4);
    machine.plug_in(&disk("sdl"));
    let whole = machine.unserved();
    let wish = machine.wish("sdk", "photos");
    let none = whole.adopt(&wish).unwrap_err();
    assert!(none.to_string().contains("no pool of whole devices"), "{none}");
    let entries = ["one", "two"].map(|name| machine.entry(name, json!({})));
    assert_eq!(whole.serve(entries.to_vec()), BTreeMap::new());
    let both = whole.adopt(&wish).unwrap_err();
    assert!(both.to_string().contains("pools one and two both have it"), "{both}");
    assert_eq!(whole.serve(entries[..1].to_vec()), BTreeMap::new());
    let link =
        |path: &str| whole.adopt(&Adoption { what: path.into(), ..wish.clone() }).unwrap_err();
    let (disks, other) = (machine.path("disks"), link("/dev/sdl").to_string());
    let want = format!("(ln -s /dev/sdl {0}/), and adopt {0}/sdl", disks.display());
    assert!(other.contains(&want), "{other}");
    let known = link("/dev/sdk").to_string();
    assert!(
        known.contains(&format!("the same device as {}; adopt that", wish.what.display())),
        "{known}"
    );
    whole.adopt(&wish).unwrap();
}

#[test]
fn a_mount_that_is_used_or_cannot_be_one_is_refused() {
    let machine = Machine::with(&[]);
    machine.with_files("sda", FsKind::Ext4);
    let full = machine.with_files("sdb", FsKind::Ext4);
    for name in ["elsewhere", "disks/part"] {
        std::fs::create_dir(machine.path(name)).unwrap();
    }
    std::fs::create_dir(full.join("sub")).unwrap();
    let bind = |from: &Path, at: &str| {
        machine.fs.bind(from, &machine.path(at), MountAccess::ReadWrite).unwrap();
    };
    bind(&machine.path("disks/sda"), "elsewhere");
    let whole = machine.started();
    let says = |wish: Adoption<PathBuf>, want: &str| {
        let refused = whole.adopt(&wish).unwrap_err();
        assert!(refused.to_string().contains(want), "{refused}");
    };
    says(machine.wish("sda", "photos"), "its file system is mounted at ");
    let raw = Adoption { purpose: Some(Purpose::Block), ..machine.wish("sdb", "photos") };
    says(raw, "ext4 is mounted there, and it cannot be raw block");
    let wiped = Adoption { wipe: Some(Wipe::Zero), ..machine.wish("sdb", "photos") };
    says(wiped, "has no other wipe");
    bind(&full.join("sub"), "disks/part");
    says(machine.wish("part", "photos"), "it shows only /sub of its file system");
    says(machine.wish("sdb", "photos"), "its file system is mounted at ");
    assert_eq!(whole.volumes(None, 9), []);
}

/// Of two processes at once one has the device, and one the name.
#[test]
fn two_at_once_take_turns() {
    let machine = Machine::with(&[]);
    for name in ["sda", "sdb"] {
        machine.with_data(name, FsKind::Ext4);
    }
    let run = |wishes: [Adoption<PathBuf>; 2]| {
        std::thread::scope(|scope| {
            let go = |wish: Adoption<PathBuf>| {
                let whole = machine.started();
                scope.spawn(move || whole.adopt(&wish).is_ok())
            };
            wishes.map(go).map(|it| it.join().unwrap()).into_iter().filter(|it| *it).count()
        })
    };
    assert_eq!(run([machine.wish("sda", "one"), machine.wish("sda", "two")]), 1);
    assert_eq!(run([machine.wish("sdb", "three"), machine.wish("sdb", "three")]), 2);
    let whole = machine.started();
    assert_eq!(whole.volumes(None, 9).len(), 2);
    for volume in whole.volumes(None, 9) {
        whole.release(&volume.id).unwrap();
    }
    assert_eq!(run([machine.wish("sda", "one"), machine.wish("sdb", "one")]), 1);
}
