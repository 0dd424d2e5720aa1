//! Which disks a pool takes: what an admin says, and whether a disk is meant.

use std::{collections::BTreeSet, fmt, path::Path};

use glob::{MatchOptions, Pattern};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    device::{BlockDevice, DeviceType, Transport},
    units::Bytes,
};

/// How many entries each list may have.
const MOST: usize = 64;
/// How long a glob may be.
const LONGEST: usize = 256;

/// How long the words may be in which a disk is refused.
const LONGEST_REASON: usize = 1024;

/// The least disk: LVM's own records and one extent would leave nothing of a smaller one.
pub const LEAST_DISK: Bytes = Bytes::mib(64);

/// Which disks of a node a pool is made of: those that meet everything that is said here, and are
/// empty.
///
/// In globs `*` and `?` stand for anything but a slash, and `[a-z]`, `[!a]` for one character.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DevicesSpec {
    /// Globs of paths; a disk has several, and one must match. Names in /dev/disk/by-id stay with a
    /// disk, names such as /dev/sdb do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST), inner(length(max = LONGEST), regex(pattern = "^/dev/")))]
    pub paths: Vec<String>,
    /// Globs of paths that are not meant, whatever else is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST), inner(length(max = LONGEST), regex(pattern = "^/dev/")))]
    pub exclude: Vec<String>,
    /// The kinds of devices that are meant. When left out: whole disks, and disks that multipathd has
    /// put together.
    #[serde(default = "whole_disks")]
    #[schemars(length(min = 1, max = 6))]
    pub types: Vec<DeviceType>,
    /// The least size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<Bytes>,
    /// The largest size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Bytes>,
    /// Spinning disks (`true`) or others (`false`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    /// Globs of models, as NodeLocalStorage and `lsblk -o MODEL` show them; one must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST), inner(length(max = LONGEST)))]
    pub models: Vec<String>,
    /// How the disks are attached; one must be it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub transports: Vec<Transport>,
    /// Used disks that are to be wiped and then taken, one entry for each. Nothing else ever wipes a
    /// disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST))]
    pub wipe: Vec<WipeConsent>,
    /// Serials of disks that are to leave the pool: what lies on them is moved to its other disks, and they
    /// are given up. One that is missing is given up as it is, and RAID volumes get new legs on other disks;
    /// it may be named by the UUID of its physical volume, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST), inner(length(min = 1, max = LONGEST)))]
    pub retire: Vec<String>,
}

/// That one used disk is to be wiped, all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WipeConsent {
    /// The serial of the disk, exactly as NodeLocalStorage and `tarn pools plan` show it.
    #[schemars(length(min = 1, max = LONGEST))]
    pub serial: String,
    /// What is on it, in the very words in which they refuse the disk. It is wiped only while it is
    /// refused for this and for nothing else.
    #[schemars(length(min = 1, max = LONGEST_REASON))]
    pub contains: String,
}

fn whole_disks() -> Vec<DeviceType> {
    vec![DeviceType::Disk, DeviceType::Multipath]
}

/// What of a spec a disk does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// It is of another type.
    Type,
    /// None of its names matches.
    Path,
    /// One of its names is excluded.
    Excluded(String),
    /// It is smaller than the least size.
    Smaller(Bytes),
    /// It is larger than the largest size.
    Larger(Bytes),
    /// It spins and must not, or the other way round.
    Rotational(bool),
    /// Its model does not match.
    Model,
    /// It is attached in another way.
    Transport,
    /// It is to leave the pool.
    Retired,
}

/// As the end of a sentence that begins with the pool.
impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type => f.write_str("its type is not among `types`"),
            Self::Path => f.write_str("none of its names matches `paths`"),
            Self::Excluded(glob) => write!(f, "`exclude` has {glob}"),
            Self::Smaller(than) => write!(f, "it is smaller than `minSize`, {than}"),
            Self::Larger(than) => write!(f, "it is larger than `maxSize`, {than}"),
            Self::Rotational(true) => f.write_str("it does not spin, and `rotational` is true"),
            Self::Rotational(false) => f.write_str("it spins, and `rotational` is false"),
            Self::Model => f.write_str("its model matches none of `models`"),
            Self::Transport => f.write_str("how it is attached is not among `transports`"),
            Self::Retired => f.write_str("`retire` has its serial"),
        }
    }
}

