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

/// What LVM puts between a volume's name and the number of a leg in the names of its layers.
const IMAGE: &str = "_rimage_";
const METADATA: &str = "_rmeta_";

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
    let metadata = layers(segments, METADATA)?;
    let shut_out = shut_out(segments);
    for (name, images) in layers(segments, IMAGE)? {
        let cleared: Vec<String> = images.keys().map(|leg| format!("{name}_rmeta_{leg}")).collect();
        let is_there = |name: &str| logical.iter().any(|lv| lv.name.as_str() == name);
        let is_half_made = cleared.iter().all(|name| is_there(name));
        let Some(lv) = logical.iter_mut().find(|lv| lv.name.as_str() == name) else { continue };
        let level = layouts.get(name).and_then(|layout| level_of(layout));
        let beside = metadata.get(name).cloned().unwrap_or_default();
        let shut = shut_out.get(name).cloned().unwrap_or_default();
        lv.legs = legs_of(&images, &beside, &shut, level, disks, lv.size.whole(extent));
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

fn layers<'a>(segments: &[PvSegmentRow<'a>], layer: &str) -> Result<Layers<'a>, Error> {
    let mut layers = Layers::new();
    for segment in segments {
        let Some((name, leg)) = leg_of(segment.lv_name, layer) else { continue };
        let extents: u64 = parse("pvseg_size", segment.pvseg_size)?;
        let disks = layers.entry(name).or_default().entry(leg).or_default();
        *disks.entry(segment.pv_uuid).or_default() += extents;
    }
    Ok(layers)
}

/// For each volume, the disks on which legs of it lie that the kernel has shut out.
fn shut_out<'a>(segments: &[PvSegmentRow<'a>]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut shut_out: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for segment in segments.iter().filter(|it| it.lv_health_status == SHUT_OUT) {
        let leg = [IMAGE, METADATA].iter().find_map(|layer| leg_of(segment.lv_name, layer));
        if let Some((name, _)) = leg {
            shut_out.entry(name).or_default().insert(segment.pv_uuid);
        }
    }
    shut_out
}

fn legs_of(
    images: &BTreeMap<u32, BTreeMap<&str, u64>>,
    metadata: &BTreeMap<u32, BTreeMap<&str, u64>>,
    shut_out: &BTreeSet<&str>,
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
    let shut_out = shut_out.iter().copied().filter(|uuid| !is_away(uuid)).filter_map(device);
    Some(Legs { disks: on, beside, stripes, works, lost, shut_out: shut_out.collect() })
}

/// The level that a layout names: `raid,raid5,raid5_ls`.
fn level_of(layout: &str) -> Option<RaidLevel> {
    RaidLevel::ALL.into_iter().find(|level| has(layout, level.name()))
}
