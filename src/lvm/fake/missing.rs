//! Disks of the fake that are missing, and what that does to its groups and volumes.

use std::path::{Path, PathBuf};

use super::{
    disks::{self, Disk, Owner},
    group::{FakeGroup, FakeVolume},
    tool,
};
use crate::lvm::{Error, Kind, Layout, LegStretch, Legs, LostLeg, LvName, Place, RepairRaid};

impl FakeGroup {
    /// LVM makes few changes of a group that misses a disk.
    pub(super) fn ensure_whole(&self) -> Result<(), Error> {
        match self.disks.iter().any(Disk::is_missing) {
            true => Err(Error::NoGroup { vg: self.name.clone() }),
            false => Ok(()),
        }
    }

    /// A change that LVM makes also while a disk is away, which is marked by it.
    pub(super) fn mark_missing(&mut self) {
        self.disks.iter_mut().for_each(|disk| disk.marked |= disk.away);
    }

    /// Has a disk used again that is there and marked.
    pub(super) fn take_back(&mut self, device: &Path) -> Result<(), Error> {
        let back = |it: &&mut Disk| it.device == device && it.marked && !it.away;
        let Some(disk) = self.disks.iter_mut().find(back) else {
            return Err(tool("take_back", "No PVs have been restored."));
        };
        disk.marked = false;
        self.mark_missing();
        Ok(())
    }

    /// Whether a volume, or what it is made of, has extents on a disk that is missing.
    pub(super) fn is_lost(&self, volume: &FakeVolume) -> bool {
        let its = |owner: Owner| disks::is_lost(&self.disks, owner);
        let named = |name: &LvName| self.volumes.iter().find(|it| it.seen.name == *name);
        let own =
            its(volume.owner) || volume.metadata.is_some_and(its) || self.has_lost_layer(volume);
        own || match &volume.seen.kind {
            Kind::Thin(pool) => named(pool).is_some_and(|it| self.is_lost(it)),
            Kind::CopyOnWrite => {
                let origin = volume.seen.origin.as_ref().and_then(named);
                origin.is_some_and(|it| its(it.owner))
            }
            Kind::Thick | Kind::ThinPool { .. } | Kind::HalfMade | Kind::Other(_) => false,
        }
    }

    /// Whether it cannot be used because of that: a RAID may work nevertheless.
    pub(super) fn is_out_of_reach(&self, volume: &FakeVolume) -> bool {
        self.is_lost(volume) && !self.legs_of(volume).is_some_and(|legs| legs.works)
    }

    pub(super) fn legs_of(&self, volume: &FakeVolume) -> Option<Legs> {
        let legs = volume.seen.legs.clone()?;
        let Layout::Raid(raid) = volume.layout else { return Some(legs) };
        let missing = |device: &PathBuf| {
            let mut missing = self.disks.iter().filter(|disk| disk.is_missing());
            missing.find(|disk| disk.device == *device).map(|disk| disk.uuid.clone())
        };
        let missing: Vec<Option<String>> = legs.disks.iter().map(missing).collect();
        let name = |device: &PathBuf| {
            let disk = self.disks.iter().find(|disk| disk.device == *device);
            disk.map_or_else(|| device.clone(), Disk::name)
        };
        let has_some =
            self.disks.iter().filter(|disk| !disk.is_missing() && disk.has(volume.owner));
        let besides = has_some.filter(|disk| !legs.disks.contains(&disk.device));
        let beside = besides.map(|disk| disk.device.clone()).collect();
        let disks = legs.disks.iter().map(name).collect();
        let is_missing: Vec<bool> = missing.iter().map(Option::is_some).collect();
        let lost = missing.into_iter().enumerate();
        let lost = lost.filter_map(|(leg, disk)| Some(LostLeg { leg, disk: disk? })).collect();
        let works = raid.level.works_without(&is_missing);
        Some(Legs { disks, beside, works, lost, ..legs })
    }

    /// Where the legs of its RAID volumes lie. What is on a disk of none is of the leg that is being moved:
    /// the one with the fewest extents where it was.
    pub(super) fn leg_stretches(&self) -> Vec<LegStretch> {
        let mut found = Vec::new();
        for volume in &self.volumes {
            let Some(legs) = &volume.seen.legs else { continue };
            let has = |device: &PathBuf| {
                let disk = self.disks.iter().find(|it| it.device == *device);
                let its = disk.map(|it| disks::stretches(it, volume.owner)).unwrap_or_default();
                its.iter().map(|it| it.length).sum::<u64>()
            };
            let least = (0..legs.disks.len()).min_by_key(|at| legs.disks.get(*at).map(has));
            for disk in &self.disks {
                let leg = legs.disks.iter().position(|it| *it == disk.device).or(least);
                let leg = leg.and_then(|at| u32::try_from(at).ok()).unwrap_or(0);
                found.extend(disks::stretches(disk, volume.owner).into_iter().map(|stretch| {
                    let (name, uuid) = (volume.seen.name.clone(), disk.uuid.clone());
                    LegStretch { volume: name, leg, disk: uuid, stretch }
                }));
            }
        }
        found
    }

