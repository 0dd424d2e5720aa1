//! The life of volumes that are directories, on the fake.

mod copies;
mod image;

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    device::fake::FakeDevices,
    fs::{Access as MountAccess, DeviceNumber, HugePages, MountOptions, fake::FakeFs, paths},
    pool::PoolKind,
    units::Bytes,
    volume::{
        Access, AfterRestart, Capability, Mode, Parameters, Publish, Purpose, SizeRange, Stage,
        Stats, VolumeId, VolumeName, Wanted,
    },
};

/// What the pool is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Memory,
    Directory,
    /// A directory with a file that has the file system.
    File,
}

/// A machine whose driver may be started anew, with a pool of 64Mi.
struct Machine {
    fs: Arc<FakeFs>,
    devices: Arc<FakeDevices>,
    home: tempfile::TempDir,
    kind: Kind,
}

impl Machine {
    fn new() -> Self {
        Self::of(Kind::Memory)
    }

    fn of(kind: Kind) -> Self {
        let devices = Arc::new(FakeDevices::new().on_real_files());
        let loops = Arc::clone(&devices);
        let look_up = move |path: &Path| {
            let minor = path.to_str()?.strip_prefix("/dev/loop")?.parse().ok()?;
            Some((DeviceNumber { major: 7, minor }, loops.size(path).ok()??))
        };
        let (fs, home) =
            (Arc::new(FakeFs::new().looking_up(look_up)), tempfile::tempdir().unwrap());
        let machine = Self { fs, devices, home, kind };
        std::fs::create_dir(machine.path("disk")).unwrap();
        machine.mount_disk();
        machine
    }

    fn mount_disk(&self) {
        let size = if self.kind == Kind::File { 256 } else { 64 };
        self.fs.mount_with_quotas(self.path("disk"), Bytes::mib(size));
    }

    fn entry(&self, more: Value) -> PoolEntry {
        match self.kind {
            Kind::Memory => entry("ram", more),
            Kind::Directory | Kind::File => {
                let mut spec = json!({ "directory": { "path": self.path("disk") } });
                if self.kind == Kind::File {
                    spec["directory"]["loopFile"] = json!({ "size": "64Mi" });
                }
                spec["directory"]
                    .as_object_mut()
                    .unwrap()
                    .extend(more.as_object().unwrap().clone());
                let spec = serde_json::from_value(spec).unwrap();
                PoolEntry { name: "dir".parse().unwrap(), spec }
            }
        }
    }

    /// Another life of the driver.
    fn started(&self, more: Value) -> Folders {
        let folders = self.unserved();
        assert_eq!(folders.serve(vec![self.entry(more)]), BTreeMap::new());
        folders
    }

    fn unserved(&self) -> Folders {
        let (fs, devices) = (Arc::clone(&self.fs), Arc::clone(&self.devices));
        let home = self.home.path().join("volumes");
        Folders::new((fs, devices), || 7, "n1".parse().unwrap(), home, &Arc::default())
    }

    fn path(&self, name: &str) -> PathBuf {
        paths::real(&self.home.path().join(name))
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
        Stage { id: id.clone(), at: self.path("staged"), capability: mount(&[]) }
    }

