//! Volumes of others are adopted and released on a machine in memory, and cut short there.

use std::{path::Path, thread};

use rstest::rstest;

use super::*;
use crate::{
    device::fake::FakeDevices,
    fs::{
        Content, DeviceNumber, FsKind,
        fake::{Call, FakeFs},
    },
    lvm::{
        Backing, CreateThinPool, CreateVolume, Layout, Lvm as _,
        fake::{FailAt, FakeLvm},
    },
    units::Bytes,
    volume::{Source, Wanted},
};

const EXT4: Content = Content::Filesystem { kind: FsKind::Ext4, size: Bytes::mib(40) };

/// A machine whose groups `vg0` and `vg1` are pools', and have a volume `data` with an ext4, and nothing.
struct Machine {
    lvm: Arc<FakeLvm>,
    fs: Arc<FakeFs>,
    devices: Arc<FakeDevices>,
}

fn device(lvm: &FakeLvm, path: &Path) -> Option<(DeviceNumber, Bytes)> {
    let (vg, lv) = path.strip_prefix("/dev").ok()?.to_str()?.split_once('/')?;
    let lv = lvm.peek_at(vg, lv).filter(|lv| lv.active)?;
    let minor = lv.uuid.rsplit('-').next()?.parse().ok()?;
    Some((DeviceNumber { major: 253, minor }, lv.size))
}

impl Machine {
    fn new() -> Self {
        let lvm = FakeLvm::default().with_group("vg0", Bytes::mib(4), &[64, 64]);
        let lvm = Arc::new(lvm.with_group("vg1", Bytes::mib(4), &[64]));
        let of_lvm = Arc::clone(&lvm);
        let fs = FakeFs::new().looking_up(move |path| device(&of_lvm, path));
        let of_lvm = Arc::clone(&lvm);
        let devices =
            FakeDevices::new().looking_up(move |path| device(&of_lvm, path).map(|it| it.1));
        let machine = Self { lvm, fs: Arc::new(fs), devices: Arc::new(devices) };
        machine.make("vg0", "data", Backing::Thick(Layout::Linear));
        machine.fs.set_content("/dev/vg0/data", EXT4);
        machine
    }

    fn make(&self, vg: &str, name: &str, backing: Backing) {
        let volume = CreateVolume {
            vg: vg.parse().unwrap(),
            name: name.parse().unwrap(),
            size: Bytes::mib(40),
            backing,
            on: Vec::new(),
            tags: vec!["theirs".parse().unwrap()],
        };
        self.lvm.create_volume(&volume).unwrap();
    }

    fn tools(&self) -> Tools {
        let (lvm, fs, devices) =
            (Arc::clone(&self.lvm), Arc::clone(&self.fs), Arc::clone(&self.devices));
        Tools { lvm, fs, devices, clock: || 0 }
    }

    /// The driver.
    fn driver(&self) -> Host {
        let shared = (&Arc::default(), Arc::new(NoReserves::default()) as _);
        let node = "n1".parse().unwrap();
        Host::open(self.tools(), node, "local.tarn.dev", pools(), shared).unwrap()
    }

    /// A command beside it.
    fn beside(&self) -> Host {
        let creator = "local.tarn.dev".to_owned();
        let owner = Owner { creator, cluster: None, node: "n1".parse().unwrap() };
        beside(self.tools(), &owner, pools()).unwrap()
    }

    fn adopt(&self) -> Result<Adopted, Error> {
        self.beside().adopt(&wanted("diary"))
    }

    fn release(&self) -> Result<Released, Error> {
        self.beside().release(&id())
    }

    /// Another volume that is to have the name `diary`.
    fn another(&self, vg: &str) -> Adoption<LvPath> {
        self.make(vg, "other", Backing::Thick(Layout::Linear));
        self.fs.set_content(format!("/dev/{vg}/other"), EXT4);
        Adoption { what: format!("{vg}/other").parse().unwrap(), ..wanted("diary") }
    }

    /// Each volume with its tags, as one line.
    fn lvs(&self) -> Vec<String> {
        let line = |lv: LogicalVolume| {
            let mut tags: Vec<&str> = lv.tags.iter().map(Tag::as_str).collect();
            tags.sort_unstable();
            format!("{} {}", lv.name, tags.join(" "))
        };
        let all = ["vg0", "vg1"].into_iter().flat_map(|vg| self.lvm.peek_volumes(vg));
        all.map(line).collect()
    }
}

