//! What an interrupted command or a power cut leaves in a group, found and ended.

use std::sync::Arc;

use super::{
    Error, Found, Host,
    ledger::Ledger,
    pool::{Change, Pool},
    record::Record,
};
use crate::{
    lvm::{self, Kind, LogicalVolume, LvName},
    volume::{Source, chain},
};

impl Host {
    /// Finds every state that an interrupted command leaves (`docs/recovery.md`), and ends it.
    pub(super) fn put_right(&self, pool: &Arc<Pool>) {
        let change = pool.change();
        // Again, as only a thin pool that is active can be asked what it has.
        self.log_failure(self.tools.lvm.forget_prepared(&pool.vg), &pool.vg);
        // Then at once: a suspended volume hangs whoever reads it, LVM itself included.
        let mut changed = self.resume_suspended(&change);
        let all = pool.read(|ledger| ledger.group().logical.clone());
        let asleep = |lv: &&LogicalVolume| !lv.active && lv.kind != Kind::HalfMade;
        for lv in all.iter().filter(asleep).filter(|lv| lv.name.as_str().starts_with("v-")) {
            self.wake(pool, lv);
            changed = true;
        }
        self.show_hidden(pool, &all);
        if let Some(snapshot) = youngest_thin(pool, &all).filter(|lv| is_asleep(lv)) {
            let known = self.ensure_known_to_pool(&change, snapshot);
            changed |= !matches!(known, Ok(true));
            self.log_failure(known.map(drop), &snapshot.name);
        }
        changed |= self.find_the_way(&change, pool, &all);
        changed |= self.readmit(&change, pool);
        if changed {
            self.log_failure(change.refresh(&*self.tools.lvm), &"the report");
        }
        drop(change);
        // A disk that came back while nobody looked is still marked, and a thin pool that gave up has a note of it.
        if pool.read(|it| it.gaps().0 > 0 || it.lost().next().is_some()) {
            self.log_failure(self.mend(pool), &"the disks");
        }
        self.drop_leftovers(pool);
    }

    /// Volumes that were active when a disk went away, and still are now that it is back, lead nowhere
    /// until they are refreshed; true when there was one.
    fn find_the_way(&self, change: &Change<'_>, pool: &Pool, all: &[LogicalVolume]) -> bool {
        let devices = &self.tools.devices;
        for lv in all.iter().filter(|lv| lv.active && lv.name.as_str().starts_with("v-")) {
            if matches!(devices.leads_nowhere(&pool.device(&lv.name)), Ok(true)) {
                let thin = Some(pool.thin()).filter(|_| matches!(lv.kind, Kind::Thin(_)));
                change.note_astray(thin.into_iter().chain([&lv.name]));
            }
        }
        self.lead_back(change, pool)
    }

    /// Reads anew what a group has, after a command that failed or was killed, and resumes what that left suspended.
    pub(super) fn see_what_is_left(&self, change: &Change<'_>) -> Result<(), Error> {
        change.refresh(&*self.tools.lvm)?;
        self.resume_suspended(change);
        Ok(())
    }

    /// Resumes whatever an interrupted command left suspended, with its user's I/O hanging; true
    /// when there was something.
    fn resume_suspended(&self, change: &Change<'_>) -> bool {
        let suspended = change.read(|ledger| {
            let all = ledger.group().logical.iter();
            all.filter(|lv| lv.suspended).map(|lv| lv.name.clone()).collect::<Vec<_>>()
        });
        for name in &suspended {
            tracing::warn!(volume = %name, "was left suspended; resuming it");
            match self.tools.lvm.refresh(&change.vg(), name) {
                Ok(()) => change.enter(|ledger| ledger.change(name, |lv| lv.suspended = false)),
                Err(err) => self.log_failure(Err(err), name),
            }
        }
        !suspended.is_empty()
    }

    /// Whether the thin pool has a snapshot that stands in the group's metadata, where LVM enters
    /// it first. One that the pool does not have is removed: LVM was stopped before it could tell
    /// anybody that it is made.
    pub(super) fn ensure_known_to_pool(
        &self,
        change: &Change<'_>,
        snapshot: &LogicalVolume,
    ) -> Result<bool, lvm::Error> {
        let (lvm, vg, name) = (&self.tools.lvm, &change.vg(), &snapshot.name);
        match lvm.activate(vg, name) {
            Ok(()) => {
                if !snapshot.active {
                    lvm.deactivate(vg, name)?;
                }
                Ok(true)
            }
            Err(lvm::Error::MissingInPool { .. }) => {
                tracing::warn!(snapshot = %name, "was cut short before its pool knew it; removing it");
                lvm.remove(vg, name)?;
                change.enter(|ledger| drop(ledger.take_out(name)));
                Ok(false)
            }
            Err(err) => Err(err),
        }
    }

