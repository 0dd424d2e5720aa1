//! Volumes that are directories: a file system in the machine's memory is mounted at each (`memory`), or each has a
//! project quota in the file system around it (`directory`), which may be the pool's own, in a file (`image`).
//!
//! In the directory of a pool each volume has a record (`record`) and a directory of its own, and so has each snapshot
//! (`copies`). To stage a volume is to bind its directory. All of it is blocking; each step may be killed anywhere, and the same call, repeated, ends in the same state.

mod chores;
mod copies;
mod directory;
mod ground;
mod image;
mod memory;
mod pool;
mod record;
mod sharing;
mod verbs;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    device::Devices,
    fs::Filesystems,
    pool::{PoolEntry, PoolSpec, Pools, Roster, Rounds, Sequence},
    volume::{Error, NodeId, PoolName},
};
use copies::Copies;
use directory::Directory;
use ground::Ground;
use memory::Memory;
use pool::Pool;

/// The pools of this machine whose volumes are directories.
pub struct Folders {
    fs: Arc<dyn Filesystems>,
    devices: Arc<dyn Devices>,
    /// Seconds since 1970 UTC.
    clock: fn() -> i64,
    node: NodeId,
    /// Where pools have their directories that have none of their own.
    home: PathBuf,
    sequence: Arc<Sequence>,
    roster: Roster<Pool>,
    rounds: Rounds,
    copies: Copies,
}

/// A volume as found in its pool.
type Found = crate::pool::Found<Pool>;

impl Folders {
    /// No pools yet; those that there will be are below `home`.
    pub fn new(
        (fs, devices): (Arc<dyn Filesystems>, Arc<dyn Devices>),
        clock: fn() -> i64,
        node: NodeId,
        home: PathBuf,
        sequence: &Arc<Sequence>,
    ) -> Self {
        let sequence = Arc::clone(sequence);
        let (roster, rounds, copies) = (Roster::default(), Rounds::default(), Copies::default());
        Self { fs, devices, clock, node, home, sequence, roster, rounds, copies }
    }

    fn pools(&self) -> Arc<Pools<Pool>> {
        self.roster.now()
    }

    /// Serves these pools from now on; gives back why some cannot be.
    fn set_pools(&self, wanted: Vec<PoolEntry>) -> BTreeMap<PoolName, String> {
        self.roster.set(wanted, |entry, there| self.open(entry, there), || self.has_changed())
    }

    /// Serves what could not be served before, such as a directory on a file system that was not mounted.
    fn try_again(&self) {
        self.roster.try_again(|entry, there| self.open(entry, there), || self.has_changed());
    }

    fn has_changed(&self) {
        self.sequence.grow();
        self.rounds.soon();
    }

    /// Opens the pool of an entry, in the place of the one that is `there`.
    fn open(&self, entry: PoolEntry, there: Option<&Arc<Pool>>) -> Result<Pool, Error> {
        let PoolEntry { name, spec } = entry;
        let moves = |it: &&Arc<Pool>| whereabouts(&it.spec) != whereabouts(&spec);
        if let Some(pool) = there.filter(moves).filter(|it| it.has_volumes()) {
            return Err(Error::Precondition(format!(
                "directory: it has volumes in {}; leave it there, or delete them first",
                pool.home().display()
            )));
        }
        let (ground, home) = self.ground(&name, &spec)?;
        let books = there.filter(|it| !moves(it)).map(|it| it.books());
        let pool = Pool::open((name, spec), (ground, home), books, &self.sequence)?;
        tracing::info!(pool = %pool.name, size = %pool.room().size, "serving the pool");
        Ok(pool)
    }

    /// What the pool's volumes are made of, and where they are.
    fn ground(
        &self,
        name: &PoolName,
        spec: &PoolSpec,
    ) -> Result<(Box<dyn Ground>, PathBuf), Error> {
        match (&spec.memory, &spec.directory) {
            (Some(memory), _) => {
                let memory = Memory::open(&self.fs, memory)?;
                Ok((Box::new(memory), self.home.join(name.as_str())))
            }
            (None, Some(directory)) => {
                let directory = Directory::open(&self.fs, &*self.devices, name, directory)?;
                let home = directory.home().to_owned();
                Ok((Box::new(directory), home))
            }
            (None, None) => Err(Error::Precondition("it has no directory".to_owned())),
        }
    }
}

/// Where the volumes of a pool are, as far as its spec says: in which directory, and whether in a file there.
fn whereabouts(spec: &PoolSpec) -> Option<(&Path, bool)> {
    spec.directory.as_ref().map(|it| (&*it.path, it.loop_file.is_some()))
}

#[cfg(test)]
mod tests;
