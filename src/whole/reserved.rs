//! Which devices are put aside: no pool of disks takes them.

use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
};

use super::{WholeDevices, entries::Leads};
use crate::{device::BlockDevice, pool::Reserves, volume::chain};

impl WholeDevices {
    pub(super) fn take_turn(&self) -> MutexGuard<'_, ()> {
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
        self.take_turn()
    }
}
