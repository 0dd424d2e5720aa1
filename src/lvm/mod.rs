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
mod moves;
mod names;
mod orders;
mod physical;
mod prepared;
mod raid;
mod report;
mod strays;
pub mod tools;

pub use mark::PvMark;
pub use names::{BadName, BadTag, LvName, Tag, VgName};
pub use orders::{
    Backing, Belonging, ConvertToThinPool, CreateGroup, CreatePhysicalVolume, CreateSnapshot,
    CreateThinPool, CreateVolume, Layout, MoveExtents, RepairRaid, SnapshotKind, cow_size,
};
pub use physical::{Footprint, SeenGroup, SeenPhysicalVolume};
pub use raid::{
    LEG_METADATA, LegStretch, Legs, LostLeg, Place, Raid, RaidLevel, Stretch, disks_for, places,
    places_apart, places_to_grow,
};

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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

    /// How a volume lies on the disks; a thin one lies as its pool does, which counts as linear. `None` for
    /// what Tarn never makes.
    ///
    /// # Errors
    /// [`Error::NoVolume`].
    fn layout(&self, vg: &VgName, lv: &LvName) -> Result<Option<Layout>, Error>;

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

    /// Says how far a physical volume belongs to its group (`pvchange`).
    fn set_belonging(&self, device: &Path, belonging: Belonging) -> Result<(), Error>;

    /// Moves what lies on extents of a disk to the group's other disks, in use or not, and waits for it
    /// (`pvmove`); with nothing there nothing is done. Where an interrupted call has begun something on that
    /// disk, this one finishes it, and does nothing else; [`Lvm::abort_move`] is to come first.
    ///
    /// # Errors
    /// [`Error::NoSpace`] where it does not fit.
    fn move_extents(&self, wanted: &MoveExtents) -> Result<(), Error>;

    /// Takes back what an interrupted [`Lvm::move_extents`] has begun to move away from a disk and not finished, if it is
    /// active (`pvmove --abort`). LVM itself goes on with one by activating what is moved; as it activates the data
    /// of a thin pool for reading only, everything that is moved is read-only until the end (lvm2, `activate_lvs` in
    /// `tools/pvmove.c`, "Component LV activation" in `lib/activate/activate.c`).
    fn abort_move(&self, vg: &VgName, device: &Path) -> Result<(), Error>;

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

    /// Makes the thin pool of two volumes, which then are its data and its metadata, and whatever is on them is
    /// lost (`lvconvert`). That is how one comes to lie on RAIDs. Otherwise it is as [`Lvm::create_thin_pool`]
    /// makes it, but that LVM keeps no room beside it for a repair of the metadata: that could not be a RAID.
    ///
    /// # Errors
    /// [`Error::NoVolume`].
    fn convert_to_thin_pool(&self, wanted: &ConvertToThinPool) -> Result<(), Error>;

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
    /// their order; for others LVM decides, and there are none. A RAID below a thin pool grows by its own name.
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

    /// Activates a thin volume, or a thin pool, which lies on RAIDs that work without their missing legs. LVM
    /// has one mode for that, in which it would activate anything, whatever is missing: the caller has made sure.
    ///
    /// # Errors
    /// As [`Lvm::activate`].
    fn activate_degraded(&self, vg: &VgName, lv: &LvName) -> Result<(), Error>;

    /// Activates a thin pool that has given up and is not active: its metadata are checked and, where they are
    /// sound, the kernel's note in them is taken off that this has to be done (`thin_check
    /// --clear-needs-check-flag`). With that note [`Lvm::activate`] makes it read-only.
    ///
    /// # Errors
    /// As [`Lvm::activate`]. Nothing is repaired.
    fn activate_anew(&self, vg: &VgName, pool: &LvName) -> Result<(), Error>;

    /// Deactivates a volume.
    ///
    /// # Errors
    /// [`Error::InUse`] while something holds it open.
    fn deactivate(&self, vg: &VgName, lv: &LvName) -> Result<(), Error>;

    /// Reloads a volume's table and resumes it (`lvchange --refresh`): the cure for a volume that an
    /// interrupted command left suspended.
    fn refresh(&self, vg: &VgName, lv: &LvName) -> Result<(), Error>;

    /// Drops what an interrupted command has prepared for the kernel and not put in force, which the next change would:
    /// tables that are loaded beside those in force, and devices without one (`dmsetup clear`, `dmsetup remove`); and thin
    /// devices that no finished volume has, which a new one would be given (`dmsetup message`). Waits for commands that
    /// change the group.
    ///
    /// # Errors
    /// Also where the group's lock cannot be taken.
    fn forget_prepared(&self, vg: &VgName) -> Result<(), Error>;
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
    /// The data and the metadata of its thin pools, where they are RAIDs: volumes of LVM's own, see
    /// [`LvName::thin_data`] and [`LvName::thin_metadata`].
    pub layers: Vec<LogicalVolume>,
    /// Where the legs of RAID volumes lie; as of the last report.
    pub legs: Vec<LegStretch>,
    /// How many extents an interrupted [`Lvm::move_extents`] has of each disk, by LVM's own identity of it:
    /// those that are moved, and those that they are moved to.
    pub moving: BTreeMap<String, u64>,
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
    /// Whether the kernel has shut out a leg of a RAID volume that lies on it ([`Legs::shut_out`]).
    pub erring: bool,
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

    /// Whether something may be put on it.
    pub fn is_open(&self) -> bool {
        self.allocatable && !self.missing
    }

    /// Whether a RAID volume may get a leg on it: not on one that errs, where it would be lost at once.
    pub fn takes_legs(&self) -> bool {
        self.is_open() && !self.erring
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
    /// access fails, or all that needs new blocks, until the pool is activated anew.
    pub failed: bool,
    /// Its tags.
    pub tags: Vec<Tag>,
}

impl LogicalVolume {
    /// One that is active and well, of which nothing more is known.
    pub fn new(name: LvName, size: Bytes, kind: Kind) -> Self {
        Self {
            name,
            uuid: String::new(),
            size,
            kind,
            origin: None,
            legs: None,
            synced: None,
            thin_id: None,
            active: true,
            suspended: false,
            lost: false,
            failed: false,
            tags: Vec::new(),
        }
    }

    /// The thin pool that it is, or is in.
    pub fn thin_pool(&self) -> Option<&LvName> {
        match &self.kind {
            Kind::Thin(pool) => Some(pool),
            Kind::ThinPool { .. } => Some(&self.name),
            Kind::Thick | Kind::CopyOnWrite | Kind::HalfMade | Kind::Other(_) => None,
        }
    }
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
