//! What LVM is told to make, move and repair: a value for each verb of [`Lvm`](super::Lvm) that needs more than names.

use std::path::PathBuf;

use super::{Legs, LvName, Place, PvMark, Raid, Tag, VgName};
use crate::units::Bytes;

/// A new physical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatePhysicalVolume {
    /// The block device.
    pub device: PathBuf,
    /// By what its maker knows it again.
    pub mark: PvMark,
    /// Size of its metadata area; LVM's own default is full at about 800 volumes.
    pub metadata: Bytes,
}

/// How far a physical volume belongs to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belonging {
    /// It is to leave: nothing new is put on it, and a tag says why.
    Leaves,
    /// It has that tag, and volumes can be put on it nevertheless, so that what is left on its free extents can be
    /// wiped as one.
    Returns,
    /// The tag is taken off: it is a disk like the others. After [`Self::Returns`].
    Stays,
}

/// Some extents of a disk that are to be moved to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveExtents {
    /// The group.
    pub vg: VgName,
    /// The disk.
    pub device: PathBuf,
    /// The first of the extents.
    pub first: u64,
    /// How many; at least 1.
    pub count: u64,
    /// Where they go: there are as many there. `None` where LVM decides, which of a RAID's legs it must not.
    pub on: Option<Place>,
}

/// Legs of a RAID volume that are to be replaced, as their disks are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairRaid {
    /// The group.
    pub vg: VgName,
    /// The volume.
    pub lv: LvName,
    /// Where the new legs lie: one place for each that is missing.
    pub on: Vec<Place>,
}

/// A new volume group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateGroup {
    /// Its name.
    pub vg: VgName,
    /// Its physical volumes.
    pub devices: Vec<PathBuf>,
    /// Tags of the group.
    pub tags: Vec<Tag>,
}

/// A new thin pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateThinPool {
    /// The group it is made in.
    pub vg: VgName,
    /// Its name.
    pub name: LvName,
    /// Data size, a whole number of extents.
    pub size: Bytes,
    /// How its data lies on the disks.
    pub layout: Layout,
}

/// A thin pool that is made of two volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertToThinPool {
    /// The group that they are in.
    pub vg: VgName,
    /// The volume that becomes its data, and gives it its name.
    pub data: LvName,
    /// The volume that becomes its metadata.
    pub metadata: LvName,
    /// In what pieces its data are handed out; a whole number of KiB.
    pub chunk: Bytes,
}

/// A new logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVolume {
    /// The group it is made in.
    pub vg: VgName,
    /// Its name.
    pub name: LvName,
    /// A whole number of the group's extents.
    pub size: Bytes,
    /// Where its blocks come from.
    pub backing: Backing,
    /// Where the legs of a RAID volume lie, in their order; for another the one place where it is to lie. Empty where
    /// LVM decides.
    pub on: Vec<Place>,
    /// Written by the command that makes the volume.
    pub tags: Vec<Tag>,
}

/// Where a volume's blocks come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Extents of its own.
    Thick(Layout),
    /// Blocks of this thin pool, taken when first written.
    Thin(LvName),
}

/// How extents lie on the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Wherever there is room.
    Linear,
    /// Round-robin over this many disks (lvmraid(7) calls these stripes).
    Striped {
        /// How many disks; at least 2.
        stripes: u32,
        /// Bytes written to one disk before the next; a power of two of at least 4 KiB. `None` is
        /// LVM's default.
        stripe_size: Option<Bytes>,
    },
    /// On several disks, of which some may be lost.
    Raid(Raid),
}

impl Layout {
    /// How many extents a volume of this layout grows by at the least.
    pub fn row(self) -> u64 {
        match self {
            Self::Linear => 1,
            Self::Striped { stripes, .. } => u64::from(stripes.max(1)),
            Self::Raid(raid) => u64::from(raid.stripes.max(1)),
        }
    }

    /// The legs of a RAID of this layout at these places; `None` where it is none.
    pub fn legs(self, on: &[Place]) -> Option<Legs> {
        match self {
            Self::Linear | Self::Striped { .. } => None,
            Self::Raid(raid) => {
                let disks = on.iter().map(|place| place.device.clone()).collect();
                let stripes = u64::from(raid.stripes);
                Some(Legs::whole(disks, stripes))
            }
        }
    }
}

/// A new snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSnapshot {
    /// The group of origin and snapshot.
    pub vg: VgName,
    /// The volume (or thin snapshot) it is taken of.
    pub origin: LvName,
    /// Its own name.
    pub name: LvName,
    /// What kind of snapshot.
    pub kind: SnapshotKind,
    /// Written by the command that makes the snapshot.
    pub tags: Vec<Tag>,
}

/// What a snapshot is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// Of a thin volume: read-only and not activated, independent of its origin.
    ThinFrozen,
    /// Of a thin volume or snapshot: a writable active volume of its own.
    ThinWritable,
    /// Of a thick volume: active, with this much room for blocks that change. With [`cow_size`] of
    /// its origin it cannot overflow. LVM is told that it may be written to, since what it holds
    /// must be wiped once it is split off, and a volume keeps its permission then.
    CopyOnWrite(Bytes),
}

/// The room in which a copy-on-write snapshot of a volume of `origin` bytes can never overflow, in
/// whole extents: every chunk of 4 KiB, 16 bytes for each in the tables between, and the header
/// (kernel, `drivers/md/dm-snap-persistent.c`). `None` past `u64::MAX`.
pub fn cow_size(origin: Bytes, extent: Bytes) -> Option<Bytes> {
    const CHUNK: u64 = 4096;
    const EXCEPTIONS_PER_CHUNK: u64 = CHUNK / 16;
    let chunks = origin.0.div_ceil(CHUNK);
    let tables = chunks / EXCEPTIONS_PER_CHUNK + 1;
    chunks.checked_add(tables + 1)?.checked_mul(CHUNK).map(Bytes)?.round_up(extent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_a_snapshot_that_cannot_overflow() {
        // lvcreate says "Reducing COW size ... down to maximum usable size" past this.
        assert_eq!(cow_size(Bytes::GIB, Bytes::mib(4)), Some(Bytes::mib(1032)));
        assert_eq!(cow_size(Bytes(u64::MAX), Bytes::mib(4)), None);
    }
}
