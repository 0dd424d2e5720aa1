//! Every physical volume of the machine, in a group or not, read from LVM's report.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    Error, Tag, VgName,
    lines::LEAVING,
    report::{Report, parse, read_tags, unreadable},
};
use crate::units::Bytes;

/// The name that LVM gives to a device that it looks for in vain (lvm2, lib/metadata/metadata.c).
pub(super) const UNKNOWN: &str = "[unknown]";

/// Whether LVM looks for this device in vain.
pub(super) fn is_unknown(device: &Path) -> bool {
    device == Path::new(UNKNOWN)
}

/// A physical volume as LVM sees it, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPhysicalVolume {
    /// Its device, or LVM's `[unknown]`.
    pub device: PathBuf,
    /// The number of its device, major and minor; `None` when it is missing.
    pub number: Option<(u64, u64)>,
    /// LVM's own identity for it.
    pub uuid: String,
    /// Whether LVM sees it on two devices and has decided for the other.
    pub duplicate: bool,
    /// Whether it is missing, or marked so since it was: see [`super::PhysicalVolume::missing`].
    pub missing: bool,
    /// Whether it has the tag of one that is to leave its group: see [`super::Belonging`].
    pub leaving: bool,
    /// Whether volumes can be put on it.
    pub allocatable: bool,
    /// The group that it is in.
    pub group: Option<SeenGroup>,
    /// How it lies on its device, where it is in a group and not missing.
    pub footprint: Option<Footprint>,
}

/// How a physical volume lies on its device: a label and metadata, then extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// How large the device is now.
    pub device: Bytes,
    /// Where the first extent begins.
    pub start: Bytes,
    /// Bytes in an extent.
    pub extent: Bytes,
    /// How many extents there are.
    pub extents: u64,
    /// How many of them volumes have.
    pub used: u64,
    /// How many metadata areas; a second one lies behind the extents (pvcreate(8),
    /// `--pvmetadatacopies`).
    pub areas: u64,
}

impl Footprint {
    /// How many extents `pvresize` would add. Zero also where a metadata area lies behind the extents:
    /// Tarn makes none, and leaves such a one to whoever made it.
    pub fn growth(&self) -> u64 {
        if self.areas > 1 {
            return 0;
        }
        let room = self.device.saturating_sub(self.start).whole(self.extent);
        room.saturating_sub(self.extents)
    }
}

/// The group of a physical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenGroup {
    /// Its name. Another group may have it too, on disks that came from another machine.
    pub name: VgName,
    /// LVM's own identity for it.
    pub uuid: String,
    /// Its tags, sorted.
    pub tags: Vec<Tag>,
    /// How many of its disks are missing.
    pub missing: u64,
    /// Whether it was given away (`vgexport`) or is shared through a lock manager: not to be changed from
    /// here. Groups with another machine's system id are not shown at all (lvmsystemid(7)).
    pub elsewhere: bool,
}

impl SeenPhysicalVolume {
    /// Whether its device is not there.
    pub fn is_away(&self) -> bool {
        is_unknown(&self.device)
    }
}

#[derive(Deserialize)]
struct Rows {
    pv: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    pv_name: String,
    pv_uuid: String,
    pv_major: String,
    pv_minor: String,
    pv_duplicate: String,
    pv_missing: String,
    pv_allocatable: String,
    pv_tags: String,
    vg_name: String,
    vg_uuid: String,
    vg_tags: String,
    vg_exported: String,
    vg_shared: String,
    vg_missing_pv_count: String,
    dev_size: String,
    pe_start: String,
    pv_pe_count: String,
    pv_pe_alloc_count: String,
    pv_mda_count: String,
    vg_extent_size: String,
}

/// Reads the output of [`super::lines::physical_volumes`].
pub(super) fn read(json: &[u8]) -> Result<Vec<SeenPhysicalVolume>, Error> {
    let report: Report<Rows> = serde_json::from_slice(json).map_err(unreadable)?;
    report.report.into_iter().flat_map(|it| it.pv).map(|row| row.read()).collect()
}

impl Row {
    fn read(self) -> Result<SeenPhysicalVolume, Error> {
        let group = self.group()?;
        let number = match (self.pv_major.parse(), self.pv_minor.parse()) {
            (Ok(major), Ok(minor)) if self.pv_name != UNKNOWN => Some((major, minor)),
            _ => None,
        };
        let footprint = match number.is_some() && group.is_some() {
            true => Some(self.footprint()?),
            false => None,
        };
        Ok(SeenPhysicalVolume {
            device: self.pv_name.into(),
            number,
            uuid: self.pv_uuid,
            duplicate: self.pv_duplicate == "1",
            missing: self.pv_missing == "1",
            leaving: self.pv_tags.split(',').any(|it| it == LEAVING),
            allocatable: self.pv_allocatable == "1",
            group,
            footprint,
        })
    }