fn pools() -> Vec<PoolEntry> {
    let pool = |(name, vg): (&str, &str)| {
        let spec = serde_json::from_str(&format!(r#"{{"volumeGroup": "{vg}"}}"#)).unwrap();
        PoolEntry { name: name.parse().unwrap(), spec }
    };
    [("fast", "vg0"), ("slow", "vg1")].map(pool).into()
}

fn wanted(name: &str) -> Adoption<LvPath> {
    let (lv, name) = ("vg0/data".parse().unwrap(), name.parse().unwrap());
    Adoption { what: lv, name, purpose: None, wipe: None }
}

fn id() -> VolumeId {
    VolumeId::of(&"diary".parse().unwrap())
}

const BEFORE: &str = "data theirs";
const AFTER: &str = "v-dv76crx22zfyqm6n4uramtev3e tarn.at=0 tarn.by=local.tarn.dev tarn.for=ext4 \
                     tarn.layout=linear tarn.name=diary tarn.size=41943040 tarn.was=data tarn.wipe=zero theirs";

#[test]
fn a_volume_is_adopted_as_it_is_and_handed_back_as_it_was() {
    let machine = Machine::new();
    let before = machine.lvm.peek("vg0");
    let adopted = machine.adopt().unwrap();
    assert_eq!((adopted.was.as_str(), adopted.pool.as_str()), ("vg0/data", "fast"));
    assert_eq!(adopted.volume.purpose, Purpose::Filesystem(FsKind::Ext4));
    assert_eq!(machine.lvs(), [AFTER]);
    assert_eq!(machine.adopt().unwrap(), adopted, "twice is once");
    let released = machine.release().unwrap();
    assert_eq!((released.id, released.is.as_str()), (id(), "vg0/data"));
    assert_eq!(machine.lvm.peek("vg0"), before);
    assert_eq!((machine.fs.made(), machine.fs.content("/dev/vg0/data")), (0, EXT4));
    assert!(matches!(machine.release().unwrap_err(), Error::NotFound(_)));
}

#[test]
fn the_driver_finds_it_when_it_is_asked_for() {
    let machine = Machine::new();
    let driver = machine.driver();
    machine.adopt().unwrap();
    assert!(driver.volume(&id()).is_none());
    driver.look_for(&id());
    assert!(driver.find(&id()).is_some());
    let reports = machine.lvm.count("report");
    driver.look_for(&id());
    assert_eq!(machine.lvm.count("report"), reports, "what is known is not looked for");
}

#[test]
fn the_driver_makes_nothing_else_of_that_name() {
    let machine = Machine::new();
    let driver = machine.driver();
    machine.adopt().unwrap();
    let block = Wanted {
        name: "diary".parse().unwrap(),
        size: crate::volume::SizeRange::at_least(Bytes::mib(4)),
        purpose: Purpose::Block,
        parameters: crate::volume::Parameters {
            pool: Some("fast".parse().unwrap()),
            ..crate::volume::Parameters::default()
        },
        source: None,
        nodes: None,
        claim: None,
    };
    let first = driver.create(&block).unwrap_err();
    assert!(matches!(first, Error::Busy(_)), "{first}");
    let then = driver.create(&block).unwrap_err();
    assert!(matches!(then, Error::Exists { .. }), "{then}");
    assert_eq!(machine.lvs(), [AFTER]);
}

#[rstest]
fn what_was_cut_short_is_finished_or_undone(
    #[values("change_tags", "rename")] verb: &'static str,
    #[values(FailAt::Before, FailAt::After)] at: FailAt,
    #[values(true, false)] adopting: bool,
) {
    for finish in [true, false] {
        let machine = Machine::new();
        if !adopting {
            machine.adopt().unwrap();
        }
        machine.lvm.fail_once(verb, at);
        let cut = if adopting { machine.adopt().map(drop) } else { machine.release().map(drop) };
        assert!(matches!(cut, Err(Error::Uncertain { .. })), "{cut:?}");
        // The driver does nothing to it meanwhile.
        let half = machine.lvs();
        drop(machine.driver());
        assert_eq!(machine.lvs(), half);
        let want = if adopting == finish { AFTER } else { BEFORE };
        match want == AFTER {
            true => assert_eq!(machine.adopt().unwrap().was, "vg0/data"),
            // What is as it was is nobody's.
            false if half == [BEFORE] => assert!(machine.release().is_err()),
            false => assert_eq!(machine.release().unwrap().is, "vg0/data"),
        }
        assert_eq!(machine.lvs(), [want], "{verb} {at:?}");
    }
}

#[test]
fn another_name_takes_the_place_of_one_that_was_begun() {
    let machine = Machine::new();
    machine.lvm.fail_once("rename", FailAt::Before);
    machine.adopt().unwrap_err();
    let adopted = machine.beside().adopt(&wanted("second")).unwrap();
    assert_eq!(adopted.volume.id, VolumeId::of(&"second".parse().unwrap()));
    let lvs = machine.lvs();
    assert!(lvs[0].contains("tarn.name=second") && !lvs[0].contains("diary"), "{lvs:?}");
}

/// Asserts that `diary` is `winner`'s, and the other as it was.
#[track_caller]
fn one_has_it(machine: &Machine, winner: &str, lost: Result<Adopted, Error>) {
    let refused = lost.unwrap_err();
    assert!(matches!(refused, Error::Precondition(_)), "{refused}");
    assert!(refused.to_string().contains("the name is taken"), "{refused}");
    let loser = if winner == "data" { "other" } else { "data" };
    let mut lvs = machine.lvs();
    lvs.sort_unstable();
    let whole = AFTER.replace("tarn.was=data", &format!("tarn.was={winner}"));
    assert_eq!(lvs, [format!("{loser} theirs"), whole]);
}

// The first stands between its look and its first change, or between its changes, while the second does it all.
#[rstest]
#[case::looked("change_tags", "other")]
#[case::tagged("rename", "data")]
fn of_two_that_take_one_name_at_once_one_has_it(
    #[case] at: &'static str,
    #[case] winner: &str,
    #[values("vg0", "vg1")] of_second: &str,
) {
    let machine = Machine::new();
    let wants = machine.another(of_second);
    let gate = machine.lvm.gate(at);
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| machine.adopt());
        gate.wait_until_reached();
        let second = machine.beside().adopt(&wants);
        gate.release();
        (first.join().unwrap(), second)
    });
    let (won, lost) = if winner == "data" { (first, second) } else { (second, first) };
    assert_eq!(won.unwrap().volume.id, id());
    one_has_it(&machine, winner, lost);
}

