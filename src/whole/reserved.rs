//! Whose turn it is, and which devices are put aside: no pool of disks takes them.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{MutexGuard, PoisonError},
};

use super::{WholeDevices, entries::Leads};
use crate::{
    device::BlockDevice,
    fs::{paths, records},
    mounts::fs_failed,
    pool::Reserves,
    volume::{Error, chain},
};

/// A turn: for as long as it lives nobody else has one.
pub(super) struct Turn<'a> {
    _everywhere: Option<File>,
    _here: MutexGuard<'a, ()>,
}

impl WholeDevices {
    /// Waits until nobody else takes a device or changes a record, in no other process either, and knows all records then.
    ///
    /// # Errors
    /// Records that cannot be read.
    pub(super) fn take_turn(&self) -> Result<Turn<'_>, Error> {
        let here = self.turn_here();
        let failed = |err| Error::machine("looking at the records of volumes", err);
        let pools = self.pools();
        let is_any = pools.all().next().is_some();
        let everywhere = is_any.then(|| records::lock(&self.home)).transpose().map_err(failed)?;
        for pool in pools.all() {
            pool.read_anew().map_err(failed)?;
        }
        Ok(Turn { _everywhere: everywhere.flatten(), _here: here })
    }

    /// Makes the directory by which processes take turns. Whoever writes the first record needs it before its turn.
    ///
    /// # Errors
    /// What is in the way.
    pub(super) fn ensure_home(&self) -> Result<(), Error> {
        if self.home.is_dir() {
            return Ok(());
        }
        let made = paths::ensure_directory(&self.home);
        made.map_err(|err| fs_failed("making the directory of records", err))
    }

    fn turn_here(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are volumes, and those in the directories of pools.
    fn put_aside(&self, devices: &[BlockDevice]) -> BTreeMap<(u64, u64), String> {
        let mut all = BTreeMap::new();
        for claim in self.claims(devices) {
            let why = format!("it is volume {} of pool {}", claim.id, claim.pool);
            all.extend(claim.devices.into_iter().map(|number| (number, why.clone())));
        }
        // Without the mounts a directory may be taken for another kind of what is no device.
        for (pool, entries) in self.entries(&[]) {
            for entry in entries {
                let Leads::Device(number) = entry.leads else { continue };
                let path = entry.path.display();
                all.entry(number).or_insert_with(|| format!("it is {path} of pool {pool}"));
            }
        }
        all
    }
}

impl Reserves for WholeDevices {
    fn reserved(&self) -> BTreeMap<(u64, u64), String> {
        let devices = self.devices.list().unwrap_or_else(|err| {
            tracing::warn!(error = chain(&err), "the block devices were not listed");
            Vec::new()
        });
        let mut all = self.put_aside(&devices);
        // A disk is put aside with a partition of it, and a partition with its disk.
        let number = |name: &str| devices.iter().find(|it| it.name == name).map(|it| it.number);
        let pairs = devices.iter().filter_map(|it| {
            let disk = number(it.partition_of.as_deref()?)?;
            Some((disk, it.number))
        });
        let before = all.clone();
        for (disk, part) in pairs {
            if let Some(why) = before.get(&part) {
                let why = format!("a partition of it is put aside: {why}");
                all.entry(disk).or_insert(why);
            }
            if let Some(why) = before.get(&disk) {
                let why = format!("its disk is put aside: {why}");
                all.entry(part).or_insert(why);
            }
        }
        all
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn_here()
    }
}
