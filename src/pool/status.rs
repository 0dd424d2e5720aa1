//! What a pool looks like at one moment, and what it holds.

use std::path::PathBuf;

use super::{DeviceEntry, PoolSpec, capacity::Stock, health::Health};
use crate::{
    device::Wipe,
    lvm::{Layout, VgName},
    units::Bytes,
    volume::{AfterRestart, PoolName, Provisioning, Purpose, Source, VolumeId, VolumeName},
};

/// One pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolStatus {
    /// Its name.
    pub name: PoolName,
    /// Its volume group, if it is one.
    pub group: Option<VgName>,
    /// What it is served as.
    pub spec: PoolSpec,
    /// From which, with the spec, [`room`](super::capacity::room) tells how much room there is for any class.
    pub stock: Stock,
    /// How well it is.
    pub health: Health,
    /// All of it.
    pub size: Bytes,
    /// What of it no volume has, the reserve left out.
    pub free: Bytes,
    /// The largest thick volume of the pool's layout that would be made now, where there are such.
    pub largest_thick: Option<Bytes>,
    /// The largest thin volume that would be made now, where there are such.
    pub largest_thin: Option<Bytes>,
    /// How many volumes it holds.
    pub volumes: u64,
    /// How many snapshots.
    pub snapshots: u64,
    /// How many deleted volumes wait to be wiped.
    pub wipes: u64,
    /// How many bytes those have.
    pub wipe_bytes: Bytes,
    /// RAID volumes whose legs do not all have their data yet.
    pub filling: Vec<Filling>,
    /// How much of those is still to be filled.
    pub to_fill: Bytes,
    /// How trimming its thin volumes' file systems went since the start.
    pub trimmed: Trimmed,
    /// What is in its directories, where it is of whole devices.
    pub entries: Vec<DeviceEntry>,
}

/// How trimming went in a pool since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// How often a volume was trimmed.
    pub succeeded: u64,
    /// How often that failed.
    pub failed: u64,
}

/// A RAID volume whose legs do not all have its data yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Filling {
    /// The volume.
    pub volume: String,
    /// Its size.
    pub size: Bytes,
    /// Hundredths of it that all its legs have.
    pub percent: f64,
}

impl Filling {
    /// In whole hundredths, never too many.
    pub fn whole_percent(&self) -> u32 {
        (0..100).rev().find(|it| f64::from(*it) <= self.percent).unwrap_or(0)
    }

    /// How much of it not all its legs have.
    pub fn left(&self) -> Bytes {
        self.size.percent(u64::from(100 - self.whole_percent()))
    }
}

/// A copy that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    /// The volume or snapshot that is being filled.
    pub volume: String,
    /// How much of it is.
    pub done: Bytes,
    /// How much there is to copy.
    pub total: Bytes,
}

/// A finished volume or snapshot of a pool that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The id of the volume or snapshot.
    pub id: String,
    /// The name by which it was asked for.
    pub name: VolumeName,
    /// The pool that it is in.
    pub pool: PoolName,
    /// How large it is.
    pub size: Bytes,
    /// What it is for.
    pub purpose: Purpose,
    /// Thin or thick.
    pub provisioning: Provisioning,
    /// How it lies on the disks; linear for a thin one.
    pub layout: Layout,
    /// What is done to its bytes when it is deleted.
    pub wipe: Wipe,
    /// Options for mkfs, as one text.
    pub mkfs: String,
    /// What its class says becomes of it when its contents are gone, in memory.
    pub after_restart: Option<AfterRestart>,
    /// The entry of a pool of whole devices that it was before it was adopted.
    pub entry: Option<PathBuf>,
    /// What it was copied from; nothing for a snapshot.
    pub source: Option<Source>,
    /// Of which volume it is a snapshot.
    pub snapshot_of: Option<VolumeId>,
    /// When it was made, in seconds since 1970 UTC.
    pub created: i64,
}
