//! The life of volumes that are whole devices, on the fakes.

mod adopting;
mod cleaning;
mod given;
mod named;
mod zoo;

use std::{os::unix::fs::symlink, path::Path};

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    device::fake::FakeDevices,
    fs::{Access as MountAccess, Content, DeviceNumber, FsKind, MountOptions, fake::FakeFs, paths},
    pool::{PoolKind, Reserves as _, survey::example::disk},
    units::Bytes,
    volume::{
        Access, Capability, Mode, Parameters, Publish, Purpose, SizeRange, Source, Stage, Stats,
        VolumeId, Wanted,
    },
};

/// A machine whose driver may be started anew, with a pool over one directory.
struct Machine {
    fs: Arc<FakeFs>,
    devices: Arc<FakeDevices>,
    home: tempfile::TempDir,
}

impl Machine {
    /// Disks of so many GiB, `sda` and on, each with a link in the directory.
    fn with(gib: &[u64]) -> Self {
        let (fs, devices) = (Arc::new(FakeFs::new()), Arc::new(FakeDevices::new()));
        let machine = Self { fs, devices, home: tempfile::tempdir().unwrap() };
        std::fs::create_dir(machine.path("disks")).unwrap();
        for (gib, letter) in gib.iter().zip('a'..) {
            let device = BlockDevice { size: Bytes::gib(*gib), ..disk(&format!("sd{letter}")) };
            machine.plug_in(&device);
            machine.link(&device.name, &device.path);
        }
        machine
    }

    fn plug_in(&self, device: &BlockDevice) {
        let (major, minor) = device.number;
        self.fs.add_device(&device.path, DeviceNumber { major, minor }, device.size);
        self.devices.plug_in(device.clone());
    }

    fn pull_out(&self, name: &str) {
        self.fs.remove_device(format!("/dev/{name}"));
        self.devices.pull_out(format!("/dev/{name}"));
    }

    fn link(&self, name: &str, to: impl AsRef<Path>) {
        symlink(to, self.path("disks").join(name)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        paths::real(&self.home.path().join(name))
    }

    fn entry(&self, name: &str, more: Value) -> PoolEntry {
        let mut spec = json!({ "wholeDevices": { "directories": [self.path("disks")] } });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        PoolEntry { name: name.parse().unwrap(), spec: serde_json::from_value(spec).unwrap() }
    }

    /// Another life of the driver.
    fn started(&self) -> WholeDevices {
        let whole = self.unserved();
        assert_eq!(whole.serve(vec![self.entry("whole", json!({}))]), BTreeMap::new());
        whole
    }

    fn unserved(&self) -> WholeDevices {
        let tools = (Arc::clone(&self.fs) as _, Arc::clone(&self.devices) as _);
        let home = self.home.path().join("volumes");
        WholeDevices::new(tools, || 7, "n1".parse().unwrap(), home, &Arc::default())
    }

    /// What there is below its home and among its mounts.
    fn things(&self) -> Vec<String> {
        let mut all = Vec::new();
        list(self.home.path(), &mut all);
        let mounts = self.fs.peek_mounts().into_iter();
        all.extend(mounts.map(|mount| format!("mount {}", mount.at.display())));
        all.sort();
        all
    }

    fn stage(&self, id: &VolumeId) -> Stage {
        Stage { id: id.clone(), at: self.path("staged"), capability: mount() }
    }

    fn publish(&self, id: &VolumeId) -> Publish {
        let (staged, at) = (self.path("staged"), self.path("pod"));
        let access = MountAccess::ReadWrite;
        Publish { id: id.clone(), staged, at, capability: mount(), access }
    }

    /// What is wiped of a disk is gone for the fake of the file systems, too.
    fn join_wipe(&self, name: &str) {
        let (fs, path) = (Arc::clone(&self.fs), format!("/dev/{name}"));
        self.devices.after_wipe(move |_| fs.set_content(&path, Content::Nothing));
    }
}

fn list(directory: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        all.push(path.display().to_string());
        if path.is_dir() {
            list(&path, all);
        }
    }
}

fn mount() -> Capability {
    let options = MountOptions::parse(&[]).unwrap();
    Capability { access: Access::Mount { kind: None, options }, mode: Mode::ManyWriters }
}

