//! One volume group of the fake, and what changes in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{
    disks::{self, Disk, Owner, SPARE},
    tool,
};
use crate::{
    lvm::{
        Backing, CreateSnapshot, CreateVolume, Error, Group, Kind, LEG_METADATA, Layout,
        LogicalVolume, LvName, Place, Raid, SeenGroup, SeenPhysicalVolume, SnapshotKind, Tag,
        VgName, cow_size, raid::note_erring,
    },
    units::Bytes,
};

/// One volume group.
#[derive(Debug)]
pub(super) struct FakeGroup {
    pub(super) name: VgName,
    extent: Bytes,
    tags: Vec<Tag>,
    pub(super) disks: Vec<Disk>,
    pub(super) volumes: Vec<FakeVolume>,
    serial: Owner,
}

/// One logical volume: what LVM reports of it, and what it keeps to itself.
#[derive(Debug)]
pub(super) struct FakeVolume {
    pub(super) seen: LogicalVolume,
    pub(super) owner: Owner,
    /// The owner of a thin pool's metadata.
    pub(super) metadata: Option<Owner>,
    pub(super) layout: Layout,
    pub(super) open: bool,
    /// It is the data or the metadata of a thin pool.
    pub(super) hidden: bool,
    pub(super) skipped: bool,
    pub(super) lost_in_pool: bool,
    /// It is active with a table that leads to a disk which is gone.
    pub(super) astray: bool,
    /// A table that leads nowhere is loaded beside the one in force.
    pub(super) prepared: bool,
}

impl FakeVolume {
    /// Puts in force what is prepared. What is right already is not loaded anew.
    fn resume(&mut self) {
        self.seen.suspended = false;
        self.astray = !self.astray && self.prepared;
        self.prepared = false;
    }
}

impl FakeGroup {
    pub(super) fn new(name: VgName, extent: Bytes, tags: Vec<Tag>, disks: Vec<Disk>) -> Self {
        Self { name, extent, tags, disks, volumes: Vec::new(), serial: SPARE }
    }

    /// What a report shows of a volume.
    pub(super) fn shown(&self, volume: &FakeVolume) -> LogicalVolume {
        let pool = match &volume.seen.kind {
            Kind::Thin(pool) => self.volumes.iter().find(|it| it.seen.name == *pool),
            Kind::Thick
            | Kind::CopyOnWrite
            | Kind::ThinPool { .. }
            | Kind::HalfMade
            | Kind::Other(_) => None,
        };
        // That a pool has given up shows as long as it is active, and stays.
        let pool = &pool.unwrap_or(volume).seen;
        let failed = pool.failed && pool.active;
        let (legs, active) = (self.legs_of(volume), self.is_active(volume));
        LogicalVolume { lost: self.is_lost(volume), failed, legs, active, ..volume.seen.clone() }
    }

