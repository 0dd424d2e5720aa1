//! What a volume is: its identity, size, parameters and the ways to use it. No I/O happens here.
//!
//! [`Provisioner`] is the seam between the front door and whatever makes volumes.

mod adoption;
mod capability;
mod driver;
mod error;
mod id;
mod parameters;
mod size;
mod turn;
mod usage;

pub use adoption::{
    Adopted, Adoption, BadEntry, BadExisting, BadLvPath, Existing, LvPath, Released, entry_path,
};
pub use capability::{Access, BadPurpose, Capability, Mode, Purpose};
pub use driver::{BadDriverName, DEFAULT_NAME, Driver};
pub use error::{Difference, Error, chain};
pub(crate) use id::digest;
pub use id::{NodeId, NotAnId, PoolName, SnapshotId, VolumeId, VolumeName};
pub use parameters::{AfterRestart, LayoutWish, Parameters, Provisioning, StaticParameters};
pub use size::SizeRange;
pub use turn::{Turn, Turns};
pub use usage::{Publish, Stage, Stats};

use std::{fmt, iter::Sum};

use crate::units::Bytes;

/// Whatever makes volumes: this machine, or a cluster of them.
///
/// Every call may be repeated with the same arguments, also after its answer was lost, and then
/// finds its own work. A future that is dropped does not undo what it began.
pub trait Provisioner: Send + Sync + 'static {
    /// Makes a volume, or finds the one that an earlier call made.
    fn create(&self, wanted: Wanted) -> impl Future<Output = Result<Volume, Error>> + Send;

    /// Deletes a volume; one that is gone is fine.
    fn delete(&self, id: VolumeId) -> impl Future<Output = Result<(), Error>> + Send;

    /// Grows a volume to a size in range, and says what it then has; never shrinks.
    fn expand(
        &self,
        id: VolumeId,
        size: SizeRange,
    ) -> impl Future<Output = Result<Volume, Error>> + Send;

    /// The volume, if there is one.
    fn find(&self, id: VolumeId) -> impl Future<Output = Result<Option<Volume>, Error>> + Send;

    /// Finished volumes in the order of their ids, those after `after`, at most `most`.
    fn volumes(
        &self,
        after: Option<VolumeId>,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Volume>, Error>> + Send;

    /// Takes a snapshot, or finds the one that an earlier call took.
    fn snapshot(
        &self,
        wanted: WantedSnapshot,
    ) -> impl Future<Output = Result<Snapshot, Error>> + Send;

    /// Deletes a snapshot; one that is gone is fine.
    fn delete_snapshot(&self, id: SnapshotId) -> impl Future<Output = Result<(), Error>> + Send;

    /// Snapshots in the order of their ids, those after `after` that pass the filter, at most `most`.
    fn snapshots(
        &self,
        filter: SnapshotFilter,
        after: Option<SnapshotId>,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Snapshot>, Error>> + Send;

    /// How much room there is for volumes of these parameters; an unknown pool or node has none.
    fn capacity(
        &self,
        parameters: Parameters,
        node: Option<NodeId>,
    ) -> impl Future<Output = Result<Capacity, Error>> + Send;

    /// Whether there are pools whose volumes have snapshots and can be copied.
    fn copies(&self) -> bool;

    /// Whether everything that the provisioner stands on has come up.
    fn is_ready(&self) -> bool;
}

/// A volume that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Chosen by the caller; calls with the same name want the same volume.
    pub name: VolumeName,
    /// How large.
    pub size: SizeRange,
    /// What it will be used for.
    pub purpose: Purpose,
    /// What the StorageClass says.
    pub parameters: Parameters,
    /// What it begins with.
    pub source: Option<Source>,
    /// On which nodes it may be, best first; none given means any.
    pub nodes: Option<Vec<NodeId>>,
    /// For which claim, as namespace/name, where the caller says so. For people.
    pub claim: Option<String>,
}

