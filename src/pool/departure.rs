//! What lies on a disk that is to leave its group: what of it goes where, and whether all fits. Pure.
//!
//! LVM decides where most goes. The legs of RAID volumes, of which no two of a volume may share a disk, are led:
//! each goes to one that has nothing else of its volume, before what can lie anywhere takes the room.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    lvm::{Group, LegStretch, LvName, PhysicalVolume, Place, Stretch},
    units::Bytes,
};

/// How many ways are tried in which legs may fit, where the first does not: enough for tens of legs, and
/// done in a moment.
const MOST_TRIES: usize = 10_000;

/// What is moved next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The extents of the disk that is to leave.
    pub from: Stretch,
    /// Where they go; `None` where LVM decides.
    pub on: Option<Place>,
}

/// What a disk that is to leave has of a leg.
struct Load<'a> {
    volume: &'a LvName,
    leg: u32,
    extents: u64,
    /// The places of the rooms where nothing of the same volume lies but of this leg.
    apart: BTreeSet<usize>,
    /// The places of those where something of this leg lies.
    begun: BTreeSet<usize>,
}

impl Load<'_> {
    fn is_part(&self, it: &LegStretch) -> bool {
        it.volume == *self.volume && it.leg == self.leg
    }
}

/// A disk that may get legs.
struct Room<'a> {
    disk: &'a PhysicalVolume,
    free: u64,
    /// Of which volumes it will have got a leg.
    volumes: BTreeSet<&'a LvName>,
}

impl<'a> Room<'a> {
    fn is_apart(&self, at: usize, load: &Load<'a>) -> bool {
        load.apart.contains(&at) && !self.volumes.contains(load.volume)
    }

    /// More for the one to which it goes rather: where it has begun, then where most is free.
    fn appeal(&self, at: usize, load: &Load<'a>) -> (bool, bool, u64) {
        let fits = self.free >= load.extents;
        (fits, fits && load.begun.contains(&at), self.free)
    }

    fn put(&mut self, load: &Load<'a>) {
        self.free -= load.extents;
        self.volumes.insert(load.volume);
    }

    fn take_back(&mut self, load: &Load<'a>) {
        self.free += load.extents;
        self.volumes.remove(load.volume);
    }
}

/// What is moved next from a disk, at most so many extents; `None` where nothing is left.
///
/// # Errors
/// Why it does not go on.
pub fn next_piece(group: &Group, uuid: &str, most: u64) -> Result<Option<Piece>, String> {
    let Some(disk) = group.physical.iter().find(|it| it.uuid == uuid) else { return Ok(None) };
    if disk.free() == disk.extents {
        return Ok(None);
    }
    if group.moving.contains_key(uuid) {
        // What it did not take back. Whatever is named, LVM first ends what it has begun.
        return Ok(Some(Piece { from: Stretch { start: 0, length: 1 }, on: None }));
    }
    let (led, missing) = lead(group, disk);
    if missing > 0 {
        return Err(sentence(group, missing, true));
    }
    let Some((load, to)) = led.first() else { return Ok(anything(group, disk, most)) };
    let its = group.legs.iter().filter(|it| it.disk == uuid && load.is_part(it));
    let from = its.map(|it| it.stretch).min_by_key(|it| it.start);
    let room = to.free_runs.iter().max_by_key(|it| (it.length, Reverse(it.start)));
    let Some((from, room)) = from.zip(room) else { return Ok(None) };
    let length = from.length.min(room.length).min(most);
    let on = Place { device: to.device.clone(), stretches: vec![Stretch { length, ..*room }] };
    Ok(Some(Piece { from: Stretch { length, ..from }, on: Some(on) }))
}

/// Why what lies on a disk does not fit on the others of its group.
pub fn in_the_way(group: &Group, uuid: &str) -> Option<String> {
    let disk = group.physical.iter().find(|it| it.uuid == uuid)?;
    let (led, missing) = lead(group, disk);
    if missing > 0 {
        return Some(sentence(group, missing, true));
    }
    let legs: u64 = led.iter().map(|(load, _)| load.extents).sum();
    // What is being moved has its place already.
    let begun = group.moving.get(uuid).copied().unwrap_or(0);
    let all = disk.extents.saturating_sub(disk.free()).saturating_sub(begun);
    let free: u64 = open(group, disk).map(PhysicalVolume::free).sum();
    let missing = all.saturating_sub(legs).saturating_sub(free.saturating_sub(legs));
    (missing > 0).then(|| sentence(group, missing, false))
}

fn sentence(group: &Group, missing: u64, of_legs: bool) -> String {
    let bytes = Bytes(missing.saturating_mul(group.extent.0));
    match of_legs {
        true => format!(
            "what RAID volumes have on it does not fit on disks that have nothing else of them: {bytes} are missing"
        ),
        false => {
            format!("what lies on it does not fit on the pool's other disks: {bytes} are missing")
        }
    }
}

/// The other disks, on which something may be put.
fn open<'a>(
    group: &'a Group,
    leaving: &'a PhysicalVolume,
) -> impl Iterator<Item = &'a PhysicalVolume> {
    let is_open = |it: &&PhysicalVolume| it.is_open() && it.uuid != leaving.uuid;
    group.physical.iter().filter(is_open)
}

