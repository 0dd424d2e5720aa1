//! Which pools of a kind are served: those that are named, as far as they can be opened.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use super::{PoolEntry, PoolSpec};
use crate::volume::{Error, PoolName, chain};

/// A pool that is open.
pub trait Open {
    /// Its name.
    fn name(&self) -> &PoolName;

    /// As what it is open.
    fn spec(&self) -> &PoolSpec;
}

/// The pools at one moment.
#[derive(Debug)]
pub struct Pools<P> {
    /// Those that are served.
    pub served: Vec<Arc<P>>,
    /// No longer named. What is mounted from them can still be unmounted.
    pub let_go: Vec<Arc<P>>,
}

/// The pools that are to be here, and those that are.
#[derive(Debug)]
pub struct Roster<P> {
    now: RwLock<Arc<Pools<P>>>,
    /// Pools that are to be here and are not served, and why.
    unserved: Mutex<BTreeMap<PoolName, String>>,
    /// The pools that are to be here; held while the pools change.
    wanted: Mutex<Vec<PoolEntry>>,
}

impl<P> Default for Roster<P> {
    fn default() -> Self {
        let none = Pools { served: Vec::new(), let_go: Vec::new() };
        let now = RwLock::new(Arc::new(none));
        Self { now, unserved: Mutex::default(), wanted: Mutex::default() }
    }
}

impl<P> Pools<P> {
    /// All that are open, those that are served first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<P>> {
        self.served.iter().chain(&self.let_go)
    }
}

impl<P: Open> Roster<P> {
    /// The pools as they are now.
    pub fn now(&self) -> Arc<Pools<P>> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The names of those that are served.
    pub fn names(&self) -> Vec<PoolName> {
        self.now().served.iter().map(|pool| pool.name().clone()).collect()
    }

    /// Why pools that are to be here are not served, or not as their spec says now.
    pub fn unserved(&self) -> BTreeMap<PoolName, String> {
        self.why_not().clone()
    }

    /// The pools that are to be here.
    pub fn wanted(&self) -> Vec<PoolEntry> {
        self.turn().clone()
    }

    fn turn(&self) -> MutexGuard<'_, Vec<PoolEntry>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why_not(&self) -> MutexGuard<'_, BTreeMap<PoolName, String>> {
        self.unserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves these pools from now on, and lets go of any other; gives back why some cannot be. `open` opens one that
    /// is not open as it is wanted, and gets the one that has its name; `changed` is called where anything did.
    pub fn set(
        &self,
        wanted: Vec<PoolEntry>,
        open: impl Fn(PoolEntry, Option<&Arc<P>>) -> Result<P, Error>,
        changed: impl FnOnce(),
    ) -> BTreeMap<PoolName, String> {
        let mut turn = self.turn();
        turn.clone_from(&wanted);
        self.make_so(wanted, open, changed)
    }

    /// Serves what could not be served before. The rest is as for [`Roster::set`].
    pub fn try_again(
        &self,
        open: impl Fn(PoolEntry, Option<&Arc<P>>) -> Result<P, Error>,
        changed: impl FnOnce(),
    ) {
        let turn = self.turn();
        let is_any = !self.why_not().is_empty();
        if is_any {
            self.make_so(turn.clone(), open, changed);
        }
    }

    /// See [`Roster::set`]; the caller holds what is wanted.
    fn make_so(
        &self,
        wanted: Vec<PoolEntry>,
        open: impl Fn(PoolEntry, Option<&Arc<P>>) -> Result<P, Error>,
        changed: impl FnOnce(),
    ) -> BTreeMap<PoolName, String> {
        let (before, mut served, mut failed) = (self.now(), Vec::new(), BTreeMap::new());
        for entry in wanted {
            let name = entry.name.clone();
            match opened(&before, entry, &open) {
                Ok(pool) => served.push(pool),
                Err(err) => {
                    failed.insert(name.clone(), chain(&err));
                    // One that could not be changed is served as it was.
                    served.extend(before.served.iter().find(|it| *it.name() == name).cloned());
                }
            }
        }
        let mut unserved = self.why_not();
        let is_as_before = *unserved == failed
            && served.len() == before.served.len()
            && served.iter().all(|pool| before.served.iter().any(|it| Arc::ptr_eq(it, pool)));
        if is_as_before {
            return failed;
        }
        let is_gone = |pool: &&Arc<P>| !served.iter().any(|it| it.name() == pool.name());
        let let_go = before.all().filter(is_gone).cloned().collect();
        *self.now.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Pools { served, let_go });
        unserved.clone_from(&failed);
        drop(unserved);
        changed();
        failed
    }
}

/// The pool of an entry: as it is open already, or opened.
fn opened<P: Open>(
    before: &Pools<P>,
    entry: PoolEntry,
    open: impl Fn(PoolEntry, Option<&Arc<P>>) -> Result<P, Error>,
) -> Result<Arc<P>, Error> {
    let there = before.all().find(|it| *it.name() == entry.name);
    if let Some(pool) = there.filter(|it| *it.spec() == entry.spec) {
        return Ok(Arc::clone(pool));
    }
    if let Some((field, why)) = entry.spec.mistakes().into_iter().next() {
        return Err(Error::Precondition(format!("{field}: {why}")));
    }
    open(entry, there).map(Arc::new)
}
