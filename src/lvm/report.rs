//! LVM's JSON reports, read into types.
//!
//! In LVM's `json` format every value is a text. With `--binary`, yes and no are `1` and `0`, and
//! `-1` is what LVM does not know (lvmreport(7)). Rows borrow from the output, which for hundreds of
//! volumes is far larger than what is kept of it.

mod layout;
mod legs;

pub(super) use layout::layout;

use std::{borrow::Cow, collections::BTreeMap, path::Path, str::FromStr};

use serde::Deserialize;

use super::{
    Error, Group, Kind, LogicalVolume, LvName, PhysicalVolume, Stretch, Tag, raid::note_erring,
};
use crate::units::Bytes;

/// What LVM calls the health of a volume that lies on a disk which is missing.
const PARTIAL: &str = "partial";
/// What LVM calls the health of a thin pool that has given up, and of all in it.
const FAILED: &str = "failed";
/// What LVM calls the health of a thin pool that the kernel has made read-only, as it could not write to it.
const READ_ONLY: &str = "metadata_read_only";

/// What LVM calls the health of a RAID volume, and of the leg, that the kernel has shut out after an error.
const SHUT_OUT: &str = "refresh needed";

/// Reads the output of [`super::lines::report`].
///
/// # Errors
/// [`Error::Report`] for what does not look like the report of exactly one group.
pub(super) fn read(json: &[u8]) -> Result<Group, Error> {
    let report: Report<Full<'_>> = serde_json::from_slice(json).map_err(unreadable)?;
    let [full] = <[Full<'_>; 1]>::try_from(report.report)
        .map_err(|found| Error::Report(format!("{} groups instead of one", found.len())))?;
    let [vg] = <[VgRow<'_>; 1]>::try_from(full.vg)
        .map_err(|found| Error::Report(format!("{} rows about the group", found.len())))?;
    let physical = full.pv.iter().map(|pv| read_physical(pv, &full.pvseg));
    let mut physical: Vec<_> = physical.collect::<Result<_, _>>()?;
    let (shown, hidden): (Vec<_>, Vec<_>) = full.lv.iter().partition(|it| !it.is_hidden());
    let mut logical: Vec<_> = shown.into_iter().map(read_logical).collect::<Result<_, _>>()?;
    number(&mut logical, &full.seg)?;
    note_given_up(&mut logical);
    let layers = hidden.into_iter().filter(|it| it.is_raid_below_a_thin_pool());
    let mut layers: Vec<_> = layers.map(read_logical).collect::<Result<_, _>>()?;
    let extent = Bytes(parse("vg_extent_size", vg.vg_extent_size)?);
    let layouts = full.lv.iter().map(|lv| (lv.name(), lv.lv_layout)).collect();
    legs::enter(&mut logical, &mut layers, &layouts, &full.pv, &full.pvseg, extent)?;
    note_erring(&mut physical, logical.iter().chain(&layers));
    let (legs, moving) = (legs::stretches(&full.pvseg)?, legs::moving(&full.pvseg)?);
    Ok(Group {
        name: parse("vg_name", vg.vg_name)?,
        uuid: vg.vg_uuid.to_owned(),
        extent,
        extents: parse("vg_extent_count", vg.vg_extent_count)?,
        free: parse("vg_free_count", vg.vg_free_count)?,
        tags: read_tags(vg.vg_tags)?,
        physical,
        logical,
        layers,
        legs,
        moving,
    })
}

/// Who would go with a volume if it were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependents {
    /// Nobody: the volume is not there.
    Absent,
    /// Nobody else.
    Alone,
    /// Copy-on-write snapshots of it, or thin volumes in it.
    Some,
    /// The volume itself lies on a disk that is missing.
    Lost,
}

/// Reads the output of [`super::lines::dependents`] for one volume.
pub(super) fn dependents(json: &[u8], lv: &LvName) -> Result<Dependents, Error> {
    let report: Report<Kinship<'_>> = serde_json::from_slice(json).map_err(unreadable)?;
    let rows: Vec<KinRow<'_>> = report.report.into_iter().flat_map(|it| it.lv).collect();
    let needs = |row: &KinRow<'_>| {
        row.pool_lv == lv.as_str() || (row.is_copy_on_write() && row.origin == lv.as_str())
    };
    let is_lost = |row: &KinRow<'_>| row.lv_name == lv.as_str() && row.is_partial();
    Ok(if rows.iter().any(needs) {
        Dependents::Some
    } else if rows.iter().any(is_lost) {
        Dependents::Lost
    } else if rows.iter().any(|row| row.lv_name == lv.as_str()) {
        Dependents::Alone
    } else {
        Dependents::Absent
    })
}

