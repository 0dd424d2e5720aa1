//! Doing it on this machine: every verb of a volume's life, with LVM, file systems and devices.
//!
//! All of it is blocking. Each step looks, acts only if needed, and may be killed anywhere: the
//! same call, repeated, ends in the same state. What exists is read from LVM's tags and sizes
//! ([`record`]) and, for mounts, from the kernel; nothing else is remembered.

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
mod format;
mod inventory;
mod ledger;
mod line;
mod list;
mod local;
mod mend;
mod moves;
mod pool;
mod pools;
mod publish;
mod record;
mod recovery;
mod repairs;
mod same;
mod sequence;
mod snapshot;
mod stage;
mod start;
mod stats;
mod status;
mod trash;
mod used;
mod wipes;

pub use disks::{Cluster, plan_disks};
pub use inventory::Kept;
pub use local::LocalProvisioner;
pub use publish::Publish;
pub use repairs::Filling;
pub use stage::Stage;
pub use start::StartError;
pub use stats::Stats;
pub use status::{CopyProgress, PoolStatus, Status};

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
};

use crate::{
    device::Devices,
    fs::{self, Filesystems},
    lvm::{self, Kind, LogicalVolume, Lvm},
    pool::PoolEntry,
    volume::{Error, NodeId, PoolName, SnapshotId, VolumeId, chain},
};
use chores::Chores;
use disks::Disks;
use pool::Pool;
use pools::Pools;
use record::Record;
use sequence::Sequence;

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
    chores: Chores,
    copies: copy::Copies,
    wiping: trash::Wiping,
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

/// A step on a file system or mount that failed.
fn fs_failed(doing: impl Into<String>, err: fs::Error) -> Error {
    match err {
        fs::Error::Busy(_) => Error::Busy(err.to_string()),
        fs::Error::InUse(_) => Error::InUse(err.to_string()),
        fs::Error::NotEmpty { .. } | fs::Error::Damaged { .. } => {
            Error::Precondition(err.to_string())
        }
        fs::Error::Path { ref source, .. } if is_in_the_way(source) => {
            Error::Precondition(chain(&err))
        }
        fs::Error::Mount { .. } | fs::Error::Path { .. } | fs::Error::Tool { .. } => {
            Error::machine(doing, err)
        }
    }
}

/// Whether a call on a path failed because of what somebody else has put there.
fn is_in_the_way(err: &io::Error) -> bool {
    use io::ErrorKind::{
        AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory, PermissionDenied,
        ReadOnlyFilesystem, ResourceBusy,
    };
    let kinds = [
        AlreadyExists,
        DirectoryNotEmpty,
        IsADirectory,
        NotADirectory,
        PermissionDenied,
        ReadOnlyFilesystem,
        ResourceBusy,
    ];
    let a_ring_of_links = Some(nix::errno::Errno::ELOOP as i32);
    kinds.contains(&err.kind()) || err.raw_os_error() == a_ring_of_links
}

/// A path that a caller gave: absolute, without `..`, short enough for the kernel (path_resolution(7),
/// limits.h).
///
/// # Errors
/// [`Error::Invalid`] names the field.
pub fn checked_path(field: &'static str, text: &str) -> Result<PathBuf, Error> {
    use std::path::Component;
    if text.is_empty() {
        return Err(Error::missing(field));
    }
    let path = Path::new(text);
    let plain =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
            && !text.contains('\0')
            && path.iter().all(|part| part.len() <= 255);
    if !path.is_absolute() || !plain || text.len() > 4095 {
        let allowed = "an absolute path without `..`, at most 4095 bytes and 255 in each part";
        return Err(Error::invalid(field, text, allowed));
    }
    if path.parent().is_none() {
        return Err(Error::invalid(field, text, "not the root directory"));
    }
    Ok(path.to_path_buf())
}
