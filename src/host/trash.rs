//! What was deleted: wiped, then given back to its group. Survives a restart, since the names of
//! the volumes are the list.

use std::time::Duration;

use super::{
    Host,
    ledger::{Ledger, is_deleted},
    lvm_failed,
    pool::Pool,
    record::Record,
};
use crate::{
    device::{Part, Wipe},
    lvm::{Kind, LogicalVolume},
    units::Bytes,
    volume::{Error, chain},
};

/// When what could not be wiped (a program may be looking at it just then) is tried again, at first
/// and at the latest.
const SOON: Duration = Duration::from_millis(500);
const LATE: Duration = Duration::from_secs(60);

/// How much is wiped between two looks at whether it is time to stop.
const PART: Bytes = Bytes::mib(256);

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
        let how = Record::read(&lv.tags).map_or(Wipe::Zero, |record| record.wipe);
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
        if self.tools.devices.size(&device).map_err(failed)?.is_none() {
            let change = pool.change();
            let activated = self.tools.lvm.activate(&pool.vg, &lv.name);
            drop(change);
            activated.map_err(|err| lvm_failed(doing(), err))?;
        }
        for part in parts(lv.size) {
            if self.chores.is_stopping() {
                return Err(Error::Busy(format!("{} stopped half-way", doing())));
            }
            self.tools.devices.wipe(&device, part, how).map_err(failed)?;
        }
        Ok(())
    }
}

/// A size in parts of at most [`PART`].
pub(super) fn parts(size: Bytes) -> impl Iterator<Item = Part> {
    let count = size.0.div_ceil(PART.0);
    (0..count).map(move |at| {
        let offset = Bytes(at * PART.0);
        Part { offset, length: PART.min(size.saturating_sub(offset)) }
    })
}

/// The deleted volumes of a group.
pub(super) fn trash(ledger: &Ledger) -> Vec<LogicalVolume> {
    ledger.group().logical.iter().filter(|lv| is_deleted(lv)).cloned().collect()
}
