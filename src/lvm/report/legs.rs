//! On which disks the legs of RAID volumes lie, read from what the disks' segments are used for.
//!
//! A leg of the volume `v` is two volumes of LVM's own, its image and its metadata: `v_rimage_0` and
//! `v_rmeta_0`, and so on. No other volume may have such a name (lvm(8), "Valid names").

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{Error, PvRow, PvSegmentRow, SHUT_OUT, has, parse};
use crate::{
    lvm::{Kind, LegStretch, Legs, LogicalVolume, LostLeg, RaidLevel, Stretch},
    units::Bytes,
};

/// What LVM puts between a volume's name and the number of a leg in the names of its layers.
const IMAGE: &str = "_rimage_";
const METADATA: &str = "_rmeta_";

/// For each volume, by the number of the leg, how many extents it has on which disk.
type Layers<'a> = BTreeMap<&'a str, BTreeMap<u32, BTreeMap<&'a str, u64>>>;

/// Where the legs of all RAID volumes lie.
pub(super) fn stretches(segments: &[PvSegmentRow<'_>]) -> Result<Vec<LegStretch>, Error> {
    let mut stretches = Vec::new();
    for segment in segments {
        let Some((name, leg)) = any_leg_of(segment.lv_name) else { continue };
        let (start, length) = segment.place()?;
        stretches.push(LegStretch {
            volume: parse("lv_name", name)?,
            leg,
            disk: segment.pv_uuid.to_owned(),
            stretch: Stretch { start, length },
        });
    }
    Ok(stretches)
}

/// How many extents of each disk `pvmove` has.
pub(super) fn moving(segments: &[PvSegmentRow<'_>]) -> Result<BTreeMap<String, u64>, Error> {
    let mut moving = BTreeMap::new();
    for segment in segments.iter().filter(|it| it.lv_name.starts_with("[pvmove")) {
        let (_, extents) = segment.place()?;
        *moving.entry(segment.pv_uuid.to_owned()).or_default() += extents;
    }
    Ok(moving)
}

/// Enters the legs of every RAID volume, and of every RAID below a thin pool. LVM shows the metadata of its
/// legs as volumes of their own for as long as it makes one, until they are cleared: where all are shown, it
/// is half made.
pub(super) fn enter(
    logical: &mut Vec<LogicalVolume>,
    layers_of_pools: &mut [LogicalVolume],
    layouts: &BTreeMap<&str, &str>,
    disks: &[PvRow<'_>],
    segments: &[PvSegmentRow<'_>],
    extent: Bytes,
) -> Result<(), Error> {
    let mut shown = Vec::new();
    let (metadata, moving) = (layers(segments, METADATA)?, moving(segments)?);
    let shut_out = shut_out(segments);
    for (name, images) in layers(segments, IMAGE)? {
        let cleared: Vec<String> = images.keys().map(|leg| format!("{name}_rmeta_{leg}")).collect();
        let is_there = |name: &str| logical.iter().any(|lv| lv.name.as_str() == name);
        let is_half_made = cleared.iter().all(|name| is_there(name));
        let mut all = logical.iter_mut().chain(&mut *layers_of_pools);
        let Some(lv) = all.find(|lv| lv.name.as_str() == name) else { continue };
        let level = layouts.get(name).and_then(|layout| level_of(layout));
        let beside = metadata.get(name).cloned().unwrap_or_default();
        // Of a volume that is not active LVM says so, too, as soon as a leg of it is.
        let shut_out = shut_out.get(name).filter(|_| lv.active).cloned().unwrap_or_default();
        let found = Found { images: &images, metadata: &beside, shut_out, moving: &moving };
        lv.legs = found.legs(level, disks, lv.size.whole(extent));
        if is_half_made && lv.kind == Kind::Thick {
            lv.kind = Kind::HalfMade;
            shown.extend(cleared);
        }
    }
    logical.retain(|lv| !shown.iter().any(|name| lv.name.as_str() == name));
    Ok(())
}

/// Of which volume, and of which leg of it, a volume of LVM's own is a layer.
fn leg_of<'a>(lv_name: &'a str, layer: &str) -> Option<(&'a str, u32)> {
    // In brackets: those that are in use. One that somebody's `lvconvert` is about to add is not.
    let (name, leg) = lv_name.strip_prefix('[')?.strip_suffix(']')?.rsplit_once(layer)?;
    Some((name, leg.parse().ok()?))
}

fn any_leg_of(lv_name: &str) -> Option<(&str, u32)> {
    [IMAGE, METADATA].iter().find_map(|layer| leg_of(lv_name, layer))
}

fn layers<'a>(segments: &[PvSegmentRow<'a>], layer: &str) -> Result<Layers<'a>, Error> {
    let mut layers = Layers::new();
    for segment in segments {
        let Some((name, leg)) = leg_of(segment.lv_name, layer) else { continue };
        let (_, extents) = segment.place()?;
        let disks = layers.entry(name).or_default().entry(leg).or_default();
        *disks.entry(segment.pv_uuid).or_default() += extents;
    }
    Ok(layers)
}

