//! One pool: its spec, its volume group, and the order in which the group is changed.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use super::{ledger::Ledger, lvm_failed};
use crate::{
    lvm::{self, LvName, Lvm, VgName},
    pool::PoolSpec,
    volume::{Error, PoolName},
};

/// The name of a group's thin pool.
pub(super) const THIN_POOL: &str = "tarn-thin";

/// A report younger than this, with no change of ours since, is not asked for again before a wish
/// is refused.
const YOUNG: Duration = Duration::from_secs(1);

/// A pool that is open.
pub(super) struct Pool {
    pub(super) name: PoolName,
    pub(super) spec: PoolSpec,
    pub(super) vg: VgName,
    thin: LvName,
    /// Held while a command changes the group or reports it, so that what is entered in the ledger
    /// is in the order of what happened.
    changes: Mutex<()>,
    ledger: RwLock<Ledger>,
    /// When the last report was read; `None` once the ledger was changed since.
    reported: Mutex<Option<Instant>>,
}

/// The right to change a group.
pub(super) struct Change<'a> {
    pool: &'a Pool,
    _order: MutexGuard<'a, ()>,
}

impl Pool {
    pub(super) fn new(name: PoolName, spec: PoolSpec, thin: LvName, group: lvm::Group) -> Self {
        Self {
            name,
            spec,
            vg: group.name.clone(),
            thin,
            changes: Mutex::default(),
            ledger: RwLock::new(Ledger::new(group)),
            reported: Mutex::new(Some(Instant::now())),
        }
    }

    /// The name of the group's thin pool.
    pub(super) fn thin(&self) -> &LvName {
        &self.thin
    }

    /// Where the device of a volume is.
    pub(super) fn device(&self, lv: &LvName) -> PathBuf {
        Path::new("/dev").join(self.vg.as_str()).join(lv.as_str())
    }

    /// Looks into the ledger; never waits for LVM.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for its turn to change the group.
    pub(super) fn change(&self) -> Change<'_> {
        let order = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        Change { pool: self, _order: order }
    }

    /// Reads the group again.
    pub(super) fn refresh(&self, lvm: &dyn Lvm) -> Result<(), Error> {
        self.change().refresh(lvm)
    }
}

impl<'a> Change<'a> {
    /// The pool whose turn this is.
    pub(super) fn pool(&self) -> &'a Pool {
        self.pool
    }

    /// Enters in the ledger what a command has just done.
    pub(super) fn enter(&self, entry: impl FnOnce(&mut Ledger)) {
        entry(&mut self.pool.ledger.write().unwrap_or_else(PoisonError::into_inner));
        self.set_reported(None);
    }

    fn set_reported(&self, at: Option<Instant>) {
        *self.pool.reported.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Reads the group again.
    pub(super) fn refresh(&self, lvm: &dyn Lvm) -> Result<(), Error> {
        let vg = &self.pool.vg;
        let group =
            lvm.report(vg).map_err(|err| lvm_failed(format!("reading volume group {vg}"), err))?;
        self.enter(|ledger| *ledger = Ledger::new(group));
        self.set_reported(Some(Instant::now()));
        Ok(())
    }

    /// Reads the group again unless that has just been done and nothing has changed since: which
    /// free extents a change took or gave back is only known from a report.
    pub(super) fn refresh_unless_young(&self, lvm: &dyn Lvm) -> Result<(), Error> {
        let at = *self.pool.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if at.is_some_and(|at| at.elapsed() < YOUNG) { Ok(()) } else { self.refresh(lvm) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lvm::fake::FakeLvm, units::Bytes};

    #[test]
    fn before_a_refusal_a_report_is_read_once_per_change() {
        let lvm = FakeLvm::default().with_group("vg", Bytes::mib(4), &[10]);
        let spec = serde_json::from_str(r#"{"volumeGroup": "vg"}"#).unwrap();
        let thin = THIN_POOL.parse().unwrap();
        let pool = Pool::new("pool".parse().unwrap(), spec, thin, lvm.peek("vg"));
        let change = pool.change();
        change.refresh_unless_young(&lvm).unwrap();
        assert_eq!(lvm.count("report"), 0);
        change.enter(|_| ());
        change.refresh_unless_young(&lvm).unwrap();
        change.refresh_unless_young(&lvm).unwrap();
        assert_eq!(lvm.count("report"), 1);
    }
}
