//! Which extents of the fake's disks belong to whom.

use std::path::PathBuf;

use crate::{
    lvm::{
        Footprint, MoveExtents, PhysicalVolume, Place, Stretch,
        allocation::{Run, allocate},
        physical::UNKNOWN,
    },
    units::Bytes,
};

/// Who an extent belongs to.
pub(super) type Owner = u64;

/// The owner of the spare metadata volume that LVM keeps beside thin pools.
pub(super) const SPARE: Owner = 0;

/// One physical volume.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) device: PathBuf,
    /// It is not there.
    pub(super) away: bool,
    /// The group was changed while it was away.
    pub(super) marked: bool,
    pub(super) leaving: bool,
    /// It answers with errors.
    pub(super) erring: bool,
    pub(super) allocatable: bool,
    pub(super) uuid: String,
    /// Size of its metadata area.
    pub(super) metadata: Bytes,
    extents: Vec<Option<Owner>>,
}

impl Disk {
    pub(super) fn new(device: PathBuf, extents: usize) -> Self {
        let uuid = format!("fake-pv-{}", device.display());
        let extents = vec![None; extents];
        let (allocatable, metadata) = (true, Bytes::ZERO);
        Self {
            device,
            away: false,
            marked: false,
            leaving: false,
            erring: false,
            allocatable,
            uuid,
            metadata,
            extents,
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.away || self.marked
    }

    pub(super) fn has(&self, owner: Owner) -> bool {
        self.extents.contains(&Some(owner))
    }

    /// As LVM calls it.
    pub(super) fn name(&self) -> PathBuf {
        if self.away { UNKNOWN.into() } else { self.device.clone() }
    }

    pub(super) fn grow(&mut self, extents: usize) {
        self.extents.resize(extents.max(self.extents.len()), None);
    }

    pub(super) fn extents(&self) -> usize {
        self.extents.len()
    }

    pub(super) fn free(&self) -> usize {
        self.extents.iter().filter(|owner| owner.is_none()).count()
    }

    pub(super) fn used(&self) -> u64 {
        (self.extents.len() - self.free()) as u64
    }

    /// How it lies on its device, which is as large as it needs where no size is said.
    pub(super) fn footprint(&self, extent: Bytes, device: Option<Bytes>) -> Footprint {
        let (start, extents) = (start(self.metadata), self.extents.len() as u64);
        let device = device.unwrap_or(Bytes(start.0 + extents * extent.0));
        Footprint { device, start, extent, extents, used: self.used(), areas: 1 }
    }

    pub(super) fn reported(&self) -> PhysicalVolume {
        PhysicalVolume {
            device: self.name(),
            uuid: self.uuid.clone(),
            missing: self.is_missing(),
            allocatable: self.allocatable,
            // Told by the legs of the group's volumes.
            erring: false,
            extents: self.extents.len() as u64,
            free_runs: self.free_runs().into_iter().map(stretch).collect(),
        }
    }

    fn is_free(&self, number: u64) -> bool {
        let extent = usize::try_from(number).ok().and_then(|at| self.extents.get(at));
        extent.is_some_and(Option::is_none)
    }

    fn free_runs(&self) -> Vec<(usize, usize)> {
        let mut runs = Vec::new();
        let mut start = 0;
        for run in self.extents.chunk_by(|a, b| a.is_none() == b.is_none()) {
            if run.first().is_some_and(Option::is_none) {
                runs.push((start, run.len()));
            }
            start += run.len();
        }
        runs
    }

    fn usable_runs(&self, disk: usize) -> Vec<Run> {
        if !self.allocatable || self.is_missing() {
            return Vec::new();
        }
        let runs = self.free_runs().into_iter();
        runs.map(|(start, length)| Run { disk, start: start as u64, length: length as u64 })
            .collect()
    }

    fn take(&mut self, run: &Run, owner: Owner) {
        let (start, length) = (run.start, run.length);
        let place = |at: &usize| (start..start + length).contains(&(*at as u64));
        let extents = self.extents.iter_mut().enumerate().filter(|(at, _)| place(at));
        extents.for_each(|(_, it)| *it = Some(owner));
    }

    fn give_back(&mut self, owner: Owner) {
        self.extents.iter_mut().filter(|it| **it == Some(owner)).for_each(|it| *it = None);
    }
}

fn stretch((start, length): (usize, usize)) -> Stretch {
    Stretch { start: start as u64, length: length as u64 }
}

/// Where the first extent begins: behind the label and the metadata area.
pub(super) fn start(metadata: Bytes) -> Bytes {
    Bytes(metadata.0 + 4096).round_up(Bytes::MIB).unwrap_or_default().max(Bytes::MIB)
}

/// Takes `rows` of one extent on each of so many disks for `owner`, where LVM would. Takes nothing
/// when LVM would refuse.
#[must_use]
pub(super) fn take(disks: &mut [Disk], owner: Owner, rows: u64, beside: usize) -> bool {
    let free: Vec<Run> =
        disks.iter().enumerate().flat_map(|(at, disk)| disk.usable_runs(at)).collect();
    let Some(taken) = allocate(&free, beside, rows) else { return false };
    for run in taken {
        if let Some(disk) = disks.get_mut(run.disk) {
            disk.take(&run, owner);
        }
    }
    true
}

/// Moves what is on some extents of a disk to the others, as far as LVM would; `None` where it does not
/// fit.
pub(super) fn move_away(disks: &mut [Disk], at: usize, wanted: &MoveExtents) -> Option<()> {
    let MoveExtents { first, count, on, .. } = wanted;
    let (first, count) = (*first, *count);
    let is_named = |disk: &Disk, place: usize| {
        on.as_ref().is_none_or(|on| {
            let mut its = on.stretches.iter();
            let is_in = |it: &Stretch| (it.start..it.start + it.length).contains(&(place as u64));
            on.device == disk.device && its.any(is_in)
        })
    };
    let in_range = |place: usize| (first..first + count).contains(&(place as u64));
    let mut moved = Vec::new();
    let from = disks.get_mut(at)?;
    for (place, owner) in from.extents.iter_mut().enumerate() {
        moved.extend(owner.filter(|_| in_range(place)).map(|it| (place, it)));
    }
    let others = disks.iter().enumerate().filter(|(it, disk)| *it != at && disk.allocatable);
    let free: Vec<(usize, usize)> = others
        .flat_map(|(it, disk)| {
            let free = disk.extents.iter().enumerate().filter(|(_, owner)| owner.is_none());
            let free = free.filter(|(place, _)| is_named(disk, *place));
            free.map(move |(place, _)| (it, place))
        })
        .collect();
    if free.len() < moved.len() {
        return None;
    }
    for ((place, owner), (to, new_place)) in moved.into_iter().zip(free) {
        *disks.get_mut(to)?.extents.get_mut(new_place)? = Some(owner);
        *disks.get_mut(at)?.extents.get_mut(place)? = None;
    }
    Some(())
}

/// Where `owner` has extents on a disk.
pub(super) fn stretches(disk: &Disk, owner: Owner) -> Vec<Stretch> {
    let mut start = 0;
    let mut found = Vec::new();
    for run in disk.extents.chunk_by(|a, b| a == b) {
        if run.first() == Some(&Some(owner)) {
            found.push(stretch((start, run.len())));
        }
        start += run.len();
    }
    found
}

/// Takes `each` extents of every place for `owner`, of those that are free. Takes nothing when one has
/// too few.
#[must_use]
pub(super) fn take_on(disks: &mut [Disk], owner: Owner, each: u64, on: &[Place]) -> bool {
    let mut wanted = Vec::new();
    for place in on {
        let there = disks.iter().enumerate().find(|(_, disk)| disk.device == place.device);
        let Some((at, disk)) = there.filter(|(_, disk)| disk.allocatable) else { return false };
        let numbers = place.stretches.iter().flat_map(|it| it.start..it.start + it.length);
        let free = numbers.filter(|number| disk.is_free(*number)).map(|number| (at, number));
        let before = wanted.len();
        wanted.extend(free.take(usize::try_from(each).unwrap_or(usize::MAX)));
        if (wanted.len() - before) as u64 != each {
            return false;
        }
    }
    for run in wanted.chunk_by(|(a, before), (b, number)| a == b && before + 1 == *number) {
        let Some((at, start)) = run.first().copied() else { continue };
        if let Some(disk) = disks.get_mut(at) {
            disk.take(&Run { disk: at, start, length: run.len() as u64 }, owner);
        }
    }
    true
}

/// Frees all that `owner` has.
pub(super) fn give_back(disks: &mut [Disk], owner: Owner) {
    disks.iter_mut().for_each(|disk| disk.give_back(owner));
}

/// Frees all that `owner` has on one disk.
pub(super) fn give_back_on(disks: &mut [Disk], owner: Owner, uuid: &str) {
    disks.iter_mut().filter(|disk| disk.uuid == uuid).for_each(|disk| disk.give_back(owner));
}

/// Whether `owner` has extents on a disk that is missing.
pub(super) fn is_lost(disks: &[Disk], owner: Owner) -> bool {
    let mut missing = disks.iter().filter(|disk| disk.is_missing());
    missing.any(|disk| disk.has(owner))
}

/// How many extents `owner` has.
pub(super) fn owned(disks: &[Disk], owner: Owner) -> u64 {
    disks.iter().flat_map(|disk| &disk.extents).filter(|it| **it == Some(owner)).count() as u64
}
