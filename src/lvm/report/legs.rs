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
    lvm::{Kind, Legs, LogicalVolume, LostLeg, RaidLevel},
    units::Bytes,
};

/// For each volume, by the number of the leg, how many extents it has on which disk.
type Layers<'a> = BTreeMap<&'a str, BTreeMap<u32, BTreeMap<&'a str, u64>>>;

/// Enters the legs of every RAID volume. LVM shows the metadata of its legs as volumes of their own for
/// as long as it makes one, until they are cleared: where all are shown, it is half made.
pub(super) fn enter(
    logical: &mut Vec<LogicalVolume>,
    layouts: &BTreeMap<&str, &str>,
    disks: &[PvRow<'_>],
    segments: &[PvSegmentRow<'_>],
    extent: Bytes,
) -> Result<(), Error> {
    let mut shown = Vec::new();
    let metadata = layers(segments, "_rmeta_")?;
    for (name, images) in layers(segments, "_rimage_")? {
        let cleared: Vec<String> = images.keys().map(|leg| format!("{name}_rmeta_{leg}")).collect();
        let is_there = |name: &str| logical.iter().any(|lv| lv.name.as_str() == name);
        let is_half_made = cleared.iter().all(|name| is_there(name));
        let Some(lv) = logical.iter_mut().find(|lv| lv.name.as_str() == name) else { continue };
        let level = layouts.get(name).and_then(|layout| level_of(layout));
        let beside = metadata.get(name).cloned().unwrap_or_default();
        lv.legs = legs_of(&images, &beside, level, disks, lv.size.whole(extent));
        if let Some(legs) = &mut lv.legs {
            legs.shut_out = shut_out(name, segments, disks);
        }
        if is_half_made && lv.kind == Kind::Thick {
            lv.kind = Kind::HalfMade;
            shown.extend(cleared);
        }
    }
    logical.retain(|lv| !shown.iter().any(|name| lv.name.as_str() == name));
    Ok(())
}

fn layers<'a>(segments: &[PvSegmentRow<'a>], layer: &str) -> Result<Layers<'a>, Error> {
    let mut layers = Layers::new();
    for segment in segments {
        // In brackets: those that are in use. One that somebody's `lvconvert` is about to add is not.
        let hidden = segment.lv_name.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let found = hidden.and_then(|name| name.rsplit_once(layer));
        let Some((name, Ok(leg))) = found.map(|(name, leg)| (name, leg.parse())) else { continue };
        let extents: u64 = parse("pvseg_size", segment.pvseg_size)?;
        let disks = layers.entry(name).or_default().entry(leg).or_default();
        *disks.entry(segment.pv_uuid).or_default() += extents;
    }
    Ok(layers)
}

/// The devices on which the legs of a volume lie that the kernel has shut out.
fn shut_out(name: &str, segments: &[PvSegmentRow<'_>], disks: &[PvRow<'_>]) -> Vec<PathBuf> {
    let of_it = |layer: &str| {
        let hidden =
            layer.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or_default();
        let found = hidden.rsplit_once("_rimage_").or_else(|| hidden.rsplit_once("_rmeta_"));
        found.is_some_and(|(of, _)| of == name)
    };
    let shut = segments.iter().filter(|it| it.lv_health_status == SHUT_OUT && of_it(it.lv_name));
    let on: BTreeSet<&str> = shut.map(|it| it.pv_uuid).collect();
    let disks = disks.iter().filter(|it| on.contains(it.pv_uuid) && it.pv_missing != "1");
    disks.map(|it| PathBuf::from(it.pv_name.as_ref())).collect()
}

fn legs_of(
    images: &BTreeMap<u32, BTreeMap<&str, u64>>,
    metadata: &BTreeMap<u32, BTreeMap<&str, u64>>,
    level: Option<RaidLevel>,
    disks: &[PvRow<'_>],
    extents: u64,
) -> Option<Legs> {
    let is_away = |uuid: &str| disks.iter().any(|it| it.pv_uuid == uuid && it.pv_missing == "1");
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
    let rows: u64 = images.values().next()?.values().sum();
    let most = |image: &BTreeMap<&str, u64>| {
        let (uuid, _) = image.iter().min_by_key(|(_, extents)| Reverse(**extents))?;
        device(uuid)
    };
    let on = images.values().map(most).collect::<Option<Vec<_>>>()?;
    let all: BTreeSet<&str> =
        images.values().chain(metadata.values()).flat_map(BTreeMap::keys).copied().collect();
    let there = all.into_iter().filter(|uuid| !is_away(uuid)).filter_map(device);
    let beside = there.filter(|disk| !on.contains(disk)).collect();
    let stripes = extents.checked_div(rows)?.max(1);
    Some(Legs { disks: on, beside, stripes, works, lost, shut_out: Vec::new() })
}

/// The level that a layout names: `raid,raid5,raid5_ls`.
fn level_of(layout: &str) -> Option<RaidLevel> {
    RaidLevel::ALL.into_iter().find(|level| has(layout, level.name()))
}