// Both have looked before the other began. In one group LVM decides; of two, who looks last gives way.
#[rstest]
#[case::in_one_group("vg0", "data")]
#[case::in_two("vg1", "other")]
fn of_two_that_have_both_begun_to_take_one_name_one_has_it(
    #[case] of_second: &str,
    #[case] winner: &str,
) {
    let machine = Machine::new();
    let wants = machine.another(of_second);
    let (before_tags, before_name) = (machine.lvm.gate("change_tags"), machine.lvm.gate("rename"));
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| machine.adopt());
        before_tags.wait_until_reached();
        let second = scope.spawn(|| machine.beside().adopt(&wants));
        before_name.wait_until_reached();
        before_tags.release();
        let first = first.join().unwrap();
        before_name.release();
        (first, second.join().unwrap())
    });
    let (won, lost) = if winner == "data" { (first, second) } else { (second, first) };
    assert_eq!(won.unwrap().volume.id, id());
    one_has_it(&machine, winner, lost);
}

#[test]
fn what_was_begun_keeps_others_from_its_name_until_one_has_it() {
    let machine = Machine::new();
    let other = machine.another("vg0");
    machine.lvm.fail_once("rename", FailAt::Before);
    machine.adopt().unwrap_err();
    let half = machine.lvs();
    let refused = machine.beside().adopt(&other).unwrap_err().to_string();
    assert!(
        refused.contains("vg0/data is being adopted under it, or that was cut short"),
        "{refused}"
    );
    assert_eq!(machine.lvs(), half);
    // Somebody has it all the same, and what was begun is undone.
    let (vg, was) = ("vg0".parse().unwrap(), "other".parse().unwrap());
    machine.lvm.rename(&vg, &was, &id().as_str().parse().unwrap()).unwrap();
    let refused = machine.adopt().unwrap_err().to_string();
    assert!(refused.contains("the name is taken: there is a volume"), "{refused}");
    assert!(machine.lvs().contains(&BEFORE.to_owned()), "{:?}", machine.lvs());
}

#[rstest]
#[case::raw(Content::Nothing)]
#[case::swap(Content::Foreign("swap".into()))]
fn what_is_no_file_system_is_adopted_as_block_when_that_is_said(#[case] holds: Content) {
    let machine = Machine::new();
    machine.fs.set_content("/dev/vg0/data", holds.clone());
    let refused = machine.adopt().unwrap_err().to_string();
    assert!(refused.contains("(as block)"), "{refused}");
    assert_eq!(machine.lvs(), [BEFORE]);
    let as_block = Adoption { purpose: Some(Purpose::Block), ..wanted("diary") };
    let adopted = machine.beside().adopt(&as_block).unwrap();
    assert_eq!(adopted.volume.purpose, Purpose::Block);
    assert_eq!(machine.fs.content(format!("/dev/vg0/{}", id())), holds);
}