fn wanted(name: &str, size: Bytes) -> Wanted {
    Wanted {
        name: name.parse().unwrap(),
        size: SizeRange::at_least(size),
        purpose: Purpose::Filesystem(FsKind::Ext4),
        parameters: Parameters::default(),
        source: None,
        nodes: None,
        claim: None,
    }
}

fn block(name: &str, size: Bytes) -> Wanted {
    Wanted { purpose: Purpose::Block, ..wanted(name, size) }
}

fn id_of(name: &str) -> VolumeId {
    VolumeId::of(&name.parse().unwrap())
}

fn room(whole: &WholeDevices) -> (Bytes, Bytes) {
    let room = whole.capacity(&Parameters::default());
    (room.largest, room.available)
}

/// Every step of a life, each twice.
fn live(machine: &Machine, whole: &WholeDevices) -> Result<(), Error> {
    let (wish, id) = (wanted("a", Bytes::mib(800)), id_of("a"));
    let at = machine.path("pod");
    let twice = |step: &dyn Fn() -> Result<(), Error>| step().and_then(|()| step());
    let size = SizeRange::at_least(Bytes::mib(800));
    twice(&|| whole.create(&wish).map(drop))?;
    twice(&|| whole.stage(&machine.stage(&id)))?;
    twice(&|| whole.publish(&machine.publish(&id)))?;
    twice(&|| whole.expand(&id, size).map(drop))?;
    twice(&|| whole.node_expand(&id, &at, size).map(drop))?;
    let Stats::Filesystem(usage) = whole.stats(&id, &at)? else { panic!("a file system") };
    assert_eq!(usage.bytes.total, Bytes::GIB.0);
    twice(&|| whole.unpublish(&id, &at))?;
    twice(&|| whole.unstage(&id, &machine.path("staged")))?;
    twice(&|| whole.delete(&id))?;
    machine.join_wipe("sda");
    whole.do_chores_now();
    Ok(())
}

/// A machine on which a volume has lived, and what there is on it then.
fn after_a_life() -> (Machine, WholeDevices, Vec<String>) {
    let machine = Machine::with(&[1]);
    let whole = machine.started();
    paths::ensure_directory(&machine.path("staged")).unwrap();
    live(&machine, &whole).unwrap();
    let things = machine.things();
    (machine, whole, things)
}

#[test]
fn a_life_leaves_nothing() {
    let (machine, whole, before) = after_a_life();
    assert!(!before.iter().any(|it| it.contains(id_of("a").as_str())), "{before:?}");
    live(&machine, &whole).unwrap();
    assert_eq!((machine.things(), machine.fs.made()), (before, 2));
    assert_eq!(room(&whole), (Bytes::GIB, Bytes::GIB));
}

/// Each call of the kernel fails once; then the caller asks again from where it was, at the same driver or
/// at one that was started anew.
#[rstest]
fn a_step_that_fails_is_done_again(
    #[values(false, true)] started_anew: bool,
    #[values(false, true)] of_devices: bool,
) {
    let calls = |machine: &Machine| match of_devices {
        true => machine.devices.all_calls(),
        false => machine.fs.all_calls(),
    };
    let count = {
        let (machine, whole, _) = after_a_life();
        let before = calls(&machine);
        live(&machine, &whole).unwrap();
        calls(&machine) - before
    };
    assert!(count > 20, "{count}");
    for at in 0..count {
        let (machine, mut whole, before) = after_a_life();
        match of_devices {
            true => machine.devices.fail_later(at),
            false => machine.fs.fail_later(at),
        }
        if let Err(err) = live(&machine, &whole) {
            assert!(!matches!(err, Error::Invalid { .. }), "{at}: {err}");
        }
        if started_anew {
            whole = machine.started();
        }
        machine.join_wipe("sda");
        whole.do_chores_now();
        live(&machine, &whole).unwrap_or_else(|err| panic!("after call {at} failed: {err}"));
        assert_eq!(machine.things(), before, "after call {at} failed");
    }
}