impl DevicesSpec {
    /// What a disk does not meet, the most telling first; `None` when it is meant.
    pub fn mismatch(&self, disk: &BlockDevice) -> Option<Mismatch> {
        let of_type = disk.kind.is_some_and(|kind| self.types.contains(&kind));
        let named = |globs: &[String]| {
            globs.iter().find(|glob| disk.names().any(|name| fits(glob, name))).cloned()
        };
        let model = || disk.model.as_deref().unwrap_or_default();
        if !of_type {
            return Some(Mismatch::Type);
        }
        if !self.paths.is_empty() && named(&self.paths).is_none() {
            return Some(Mismatch::Path);
        }
        if let Some(glob) = named(&self.exclude) {
            return Some(Mismatch::Excluded(glob));
        }
        if !self.models.is_empty() && !self.models.iter().any(|it| fits(it, Path::new(model()))) {
            return Some(Mismatch::Model);
        }
        if !self.transports.is_empty()
            && !disk.transport.is_some_and(|it| self.transports.contains(&it))
        {
            return Some(Mismatch::Transport);
        }
        if let Some(spins) = self.rotational.filter(|spins| *spins != disk.rotational) {
            return Some(Mismatch::Rotational(spins));
        }
        if let Some(least) = self.min_size.filter(|least| disk.size < *least) {
            return Some(Mismatch::Smaller(least));
        }
        if let Some(most) = self.max_size.filter(|most| disk.size > *most) {
            return Some(Mismatch::Larger(most));
        }
        self.retires(disk).then_some(Mismatch::Retired)
    }

    /// Whether a disk is to leave the pool.
    pub fn retires(&self, disk: &BlockDevice) -> bool {
        disk.serial.as_ref().is_some_and(|serial| self.retire.contains(serial))
    }

    /// Whether a disk is to leave the pool that is missing: with this serial, where that is known, and with
    /// this physical volume.
    pub fn retires_absent(&self, serial: Option<&str>, uuid: &str) -> bool {
        self.retire.iter().any(|it| Some(it.as_str()) == serial || it == uuid)
    }

    /// Whether a disk may be wiped that is refused with these words.
    pub fn allows_to_wipe(&self, disk: &BlockDevice, refused: &str) -> bool {
        let is_meant = |it: &&WipeConsent| disk.serial.as_ref() == Some(&it.serial);
        self.wipe.iter().find(is_meant).is_some_and(|it| it.contains == refused)
    }

    /// Everything that is wrong with it; see [`super::PoolSpec::mistakes`].
    pub(super) fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let says_something = !self.paths.is_empty()
            || !self.models.is_empty()
            || !self.transports.is_empty()
            || self.rotational.is_some()
            || self.min_size.is_some()
            || self.max_size.is_some();
        if !says_something {
            let why = "say which disks, with at least one of paths, models, transports, rotational, \
                       minSize, maxSize; every empty disk is `paths: [\"/dev/*\"]`";
            found.push(("devices", why.to_owned()));
        }
        if self.types.is_empty() {
            found.push(("devices.types", "an empty list means no disk; leave it out".to_owned()));
        }
        let lists: [(&'static str, &[String], bool); 3] = [
            ("devices.paths", &self.paths, true),
            ("devices.exclude", &self.exclude, true),
            ("devices.models", &self.models, false),
        ];
        for (field, globs, are_paths) in lists {
            if globs.len() > MOST {
                found.push((field, format!("{} entries are more than {MOST}", globs.len())));
            }
            let wrong = |glob: &String| Some((field, wrong_with(glob, are_paths)?));
            found.extend(globs.iter().find_map(wrong));
        }
        found.extend(self.wrong_consent().map(|why| ("devices.wipe", why)));
        if self.retire.len() > MOST || self.retire.iter().any(String::is_empty) {
            let why = format!("name at most {MOST} disks, each by its serial");
            found.push(("devices.retire", why));
        }
        if let (Some(least), Some(most)) = (self.min_size, self.max_size)
            && least > most
        {
            found.push(("devices.maxSize", format!("{most} is less than `minSize`, {least}")));
        }
        if let Some(most) = self.max_size.filter(|most| *most < LEAST_DISK) {
            let why = format!("{most}, but no disk of less than {LEAST_DISK} is taken");
            found.push(("devices.maxSize", why));
        }
        found
    }

    fn wrong_consent(&self) -> Option<String> {
        if self.wipe.len() > MOST {
            return Some(format!("{} entries are more than {MOST}", self.wipe.len()));
        }
        let mut serials = BTreeSet::new();
        self.wipe.iter().find_map(|WipeConsent { serial, contains }| {
            if serial.is_empty() || serial.len() > LONGEST {
                return Some(format!("serial `{serial}` is not 1 to {LONGEST} characters"));
            }
            if contains.is_empty() || contains.len() > LONGEST_REASON {
                let why = "say with `contains` what is on it, in the words that refuse it";
                return Some(format!("serial {serial}: {why}"));
            }
            (!serials.insert(serial)).then(|| format!("serial {serial} is there twice"))
        })
    }
}

/// A glob that cannot be read matches nothing; [`DevicesSpec::mistakes`] tells of it.
pub(super) fn fits(glob: &str, name: &Path) -> bool {
    let how = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    Pattern::new(glob).is_ok_and(|it| it.matches_path_with(name, how))
}

