//! Volumes of pools that have a record of each: found by their ids, and listed.

use std::sync::Arc;

use super::{Open, Roster};
use crate::volume::{Error, VolumeId};

/// A pool that has a record of each of its volumes.
pub trait Keeps: Open {
    /// What is known of a volume.
    type Record;

    /// The record of a volume, also of one that was deleted and is not gone yet.
    fn find(&self, id: &VolumeId) -> Option<Self::Record>;

    /// All records, also of volumes that were deleted and are not gone yet, in the order of their ids.
    fn all(&self) -> Vec<(VolumeId, Self::Record)>;

    /// Whether the volume was deleted.
    fn is_deleted(record: &Self::Record) -> bool;

    /// Whether the volume is not made to its end.
    fn is_unfinished(_: &Self::Record) -> bool {
        false
    }

    /// The records of all volumes after `after`, but for those that are not whole.
    fn records(&self, after: Option<&VolumeId>) -> Vec<(VolumeId, Self::Record)> {
        let mut all = self.all();
        all.retain(|(id, record)| {
            let is_whole = !Self::is_deleted(record) && !Self::is_unfinished(record);
            is_whole && after.is_none_or(|after| id > after)
        });
        all
    }

    /// The volumes that were deleted and are not gone yet.
    fn trash(&self) -> Vec<(VolumeId, Self::Record)> {
        let mut all = self.all();
        all.retain(|(_, record)| Self::is_deleted(record));
        all
    }
}

/// A volume as found in its pool.
#[derive(Debug)]
pub struct Found<P: Keeps> {
    /// Its id.
    pub id: VolumeId,
    /// The pool that has it.
    pub pool: Arc<P>,
    /// What is known of it.
    pub record: P::Record,
}

impl<P: Keeps> Roster<P> {
    /// The volume, also one whose deletion was begun, and in a pool that has been let go of.
    pub fn look_up(&self, id: &VolumeId) -> Option<Found<P>> {
        self.now().all().find_map(|pool| {
            let record = pool.find(id)?;
            Some(Found { id: id.clone(), pool: Arc::clone(pool), record })
        })
    }

    /// The volume, which must be there.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Busy`] while it is being made or deleted.
    pub fn found(&self, id: &VolumeId) -> Result<Found<P>, Error> {
        let found = self.look_up(id).ok_or_else(|| Error::NotFound(format!("volume {id}")))?;
        if P::is_deleted(&found.record) {
            return Err(Error::Busy(format!("volume {id} is being deleted")));
        }
        match P::is_unfinished(&found.record) {
            true => Err(Error::Busy(format!("volume {id} is still being made"))),
            false => Ok(found),
        }
    }

    /// The volumes of the pools that are served, pool by pool.
    pub fn volumes(&self) -> Vec<Found<P>> {
        self.volumes_after(None)
    }

    /// So many of the volumes of the pools that are served, the first after `after`, in the order of their ids.
    pub fn page(&self, after: Option<&VolumeId>, most: usize) -> Vec<Found<P>> {
        let mut all = self.volumes_after(after);
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.truncate(most);
        all
    }

    fn volumes_after(&self, after: Option<&VolumeId>) -> Vec<Found<P>> {
        let pools = self.now();
        let of_pool = |pool: &Arc<P>| {
            let found = |(id, record)| Found { id, pool: Arc::clone(pool), record };
            pool.records(after).into_iter().map(found).collect::<Vec<_>>()
        };
        pools.served.iter().flat_map(of_pool).collect()
    }
}