/// Reads the output of [`super::lines::version`].
pub(super) fn version(text: &[u8]) -> Result<(u32, u32, u32), Error> {
    let text = String::from_utf8_lossy(text);
    let found = text.lines().find_map(|line| line.trim().strip_prefix("LVM version:"));
    let number = found.unwrap_or_default().trim();
    let number = number.split(|c: char| c != '.' && !c.is_ascii_digit()).next();
    let mut parts = number.unwrap_or_default().split('.').map(str::parse);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Ok((major, minor, patch)),
        _ => Err(Error::Report(format!("no version in `{}`", text.trim()))),
    }
}

#[derive(Deserialize)]
pub(super) struct Report<T> {
    pub(super) report: Vec<T>,
}

#[derive(Deserialize)]
struct Full<'a> {
    #[serde(borrow)]
    vg: Vec<VgRow<'a>>,
    #[serde(borrow)]
    pv: Vec<PvRow<'a>>,
    #[serde(borrow)]
    lv: Vec<LvRow<'a>>,
    #[serde(borrow)]
    pvseg: Vec<PvSegmentRow<'a>>,
    #[serde(borrow)]
    seg: Vec<SegmentRow<'a>>,
}

#[derive(Deserialize)]
struct SegmentRow<'a> {
    lv_uuid: &'a str,
    /// Empty for what is not thin.
    #[serde(default)]
    thin_id: &'a str,
}

#[derive(Deserialize)]
struct VgRow<'a> {
    vg_name: &'a str,
    vg_uuid: &'a str,
    vg_extent_size: &'a str,
    vg_extent_count: &'a str,
    vg_free_count: &'a str,
    vg_tags: &'a str,
}

#[derive(Deserialize)]
struct PvRow<'a> {
    pv_uuid: &'a str,
    #[serde(borrow)]
    pv_name: Cow<'a, str>,
    pv_missing: &'a str,
    pv_allocatable: &'a str,
    pv_pe_count: &'a str,
}

#[derive(Deserialize)]
struct PvSegmentRow<'a> {
    pv_uuid: &'a str,
    pvseg_start: &'a str,
    pvseg_size: &'a str,
    /// Empty for a free segment.
    lv_name: &'a str,
    /// How what has it is; absent in what older tests have kept.
    #[serde(default)]
    lv_health_status: &'a str,
}

impl PvSegmentRow<'_> {
    /// Its first extent and how many there are.
    fn place(&self) -> Result<(u64, u64), Error> {
        Ok((parse("pvseg_start", self.pvseg_start)?, parse("pvseg_size", self.pvseg_size)?))
    }
}

#[derive(Deserialize)]
struct LvRow<'a> {
    lv_name: &'a str,
    lv_uuid: &'a str,
    lv_size: &'a str,
    lv_layout: &'a str,
    lv_role: &'a str,
    lv_active: &'a str,
    lv_suspended: &'a str,
    /// Absent in what older tests have kept.
    #[serde(default)]
    lv_health_status: &'a str,
    origin: &'a str,
    origin_size: &'a str,
    pool_lv: &'a str,
    data_percent: &'a str,
    metadata_percent: &'a str,
    /// Absent in what older tests have kept.
    #[serde(default)]
    copy_percent: &'a str,
    lv_tags: &'a str,
}

impl<'a> LvRow<'a> {
    /// LVM shows its own volumes in brackets.
    fn is_hidden(&self) -> bool {
        self.lv_name.starts_with('[')
    }

    fn name(&self) -> &'a str {
        self.lv_name.trim_matches(['[', ']'])
    }

    fn is_raid_below_a_thin_pool(&self) -> bool {
        let is_in_thin_pool = ["thin", "pool"].iter().all(|word| has(self.lv_role, word));
        is_in_thin_pool && is_raid(self.lv_layout)
    }
}

#[derive(Deserialize)]
struct Kinship<'a> {
    #[serde(borrow)]
    lv: Vec<KinRow<'a>>,
}

#[derive(Deserialize)]
struct KinRow<'a> {
    lv_name: &'a str,
    lv_role: &'a str,
    origin: &'a str,
    pool_lv: &'a str,
    lv_health_status: &'a str,
}

impl KinRow<'_> {
    fn is_copy_on_write(&self) -> bool {
        has(self.lv_role, "thicksnapshot")
    }

    fn is_partial(&self) -> bool {
        self.lv_health_status == PARTIAL
    }
}