    /// Activates a volume that activation of its group left out. A thin one that its pool does not
    /// know and that was never staged was not acknowledged either, and is removed.
    fn wake(&self, pool: &Pool, lv: &LogicalVolume) {
        let Err(err) = pool.activate(&*self.tools.lvm, lv) else { return };
        let unused = Record::read(&lv.tags).is_some_and(|record| record.fresh || record.twin);
        if matches!(err, lvm::Error::MissingInPool { .. }) && unused {
            tracing::warn!(volume = %lv.name, "was cut short before its pool knew it; removing it");
            self.log_failure(self.tools.lvm.remove(&pool.vg, &lv.name), &lv.name);
        } else {
            tracing::error!(volume = %lv.name, error = chain(&err), "cannot be activated; it stays");
        }
    }

    fn show_hidden(&self, pool: &Pool, all: &[LogicalVolume]) {
        for lv in all.iter().filter(|lv| lv.active && lv.name.as_str().starts_with("v-")) {
            self.ensure_has_node(pool, &lv.name);
        }
    }

    /// Has LVM make the device node that an active volume lacks, where no udev makes it: that of a
    /// volume whose activation was cut short, or of any when somebody emptied `/dev`. To LVM such a
    /// volume is active, and activation does nothing.
    pub(super) fn ensure_has_node(&self, pool: &Pool, name: &LvName) {
        if let Ok(None) = self.tools.devices.size(&pool.device(name)) {
            tracing::warn!(volume = %name, "is active without a device node; making it");
            self.log_failure(self.tools.lvm.refresh(&pool.vg, name), name);
        }
    }

    /// Hides copies whose source is gone, and snapshots that a finished or vanished clone left.
    fn drop_leftovers(&self, pool: &Arc<Pool>) {
        let copying = |found: &Found| found.record.copying;
        let orphans: Vec<LogicalVolume> = pool.read(|ledger| {
            let gone = |record: &Record| match &record.source {
                Some(Source::Volume(id)) => !holds(ledger, id.as_str()),
                Some(Source::Snapshot(id)) => !holds(ledger, id.as_str()),
                None => true,
            };
            let orphan = |(_, record): &(&LogicalVolume, Record)| record.copying && gone(record);
            ledger.records("v-", None).filter(orphan).map(|(lv, _)| lv.clone()).collect()
        });
        let passing: Vec<LogicalVolume> =
            pool.read(|ledger| ledger.records("c-", None).map(|(lv, _)| lv.clone()).collect());
        let done_with = passing.into_iter().filter(|lv| {
            let target = format!("v-{}", lv.name.as_str().trim_start_matches("c-"));
            !pool.look_up(&target).as_ref().is_some_and(copying)
        });
        for lv in orphans.into_iter().chain(done_with) {
            tracing::warn!(volume = %lv.name, "was left by work that was cut short; removing it");
            self.log_failure(self.hide(pool, &lv), &lv.name);
        }
    }

    pub(super) fn log_failure<E: std::error::Error>(
        &self,
        outcome: Result<(), E>,
        what: &dyn std::fmt::Display,
    ) {
        if let Err(err) = outcome {
            tracing::error!(%what, error = chain(&err), "could not be put right");
        }
    }
}

/// The thin volume or snapshot that was made last. Changes of a group come one after the other, so
/// no other can be missing in the pool. LVM numbers a new one past all that exist.
fn youngest_thin<'a>(pool: &Pool, all: &'a [LogicalVolume]) -> Option<&'a LogicalVolume> {
    let of_pool = |lv: &&LogicalVolume| matches!(&lv.kind, Kind::Thin(it) if it == pool.thin());
    all.iter().filter(of_pool).max_by_key(|lv| lv.thin_id)
}

/// Whether this is a snapshot that nobody uses, so that nothing has shown yet whether it is whole.
fn is_asleep(lv: &LogicalVolume) -> bool {
    !lv.active && (lv.name.as_str().starts_with("s-") || lv.name.as_str().starts_with("c-"))
}

fn holds(ledger: &Ledger, name: &str) -> bool {
    name.parse().is_ok_and(|name| ledger.find(&name).is_some())
}
