//! The verbs of a volume's life.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{WholeDevices, pool::Pool, record::Record, status::kept};
use crate::{
    fs::paths,
    mounts,
    pool::{Keeps, Kept, PoolEntry, PoolKind, PoolStatus},
    units::Bytes,
    volume::{
        Capacity, Error, Parameters, PoolName, Publish, SizeRange, Stage, Stats, Volume, VolumeId,
        Wanted, chain,
    },
};

impl WholeDevices {
    /// Reads the records of others where they have one of a volume that is not known here, or none of one that is.
    pub fn look_for(&self, id: &VolumeId) {
        if !self.pools().all().any(|pool| pool.is_stale(id)) {
            return;
        }
        if let Err(err) = self.take_turn().map(drop) {
            tracing::warn!(volume = %id, error = chain(&err), "the records were not read anew");
        }
    }
}

impl PoolKind for WholeDevices {
    fn serve(&self, pools: Vec<PoolEntry>) -> BTreeMap<PoolName, String> {
        self.set_pools(pools)
    }

    fn unserved(&self) -> BTreeMap<PoolName, String> {
        self.roster.unserved()
    }

    fn served(&self) -> Vec<PoolName> {
        self.roster.names()
    }

    fn has(&self, id: &VolumeId) -> bool {
        self.roster.look_up(id).is_some()
    }

    fn create(&self, wanted: &Wanted) -> Result<Volume, Error> {
        self.make(wanted)
    }

    fn delete(&self, id: &VolumeId) -> Result<(), Error> {
        let Some(found) = self.roster.look_up(id).filter(|it| !it.record.deleted) else {
            return Ok(());
        };
        {
            let _turn = self.take_turn()?;
            self.ensure_unused(&found)?;
            // Another call may have changed it meanwhile.
            let Some(record) = found.pool.find(id) else { return Ok(()) };
            found.pool.put("deleting", id, Record { deleted: true, ..record })?;
        }
        self.look_around_or_say(false);
        self.rounds.soon();
        Ok(())
    }

    fn expand(&self, id: &VolumeId, size: SizeRange) -> Result<Volume, Error> {
        let found = self.roster.found(id)?;
        let has = found.record.size;
        if size.least() > has {
            return Err(Error::OutOfRange(format!(
                "volume {id} is a whole device of {has}, and does not grow to {}",
                size.least()
            )));
        }
        Ok(self.as_volume(id, &found.record))
    }

    fn find(&self, id: &VolumeId) -> Option<Volume> {
        let found = self.roster.found(id).ok()?;
        Some(self.as_volume(id, &found.record))
    }

    fn volumes(&self, after: Option<&VolumeId>, most: usize) -> Vec<Volume> {
        let page = self.roster.page(after, most);
        page.iter().map(|found| self.as_volume(&found.id, &found.record)).collect()
    }

    fn capacity(&self, parameters: &Parameters) -> Capacity {
        let pools = self.pools();
        let named =
            |pool: &&Arc<Pool>| parameters.pool.as_ref().is_none_or(|name| *name == pool.name);
        let purpose = parameters.purpose();
        let named = pools.served.iter().filter(named);
        named.map(|pool| self.room_for(pool, purpose, parameters)).sum()
    }

    fn stage(&self, wanted: &Stage) -> Result<(), Error> {
        self.stage_volume(wanted)
    }

    fn unstage(&self, id: &VolumeId, at: &Path) -> Result<(), Error> {
        self.unstage_volume(id, at)
    }

    fn publish(&self, wanted: &Publish) -> Result<(), Error> {
        self.publish_volume(wanted)
    }

    fn unpublish(&self, id: &VolumeId, at: &Path) -> Result<(), Error> {
        if self.roster.look_up(id).is_none() {
            return Ok(());
        }
        self.unstage_volume(id, at)?;
        mounts::unpublish(&*self.fs, &paths::real(at))
    }

    fn node_expand(&self, id: &VolumeId, at: &Path, size: SizeRange) -> Result<Bytes, Error> {
        self.expand_on_node(id, at, size)
    }

    fn stats(&self, id: &VolumeId, at: &Path) -> Result<Stats, Error> {
        self.usage(id, at)
    }

    fn status(&self) -> Vec<PoolStatus> {
        self.pools().served.iter().map(|pool| self.status_of(pool)).collect()
    }

    fn look_again(&self, _: &str) -> Result<(), Error> {
        self.take_turn().map(drop)
    }

    fn kept(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<Kept> {
        let all = self.roster.volumes().into_iter();
        all.filter(|found| wanted(found.id.as_str())).map(kept).collect()
    }
}
