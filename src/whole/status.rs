//! What a pool looks like now.

use std::collections::BTreeMap;

use super::{Found, WholeDevices, create::class, judge::Judged, pool::Pool, record::Record};
use crate::{
    device::BlockDevice,
    lvm::{Layout, PhysicalVolume, Stretch},
    pool::{
        DeviceEntry, EntryState, Keeps, Kept, PoolStatus, Trimmed,
        capacity::{SECTOR, Stock, room},
        health::Health,
    },
    units::Bytes,
    volume::{Capacity, Parameters, PoolName, Provisioning, Purpose, Volume, VolumeId},
};

impl WholeDevices {
    /// The devices that the pool has, those that are free each with one free run.
    fn stock(&self, pool: &Pool) -> Stock {
        let view = self.view();
        let physical = |device: &BlockDevice, size: Bytes, is_free: bool| {
            let length = size.0 / SECTOR.0;
            PhysicalVolume {
                device: device.path.clone(),
                uuid: String::new(),
                missing: false,
                allocatable: true,
                erring: false,
                extents: length,
                free_runs: is_free.then_some(Stretch { start: 0, length }).into_iter().collect(),
            }
        };
        let free = view.of(&pool.name).iter().filter(|it| it.state == EntryState::Free);
        let free = free.filter_map(|it| Some(physical(it.device.as_ref()?, it.size?, true)));
        let all = pool.all();
        let taken = all.iter().filter_map(|(id, record)| {
            let device = view.volumes.get(id)?.first()?;
            let size = if record.file_system.is_some() { record.size } else { device.size };
            Some(physical(device, size, false))
        });
        let all: Vec<PhysicalVolume> = free.chain(taken).collect();
        let of_mount = |it: &Judged| Some((it.device.as_ref()?.path.clone(), it.mounted()?));
        let mounted = view.of(&pool.name).iter().filter_map(of_mount).collect();
        let sum = |of: fn(&PhysicalVolume) -> u64| all.iter().map(of).sum();
        Stock {
            extent: SECTOR,
            extents: sum(|it| it.extents),
            free: sum(PhysicalVolume::free),
            physical: all,
            thin: None,
            mounted,
        }
    }

    /// How much room there is for volumes of any class that the pool has at all.
    fn room(&self, pool: &Pool) -> Capacity {
        let class = class(pool, &Parameters::default());
        class.map(|class| room(&self.stock(pool), &pool.spec, &class)).unwrap_or_default()
    }

    /// How much room there is for volumes of these parameters.
    pub(super) fn room_for(
        &self,
        pool: &Pool,
        purpose: Purpose,
        parameters: &Parameters,
    ) -> Capacity {
        let stock = || self.stock(pool).fit_for(purpose, parameters);
        let class = class(pool, parameters);
        class.map(|class| room(&stock(), &pool.spec, &class)).unwrap_or_default()
    }

    pub(super) fn status_of(&self, pool: &Pool) -> PoolStatus {
        let (stock, room, trash) = (self.stock(pool), self.room(pool), pool.trash());
        PoolStatus {
            name: pool.name.clone(),
            group: None,
            spec: pool.spec.clone(),
            health: self.health(pool),
            size: Bytes(stock.extents.saturating_mul(SECTOR.0)),
            free: room.available,
            largest_thick: Some(room.largest),
            largest_thin: None,
            volumes: pool.records(None).len() as u64,
            snapshots: 0,
            wipes: trash.len() as u64,
            wipe_bytes: Bytes(trash.iter().map(|(_, record)| record.size.0).sum()),
            to_fill: Bytes::ZERO,
            filling: Vec::new(),
            trimmed: Trimmed::default(),
            entries: self.view().of(&pool.name).iter().map(Judged::told).collect(),
            stock,
        }
    }

    /// What is in the directories of every pool that is to be here, as it was seen last.
    pub fn entries_told(&self) -> BTreeMap<PoolName, Vec<DeviceEntry>> {
        let view = self.view();
        let of_pool = |(name, all): (&PoolName, &Vec<Judged>)| {
            (name.clone(), all.iter().map(Judged::told).collect())
        };
        view.judged.iter().map(of_pool).collect()
    }

    /// Which disks of volumes are missing, or are there twice.
    fn health(&self, pool: &Pool) -> Health {
        let (view, mut health) = (self.view(), Health { apart: true, ..Health::default() });
        for (id, record) in pool.all() {
            let count = view.volumes.get(&id).map_or(0, Vec::len);
            let is_given = !view.unmounted.contains(&id);
            if count == 1 && is_given {
                continue;
            }
            let disk = record.device.described();
            health.disks.push(match count {
                0 => disk,
                1 => format!("{disk}, whose file system is not mounted there"),
                _ => format!("{disk}, as which there are several"),
            });
            health.lost.push(id.to_string());
        }
        health
    }

    pub(super) fn as_volume(&self, id: &VolumeId, record: &Record) -> Volume {
        Volume {
            id: id.clone(),
            size: record.size,
            purpose: record.purpose,
            source: None,
            node: self.node.clone(),
        }
    }
}

pub(super) fn kept(found: Found) -> Kept {
    let Found { id, pool, record } = found;
    Kept {
        id: id.to_string(),
        purpose: record.purpose,
        name: record.name,
        pool: pool.name.clone(),
        size: record.size,
        provisioning: Provisioning::Thick,
        layout: Layout::Linear,
        wipe: record.wipe,
        mkfs: record.mkfs,
        after_restart: None,
        entry: record.adopted.then_some(record.device.entry),
        source: None,
        snapshot_of: None,
        created: record.created,
    }
}
