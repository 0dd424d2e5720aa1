//! Which pools are served, which may change while the host runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use super::{
    Found, Host, StartError,
    pool::{Books, Pool},
};
use crate::{
    lvm::VgName,
    pool::PoolEntry,
    volume::{PoolName, VolumeId, chain},
};

/// The pools at one moment.
#[derive(Default)]
pub(super) struct Pools {
    pub(super) served: Vec<Arc<Pool>>,
    /// No longer named. What is mounted from them can still be unmounted.
    let_go: Vec<Arc<Pool>>,
}

impl Pools {
    /// What is known of a group, if it is or was one of a pool's.
    fn books(&self, vg: &VgName) -> Option<Arc<Books>> {
        let mut all = self.served.iter().chain(&self.let_go);
        all.find(|pool| pool.vg == *vg).map(|pool| Arc::clone(pool.books()))
    }

    /// These, and none that was let go of.
    pub(super) fn of(served: Vec<Arc<Pool>>) -> Self {
        Self { served, let_go: Vec::new() }
    }

    /// With `pool` in the place of whatever had its name or its group.
    fn with(&self, pool: &Arc<Pool>) -> Self {
        let other = |it: &&Arc<Pool>| it.name != pool.name && it.vg != pool.vg;
        let mut served: Vec<Arc<Pool>> = self.served.iter().filter(other).cloned().collect();
        served.push(Arc::clone(pool));
        let let_go = self.let_go.iter().filter(|it| it.vg != pool.vg).cloned().collect();
        Self { served, let_go }
    }

    /// Only with those that are still meant: the same name and the same group.
    fn kept(&self, wanted: &[PoolEntry]) -> Self {
        let meant =
            |pool: &Pool| wanted.iter().any(|it| it.name == pool.name && it.group() == pool.vg);
        let (served, mut let_go): (Vec<_>, Vec<_>) =
            self.served.iter().cloned().partition(|pool| meant(pool));
        let_go.extend(self.let_go.iter().cloned());
        Self { served, let_go }
    }
}

impl Host {
    /// The pools as they are now.
    pub(super) fn pools(&self) -> Arc<Pools> {
        Arc::clone(&self.pools.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put_pools(&self, pools: Pools) {
        *self.pools.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pools);
        self.sequence.grow();
    }

    /// Serves these pools from now on. New ones are opened, as at the start, and what was half done
    /// in them is put right; changed ones take up what has changed; those that are not named are let
    /// go of, with everything in them left as it is. Those that are made of disks take what they can.
    ///
    /// Gives back why pools could not be opened or changed, which keeps no other from being served.
    /// A pool that could not be changed is served as it was. The same call again tries again what
    /// failed, and does nothing else.
    pub fn set_pools(&self, wanted: Vec<PoolEntry>) -> BTreeMap<PoolName, StartError> {
        let mut turn = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        *turn = wanted;
        self.make_so(&turn)
    }

    /// Makes what is not yet as it was wanted last; looks at the disks for it.
    pub(super) fn try_again(&self) -> BTreeMap<PoolName, StartError> {
        let turn = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if self.watches_disks(&turn) { self.make_so(&turn) } else { BTreeMap::new() }
    }

    /// See [`Host::set_pools`]; the caller holds what is wanted.
    fn make_so(&self, wanted: &[PoolEntry]) -> BTreeMap<PoolName, StartError> {
        self.forget_prepared(wanted);
        self.take_disks(wanted);
        let now = self.pools();
        let kept = now.kept(wanted);
        if kept.served.len() < now.served.len() {
            self.put_pools(kept);
        }
        let mut failed = BTreeMap::new();
        for (at, entry) in wanted.iter().enumerate() {
            let earlier = wanted.get(..at).unwrap_or_default();
            let done = self.refuse_twice(entry, earlier).and_then(|()| self.set_pool(entry));
            if let Err(err) = done {
                failed.insert(entry.name.clone(), err);
            }
        }
        self.note_unserved(&failed);
        failed
    }

    /// Puts to rest what commands have left in the groups of pools that are not served yet. That comes before anything is
    /// asked, which may hang; before anything is activated or resumed, which would put it in force; and before a disk
    /// is taken out of a group, which the kernel may still go through though LVM knows better.
    fn forget_prepared(&self, wanted: &[PoolEntry]) {
        let now = self.pools();
        let is_new = |entry: &&PoolEntry| !now.served.iter().any(|pool| pool.name == entry.name);
        for group in wanted.iter().filter(is_new).map(PoolEntry::group) {
            self.log_failure(self.tools.lvm.forget_prepared(&group), &group);
        }
    }

    fn note_unserved(&self, failed: &BTreeMap<PoolName, StartError>) {
        let why = failed.iter().map(|(pool, err)| (pool.clone(), chain(err))).collect();
        let mut unserved = self.unserved.lock().unwrap_or_else(PoisonError::into_inner);
        if *unserved != why {
            *unserved = why;
            drop(unserved);
            self.sequence.grow();
        }
    }

    /// Pools that are to be here and are not served, or not as their spec says now, and why.
    pub fn unserved(&self) -> BTreeMap<PoolName, String> {
        self.unserved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse_twice(&self, entry: &PoolEntry, earlier: &[PoolEntry]) -> Result<(), StartError> {
        let clash = earlier.iter().find(|it| it.name == entry.name || it.group() == entry.group());
        let Some(clash) = clash else { return Ok(()) };
        let why = match clash.name == entry.name {
            true => "there are two pools of this name".to_owned(),
            false => format!("volume group {} is pool {}'s already", entry.group(), clash.name),
        };
        Err(StartError::Pool { pool: entry.name.clone(), why, source: None })
    }

    /// Opens or changes one pool, if it is not open in just this way.
    fn set_pool(&self, entry: &PoolEntry) -> Result<(), StartError> {
        let now = self.pools();
        let there = now.served.iter().find(|pool| pool.name == entry.name);
        if there.is_some_and(|pool| pool.spec == entry.spec) {
            return Ok(());
        }
        if let Some((field, why)) = entry.spec.mistakes().into_iter().next() {
            let (pool, why) = (entry.name.clone(), format!("{field}: {why}"));
            return Err(StartError::Pool { pool, why, source: None });
        }
        let pool = Arc::new(self.open_pool(entry, now.books(&entry.group()))?);
        if there.is_none() {
            self.put_right(&pool);
        }
        self.put_pools(now.with(&pool));
        self.take_up_unfinished(&pool);
        tracing::info!(pool = %pool.name, group = %pool.vg, "serving the pool");
        Ok(())
    }

    /// Whether a pool is served, with this or another spec.
    pub(super) fn serves(&self, pool: &Pool) -> bool {
        self.pools().served.iter().any(|it| it.vg == pool.vg)
    }

    /// The volume, also in a pool that has been let go of.
    pub(super) fn volume_anywhere(&self, id: &VolumeId) -> Option<Found> {
        let pools = self.pools();
        let mut all = pools.served.iter().chain(&pools.let_go);
        all.find_map(|pool| pool.look_up(id.as_str()))
    }
}