    /// A leg of which nothing is left on a disk is where it was moved to.
    pub(super) fn follow_legs(&mut self, from: &Path, to: Option<&Place>) {
        let Some(to) = to else { return };
        let left = self.disks.iter().find(|it| it.device == from);
        for volume in &mut self.volumes {
            let is_left = left.is_some_and(|it| it.has(volume.owner));
            let legs = volume.seen.legs.iter_mut().flat_map(|legs| &mut legs.disks);
            for disk in legs.filter(|it| !is_left && it.as_path() == from) {
                disk.clone_from(&to.device);
            }
        }
    }

    /// Puts a new leg on each of these places for one that is missing, on disks that have nothing of the
    /// volume.
    pub(super) fn repair(&mut self, wanted: &RepairRaid) -> Result<(), Error> {
        let volume = self.volume(&wanted.lv)?;
        let (owner, size) = (volume.owner, volume.seen.size);
        let at = self.volumes.iter().position(|it| it.seen.name == wanted.lv);
        let legs = at.and_then(|at| self.volumes.get(at)).and_then(|it| self.legs_of(it));
        let legs = legs.ok_or_else(|| tool("repair", "Cannot repair a volume of that type."))?;
        if legs.lost.is_empty() {
            return Ok(());
        }
        if !at.and_then(|at| self.volumes.get(at)).is_some_and(|it| self.is_active(it)) {
            return Err(tool("repair", "It must be active to perform this operation."));
        }
        if !legs.works || legs.lost.len() != wanted.on.len() {
            return Err(tool("repair", "Unable to replace so many devices."));
        }
        let each = legs.extents_of_leg(size.whole(self.reported().extent));
        let is_its_own = |place: &Place| {
            self.disks.iter().any(|disk| disk.device == place.device && disk.has(owner))
        };
        if wanted.on.iter().any(is_its_own) {
            return Err(Error::NoSpace { vg: self.name.clone() });
        }
        if !disks::take_on(&mut self.disks, owner, each, &wanted.on) {
            return Err(Error::NoSpace { vg: self.name.clone() });
        }
        let mut new = legs.disks.clone();
        for (lost, place) in legs.lost.iter().zip(&wanted.on) {
            disks::give_back_on(&mut self.disks, owner, &lost.disk);
            if let Some(disk) = new.get_mut(lost.leg) {
                disk.clone_from(&place.device);
            }
        }
        let volume = self.volume(&wanted.lv)?;
        volume.seen.legs = Some(Legs { disks: new, lost: Vec::new(), ..legs });
        volume.astray = false;
        self.shut_out(&wanted.lv);
        Ok(())
    }

    /// A RAID volume goes on without its legs on disks that err, and with all others.
    pub(super) fn shut_out(&mut self, lv: &LvName) {
        let erring = self.disks.iter().filter(|disk| disk.erring && !disk.is_missing());
        let erring: Vec<PathBuf> = erring.map(|disk| disk.device.clone()).collect();
        let volume = self.volumes.iter_mut().find(|it| it.seen.name == *lv);
        if let Some(legs) = volume.and_then(|it| it.seen.legs.as_mut()) {
            legs.shut_out = legs.disks.iter().filter(|it| erring.contains(it)).cloned().collect();
        }
    }

    /// Forgets its missing disks on which nothing lies.
    pub(super) fn forget_missing(&mut self) {
        self.disks.retain(|disk| !disk.is_missing() || disk.used() > 0);
    }

    /// Every active volume that needs a disk which is missing leads nowhere from now on.
    pub(super) fn lead_astray(&mut self) {
        let is_astray = |it| self.is_out_of_reach(it) && !self.lies_on_what_works(it);
        let is_lost: Vec<bool> = self.volumes.iter().map(is_astray).collect();
        for (volume, is_lost) in self.volumes.iter_mut().zip(is_lost) {
            volume.astray |= is_lost && volume.seen.active;
        }
    }

    /// LVM neither activates a volume that is out of reach nor removes one that is lost.
    pub(super) fn ensure_not(
        &self,
        lv: &LvName,
        so: impl Fn(&Self, &FakeVolume) -> bool,
    ) -> Result<(), Error> {
        match self.volumes.iter().any(|it| it.seen.name == *lv && so(self, it)) {
            true => Err(Error::NoGroup { vg: self.name.clone() }),
            false => Ok(()),
        }
    }
}
