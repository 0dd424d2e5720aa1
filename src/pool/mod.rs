//! Which disks become which volume groups, and how much room they have.

pub mod capacity;
mod class;
pub mod departure;
mod entry;
mod file;
mod found;
pub mod fullness;
pub mod health;
mod kind;
pub mod left;
pub mod owner;
pub mod plan;
pub mod repair;
mod reserves;
mod roster;
mod rounds;
mod sequence;
mod spec;
mod status;
pub mod survey;
pub mod thin;

pub use class::{Class, pick, wanted_pool};
pub use entry::{DeviceEntry, EntryState};
pub use file::{Mistake, PoolEntry, PoolsFile};
pub use found::{Found, Keeps};
pub use kind::PoolKind;
pub use reserves::{NoReserves, Reserves};
pub use roster::{Open, Pools, Roster};
pub use rounds::Rounds;
pub use sequence::Sequence;
pub use spec::{
    Autoextend, BadTrim, DevicesSpec, DirectoryLoopFile, DirectorySpec, LEAST_DISK, LoopFile,
    MemorySize, MemorySpec, Mismatch, PoolSpec, Provisions, QuotaFs, RootMode, ThinPoolSpec, Trim,
    WholeDevicesSpec,
};
pub use status::{CopyProgress, Filling, Kept, PoolStatus, Trimmed};

/// Groups that pools had when they were seen last, with LVM's own identity of each.
pub type KnownGroups = std::collections::BTreeMap<crate::lvm::VgName, String>;
