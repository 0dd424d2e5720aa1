//! How we say it to LVM: typed verbs, typed reports.
//!
//! [`Lvm`] is the seam. [`tools::LvmTools`] runs the real programs, [`fake::FakeLvm`] keeps LVM's
//! rules in memory; `contract.rs` holds what both must do. Every verb that changes something is
//! one LVM command, so that a power cut leaves either nothing or the whole of it.

pub mod allocation;
mod complaints;
#[cfg(test)]
pub(crate) mod contract;
pub mod fake;
mod lines;
mod mark;
mod names;
mod physical;
mod raid;
mod report;
pub mod tools;

pub use mark::PvMark;
pub use names::{BadName, BadTag, LvName, Tag, VgName};
pub use physical::{Footprint, SeenGroup, SeenPhysicalVolume};
pub use raid::{LEG_METADATA, Legs, LostLeg, Place, Raid, RaidLevel, Stretch, disks_for, places};

use std::path::{Path, PathBuf};

use crate::{process::Failure, units::Bytes};

/// What Tarn needs from LVM. Calls block; a call that changes something is never cut short.
///
/// The caller makes one change of a group at a time: LVM would serialise them anyway, and
/// [`Lvm::remove`] looks before it removes.
pub trait Lvm: Send + Sync {
    /// The version of LVM on this machine, as (major, minor, patch), such as (2, 3, 16) for 2.03.16.
    fn version(&self) -> Result<(u32, u32, u32), Error>;

    /// Everything LVM knows of one volume group, in one command (`lvm fullreport`).
    ///
    /// # Errors
    /// [`Error::NoGroup`] when LVM finds none of that name. A missing disk reads the same, so this
    /// never means "deleted".
    fn report(&self, vg: &VgName) -> Result<Group, Error>;

    /// Every physical volume of the machine, missing ones and those in no group among them, in one
    /// command (`pvs`).
    fn physical_volumes(&self) -> Result<Vec<SeenPhysicalVolume>, Error>;

    /// Makes a device a physical volume (`pvcreate`). Nothing is forced: a device with a signature or
    /// partitions, or that is in use, is refused.
    fn create_physical_volume(&self, wanted: &CreatePhysicalVolume) -> Result<(), Error>;

    /// Makes a group of physical volumes, with its tags (`vgcreate`).
    fn create_group(&self, wanted: &CreateGroup) -> Result<(), Error>;

    /// Adds physical volumes to a group (`vgextend`).
    fn extend_group(&self, vg: &VgName, devices: &[PathBuf]) -> Result<(), Error>;

    /// Has a group use a disk again that was missing, came back, and is still marked as missing
    /// (`vgextend --restoremissing`): any change of the group while it was away has marked it. Nothing on
    /// it is written over.
    fn take_back(&self, vg: &VgName, device: &Path) -> Result<(), Error>;

    /// Says whether a physical volume is to leave its group: nothing new is put on it then, and a tag says
    /// why (`pvchange`).
    fn set_leaving(&self, device: &Path, leaving: bool) -> Result<(), Error>;

    /// Moves what lies on extents of a disk to the group's other disks, in use or not, and waits for it
    /// (`pvmove`); with nothing there nothing is done. Where an interrupted call has begun something on that
    /// disk, this one finishes it, and does nothing else.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where it does not fit.
    fn move_extents(&self, wanted: &MoveExtents) -> Result<(), Error>;

    /// Takes an empty physical volume out of its group (`vgreduce`); the last one stays.
    fn reduce_group(&self, vg: &VgName, device: &Path) -> Result<(), Error>;

    /// Makes a physical volume that is in no group an empty device (`pvremove`).
    fn remove_physical_volume(&self, device: &Path) -> Result<(), Error>;

    /// Adds and removes tags of a group, also while it misses a disk (`vgchange`).
    fn tag_group(&self, vg: &VgName, add: &[Tag], remove: &[Tag]) -> Result<(), Error>;

    /// Makes new legs of a RAID volume in the places of those that lie on disks which are missing, each on a
    /// disk of its own, and has the kernel fill them while the volume is in use (`lvconvert --repair`).
    /// Where no leg is missing nothing is done. What an interrupted call has left is put right, but for
    /// [`Lvm::discard_leg`].
    ///
    /// # Errors
    /// [`Error::NoSpace`]. Also where the other legs have not all data yet.
    fn repair(&self, wanted: &RepairRaid) -> Result<(), Error>;

