//! One pool: its spec, its volume group, and the order in which the group is changed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use super::{
    Found,
    ledger::{self, Ledger},
    line::{Line, Place},
    lvm_failed,
    record::Record,
};
use crate::{
    lvm::{self, LogicalVolume, LvName, Lvm, VgName},
    pool::{PoolSpec, Sequence, capacity::Stock},
    volume::{Error, PoolName, chain},
};

/// The name of a group's thin pool.
pub(super) const THIN_POOL: &str = "tarn-thin";

/// A report younger than this, with no change of ours since, is not asked for again before a wish
/// is refused.
const YOUNG: Duration = Duration::from_secs(1);

/// A pool that is open. Another spec makes another `Pool` with the same books.
pub(super) struct Pool {
    pub(super) name: PoolName,
    pub(super) spec: PoolSpec,
    pub(super) vg: VgName,
    thin: LvName,
    books: Arc<Books>,
}

/// What is known of a volume group, and whose turn it is to change it. There is one for each group,
/// also while calls still work with what its pool was before.
pub(super) struct Books {
    /// Held while a command changes the group or reports it, so that what is entered in the ledger
    /// is in the order of what happened.
    changes: Line,
    ledger: RwLock<Ledger>,
    /// When the last report was read; `None` once the ledger was changed since.
    reported: Mutex<Option<Instant>>,
    /// Why the group could not be read when that was tried last.
    unread: Mutex<Option<String>>,
    /// Volumes that lay on a disk that was missing, and have not been led back to it yet.
    astray: Mutex<BTreeSet<LvName>>,
    sequence: Arc<Sequence>,
}

impl Books {
    pub(super) fn new(group: lvm::Group, sequence: &Arc<Sequence>) -> Arc<Self> {
        let ledger = Ledger::new(group);
        Arc::new(Self {
            changes: Line::default(),
            reported: Mutex::new(Some(Instant::now())),
            unread: Mutex::default(),
            astray: Mutex::new(ledger.lost().cloned().collect()),
            ledger: RwLock::new(ledger),
            sequence: Arc::clone(sequence),
        })
    }

    fn set_unread(&self, why: Option<String>) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if *unread != why {
            *unread = why;
            drop(unread);
            self.sequence.grow();
        }
    }

    fn astray(&self) -> MutexGuard<'_, BTreeSet<LvName>> {
        self.astray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn to change the group.
    pub(super) fn change(&self) -> Change<'_> {
        Change { books: self, _place: self.changes.wait() }
    }

    fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to change a group.
pub(super) struct Change<'a> {
    books: &'a Books,
    _place: Place<'a>,
}

impl Pool {
    pub(super) fn new(name: PoolName, spec: PoolSpec, thin: LvName, books: Arc<Books>) -> Self {
        let vg = books.read(|ledger| ledger.group().name.clone());
        Self { name, spec, vg, thin, books }
    }

    /// What is known of its group.
    pub(super) fn books(&self) -> &Arc<Books> {
        &self.books
    }

    /// The volume or snapshot of that name, if it is here and Tarn's.
    pub(super) fn look_up(self: &Arc<Self>, name: &str) -> Option<Found> {
        let name: LvName = name.parse().ok()?;
        let lv = self.read(|ledger| ledger.find(&name).cloned())?;
        let record = Record::read(&lv.tags).filter(|_| !ledger::is_deleted(&lv))?;
        Some(Found { pool: Arc::clone(self), lv, record })
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
        self.books.read(look)
    }

    /// Why the group could not be read when that was tried last.
    pub(super) fn unread(&self) -> Option<String> {
        self.books.unread.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The volumes that lay on a disk that was missing, and have not been led back to it yet.
    pub(super) fn astray(&self) -> BTreeSet<LvName> {
        self.books.astray().clone()
    }

    /// What the group has to give: nothing while it cannot be read.
    pub(super) fn stock(&self) -> Stock {
        let mut stock = self.read(|ledger| ledger.stock(self.thin()));
        if self.unread().is_some() {
            stock.physical.iter_mut().for_each(|it| it.missing = true);
        }
        stock
    }

    /// Waits for its turn to change the group.
    pub(super) fn change(&self) -> Change<'_> {
        self.books.change()
    }

    /// Reads the group again.
    pub(super) fn refresh(&self, lvm: &dyn Lvm) -> Result<(), Error> {
        self.change().refresh(lvm)
    }
}