#[test]
fn one_that_sleeps_is_woken_and_sleeps_again_when_it_is_refused() {
    let machine = Machine::new();
    let (vg, lv) = ("vg0".parse().unwrap(), "data".parse().unwrap());
    machine.fs.set_content("/dev/vg0/data", Content::Nothing);
    machine.lvm.deactivate(&vg, &lv).unwrap();
    machine.adopt().unwrap_err();
    assert!(!machine.lvm.peek_at("vg0", "data").unwrap().active);
    machine.lvm.activate(&vg, &lv).unwrap();
    machine.fs.set_content("/dev/vg0/data", EXT4);
    machine.lvm.deactivate(&vg, &lv).unwrap();
    machine.adopt().unwrap();
}

#[test]
fn what_is_in_use_is_neither_adopted_nor_released() {
    let machine = Machine::new();
    machine.devices.set_open("/dev/vg0/data", 1);
    let refused = machine.adopt().unwrap_err();
    assert!(matches!(refused, Error::InUse(_)), "{refused}");
    assert_eq!(machine.lvs(), [BEFORE]);
    machine.devices.set_open("/dev/vg0/data", 0);
    machine.adopt().unwrap();
    machine.devices.set_open(format!("/dev/vg0/{}", id()), 1);
    let refused = machine.release().unwrap_err();
    assert!(matches!(refused, Error::InUse(_)), "{refused}");
    assert_eq!(machine.lvs(), [AFTER]);
}

#[test]
fn nothing_is_begun_in_a_group_that_misses_a_disk() {
    let machine = Machine::new();
    machine.lvm.set_missing("vg0", 1, true);
    let refused = machine.adopt().unwrap_err();
    assert!(matches!(refused, Error::Precondition(_)), "{refused}");
    assert_eq!((machine.lvs(), machine.lvm.count("change_tags")), (vec![BEFORE.to_owned()], 0));
}

#[test]
fn what_cannot_be_read_is_not_adopted() {
    let machine = Machine::new();
    machine.fs.fail_once(Call::Probe);
    machine.adopt().unwrap_err();
    assert_eq!(machine.lvs(), [BEFORE]);
}

#[test]
fn a_pool_of_disks_is_only_looked_into_when_its_group_is_this_nodes() {
    let machine = Machine::new();
    let spec = serde_json::from_str(r#"{"devices": {"paths": ["/dev/sd*"]}}"#).unwrap();
    let lvm = FakeLvm::default().with_group("tarn-fast", Bytes::mib(4), &[64]);
    let tools = Tools { lvm: Arc::new(lvm), ..machine.tools() };
    let owner = Owner { creator: "x".to_owned(), cluster: None, node: "n1".parse().unwrap() };
    let of_disks = PoolEntry { name: "fast".parse().unwrap(), spec };
    let host = beside(tools, &owner, vec![of_disks]).unwrap();
    assert!(host.pools().served.is_empty());
}

#[test]
fn a_thin_volume_of_anothers_pool_is_served_and_grows_there_only_by_hand() {
    let machine = Machine::new();
    let pool = CreateThinPool {
        vg: "vg0".parse().unwrap(),
        name: "vg0_thinpool".parse().unwrap(),
        size: Bytes::mib(100),
        layout: Layout::Linear,
    };
    machine.lvm.create_thin_pool(&pool).unwrap();
    machine.make("vg0", "thin", Backing::Thin(pool.name));
    machine.fs.set_content("/dev/vg0/thin", EXT4);
    let wanted = Adoption { what: "thin".parse().unwrap(), ..wanted("diary") };
    machine.beside().adopt(&wanted).unwrap();
    let driver = machine.driver();
    assert!(driver.find(&id()).is_some());
    let more = crate::volume::SizeRange::at_least(Bytes::mib(80));
    let refused = driver.expand(&id(), more).unwrap_err();
    assert!(refused.to_string().contains("vg0_thinpool"), "{refused}");
    let clone = Wanted {
        name: "clone".parse().unwrap(),
        size: crate::volume::SizeRange::at_least(Bytes::mib(40)),
        purpose: Purpose::Filesystem(FsKind::Ext4),
        parameters: crate::volume::Parameters::default(),
        source: Some(Source::Volume(id())),
        nodes: None,
        claim: None,
    };
    let refused = driver.create(&clone).unwrap_err();
    assert!(refused.to_string().contains("vg0_thinpool"), "{refused}");
}

#[test]
fn what_an_adopted_volume_was_is_known_until_it_is_released() {
    let machine = Machine::new();
    machine.adopt().unwrap();
    let driver = machine.driver();
    assert_eq!(driver.adopted_from(&id()).as_deref(), Some("vg0/data"));
    machine.release().unwrap();
    driver.look_again("fast").unwrap();
    assert_eq!(driver.adopted_from(&id()), None);
}