    /// Removes what an interrupted [`Lvm::repair`] has left of an old leg: a volume of its own that lies on
    /// disks which are missing.
    fn discard_leg(&self, vg: &VgName, layer: &LvName) -> Result<(), Error>;

    /// Has a group forget its missing disks on which nothing lies (`vgreduce --removemissing`); what lies on
    /// others is left alone, and so are those.
    fn forget_missing(&self, vg: &VgName) -> Result<(), Error>;

    /// Gives a physical volume all of a device that has grown (`pvresize`).
    ///
    /// # Errors
    /// When a disk of its group is missing, too.
    fn resize_physical_volume(&self, device: &Path) -> Result<(), Error>;

    /// Activates every volume of the group that is not to be skipped (`vgchange -ay`).
    fn activate_group(&self, vg: &VgName) -> Result<(), Error>;

    /// Makes the group's thin pool, zeroing new blocks and failing writes when full (lvmthin(7)).
    fn create_thin_pool(&self, wanted: &CreateThinPool) -> Result<(), Error>;

    /// Makes an active logical volume, its first 4 KiB zeroed and signatures wiped, with its tags.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NoSpace`] (nothing is left behind), [`Error::NoGroup`].
    fn create_volume(&self, wanted: &CreateVolume) -> Result<(), Error>;

    /// Makes a snapshot of a thin volume (in its pool) or of a thick one (copy on write).
    ///
    /// # Errors
    /// As [`Lvm::create_volume`], and [`Error::NoVolume`] for the origin.
    fn create_snapshot(&self, wanted: &CreateSnapshot) -> Result<(), Error>;

    /// Grows a volume or a thin pool to `size` (a whole number of extents); a volume that has that
    /// size already is left as it is. What the legs of a RAID volume grow by lies `on` these places, in
    /// their order; for others LVM decides, and there are none.
    fn extend(&self, vg: &VgName, lv: &LvName, size: Bytes, on: &[Place]) -> Result<(), Error>;

    /// Gives a volume another name; it may be active and even open.
    fn rename(&self, vg: &VgName, from: &LvName, to: &LvName) -> Result<(), Error>;

    /// Removes a volume; one that is gone already is fine.
    ///
    /// # Errors
    /// [`Error::InUse`] while something holds it open or it has snapshots that need it.
    fn remove(&self, vg: &VgName, lv: &LvName) -> Result<(), Error>;

    /// Turns a copy-on-write snapshot into a plain volume that holds its changed blocks, so that
    /// these can be wiped (`lvconvert --splitsnapshot`).
    fn split_snapshot(&self, vg: &VgName, lv: &LvName) -> Result<(), Error>;

    /// Adds and removes tags of a volume in one change.
    fn change_tags(
        &self,
        vg: &VgName,
        lv: &LvName,
        add: &[Tag],
        remove: &[Tag],
    ) -> Result<(), Error>;

    /// Activates a volume, even one that is skipped by default (`lvchange -ay -K`).
    ///
    /// # Errors
    /// [`Error::MissingInPool`] for a thin volume that its pool does not know.
    fn activate(&self, vg: &VgName, lv: &LvName) -> Result<(), Error>;

    /// Deactivates a volume.
    ///
    /// # Errors
    /// [`Error::InUse`] while something holds it open.
    fn deactivate(&self, vg: &VgName, lv: &LvName) -> Result<(), Error>;

    /// Reloads a volume's table and resumes it (`lvchange --refresh`): the cure for a volume that an
    /// interrupted command left suspended.
    fn refresh(&self, vg: &VgName, lv: &LvName) -> Result<(), Error>;
}

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
    /// Where the legs of a RAID volume lie, in their order. Empty for others: there LVM decides.
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

/// One volume group as LVM reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: VgName,
    /// LVM's own identity for it.
    pub uuid: String,
    /// Bytes in an extent.
    pub extent: Bytes,
    /// Extents in all.
    pub extents: u64,
    /// Extents that no volume has.
    pub free: u64,
    /// Tags of the group.
    pub tags: Vec<Tag>,
    /// Its disks.
    pub physical: Vec<PhysicalVolume>,
    /// Its volumes, without LVM's internal ones.
    pub logical: Vec<LogicalVolume>,
}

/// One physical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhysicalVolume {
    /// The device, or LVM's `[unknown]` when it is not there.
    pub device: PathBuf,
    /// LVM's own identity for it; empty in a report that came through the API.
    pub uuid: String,
    /// Whether LVM looked for it in vain, or did so when the group was changed last: then it is marked,
    /// also when it is there again, until [`Lvm::take_back`].
    pub missing: bool,
    /// Whether new extents may be taken from it (`pvchange --allocatable`).
    pub allocatable: bool,
    /// Extents in all.
    pub extents: u64,
    /// Its contiguous free runs, in order of their place.
    pub free_runs: Vec<Stretch>,
}

