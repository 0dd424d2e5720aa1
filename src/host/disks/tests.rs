//! Disks are taken on a machine in memory, and interrupted there.

mod erring;
mod lost;
mod staying;
mod thin_raid;

use std::sync::Arc;

use super::*;
use crate::{
    device::fake::FakeDevices,
    fs::{Content, DeviceNumber, fake::FakeFs},
    lvm::{
        Backing, CreateVolume, Layout, Lvm as _, Raid, RaidLevel,
        fake::{FailAt, FakeLvm},
        places,
    },
    pool::{NoReserves, PoolKind as _, survey::example::disk},
    units::Bytes,
};

#[derive(Default)]
struct Machine {
    lvm: Arc<FakeLvm>,
    fs: Arc<FakeFs>,
    devices: Arc<FakeDevices>,
}

impl Machine {
    fn with(names: &[&str]) -> Self {
        let machine = Self::default();
        names.iter().for_each(|name| machine.plug_in(name));
        machine
    }

    fn plug_in(&self, name: &str) {
        let disk = disk(name);
        let (major, minor) = disk.number;
        self.fs.add_device(&disk.path, DeviceNumber { major, minor }, disk.size);
        self.lvm.resize_device(&disk.path, disk.size);
        self.devices.plug_in(disk);
    }

    fn fill(&self, name: &str, what: &str) {
        self.fs.set_content(format!("/dev/{name}"), Content::Foreign(what.to_owned()));
    }

    fn open(&self, pools: Vec<PoolEntry>) -> Result<Host, crate::host::StartError> {
        let tools = Tools {
            lvm: Arc::clone(&self.lvm) as _,
            fs: Arc::clone(&self.fs) as _,
            devices: Arc::clone(&self.devices) as _,
            clock: || 0,
        };
        let shared = (&Arc::default(), Arc::new(NoReserves::default()) as _);
        Host::open(tools, "n1".parse().unwrap(), "local.tarn.dev", pools, shared)
    }

    fn started(&self) -> Host {
        self.open(vec![fast()]).unwrap()
    }

    fn members(&self) -> Vec<String> {
        let group = self.lvm.peek("tarn-fast");
        group.physical.iter().map(|it| it.device.display().to_string()).collect()
    }
}