    fn footprint(&self) -> Result<Footprint, Error> {
        Ok(Footprint {
            device: Bytes(parse("dev_size", &self.dev_size)?),
            start: Bytes(parse("pe_start", &self.pe_start)?),
            extent: Bytes(parse("vg_extent_size", &self.vg_extent_size)?),
            extents: parse("pv_pe_count", &self.pv_pe_count)?,
            used: parse("pv_pe_alloc_count", &self.pv_pe_alloc_count)?,
            areas: parse("pv_mda_count", &self.pv_mda_count)?,
        })
    }

    fn group(&self) -> Result<Option<SeenGroup>, Error> {
        if self.vg_name.is_empty() {
            return Ok(None);
        }
        Ok(Some(SeenGroup {
            name: parse("vg_name", &self.vg_name)?,
            uuid: self.vg_uuid.clone(),
            tags: read_tags(&self.vg_tags)?,
            missing: parse("vg_missing_pv_count", &self.vg_missing_pv_count)?,
            elsewhere: self.vg_exported == "1" || self.vg_shared == "1",
        }))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn row(name: &str, major: &str, group: &str) -> String {
        let missing = u8::from(name == UNKNOWN);
        format!(
            r#"{{"pv_name":"{name}","pv_uuid":"u","pv_major":"{major}","pv_minor":"16","pv_duplicate":"0",
            "pv_missing":"{missing}","pv_allocatable":"1","pv_tags":"a,tarn.leaving",
            {group},"vg_exported":"0","vg_shared":"0","vg_missing_pv_count":"1",
            "dev_size":"104857600","pe_start":"1048576","pv_pe_count":"24","pv_pe_alloc_count":"7","pv_mda_count":"1",
            "vg_extent_size":"4194304"}}"#
        )
    }

    #[test]
    fn with_a_group_without_one_and_missing() {
        let (of, none) = (
            r#""vg_name":"vg0","vg_uuid":"g","vg_tags":"tarn.pool=a,b""#,
            r#""vg_name":"","vg_uuid":"","vg_tags":"""#,
        );
        let rows =
            [row("/dev/sdb", "8", of), row("[unknown]", "-1", of), row("/dev/sdc", "8", none)];
        let json = format!(r#"{{"report": [{{"pv": [{}]}}]}}"#, rows.join(","));
        let seen = read(json.as_bytes()).unwrap();
        let numbers: Vec<_> = seen.iter().map(|it| it.number).collect();
        assert_eq!(numbers, [Some((8, 16)), None, Some((8, 16))]);
        assert_eq!(seen.iter().map(|it| it.missing).collect::<Vec<_>>(), [false, true, false]);
        let group = seen[0].group.as_ref().unwrap();
        assert_eq!((group.name.as_str(), group.missing, group.elsewhere), ("vg0", 1, false));
        assert_eq!(group.tags, ["b".parse().unwrap(), "tarn.pool=a".parse().unwrap()]);
        assert_eq!(seen[2].group, None);
        let footprint = Footprint {
            device: Bytes::mib(100),
            start: Bytes::MIB,
            extent: Bytes::mib(4),
            extents: 24,
            used: 7,
            areas: 1,
        };
        assert!(seen[0].leaving && seen[0].allocatable);
        let footprints: Vec<_> = seen.iter().map(|it| it.footprint).collect();
        assert_eq!(footprints, [Some(footprint), None, None]);
        assert!(matches!(read(b"{}"), Err(Error::Report(_))));
    }

    #[rstest]
    #[case::as_it_was(97, 1, 0)]
    #[case::less_than_an_extent(100, 1, 0)]
    #[case::one(101, 1, 1)]
    #[case::many(200, 1, 25)]
    #[case::smaller(50, 1, 0)]
    #[case::no_metadata(101, 0, 1)]
    #[case::metadata_at_the_end(200, 2, 0)]
    fn what_a_larger_device_gives(#[case] mib: u64, #[case] areas: u64, #[case] want: u64) {
        let footprint = Footprint {
            device: Bytes::mib(mib),
            start: Bytes::MIB,
            extent: Bytes::mib(4),
            extents: 24,
            used: 0,
            areas,
        };
        assert_eq!(footprint.growth(), want);
    }
}