impl PhysicalVolume {
    /// Extents that no volume has.
    pub fn free(&self) -> u64 {
        self.free_runs.iter().fold(0, |sum, run| sum.saturating_add(run.length))
    }

    /// Whether its device is there, be it marked as missing or not.
    pub fn is_there(&self) -> bool {
        !physical::is_unknown(&self.device)
    }
}

/// Whether no disk of a group is missing. While one is, LVM makes nothing in the group, lets nothing
/// grow and renames nothing.
pub fn is_whole(physical: &[PhysicalVolume]) -> bool {
    physical.iter().all(|pv| !pv.missing)
}

/// One logical volume.
#[derive(Clone, Debug, PartialEq)]
pub struct LogicalVolume {
    /// Its name.
    pub name: LvName,
    /// LVM's own identity for it; kept through a rename.
    pub uuid: String,
    /// Size as its user sees it; for a copy-on-write snapshot that of its origin.
    pub size: Bytes,
    /// What it is.
    pub kind: Kind,
    /// What it is a snapshot of, when LVM still knows.
    pub origin: Option<LvName>,
    /// How it lies on the disks, if it is a RAID.
    pub legs: Option<Legs>,
    /// Hundredths of a RAID that all its legs have; before that is 100, none may be lost. `None` where LVM
    /// does not say.
    pub synced: Option<f64>,
    /// Its number in its thin pool; a new one is past all that exist. `None` for what is not thin,
    /// and where no report has told it yet.
    pub thin_id: Option<u32>,
    /// Whether it has a device now.
    pub active: bool,
    /// Whether an interrupted command left it suspended: its I/O hangs until it is refreshed.
    pub suspended: bool,
    /// Whether it, or what it is made of, lies on a disk that is missing, if only in part. A RAID may work
    /// nevertheless.
    pub lost: bool,
    /// Whether it is a thin pool that has given up after an error of its disks, or a volume in one: every
    /// access fails until the pool is activated anew.
    pub failed: bool,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// What a logical volume is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Extents of its own (linear, striped or RAID).
    Thick,
    /// A thin volume or thin snapshot of this pool.
    Thin(LvName),
    /// A copy-on-write snapshot of a thick volume.
    CopyOnWrite,
    /// A thin pool.
    ThinPool {
        /// Hundredths of the data space in use; `None` while inactive.
        data_percent: Option<f64>,
        /// Hundredths of the metadata space in use; `None` while inactive.
        metadata_percent: Option<f64>,
    },
    /// A RAID volume whose making was cut short before its legs' metadata were cleared, so that what
    /// a removed volume left there would count. It is not active, and must only be removed.
    HalfMade,
    /// Something Tarn never makes.
    Other(String),
}

/// Why LVM did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such group, or a disk that it needs is missing.
    #[error("LVM finds no volume group {vg}; its disks may be missing (try `vgs` and `pvs`)")]
    NoGroup {
        /// The group.
        vg: VgName,
    },
    /// There is no such volume.
    #[error("there is no logical volume {vg}/{lv}")]
    NoVolume {
        /// The group.
        vg: VgName,
        /// The volume.
        lv: LvName,
    },
    /// Not enough free extents (or none that fit the layout); nothing was made.
    #[error("volume group {vg} has too little free space")]
    NoSpace {
        /// The group.
        vg: VgName,
    },
    /// A volume of that name exists.
    #[error("logical volume {vg}/{lv} already exists")]
    Exists {
        /// The group.
        vg: VgName,
        /// The volume.
        lv: LvName,
    },
    /// Something holds the volume open, or snapshots depend on it.
    #[error("logical volume {vg}/{lv} is in use")]
    InUse {
        /// The group.
        vg: VgName,
        /// The volume.
        lv: LvName,
    },
    /// A thin volume stands in the group's metadata, but its pool does not know it.
    #[error("thin volume {vg}/{lv} is missing in its pool")]
    MissingInPool {
        /// The group.
        vg: VgName,
        /// The volume.
        lv: LvName,
    },
    /// A report could not be understood.
    #[error("cannot read LVM's report: {0}")]
    Report(String),
    /// Anything else.
    #[error("LVM failed")]
    Tool(#[source] Failure),
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
