//! One pool: its records, the directories that stand for them, and the order in which they are changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use super::{
    ground::{Ground, Place, Room, UNIT},
    record::{Copied, Id, Record},
};
use crate::{
    fs::{Filesystems, paths},
    lvm::{PhysicalVolume, Stretch},
    mounts::{Mounts, fs_failed},
    pool::{Keeps, Open, PoolSpec, Sequence, capacity::Stock},
    units::Bytes,
    volume::{Error, PoolName, SnapshotId, VolumeId, chain},
};

/// A pool that is served. Another spec makes another `Pool` with the same books.
pub(super) struct Pool {
    pub(super) name: PoolName,
    pub(super) spec: PoolSpec,
    pub(super) ground: Box<dyn Ground>,
    /// Where its records and volumes are.
    home: PathBuf,
    books: Arc<Books>,
    sequence: Arc<Sequence>,
}

/// What is known of a pool's volumes, and whose turn it is to change them.
#[derive(Default)]
pub(super) struct Books {
    changes: Mutex<()>,
    /// What copies are being made from, each as often as there are copies.
    sources: Mutex<Vec<Id>>,
    ledger: RwLock<Ledger>,
}

/// What the records say, and what does not agree with them.
#[derive(Default)]
struct Ledger {
    records: BTreeMap<Id, Record>,
    /// Volumes and snapshots whose contents are gone.
    emptied: BTreeSet<Id>,
    room: Room,
}

impl Open for Pool {
    fn name(&self) -> &PoolName {
        &self.name
    }

    fn spec(&self) -> &PoolSpec {
        &self.spec
    }
}

impl Keeps for Pool {
    type Record = Record;

    fn find(&self, id: &VolumeId) -> Option<Record> {
        self.record(&Id::Volume(id.clone()))
    }

    fn all(&self) -> Vec<(VolumeId, Record)> {
        let volume = |(id, record): (Id, Record)| match id {
            Id::Volume(id) => Some((id, record)),
            Id::Snapshot(_) => None,
        };
        self.everything().into_iter().filter_map(volume).collect()
    }

    fn is_deleted(record: &Record) -> bool {
        record.deleted
    }

    fn is_unfinished(record: &Record) -> bool {
        record.copying
    }
}

/// Keeps what a copy is made from as it is, until it is dropped.
pub(super) struct Reading {
    books: Arc<Books>,
    id: Id,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut sources = self.books.sources();
        if let Some(at) = sources.iter().position(|it| *it == self.id) {
            sources.swap_remove(at);
        }
    }
}

impl Books {
    fn sources(&self) -> MutexGuard<'_, Vec<Id>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Opens a pool, with what an earlier life left in it: what nobody was told of goes, what was deleted waits to
    /// be scrapped.
    pub(super) fn open(
        (name, spec): (PoolName, PoolSpec),
        (ground, home): (Box<dyn Ground>, PathBuf),
        books: Option<Arc<Books>>,
        sequence: &Arc<Sequence>,
    ) -> Result<Self, Error> {
        let is_open = books.is_some();
        let (books, sequence) = (books.unwrap_or_default(), Arc::clone(sequence));
        let pool = Self { name, spec, ground, home, books, sequence };
        if !is_open {
            pool.take_up()?;
        }
        pool.measure()?;
        Ok(pool)
    }

    fn take_up(&self) -> Result<(), Error> {
        let doing = || format!("opening pool {}", self.name);
        paths::ensure_directory(&self.home).map_err(|err| fs_failed(doing(), err))?;
        let failed = |err| Error::machine(doing(), err);
        Record::remove_unfinished(&self.home).map_err(failed)?;
        let mut records = Record::read_all(&self.home).map_err(failed)?;
        for id in directories(&self.home).map_err(failed)? {
            if !records.iter().any(|(known, _)| *known == id) {
                self.clear(&id)?;
            }
        }
        for (id, record) in records.iter_mut().filter(|(_, record)| record.copying) {
            // Nobody was told of it.
            record.deleted = true;
            record.write(&self.home, id).map_err(failed)?;
        }
        let mut emptied = BTreeSet::new();
        for (id, _) in records.iter().filter(|(_, record)| !record.deleted) {
            if !self.ground.is_filled(Place { id, at: &self.directory(id) })? {
                tracing::warn!(volume = %id, "its contents are gone");
                emptied.insert(id.clone());
            }
        }
        self.enter(|ledger| {
            ledger.records.extend(records);
            ledger.emptied = emptied;
        });
        Ok(())
    }

    /// What is known of its volumes, for another pool in its place.
    pub(super) fn books(&self) -> Arc<Books> {
        Arc::clone(&self.books)
    }

    /// Waits for its turn to change the pool.
    pub(super) fn change(&self) -> MutexGuard<'_, ()> {
        self.books.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.books.ledger.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn enter(&self, entry: impl FnOnce(&mut Ledger)) {
        entry(&mut self.books.ledger.write().unwrap_or_else(PoisonError::into_inner));
        self.sequence.grow();
    }