#[test]
fn the_smallest_that_fits_is_taken_whole() {
    let machine = Machine::with(&[40, 10, 20]);
    let whole = machine.started();
    assert_eq!(room(&whole), (Bytes::gib(40), Bytes::gib(70)));
    assert_eq!(whole.create(&wanted("a", Bytes::gib(11))).unwrap().size, Bytes::gib(20));
    assert_eq!(whole.create(&wanted("b", Bytes::gib(11))).unwrap().size, Bytes::gib(40));
    let none = whole.create(&wanted("c", Bytes::gib(11))).unwrap_err();
    let want = "pool whole has no free device of 11Gi; the largest free one has 10Gi";
    assert_eq!((none.to_string().as_str(), room(&whole).1), (want, Bytes::gib(10)));
    assert!(matches!(none, Error::NoRoom(_)));
    let bytes = |gib: u64| i64::try_from(Bytes::gib(gib).0).unwrap();
    let size = SizeRange::new(bytes(5), bytes(9)).unwrap();
    let over = Wanted { size, ..wanted("d", Bytes::GIB) };
    assert!(matches!(whole.create(&over), Err(Error::NoRoom(_))), "never more than the limit");
    let status = whole.status().pop().unwrap();
    assert_eq!((status.size, status.free, status.volumes), (Bytes::gib(70), Bytes::gib(10), 2));
}

#[test]
fn a_device_that_has_just_come_is_found_and_one_that_is_used_is_not_taken() {
    let machine = Machine::with(&[10]);
    let whole = machine.started();
    machine.fs.set_content("/dev/sda", Content::Foreign("swap".to_owned()));
    assert!(matches!(whole.create(&block("a", Bytes::gib(1))), Err(Error::NoRoom(_))));
    machine.plug_in(&disk("sdb"));
    machine.link("new", "/dev/sdb");
    assert_eq!(whole.create(&block("a", Bytes::gib(1))).unwrap().size, Bytes::gib(100));
    assert_eq!(machine.fs.content("/dev/sda"), Content::Foreign("swap".to_owned()));
}

#[test]
fn twenty_at_once_share_what_there_is() {
    let machine = Machine::with(&[10, 10, 10, 10, 10]);
    let whole = machine.started();
    let made = std::thread::scope(|scope| {
        let make = |n: u32| {
            let whole = &whole;
            scope.spawn(move || whole.create(&block(&format!("v{n}"), Bytes::gib(2))).is_ok())
        };
        let all: Vec<_> = (0..20).map(make).collect();
        all.into_iter().map(|it| it.join().unwrap()).filter(|it| *it).count()
    });
    assert_eq!((made, whole.volumes(None, 99).len()), (5, 5));
    let of_volumes = whole.view().volumes.values().map(|it| it[0].number).collect::<Vec<_>>();
    let different: std::collections::BTreeSet<_> = of_volumes.iter().collect();
    assert_eq!((of_volumes.len(), different.len()), (5, 5));
}

#[test]
fn a_disk_is_known_again_under_another_name() {
    let machine = Machine::with(&[10]);
    let id = machine.started().create(&wanted("a", Bytes::gib(1))).unwrap().id;
    machine.pull_out("sda");
    std::fs::remove_file(machine.path("disks/sda")).unwrap();
    let moved = BlockDevice {
        name: "sdq".to_owned(),
        path: "/dev/sdq".into(),
        number: (65, 0),
        size: Bytes::gib(10),
        ..disk("sda")
    };
    machine.plug_in(&moved);
    let whole = machine.started();
    whole.stage(&machine.stage(&id)).unwrap();
    let mounted = machine.fs.peek_mounts().pop().unwrap().device;
    assert_eq!((mounted.major, mounted.minor), (65, 0));
}

