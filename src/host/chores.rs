//! Small changes and reports that nobody waits for: one thread does them, soon.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Host, pool::Pool, repairs::filling, trash::trash};
use crate::{
    lvm::{LvName, Tag},
    volume::{PoolName, VolumeId},
};

/// A report is read this long after the last change, so that a burst of changes shares one.
const QUIET: Duration = Duration::from_secs(1);
/// However many changes come, a report is not put off for longer than this.
const PATIENCE: Duration = Duration::from_secs(10);
/// A report is read this often for changes that others make.
const ROUND: Duration = Duration::from_secs(60);
/// And this often where a thin pool is to grow before it is full, or the legs of a RAID volume are being
/// filled: neither tells anybody.
const WATCH: Duration = Duration::from_secs(15);

/// What is to be done.
#[derive(Default)]
pub(super) struct Chores {
    list: Mutex<List>,
    wake: Condvar,
}

#[derive(Default)]
struct List {
    retags: VecDeque<Retag>,
    /// Volumes whose making was cut short.
    unfinished: VecDeque<VolumeId>,
    /// Per pool: when its first change since the last report was, and its last.
    changed: BTreeMap<String, (Instant, Instant)>,
    trash: bool,
    stopping: bool,
}

/// Tags to be taken off a volume.
pub(super) struct Retag {
    pub(super) pool: PoolName,
    pub(super) lv: LvName,
    pub(super) remove: Vec<Tag>,
}

impl Chores {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn retag(&self, chore: Retag) {
        self.lock().retags.push_back(chore);
        self.wake.notify_all();
    }

    /// A volume is being made: what was to be done to an earlier one of its name is not meant for it. Whoever calls
    /// this is the only one who changes the pool.
    pub(super) fn forget_retags(&self, pool: &PoolName, lv: &LvName) {
        self.lock().retags.retain(|it| it.pool != *pool || it.lv != *lv);
    }

    /// The next of a pool, for the only one who changes it.
    fn take_retag(&self, pool: &PoolName) -> Option<Retag> {
        let mut list = self.lock();
        let at = list.retags.iter().position(|it| it.pool == *pool)?;
        list.retags.remove(at)
    }

    /// The pool of the next.
    fn next_retag(&self) -> Option<PoolName> {
        self.lock().retags.front().map(|it| it.pool.clone())
    }

    /// A pool has changed: its next report is due once it is quiet.
    pub(super) fn report_soon(&self, pool: &PoolName) {
        let now = Instant::now();
        let mut list = self.lock();
        list.changed.entry(pool.as_str().to_owned()).or_insert((now, now)).1 = now;
        drop(list);
        self.wake.notify_all();
    }

    /// There is something to wipe.
    pub(super) fn trash_soon(&self) {
        self.lock().trash = true;
        self.wake.notify_all();
    }

    /// Volumes are to be finished that an earlier life began.
    pub(super) fn resume(&self, unfinished: Vec<VolumeId>) {
        self.lock().unfinished.extend(unfinished);
        self.wake.notify_all();
    }

    /// Waits until there is a volume to be finished; `None` when it is time to stop.
    pub(super) fn await_unfinished(&self) -> Option<VolumeId> {
        let idle = |list: &mut List| list.unfinished.is_empty() && !list.stopping;
        let woken = self.wake.wait_while(self.lock(), idle);
        let mut list = woken.unwrap_or_else(PoisonError::into_inner);
        if list.stopping { None } else { list.unfinished.pop_front() }
    }