    /// Where its records and volumes are.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Whether there is any volume, also one that was deleted and is not scrapped yet.
    pub(super) fn has_volumes(&self) -> bool {
        self.read(|ledger| !ledger.records.is_empty())
    }

    /// The record of a volume or snapshot, also of one that is not whole, or deleted and not gone yet.
    pub(super) fn record(&self, id: &Id) -> Option<Record> {
        self.read(|ledger| ledger.records.get(id).cloned())
    }

    /// All records, also of what is not whole, or deleted and not gone yet.
    fn everything(&self) -> Vec<(Id, Record)> {
        let pairs = |ledger: &Ledger| {
            ledger.records.iter().map(|(id, record)| (id.clone(), record.clone())).collect()
        };
        self.read(pairs)
    }

    /// What was deleted and is not gone yet.
    pub(super) fn scraps(&self) -> Vec<(Id, Record)> {
        let mut all = self.everything();
        all.retain(|(_, record)| record.deleted);
        all
    }

    /// The snapshots.
    pub(super) fn snapshots(&self) -> Vec<(SnapshotId, Record)> {
        let snapshot = |(id, record): (Id, Record)| match id {
            Id::Snapshot(id) if !record.deleted && !record.copying => Some((id, record)),
            Id::Snapshot(_) | Id::Volume(_) => None,
        };
        self.everything().into_iter().filter_map(snapshot).collect()
    }

    /// Volumes and snapshots whose contents are gone.
    pub(super) fn emptied(&self) -> BTreeSet<Id> {
        self.read(|ledger| ledger.emptied.clone())
    }

    /// How much room there was when that was measured last.
    pub(super) fn room(&self) -> Room {
        self.read(|ledger| ledger.room)
    }

    /// Measures how much room there is now.
    pub(super) fn measure(&self) -> Result<Room, Error> {
        let all: Vec<_> =
            self.everything().into_iter().map(|(id, it)| (self.directory(&id), id, it)).collect();
        let places = |(at, id, record)| (Place { id, at }, record);
        let all: Vec<_> = all.iter().map(|(at, id, record)| places((at, id, record))).collect();
        let room = self.ground.room(&all)?;
        if room != self.room() {
            self.enter(|ledger| ledger.room = room);
        }
        Ok(room)
    }

    /// What it has to give: one disk, so to speak, with one free run.
    pub(super) fn stock(&self) -> Stock {
        let room = self.room();
        let free = room.free.0 / UNIT.0;
        let extents = (room.size.0 / UNIT.0).max(free);
        let physical = PhysicalVolume {
            device: self.ground.words().into(),
            uuid: String::new(),
            missing: false,
            allocatable: true,
            erring: false,
            extents,
            free_runs: vec![Stretch { start: extents - free, length: free }],
        };
        Stock {
            extent: UNIT,
            extents,
            free,
            physical: vec![physical],
            thin: None,
            mounted: BTreeMap::new(),
        }
    }

    /// The own directory of a volume or snapshot.
    pub(super) fn directory(&self, id: &Id) -> PathBuf {
        self.home.join(id.as_str())
    }

    /// Where else than at its own directory the volume is mounted.
    pub(super) fn mounts(&self, fs: &dyn Filesystems, id: &Id) -> Result<Mounts, Error> {
        let all = fs.mounts().map_err(|err| fs_failed("looking at the mounts", err))?;
        let own = paths::real(&self.directory(id));
        let of_volume = match self.ground.face(&own, &all) {
            None => Vec::new(),
            Some((device, root)) => all
                .iter()
                .filter(|it| it.device == device && it.root.starts_with(&root) && it.at != own)
                .cloned()
                .collect(),
        };
        Ok(Mounts { device: None, of_volume, all })
    }

    /// Makes a volume: first its directory, then its record, with which it is there.
    pub(super) fn make(&self, id: &Id, record: Record) -> Result<(), Error> {
        // What an earlier try has left.
        self.clear(id)?;
        let record = Record { project: self.project(id)?, ..record };
        self.ground.fill(Place { id, at: &self.directory(id) }, &record)?;
        self.put("writing the record of", id, record)?;
        self.measure_later();
        Ok(())
    }

    fn project(&self, id: &Id) -> Result<Option<u32>, Error> {
        let taken = self.everything().iter().filter_map(|(_, record)| record.project).collect();
        self.ground.project(id, &taken)
    }

    /// Gives a copy its room, and keeps what it is made from as it is until it is made: the caller has seen that
    /// nobody writes there, and has the turn since.
    pub(super) fn begin_copy(&self, id: &Id, record: Record) -> Result<(Record, Reading), Error> {
        let source = record.source().map(Id::of_source);
        let source = source.ok_or_else(|| Error::NotFound(format!("the source of {id}")))?;
        // What an earlier try has left.
        self.clear(id)?;
        let record = Record { project: self.project(id)?, copying: true, ..record };
        self.put("writing the record of", id, record.clone())?;
        self.measure_later();
        self.books.sources().push(source.clone());
        Ok((record, Reading { books: Arc::clone(&self.books), id: source }))
    }

