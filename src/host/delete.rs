//! DeleteVolume and DeleteSnapshot: out of sight at once, wiped and removed in the background.

use super::{
    Found, Host,
    copy::passing_name,
    ledger::Ledger,
    lvm_failed,
    pool::{Change, Pool},
    record::{DELETED, Record},
};
use crate::{
    device::Wipe,
    lvm::{Kind, LogicalVolume, LvName, Tag},
    volume::{Error, SnapshotId, Source, VolumeId},
};

impl Host {
    /// Deletes a volume; one that is gone is fine.
    ///
    /// # Errors
    /// [`Error::InUse`] while somebody has it mounted or open, [`Error::Precondition`] while it has
    /// copy-on-write snapshots or is being copied from, [`Error::Busy`] while it is being made.
    pub fn delete(&self, id: &VolumeId) -> Result<(), Error> {
        let Some(found) = self.volume(id) else { return Ok(()) };
        found.ensure_readable(&*self.tools.lvm)?;
        if found.record.copying && self.copies.is_running(&found.lv.name) {
            return Err(Error::Busy(format!("volume {id} is still being made")));
        }
        let snapshots: Vec<String> = found.pool.read(|ledger| {
            ledger.dependents(&found.lv.name).map(|lv| lv.name.to_string()).collect()
        });
        if !snapshots.is_empty() {
            return Err(Error::Precondition(format!(
                "volume {id} has copy-on-write snapshots, which cannot live without it: {}",
                snapshots.join(", ")
            )));
        }
        self.ensure_not_copied_from(&found, &Source::Volume(id.clone()))?;
        self.ensure_unused(&found)?;
        self.discard(&found)
    }

    /// Takes a volume away, and the snapshot that it is being cloned from if there is one: that
    /// one's origin could neither grow nor be deleted.
    pub(super) fn discard(&self, found: &Found) -> Result<(), Error> {
        let passing = found.record.copying.then(|| passing_name(&found.lv.name));
        if let Some(passing) = passing.and_then(|name| self.look_up(&name)) {
            self.hide(&passing.pool, &passing.lv)?;
        }
        self.throw_away(found)
    }