#[test]
fn a_missing_disk_is_told_of_and_its_volume_refused_until_it_is_back() {
    let machine = Machine::with(&[10, 20]);
    let whole = machine.started();
    let id = whole.create(&wanted("a", Bytes::gib(1))).unwrap().id;
    whole.stage(&machine.stage(&id)).unwrap();
    machine.pull_out("sda");
    whole.do_chores_now();
    let health = whole.status().pop().unwrap().health;
    assert_eq!((health.state(), health.lost.as_slice()), ("Degraded", &[id.to_string()][..]));
    assert!(health.to_string().contains("serial S-sda"), "{health}");
    assert_eq!(room(&whole).1, Bytes::gib(20), "the others are given out");
    whole.unstage(&id, &machine.path("staged")).unwrap();
    assert_eq!(machine.fs.peek_mounts(), [], "what is left of it can be unmounted");
    let refused = whole.stage(&machine.stage(&id)).unwrap_err();
    assert!(refused.to_string().contains("its disk is missing"), "{refused}");
    whole.delete(&id).unwrap();
    whole.do_chores_now();
    assert!(whole.has(&id), "it is wiped when it is back");
    machine.plug_in(&BlockDevice { size: Bytes::gib(10), ..disk("sda") });
    machine.join_wipe("sda");
    whole.do_chores_now();
    assert_eq!((whole.has(&id), room(&whole).1), (false, Bytes::gib(30)));
}

#[test]
fn of_two_with_one_identity_none_is_taken_or_used() {
    let machine = Machine::with(&[10]);
    let whole = machine.started();
    let id = whole.create(&wanted("a", Bytes::gib(1))).unwrap().id;
    let twin = BlockDevice {
        name: "sdq".to_owned(),
        path: "/dev/sdq".into(),
        number: (65, 0),
        size: Bytes::gib(10),
        ..disk("sda")
    };
    machine.plug_in(&twin);
    let refused = whole.stage(&machine.stage(&id)).unwrap_err();
    assert!(refused.to_string().contains("cannot be told which of"), "{refused}");
    whole.do_chores_now();
    assert!(whole.status()[0].health.to_string().contains("as which there are several"));
    whole.delete(&id).unwrap();
    machine.devices.write("/dev/sda", Bytes::ZERO, b"x");
    whole.do_chores_now();
    assert_eq!(machine.devices.read("/dev/sda", Bytes::ZERO, 1), b"x", "neither is wiped");
    assert!(whole.has(&id));
}

#[test]
fn what_was_deleted_is_wiped_also_by_the_next_life() {
    let machine = Machine::with(&[10]);
    let whole = machine.started();
    let id = whole.create(&wanted("a", Bytes::gib(1))).unwrap().id;
    whole.stage(&machine.stage(&id)).unwrap();
    whole.unstage(&id, &machine.path("staged")).unwrap();
    let middle = Bytes::gib(5);
    machine.devices.write("/dev/sda", middle, b"secret");
    whole.delete(&id).unwrap();
    let again = whole.create(&wanted("a", Bytes::gib(1))).unwrap_err();
    assert!(matches!(again, Error::Busy(_)), "{again}");
    let status = whole.status().pop().unwrap();
    assert_eq!((status.volumes, status.wipes, status.wipe_bytes), (0, 1, Bytes::gib(10)));
    assert_eq!((whole.volumes(None, 9), room(&whole).1), (Vec::new(), Bytes::ZERO));

    let whole = machine.started();
    whole.do_chores_now();
    let kept = whole.roster.look_up(&id).expect("a device is not given back with something on it");
    assert!(kept.record.deleted);
    machine.join_wipe("sda");
    whole.do_chores_now();
    assert_eq!(machine.devices.read("/dev/sda", middle, 6), [0; 6]);
    assert_eq!((whole.has(&id), room(&whole).1), (false, Bytes::gib(10)));
    whole.create(&wanted("a", Bytes::gib(1))).unwrap();
}

#[test]
fn one_in_use_is_not_deleted() {
    let machine = Machine::with(&[10]);
    let whole = machine.started();
    let id = whole.create(&wanted("a", Bytes::gib(1))).unwrap().id;
    whole.stage(&machine.stage(&id)).unwrap();
    assert!(matches!(whole.delete(&id), Err(Error::InUse(_))));
    whole.unstage(&id, &machine.path("staged")).unwrap();
    machine.devices.set_open("/dev/sda", 1);
    assert!(matches!(whole.delete(&id), Err(Error::InUse(_))));
    machine.devices.set_open("/dev/sda", 0);
    assert!(whole.find(&id).is_some());
    whole.delete(&id).unwrap();
}

