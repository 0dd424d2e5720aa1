//! Snapshots, and volumes that are made from them or from volumes: copies whose files share their blocks with the first.
//!
//! The record of a copy is written first, so that its room is its own, and says that it is not whole; with that word gone the copy is
//! there. What a start finds that is not whole goes as what was deleted. A tree cannot be copied at one moment
//! while somebody writes to it: nothing is copied that can be written to, and it is not staged meanwhile.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Folders,
    ground::{Copier, Place, UNIT},
    pool::{Pool, Reading},
    record::{Copied, Id, Record},
    verbs::{ensure_room, suitable},
};
use crate::{
    fs::Access,
    pool::{CopyProgress, wanted_pool},
    units::Bytes,
    volume::{
        Error, Snapshot, SnapshotFilter, SnapshotId, Source, Volume, VolumeId, Wanted,
        WantedSnapshot,
    },
};

/// How often the log says how far a copy is.
const TELL: Duration = Duration::from_secs(10);

/// The copies that run now.
#[derive(Default)]
pub(super) struct Copies {
    running: Mutex<BTreeMap<Id, CopyProgress>>,
}

impl Copies {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, CopyProgress>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn progress(&self) -> Vec<CopyProgress> {
        self.lock().values().cloned().collect()
    }
}

/// A copy on the list, for as long as it is made.
struct Listed<'a> {
    copies: &'a Copies,
    id: &'a Id,
    total: Bytes,
}

impl Listed<'_> {
    fn set(&self, done: Bytes) {
        let progress = CopyProgress { volume: self.id.to_string(), done, total: self.total };
        self.copies.lock().insert(self.id.clone(), progress);
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.copies.lock().remove(self.id);
    }
}

/// What is to be copied.
struct Original {
    pool: Arc<Pool>,
    id: Id,
    record: Record,
}

impl Original {
    /// A copy that was just begun holds all that this does.
    fn copied(&self, bytes: Bytes) -> Option<Copied> {
        let of = match &self.id {
            Id::Volume(id) => Source::Volume(id.clone()),
            Id::Snapshot(id) => Source::Snapshot(id.clone()),
        };
        let kin = match (&self.record.copied, &self.id) {
            (Some(copied), _) => copied.kin.clone(),
            (None, Id::Volume(id)) => id.clone(),
            (None, Id::Snapshot(_)) => return None,
        };
        Some(Copied { of, kin, bytes })
    }
}

impl Folders {
    /// Whether there is a snapshot of this id, whole or not, also in a pool that was let go of.
    pub(super) fn knows_snapshot(&self, id: &SnapshotId) -> bool {
        self.look_up(&Id::Snapshot(id.clone())).is_some()
    }

    fn look_up(&self, id: &Id) -> Option<(Arc<Pool>, Record)> {
        let pools = self.pools();
        pools.all().find_map(|pool| Some((Arc::clone(pool), pool.record(id)?)))
    }

    /// Takes a snapshot, or finds the one that an earlier call took.
    pub(super) fn take_snapshot(&self, wanted: &WantedSnapshot) -> Result<Snapshot, Error> {
        let name = SnapshotId::of(&wanted.name);
        let id = Id::Snapshot(name.clone());
        if let Some((pool, record)) = self.look_up(&id) {
            self.ensure_whole(&pool, &id, record.clone())?;
            let found = as_snapshot(&name, &record);
            let found = found.ok_or_else(|| Error::NotFound(format!("the source of {id}")))?;
            return match found.source == wanted.source {
                true => Ok(found),
                false => {
                    let what = format!("snapshot {id}");
                    Err(Error::exists(what, "source", found.source, &wanted.source))
                }
            };
        }
        let source = Source::Volume(wanted.source.clone());
        let original = self.original(&source)?;
        let copier = copier(&original.pool, "source_volume_id", &source)?;
        let (pool, of) = (&original.pool, &original.record);
        let turn = pool.change();
        self.ensure_still(&original)?;
        let at = pool.directory(&original.id);
        let holds = copier.holds(Place { id: &original.id, at: &at })?;
        let record = Record {
            name: wanted.name.clone(),
            project: None,
            copied: original.copied(holds),
            created: (self.clock)(),
            ..of.clone()
        };
        ensure_room(
            pool,
            "a snapshot, which may come to need all that its volume holds,",
            record.promised(&id),
        )?;
        let (record, reading) = pool.begin_copy(&id, record)?;
        drop(turn);
        let record = self.fill(pool, (&id, record, holds), reading)?;
        as_snapshot(&name, &record).ok_or_else(|| Error::NotFound(format!("the source of {id}")))
    }

