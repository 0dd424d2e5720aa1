//! How much room there is, from what a report says: here or far from the disks. Pure.

mod raid;
mod whole;

pub use raid::{Draw, take_longest};
pub use whole::{SECTOR, fitting, no_device, take_smallest, unfit};

use std::{collections::BTreeMap, path::PathBuf};

use super::{Class, PoolSpec};
use crate::{
    fs::FsKind,
    lvm::{
        Layout, Legs, PhysicalVolume,
        allocation::{Run, allocate},
        is_whole,
    },
    units::Bytes,
    volume::{Capacity, Provisioning},
};

/// A thin pool fuller than this, in percent of data or metadata, gets no new volumes.
pub(super) const THIN_WATERMARK: f64 = 95.0;

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
    /// Those of its disks that are whole volumes with a file system, which is mounted already.
    pub mounted: BTreeMap<PathBuf, FsKind>,
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

/// How much room a pool with this stock has for volumes of a class: none of a volume group while a disk is
/// missing, as LVM then makes no volume and lets none grow, thin or thick.
pub fn room(stock: &Stock, spec: &PoolSpec, class: &Class) -> Capacity {
    if spec.is_of_whole_devices() {
        return whole::room(stock);
    }
    if !is_whole(&stock.physical) {
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
    let usable = usable(&stock.physical, stock.free, stock.extent, reserve);
    if let Layout::Raid(raid) = layout {
        return raid::room(stock, usable, &raid);
    }
    let row = layout.row();
    let largest = largest(&stock.physical, layout).min(usable);
    if largest < row {
        return Capacity::default();
    }
    let bytes = |extents: u64| Bytes(extents.saturating_mul(stock.extent.0));
    Capacity { available: bytes(usable), largest: bytes(largest - largest % row) }
}

/// Extents that no volume has and that are not kept back.
pub(super) fn usable(physical: &[PhysicalVolume], free: u64, extent: Bytes, reserve: Bytes) -> u64 {
    // What is free on a disk on which nothing may be put is nobody's.
    let open = physical.iter().filter(|pv| pv.allocatable).map(PhysicalVolume::free);
    let reserved = reserve.0.div_ceil(extent.0.max(1));
    free.min(open.sum()).saturating_sub(reserved)
}

/// By how much a thick volume of this layout can grow, or a RAID volume on the disks of its legs.
pub fn room_to_grow(stock: &Stock, spec: &PoolSpec, class: &Class, legs: Option<&Legs>) -> Bytes {
    match (class.provisioning, legs) {
        (Provisioning::Thick, Some(legs)) => {
            let usable = usable(&stock.physical, stock.free, stock.extent, spec.reserve);
            let extents = raid::growth(stock, usable, legs);
            Bytes(extents.saturating_mul(stock.extent.0))
        }
        (Provisioning::Thick | Provisioning::Thin, _) => room(stock, spec, class).available,
    }
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

/// In what unit volumes of this layout are made.
pub fn unit_of(extent: Bytes, layout: Layout) -> Bytes {
    Bytes(extent.0.saturating_mul(layout.row()))
}

/// The size, in extents, of the largest new volume of this layout that `lvcreate` accepts now; one
/// more (or one more row of stripes) is refused.
///
/// Every smaller linear volume fits too. Of striped ones LVM refuses some smaller size in about one
/// of a thousand badly fragmented groups, because the size decides which free run it takes first.
///
/// Zero while a disk is missing: LVM then refuses every change of the group.
pub fn largest(disks: &[PhysicalVolume], layout: Layout) -> u64 {
    if !is_whole(disks) {
        return 0;
    }
    let free = free_runs(disks);
    match layout {
        Layout::Linear => free.iter().map(|run| run.length).sum(),
        Layout::Striped { stripes, .. } => u64::from(stripes) * most_rows(&free, stripes),
        Layout::Raid(raid) => raid::largest(disks, &raid),
    }
}

/// The free runs that may be taken. Their places are made up: between two reports some are not known.
fn free_runs(disks: &[PhysicalVolume]) -> Vec<Run> {
    let mut runs = Vec::new();
    for (disk, pv) in disks.iter().enumerate().filter(|(_, pv)| pv.allocatable) {
        let mut start = 0;
        for length in pv.free_runs.iter().map(|run| run.length) {
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
mod tests;
