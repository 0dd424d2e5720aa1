//! Volumes that are whole devices: an admin puts block devices, or links to them, into directories, or mounts file systems
//! there, and each of them that is empty may be one volume.
//!
//! What is a volume stands in a record (`record`), with that by which its device is known again (`identity`). What the
//! directories have (`entries`) is judged as the disks of a volume group are (`judge`). All of it is blocking; each
//! step may be killed anywhere, and the same call, repeated, ends in the same state.

mod adopt;
mod chores;
mod clean;
mod course;
mod create;
mod emptied;
mod entries;
mod identity;
mod judge;
mod mounted;
mod news;
mod pool;
mod record;
mod reserved;
mod stage;
mod status;
mod verbs;
mod view;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
};

use crate::{
    device::{Bell, BlockDevice, Devices},
    fs::Filesystems,
    pool::{PoolEntry, Pools, Roster, Rounds, Sequence},
    volume::{Error, NodeId, PoolName},
};
use clean::Cleanings;
use pool::Pool;
use record::Record;
use view::{Looks, View};

/// The pools of this machine whose volumes are whole devices.
pub struct WholeDevices {
    fs: Arc<dyn Filesystems>,
    devices: Arc<dyn Devices>,
    /// Seconds since 1970 UTC.
    clock: fn() -> i64,
    node: NodeId,
    /// Where pools have the directories of their records.
    home: PathBuf,
    sequence: Arc<Sequence>,
    roster: Roster<Pool>,
    /// Whose turn it is to take a device, and to change what is said of one.
    turn: Mutex<()>,
    view: RwLock<Arc<View>>,
    looks: Looks,
    rounds: Rounds,
    /// Ends the wait of the one who hears of changes.
    bell: Mutex<Option<Bell>>,
    cleanings: Cleanings,
}

/// A volume as found in its pool.
type Found = crate::pool::Found<Pool>;

impl WholeDevices {
    /// No pools yet; the records of those that there will be are below `home`.
    pub fn new(
        (fs, devices): (Arc<dyn Filesystems>, Arc<dyn Devices>),
        clock: fn() -> i64,
        node: NodeId,
        home: PathBuf,
        sequence: &Arc<Sequence>,
    ) -> Self {
        Self {
            fs,
            devices,
            clock,
            node,
            home,
            sequence: Arc::clone(sequence),
            roster: Roster::default(),
            turn: Mutex::default(),
            view: RwLock::default(),
            looks: Looks::default(),
            rounds: Rounds::default(),
            bell: Mutex::default(),
            cleanings: Cleanings::default(),
        }
    }

    fn pools(&self) -> Arc<Pools<Pool>> {
        self.roster.now()
    }

    /// Serves these pools from now on; gives back why some cannot be.
    fn set_pools(&self, pools: Vec<PoolEntry>) -> BTreeMap<PoolName, String> {
        let open = |entry, there: Option<&Arc<Pool>>| self.open(entry, there);
        let failed = self.roster.set(pools, open, || self.has_changed());
        self.look_if_wanted();
        failed
    }

    /// Serves what could not be served before.
    fn try_again(&self) {
        let open = |entry, there: Option<&Arc<Pool>>| self.open(entry, there);
        self.roster.try_again(open, || self.has_changed());
    }

    fn has_changed(&self) {
        self.sequence.grow();
        self.rounds.soon();
    }

    /// Opens the pool of an entry, in the place of the one that is `there`.
    fn open(&self, entry: PoolEntry, there: Option<&Arc<Pool>>) -> Result<Pool, Error> {
        let home = self.home.join(entry.name.as_str());
        let pool = Pool::open(entry, home, there.map(|it| it.books()))?;
        tracing::info!(pool = %pool.name, "serving the pool");
        Ok(pool)
    }

    fn list(&self) -> Result<Vec<BlockDevice>, Error> {
        self.devices.list().map_err(|err| Error::machine("listing the block devices", err))
    }

    /// The devices that may be a volume's: one, if all is well.
    fn candidates(&self, record: &Record) -> Result<Vec<BlockDevice>, Error> {
        let devices = self.list()?;
        Ok(self.among(&devices, record).into_iter().cloned().collect())
    }

    /// Those of the devices that may be a volume's.
    fn among<'a>(&self, devices: &'a [BlockDevice], record: &Record) -> Vec<&'a BlockDevice> {
        let Some(is) = &record.file_system else {
            return record.device.find(devices, |entry| entries::device_of(&*self.fs, entry));
        };
        let kind = record.purpose.filesystem();
        let is_it = |device: &&BlockDevice| {
            let has =
                |kind| self.fs.identity(&device.path, kind).is_ok_and(|it| it.uuid == is.uuid);
            record.device.may_be(device) && kind.is_some_and(has)
        };
        devices.iter().filter(is_it).collect()
    }

    /// The device of a volume.
    ///
    /// # Errors
    /// [`Error::Precondition`] when it is missing, or there twice.
    fn device(&self, found: &Found) -> Result<BlockDevice, Error> {
        let Found { id, record, .. } = found;
        let mut candidates = self.candidates(record)?;
        match (candidates.pop(), candidates.is_empty()) {
            (Some(device), true) => Ok(device),
            (None, _) => Err(Error::Precondition(format!(
                "volume {id}: its disk is missing: {}",
                record.device.described()
            ))),
            (Some(device), false) => {
                candidates.push(device);
                let names: Vec<_> =
                    candidates.iter().map(|it| it.path.display().to_string()).collect();
                Err(Error::Precondition(format!(
                    "volume {id}: it cannot be told which of {} is its disk, {}",
                    names.join(", "),
                    record.device.described()
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests;