    fn publish(&self, id: &VolumeId) -> Publish {
        let (staged, at) = (self.path("staged"), self.path("pod"));
        let access = MountAccess::ReadWrite;
        Publish { id: id.clone(), staged, at, capability: mount(&[]), access }
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

fn entry(name: &str, more: Value) -> PoolEntry {
    let mut spec = json!({ "memory": { "size": "64Mi" } });
    spec["memory"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    PoolEntry { name: name.parse().unwrap(), spec: serde_json::from_value(spec).unwrap() }
}

fn mount(options: &[&str]) -> Capability {
    let listed: Vec<String> = options.iter().map(|it| (*it).to_owned()).collect();
    let options = MountOptions::parse(&listed).unwrap();
    Capability { access: Access::Mount { kind: None, options }, mode: Mode::ManyWriters }
}

fn wanted(name: &str, size: Bytes) -> Wanted {
    Wanted {
        name: name.parse().unwrap(),
        size: SizeRange::at_least(size),
        purpose: Purpose::Filesystem(crate::fs::FsKind::Ext4),
        parameters: Parameters::default(),
        source: None,
        nodes: None,
        claim: None,
    }
}

fn id_of(name: &str) -> VolumeId {
    VolumeId::of(&name.parse::<VolumeName>().unwrap())
}

fn total(folders: &Folders, id: &VolumeId, at: &Path) -> Result<Bytes, Error> {
    match folders.stats(id, at)? {
        Stats::Filesystem(usage) => Ok(Bytes(usage.bytes.total)),
        Stats::Block(_) => panic!("a file system"),
    }
}

/// Every step of a life, each twice.
fn live(machine: &Machine, folders: &Folders) -> Result<(), Error> {
    let (wish, id) = (wanted("a", Bytes::mib(8)), id_of("a"));
    let at = machine.path("pod");
    let twice = |step: &dyn Fn() -> Result<(), Error>| step().and_then(|()| step());
    twice(&|| folders.create(&wish).map(drop))?;
    twice(&|| folders.stage(&machine.stage(&id)))?;
    twice(&|| folders.publish(&machine.publish(&id)))?;
    twice(&|| folders.expand(&id, SizeRange::at_least(Bytes::mib(16))).map(drop))?;
    twice(&|| folders.node_expand(&id, &at, SizeRange::at_least(Bytes::mib(16))).map(drop))?;
    if total(folders, &id, &at)? != Bytes::mib(16) {
        return Err(Error::Precondition("it has not grown".to_owned()));
    }
    twice(&|| folders.unpublish(&id, &at))?;
    twice(&|| folders.unstage(&id, &machine.path("staged")))?;
    twice(&|| folders.delete(&id))?;
    folders.do_chores_now();
    Ok(())
}

/// A machine on which a volume has lived, and what there is on it then.
fn after_a_life(kind: Kind) -> (Machine, Folders, Vec<String>) {
    let machine = Machine::of(kind);
    let folders = machine.started(json!({}));
    paths::ensure_directory(&machine.path("staged")).unwrap();
    live(&machine, &folders).unwrap();
    let things = machine.things();
    (machine, folders, things)
}

#[rstest]
fn a_life_leaves_nothing(#[values(Kind::Memory, Kind::Directory, Kind::File)] kind: Kind) {
    let (machine, folders, before) = after_a_life(kind);
    assert!(!before.iter().any(|it| it.contains(id_of("a").as_str())), "{before:?}");
    live(&machine, &folders).unwrap();
    assert_eq!((machine.things(), machine.fs.limits()), (before, 0));
    assert_eq!(folders.capacity(&Parameters::default()).largest, Bytes::mib(64));
}

/// Each call of the kernel fails once; then the caller asks again from where it was, at the same driver or
/// at one that was started anew.
#[rstest]
fn a_step_that_fails_is_done_again(
    #[values(Kind::Memory, Kind::Directory, Kind::File)] kind: Kind,
    #[values(false, true)] started_anew: bool,
) {
    let calls = {
        let (machine, folders, _) = after_a_life(kind);
        let before = machine.fs.all_calls();
        live(&machine, &folders).unwrap();
        machine.fs.all_calls() - before
    };
    assert!(calls > 20, "{calls}");
    for at in 0..calls {
        let (machine, mut folders, before) = after_a_life(kind);
        machine.fs.fail_later(at);
        if let Err(err) = live(&machine, &folders) {
            assert!(!matches!(err, Error::Invalid { .. } | Error::NoRoom(_)), "{at}: {err}");
        }
        if started_anew {
            folders = machine.started(json!({}));
        }
        folders.do_chores_now();
        live(&machine, &folders).unwrap_or_else(|err| panic!("after call {at} failed: {err}"));
        assert_eq!((machine.things(), machine.fs.limits()), (before, 0), "after call {at} failed");
    }
}

#[rstest]
fn the_budget_is_kept_and_exact(#[values(Kind::Memory, Kind::Directory, Kind::File)] kind: Kind) {
    let machine = Machine::of(kind);
    let folders = machine.started(json!({}));
    folders.create(&wanted("a", Bytes::mib(40))).unwrap();
    let room = folders.capacity(&Parameters::default()).largest;
    assert_eq!(room, Bytes::mib(24));
    let more = Bytes(room.0 + 1);
    assert!(matches!(folders.create(&wanted("b", more)), Err(Error::NoRoom(_))));
    folders.create(&wanted("b", room)).unwrap();
    assert_eq!(folders.capacity(&Parameters::default()).largest, Bytes::ZERO);
    let grown = folders.expand(&id_of("a"), SizeRange::at_least(Bytes::mib(41)));
    assert!(matches!(grown, Err(Error::OutOfRange(_))), "{grown:?}");
    let there = folders.create(&wanted("a", Bytes::mib(40))).unwrap();
    assert_eq!((there.size, folders.volumes(None, 9).len()), (Bytes::mib(40), 2));
}

#[rstest]
fn fifty_at_once_share_what_there_is(
    #[values(Kind::Memory, Kind::Directory, Kind::File)] kind: Kind,
) {
    let machine = Machine::of(kind);
    let folders = machine.started(json!({}));
    let made = std::thread::scope(|scope| {
        let make = |n: u32| {
            let folders = &folders;
            scope.spawn(move || folders.create(&wanted(&format!("v{n}"), Bytes::mib(2))).is_ok())
        };
        let all: Vec<_> = (0..50).map(make).collect();
        all.into_iter().map(|it| it.join().unwrap()).filter(|it| *it).count()
    });
    assert_eq!((made, folders.volumes(None, 99).len()), (32, 32));
}

#[test]
fn a_volume_outlives_the_driver_with_what_is_in_it() {
    let machine = Machine::new();
    let folders = machine.started(json!({}));
    let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
    folders.stage(&machine.stage(&id)).unwrap();
    let device = machine.fs.peek_mounts().last().unwrap().device;
    let folders = machine.started(json!({}));
    assert!(folders.find(&id).is_some());
    folders.stage(&machine.stage(&id)).unwrap();
    assert!(machine.fs.peek_mounts().iter().skip(1).all(|mount| mount.device == device));
    assert_eq!(folders.status()[0].health.emptied, Vec::<String>::new());
}

#[test]
fn after_a_restart_of_the_machine_nobody_gets_it_unless_that_is_allowed() {
    let machine = Machine::new();
    let id = machine.started(json!({})).create(&wanted("a", Bytes::mib(8))).unwrap().id;
    machine.fs.reboot();
    let folders = machine.started(json!({}));
    assert_eq!(folders.status()[0].health.emptied, [id.to_string()]);
    let refused = folders.stage(&machine.stage(&id)).unwrap_err();
    assert!(refused.to_string().contains("went with a restart"), "{refused}");
    assert_eq!(folders.capacity(&Parameters::default()).largest, Bytes::mib(56), "its room is its");

    assert_eq!(
        folders.serve(vec![entry("ram", json!({ "afterRestart": "Empty" }))]),
        BTreeMap::new()
    );
    folders.stage(&machine.stage(&id)).unwrap();
    assert_eq!(folders.status()[0].health.emptied, Vec::<String>::new());
    assert_eq!(total(&folders, &id, &machine.path("staged")).unwrap(), Bytes::mib(8));
}

/// What a class says is written down with the volume, and goes before what the pool says.
#[rstest]
#[case("Fail", Some(AfterRestart::Empty), true)]
#[case("Empty", Some(AfterRestart::Fail), false)]
#[case("Empty", None, true)]
fn a_class_says_what_becomes_of_its_volumes_after_a_restart(
    #[case] of_pool: &str,
    #[case] of_class: Option<AfterRestart>,
    #[case] is_given: bool,
) {
    let machine = Machine::new();
    let pool = json!({ "afterRestart": of_pool });
    let mut wish = wanted("a", Bytes::mib(8));
    wish.parameters.after_restart = of_class;
    let id = machine.started(pool.clone()).create(&wish).unwrap().id;
    machine.fs.reboot();
    let folders = machine.started(pool);
    assert_eq!(folders.create(&wish).unwrap().id, id, "the same call finds it");
    assert_eq!(folders.kept(&|_| true)[0].after_restart, of_class);
    match folders.stage(&machine.stage(&id)) {
        Ok(()) => assert!(is_given),
        Err(said) => {
            assert!(!is_given, "{said}");
            assert!(said.to_string().contains("its class says `afterRestart: Fail`"), "{said}");
        }
    }
}

/// The kernel has mounted it, and the driver was killed before it was whole.
#[test]
fn one_that_was_beginning_anew_begins_again() {
    let machine = Machine::new();
    let empty = json!({ "afterRestart": "Empty" });
    let folders = machine.started(empty.clone());
    let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
    let own = machine.path("volumes/ram").join(id.as_str());
    std::fs::rename(own.join("volume"), own.join("new")).unwrap();
    let folders = machine.started(empty);
    assert_eq!(folders.status()[0].health.emptied, [id.to_string()]);
    folders.stage(&machine.stage(&id)).unwrap();
    assert_eq!(folders.status()[0].health.emptied, Vec::<String>::new());
    let mounts = machine.fs.peek_mounts().into_iter();
    assert_eq!(mounts.filter(|it| it.at == own).count(), 1);
}

#[test]
fn volumes_are_mounted_as_the_spec_says() {
    let machine = Machine::new();
    let how = |name: &str| {
        let at = machine.path("volumes/ram").join(id_of(name).as_str());
        let mode = std::fs::metadata(at.join("volume")).unwrap().permissions().mode();
        let how = machine.fs.memory_at(&at).unwrap();
        (mode & 0o7777, how.huge_pages, how.swap)
    };
    machine.started(json!({})).create(&wanted("a", Bytes::mib(8))).unwrap();
    assert_eq!(how("a"), (0o777, HugePages::Never, true));
    let said = json!({ "mode": "1770", "hugePages": "WithinSize", "swap": false });
    let folders = machine.started(said);
    folders.create(&wanted("b", Bytes::mib(8))).unwrap();
    for (name, want) in
        [("a", (0o777, HugePages::Never, true)), ("b", (0o1770, HugePages::WithinSize, false))]
    {
        folders.expand(&id_of(name), SizeRange::at_least(Bytes::mib(16))).unwrap();
        assert_eq!(how(name), want, "as it was made");
    }
}

#[rstest]
#[case::huge(json!({ "hugePages": "Advise" }), "memory.hugePages: Advise: ", "parameter 'huge'")]
#[case::swap(json!({ "swap": false }), "memory.swap: false: ", "Linux 6.4")]
fn what_the_kernel_lacks_is_told_and_never_passed_over(
    #[case] spec: Value,
    #[case] field: &str,
    #[case] why: &str,
) {
    let machine = Machine::new();
    machine.fs.lack_memory_options();
    let folders = machine.unserved();
    let failed = folders.serve(vec![machine.entry(spec)]);
    let said: Vec<_> = failed.values().collect();
    assert!(said[0].starts_with(field) && said[0].contains(why), "{said:?}");
    assert_eq!((folders.served(), folders.unserved()), (Vec::new(), failed));
    assert_eq!(folders.serve(vec![machine.entry(json!({}))]), BTreeMap::new());
    folders.create(&wanted("a", Bytes::mib(8))).unwrap();
}

#[test]
fn a_mount_that_somebody_took_away_is_missed() {
    let machine = Machine::new();
    let folders = machine.started(json!({}));
    let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
    machine.fs.unmount(&machine.path("volumes/ram").join(id.as_str())).unwrap();
    let refused = folders.stage(&machine.stage(&id)).unwrap_err();
    assert!(refused.to_string().contains("went with a restart"), "{refused}");
    assert_eq!(folders.status()[0].health.emptied, [id.to_string()]);
}

#[test]
fn one_in_use_is_not_deleted() {
    let machine = Machine::new();
    let folders = machine.started(json!({}));
    let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
    folders.stage(&machine.stage(&id)).unwrap();
    assert!(matches!(folders.delete(&id), Err(Error::InUse(_))));
    folders.unstage(&id, &machine.path("staged")).unwrap();
    machine.fs.hold(paths::real(&machine.home.path().join("volumes/ram").join(id.as_str())));
    let begun = folders.delete(&id).unwrap_err();
    assert!(matches!(begun, Error::InUse(_)), "{begun}");
    let again = folders.create(&wanted("a", Bytes::mib(8))).unwrap_err();
    assert!(matches!(again, Error::Busy(_)), "one that is being deleted is not found: {again}");
    assert_eq!(folders.volumes(None, 9), []);
    let folders = machine.started(json!({}));
    folders.do_chores_now();
    assert!(folders.has(&id), "it is still held");
    machine.fs.release(paths::real(&machine.home.path().join("volumes/ram").join(id.as_str())));
    folders.do_chores_now();
    assert!(!folders.has(&id));
    folders.create(&wanted("a", Bytes::mib(8))).unwrap();
}

#[rstest]
#[case::block(&|it: &mut Wanted| it.purpose = Purpose::Block, "volume_capabilities")]
#[case::copy(
    &|it: &mut Wanted| it.source = Some(crate::volume::Source::Volume(id_of("b"))),
    "volume_content_source"
)]
#[case::mkfs(&|it: &mut Wanted| it.parameters.mkfs = Some("-m 0".into()), "parameters[mkfsOptions]")]
fn what_memory_cannot_be_is_refused(#[case] change: &dyn Fn(&mut Wanted), #[case] field: &str) {
    let machine = Machine::new();
    let folders = machine.started(json!({}));
    folders.create(&wanted("b", Bytes::mib(1))).unwrap();
    let mut wish = wanted("a", Bytes::mib(1));
    change(&mut wish);
    let refused = folders.create(&wish).unwrap_err();
    assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
    assert!(refused.to_string().starts_with(field), "{refused}");
    assert_eq!(folders.volumes(None, 9).len(), 1);
}

#[test]
fn a_repeated_call_with_other_wishes_is_told_so() {
    let machine = Machine::new();
    let folders = machine.started(json!({}));
    folders.create(&wanted("a", Bytes::mib(8))).unwrap();
    let larger = folders.create(&wanted("a", Bytes::mib(9))).unwrap_err();
    assert!(matches!(larger, Error::Exists { .. }), "{larger}");
}

#[test]
fn mount_options_other_than_access_are_refused() {
    let machine = Machine::new();
    let folders = machine.started(json!({}));
    let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
    let with = |options: &[&str]| Stage { capability: mount(options), ..machine.stage(&id) };
    assert!(matches!(folders.stage(&with(&["noatime"])), Err(Error::Invalid { .. })));
    folders.stage(&with(&["ro"])).unwrap();
    assert!(matches!(folders.stage(&with(&[])), Err(Error::Exists { .. })));
}

#[test]
fn more_than_the_machine_has_is_refused() {
    let folders = Machine::new().unserved();
    let failed = folders.serve(vec![entry("ram", json!({ "size": "9Gi" }))]);
    let said: Vec<_> = failed.into_values().collect();
    assert_eq!(said, ["memory.size: 9Gi is more than the 8Gi of this machine"]);
    assert_eq!(folders.served(), []);
}

#[test]
fn a_pool_that_is_let_go_of_can_be_unmounted_and_comes_back() {
    let machine = Machine::new();
    let folders = machine.started(json!({}));
    let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
    folders.stage(&machine.stage(&id)).unwrap();
    folders.serve(Vec::new());
    assert_eq!((folders.volumes(None, 9), folders.served()), (Vec::new(), Vec::new()));
    folders.unstage(&id, &machine.path("staged")).unwrap();
    folders.serve(vec![entry("ram", json!({}))]);
    assert!(folders.find(&id).is_some());
    let smaller = vec![entry("ram", json!({ "size": "4Mi" }))];
    assert_eq!(folders.serve(smaller), BTreeMap::new());
    assert_eq!(
        folders.capacity(&Parameters::default()).largest,
        Bytes::ZERO,
        "never less than none"
    );
}

#[test]
fn volumes_of_a_directory_have_projects_of_their_own() {
    let machine = Machine::of(Kind::Directory);
    let folders = machine.started(json!({ "bytesPerInode": "1Mi" }));
    let limit =
        |name: &str| machine.fs.limit_of(machine.path("disk/dir").join(id_of(name).as_str()));
    for (name, size) in [("a", 8), ("b", 16)] {
        folders.create(&wanted(name, Bytes::mib(size))).unwrap();
        let limit = limit(name).unwrap();
        assert_eq!((limit.bytes, limit.inodes), (Bytes::mib(size), 64));
    }
    folders.expand(&id_of("a"), SizeRange::at_least(Bytes::mib(32))).unwrap();
    assert_eq!(limit("a").unwrap().bytes, Bytes::mib(32));
    assert_eq!((limit("b").unwrap().bytes, machine.fs.limits()), (Bytes::mib(16), 2));
}

#[test]
fn more_may_be_promised_than_there_is_where_the_spec_says_so() {
    let machine = Machine::of(Kind::Directory);
    let folders = machine.started(json!({ "overprovision": 200 }));
    folders.create(&wanted("a", Bytes::mib(100))).unwrap();
    assert_eq!(folders.capacity(&Parameters::default()).largest, Bytes::mib(28));
}

/// Nothing is made anew where a file system is not mounted.
#[test]
fn a_directory_that_is_not_there_is_missed() {
    let machine = Machine::of(Kind::Directory);
    let folders = machine.started(json!({}));
    let id = folders.create(&wanted("a", Bytes::mib(8))).unwrap().id;
    let (own, away) = (machine.path("disk/dir").join(id.as_str()), machine.path("away"));
    std::fs::rename(&own, &away).unwrap();
    let refused = folders.stage(&machine.stage(&id)).unwrap_err();
    assert!(refused.to_string().contains("is what pool dir lies on mounted?"), "{refused}");
    std::fs::rename(&away, &own).unwrap();
    let folders = machine.started(json!({}));
    folders.stage(&machine.stage(&id)).unwrap();
}

#[test]
fn without_quotas_a_directory_is_not_served() {
    let machine = Machine::of(Kind::Directory);
    let elsewhere = PoolEntry {
        name: "dir".parse().unwrap(),
        spec: serde_json::from_value(json!({ "directory": { "path": machine.home.path() } }))
            .unwrap(),
    };
    let said: Vec<_> = machine.unserved().serve(vec![elsewhere]).into_values().collect();
    assert!(said[0].contains("project quotas are off"), "{said:?}");
    let gone = machine.entry(json!({ "path": machine.path("disk/later") }));
    let folders = machine.unserved();
    let said: Vec<_> = folders.serve(vec![gone]).into_values().collect();
    assert!(said[0].contains("there is no such directory"), "{said:?}");
    std::fs::create_dir(machine.path("disk/later")).unwrap();
    folders.do_chores_now();
    assert_eq!((folders.served().len(), folders.unserved().len()), (1, 0), "it is tried again");
}
