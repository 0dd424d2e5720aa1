//! One pool: its spec, and the records of its volumes.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use super::record::Record;
use crate::{
    fs::paths,
    mounts::fs_failed,
    pool::{Keeps, Open, PoolEntry, PoolSpec},
    volume::{Error, PoolName, VolumeId},
};

/// What the records say.
type Records = BTreeMap<VolumeId, Record>;

/// A pool that is served. Another spec makes another `Pool` with the same books.
pub(super) struct Pool {
    pub(super) name: PoolName,
    pub(super) spec: PoolSpec,
    home: PathBuf,
    books: Arc<RwLock<Records>>,
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
        self.read(|records| records.get(id).cloned())
    }

    fn all(&self) -> Vec<(VolumeId, Record)> {
        self.read(Clone::clone).into_iter().collect()
    }

    fn is_deleted(record: &Record) -> bool {
        record.deleted
    }
}

impl Pool {
    /// Opens a pool, with the volumes that an earlier life left in it. Nothing is changed.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub(super) fn open(
        entry: PoolEntry,
        home: PathBuf,
        books: Option<Arc<RwLock<Records>>>,
    ) -> Result<Self, Error> {
        let PoolEntry { name, spec } = entry;
        let books = match books {
            Some(books) => books,
            None => {
                let records = Record::read_all(&home);
                let failed = |err| Error::machine(format!("opening pool {name}"), err);
                Arc::new(RwLock::new(records.map_err(failed)?))
            }
        };
        Ok(Self { name, spec, home, books })
    }

    /// Where its devices are found, as mounts have it.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let all = self.spec.whole_devices.iter().flat_map(|it| &it.directories);
        all.map(|it| paths::real(it)).collect()
    }

    /// What is known of its volumes, for another pool in its place.
    pub(super) fn books(&self) -> Arc<RwLock<Records>> {
        Arc::clone(&self.books)
    }

    fn read<T>(&self, look: impl FnOnce(&Records) -> T) -> T {
        look(&self.books.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what other processes have written since. Where there is no directory, nothing is news: it may come back.
    pub(super) fn read_anew(&self) -> io::Result<()> {
        if self.home.is_dir() {
            let now = Record::read_all(&self.home)?;
            *self.books.write().unwrap_or_else(PoisonError::into_inner) = now;
        }
        Ok(())
    }

    /// Whether what is known of a volume is not as it is written: another process has adopted or released it.
    pub(super) fn is_stale(&self, id: &VolumeId) -> bool {
        self.home.is_dir() && Record::is_written(&self.home, id) != self.find(id).is_some()
    }

    /// Writes a record, and enters it.
    pub(super) fn put(&self, doing: &str, id: &VolumeId, record: Record) -> Result<(), Error> {
        let made = paths::ensure_directory(&self.home);
        made.map_err(|err| fs_failed(format!("{doing} {id}"), err))?;
        let written = record.write(&self.home, id);
        written.map_err(|err| Error::uncertain(format!("{doing} {id}"), err))?;
        self.books.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), record);
        Ok(())
    }

    /// Removes what kills have left of writing records. Nobody may be writing one.
    pub(super) fn remove_unfinished(&self) {
        if let Err(error) = Record::remove_unfinished(&self.home) {
            tracing::warn!(pool = %self.name, %error, "unfinished records are not removed yet");
        }
    }

    /// Removes the record of a volume whose device is clean.
    pub(super) fn forget(&self, id: &VolumeId) -> Result<(), Error> {
        let removed = Record::remove(&self.home, id);
        removed.map_err(|err| Error::uncertain(format!("removing the record of {id}"), err))?;
        self.books.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }
}
