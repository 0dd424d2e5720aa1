//! The seam between what a volume is and how a kind of pool makes it.

use std::{collections::BTreeMap, path::Path};

use super::{CopyProgress, Kept, PoolEntry, PoolStatus};
use crate::{
    units::Bytes,
    volume::{
        Capacity, Error, Parameters, PoolName, Publish, SizeRange, Snapshot, SnapshotFilter,
        SnapshotId, Stage, Stats, Volume, VolumeId, Wanted, WantedSnapshot,
    },
};

/// What every kind of pool does on its machine, for all its pools there.
///
/// Calls block. Each may be repeated with the same arguments, also after its answer was lost or it was killed
/// anywhere, and then ends in the same state. What is looked up comes from memory.
pub trait PoolKind: Send + Sync {
    /// Serves these pools, which are all of its kind, from now on, and lets go of any other, with everything
    /// in them left as it is. Gives back why pools could not be opened, which keeps no other from being served.
    fn serve(&self, pools: Vec<PoolEntry>) -> BTreeMap<PoolName, String>;

    /// Pools that are to be served and are not, or not as their spec says now, and why.
    fn unserved(&self) -> BTreeMap<PoolName, String>;

    /// The pools that are served.
    fn served(&self) -> Vec<PoolName>;

    /// Whether it has a volume of this id, finished or not, also in a pool that it has let go of.
    fn has(&self, id: &VolumeId) -> bool;

    /// Makes a volume in one of its pools, or finishes or finds the one that an earlier call made.
    ///
    /// # Errors
    /// Only [`Error::Uncertain`] and [`Error::Busy`] may leave something behind, and the same call, repeated,
    /// finishes that.
    fn create(&self, wanted: &Wanted) -> Result<Volume, Error>;

    /// Deletes a volume; one that is gone is fine. What it held is given back in the background.
    ///
    /// # Errors
    /// [`Error::InUse`].
    fn delete(&self, id: &VolumeId) -> Result<(), Error>;

    /// Grows a volume to a size in range, and says what it then has; never shrinks.
    fn expand(&self, id: &VolumeId, size: SizeRange) -> Result<Volume, Error>;

    /// The volume, if it is there and finished.
    fn find(&self, id: &VolumeId) -> Option<Volume>;

    /// Finished volumes in the order of their ids, those after `after`, at most `most`.
    fn volumes(&self, after: Option<&VolumeId>, most: usize) -> Vec<Volume>;

    /// How much room there is for volumes of these parameters; an unknown pool has none.
    fn capacity(&self, parameters: &Parameters) -> Capacity;

    /// Makes the volume ready on this node; one that is ready so already is fine.
    ///
    /// # Errors
    /// Whatever the error, nothing is left mounted.
    fn stage(&self, wanted: &Stage) -> Result<(), Error>;

    /// Takes the volume off its staging path; nothing of this volume there is fine.
    fn unstage(&self, id: &VolumeId, at: &Path) -> Result<(), Error>;

    /// Makes a staged volume appear at a path; one that does already is fine.
    fn publish(&self, wanted: &Publish) -> Result<(), Error>;

    /// Takes the volume off a path, and removes the empty directory or file there.
    fn unpublish(&self, id: &VolumeId, at: &Path) -> Result<(), Error>;

    /// Has what is mounted take up what the volume has grown by, and says how large it is.
    fn node_expand(&self, id: &VolumeId, at: &Path, size: SizeRange) -> Result<Bytes, Error>;

    /// How full a volume is that is staged or published at `at`.
    fn stats(&self, id: &VolumeId, at: &Path) -> Result<Stats, Error>;

    /// What its pools look like now.
    fn status(&self) -> Vec<PoolStatus>;

    /// Looks at a pool of that name anew, for what others have done to it.
    ///
    /// # Errors
    /// Those of a pool that cannot be read.
    fn look_again(&self, pool: &str) -> Result<(), Error>;

    /// The finished volumes and snapshots whose ids are `wanted`, in no order.
    fn kept(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<Kept>;

    /// Whether volumes of one of its pools have snapshots, and can be copied. The rest is for kinds where they do.
    fn can_copy(&self) -> bool {
        false
    }

    /// Every copy that runs.
    fn copies(&self) -> Vec<CopyProgress> {
        Vec::new()
    }

    /// Whether it has a snapshot of this id, whole or not.
    fn has_snapshot(&self, _: &SnapshotId) -> bool {
        false
    }

    /// Takes a snapshot of one of its volumes, or finds the one that an earlier call took.
    ///
    /// # Errors
    /// As [`PoolKind::create`].
    fn snapshot(&self, wanted: &WantedSnapshot) -> Result<Snapshot, Error> {
        let allowed = "volumes of its kind have no snapshots";
        Err(Error::invalid("source_volume_id", wanted.source.as_str(), allowed))
    }

    /// Deletes a snapshot; one that is gone is fine.
    fn delete_snapshot(&self, _: &SnapshotId) -> Result<(), Error> {
        Ok(())
    }

    /// Snapshots in the order of their ids, those after `after` that pass the filter, at most `most`.
    fn snapshots(&self, _: &SnapshotFilter, _: Option<&SnapshotId>, _: usize) -> Vec<Snapshot> {
        Vec::new()
    }
}
