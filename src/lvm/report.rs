//! LVM's JSON reports, read into types.
//!
//! In LVM's `json` format every value is a text. With `--binary`, yes and no are `1` and `0`, and
//! `-1` is what LVM does not know (lvmreport(7)). Rows borrow from the output, which for hundreds of
//! volumes is far larger than what is kept of it.

mod legs;

use std::{borrow::Cow, collections::BTreeMap, path::Path, str::FromStr};

use serde::Deserialize;

use super::{Error, Group, Kind, LogicalVolume, LvName, PhysicalVolume, Stretch, Tag};
use crate::units::Bytes;

/// What LVM calls the health of a volume that lies on a disk which is missing.
const PARTIAL: &str = "partial";
/// What LVM calls the health of a thin pool that has given up, and of all in it.
const FAILED: &str = "failed";

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
    let mut logical: Vec<_> = full.lv.iter().map(read_logical).collect::<Result<_, _>>()?;
    number(&mut logical, &full.seg)?;
    let extent = Bytes(parse("vg_extent_size", vg.vg_extent_size)?);
    let layouts = full.lv.iter().map(|lv| (lv.lv_name, lv.lv_layout)).collect();
    legs::enter(&mut logical, &layouts, &full.pv, &full.pvseg, extent)?;
    Ok(Group {
        name: parse("vg_name", vg.vg_name)?,
        uuid: vg.vg_uuid.to_owned(),
        extent,
        extents: parse("vg_extent_count", vg.vg_extent_count)?,
        free: parse("vg_free_count", vg.vg_free_count)?,
        tags: read_tags(vg.vg_tags)?,
        physical: physical.collect::<Result<_, _>>()?,
        logical,
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
        extents: parse("pv_pe_count", pv.pv_pe_count)?,
        free_runs: free.into_iter().map(|(start, length)| Stretch { start, length }).collect(),
    })
}