impl Change<'_> {
    /// The group whose turn this is.
    pub(super) fn vg(&self) -> VgName {
        self.read(|ledger| ledger.group().name.clone())
    }

    /// Looks into the ledger.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        self.books.read(look)
    }

    /// Enters in the ledger what a command has just done.
    pub(super) fn enter(&self, entry: impl FnOnce(&mut Ledger)) {
        self.set_reported(None);
        entry(&mut self.books.ledger.write().unwrap_or_else(PoisonError::into_inner));
        self.books.sequence.grow();
    }

    /// Enters a report that was read in this turn.
    pub(super) fn enter_report(&self, group: lvm::Group) {
        let new = Ledger::new(group);
        self.books.astray().extend(new.lost().cloned());
        self.books.set_unread(None);
        if self.read(|ledger| ledger.group() != new.group()) {
            self.enter(|ledger| *ledger = new);
        }
        self.set_reported(Some(Instant::now()));
    }

    fn set_reported(&self, at: Option<Instant>) {
        *self.books.reported.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Reads the group again.
    pub(super) fn refresh(&self, lvm: &dyn Lvm) -> Result<(), Error> {
        let vg = &self.vg();
        let group = lvm.report(vg).map_err(|err| {
            self.books.set_unread(Some(chain(&err)));
            if matches!(err, lvm::Error::NoGroup { .. }) {
                let all = |ledger: &Ledger| ledger.ours().map(|lv| lv.name.clone()).collect();
                let all: BTreeSet<LvName> = self.read(all);
                self.books.astray().extend(all);
            }
            lvm_failed(format!("reading volume group {vg}"), err)
        })?;
        self.enter_report(group);
        Ok(())
    }

    /// The volumes that lay on a disk that was missing, and are whole now but for their way to it.
    pub(super) fn whole_again(&self) -> Vec<LogicalVolume> {
        let mut astray = self.books.astray();
        self.read(|ledger| {
            astray.retain(|name| ledger.find(name).is_some());
            let found = astray.iter().filter_map(|name| ledger.find(name));
            found.filter(|lv| !lv.lost).cloned().collect()
        })
    }

    /// These volumes still have to be led to their disks.
    pub(super) fn note_astray<'b>(&self, names: impl Iterator<Item = &'b LvName>) {
        self.books.astray().extend(names.cloned());
    }

    /// A volume has found its way to its disk.
    pub(super) fn is_led_back(&self, name: &LvName) {
        if self.books.astray().remove(name) {
            self.books.sequence.grow();
        }
    }

    /// Refuses a change while a disk of the group is missing, on a report that is not old.
    ///
    /// # Errors
    /// [`Error::Precondition`].
    pub(super) fn ensure_whole(&self, lvm: &dyn Lvm) -> Result<(), Error> {
        let is_whole = || self.read(Ledger::is_whole);
        match self.has_room(lvm, is_whole)? {
            true => Ok(()),
            false => Err(Error::Precondition(format!(
                "volume group {} misses a disk, and LVM changes nothing in it before that is back",
                self.vg()
            ))),
        }
    }

    /// Whether something fits. Before a no the group is read again, unless that has just been done
    /// and nothing has changed since: which free extents a change took or gave back is only known
    /// from a report.
    pub(super) fn has_room(&self, lvm: &dyn Lvm, fits: impl Fn() -> bool) -> Result<bool, Error> {
        if fits() {
            return Ok(true);
        }
        if self.is_true() {
            return Ok(false);
        }
        self.refresh(lvm)?;
        Ok(fits())
    }

    /// Has the ledger say what each disk has free, which changes of ours only estimate: reads the group
    /// again, unless that has just been done and nothing has changed since.
    pub(super) fn settle(&self, lvm: &dyn Lvm) -> Result<(), Error> {
        if self.is_true() { Ok(()) } else { self.refresh(lvm) }
    }

    fn is_true(&self) -> bool {
        let at = *self.books.reported.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| at.elapsed() < YOUNG)
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
        let books = Books::new(lvm.peek("vg"), &Arc::default());
        let pool = Pool::new("pool".parse().unwrap(), spec, thin, books);
        let change = pool.change();
        assert!(!change.has_room(&lvm, || false).unwrap());
        assert_eq!(lvm.count("report"), 0);
        change.enter(|_| ());
        assert!(change.has_room(&lvm, || true).unwrap());
        assert_eq!(lvm.count("report"), 0);
        assert!(!change.has_room(&lvm, || false).unwrap());
        assert!(!change.has_room(&lvm, || false).unwrap());
        assert_eq!(lvm.count("report"), 1);
        change.enter(|_| ());
        assert!(change.has_room(&lvm, || lvm.count("report") == 2).unwrap());
    }
}