/// What is wrong with a glob, one of paths or another.
pub(super) fn wrong_with(glob: &str, is_path: bool) -> Option<String> {
    if glob.is_empty() || glob.len() > LONGEST {
        return Some(format!("`{glob}` is not 1 to {LONGEST} characters"));
    }
    if is_path && !glob.starts_with("/dev/") {
        return Some(format!("`{glob}` does not begin with /dev/"));
    }
    Pattern::new(glob).err().map(|err| format!("`{glob}` is not a glob: {}", err.msg))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::pool::survey::example::disk;

    fn spec(json: &str) -> DevicesSpec {
        serde_json::from_str(json).unwrap()
    }

    // The disk is /dev/sdb, /dev/disk/by-id/ata-sdb: 100Gi, spinning, by Sata, model `WDC WD40`.
    #[rstest]
    #[case::kernel_name(r#"{"paths": ["/dev/sd[b-d]"]}"#, None)]
    #[case::stable_name(r#"{"paths": ["/dev/nvme*", "/dev/disk/by-id/ata-*"]}"#, None)]
    #[case::star_stops_at_slashes(r#"{"paths": ["/dev/*-sdb"]}"#, Some(Mismatch::Path))]
    #[case::case(r#"{"paths": ["/dev/SDB"]}"#, Some(Mismatch::Path))]
    #[case::all(r#"{"paths": ["/dev/*"]}"#, None)]
    #[case::excluded(
        r#"{"paths": ["/dev/sd*"], "exclude": ["/dev/disk/by-id/ata-sdb"]}"#,
        Some(Mismatch::Excluded("/dev/disk/by-id/ata-sdb".to_owned()))
    )]
    #[case::least(r#"{"minSize": "100Gi", "maxSize": "100Gi"}"#, None)]
    #[case::small(r#"{"minSize": "101Gi"}"#, Some(Mismatch::Smaller(Bytes::gib(101))))]
    #[case::large(r#"{"maxSize": "99Gi"}"#, Some(Mismatch::Larger(Bytes::gib(99))))]
    #[case::spins(r#"{"rotational": true}"#, None)]
    #[case::must_not(r#"{"rotational": false}"#, Some(Mismatch::Rotational(false)))]
    #[case::model(r#"{"models": ["Samsung*", "WDC *"]}"#, None)]
    #[case::retired(r#"{"rotational": true, "retire": ["S-sdb"]}"#, Some(Mismatch::Retired))]
    #[case::another_is_retired(r#"{"rotational": true, "retire": ["S-sdc"]}"#, None)]
    #[case::other_model(r#"{"models": ["Samsung*"]}"#, Some(Mismatch::Model))]
    #[case::attached(r#"{"transports": ["Sata"]}"#, None)]
    #[case::otherwise(r#"{"transports": ["Nvme"]}"#, Some(Mismatch::Transport))]
    #[case::other_type(r#"{"paths": ["/dev/*"], "types": ["Partition"]}"#, Some(Mismatch::Type))]
    fn what_is_meant(#[case] json: &str, #[case] want: Option<Mismatch>) {
        assert_eq!(spec(json).mismatch(&disk("sdb")), want);
    }

    #[rstest]
    #[case::nothing("{}", "devices: say which disks")]
    #[case::only_types(r#"{"types": ["Disk"]}"#, "devices: say which disks")]
    #[case::no_type(r#"{"types": [], "rotational": true}"#, "devices.types: an empty list")]
    #[case::elsewhere(r#"{"paths": ["/etc/*"]}"#, "devices.paths: `/etc/*` does not begin")]
    #[case::no_glob(r#"{"paths": ["/dev/[a"]}"#, "devices.paths: `/dev/[a` is not a glob")]
    #[case::empty(r#"{"models": [""]}"#, "devices.models: `` is not 1 to 256")]
    #[case::crossed(r#"{"minSize": "2Gi", "maxSize": "1Gi"}"#, "devices.maxSize: 1Gi is less")]
    #[case::no_serial(
        r#"{"rotational": true, "wipe": [{"serial": "", "contains": "it is"}]}"#,
        "devices.wipe: serial `` is not 1 to 256"
    )]
    #[case::no_words(
        r#"{"rotational": true, "wipe": [{"serial": "S1", "contains": ""}]}"#,
        "devices.wipe: serial S1: say with `contains`"
    )]
    #[case::two_words(
        r#"{"rotational": true, "wipe": [{"serial": "S1", "contains": "a"}, {"serial": "S1", "contains": "b"}]}"#,
        "devices.wipe: serial S1 is there twice"
    )]
    #[case::tiny(r#"{"maxSize": "1Mi"}"#, "devices.maxSize: 1Mi, but no disk")]
    fn mistakes(#[case] json: &str, #[case] want: &str) {
        let found = spec(json).mistakes();
        let said: Vec<String> =
            found.iter().map(|(field, why)| format!("{field}: {why}")).collect();
        assert!(said.len() == 1 && said[0].starts_with(want), "{said:?}");
    }
}