/// To which disk each leg goes, in the order in which they go; and how many extents are missing where not
/// all of them fit.
fn lead<'a>(
    group: &'a Group,
    leaving: &'a PhysicalVolume,
) -> (Vec<(Load<'a>, &'a PhysicalVolume)>, u64) {
    let disks = open(group, leaving).filter(|disk| disk.takes_legs());
    let mut rooms: Vec<Room<'a>> =
        disks.map(|disk| Room { disk, free: disk.free(), volumes: BTreeSet::new() }).collect();
    let loads = loads(group, leaving, &rooms);
    let mut tries = MOST_TRIES;
    let Some(found) = search(&loads, &mut rooms, &mut tries) else {
        return (Vec::new(), missing(&loads, rooms));
    };
    let disks: Vec<_> = found.iter().rev().filter_map(|at| Some(rooms.get(*at)?.disk)).collect();
    (loads.into_iter().zip(disks).collect(), 0)
}

/// How many extents are missing when each goes where most is free.
fn missing<'a>(loads: &[Load<'a>], mut rooms: Vec<Room<'a>>) -> u64 {
    let mut missing = 0;
    for load in loads {
        let apart = rooms.iter_mut().enumerate().filter(|(at, room)| room.is_apart(*at, load));
        match apart.max_by_key(|(at, room)| room.appeal(*at, load)) {
            Some((_, room)) if room.free >= load.extents => room.put(load),
            best => missing += load.extents - best.map_or(0, |(_, room)| room.free),
        }
    }
    missing
}

/// The room of each load, by its place and the last load's first, such that all fit; `None` if that is not
/// found with so many tries. Once it is, it is found again after any piece has been moved.
fn search<'a>(loads: &[Load<'a>], rooms: &mut [Room<'a>], tries: &mut usize) -> Option<Vec<usize>> {
    let Some((load, rest)) = loads.split_first() else { return Some(Vec::new()) };
    let apart = rooms.iter().enumerate().filter(|(at, room)| room.is_apart(*at, load));
    let fitting = apart.filter(|(_, room)| room.free >= load.extents);
    let mut fitting: Vec<_> = fitting.map(|(at, room)| (room.appeal(at, load), at)).collect();
    fitting.sort_unstable_by_key(|it| Reverse(*it));
    for (_, at) in fitting {
        *tries = tries.checked_sub(1)?;
        rooms.get_mut(at)?.put(load);
        if let Some(mut found) = search(rest, rooms, tries) {
            found.push(at);
            return Some(found);
        }
        rooms.get_mut(at)?.take_back(load);
    }
    None
}

/// What a disk has of each leg: first those that have begun, then those that have the least choice.
fn loads<'a>(group: &'a Group, disk: &PhysicalVolume, rooms: &[Room<'_>]) -> Vec<Load<'a>> {
    let mut legs: BTreeMap<&LvName, Vec<&LegStretch>> = BTreeMap::new();
    for it in &group.legs {
        legs.entry(&it.volume).or_default().push(it);
    }
    let mut loads: Vec<Load<'_>> = Vec::new();
    for (volume, its) in legs {
        let here = its.iter().filter(|it| it.disk == disk.uuid);
        let here: BTreeSet<u32> = here.map(|it| it.leg).collect();
        for leg in here {
            let of = |uuid: &str, this: bool| {
                let on = its.iter().filter(|it| it.disk == *uuid && (it.leg == leg) == this);
                on.map(|it| it.stretch.length).sum::<u64>()
            };
            let places = |wanted: &dyn Fn(&str) -> bool| {
                let wanted = rooms.iter().enumerate().filter(|(_, it)| wanted(&it.disk.uuid));
                wanted.map(|(at, _)| at).collect()
            };
            let apart = places(&|uuid| of(uuid, false) == 0);
            let begun = places(&|uuid| of(uuid, true) > 0);
            loads.push(Load { volume, leg, extents: of(&disk.uuid, true), apart, begun });
        }
    }
    let has_room = |at: &&usize, load: &Load<'_>| {
        rooms.get(**at).is_some_and(|room| room.free >= load.extents)
    };
    loads.sort_by_key(|load| {
        let choice = load.apart.iter().filter(|at| has_room(at, load)).count();
        (load.begun.is_empty(), choice, Reverse(load.extents))
    });
    loads
}

/// The first extents of what is no leg's, up to one that is; what is free between them costs nothing.
fn anything(group: &Group, disk: &PhysicalVolume, most: u64) -> Option<Piece> {
    let ends = disk.free_runs.iter().filter(|it| it.start == 0).map(|it| it.length);
    let start = ends.max().unwrap_or(0);
    (start < disk.extents).then(|| {
        let legs = group.legs.iter().filter(|it| it.disk == disk.uuid);
        let until = legs.map(|it| it.stretch.start).filter(|it| *it > start).min();
        let length = most.min(until.unwrap_or(disk.extents) - start);
        Piece { from: Stretch { start, length }, on: None }
    })
}

#[cfg(test)]
mod tests;
