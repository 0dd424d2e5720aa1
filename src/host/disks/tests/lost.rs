//! Disks that are lost for good: their RAID volumes get new legs, and they are forgotten.

use super::*;
use crate::{
    host::Found,
    lvm::LvName,
    pool::health::Health,
    volume::{Parameters, Purpose, SizeRange, VolumeId, Wanted},
};

fn raid() -> PoolEntry {
    let spec = r#"{"devices": {"paths": ["/dev/sd*"]}, "layout": "Raid1"}"#;
    PoolEntry { name: "fast".parse().unwrap(), spec: serde_json::from_str(spec).unwrap() }
}

fn retiring(what: &str) -> PoolEntry {
    let devices = format!(r#"{{"paths": ["/dev/sd*"], "retire": ["{what}"]}}"#);
    let spec = format!(r#"{{"devices": {devices}, "layout": "Raid1"}}"#);
    PoolEntry { name: "fast".parse().unwrap(), spec: serde_json::from_str(&spec).unwrap() }
}

/// A machine with mirrors on two disks.
pub(super) struct Mirrors {
    pub(super) machine: Machine,
    pub(super) host: Host,
    pub(super) volumes: Vec<VolumeId>,
}

impl Mirrors {
    pub(super) fn new(count: usize) -> Self {
        Self::of(raid(), count)
    }

    /// So many volumes in this pool.
    pub(super) fn of(pool: PoolEntry, count: usize) -> Self {
        let machine = Machine::with(&["sda", "sdb"]);
        let host = machine.open(vec![pool]).unwrap();
        let make = |number| host.create(&wanted(&format!("v{number}"))).unwrap().id;
        let volumes = (0..count).map(make).collect();
        Self { machine, host, volumes }
    }

    /// Pulls the first disk.
    pub(super) fn pull(&self) {
        self.machine.lvm.set_missing("tarn-fast", 0, true);
        self.machine.devices.pull_out("/dev/sda");
        self.host.look_at_disks();
        self.host.do_chores_now();
    }

    /// It is away for longer than a disk that comes back.
    pub(super) fn wait(&self) {
        self.host.disks.sightings.lose_patience();
    }

    pub(super) fn look(&self) {
        self.host.look_at_disks();
        self.host.do_chores_now();
    }

    pub(super) fn health(&self) -> Health {
        self.host.status()[0].health.clone()
    }

    pub(super) fn state(&self) -> (&'static str, usize) {
        (self.health().state(), self.health().lost.len())
    }

    pub(super) fn says(&self) -> String {
        self.health().to_string()
    }

    fn disks_of(&self, volume: &VolumeId) -> Vec<String> {
        let lv = self.machine.lvm.peek_at("tarn-fast", volume.as_str()).unwrap();
        let disks = lv.legs.unwrap().disks;
        disks.iter().map(|it| it.display().to_string()).collect()
    }

    fn tags(&self) -> usize {
        self.machine.lvm.peek("tarn-fast").tags.len()
    }
}

pub(super) fn wanted(name: &str) -> Wanted {
    Wanted {
        name: name.parse().unwrap(),
        size: SizeRange::at_least(Bytes::mib(64)),
        purpose: Purpose::Block,
        parameters: Parameters::default(),
        source: None,
        nodes: None,
        claim: None,
    }
}

#[test]
fn a_new_disk_takes_the_place_of_one_that_stays_away() {
    let it = Mirrors::new(2);
    it.pull();
    assert_eq!(it.state(), ("Degraded", 2));
    assert!(it.says().contains("a new disk takes the place"), "{}", it.says());
    it.machine.plug_in("sdc");
    it.look();
    assert_eq!(it.machine.members().len(), 2, "the old one may be back in a moment");
    assert_eq!(state(&it.host, "sdc").0, "Refused");
    it.wait();
    it.look();
    assert_eq!(it.state(), ("Ready", 0), "{}", it.says());
    assert_eq!(it.machine.members(), ["/dev/sdb", "/dev/sdc"]);
    for volume in &it.volumes {
        let mut disks = it.disks_of(volume);
        disks.sort();
        assert_eq!(disks, ["/dev/sdb", "/dev/sdc"]);
        let found: Found = it.host.volume(volume).unwrap();
        found.ensure_not_lost().unwrap();
    }
    assert_eq!((it.machine.lvm.count("repair"), it.machine.lvm.count("forget_missing")), (2, 1));
    assert_eq!(it.tags(), 3, "nothing is given up any more");
    it.host.create(&wanted("more")).unwrap();
    let before = it.machine.lvm.commands().len();
    it.host.look_at_disks();
    assert_eq!(it.machine.lvm.commands()[before..], ["physical_volumes"]);
}

#[test]
fn a_disk_that_comes_back_is_used_again_and_nothing_is_repaired() {
    let it = Mirrors::new(1);
    it.pull();
    it.wait();
    it.look();
    assert_eq!(it.machine.lvm.count("tag_group"), 0, "there is no new disk");
    it.machine.lvm.set_missing("tarn-fast", 0, false);
    it.machine.plug_in("sda");
    it.look();
    it.machine.plug_in("sdc");
    it.look();
    assert_eq!((it.state(), it.machine.lvm.count("repair")), (("Ready", 0), 0));
    assert_eq!(it.machine.members(), ["/dev/sda", "/dev/sdb", "/dev/sdc"]);
    assert_eq!(it.tags(), 3);
}

#[test]
fn a_missing_disk_that_is_retired_is_given_up_at_once() {
    let it = Mirrors::new(1);
    it.machine.plug_in("sdc");
    it.look();
    it.pull();
    it.host.set_pools(vec![retiring("S-sda")]);
    it.host.do_chores_now();
    assert_eq!(it.state(), ("Ready", 0), "{}", it.says());
    assert_eq!(it.machine.members(), ["/dev/sdb", "/dev/sdc"]);
}

#[test]
fn one_that_a_start_has_not_seen_is_named_by_its_physical_volume() {
    let it = Mirrors::new(1);
    let uuid = it.machine.lvm.peek("tarn-fast").physical[0].uuid.clone();
    it.pull();
    let Mirrors { machine, host, .. } = it;
    drop(host);
    let host = machine.open(vec![retiring(&uuid)]).unwrap();
    host.do_chores_now();
    let health = host.status()[0].health.clone();
    assert!(health.to_string().contains(&uuid), "{health}");
    assert!(health.to_string().contains("no disk without anything of it has"), "{health}");
    machine.plug_in("sdc");
    // It may take its place as soon as it is known for how long that is away.
    host.look_at_disks();
    host.disks.sightings.lose_patience();
    host.look_at_disks();
    host.do_chores_now();
    assert_eq!(host.status()[0].health.state(), "Ready");
}

/// After two looks the third disk has the place of the first.
pub(super) fn assert_mended(machine: &Machine, host: &Host, about: &str) {
    host.disks.sightings.lose_patience();
    for _ in 0..2 {
        host.look_at_disks();
        host.do_chores_now();
    }
    let health = host.status()[0].health.clone();
    assert_eq!(health.state(), "Ready", "{about}: {health}");
    assert_eq!(machine.members(), ["/dev/sdb", "/dev/sdc"]);
}

#[test]
fn what_a_restart_cuts_short_goes_on() {
    for others in 0..8 {
        for at in [FailAt::Before, FailAt::After] {
            let it = Mirrors::new(2);
            it.pull();
            it.machine.plug_in("sdc");
            it.wait();
            it.machine.lvm.fail_later(others, at);
            it.look();
            let Mirrors { machine, host, .. } = it;
            drop(host);
            let host = machine.open(vec![raid()]).unwrap();
            assert_mended(&machine, &host, &format!("{others} {at:?}"));
        }
    }
}

#[test]
fn what_lies_on_the_missing_disk_alone_is_never_given_up() {
    let it = Mirrors::new(1);
    let size = it.machine.lvm.peek("tarn-fast").physical[0].extents;
    it.machine.lvm.take_elsewhere("tarn-fast", size / 2);
    it.pull();
    it.machine.plug_in("sdc");
    it.wait();
    it.look();
    let theirs: LvName = "theirs".parse().unwrap();
    let group = it.machine.lvm.peek("tarn-fast");
    let theirs = group.logical.iter().find(|lv| lv.name == theirs).unwrap();
    assert!(theirs.lost, "the test means the disk that is missing");
    assert_eq!(it.machine.lvm.count("forget_missing"), 0);
    assert_eq!((it.state(), it.machine.lvm.count("repair")), (("Degraded", 0), 1));
    it.machine.lvm.set_missing("tarn-fast", 0, false);
    it.machine.plug_in("sda");
    it.look();
    assert_eq!(it.state(), ("Ready", 0));
    assert_eq!((it.machine.members().len(), it.tags()), (3, 3));
}
