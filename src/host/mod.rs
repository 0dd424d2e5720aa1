//! Doing it on this machine: every verb of a volume's life, with LVM, file systems and devices.
//!
//! All of it is blocking. Each step looks, acts only if needed, and may be killed anywhere: the
//! same call, repeated, ends in the same state. What exists is read from LVM's tags and sizes
//! ([`record`]) and, for mounts, from the kernel; nothing else is remembered.

mod adopt;
mod ahead;
mod capacity;
mod chores;
mod class;
mod copy;
mod create;
mod delete;
mod disks;
mod erring;
mod expand;
mod inventory;
mod kind;
mod ledger;
mod line;
mod list;
mod mend;
mod moves;
mod pool;
mod pools;
mod publish;
mod record;
mod recovery;
mod reopening;
mod repairs;
mod same;
mod snapshot;
mod stage;
mod start;
mod stats;
mod status;
mod thin_pool;
mod trash;
mod trims;
mod used;
mod wipes;

pub use adopt::beside;
pub use disks::{Cluster, plan_disks};
pub use start::StartError;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
};

use crate::{
    device::Devices,
    fs::Filesystems,
    lvm::{self, Kind, LogicalVolume, Lvm},
    pool::{PoolEntry, Reserves, Sequence},
    volume::{Error, NodeId, PoolName, SnapshotId, VolumeId},
};
use chores::Chores;
use disks::Disks;
use pool::Pool;
use pools::Pools;
use record::Record;

/// The tools through which everything on the machine is done.
#[derive(Clone)]
pub struct Tools {
    /// Volume groups and volumes.
    pub lvm: Arc<dyn Lvm>,
    /// File systems and mounts.
    pub fs: Arc<dyn Filesystems>,
    /// Block devices and their bytes.
    pub devices: Arc<dyn Devices>,
    /// Seconds since 1970 UTC.
    pub clock: fn() -> i64,
}

/// This machine and its pools.
pub struct Host {
    tools: Tools,
    node: NodeId,
    /// Who makes volumes here, for their tags.
    creator: String,
    pools: RwLock<Arc<Pools>>,
    /// The pools that are to be here; held while the pools change.
    wanted: Mutex<Vec<PoolEntry>>,
    sequence: Arc<Sequence>,
    /// The devices that are not for volume groups.
    reserves: Arc<dyn Reserves>,
    chores: Chores,
    copies: copy::Copies,
    wiping: trash::Wiping,
    trims: trims::Trims,
    disks: Disks,
    /// Pools that are to be here and are not served, and why.
    unserved: Mutex<BTreeMap<PoolName, String>>,
}

/// A volume or snapshot as found in its pool.
struct Found {
    pool: Arc<Pool>,
    lv: LogicalVolume,
    record: Record,
}

impl Host {
    /// The node that this machine is.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// The volume, finished or not, if it is in one of the pools.
    fn volume(&self, id: &VolumeId) -> Option<Found> {
        self.look_up(id.as_str())
    }

    /// The snapshot, if it is in one of the pools.
    fn snapshot_of_id(&self, id: &SnapshotId) -> Option<Found> {
        self.look_up(id.as_str())
    }

    fn look_up(&self, name: &str) -> Option<Found> {
        self.pools().served.iter().find_map(|pool| pool.look_up(name))
    }

    /// The volume, which must be there and finished.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Busy`] while it is being made.
    fn finished_volume(&self, id: &VolumeId) -> Result<Found, Error> {
        let found = self.volume(id).ok_or_else(|| no_volume(id))?;
        if !found.is_finished() {
            return Err(Error::Busy(format!("volume {id} is still being made")));
        }
        Ok(found)
    }
}

impl Found {
    /// Whether its content is whole and its size at least what was asked for.
    fn is_finished(&self) -> bool {
        is_finished(&self.lv, &self.record)
    }

    fn device(&self) -> PathBuf {
        self.pool.device(&self.lv.name)
    }
}

fn is_finished(lv: &LogicalVolume, record: &Record) -> bool {
    !record.copying && lv.size >= record.size && lv.kind != Kind::HalfMade
}

fn no_volume(id: &VolumeId) -> Error {
    Error::NotFound(format!("volume {id}"))
}

/// An LVM command that failed with nothing changed.
fn lvm_failed(doing: impl Into<String>, err: lvm::Error) -> Error {
    match err {
        lvm::Error::NoSpace { .. } => Error::NoRoom(err.to_string()),
        lvm::Error::InUse { .. } => Error::InUse(err.to_string()),
        lvm::Error::NoGroup { .. }
        | lvm::Error::NoVolume { .. }
        | lvm::Error::Exists { .. }
        | lvm::Error::MissingInPool { .. }
        | lvm::Error::Report(_)
        | lvm::Error::Tool(_) => Error::machine(doing, err),
    }
}
