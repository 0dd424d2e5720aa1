//! Thin pools of the fake, and the RAIDs that they may lie on.

use super::{
    disks::{self, SPARE},
    group::{FakeGroup, FakeVolume},
    tool,
};
use crate::{
    lvm::{ConvertToThinPool, CreateThinPool, Error, Kind, Layout, LogicalVolume, LvName},
    units::Bytes,
};

/// What a new thin pool has in use.
const EMPTY: Kind = Kind::ThinPool { data_percent: Some(0.0), metadata_percent: Some(0.0) };

impl FakeGroup {
    /// Data, metadata (64 bytes for each chunk of 64 KiB), and a spare as large as the metadata.
    pub(super) fn create_thin_pool(&mut self, wanted: &CreateThinPool) -> Result<(), Error> {
        self.ensure_unused(&wanted.name)?;
        let extents = self.extents_for(wanted.size)?;
        let metadata = Bytes(wanted.size.0 / 1024).max(Bytes::mib(2));
        let metadata = self.extents_for(metadata)?;
        let mut volume = self.new_volume(&wanted.name, wanted.size, EMPTY, &[]);
        volume.layout = wanted.layout;
        let spare = metadata.saturating_sub(disks::owned(&self.disks, SPARE));
        let hidden = self.next_owner();
        volume.metadata = Some(hidden);
        let room = self.take(SPARE, spare, Layout::Linear);
        let room = room.and_then(|()| self.take(volume.owner, extents, wanted.layout));
        let room = room.and_then(|()| self.take(hidden, metadata, Layout::Linear));
        if let Err(full) = room {
            self.give_back(&volume);
            return Err(full);
        }
        self.volumes.push(volume);
        Ok(())
    }

    /// Two RAIDs become a thin pool: Tarn makes none of anything else.
    pub(super) fn convert_to_thin_pool(&mut self, wanted: &ConvertToThinPool) -> Result<(), Error> {
        let ConvertToThinPool { data, metadata, .. } = wanted;
        for name in [data, metadata] {
            let part = self.volume(name)?;
            if part.open {
                return Err(self.in_use(name));
            }
            let is_raid = part.seen.kind == Kind::Thick && part.seen.legs.is_some();
            if !is_raid || part.hidden {
                return Err(tool("convert_to_thin_pool", "Cannot convert that to a thin pool."));
            }
        }
        let size = self.volume(data)?.seen.size;
        let pool = self.new_volume(data, size, EMPTY, &[]);
        for (name, layer) in [(metadata, data.thin_metadata()), (data, data.thin_data())] {
            let part = self.volume(name)?;
            (part.hidden, part.seen.name) = (true, layer);
        }
        self.volumes.push(pool);
        Ok(())
    }

    /// A pool that is full, or has given up, takes no new volumes; those that it has may still grow.
    pub(super) fn ensure_room_in(&mut self, pool: &LvName) -> Result<(), Error> {
        let full = Error::NoSpace { vg: self.name.clone() };
        let LogicalVolume { kind, failed, .. } = &self.volume(pool)?.seen;
        match kind {
            Kind::ThinPool { .. } if *failed => Err(full),
            Kind::ThinPool { data_percent: Some(used), .. } if *used >= 100.0 => Err(full),
            Kind::ThinPool { .. } => Ok(()),
            Kind::Thick | Kind::Thin(_) | Kind::CopyOnWrite | Kind::HalfMade | Kind::Other(_) => {
                Err(tool("create_volume", "Logical volume is not a thin pool."))
            }
        }
    }

    /// The RAIDs that a thin pool lies on.
    fn layers_of<'a>(&'a self, pool: &'a FakeVolume) -> impl Iterator<Item = &'a FakeVolume> {
        let names = [pool.seen.name.thin_data(), pool.seen.name.thin_metadata()];
        let is_pool = matches!(pool.seen.kind, Kind::ThinPool { .. });
        let hidden = self.volumes.iter().filter(move |it| it.hidden && is_pool);
        hidden.filter(move |it| names.contains(&it.seen.name))
    }

    /// Whether a RAID below a thin pool has lost something.
    pub(super) fn has_lost_layer(&self, pool: &FakeVolume) -> bool {
        self.layers_of(pool).any(|it| self.is_lost(it))
    }

    /// Whether a thin pool, or that of a thin volume, lies on RAIDs that work.
    pub(super) fn lies_on_what_works(&self, volume: &FakeVolume) -> bool {
        let name = pool_of(volume);
        let Some(pool) = self.volumes.iter().find(|it| it.seen.name == *name) else { return false };
        let works = |it: &FakeVolume| self.legs_of(it).is_some_and(|legs| legs.works);
        self.layers_of(pool).count() == 2 && self.layers_of(pool).all(works)
    }

    /// What a thin pool lies on is active with it, and with whatever is in it.
    pub(super) fn is_active(&self, volume: &FakeVolume) -> bool {
        let is_above = |it: &&FakeVolume| {
            let pool = pool_of(it);
            [pool.thin_data(), pool.thin_metadata()].contains(&volume.seen.name)
        };
        match volume.hidden {
            false => volume.seen.active,
            true => self.volumes.iter().filter(is_above).any(|it| it.seen.active),
        }
    }

    /// LVM activates a thin volume of which something is missing only when it is told to bear that.
    pub(super) fn activate_degraded(&mut self, lv: &LvName) -> Result<(), Error> {
        self.volume(lv)?;
        let is_hopeless =
            |group: &Self, it: &FakeVolume| group.is_lost(it) && !group.lies_on_what_works(it);
        self.ensure_not(lv, is_hopeless)?;
        self.set_active(lv, true);
        Ok(())
    }

    /// What takes the extents by which a volume grows.
    pub(super) fn what_grows(&self, lv: &LvName) -> LvName {
        let data = lv.thin_data();
        let is_it = |it: &FakeVolume| it.hidden && it.seen.name == data;
        if self.volumes.iter().any(is_it) { data } else { lv.clone() }
    }

    /// A thin pool is as large as the RAID that has its data.
    pub(super) fn follow_data(&mut self) {
        let hidden = self.volumes.iter().filter(|it| it.hidden);
        let sizes: Vec<(LvName, Bytes)> =
            hidden.map(|it| (it.seen.name.clone(), it.seen.size)).collect();
        for pool in &mut self.volumes {
            let data = pool.seen.name.thin_data();
            if let Some((_, size)) = sizes.iter().find(|(name, _)| *name == data) {
                pool.seen.size = *size;
            }
        }
    }
}

/// The thin pool that a volume is in, or is.
fn pool_of(volume: &FakeVolume) -> &LvName {
    if let Kind::Thin(pool) = &volume.seen.kind { pool } else { &volume.seen.name }
}