    /// Waits, unless it is time to stop.
    pub(super) fn rest(&self, pause: Duration) {
        let woken = self.wake.wait_timeout_while(self.lock(), pause, |list| !list.stopping);
        drop(woken.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.wake.notify_all();
    }

    /// Waits until there is something to wipe or `again` has passed (true), or it is time to stop
    /// (false).
    pub(super) fn await_trash(&self, again: Option<Duration>) -> bool {
        let list = self.lock();
        let idle = |list: &mut List| !list.trash && !list.stopping;
        let mut list = match again {
            None => self.wake.wait_while(list, idle).unwrap_or_else(PoisonError::into_inner),
            Some(pause) => {
                let woken = self.wake.wait_timeout_while(list, pause, idle);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        list.trash = false;
        !list.stopping
    }

    /// Waits, until `round` at the longest, for the next chore.
    fn next(&self, round: Instant) -> Chore {
        let mut list = self.lock();
        loop {
            if let Some(retag) = list.retags.front() {
                return Chore::Retag(retag.pool.clone());
            }
            if list.stopping {
                return Chore::Stop;
            }
            let now = Instant::now();
            let due = list
                .changed
                .iter()
                .map(|(pool, (first, last))| ((*last + QUIET).min(*first + PATIENCE), pool.clone()))
                .min();
            match due {
                Some((at, pool)) if at <= now => {
                    list.changed.remove(&pool);
                    return Chore::Report(pool);
                }
                _ if round <= now => return Chore::Round,
                _ => (),
            }
            let until = due.map_or(round, |(at, _)| at.min(round));
            let wait = until.saturating_duration_since(now);
            let woken = self.wake.wait_timeout(list, wait);
            list = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

enum Chore {
    Retag(PoolName),
    Report(String),
    Round,
    Stop,
}

impl Host {
    /// Does chores until [`Host::stop`]; what is in the list by then is still done.
    pub(super) fn do_chores(&self) {
        let grows = |pool: &Arc<Pool>| {
            pool.spec.thin_pool.as_ref().is_some_and(|it| it.autoextend.is_some())
        };
        let fills = |pool: &Arc<Pool>| !pool.read(filling).is_empty();
        let mut last = Instant::now();
        loop {
            let pools = self.pools();
            let is_watched = pools.served.iter().any(|it| grows(it) || fills(it));
            let every = if is_watched { WATCH } else { ROUND };
            match self.chores.next(last + every) {
                Chore::Retag(pool) => self.do_retag(&pool),
                Chore::Report(name) => {
                    let pools = self.pools();
                    let named = pools.served.iter().filter(|it| it.name.as_str() == name);
                    named.for_each(|pool| self.look_after(pool));
                }
                Chore::Round => {
                    self.pools().served.iter().for_each(|pool| self.look_after(pool));
                    last = Instant::now();
                }
                Chore::Stop => return,
            }
        }
    }

    /// Does every chore that is listed now, whenever it is due; for tests.
    pub fn do_chores_now(&self) {
        while let Some(pool) = self.chores.next_retag() {
            self.do_retag(&pool);
        }
        self.chores.lock().changed.clear();
        self.pools().served.iter().for_each(|pool| self.look_after(pool));
    }

    /// Does the next of a pool's. It is taken off the list when nobody else can change the pool: until then its volume
    /// may be deleted, and another made that has its name and was never staged.
    fn do_retag(&self, name: &PoolName) {
        let pools = self.pools();
        let Some(pool) = pools.served.iter().find(|pool| pool.name == *name) else {
            drop(self.chores.take_retag(name));
            return;
        };
        let change = pool.change();
        let Some(chore) = self.chores.take_retag(name) else { return };
        let there = pool.read(|ledger| {
            let lv = ledger.find(&chore.lv)?;
            Some(chore.remove.iter().any(|tag| lv.tags.contains(tag)))
        });
        if there != Some(true) {
            return;
        }
        match self.tools.lvm.change_tags(&pool.vg, &chore.lv, &[], &chore.remove) {
            Ok(()) => change.enter(|ledger| ledger.retag(&chore.lv, &[], &chore.remove)),
            Err(err) => {
                let error = crate::volume::chain(&err);
                tracing::warn!(volume = %chore.lv, error, "tags not changed; staging tries again");
            }
        }
    }

    pub(super) fn look_after(&self, pool: &Pool) {
        if let Err(err) = self.mend(pool) {
            tracing::warn!(pool = %pool.name, error = crate::volume::chain(&err), "no report");
            return;
        }
        if !pool.read(trash).is_empty() {
            self.chores.trash_soon();
        }
        self.grow_thin_pool(pool);
    }

    /// No more background work; what runs comes to its next safe point.
    pub fn stop(&self) {
        self.chores.stop();
        self.disks.stop();
    }
}