    /// What `pvs` shows of its disks, on devices of these sizes.
    pub(super) fn physical<'a>(
        &'a self,
        devices: &'a BTreeMap<PathBuf, Bytes>,
    ) -> impl Iterator<Item = SeenPhysicalVolume> + 'a {
        let group = SeenGroup {
            name: self.name.clone(),
            uuid: format!("fake-vg-{}", self.name),
            tags: self.tags.clone(),
            missing: self.disks.iter().filter(|it| it.is_missing()).count() as u64,
            elsewhere: false,
        };
        self.disks.iter().map(move |disk| SeenPhysicalVolume {
            device: disk.name(),
            number: None,
            uuid: disk.uuid.clone(),
            duplicate: false,
            missing: disk.is_missing(),
            leaving: disk.leaving,
            allocatable: disk.allocatable,
            group: Some(group.clone()),
            footprint: (!disk.away)
                .then(|| disk.footprint(self.extent, devices.get(&disk.device).copied())),
        })
    }

    pub(super) fn reported(&self) -> Group {
        let sum = |count: fn(&Disk) -> usize| self.disks.iter().map(count).sum::<usize>() as u64;
        let (layers, shown): (Vec<_>, Vec<_>) = self.volumes.iter().partition(|it| it.hidden);
        let in_order = |volumes: Vec<&FakeVolume>| {
            let mut all: Vec<_> = volumes.into_iter().map(|it| self.shown(it)).collect();
            all.sort_by(|a, b| a.name.cmp(&b.name));
            all
        };
        let (logical, layers) = (in_order(shown), in_order(layers));
        let mut physical: Vec<_> = self.disks.iter().map(Disk::reported).collect();
        note_erring(&mut physical, logical.iter().chain(&layers));
        Group {
            name: self.name.clone(),
            uuid: format!("fake-vg-{}", self.name),
            extent: self.extent,
            extents: sum(Disk::extents),
            free: sum(Disk::free),
            tags: self.tags.clone(),
            physical,
            logical,
            layers,
            legs: self.leg_stretches(),
            moving: BTreeMap::new(),
        }
    }

    pub(super) fn volume(&mut self, lv: &LvName) -> Result<&mut FakeVolume, Error> {
        let missing = Error::NoVolume { vg: self.name.clone(), lv: lv.clone() };
        self.volumes.iter_mut().find(|it| it.seen.name == *lv).ok_or(missing)
    }

    pub(super) fn create_volume(&mut self, wanted: &CreateVolume) -> Result<(), Error> {
        self.ensure_unused(&wanted.name)?;
        let extents = self.extents_for(wanted.size)?;
        let (kind, layout) = match &wanted.backing {
            Backing::Thick(layout) => (Kind::Thick, *layout),
            Backing::Thin(pool) => {
                self.ensure_room_in(pool)?;
                (Kind::Thin(pool.clone()), Layout::Linear)
            }
        };
        let mut volume = self.new_volume(&wanted.name, wanted.size, kind, &wanted.tags);
        volume.layout = layout;
        if let Layout::Raid(raid) = layout {
            self.ensure_a_disk_for_each(&raid, &wanted.on)?;
            self.take_on(volume.owner, raid.extents_of_leg(extents), &wanted.on)?;
            volume.seen.legs = layout.legs(&wanted.on);
            volume.seen.size = self.size_of(&volume);
        } else if volume.seen.kind == Kind::Thick {
            match wanted.on.as_slice() {
                [] => self.take(volume.owner, extents, layout)?,
                on => self.take_on(volume.owner, extents, on)?,
            }
            volume.seen.size = self.size_of(&volume);
        }
        self.volumes.push(volume);
        Ok(())
    }

    /// LVM wants as many disks as there are legs, and may use all that it is given.
    fn ensure_a_disk_for_each(&self, raid: &Raid, on: &[Place]) -> Result<(), Error> {
        let is_there = |on: &&Place| self.disks.iter().any(|disk| disk.device == on.device);
        let there = on.iter().filter(is_there).map(|on| &on.device);
        let distinct = there.collect::<BTreeSet<_>>().len();
        match distinct == on.len() && distinct == raid.legs() as usize {
            true => Ok(()),
            false => Err(tool("create_volume", "A RAID volume needs a disk for each of its legs.")),
        }
    }

    pub(super) fn create_snapshot(&mut self, wanted: &CreateSnapshot) -> Result<(), Error> {
        let origin = self.volume(&wanted.origin)?;
        let lost = origin.lost_in_pool;
        let origin = origin.seen.clone();
        self.ensure_unused(&wanted.name)?;
        if lost {
            let (vg, lv) = (self.name.clone(), wanted.origin.clone());
            return Err(Error::MissingInPool { vg, lv });
        }
        let kind = match (wanted.kind, &origin.kind) {
            (SnapshotKind::CopyOnWrite(_), Kind::Thick) => Kind::CopyOnWrite,
            (SnapshotKind::ThinFrozen | SnapshotKind::ThinWritable, Kind::Thin(pool)) => {
                self.ensure_room_in(pool)?;
                Kind::Thin(pool.clone())
            }
            _ => return Err(tool("create_snapshot", "That snapshot is not supported.")),
        };
        let mut volume = self.new_volume(&wanted.name, origin.size, kind, &wanted.tags);
        volume.seen.origin = Some(wanted.origin.clone());
        match wanted.kind {
            SnapshotKind::ThinFrozen => {
                volume.seen.active = false;
                volume.skipped = true;
            }
            SnapshotKind::ThinWritable => (),
            SnapshotKind::CopyOnWrite(room) => {
                let most = cow_size(origin.size, self.extent).unwrap_or(room);
                let extents = self.extents_for(room.min(most))?;
                self.take(volume.owner, extents, Layout::Linear)?;
                volume.seen.active = origin.active;
            }
        }
        self.volumes.push(volume);
        Ok(())
    }

    pub(super) fn extend(&mut self, lv: &LvName, size: Bytes, on: &[Place]) -> Result<(), Error> {
        let lv = &self.what_grows(lv);
        let in_use = self.in_use(lv);
        let extents = self.extents_for(size)?;
        let snapshots = self.snapshots_of(lv) > 0;
        let volume = self.volume(lv)?;
        let (owner, layout, now) = (volume.owner, volume.layout, volume.seen.size);
        let legs = volume.seen.legs.clone();
        if size == now {
            return Ok(());
        }
        if size < now {
            return Err(tool("extend", "New size given is not larger than existing size."));
        }
        if snapshots && volume.seen.active {
            return Err(in_use);
        }
        if matches!(volume.seen.kind, Kind::Thin(_)) {
            volume.seen.size = size;
            return Ok(());
        }
        let more = extents.saturating_sub(now.whole(self.extent));
        match legs {
            Some(legs) => self.take_on(owner, legs.growth_of_leg(more), on)?,
            None => self.take(owner, more, layout)?,
        }
        let at = self.volumes.iter().position(|it| it.seen.name == *lv);
        let grown = at.and_then(|at| self.volumes.get(at)).map(|it| self.size_of(it));
        self.volume(lv)?.seen.size = grown.unwrap_or(size);
        self.follow_data();
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &LvName, to: &LvName) -> Result<(), Error> {
        self.volume(from)?;
        self.ensure_unused(to)?;
        self.volume(from)?.seen.name = to.clone();
        for volume in &mut self.volumes {
            if volume.seen.origin.as_ref() == Some(from) {
                volume.seen.origin = Some(to.clone());
            }
            if volume.seen.kind == Kind::Thin(from.clone()) {
                volume.seen.kind = Kind::Thin(to.clone());
            }
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, lv: &LvName) -> Result<(), Error> {
        let Ok(volume) = self.volume(lv) else { return Ok(()) };
        let open = volume.open;
        let pool = Kind::Thin(lv.clone());
        let needed = self.volumes.iter().any(|it| it.seen.kind == pool);
        if open || needed || self.snapshots_of(lv) > 0 {
            return Err(self.in_use(lv));
        }
        self.ensure_not(lv, Self::is_lost)?;
        self.discard(lv);
        for volume in &mut self.volumes {
            volume.seen.origin.take_if(|origin| origin == lv);
        }
        Ok(())
    }

    /// Removes a volume without asking whether it lies on a missing disk.
    pub(super) fn discard(&mut self, lv: &LvName) {
        let layers = [lv.thin_data(), lv.thin_metadata()];
        let is_its =
            |it: &FakeVolume| it.seen.name == *lv || (it.hidden && layers.contains(&it.seen.name));
        for gone in self.volumes.extract_if(.., |it| is_its(it)).collect::<Vec<_>>() {
            self.give_back(&gone);
        }
    }

    /// Adds and removes tags of the group.
    pub(super) fn retag(&mut self, add: &[Tag], remove: &[Tag]) {
        self.tags.retain(|tag| !remove.contains(tag) && !add.contains(tag));
        self.tags.extend_from_slice(add);
    }

    pub(super) fn split_snapshot(&mut self, lv: &LvName) -> Result<(), Error> {
        let in_use = self.in_use(lv);
        let volume = self.volume(lv)?;
        if volume.open {
            return Err(in_use);
        }
        if volume.seen.kind != Kind::CopyOnWrite {
            return Err(tool("split_snapshot", "Command does not accept that type."));
        }
        let owner = volume.owner;
        let size = Bytes(disks::owned(&self.disks, owner) * self.extent.0);
        let volume = self.volume(lv)?;
        volume.seen.size = size;
        volume.seen.kind = Kind::Thick;
        volume.seen.origin = None;
        Ok(())
    }

    pub(super) fn change_tags(
        &mut self,
        lv: &LvName,
        add: &[Tag],
        remove: &[Tag],
    ) -> Result<(), Error> {
        let tags = &mut self.volume(lv)?.seen.tags;
        tags.extend_from_slice(add);
        tags.retain(|tag| !remove.contains(tag));
        tags.sort();
        tags.dedup();
        Ok(())
    }

    pub(super) fn activate(&mut self, lv: &LvName) -> Result<(), Error> {
        let lost = Error::MissingInPool { vg: self.name.clone(), lv: lv.clone() };
        let volume = self.volume(lv)?;
        if volume.lost_in_pool {
            return Err(lost);
        }
        if volume.seen.kind == Kind::HalfMade {
            return Err(tool("activate", "Activation is prohibited while a layer is active."));
        }
        self.ensure_not(lv, Self::is_out_of_reach)?;
        self.set_active(lv, true);
        Ok(())
    }

    pub(super) fn activate_all(&mut self) -> Result<(), Error> {
        let whole = |it: &&FakeVolume| !it.skipped && it.seen.kind != Kind::HalfMade;
        let all: Vec<_> = self.volumes.iter().filter(whole).collect();
        let cannot = |it: &&FakeVolume| it.lost_in_pool || self.is_out_of_reach(it);
        let (lost, well): (Vec<_>, Vec<_>) = all.into_iter().partition(cannot);
        let lost = !lost.is_empty();
        let well: Vec<_> = well.into_iter().map(|it| it.seen.name.clone()).collect();
        well.iter().for_each(|name| self.set_active(name, true));
        self.volumes.iter_mut().filter(|it| it.seen.suspended).for_each(FakeVolume::resume);
        if lost { Err(tool("activate_group", "No data available")) } else { Ok(()) }
    }

    /// A thick origin and its snapshots come and go together.
    pub(super) fn deactivate(&mut self, lv: &LvName) -> Result<(), Error> {
        self.volume(lv)?;
        let in_use = self.in_use(lv);
        let family = self.family(lv);
        if self.volumes.iter().any(|it| it.open && family.contains(&it.seen.name)) {
            return Err(in_use);
        }
        self.set_active(lv, false);
        Ok(())
    }

    pub(super) fn refresh(&mut self, lv: &LvName) -> Result<(), Error> {
        if self.volume(lv)?.hidden {
            return Err(tool("refresh", "Operation not permitted on hidden LV."));
        }
        self.ensure_not(lv, Self::is_out_of_reach)?;
        self.volume(lv)?.resume();
        for it in [lv.clone(), lv.thin_data(), lv.thin_metadata()] {
            self.shut_out(&it);
        }
        Ok(())
    }

    pub(super) fn forget_prepared(&mut self) {
        self.volumes.iter_mut().for_each(|it| it.prepared = false);
    }

    pub(super) fn set_active(&mut self, lv: &LvName, active: bool) {
        let family = self.family(lv);
        let family = |it: &&mut FakeVolume| family.contains(&it.seen.name);
        for volume in self.volumes.iter_mut().filter(family) {
            volume.seen.active = active;
            volume.astray &= active;
        }
    }

    /// The volume and, for a thick origin or a copy-on-write snapshot, those that share its device.
    fn family(&self, lv: &LvName) -> Vec<LvName> {
        let cow = |it: &&FakeVolume| it.seen.kind == Kind::CopyOnWrite;
        let me = self.volumes.iter().find(|it| it.seen.name == *lv);
        let head = me.filter(cow).and_then(|it| it.seen.origin.as_ref()).unwrap_or(lv);
        let snapshots = self.volumes.iter().filter(cow);
        let snapshots = snapshots.filter(|it| it.seen.origin.as_ref() == Some(head));
        snapshots.map(|it| it.seen.name.clone()).chain([head.clone()]).collect()
    }

    fn snapshots_of(&self, lv: &LvName) -> usize {
        let cow = self.volumes.iter().filter(|it| it.seen.kind == Kind::CopyOnWrite);
        cow.filter(|it| it.seen.origin.as_ref() == Some(lv)).count()
    }

    pub(super) fn ensure_unused(&self, lv: &LvName) -> Result<(), Error> {
        if self.volumes.iter().any(|it| it.seen.name == *lv) {
            return Err(Error::Exists { vg: self.name.clone(), lv: lv.clone() });
        }
        Ok(())
    }

    pub(super) fn in_use(&self, lv: &LvName) -> Error {
        Error::InUse { vg: self.name.clone(), lv: lv.clone() }
    }

    pub(super) fn take(&mut self, owner: Owner, extents: u64, layout: Layout) -> Result<(), Error> {
        let rows = extents.div_ceil(layout.row());
        let beside = usize::try_from(layout.row()).unwrap_or(usize::MAX);
        match disks::take(&mut self.disks, owner, rows, beside) {
            true => Ok(()),
            false => Err(Error::NoSpace { vg: self.name.clone() }),
        }
    }

    fn take_on(&mut self, owner: Owner, each: u64, on: &[Place]) -> Result<(), Error> {
        match disks::take_on(&mut self.disks, owner, each, on) {
            true => Ok(()),
            false => Err(Error::NoSpace { vg: self.name.clone() }),
        }
    }

    /// Frees a volume's extents, and the spare with the last thin pool's.
    pub(super) fn give_back(&mut self, volume: &FakeVolume) {
        disks::give_back(&mut self.disks, volume.owner);
        if let Some(metadata) = volume.metadata {
            disks::give_back(&mut self.disks, metadata);
        }
        if !self.volumes.iter().any(|it| it.metadata.is_some()) {
            disks::give_back(&mut self.disks, SPARE);
        }
    }

    /// What its user sees of the extents that a volume has.
    fn size_of(&self, volume: &FakeVolume) -> Bytes {
        let owned = disks::owned(&self.disks, volume.owner);
        let extents = volume.seen.legs.as_ref().map_or(owned, |legs| {
            let each = owned.checked_div(legs.disks.len() as u64).unwrap_or(0);
            each.saturating_sub(LEG_METADATA) * legs.stripes
        });
        Bytes(extents * self.extent.0)
    }

    pub(super) fn extents_for(&self, size: Bytes) -> Result<u64, Error> {
        let size = size.round_up(self.extent).filter(|size| size.0 > 0);
        let size = size.ok_or_else(|| tool("size", "Size may not be zero or past the end."))?;
        Ok(size.whole(self.extent))
    }

    pub(super) fn next_owner(&mut self) -> Owner {
        self.serial += 1;
        self.serial
    }

    pub(super) fn new_volume(
        &mut self,
        name: &LvName,
        size: Bytes,
        kind: Kind,
        tags: &[Tag],
    ) -> FakeVolume {
        let owner = self.next_owner();
        let mut tags = tags.to_vec();
        tags.sort();
        tags.dedup();
        let is_thin = matches!(kind, Kind::Thin(_));
        let seen = LogicalVolume {
            uuid: format!("fake-{}-{owner}", self.name),
            thin_id: is_thin.then(|| u32::try_from(owner).unwrap_or(u32::MAX)),
            tags,
            ..LogicalVolume::new(name.clone(), size, kind)
        };
        FakeVolume {
            seen,
            owner,
            metadata: None,
            layout: Layout::Linear,
            open: false,
            hidden: false,
            skipped: false,
            lost_in_pool: false,
            astray: false,
            prepared: false,
        }
    }
}
