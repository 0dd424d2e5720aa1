//! What was deleted: wiped, then given back to its group. Survives a restart, since the names and
//! kinds of the volumes are the list.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Host,
    ledger::{Ledger, is_deleted},
    lvm_failed,
    pool::Pool,
    record::wipe_said,
};
use crate::{
    device::{Wipe, parts},
    lvm::{self, Kind, LogicalVolume, LvName},
    volume::{Error, chain},
};

/// When what could not be wiped (a program may be looking at it just then) is tried again, at first
/// and at the latest.
const SOON: Duration = Duration::from_millis(500);
const LATE: Duration = Duration::from_secs(60);

/// The volume that is being wiped.
#[derive(Default)]
pub(super) struct Wiping {
    now: Mutex<Option<LvName>>,
}

/// Ends it however the wipe ends.
struct Listed<'a>(&'a Wiping);

impl Wiping {
    fn lock(&self) -> MutexGuard<'_, Option<LvName>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &LvName) -> Listed<'_> {
        *self.lock() = Some(name.clone());
        Listed(self)
    }

    /// Whether the volume of this name is being wiped.
    pub(super) fn is_on(&self, name: &LvName) -> bool {
        self.lock().as_ref() == Some(name)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl Host {
    /// Wipes and removes what was deleted, until [`Host::stop`].
    pub(super) fn empty_trash(&self) {
        let mut again = None;
        while self.chores.await_trash(again) {
            let all_gone = self.empty_trash_now();
            again = match again {
                _ if all_gone => None,
                None => Some(SOON),
                Some(pause) => Some((pause * 2).min(LATE)),
            };
        }
    }

    /// Wipes and removes everything that was deleted so far; false when something had to stay.
    pub fn empty_trash_now(&self) -> bool {
        let mut all_gone = true;
        for pool in &self.pools().served {
            for lv in pool.read(trash) {
                if self.chores.is_stopping() {
                    return false;
                }
                if !self.serves(pool) {
                    break;
                }
                // Its disk is looked for; when that is back, the group is reported, and this done again.
                if lv.lost {
                    continue;
                }
                if let Err(err) = self.scrap(pool, &lv) {
                    tracing::warn!(pool = %pool.name, error = chain(&err), "not wiped yet");
                    all_gone = false;
                }
            }
        }
        all_gone
    }

    fn scrap(&self, pool: &Pool, lv: &LogicalVolume) -> Result<(), Error> {
        let name = lv.name.clone();
        // In this order: once the name is listed, nothing new gets it, and what has it is deleted.
        let _listed = self.wiping.begin(&name);
        if !pool.read(|ledger| ledger.find(&name).is_some_and(is_deleted)) {
            return Ok(());
        }
        if lv.kind == Kind::CopyOnWrite {
            let split = self.split(&pool.change(), lv);
            self.chores.trash_soon();
            return split;
        }
        let how = wipe_said(&lv.tags);
        if matches!(lv.kind, Kind::Thick) && how != Wipe::None {
            self.wipe(pool, lv, how)?;
        }
        let change = pool.change();
        self.tools
            .lvm
            .remove(&pool.vg, &name)
            .map_err(|err| lvm_failed(format!("removing the wiped {name}"), err))?;
        change.enter(|ledger| drop(ledger.take_out(&name)));
        drop(change);
        self.chores.report_soon(&pool.name);
        tracing::info!(pool = %pool.name, volume = %name, size = %lv.size, "wiped and given back");
        Ok(())
    }

    fn wipe(&self, pool: &Pool, lv: &LogicalVolume, how: Wipe) -> Result<(), Error> {
        let device = pool.device(&lv.name);
        let doing = || format!("wiping {}", lv.name);
        let failed = |err| Error::machine(doing(), err);
        if self.tools.devices.size(&device).map_err(failed)? != Some(lv.size) {
            self.show(pool, lv).map_err(|err| lvm_failed(doing(), err))?;
        }
        for part in parts(lv.size) {
            if self.chores.is_stopping() {
                return Err(Error::Busy(format!("{} stopped half-way", doing())));
            }
            self.tools.devices.wipe(&device, part, how).map_err(failed)?;
        }
        Ok(())
    }

    /// Activates a volume anew. A snapshot that was cut short leaves its room as a plain volume in
    /// the group, and in the kernel, under that one's name, the snapshot, which nobody can read and
    /// which counts as the volume being active: that one is taken down first.
    fn show(&self, pool: &Pool, lv: &LogicalVolume) -> Result<(), lvm::Error> {
        let _change = pool.change();
        self.tools.lvm.deactivate(&pool.vg, &lv.name)?;
        self.tools.lvm.activate(&pool.vg, &lv.name)
    }
}

/// The deleted volumes of a group.
pub(super) fn trash(ledger: &Ledger) -> Vec<LogicalVolume> {
    ledger.group().logical.iter().filter(|lv| is_deleted(lv)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_while_its_volume_is_wiped() {
        let wiping = Wiping::default();
        let name: LvName = "s-a".parse().unwrap();
        assert!(!wiping.is_on(&name));
        let listed = wiping.begin(&name);
        assert!(wiping.is_on(&name) && !wiping.is_on(&"s-b".parse().unwrap()));
        drop(listed);
        assert!(!wiping.is_on(&name));
    }
}
