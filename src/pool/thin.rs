//! Thin pools that lie on RAIDs: of which two volumes they are made, where those lie, and how they grow. Pure.
//!
//! LVM makes no such pool itself: a RAID for the data and one for the metadata are made, and become the pool. The
//! metadata are mirrored so that they bear as many losses as the data do.

use super::{Autoextend, capacity::usable};
use crate::{
    lvm::{
        Group, Kind, LogicalVolume, LvName, PhysicalVolume, Place, Raid, RaidLevel, places_apart,
        places_to_grow,
    },
    units::Bytes,
};

/// LVM makes no larger metadata than about 15.8 GiB (lvm2, `DEFAULT_THIN_POOL_MAX_METADATA_SIZE`).
const MOST_METADATA: Bytes = Bytes(15 << 30);
/// For each chunk of its data a pool has 64 bytes of metadata (lvm2, `estimate_thin_pool_metadata_size`).
const BYTES_OF_CHUNK: u64 = 64;
/// The smallest chunk that LVM takes by itself.
const LEAST_CHUNK: u64 = 64 << 10;
/// Up to this size a pool has the smallest chunks; larger ones have room to grow until the metadata have not.
const SMALL: Bytes = Bytes(4 << 40);

/// A RAID of which a thin pool is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// How it lies.
    pub raid: Raid,
    /// Whole rows of extents.
    pub size: Bytes,
    /// Where its legs lie.
    pub on: Vec<Place>,
}

/// Of what a thin pool is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Its data.
    pub data: Part,
    /// Its metadata.
    pub metadata: Part,
    /// In what pieces its data are handed out.
    pub chunk: Bytes,
}

/// One of the RAIDs of a thin pool grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Which.
    pub layer: LvName,
    /// To what size.
    pub size: Bytes,
    /// Where what its legs get lies.
    pub on: Vec<Place>,
}

/// Of what a thin pool of so many bytes is made whose data lie so.
///
/// # Errors
/// Why it cannot be.
pub fn parts(group: &Group, raid: &Raid, size: Bytes) -> Result<Parts, String> {
    let row = Bytes(group.extent.0.saturating_mul(u64::from(raid.stripes.max(1))));
    let size = size.round_up(row).unwrap_or(size);
    let mirrored = mirrored(raid);
    let metadata = metadata_for(size, group.extent);
    let mut disks = group.physical.clone();
    let data = new_part(&mut disks, group.extent, raid, size)?;
    let metadata = new_part(&mut disks, group.extent, &mirrored, metadata)
        .map_err(|why| format!("{why}, beside its data, for its metadata"))?;
    let doublings = size.0.div_ceil(SMALL.0).next_power_of_two();
    Ok(Parts { data, metadata, chunk: Bytes(LEAST_CHUNK.saturating_mul(doublings)) })
}

fn new_part(
    disks: &mut [PhysicalVolume],
    extent: Bytes,
    raid: &Raid,
    size: Bytes,
) -> Result<Part, String> {
    let each = raid.extents_of_leg(size.whole(extent));
    let on = places_apart(disks, raid.legs(), each).ok_or_else(|| {
        let (legs, level, room) = (raid.legs(), raid.level.name(), Bytes(each * extent.0));
        format!("{level} needs {legs} disks that have {room} free each, and there are not so many")
    })?;
    take(disks, &on);
    Ok(Part { raid: *raid, size, on })
}

/// How the metadata lie of a pool whose data lie so.
fn mirrored(data: &Raid) -> Raid {
    let mirrors = data.losses();
    Raid { level: RaidLevel::Raid1, stripes: 1, mirrors, stripe_size: None }
}

/// Room for the metadata of so many bytes of the smallest chunks, at least an extent: LVM finds it enough whatever
/// the chunks are.
fn metadata_for(size: Bytes, extent: Bytes) -> Bytes {
    let needed = size.0.div_ceil(LEAST_CHUNK).saturating_mul(BYTES_OF_CHUNK);
    let needed = Bytes(needed.max(1)).round_up(extent).unwrap_or(MOST_METADATA);
    needed.min(Bytes(MOST_METADATA.whole(extent).max(1) * extent.0))
}

/// Whether a thin pool lies as it is to: it has so many legs and stripes, which no other RAID has, and its metadata
/// have as many copies as they are to have, or more.
pub fn lies_on(group: &Group, pool: &LvName, raid: &Raid) -> bool {
    let legs = |name: &LvName| layer(group, name).and_then(|it| it.legs.as_ref());
    let (Some(data), Some(metadata)) = (legs(&pool.thin_data()), legs(&pool.thin_metadata()))
    else {
        return false;
    };
    let is_data =
        data.disks.len() == raid.legs() as usize && data.stripes == u64::from(raid.stripes);
    is_data && metadata.stripes == 1 && metadata.disks.len() >= mirrored(raid).legs() as usize
}

/// One of the RAIDs below thin pools.
pub fn layer<'a>(group: &'a Group, name: &LvName) -> Option<&'a LogicalVolume> {
    group.layers.iter().find(|it| it.name == *name)
}

/// Whether a thin volume, or a thin pool, goes on without what is missing of it: both RAIDs that it lies on work.
pub fn bears_loss(group: &Group, lv: &LogicalVolume) -> bool {
    let Some(pool) = lv.thin_pool() else { return false };
    let works = |name: &LvName| {
        layer(group, name).and_then(|it| it.legs.as_ref()).is_some_and(|legs| legs.works)
    };
    works(&pool.thin_data()) && works(&pool.thin_metadata())
}