fn pool(name: &str, devices: &str) -> PoolEntry {
    let spec = serde_json::from_str(&format!(r#"{{"devices": {devices}}}"#)).unwrap();
    PoolEntry { name: name.parse().unwrap(), spec }
}

fn fast() -> PoolEntry {
    pool("fast", r#"{"paths": ["/dev/sd*"]}"#)
}

fn state(host: &Host, name: &str) -> (&'static str, String) {
    let (plan, _) = host.disks();
    let found = plan.disks.iter().find(|it| it.disk.device.name == name).unwrap();
    (found.state(), found.message())
}

#[test]
fn empty_disks_are_served_as_a_pool() {
    let machine = Machine::with(&["sda", "sdb"]);
    machine.fill("sdb", "ext2");
    let host = machine.started();
    assert_eq!(machine.members(), ["/dev/sda"]);
    assert_eq!(state(&host, "sda").0, "Member");
    assert_eq!(state(&host, "sdb").0, "Refused");
    assert!(host.served().contains(&"fast".parse().unwrap()));
    let tags = machine.lvm.report(&"tarn-fast".parse().unwrap()).unwrap().tags;
    let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["tarn.pool=fast", "tarn.node=n1", "tarn.by=local.tarn.dev"]);
    // With nothing to do, a look is one LVM command, however often.
    let before = machine.lvm.commands().len();
    host.look_at_disks();
    host.look_at_disks();
    assert_eq!(machine.lvm.commands()[before..], ["physical_volumes", "physical_volumes"]);
}

#[test]
fn a_start_without_a_disk_says_why() {
    let machine = Machine::with(&["sda", "nvme0n1"]);
    machine.fill("sda", "crypto_LUKS");
    let err = chain(&machine.open(vec![fast()]).err().unwrap());
    assert!(err.contains("pool fast") && err.contains("/dev/sda: it has"), "{err}");
    let none = chain(&Machine::with(&["nvme0n1"]).open(vec![fast()]).err().unwrap());
    assert!(none.contains("selects none"), "{none}");
}

#[test]
fn a_disk_that_is_plugged_in_joins() {
    let machine = Machine::with(&["sda"]);
    let host = machine.started();
    let before = host.status()[0].size;
    machine.plug_in("sdb");
    host.look_at_disks();
    assert_eq!(machine.members(), ["/dev/sda", "/dev/sdb"]);
    assert!(host.status()[0].size > before, "the pool is larger at once");
    let sequence = host.sequence.now();
    host.look_at_disks();
    assert_eq!(host.sequence.now(), sequence, "nothing new is nothing to report");
}

#[test]
fn a_disk_that_has_grown_gives_the_pool_what_is_new() {
    let machine = Machine::with(&["sda"]);
    let host = machine.started();
    let before = host.status()[0].size;
    machine.lvm.resize_device("/dev/sda", Bytes::gib(150));
    host.look_at_disks();
    assert_eq!(host.status()[0].size, Bytes(before.0 + Bytes::gib(50).0));
    assert_eq!(machine.lvm.count("resize_physical_volume"), 1);
    // Less than an extent is nothing, and a smaller disk is left alone.
    for size in [Bytes(Bytes::gib(150).0 + Bytes::KIB.0), Bytes::gib(10)] {
        machine.lvm.resize_device("/dev/sda", size);
        host.look_at_disks();
    }
    assert_eq!(machine.lvm.count("resize_physical_volume"), 1);
    // Once more, while nobody looked.
    drop(host);
    machine.lvm.resize_device("/dev/sda", Bytes::gib(160));
    assert_eq!(machine.started().status()[0].size, Bytes(before.0 + Bytes::gib(60).0));
}

#[test]
fn a_disk_that_cannot_be_grown_is_told_and_tried_again() {
    let machine = Machine::with(&["sda"]);
    let host = machine.started();
    let before = host.status()[0].size;
    machine.lvm.resize_device("/dev/sda", Bytes::gib(150));
    machine.lvm.fail_once("resize_physical_volume", FailAt::Before);
    host.look_at_disks();
    let (state_of, why) = state(&host, "sda");
    assert!(state_of == "Member" && why.contains("making the physical volume larger"), "{why}");
    assert_eq!(host.status()[0].size, before);
    host.look_at_disks();
    assert!(host.status()[0].size > before && state(&host, "sda").1.ends_with("pool fast"));
}

#[test]
fn a_step_that_changes_nothing_is_not_repeated_in_a_round() {
    let machine = Machine::with(&["sda"]);
    let host = machine.started();
    let (pool, vg, device) = ("fast".parse().unwrap(), "tarn-fast".parse().unwrap(), "/dev/sda");
    let step = Step::Grow { pool, vg, device: device.into(), extents: 1 };
    let plan = Plan { steps: vec![step.clone()], ..Plan::clone(&host.disks().0) };
    let mut round = Round::default();
    host.apply(&plan, &mut round);
    assert_eq!((&round.done, round.failed.len()), (&vec![step], 0));
    host.apply(&plan, &mut round);
    assert_eq!((round.done.len(), round.failed.len()), (1, 1));
    assert!(round.failed["sda"].contains("shows nothing of it"), "{:?}", round.failed);
}

#[test]
fn a_pool_is_opened_when_its_first_disk_comes() {
    let machine = Machine::default();
    let host = machine.open(Vec::new()).unwrap();
    let failed = host.set_pools(vec![fast()]);
    assert_eq!((failed.len(), host.unserved().len()), (1, 1));
    machine.plug_in("sda");
    host.look_at_disks();
    assert!(host.served().contains(&"fast".parse().unwrap()) && host.unserved().is_empty());
}

#[test]
fn interrupted_anywhere_it_ends_the_same() {
    for verb in ["create_physical_volume", "create_group", "extend_group"] {
        for at in [FailAt::Before, FailAt::After] {
            let machine = Machine::with(&["sda", "sdb"]);
            if verb == "extend_group" {
                drop(machine.started());
                machine.plug_in("sdc");
            }
            machine.lvm.fail_once(verb, at);
            // It may have been stopped, or gone on with the other disk.
            drop(machine.open(vec![fast()]));
            // What blkid sees of physical volumes that are in no group.
            for name in ["sda", "sdb", "sdc"] {
                let path = std::path::PathBuf::from(format!("/dev/{name}"));
                let all = machine.lvm.physical_volumes().unwrap();
                if all.iter().any(|it| it.device == path && it.group.is_none()) {
                    machine.fill(name, "LVM2_member");
                }
                machine.fs.mend_device(&path);
            }
            let host = machine.started();
            let mut members = machine.members();
            members.sort();
            let all = ["/dev/sda", "/dev/sdb", "/dev/sdc"];
            let want = if verb == "extend_group" { &all[..] } else { &all[..2] };
            assert_eq!(members, want, "{verb} {at:?}");
            assert!(host.disks().0.steps.is_empty());
        }
    }
}

#[test]
fn one_disk_that_fails_keeps_no_other_from_being_taken() {
    let machine = Machine::with(&["sda", "sdb"]);
    machine.lvm.fail_once("create_physical_volume", FailAt::Before);
    let host = machine.started();
    assert_eq!(machine.members(), ["/dev/sdb"]);
    let (state_of, why) = state(&host, "sda");
    assert!(state_of == "Refused" && why.contains("taking it failed"), "{why}");
    // At the next look it is tried again.
    host.look_at_disks();
    assert_eq!(machine.members(), ["/dev/sdb", "/dev/sda"]);
}

#[test]
fn what_somebody_holds_is_left_alone() {
    let machine = Machine::with(&["sda", "sdb"]);
    machine.devices.set_open("/dev/sda", 1);
    let host = machine.started();
    assert_eq!(machine.members(), ["/dev/sdb"]);
    assert_eq!(state(&host, "sda"), ("Refused", "/dev/sda is in use".to_owned()));
}

#[test]
fn between_plan_and_deed_it_is_looked_again() {
    let machine = Machine::with(&["sda"]);
    let host = machine.open(Vec::new()).unwrap();
    let owner = host.owner().unwrap();
    let none = NoReserves::default();
    let plan = plan_disks(&host.tools, &[fast()], &owner, &BTreeMap::new(), &none).unwrap();
    assert_eq!(machine.lvm.commands(), ["version", "physical_volumes"], "a plan changes nothing");
    // Somebody was faster, or has put another disk in its place.
    machine.fill("sda", "xfs");
    let apply = || {
        let mut round = Round::default();
        host.apply(&plan, &mut round);
        assert!(round.done.is_empty());
        round.failed
    };
    let failed = apply();
    assert!(failed["sda"].contains("not empty any more"), "{failed:?}");
    machine.fs.set_content("/dev/sda", Content::Nothing);
    machine.devices.plug_in(BlockDevice { appearance: 2, ..disk("sda") });
    let failed = apply();
    assert!(failed["sda"].contains("not the disk any more"), "{failed:?}");
    machine.devices.pull_out("/dev/sda");
    apply();
    assert!(machine.lvm.physical_volumes().unwrap().is_empty());
}

#[test]
fn a_group_of_that_name_that_is_anothers_is_not_opened() {
    let lvm = FakeLvm::default().with_group("tarn-fast", Bytes::mib(4), &[10]);
    let machine = Machine { lvm: Arc::new(lvm), ..Machine::default() };
    machine.plug_in("sda");
    let err = chain(&machine.open(vec![fast()]).err().unwrap());
    assert!(err.contains("not made by Tarn"), "{err}");
    assert_eq!(machine.members(), ["/dev/fake-tarn-fast-0"]);
}

#[test]
fn a_group_that_was_there_is_not_made_again() {
    let machine = Machine::with(&["sda"]);
    let known = machine.started().known_groups();
    assert_eq!(known.len(), 1);
    // As after a restart in which its only disk did not come up, and a new one was put in.
    let machine = Machine::with(&["sdb"]);
    let host = machine.open(Vec::new()).unwrap();
    host.expect_groups(known);
    let failed = host.set_pools(vec![fast()]);
    assert!(chain(failed.values().next().unwrap()).contains("not seen now"), "{failed:?}");
    assert!(machine.lvm.physical_volumes().unwrap().is_empty());
    // The pool is taken off the node, and put there again: that gives the group up.
    host.set_pools(Vec::new());
    assert!(host.set_pools(vec![fast()]).is_empty());
    assert_eq!(machine.members(), ["/dev/sdb"]);
}

#[test]
fn no_disk_is_taken_for_a_cluster_that_is_not_known() {
    let machine = Machine::with(&["sda"]);
    let host = machine.open(Vec::new()).unwrap();
    host.set_cluster(Cluster::Unknown);
    let failed = host.set_pools(vec![fast()]);
    assert_eq!(failed.len(), 1);
    host.set_cluster(Cluster::Known("c1".to_owned()));
    assert!(host.set_pools(vec![fast()]).is_empty());
    // The same machine in another cluster leaves it alone.
    host.set_cluster(Cluster::Known("c2".to_owned()));
    machine.plug_in("sdb");
    host.look_at_disks();
    assert_eq!(machine.members(), ["/dev/sda"]);
    assert!(state(&host, "sda").1.contains("cluster c1"), "{:?}", state(&host, "sda"));
}

#[test]
fn disks_are_shown_without_a_pool_of_them() {
    let machine = Machine::with(&["sda"]);
    let host = machine.open(Vec::new()).unwrap();
    assert!(host.disks().0.disks.is_empty() && machine.devices.all_calls() == 0);
    host.show_disks();
    host.look_at_disks();
    assert_eq!(state(&host, "sda").0, "Unselected");
}

#[test]
fn changes_are_heard_of() {
    let machine = Machine::with(&["sda"]);
    let host = Arc::new(machine.started());
    let watcher = Arc::clone(&host);
    let thread = std::thread::spawn(move || watcher.watch_disks());
    while machine.devices.calls(crate::device::fake::Call::Watch) == 0 {
        std::thread::yield_now();
    }
    machine.plug_in("sdb");
    let began = std::time::Instant::now();
    while machine.members().len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(30), "it was not taken");
        std::thread::yield_now();
    }
    host.stop();
    thread.join().unwrap();
}