/// For each volume, the disks on which legs of it lie that the kernel has shut out.
fn shut_out<'a>(segments: &[PvSegmentRow<'a>]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut shut_out: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for segment in segments.iter().filter(|it| it.lv_health_status == SHUT_OUT) {
        if let Some((name, _)) = any_leg_of(segment.lv_name) {
            shut_out.entry(name).or_default().insert(segment.pv_uuid);
        }
    }
    shut_out
}

/// What the segments tell of the legs of one volume.
struct Found<'a> {
    images: &'a BTreeMap<u32, BTreeMap<&'a str, u64>>,
    metadata: &'a BTreeMap<u32, BTreeMap<&'a str, u64>>,
    shut_out: BTreeSet<&'a str>,
    /// Of the whole group: see [`moving`].
    moving: &'a BTreeMap<String, u64>,
}

impl Found<'_> {
    fn legs(&self, level: Option<RaidLevel>, disks: &[PvRow<'_>], extents: u64) -> Option<Legs> {
        let Self { images, metadata, shut_out, moving } = self;
        let is_away =
            |uuid: &str| disks.iter().any(|it| it.pv_uuid == uuid && it.pv_missing == "1");
        let mut lost: Vec<LostLeg> = Vec::new();
        for (at, (leg, image)) in images.iter().enumerate() {
            let beside = metadata.get(leg).into_iter().flat_map(BTreeMap::keys);
            let mut away: Vec<&str> =
                image.keys().chain(beside).copied().filter(|uuid| is_away(uuid)).collect();
            away.sort_unstable();
            away.dedup();
            lost.extend(away.into_iter().map(|uuid| LostLeg { leg: at, disk: uuid.to_owned() }));
        }
        let is_missing: Vec<bool> =
            (0..images.len()).map(|at| lost.iter().any(|it| it.leg == at)).collect();
        let works = level.is_some_and(|level| level.works_without(&is_missing)) || lost.is_empty();
        let device = |uuid: &str| {
            let disk = disks.iter().find(|disk| disk.pv_uuid == uuid)?;
            Some(PathBuf::from(disk.pv_name.as_ref()))
        };
        // What an interrupted `pvmove` has of a leg is not known to be its.
        let rows_of = |image: &BTreeMap<&str, u64>| image.values().sum::<u64>();
        let rows = images.values().map(rows_of).max()?;
        let is_hidden =
            images.values().any(|it| rows_of(it) < rows) || !images.keys().eq(metadata.keys());
        let most = |image: &BTreeMap<&str, u64>| {
            let (uuid, _) = image.iter().min_by_key(|(_, extents)| Reverse(**extents))?;
            device(uuid)
        };
        let on = images.values().map(most).collect::<Option<Vec<_>>>()?;
        let all: BTreeSet<&str> =
            images.values().chain(metadata.values()).flat_map(BTreeMap::keys).copied().collect();
        let moving = moving.keys().map(String::as_str).filter(|_| is_hidden);
        let all: BTreeSet<&str> = all.into_iter().chain(moving).collect();
        let there = all.into_iter().filter(|uuid| !is_away(uuid)).filter_map(device);
        let beside = there.filter(|disk| !on.contains(disk)).collect();
        let stripes = extents.checked_div(rows)?.max(1);
        let shut_out = shut_out.iter().copied().filter(|uuid| !is_away(uuid)).filter_map(device);
        Some(Legs { disks: on, beside, stripes, works, lost, shut_out: shut_out.collect() })
    }
}

/// The level that a layout names: `raid,raid5,raid5_ls`.
fn level_of(layout: &str) -> Option<RaidLevel> {
    RaidLevel::ALL.into_iter().find(|level| has(layout, level.name()))
}