fn read_physical(pv: &PvRow<'_>, segments: &[PvSegmentRow<'_>]) -> Result<PhysicalVolume, Error> {
    let mine = segments.iter().filter(|it| it.pv_uuid == pv.pv_uuid && it.lv_name.is_empty());
    let mut segments = mine.map(PvSegmentRow::place).collect::<Result<Vec<_>, _>>()?;
    segments.sort_unstable();
    let mut free: Vec<(u64, u64)> = Vec::new();
    for (start, length) in segments {
        match free.last_mut() {
            Some((before, run)) if *before + *run == start => *run += length,
            _ => free.push((start, length)),
        }
    }
    Ok(PhysicalVolume {
        device: Path::new(pv.pv_name.as_ref()).to_path_buf(),
        uuid: pv.pv_uuid.to_owned(),
        missing: pv.pv_missing == "1",
        allocatable: pv.pv_allocatable == "1",
        erring: false,
        extents: parse("pv_pe_count", pv.pv_pe_count)?,
        free_runs: free.into_iter().map(|(start, length)| Stretch { start, length }).collect(),
    })
}

fn read_logical(lv: &LvRow<'_>) -> Result<LogicalVolume, Error> {
    let kind = read_kind(lv)?;
    let size = if kind == Kind::CopyOnWrite { lv.origin_size } else { lv.lv_size };
    Ok(LogicalVolume {
        name: parse("lv_name", lv.name())?,
        uuid: lv.lv_uuid.to_owned(),
        size: Bytes(parse("size", size)?),
        kind,
        origin: match lv.origin {
            "" => None,
            origin => Some(parse("origin", origin.trim_matches(['[', ']']))?),
        },
        legs: None,
        synced: read_percent("copy_percent", lv.copy_percent)?,
        thin_id: None,
        active: !lv.lv_active.is_empty(),
        suspended: lv.lv_suspended == "1",
        lost: lv.lv_health_status == PARTIAL,
        failed: [FAILED, READ_ONLY].contains(&lv.lv_health_status),
        tags: read_tags(lv.lv_tags)?,
    })
}

/// What is in a thin pool that has given up has, too, though LVM does not say so of one that is read-only.
fn note_given_up(logical: &mut [LogicalVolume]) {
    let failed = logical.iter().filter(|lv| lv.failed && matches!(lv.kind, Kind::ThinPool { .. }));
    let failed: Vec<LvName> = failed.map(|lv| lv.name.clone()).collect();
    for lv in logical {
        lv.failed |= lv.thin_pool().is_some_and(|pool| failed.contains(pool));
    }
}

/// Numbers in a thin pool are told with the segments, of which a thin volume has one.
fn number(logical: &mut [LogicalVolume], segments: &[SegmentRow<'_>]) -> Result<(), Error> {
    let thin = segments.iter().filter(|it| !it.thin_id.is_empty());
    let numbers: BTreeMap<&str, &str> = thin.map(|it| (it.lv_uuid, it.thin_id)).collect();
    for lv in logical {
        if let Some(number) = numbers.get(lv.uuid.as_str()) {
            lv.thin_id = Some(parse("thin_id", number)?);
        }
    }
    Ok(())
}

fn read_kind(lv: &LvRow<'_>) -> Result<Kind, Error> {
    let (layout, role) = (lv.lv_layout, lv.lv_role);
    Ok(if has(layout, "thin") && has(layout, "pool") {
        Kind::ThinPool {
            data_percent: read_percent("data_percent", lv.data_percent)?,
            metadata_percent: read_percent("metadata_percent", lv.metadata_percent)?,
        }
    } else if has(role, "thicksnapshot") {
        Kind::CopyOnWrite
    } else if has(layout, "thin") {
        Kind::Thin(parse("pool_lv", lv.pool_lv)?)
    } else if layout == "linear" || layout == "striped" || is_raid(layout) {
        Kind::Thick
    } else {
        Kind::Other(layout.to_owned())
    })
}

/// Whether this is a RAID and nothing besides, such as one with checksums: `raid,raid5,raid5_ls`.
fn is_raid(layout: &str) -> bool {
    has(layout, "raid") && layout.split(',').all(|word| word.starts_with("raid"))
}

fn read_percent(field: &str, text: &str) -> Result<Option<f64>, Error> {
    if text.is_empty() { Ok(None) } else { parse(field, text).map(Some) }
}

pub(super) fn read_tags(text: &str) -> Result<Vec<Tag>, Error> {
    let mut tags: Vec<Tag> = text
        .split(',')
        .filter(|tag| !tag.is_empty())
        .map(|tag| parse("tags", tag))
        .collect::<Result<_, _>>()?;
    tags.sort();
    Ok(tags)
}

/// Whether a comma-separated list has this word.
fn has(list: &str, word: &str) -> bool {
    list.split(',').any(|it| it == word)
}

pub(super) fn parse<T: FromStr>(field: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::Report(format!("{field} is `{text}`")))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn unreadable(err: serde_json::Error) -> Error {
    Error::Report(err.to_string())
}

#[cfg(test)]
mod tests;