/// `fast`, whose spec allows to wipe `sdb` while it has what [`Machine::fill`] puts there.
fn wiping_sdb(machine: &Machine) -> PoolEntry {
    let host = machine.open(vec![fast()]).unwrap();
    let words = state(&host, "sdb").1;
    let wipe = format!(r#"[{{"serial": "S-sdb", "contains": {words:?}}}]"#);
    pool("fast", &format!(r#"{{"paths": ["/dev/sd*"], "wipe": {wipe}}}"#))
}

fn until(what: &str, so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_used_disk_is_wiped_whole_and_taken() {
    let machine = Machine::with(&["sda", "sdb"]);
    machine.fill("sdb", "ext2");
    machine.devices.write("/dev/sdb", Bytes::gib(50), b"old");
    let host = machine.open(vec![wiping_sdb(&machine)]).unwrap();
    assert_eq!(state(&host, "sdb").0, "Wiped");
    until("the wipe is over", || !host.disks.wipes.is_on("sdb"));
    assert_eq!(machine.devices.read("/dev/sdb", Bytes::gib(50), 3), [0; 3]);
    assert!(machine.devices.calls(crate::device::fake::Call::ForgetPartitions) > 0);
    machine.fs.set_content("/dev/sdb", Content::Nothing);
    host.look_at_disks();
    assert_eq!(machine.members(), ["/dev/sda", "/dev/sdb"]);
}

#[test]
fn a_disk_in_the_place_of_the_one_to_be_wiped_is_left_alone() {
    let machine = Machine::with(&["sda", "sdb"]);
    machine.fill("sdb", "ext2");
    let pool = wiping_sdb(&machine);
    // Long before the last part of the disk.
    machine.devices.after_wipe(|devices| {
        devices.plug_in(BlockDevice { appearance: 99, ..disk("sdb") });
        devices.write("/dev/sdb", Bytes::gib(99), b"another's");
    });
    let host = machine.open(vec![pool]).unwrap();
    until("the wipe is over", || !host.disks.wipes.is_on("sdb"));
    assert_eq!(machine.devices.read("/dev/sdb", Bytes::gib(99), 9), b"another's");
}

#[test]
fn a_wipe_that_fails_is_told_and_not_tried_again() {
    let machine = Machine::with(&["sda", "sdb"]);
    machine.fill("sdb", "ext2");
    let pool = wiping_sdb(&machine);
    machine.devices.fail_once(crate::device::fake::Call::Wipe);
    let host = machine.open(vec![pool]).unwrap();
    until("the wipe is over", || !host.disks.wipes.is_on("sdb"));
    host.look_at_disks();
    let (state, why) = state(&host, "sdb");
    assert!(state == "Refused" && why.contains("wiping the disk"), "{why}");
    assert_eq!(machine.members(), ["/dev/sda"]);
}

/// The pool of all disks, which `sda` is to leave.
fn without_sda() -> PoolEntry {
    pool("fast", r#"{"paths": ["/dev/sd*"], "retire": ["S-sda"]}"#)
}

/// A machine with a volume that lies on `sda`, and another disk.
fn with_a_volume(names: &[&str]) -> (Machine, Host) {
    let machine = Machine::with(&["sda"]);
    let host = machine.started();
    machine.lvm.take_elsewhere("tarn-fast", 100);
    names.iter().for_each(|name| machine.plug_in(name));
    host.look_at_disks();
    (machine, host)
}

#[test]
fn a_disk_that_is_retired_is_emptied_and_given_up() {
    let (machine, host) = with_a_volume(&["sdb"]);
    host.set_pools(vec![without_sda()]);
    until("the disk has left", || {
        host.look_at_disks();
        machine.members() == ["/dev/sdb"]
    });
    until("it is no physical volume any more", || {
        host.look_at_disks();
        machine.lvm.count("remove_physical_volume") == 1
    });
    let group = machine.lvm.peek("tarn-fast");
    assert_eq!(group.extents - group.free, 100, "what lay on it lies on the other");
    assert_eq!(host.status()[0].stock.extents, group.extents);
    assert_eq!(state(&host, "sda").0, "Unselected");
    host.look_at_disks();
    assert_eq!(machine.members(), ["/dev/sdb"]);
}

/// A mirror on the first two disks, which are `sda` and `sdb`, of so many extents.
fn make_mirror(machine: &Machine, extents: u64) {
    let group = machine.lvm.peek("tarn-fast");
    let disks: Vec<_> = group.physical.iter().take(2).collect();
    let raid = Raid { level: RaidLevel::Raid1, stripes: 1, mirrors: 1, stripe_size: None };
    let mirror = CreateVolume {
        vg: group.name.clone(),
        name: "mirror".parse().unwrap(),
        size: Bytes(extents * group.extent.0),
        backing: Backing::Thick(Layout::Raid(raid)),
        on: places(&disks, extents + 1).unwrap(),
        tags: Vec::new(),
    };
    machine.lvm.create_volume(&mirror).unwrap();
}

#[test]
fn a_leg_of_a_raid_goes_to_a_disk_that_has_nothing_of_it() {
    let (machine, host) = with_a_volume(&["sdb", "sdc"]);
    make_mirror(&machine, 70);
    host.set_pools(vec![without_sda()]);
    until("the disk has left", || {
        host.look_at_disks();
        machine.members() == ["/dev/sdb", "/dev/sdc"]
    });
    let legs = machine.lvm.peek_at("tarn-fast", "mirror").unwrap().legs.unwrap();
    let want: [std::path::PathBuf; 2] = ["/dev/sdc".into(), "/dev/sdb".into()];
    assert_eq!((&legs.disks[..], legs.beside), (&want[..], Vec::new()));
}

#[test]
fn a_leg_that_fits_on_no_other_disk_stays_and_says_how_much_is_missing() {
    let (machine, host) = with_a_volume(&["sdb"]);
    make_mirror(&machine, 70);
    host.do_chores_now();
    host.set_pools(vec![without_sda()]);
    host.look_at_disks();
    let (word, why) = state(&host, "sda");
    assert!(word == "Leaving" && why.contains("284Mi are missing"), "{why}");
    let (owner, known) = (host.owner().unwrap(), BTreeMap::new());
    let none = NoReserves::default();
    let outside = plan_disks(&host.tools, &[without_sda()], &owner, &known, &none).unwrap();
    assert!(outside.to_string().contains("284Mi are missing"), "{outside}");
    assert_eq!(machine.lvm.count("move_extents"), 0);
}

#[test]
fn a_disk_that_cannot_be_emptied_stays_and_says_why() {
    let (machine, host) = with_a_volume(&[]);
    host.set_pools(vec![without_sda()]);
    let (word, why) = state(&host, "sda");
    assert!(word == "Leaving" && why.contains("the only disk"), "{why}");
    machine.plug_in("sdb");
    // With 32 extents, with half of them, and so on, and with one.
    (0..6).for_each(|_| machine.lvm.fail_once("move_extents", FailAt::Before));
    host.look_at_disks();
    until("the move has failed", || host.disks.moves.failure("/dev/sda".as_ref()).is_some());
    host.look_at_disks();
    let (word, why) = state(&host, "sda");
    assert!(word == "Leaving" && why.contains("failed before the change"), "{why}");
    assert_eq!(machine.members(), ["/dev/sda", "/dev/sdb"]);
    // It is to stay after all.
    host.set_pools(vec![fast()]);
    assert_eq!(state(&host, "sda").0, "Member");
    assert!(machine.lvm.peek("tarn-fast").physical.iter().all(|it| it.allocatable));
}