fn read_logical(lv: &LvRow<'_>) -> Result<LogicalVolume, Error> {
    let kind = read_kind(lv)?;
    let size = if kind == Kind::CopyOnWrite { lv.origin_size } else { lv.lv_size };
    Ok(LogicalVolume {
        name: parse("lv_name", lv.lv_name)?,
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
        failed: lv.lv_health_status == FAILED,
        tags: read_tags(lv.lv_tags)?,
    })
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
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::lvm::Legs;

    const EVERY_KIND: &[u8] = include_bytes!("testdata/2.03.16-every-kind.json");
    const MISSING_DISK: &[u8] = include_bytes!("testdata/2.03.16-missing-disk.json");
    const DEPENDENTS: &[u8] = include_bytes!("testdata/2.03.16-dependents.json");
    const VERSION: &[u8] = include_bytes!("testdata/2.03.16-version.txt");

    fn volume(name: &str) -> LogicalVolume {
        let group = read(EVERY_KIND).unwrap();
        group.logical.into_iter().find(|it| it.name.as_str() == name).unwrap()
    }

    #[test]
    fn a_group_and_its_disks() {
        let group = read(EVERY_KIND).unwrap();
        assert_eq!((group.name.as_str(), group.extent), ("vg0", Bytes::mib(4)));
        assert_eq!((group.extents, group.free), (3069, 3043));
        assert_eq!(group.tags, ["tarn.pool=fast".parse().unwrap(), "two".parse().unwrap()]);
        let disks: Vec<_> = group.physical.iter().map(|pv| pv.device.to_str().unwrap()).collect();
        assert_eq!(disks, ["/dev/ubdb", "/dev/ubda", "/dev/ubdc"], "in the group's order");
        let allocatable: Vec<_> = group.physical.iter().map(|pv| pv.allocatable).collect();
        assert_eq!(allocatable, [true, true, false]);
        let free: Vec<_> = group.physical.iter().map(|pv| &pv.free_runs[..]).collect();
        let run = |start, length| Stretch { start, length };
        assert_eq!(free, [&[run(17, 1006)][..], &[run(5, 5), run(14, 1009)], &[run(0, 1023)]]);
    }

    #[rstest]
    #[case::linear("a", Kind::Thick, Bytes::mib(16), None)]
    #[case::striped("st", Kind::Thick, Bytes::mib(16), None)]
    #[case::copy_on_write("cow", Kind::CopyOnWrite, Bytes::mib(16), Some("a"))]
    #[case::thin("t", Kind::Thin("pool".parse().unwrap()), Bytes::GIB, None)]
    #[case::thin_snapshot("frozen", Kind::Thin("pool".parse().unwrap()), Bytes::GIB, Some("t"))]
    #[case::raid("mirror", Kind::Thick, Bytes::mib(4), None)]
    #[case::pool(
        "pool",
        Kind::ThinPool { data_percent: Some(12.5), metadata_percent: Some(10.94) },
        Bytes::mib(32),
        None
    )]
    fn kinds(
        #[case] name: &str,
        #[case] kind: Kind,
        #[case] size: Bytes,
        #[case] origin: Option<&str>,
    ) {
        let seen = volume(name);
        assert_eq!((seen.kind, seen.size), (kind, size));
        assert_eq!(seen.origin, origin.map(|it| it.parse().unwrap()));
    }

    #[test]
    fn the_legs_of_a_raid() {
        let disks = vec!["/dev/ubdb".into(), "/dev/ubda".into()];
        assert_eq!(volume("mirror").legs, Some(Legs::whole(disks, 1)));
        assert_eq!(volume("st").legs, None);
    }

    #[test]
    fn metadata_that_lie_elsewhere_are_beside_the_legs() {
        let text = String::from_utf8_lossy(EVERY_KIND);
        let row = text.lines().find(|line| line.contains("[mirror_rmeta_1]")).unwrap();
        let moved = row.replace(
            "wNjiFF-QJq0-HVeW-Jnrp-dpkK-VeIm-SZN1OY",
            "eroWDH-GzJS-D0Rc-BlSl-q3Om-EWAn-ynOleI",
        );
        let group = read(text.replace(row, &moved).as_bytes()).unwrap();
        let mirror = group.logical.iter().find(|it| it.name.as_str() == "mirror").unwrap();
        let beside = vec!["/dev/ubdc".into()];
        assert_eq!(mirror.legs, volume("mirror").legs.map(|legs| Legs { beside, ..legs }));
    }

    #[test]
    fn a_leg_that_is_shut_out_after_an_error() {
        let text = String::from_utf8_lossy(EVERY_KIND).into_owned();
        let shut_out = |layer: &str| {
            let named = format!(r#""lv_name":"[{layer}]""#);
            let told = format!(r#"{named}, "lv_health_status":"refresh needed""#);
            let group = read(text.replace(&named, &told).as_bytes()).unwrap();
            let mirror = group.logical.into_iter().find(|it| it.name.as_str() == "mirror").unwrap();
            mirror.legs.unwrap().shut_out
        };
        assert_eq!(shut_out("mirror_rimage_0"), [Path::new("/dev/ubdb")]);
        assert_eq!(shut_out("mirror_rmeta_1"), [Path::new("/dev/ubda")]);
        assert!(shut_out("other_rimage_0").is_empty());
    }

    /// LVM shows what it is to clear.
    #[test]
    fn a_half_made_raid() {
        let text = String::from_utf8_lossy(EVERY_KIND).into_owned();
        let row =
            text.lines().find(|line| line.contains(r#""lv_name":"asleep", "lv_uuid""#)).unwrap();
        let row = row.trim().trim_end_matches(',');
        let shown = |leg: u32| row.replace("asleep", &format!("mirror_rmeta_{leg}"));
        let more =
            |rows: &[String]| text.replacen(row, &[rows, &[row.to_owned()]].concat().join(","), 1);
        let kind = |text: String| {
            let group = read(text.as_bytes()).unwrap();
            let mirror = group.logical.iter().find(|it| it.name.as_str() == "mirror").unwrap();
            (mirror.kind.clone(), group.logical.len())
        };
        let (before, count) = kind(text.clone());
        assert_eq!(before, Kind::Thick);
        assert_eq!(kind(more(&[shown(0), shown(1)])), (Kind::HalfMade, count));
        assert_eq!(kind(more(&[shown(1)])), (Kind::Thick, count + 1), "somebody adds a leg");
    }

    #[rstest]
    #[case::active("a", true, false)]
    #[case::inactive("off", false, false)]
    #[case::frozen("frozen", false, false)]
    #[case::suspended("asleep", true, true)]
    fn states(#[case] name: &str, #[case] active: bool, #[case] suspended: bool) {
        let seen = volume(name);
        assert_eq!((seen.active, seen.suspended), (active, suspended));
    }

    #[test]
    fn a_missing_disk_is_seen() {
        let group = read(MISSING_DISK).unwrap();
        let missing: Vec<_> = group.physical.iter().map(|pv| pv.missing).collect();
        assert_eq!(missing, [true, false, false]);
        assert_eq!(group.physical[0].device.to_str(), Some("[unknown]"));
    }

    #[rstest]
    #[case::origin("a", Dependents::Some)]
    #[case::pool("pool", Dependents::Some)]
    #[case::thin_origin("t", Dependents::Alone)]
    #[case::snapshot("cow", Dependents::Alone)]
    #[case::nobody("nobody", Dependents::Absent)]
    fn who_needs_it(#[case] name: &str, #[case] want: Dependents) {
        assert_eq!(dependents(DEPENDENTS, &name.parse().unwrap()).unwrap(), want);
    }

    #[test]
    fn what_lies_on_a_missing_disk_is_not_removed() {
        let row = |name: &str, health: &str| {
            format!(
                r#"{{"lv_name":"{name}","lv_role":"public","origin":"","pool_lv":"","lv_health_status":"{health}"}}"#
            )
        };
        let rows = [row("whole", ""), row("lost", "partial")].join(",");
        let json = format!(r#"{{"report": [{{"lv": [{rows}]}}]}}"#);
        let of = |name: &str| dependents(json.as_bytes(), &name.parse().unwrap()).unwrap();
        assert_eq!((of("whole"), of("lost")), (Dependents::Alone, Dependents::Lost));
    }

    #[rstest]
    #[case::nothing("")]
    #[case::no_json("Volume group not found")]
    #[case::no_group(r#"{"report": []}"#)]
    #[case::no_row(r#"{"report": [{"vg": [], "pv": [], "lv": [], "pvseg": [], "seg": []}]}"#)]
    fn what_is_no_report(#[case] text: &str) {
        assert!(matches!(read(text.as_bytes()), Err(Error::Report(_))));
    }

    #[test]
    fn versions() {
        assert_eq!(version(VERSION).unwrap(), (2, 3, 16));
        assert!(version(b"LVM version:     two").is_err());
    }
}