    /// Makes a volume with the contents of another or of a snapshot.
    pub(super) fn create_copy(&self, wanted: &Wanted, source: &Source) -> Result<Volume, Error> {
        let volume = VolumeId::of(&wanted.name);
        let original = self.original(source)?;
        let (pool, of) = (&original.pool, &original.record);
        wanted_pool(wanted.parameters.pool.as_ref(), Some(&pool.name))?;
        let copier = copier(pool, "volume_content_source", source)?;
        let (kind, class) = suitable(pool, wanted)?;
        if kind != of.kind {
            let made = format!("it was made for {}, wanted is {}", of.purpose(), wanted.purpose);
            return Err(Error::invalid("volume_content_source", source.as_str(), made));
        }
        let size = wanted.size.fit(UNIT, of.size)?;
        wanted.ensure_may_be_on(&self.node)?;
        let turn = pool.change();
        self.ensure_still(&original)?;
        ensure_room(pool, "a volume", size)?;
        let at = pool.directory(&original.id);
        let holds = copier.holds(Place { id: &original.id, at: &at })?;
        let record = Record {
            name: wanted.name.clone(),
            size,
            wipe: class.wipe,
            after_restart: wanted.parameters.after_restart,
            project: None,
            copied: original.copied(holds),
            created: (self.clock)(),
            ..of.clone()
        };
        let id = Id::Volume(volume.clone());
        let (record, reading) = pool.begin_copy(&id, record)?;
        drop(turn);
        let record = self.fill(pool, (&id, record, holds), reading)?;
        Ok(self.as_volume(&volume, &record))
    }

    /// Fills a copy that was begun, or takes it back where it cannot be made.
    fn fill(
        &self,
        pool: &Pool,
        (id, record, total): (&Id, Record, Bytes),
        reading: Reading,
    ) -> Result<Record, Error> {
        let listed = Listed { copies: &self.copies, id, total };
        let mut told = Instant::now();
        let mut goes_on = |done: Bytes| {
            listed.set(done);
            if told.elapsed() >= TELL {
                tracing::info!(volume = %id, %done, of = %total, "copied");
                told = Instant::now();
            }
            self.rounds.goes_on()
        };
        goes_on(Bytes::ZERO);
        let err = match pool.copy(id, record.clone(), reading, &mut goes_on) {
            Ok(record) => {
                tracing::info!(volume = %id, size = %total, "copied");
                return Ok(record);
            }
            // The next start takes it back.
            Err(err @ Error::Busy(_)) => return Err(err),
            Err(err) => err,
        };
        let back = self.take_back(pool, id, record);
        back.map_err(|err| Error::uncertain(format!("taking back {id}"), err))?;
        Err(err)
    }

    /// Has what is not whole removed.
    fn take_back(&self, pool: &Pool, id: &Id, record: Record) -> Result<(), Error> {
        let _turn = pool.change();
        pool.delete(id, record)?;
        self.rounds.soon();
        Ok(())
    }