impl Wanted {
    /// That it may be on this node.
    ///
    /// # Errors
    /// [`Error::NoRoom`]: another node may have it.
    pub fn ensure_may_be_on(&self, node: &NodeId) -> Result<(), Error> {
        match &self.nodes {
            Some(nodes) if !nodes.contains(node) => {
                Err(Error::NoRoom(format!("the volume is not to be on this node, {node}")))
            }
            _ => Ok(()),
        }
    }

    /// That an existing `volume` has a size that is wanted, and is for what is wanted.
    ///
    /// # Errors
    /// [`Error::Exists`] names the first in which they differ.
    pub fn ensure_is_like(
        &self,
        volume: &dyn fmt::Display,
        size: Bytes,
        purpose: Purpose,
    ) -> Result<(), Error> {
        if !self.size.allows(size) {
            let what = format!("volume {volume}");
            return Err(Error::exists(what, "size", size, self.size.least()));
        }
        ensure_equal(volume, "purpose", purpose.to_string(), self.purpose.to_string())
    }

    /// That a volume which is on this node already is where it is wanted.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub fn ensure_is_where_wanted(&self, id: &VolumeId, node: &NodeId) -> Result<(), Error> {
        match &self.nodes {
            Some(nodes) if !nodes.contains(node) => {
                let nodes: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
                Err(Error::exists(format!("volume {id}"), "node", node, nodes.join(" or ")))
            }
            _ => Ok(()),
        }
    }
}

/// That an existing volume has what is wanted under its name.
///
/// # Errors
/// [`Error::Exists`].
pub fn ensure_equal(
    volume: &dyn fmt::Display,
    field: &'static str,
    has: String,
    wants: String,
) -> Result<(), Error> {
    match has == wants {
        true => Ok(()),
        false => Err(Error::exists(format!("volume {volume}"), field, has, wants)),
    }
}

/// What a volume's content is copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Another volume, as it is at the moment of the copy.
    Volume(VolumeId),
    /// A snapshot.
    Snapshot(SnapshotId),
}

impl Source {
    /// The id of the volume or snapshot.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Volume(id) => id.as_str(),
            Self::Snapshot(id) => id.as_str(),
        }
    }
}

/// A volume that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its identity.
    pub id: VolumeId,
    /// Its raw size.
    pub size: Bytes,
    /// What it is used for.
    pub purpose: Purpose,
    /// What it began with.
    pub source: Option<Source>,
    /// Where it is.
    pub node: NodeId,
}

/// A snapshot that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedSnapshot {
    /// Chosen by the caller; calls with the same name want the same snapshot.
    pub name: VolumeName,
    /// Of which volume.
    pub source: VolumeId,
}

/// A snapshot that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identity.
    pub id: SnapshotId,
    /// The volume it was taken of, which may be gone.
    pub source: VolumeId,
    /// The least size of a volume made from it.
    pub size: Bytes,
    /// When it was taken, in seconds since 1970 UTC; the same at every call.
    pub created: i64,
}

/// Which snapshots to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// Only this one.
    pub id: Option<SnapshotId>,
    /// Only those of this volume.
    pub source: Option<VolumeId>,
}

impl SnapshotFilter {
    /// Whether a snapshot is to be listed.
    pub fn passes(&self, snapshot: &Snapshot) -> bool {
        self.id.as_ref().is_none_or(|id| *id == snapshot.id)
            && self.source.as_ref().is_none_or(|source| *source == snapshot.source)
    }
}

/// Room for volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// All of it.
    pub available: Bytes,
    /// The largest single volume that would be made now.
    pub largest: Bytes,
}

/// The room of several pools or nodes together: a volume is in one of them.
impl Sum for Capacity {
    fn sum<I: Iterator<Item = Self>>(rooms: I) -> Self {
        rooms.fold(Self::default(), |sum, room| Self {
            available: Bytes(sum.available.0.saturating_add(room.available.0)),
            largest: sum.largest.max(room.largest),
        })
    }
}