    /// Deletes a snapshot; one that is gone is fine.
    ///
    /// # Errors
    /// [`Error::InUse`] while somebody has it open, [`Error::Precondition`] while a volume is being
    /// copied from it.
    pub fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), Error> {
        let Some(found) = self.snapshot_of_id(id) else { return Ok(()) };
        found.ensure_readable(&*self.tools.lvm)?;
        self.ensure_not_copied_from(&found, &Source::Snapshot(id.clone()))?;
        self.ensure_unused(&found)?;
        self.throw_away(&found)
    }

    fn ensure_not_copied_from(&self, found: &Found, source: &Source) -> Result<(), Error> {
        let copy = found.pool.read(|ledger| {
            let needs_it =
                |record: &Record| record.copying && record.source.as_ref() == Some(source);
            let mut copies = ledger.records("v-", None).filter(|(_, record)| needs_it(record));
            copies.next().map(|(lv, _)| lv.name.to_string())
        });
        match copy {
            Some(copy) => Err(Error::Precondition(format!(
                "{} is being copied to volume {copy}; wait until that is done",
                found.lv.name
            ))),
            None => Ok(()),
        }
    }

    /// Removes a thin volume, whose pool zeroes blocks before it gives them out again. A thick one
    /// holds its tenant's bytes: it is renamed out of sight now and wiped later.
    fn throw_away(&self, found: &Found) -> Result<(), Error> {
        let keeps_bytes = match found.lv.kind {
            Kind::Thin(_) | Kind::ThinPool { .. } | Kind::HalfMade => false,
            Kind::Thick | Kind::CopyOnWrite | Kind::Other(_) => found.record.wipe != Wipe::None,
        };
        // What lies on a disk that is missing would come back with it, and another's volume over it.
        if keeps_bytes || found.lv.lost {
            return self.hide(&found.pool, &found.lv);
        }
        let change = found.pool.change();
        let name = &found.lv.name;
        match self.tools.lvm.remove(&found.pool.vg, name) {
            Ok(()) => {
                change.enter(|ledger| drop(ledger.take_out(name)));
                self.chores.report_soon(&found.pool.name);
                Ok(())
            }
            Err(err) => {
                self.see_what_is_left(&change)?;
                match found.pool.read(|ledger| ledger.find(name).is_some()) {
                    true => Err(lvm_failed(format!("removing {name}"), err)),
                    false => Ok(()),
                }
            }
        }
    }

    /// Takes a volume out of sight and has it wiped. It gets a name that no request can mean; but a
    /// copy-on-write snapshot is split off: its origin is free of it at once, its blocks, which no
    /// device of its own showed, can be wiped, and a plain volume is no snapshot to any request
    /// ([`super::ledger::is_split_off`]). While a disk of the group is missing LVM does neither, and a
    /// tag takes the volume out of sight; where it lies on that disk, the wipe waits for it.
    pub(super) fn hide(&self, pool: &Pool, lv: &LogicalVolume) -> Result<(), Error> {
        let change = pool.change();
        let misses_a_disk = || !change.read(Ledger::is_whole);
        let hidden = match lv.kind {
            _ if misses_a_disk() => self.tag_away(&change, lv),
            Kind::CopyOnWrite => self.split(&change, lv),
            Kind::Thick
            | Kind::Thin(_)
            | Kind::ThinPool { .. }
            | Kind::HalfMade
            | Kind::Other(_) => self.rename_away(&change, lv),
        };
        match hidden {
            // It is missing since a moment ago.
            Err(_) if misses_a_disk() => self.tag_away(&change, lv)?,
            hidden => hidden?,
        }
        drop(change);
        self.chores.report_soon(&pool.name);
        self.chores.trash_soon();
        Ok(())
    }

    fn rename_away(&self, change: &Change<'_>, lv: &LogicalVolume) -> Result<(), Error> {
        let name = &lv.name;
        let hidden = change.read(|ledger| hidden_name(ledger, name))?;
        let Err(err) = self.tools.lvm.rename(&change.vg(), name, &hidden) else {
            change.enter(|ledger| ledger.change(name, |lv| lv.name = hidden.clone()));
            return Ok(());
        };
        self.see_what_is_left(change)?;
        match change.read(|ledger| ledger.find(name).is_some()) {
            true => Err(lvm_failed(format!("renaming {name}"), err)),
            false => Ok(()),
        }
    }

    fn tag_away(&self, change: &Change<'_>, lv: &LogicalVolume) -> Result<(), Error> {
        let name = &lv.name;
        let tags: Vec<Tag> = DELETED.parse().into_iter().collect();
        let tagged = self.tools.lvm.change_tags(&change.vg(), name, &tags, &[]);
        tagged.map_err(|err| lvm_failed(format!("marking {name} as deleted"), err))?;
        change.enter(|ledger| ledger.retag(name, &tags, &[]));
        Ok(())
    }

    pub(super) fn split(&self, change: &Change<'_>, lv: &LogicalVolume) -> Result<(), Error> {
        let (vg, name) = (change.vg(), &lv.name);
        let Err(err) = self.tools.lvm.split_snapshot(&vg, name) else {
            change.enter(|ledger| ledger.split_off(name));
            return Ok(());
        };
        self.see_what_is_left(change)?;
        match change.read(|ledger| ledger.find(name).is_some_and(|lv| lv.kind == Kind::CopyOnWrite))
        {
            true => Err(lvm_failed(format!("splitting off {name}"), err)),
            false => Ok(()),
        }
    }
}

/// `x-`, the old name, and a number in case that the same volume is made and deleted again before
/// the first one is wiped.
fn hidden_name(ledger: &Ledger, name: &LvName) -> Result<LvName, Error> {
    let mut names =
        (0..10_000).filter_map(|number: u32| format!("x-{name}-{number}").parse::<LvName>().ok());
    names
        .find(|it| ledger.find(it).is_none())
        .ok_or_else(|| Error::Busy(format!("too many deleted volumes of the name {name} wait")))
}
