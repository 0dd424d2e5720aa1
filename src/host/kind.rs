//! Volume groups as a kind of pool.

use std::{collections::BTreeMap, path::Path};

use super::Host;
use crate::{
    pool::{CopyProgress, Kept, PoolEntry, PoolKind, PoolStatus},
    units::Bytes,
    volume::{
        Capacity, Error, Parameters, PoolName, Publish, SizeRange, Snapshot, SnapshotFilter,
        SnapshotId, Stage, Stats, Volume, VolumeId, Wanted, WantedSnapshot, chain,
    },
};

impl PoolKind for Host {
    fn serve(&self, pools: Vec<PoolEntry>) -> BTreeMap<PoolName, String> {
        let failed = self.set_pools(pools).into_iter();
        failed.map(|(pool, err)| (pool, chain(&err))).collect()
    }

    fn unserved(&self) -> BTreeMap<PoolName, String> {
        Self::unserved(self)
    }

    fn served(&self) -> Vec<PoolName> {
        self.pools().served.iter().map(|pool| pool.name.clone()).collect()
    }

    fn has(&self, id: &VolumeId) -> bool {
        self.volume_anywhere(id).is_some()
    }

    fn create(&self, wanted: &Wanted) -> Result<Volume, Error> {
        Self::create(self, wanted)
    }

    fn delete(&self, id: &VolumeId) -> Result<(), Error> {
        Self::delete(self, id)
    }

    fn expand(&self, id: &VolumeId, size: SizeRange) -> Result<Volume, Error> {
        Self::expand(self, id, size)
    }

    fn find(&self, id: &VolumeId) -> Option<Volume> {
        Self::find(self, id)
    }

    fn volumes(&self, after: Option<&VolumeId>, most: usize) -> Vec<Volume> {
        Self::volumes(self, after, most)
    }

    fn capacity(&self, parameters: &Parameters) -> Capacity {
        Self::capacity(self, parameters)
    }

    fn stage(&self, wanted: &Stage) -> Result<(), Error> {
        Self::stage(self, wanted)
    }

    fn unstage(&self, id: &VolumeId, at: &Path) -> Result<(), Error> {
        Self::unstage(self, id, at)
    }

    fn publish(&self, wanted: &Publish) -> Result<(), Error> {
        Self::publish(self, wanted)
    }

    fn unpublish(&self, id: &VolumeId, at: &Path) -> Result<(), Error> {
        Self::unpublish(self, id, at)
    }

    fn node_expand(&self, id: &VolumeId, at: &Path, size: SizeRange) -> Result<Bytes, Error> {
        Self::node_expand(self, id, at, size)
    }

    fn stats(&self, id: &VolumeId, at: &Path) -> Result<Stats, Error> {
        Self::stats(self, id, at)
    }

    fn status(&self) -> Vec<PoolStatus> {
        Self::status(self)
    }

    fn look_again(&self, pool: &str) -> Result<(), Error> {
        Self::look_again(self, pool)
    }

    fn kept(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<Kept> {
        Self::kept(self, wanted)
    }

    fn can_copy(&self) -> bool {
        !self.pools().served.is_empty()
    }

    fn copies(&self) -> Vec<CopyProgress> {
        Self::copies(self)
    }

    fn has_snapshot(&self, id: &SnapshotId) -> bool {
        self.snapshot_of_id(id).is_some()
    }

    fn snapshot(&self, wanted: &WantedSnapshot) -> Result<Snapshot, Error> {
        Self::snapshot(self, wanted)
    }

    fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), Error> {
        Self::delete_snapshot(self, id)
    }

    fn snapshots(
        &self,
        filter: &SnapshotFilter,
        after: Option<&SnapshotId>,
        most: usize,
    ) -> Vec<Snapshot> {
        Self::snapshots(self, filter, after, most)
    }
}