/// How a thin pool grows so that it has so many bytes. Where it lies on RAIDs, the metadata come first, as LVM would
/// have them grow with the data, to where those are to go.
///
/// # Errors
/// Why it cannot be.
pub fn growth(group: &Group, pool: &LvName, size: Bytes) -> Result<Vec<Growth>, String> {
    growth_with(group, pool, size, Bytes::ZERO)
}

/// The same, with metadata of at least so many bytes.
fn growth_with(
    group: &Group,
    pool: &LvName,
    size: Bytes,
    least: Bytes,
) -> Result<Vec<Growth>, String> {
    let Some(data) = layer(group, &pool.thin_data()) else {
        return Ok(vec![Growth { layer: pool.clone(), size, on: Vec::new() }]);
    };
    let mut disks = group.physical.clone();
    let mut grown = Vec::new();
    let size = size.round_up(row_of(group, data)).unwrap_or(size);
    if let Some(metadata) = layer(group, &pool.thin_metadata()) {
        let needed = metadata_for(size, group.extent).max(least);
        grown.extend(growth_of(&mut disks, group.extent, metadata, needed)?);
    }
    grown.extend(growth_of(&mut disks, group.extent, data, size)?);
    Ok(grown)
}

/// In what steps a RAID grows.
fn row_of(group: &Group, data: &LogicalVolume) -> Bytes {
    let stripes = data.legs.as_ref().map_or(1, |legs| legs.stripes.max(1));
    Bytes(group.extent.0.saturating_mul(stripes))
}

/// How a thin pool grows by itself: its data, its metadata, or both, where they have passed the threshold; as far as
/// there is room beyond the reserve. LVM has the metadata of one that lies on no RAIDs grow with its data.
pub fn extension(
    group: &Group,
    pool: &LogicalVolume,
    grow: Autoextend,
    reserve: Bytes,
) -> Vec<Growth> {
    let Kind::ThinPool { data_percent, metadata_percent } = pool.kind else { return Vec::new() };
    let has_passed =
        |percent: Option<f64>| percent.is_some_and(|it| it >= f64::from(grow.threshold));
    let more = |size: Bytes| size.percent(u64::from(grow.percent));
    let usable = usable(&group.physical, group.free, group.extent, reserve);
    let row = layer(group, &pool.name.thin_data()).map_or(group.extent, |it| row_of(group, it));
    let wanted = match has_passed(data_percent) {
        true => more(pool.size).0.div_ceil(row.0.max(1)),
        false => 0,
    };
    let metadata = layer(group, &pool.name.thin_metadata());
    let metadata = metadata.filter(|_| has_passed(metadata_percent)).and_then(|it| {
        let size = it.size.checked_add(more(it.size).max(group.extent))?;
        size.round_up(group.extent)
    });
    let to = |rows: u64, least: Bytes| {
        let size = pool.size.checked_add(Bytes(row.0.checked_mul(rows)?))?;
        let growth = growth_with(group, &pool.name, size, least).ok()?;
        (taken_by(group, pool, &growth) <= usable).then_some(growth)
    };
    let least = metadata.filter(|least| to(0, *least).is_some()).unwrap_or(Bytes::ZERO);
    let (mut rows, mut refused) = (0, wanted + 1);
    while refused - rows > 1 {
        let middle = rows.midpoint(refused);
        if to(middle, least).is_some() { rows = middle } else { refused = middle }
    }
    if rows == 0 && least == Bytes::ZERO {
        return Vec::new();
    }
    to(rows, least).unwrap_or_default()
}

/// How many extents a growth takes.
fn taken_by(group: &Group, pool: &LogicalVolume, growth: &[Growth]) -> u64 {
    let of = |it: &Growth| match it.on.as_slice() {
        [] => it.size.saturating_sub(pool.size).whole(group.extent),
        on => on.iter().flat_map(|place| &place.stretches).map(|it| it.length).sum(),
    };
    growth.iter().map(of).sum()
}

fn growth_of(
    disks: &mut [PhysicalVolume],
    extent: Bytes,
    layer: &LogicalVolume,
    size: Bytes,
) -> Result<Option<Growth>, String> {
    let Some(legs) = layer.legs.as_ref().filter(|_| size > layer.size) else { return Ok(None) };
    let each = legs.growth_of_leg(size.saturating_sub(layer.size).whole(extent));
    let on = places_to_grow(disks, legs, each).ok_or_else(|| {
        let room = Bytes(each.saturating_mul(extent.0));
        format!("not every disk of the legs of {} has {room} free", layer.name)
    })?;
    take(disks, &on);
    Ok(Some(Growth { layer: layer.name.clone(), size, on }))
}

/// Takes off what lies at these places, each of which begins a free run.
fn take(disks: &mut [PhysicalVolume], on: &[Place]) {
    for place in on {
        let Some(disk) = disks.iter_mut().find(|it| it.device == place.device) else { continue };
        for taken in &place.stretches {
            let run = disk.free_runs.iter_mut().find(|run| run.start == taken.start);
            if let Some(run) = run {
                run.start += taken.length;
                run.length = run.length.saturating_sub(taken.length);
            }
        }
    }
}

#[cfg(test)]
mod tests;