    /// That what an earlier call made is there, and whole. What is not is removed: the caller, who has the only turn,
    /// does not make it.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(super) fn ensure_whole(&self, pool: &Pool, id: &Id, record: Record) -> Result<(), Error> {
        let earlier = |what| Err(Error::Busy(format!("an earlier {id} is still being {what}")));
        match (record.deleted, record.copying) {
            (true, _) => earlier("removed"),
            (false, true) => {
                self.take_back(pool, id, record)?;
                earlier("taken back")
            }
            (false, false) => Ok(()),
        }
    }

    fn original(&self, source: &Source) -> Result<Original, Error> {
        let id = Id::of_source(source);
        let found = self.look_up(&id).filter(|(_, record)| !record.deleted);
        let (pool, record) = found.ok_or_else(|| Error::NotFound(format!("the source, {id},")))?;
        if record.copying {
            return Err(Error::Busy(format!("the source, {id}, is still being made")));
        }
        if !self.pools().served.iter().any(|it| Arc::ptr_eq(it, &pool)) {
            let why = format!("the source, {id}, is in pool {}, which is not served", pool.name);
            return Err(Error::Precondition(why));
        }
        Ok(Original { pool, id, record })
    }

    /// That nobody can write to what is to be copied, and that it is there.
    fn ensure_still(&self, original: &Original) -> Result<(), Error> {
        let Original { pool, id, .. } = original;
        let mounts = pool.mounts(&*self.fs, id)?;
        if let Some(mount) = mounts.of_volume.iter().find(|it| it.access == Access::ReadWrite) {
            return Err(Error::Precondition(format!(
                "{id} can be written to at {}, and what is in a directory cannot be copied at one moment: stop the pods \
                 that use it; this is tried again",
                mount.at.display()
            )));
        }
        match pool.is_filled(id)? {
            true => Ok(()),
            false => Err(Error::Precondition(format!(
                "the directory of {id} is not there: {}",
                pool.directory(id).display()
            ))),
        }
    }

    /// Deletes a snapshot; one that is gone is fine.
    pub(super) fn remove_snapshot(&self, id: &SnapshotId) -> Result<(), Error> {
        let id = Id::Snapshot(id.clone());
        let Some((pool, _)) = self.look_up(&id) else { return Ok(()) };
        let _turn = pool.change();
        let Some(record) = pool.record(&id) else { return Ok(()) };
        ensure_not_copied(&pool, &id)?;
        if !record.deleted {
            pool.delete(&id, record)?;
        }
        self.rounds.soon();
        Ok(())
    }

    /// Snapshots after `after` that pass the filter, at most `most`.
    pub(super) fn list_snapshots(
        &self,
        filter: &SnapshotFilter,
        after: Option<&SnapshotId>,
        most: usize,
    ) -> Vec<Snapshot> {
        let pools = self.pools();
        let all = pools.served.iter().flat_map(|pool| pool.snapshots());
        let all = all.filter(|(id, _)| after.is_none_or(|after| id > after));
        let all = all.filter_map(|(id, record)| as_snapshot(&id, &record));
        let mut all: Vec<_> = all.filter(|it| filter.passes(it)).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.truncate(most);
        all
    }
}

/// That no copy is being made from it.
///
/// # Errors
/// [`Error::Busy`].
pub(super) fn ensure_not_copied(pool: &Pool, id: &Id) -> Result<(), Error> {
    match pool.is_being_copied(id) {
        true => Err(Error::Busy(format!("{id} is being copied"))),
        false => Ok(()),
    }
}

/// What copies in the pool.
///
/// # Errors
/// [`Error::Invalid`] says why nothing can be copied there.
fn copier<'a>(pool: &'a Pool, field: &str, source: &Source) -> Result<&'a dyn Copier, Error> {
    let lacks = match pool.ground.copier() {
        Some(copier) => match copier.lacks()? {
            None => return Ok(copier),
            Some(lacks) => lacks,
        },
        None => format!("it is {}", pool.ground.words()),
    };
    let why = format!("pool {} has no snapshots and makes no copies: {lacks}", pool.name);
    Err(Error::invalid(field, source.as_str(), why))
}

/// A snapshot as the caller sees it; `None` when its record does not say of what it is.
fn as_snapshot(id: &SnapshotId, record: &Record) -> Option<Snapshot> {
    match record.source()? {
        Source::Volume(source) => Some(Snapshot {
            id: id.clone(),
            source: source.clone(),
            size: record.size,
            created: record.created,
        }),
        Source::Snapshot(_) => None,
    }
}
