//! Every physical volume of the machine, in a group or not, read from LVM's report.

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    Error, Tag, VgName,
    report::{Report, parse, read_tags, unreadable},
};

/// The name that LVM gives to a device that it looks for in vain (lvm2, lib/metadata/metadata.c).
const UNKNOWN: &str = "[unknown]";

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
    /// The group that it is in.
    pub group: Option<SeenGroup>,
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
    vg_name: String,
    vg_uuid: String,
    vg_tags: String,
    vg_exported: String,
    vg_shared: String,
    vg_missing_pv_count: String,
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
        Ok(SeenPhysicalVolume {
            device: self.pv_name.into(),
            number,
            uuid: self.pv_uuid,
            duplicate: self.pv_duplicate == "1",
            group,
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
    use super::*;

    fn row(name: &str, major: &str, group: &str) -> String {
        format!(
            r#"{{"pv_name":"{name}","pv_uuid":"u","pv_major":"{major}","pv_minor":"16","pv_duplicate":"0",
            {group},"vg_exported":"0","vg_shared":"0","vg_missing_pv_count":"1"}}"#
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
        let group = seen[0].group.as_ref().unwrap();
        assert_eq!((group.name.as_str(), group.missing, group.elsewhere), ("vg0", 1, false));
        assert_eq!(group.tags, ["b".parse().unwrap(), "tarn.pool=a".parse().unwrap()]);
        assert_eq!(seen[2].group, None);
        assert!(matches!(read(b"{}"), Err(Error::Report(_))));
    }
}