    /// Whether a copy is being made from it.
    pub(super) fn is_being_copied(&self, id: &Id) -> bool {
        self.books.sources().contains(id)
    }

    /// Fills a copy that was begun, which is there with the last word in its record. Nobody has the turn meanwhile.
    ///
    /// # Errors
    /// [`Error::Busy`] when it was to stop.
    pub(super) fn copy(
        &self,
        id: &Id,
        record: Record,
        reading: Reading,
        goes_on: &mut dyn FnMut(Bytes) -> bool,
    ) -> Result<Record, Error> {
        let place = |id, at| Place { id, at };
        let (from, to) = (self.directory(&reading.id), self.directory(id));
        let copier = self.ground.copier();
        let gone = || Error::Precondition(format!("nothing is copied in pool {}", self.name));
        let (from, to) = (place(&reading.id, &from), place(id, &to));
        let copied = copier.ok_or_else(gone)?.copy(from, to, &record, goes_on)?;
        let stopped = || Error::Busy(format!("the copy to {id} begins anew after a restart"));
        let bytes = copied.ok_or_else(stopped)?;
        let copied = record.copied.clone().map(|it| Copied { bytes, ..it });
        let _turn = self.change();
        let record = Record { copied, copying: false, ..record };
        self.ground.fit(to, &record)?;
        self.put("writing the record of", id, record.clone())?;
        self.measure_later();
        Ok(record)
    }

    /// Writes a record, and enters it.
    fn put(&self, doing: &str, id: &Id, record: Record) -> Result<(), Error> {
        let written = record.write(&self.home, id);
        written.map_err(|err| Error::uncertain(format!("{doing} {id}"), err))?;
        self.enter(|ledger| {
            if record.deleted {
                ledger.emptied.remove(id);
            }
            ledger.records.insert(id.clone(), record);
        });
        Ok(())
    }

    /// A room that could not be measured is as it was; it is measured again.
    pub(super) fn measure_later(&self) {
        if let Err(err) = self.measure() {
            tracing::warn!(pool = %self.name, error = chain(&err), "its room was not measured");
        }
    }

    /// Whether the volume's contents are there, looked at anew: without its mount its directory is one of the
    /// machine's own.
    pub(super) fn is_filled(&self, id: &Id) -> Result<bool, Error> {
        let is_filled = self.ground.is_filled(Place { id, at: &self.directory(id) })?;
        if !is_filled && !self.emptied().contains(id) {
            self.enter(|ledger| {
                ledger.emptied.insert(id.clone());
            });
        }
        Ok(is_filled)
    }

    /// Gives a volume whose contents are gone an empty directory.
    pub(super) fn begin_anew(&self, id: &Id, record: &Record) -> Result<(), Error> {
        // What an earlier try has left.
        self.clear(id)?;
        self.ground.fill(Place { id, at: &self.directory(id) }, record)?;
        tracing::warn!(volume = %id, "its contents were gone; it is empty now");
        self.enter(|ledger| {
            ledger.emptied.remove(id);
        });
        Ok(())
    }

    /// Takes away a directory that has no record.
    fn clear(&self, id: &Id) -> Result<(), Error> {
        self.ground.clear(Place { id, at: &self.directory(id) })
    }

    /// Deletes a volume that nobody uses: with the word in its record it is gone, and what is left of it can wait.
    pub(super) fn delete(&self, id: &Id, record: Record) -> Result<(), Error> {
        self.put("deleting", id, Record { deleted: true, ..record })?;
        self.ground.hide(Place { id, at: &self.directory(id) })
    }

    /// Takes away what a deleted volume holds, then its record, and gives its room back.
    pub(super) fn scrap(
        &self,
        id: &Id,
        record: &Record,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        self.ground.scrap(Place { id, at: &self.directory(id) }, record, goes_on)?;
        Record::remove(&self.home, id)
            .map_err(|err| Error::uncertain(format!("removing the record of {id}"), err))?;
        self.enter(|ledger| drop(ledger.records.remove(id)));
        self.measure_later();
        Ok(())
    }

    /// Gives a volume another size.
    pub(super) fn resize(&self, id: &Id, record: Record) -> Result<(), Error> {
        self.put("writing the record of", id, record.clone())?;
        self.measure_later();
        self.fit(id, &record)
    }

    /// Has the volume be as large as its record says, where its contents are there.
    pub(super) fn fit(&self, id: &Id, record: &Record) -> Result<(), Error> {
        if self.emptied().contains(id) {
            return Ok(());
        }
        self.ground.fit(Place { id, at: &self.directory(id) }, record)
    }
}

/// The directories of volumes and snapshots.
fn directories(home: &Path) -> io::Result<Vec<Id>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(|it| it.parse().ok());
        if let Some(id) = id.filter(|_| entry.path().is_dir()) {
            all.push(id);
        }
    }
    Ok(all)
}
