//! The largest volume, on the fake and on real LVM: it is made, and one row more is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use rstest::rstest;

use super::*;
use crate::{
    lvm::{
        Backing, Error, Group, LEG_METADATA, Lvm, Raid, RaidLevel,
        contract::{Ground, ScratchGroup, extents, raid, striped},
        fake::FakeLvm,
    },
    units::Bytes,
};

/// For each disk, pairs of a run in use and a free run behind it.
type Pattern = Vec<Vec<(u64, u64)>>;

fn pattern(disks: usize, longest: u64) -> impl Strategy<Value = Pattern> {
    vec(vec((1u64..4, 1..longest), 0..6), disks)
}

/// Fills the group but for the free runs of `pattern`, with one volume and one command.
fn fill(group: &Group, pattern: &Pattern) {
    let mut ranges = Vec::new();
    let mut count = 0;
    for (pv, runs) in group.physical.iter().zip(pattern) {
        let mut range = pv.device.display().to_string();
        let mut at = 0;
        for (used, free) in runs.iter().chain([&(pv.extents, 0)]) {
            let end = (at + used).min(pv.extents);
            range += &format!(":{at}-{}", end - 1);
            count += end - at;
            at = end + free;
        }
        ranges.push(range);
    }
    #[expect(clippy::disallowed_methods, reason = "no verb of ours places extents")]
    let done = Command::new("lvcreate")
        .args(["--yes", "--activate", "n", "--zero", "n", "--wipesignatures", "n"])
        .args(["--name", "filler", "--extents", &count.to_string(), group.name.as_str()])
        .args(ranges)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The largest volume is made, and one row more is refused.
fn ensure_exact(ground: &Ground<'_>, layout: Layout, row: u64) {
    let before = ground.report();
    let most = largest(&before.physical, layout);
    let create = |count| ground.create("probe", extents(count), Backing::Thick(layout));
    let refused = create(most + row);
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{most}: {refused:?} {before:?}");
    if most > 0 {
        let made = create(most);
        assert!(made.is_ok(), "{most} {layout:?}: {made:?} {before:?}");
        ground.remove("probe").unwrap();
    }
}

/// The RAIDs that six disks can have.
fn raids() -> [Raid; 6] {
    use RaidLevel::{Raid1, Raid5, Raid6, Raid10};
    let three = Raid { mirrors: 2, ..raid(Raid1, 1) };
    [raid(Raid1, 1), three, raid(Raid5, 2), raid(Raid6, 3), raid(Raid10, 2), raid(Raid10, 3)]
}

/// As [`ensure_exact`], for a RAID: of each leg's disk it takes the same, and of no other. Then the same
/// for one that grows.
fn ensure_exact_raid(ground: &Ground<'_>, raid: Raid) {
    let before = ground.report();
    let most = largest(&before.physical, Layout::Raid(raid));
    let row = u64::from(raid.stripes);
    let refused = ground.raid("probe", most + row, raid).unwrap_err();
    let wide = raid.legs() as usize > before.physical.len();
    assert!(wide || matches!(refused, Error::NoSpace { .. }), "{most}: {refused:?} {before:?}");
    if most == 0 {
        return;
    }
    let made = ground.raid("probe", most, raid);
    assert!(made.is_ok(), "{most} {raid:?}: {made:?} {before:?}");
    ensure_a_disk_for_each_leg(ground, &before, &raid, most / row + LEG_METADATA);
    ground.remove("probe").unwrap();
    ground.raid("probe", row, raid).unwrap();
    let legs = ground.seen("probe").legs.unwrap();
    let more = super::raid::growth(&stock(ground.report()), u64::MAX, &legs);
    assert_eq!(more % row, 0);
    let refused = ground.extend("probe", extents(row + more + row)).unwrap_err();
    assert!(matches!(refused, Error::NoSpace { .. }), "{more}: {refused:?} {before:?}");
    let grown = ground.extend("probe", extents(row + more));
    assert!(grown.is_ok(), "{more} {raid:?}: {grown:?} {before:?}");
    assert_eq!(ground.seen("probe").legs, Some(legs));
    ensure_a_disk_for_each_leg(ground, &before, &raid, 1 + more / row + LEG_METADATA);
    ground.remove("probe").unwrap();
}

fn stock(group: Group) -> Stock {
    let Group { extent, extents, free, physical, .. } = group;
    Stock { extent, extents, free, physical, thin: None, mounted: BTreeMap::new() }
}

fn ensure_a_disk_for_each_leg(ground: &Ground<'_>, before: &Group, raid: &Raid, each: u64) {
    let after = ground.report();
    let pairs = before.physical.iter().zip(&after.physical);
    let taken: Vec<u64> = pairs.map(|(old, new)| old.free() - new.free()).collect();
    let legs = taken.iter().filter(|it| **it > 0).collect::<Vec<_>>();
    assert!(legs.iter().all(|it| **it == each), "{raid:?}: {taken:?} {before:?}");
    assert_eq!(legs.len(), raid.legs() as usize, "{taken:?} {before:?}");
    assert_eq!(
        before.free - after.free,
        Draw::of_new(Layout::Raid(*raid), extents((each - 1) * row_of(raid)), before.extent)
            .extents()
    );
    let mut disks = ground.seen("probe").legs.unwrap().disks;
    disks.sort();
    disks.dedup();
    assert_eq!(disks.len(), legs.len(), "{before:?}");
    if std::env::var_os("TARN_GUEST").is_some() {
        ensure_each_image_on_one_disk(ground);
    }
}

fn row_of(raid: &Raid) -> u64 {
    u64::from(raid.stripes)
}

#[rstest]
#[case::least(Bytes::mib(64), Bytes::MIB)]
#[case::whole_mebibytes(Bytes::gib(2), Bytes::mib(20))]
#[case::most(Bytes::gib(4096), Bytes::mib(32))]
fn room_for_lvms_records(#[case] disk: Bytes, #[case] want: Bytes) {
    assert_eq!(metadata_size(disk), want);
}

#[test]
fn a_missing_disk_leaves_no_room() {
    let lvm = FakeLvm::default().with_group("vg0", Bytes::mib(4), &[8, 8]);
    let report = || lvm.report(&"vg0".parse().unwrap()).unwrap().physical;
    assert_eq!(largest(&report(), Layout::Linear), 16);
    lvm.set_allocatable("vg0", 0, false);
    assert_eq!(largest(&report(), Layout::Linear), 8);
    assert_eq!(largest(&report(), striped(2)), 0);
    lvm.set_missing("vg0", 0, true);
    assert_eq!(largest(&report(), Layout::Linear), 0);
}

proptest! {
    #[test]
    fn the_largest_volume_is_exactly_the_largest(
        disks in vec(0usize..40, 1..7),
        sizes in vec((1u64..12, any::<bool>()), 0..12),
    ) {
        let lvm = FakeLvm::default().with_group("vg0", Bytes::mib(4), &disks);
        let ground = Ground { lvm: &lvm, vg: "vg0".parse().unwrap(), fate: &lvm };
        for (at, (size, _)) in sizes.iter().enumerate() {
            let _full = ground.thick(&format!("v{at}"), *size).is_err();
        }
        for (at, _) in sizes.iter().enumerate().filter(|(_, (_, gone))| *gone) {
            ground.remove(&format!("v{at}")).unwrap();
        }
        ensure_exact(&ground, Layout::Linear, 1);
        ensure_exact(&ground, striped(2), 2);
        ensure_exact(&ground, striped(3), 3);
        for raid in raids() {
            ensure_exact_raid(&ground, raid);
        }
    }
}

/// The same cases in each run, so that a run takes as long as the one before; and none is made smaller
/// once it fails, which in a guest would take longer than all the rest.
fn runner(cases: u32) -> TestRunner {
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Each image of a RAID lies on one disk from its first extent to its last.
fn ensure_each_image_on_one_disk(ground: &Ground<'_>) {
    #[expect(clippy::disallowed_methods, reason = "no report of ours shows LVM's own volumes")]
    let said = Command::new("lvs")
        .args(["--all", "--noheadings", "--options", "lv_name,devices", ground.vg.as_str()])
        .output()
        .unwrap();
    let mut disks = BTreeMap::<String, BTreeSet<String>>::new();
    for line in String::from_utf8(said.stdout).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (name, devices) = (words.next().unwrap(), words.next().unwrap());
        if name.contains("_rimage_") {
            let disk = devices.split('(').next().unwrap();
            disks.entry(name.to_owned()).or_default().insert(disk.to_owned());
        }
    }
    assert!(!disks.is_empty() && disks.values().all(|it| it.len() == 1), "{disks:?}");
}

#[test]
#[ignore = "guest: needs root and LVM"]
fn guest_the_largest_raid_is_exactly_the_largest() {
    let cases = std::env::var("TARN_TEST_CASES").map_or(2, |it| it.parse().unwrap());
    let scratch = ScratchGroup::new(6);
    let ground = scratch.ground();
    let empty = ground.report();
    let outcome = runner(cases).run(&pattern(6, 9), |pattern| {
        scratch.clear();
        fill(&empty, &pattern);
        for raid in raids() {
            ensure_exact_raid(&ground, raid);
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
#[ignore = "guest: needs root and LVM"]
fn guest_the_largest_volume_is_exactly_the_largest() {
    let cases = std::env::var("TARN_TEST_CASES").map_or(12, |it| it.parse().unwrap());
    let scratch = ScratchGroup::new(4);
    let ground = scratch.ground();
    let empty = ground.report();
    let outcome = runner(cases).run(&pattern(4, 30), |pattern| {
        scratch.clear();
        fill(&empty, &pattern);
        ensure_exact(&ground, Layout::Linear, 1);
        ensure_exact(&ground, striped(2), 2);
        ensure_exact(&ground, striped(3), 3);
        Ok(())
    });
    outcome.unwrap();
}
