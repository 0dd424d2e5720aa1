//! CreateSnapshot: thin ones by the thin pool, thick ones by copy on write with room for all.

use super::{
    Found, Host, class::provisioning_of, create::new_volume, lvm_failed, no_volume, pool::Change,
    record::Record,
};
use crate::{
    lvm::{self, CreateSnapshot, Kind, Layout, LogicalVolume, LvName, SnapshotKind, cow_size},
    pool::Class,
    units::Bytes,
    volume::{Error, Provisioning, Snapshot, SnapshotId, Source, VolumeId, WantedSnapshot},
};

impl Host {
    /// Takes the snapshot, or finds the one that an earlier call took.
    ///
    /// # Errors
    /// [`Error::Exists`] for one of another volume, [`Error::NotFound`] for an unknown volume,
    /// [`Error::NoRoom`].
    pub fn snapshot(&self, wanted: &WantedSnapshot) -> Result<Snapshot, Error> {
        let id = SnapshotId::of(&wanted.name);
        if let Some(found) = self.snapshot_of_id(&id) {
            let snapshot = as_snapshot(&id, &found.lv, &found.record)
                .ok_or_else(|| Error::NotFound(format!("the source of snapshot {id}")))?;
            if snapshot.source != wanted.source {
                let what = format!("snapshot {id}");
                return Err(Error::exists(what, "source", snapshot.source, &wanted.source));
            }
            return Ok(snapshot);
        }
        let source = self.volume(&wanted.source).ok_or_else(|| no_volume(&wanted.source))?;
        if !source.is_finished() {
            return Err(Error::Busy(format!("volume {} is still being made", wanted.source)));
        }
        let record = Record {
            name: wanted.name.clone(),
            size: Bytes::ZERO,
            source: Some(Source::Volume(wanted.source.clone())),
            created: (self.tools.clock)(),
            was: None,
            copying: false,
            ..source.record.clone()
        };
        let change = source.pool.change();
        self.take_snapshot(&change, &source, id.as_str(), &record)?;
        drop(change);
        let taken = self.snapshot_of_id(&id);
        taken
            .and_then(|found| as_snapshot(&id, &found.lv, &found.record))
            .ok_or_else(|| Error::NotFound(format!("the new snapshot {id}")))
    }

    /// Takes a frozen snapshot of a volume with one command.
    pub(super) fn take_snapshot(
        &self,
        change: &Change<'_>,
        source: &Found,
        name: &str,
        record: &Record,
    ) -> Result<LvName, Error> {
        let pool = &source.pool;
        let doing = format!("taking snapshot {name}");
        let name: LvName = name.parse().map_err(|err| Error::machine(doing.clone(), err))?;
        self.ensure_name_is_free(change, &name)?;
        source.ensure_not_lost()?;
        change.ensure_whole(&*self.tools.lvm)?;
        let kind = self.snapshot_kind(change, source)?;
        let tags = record.tags(&self.creator);
        let snapshot = CreateSnapshot {
            vg: pool.vg.clone(),
            origin: source.lv.name.clone(),
            name: name.clone(),
            kind,
            tags: tags.clone(),
        };
        match self.tools.lvm.create_snapshot(&snapshot) {
            Ok(()) => {
                let kind = match &source.lv.kind {
                    Kind::Thin(pool) => Kind::Thin(pool.clone()),
                    Kind::Thick
                    | Kind::CopyOnWrite
                    | Kind::ThinPool { .. }
                    | Kind::HalfMade
                    | Kind::Other(_) => Kind::CopyOnWrite,
                };
                let origin = Some(source.lv.name.clone());
                let lv = new_volume(&name, source.lv.size, kind, origin, tags);
                change.enter(|ledger| ledger.put(lv));
                self.chores.report_soon(&pool.name);
                Ok(name)
            }
            Err(err) => {
                let seen = self.see_what_is_left(change);
                seen.map_err(|err| Error::uncertain(doing.clone(), err))?;
                let whole = self.is_whole(change, &name);
                match whole.map_err(|err| Error::uncertain(doing.clone(), err))? {
                    true => Ok(name),
                    false => Err(lvm_failed(doing, err)),
                }
            }
        }
    }

    /// Refuses the name of a deleted snapshot until that one is wiped and gone: a new one of the
    /// same name would be at the path that is being wiped.
    fn ensure_name_is_free(&self, change: &Change<'_>, name: &LvName) -> Result<(), Error> {
        if self.wiping.is_on(name) || change.read(|ledger| ledger.find(name).is_some()) {
            let why = format!("an earlier snapshot {name} is still being wiped");
            return Err(Error::Busy(why));
        }
        Ok(())
    }

    /// Whether a snapshot is there although LVM said that it could not be taken.
    fn is_whole(&self, change: &Change<'_>, name: &LvName) -> Result<bool, lvm::Error> {
        match change.read(|ledger| ledger.find(name).cloned()) {
            None => Ok(false),
            Some(lv) if provisioning_of(&lv.kind) == Provisioning::Thin => {
                self.ensure_known_to_pool(change, &lv)
            }
            Some(lv) if lv.kind == Kind::CopyOnWrite => Ok(true),
            // Only its room, which counts as a deleted snapshot's.
            Some(_) => {
                self.chores.trash_soon();
                Ok(false)
            }
        }
    }

    fn snapshot_kind(&self, change: &Change<'_>, source: &Found) -> Result<SnapshotKind, Error> {
        if provisioning_of(&source.lv.kind) == Provisioning::Thin {
            return Ok(SnapshotKind::ThinFrozen);
        }
        let pool = &source.pool;
        let extent = pool.read(|ledger| ledger.group().extent);
        let needed = cow_size(source.lv.size, extent)
            .ok_or_else(|| Error::OutOfRange(format!("{} is too large", source.lv.name)))?;
        let class = Class {
            provisioning: Provisioning::Thick,
            layout: Layout::Linear,
            wipe: source.record.wipe,
        };
        let free = || pool.room(&class).available;
        if !change.has_room(&*self.tools.lvm, || needed <= free())? {
            return Err(Error::NoRoom(format!(
                "a snapshot of a thick volume takes its whole size: pool {} has {} free, {needed} are needed",
                pool.name,
                free()
            )));
        }
        Ok(SnapshotKind::CopyOnWrite(needed))
    }
}

/// A snapshot as the caller sees it; `None` when its record does not say of what it is.
pub(super) fn as_snapshot(
    id: &SnapshotId,
    lv: &LogicalVolume,
    record: &Record,
) -> Option<Snapshot> {
    let source: VolumeId = match &record.source {
        Some(Source::Volume(id)) => id.clone(),
        Some(Source::Snapshot(_)) | None => return None,
    };
    Some(Snapshot { id: id.clone(), source, size: lv.size, created: record.created })
}
