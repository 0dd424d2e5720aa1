//! How much room there is, from what a report says: here or far from the disks. Pure.

use super::{Class, PoolSpec};
use crate::{
    lvm::{
        Layout, PhysicalVolume,
        allocation::{Run, allocate},
    },
    units::Bytes,
    volume::{Capacity, Provisioning},
};

/// A thin pool fuller than this, in percent of data or metadata, gets no new volumes.
const THIN_WATERMARK: f64 = 95.0;

/// What a volume group has to give.
#[derive(Clone, Debug, PartialEq)]
pub struct Stock {
    /// Bytes in an extent.
    pub extent: Bytes,
    /// Extents in all.
    pub extents: u64,
    /// Extents that no volume has.
    pub free: u64,
    /// Its disks, with their free runs.
    pub physical: Vec<PhysicalVolume>,
    /// Its thin pool, if it is there.
    pub thin: Option<ThinStock>,
}

/// What a thin pool has to give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThinStock {
    /// Its room for data.
    pub size: Bytes,
    /// The sizes of all its volumes and snapshots together.
    pub promised: Bytes,
    /// Hundredths of its data in use, if LVM says so.
    pub data_percent: Option<f64>,
    /// Hundredths of its metadata in use, if LVM says so.
    pub metadata_percent: Option<f64>,
}

/// How much room a pool with this stock has for volumes of a class: none while a disk is missing, as
/// LVM then makes no volume and lets none grow, thin or thick.
pub fn room(stock: &Stock, spec: &PoolSpec, class: &Class) -> Capacity {
    if stock.physical.iter().any(|pv| pv.missing) {
        return Capacity::default();
    }
    match class.provisioning {
        Provisioning::Thick => thick_room(stock, spec.reserve, class.layout),
        Provisioning::Thin => {
            let percent = spec.thin_pool.as_ref().map_or(100, |thin| thin.overprovision);
            stock.thin.map_or_else(Capacity::default, |it| thin_room(it, stock.extent, percent))
        }
    }
}

/// Extents beyond the reserve, and the largest volume whose extents LVM can lay out so.
fn thick_room(stock: &Stock, reserve: Bytes, layout: Layout) -> Capacity {
    let reserved = reserve.0.div_ceil(stock.extent.0.max(1));
    // What is free on a disk on which nothing may be put is nobody's.
    let open = stock.physical.iter().filter(|pv| pv.allocatable).flat_map(|pv| &pv.free_runs);
    let usable = stock.free.min(open.sum()).saturating_sub(reserved);
    let row = stripes_of(layout);
    let largest = largest(&stock.physical, layout).min(usable);
    if largest < row {
        return Capacity::default();
    }
    let bytes = |extents: u64| Bytes(extents.saturating_mul(stock.extent.0));
    Capacity { available: bytes(usable), largest: bytes(largest - largest % row) }
}

/// What may still be promised of a thin pool; nothing once it is nearly full.
fn thin_room(thin: ThinStock, extent: Bytes, percent: u64) -> Capacity {
    let fullest = thin.data_percent.unwrap_or(0.0).max(thin.metadata_percent.unwrap_or(0.0));
    if fullest >= THIN_WATERMARK {
        return Capacity::default();
    }
    let left = thin.size.percent(percent).saturating_sub(thin.promised);
    let room = Bytes(left.whole(extent) * extent.0);
    Capacity { available: room, largest: room }
}

/// Room for LVM's own records: a volume with its tags takes about 2 KiB, twice. In whole mebibytes,
/// since pvcreate(8) refuses a size that is not a whole number of sectors.
pub fn metadata_size(disk: Bytes) -> Bytes {
    Bytes::mib(disk.percent(1).whole(Bytes::MIB).clamp(1, 32))
}

/// How many extents a volume of this layout grows by at the least.
fn stripes_of(layout: Layout) -> u64 {
    match layout {
        Layout::Linear => 1,
        Layout::Striped { stripes, .. } => u64::from(stripes.max(1)),
    }
}

/// In what unit volumes of this layout are made.
pub fn unit_of(extent: Bytes, layout: Layout) -> Bytes {
    Bytes(extent.0.saturating_mul(stripes_of(layout)))
}

/// The size, in extents, of the largest new volume of this layout that `lvcreate` accepts now; one
/// more (or one more row of stripes) is refused.
///
/// Every smaller linear volume fits too. Of striped ones LVM refuses some smaller size in about one
/// of a thousand badly fragmented groups, because the size decides which free run it takes first.
///
/// Zero while a disk is missing: LVM then refuses every change of the group.
pub fn largest(disks: &[PhysicalVolume], layout: Layout) -> u64 {
    if disks.iter().any(|pv| pv.missing) {
        return 0;
    }
    let free = free_runs(disks);
    match layout {
        Layout::Linear => free.iter().map(|run| run.length).sum(),
        Layout::Striped { stripes, .. } => u64::from(stripes) * most_rows(&free, stripes),
    }
}

/// The free runs that may be taken. Only their lengths are known: their places are made up.
fn free_runs(disks: &[PhysicalVolume]) -> Vec<Run> {
    let mut runs = Vec::new();
    for (disk, pv) in disks.iter().enumerate().filter(|(_, pv)| pv.allocatable) {
        let mut start = 0;
        for &length in &pv.free_runs {
            runs.push(Run { disk, start, length });
            start += length + 1;
        }
    }
    runs
}

/// Asks LVM's rules for ever closer numbers of rows.
fn most_rows(free: &[Run], stripes: u32) -> u64 {
    let total: u64 = free.iter().map(|run| run.length).sum();
    let (mut fits, mut refused) = (0, total / u64::from(stripes.max(1)) + 1);
    while refused - fits > 1 {
        let rows = fits.midpoint(refused);
        match allocate(free, stripes as usize, rows) {
            Some(_) => fits = rows,
            None => refused = rows,
        }
    }
    fits
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::{
        collection::vec,
        prelude::*,
        test_runner::{Config, TestRunner},
    };

    use rstest::rstest;

    use super::*;
    use crate::{
        lvm::{
            Backing, Error, Group, Lvm,
            contract::{Ground, ScratchGroup, extents, striped},
            fake::FakeLvm,
        },
        units::Bytes,
    };

    /// For each disk, pairs of a run in use and a free run behind it.
    type Pattern = Vec<Vec<(u64, u64)>>;

    fn pattern() -> impl Strategy<Value = Pattern> {
        vec(vec((1u64..4, 1u64..30), 0..6), 4)
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
            disks in vec(0usize..40, 1..5),
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
        }
    }

    #[test]
    #[ignore = "guest: needs root and LVM"]
    fn guest_the_largest_volume_is_exactly_the_largest() {
        let cases = std::env::var("TARN_TEST_CASES").map_or(24, |it| it.parse().unwrap());
        let scratch = ScratchGroup::new(4);
        let ground = scratch.ground();
        let empty = ground.report();
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(&pattern(), |pattern| {
            scratch.clear();
            fill(&empty, &pattern);
            ensure_exact(&ground, Layout::Linear, 1);
            ensure_exact(&ground, striped(2), 2);
            ensure_exact(&ground, striped(3), 3);
            Ok(())
        });
        outcome.unwrap();
    }
}