#[test]
fn a_raw_block_volume_is_its_device() {
    let machine = Machine::with(&[10]);
    let whole = machine.started();
    let id = whole.create(&block("a", Bytes::gib(1))).unwrap().id;
    let capability = Capability { access: Access::Block, mode: Mode::ManyWriters };
    let stage = Stage { capability: capability.clone(), ..machine.stage(&id) };
    let publish = Publish { capability, ..machine.publish(&id) };
    for _ in 0..2 {
        whole.stage(&stage).unwrap();
        whole.publish(&publish).unwrap();
    }
    let refused = whole.stage(&machine.stage(&id)).unwrap_err();
    assert!(matches!(refused, Error::Precondition(_)), "{refused}");
    assert_eq!(whole.stats(&id, &publish.at).unwrap(), Stats::Block(Bytes::gib(10)));
    assert!(matches!(whole.delete(&id), Err(Error::InUse(_))));
    whole.unpublish(&id, &publish.at).unwrap();
    whole.unstage(&id, &stage.at).unwrap();
    assert_eq!((machine.fs.made(), machine.fs.peek_mounts()), (0, Vec::new()));
}

#[test]
fn no_mkfs_runs_on_a_volume_that_was_used() {
    let machine = Machine::with(&[10]);
    let whole = machine.started();
    let id = whole.create(&wanted("a", Bytes::gib(1))).unwrap().id;
    whole.stage(&machine.stage(&id)).unwrap();
    whole.unstage(&id, &machine.path("staged")).unwrap();
    machine.fs.set_content("/dev/sda", Content::Nothing);
    let refused = machine.started().stage(&machine.stage(&id)).unwrap_err();
    assert!(refused.to_string().contains("has been in use"), "{refused}");
    assert_eq!(machine.fs.made(), 1);
}

#[rstest]
#[case::copy(&|it: &mut Wanted| it.source = Some(Source::Volume(id_of("b"))), "volume_content_source")]
#[case::dirty(
    &|it: &mut Wanted| it.parameters.wipe = Some(crate::device::Wipe::None), "parameters[wipe]"
)]
fn what_it_cannot_be_is_refused(#[case] change: &dyn Fn(&mut Wanted), #[case] field: &str) {
    let machine = Machine::with(&[10]);
    let whole = machine.started();
    let mut wish = wanted("a", Bytes::gib(1));
    change(&mut wish);
    let refused = whole.create(&wish).unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
    assert!(refused.to_string().starts_with(field), "{refused}");
    assert_eq!(whole.volumes(None, 9), []);
}

#[test]
fn a_repeated_call_with_other_wishes_is_told_so() {
    let machine = Machine::with(&[10]);
    let whole = machine.started();
    whole.create(&wanted("a", Bytes::gib(8))).unwrap();
    whole.create(&wanted("a", Bytes::gib(9))).expect("it has 10Gi");
    let larger = whole.create(&wanted("a", Bytes::gib(11))).unwrap_err();
    assert!(matches!(larger, Error::Exists { .. }), "{larger}");
    let raw = whole.create(&block("a", Bytes::gib(8))).unwrap_err();
    assert!(matches!(raw, Error::Exists { .. }), "{raw}");
    let grown = whole.expand(&id_of("a"), SizeRange::at_least(Bytes::gib(11)));
    assert!(matches!(grown, Err(Error::OutOfRange(_))), "{grown:?}");
    assert_eq!(
        whole.expand(&id_of("a"), SizeRange::at_least(Bytes::gib(9))).unwrap().size,
        Bytes::gib(10)
    );
}

#[test]
fn a_record_that_was_never_written_to_its_end_goes() {
    let machine = Machine::with(&[10]);
    let whole = machine.started();
    let id = whole.create(&block("a", Bytes::gib(1))).unwrap().id;
    let records = machine.path("volumes/whole");
    let others = id_of("b");
    for name in [format!("{id}.json.new"), format!("{others}.json.new"), "my.new".to_owned()] {
        std::fs::write(records.join(name), "{").unwrap();
    }
    whole.do_chores_now();
    let mut left = Vec::new();
    list(&records, &mut left);
    left.sort();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].ends_with("/my.new") && left[1].ends_with(&format!("{id}.json")), "{left:?}");
}
