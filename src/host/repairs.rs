//! RAID volumes that have lost legs with a disk which is given up get new ones, in the pool's turn: LVM swaps
//! the legs, and the kernel fills them while the volumes are in use. What is interrupted is decided anew from
//! what there is then.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Host, ledger::Ledger, pool::Pool};
use crate::{
    lvm::{self, LvName, Lvm, RepairRaid, VgName},
    pool::{
        Filling,
        repair::{Outlook, Repair, missed, outlook},
    },
    volume::{Error, chain},
};

/// Why the last repair in a group has failed.
#[derive(Default)]
pub(super) struct Repairs(Mutex<BTreeMap<VgName, String>>);

impl Repairs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<VgName, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, vg: &VgName, failure: Option<String>) {
        match failure {
            Some(why) => drop(self.lock().insert(vg.clone(), why)),
            None => drop(self.lock().remove(vg)),
        }
    }
}

fn look(ledger: &Ledger) -> Outlook {
    let ours: BTreeSet<&LvName> = ledger.raids().map(|lv| &lv.name).collect();
    outlook(ledger.group(), &ours)
}

/// The RAIDs of ours whose legs are being filled: new ones, and those that got new legs.
pub(super) fn filling(ledger: &Ledger) -> Vec<Filling> {
    let filling = ledger.raids().filter_map(|lv| {
        let percent = lv.synced.filter(|it| *it < 100.0)?;
        Some(Filling { volume: lv.name.to_string(), size: lv.size, percent })
    });
    filling.collect()
}

impl Host {
    /// The physical volumes that are missing, and with which a RAID volume of ours has lost a leg.
    pub(super) fn missed(&self) -> BTreeSet<String> {
        let pools = self.pools();
        pools.served.iter().flat_map(|pool| pool.read(|ledger| missed(ledger.raids()))).collect()
    }

    /// What becomes of the RAID volumes of a group that have lost legs, in a sentence.
    pub(super) fn prospect(&self, pool: &Pool, ledger: &Ledger) -> Option<String> {
        pool.spec.devices.as_ref()?;
        let Outlook { next, waiting, hindered } = look(ledger);
        if let Some(why) = self.disks.repairs.lock().get(&ledger.group().name) {
            return Some(format!(
                "The repair of its RAID volumes has failed, and is tried again: {why}"
            ));
        }
        if !hindered.is_empty() {
            return Some(hindered.join("; "));
        }
        match next {
            Some(Repair::Replace { volume, .. }) => Some(format!("{volume} is being repaired")),
            _ if waiting.is_empty() => None,
            _ => Some(
                "Its RAID volumes are repaired when a new disk takes the place of the missing one, or when \
                 `devices.retire` has its serial"
                    .to_owned(),
            ),
        }
    }

    /// Repairs the RAID volumes of a pool as far as that can be done, one command after the other, each in a
    /// turn of its own.
    ///
    /// # Errors
    /// When the group cannot be read. A step that fails is logged, and tried again at the next look.
    pub(super) fn repair(&self, pool: &Pool) -> Result<(), Error> {
        // A group that Tarn has not made of disks is not changed by it.
        if pool.spec.devices.is_none() {
            return Ok(());
        }
        let lvm = &*self.tools.lvm;
        let mut last = None;
        loop {
            let change = pool.change();
            let Some(step) = change.read(look).next else {
                self.disks.repairs.note(&pool.vg, None);
                return Ok(());
            };
            // What was done and changed nothing is not done again now.
            if last.as_ref() == Some(&step) || self.chores.is_stopping() {
                return Ok(());
            }
            let done = carry_out(lvm, pool, &step);
            change.refresh(lvm)?;
            // The volume counts as lost until it is led to what it lies on now.
            if self.lead_back(&change, pool) {
                change.refresh(lvm)?;
            }
            drop(change);
            let failure = done.err().map(|err| chain(&err));
            if let Some(why) = &failure {
                tracing::error!(pool = %pool.name, why, "a RAID volume is not repaired");
                self.disks.repairs.note(&pool.vg, failure);
                return Ok(());
            }
            tell(pool, &step);
            // How far the new legs are is soon known.
            self.chores.report_soon(&pool.name);
            last = Some(step);
        }
    }
}

fn carry_out(lvm: &dyn Lvm, pool: &Pool, step: &Repair) -> Result<(), lvm::Error> {
    let vg = &pool.vg;
    match step {
        Repair::Replace { volume, on } => {
            lvm.repair(&RepairRaid { vg: vg.clone(), lv: volume.clone(), on: on.clone() })
        }
        Repair::Discard(layer) => lvm.discard_leg(vg, layer),
        Repair::Forget => lvm.forget_missing(vg),
        Repair::Untag(tags) => lvm.tag_group(vg, &[], tags),
    }
}

fn tell(pool: &Pool, step: &Repair) {
    let pool = &pool.name;
    match step {
        Repair::Replace { volume, on } => {
            let disks: Vec<String> = on.iter().map(|it| it.device.display().to_string()).collect();
            let disks = disks.join(", ");
            tracing::info!(%pool, %volume, disks, "has new legs, which are being filled");
        }
        Repair::Discard(layer) => {
            tracing::info!(%pool, %layer, "what was left of an old leg is removed")
        }
        Repair::Forget => tracing::info!(%pool, "missing disks that were given up are forgotten"),
        Repair::Untag(_) => tracing::debug!(%pool, "nothing of it is given up any more"),
    }
}
