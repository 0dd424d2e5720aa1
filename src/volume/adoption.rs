//! An existing logical volume that is to become a volume, as somebody says it. Pure.

use std::{fmt, str::FromStr};

use super::{Purpose, VolumeName};
use crate::{
    device::Wipe,
    lvm::{LvName, VgName},
};

/// What is to be adopted, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    /// The logical volume.
    pub lv: LvPath,
    /// The name of the volume that it becomes.
    pub name: VolumeName,
    /// What it is for; what is found on it when this is left out.
    pub purpose: Option<Purpose>,
    /// What is done to its bytes should it be deleted one day; what its pool says when this is left out.
    pub wipe: Option<Wipe>,
}

/// A logical volume, as `VG/LV` or `/dev/VG/LV`, or only as `LV`, where one group alone has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LvPath {
    /// The group, where it is said.
    pub group: Option<VgName>,
    /// Its name there.
    pub name: LvName,
}

/// Why a text names no logical volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no logical volume: write it as VG/LV, as `lvs -o vg_name,lv_name` shows them")]
pub struct BadLvPath(pub String);

impl FromStr for LvPath {
    type Err = BadLvPath;

    fn from_str(text: &str) -> Result<Self, BadLvPath> {
        let bad = || BadLvPath(text.to_owned());
        let path = text.strip_prefix("/dev/").unwrap_or(text);
        let (group, name) = match path.split_once('/') {
            Some((group, name)) => (Some(group.parse().map_err(|_| bad())?), name),
            None => (None, path),
        };
        Ok(Self { group, name: name.parse().map_err(|_| bad())? })
    }
}

impl fmt::Display for LvPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some(group) => write!(f, "{group}/{}", self.name),
            None => self.name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("vg0/data", "vg0/data")]
    #[case("/dev/vg0/data", "vg0/data")]
    #[case("data", "data")]
    fn paths(#[case] text: &str, #[case] want: &str) {
        assert_eq!(text.parse::<LvPath>().unwrap().to_string(), want);
    }

    #[rstest]
    #[case::empty("")]
    #[case::mapper("/dev/mapper/vg0/data")]
    #[case::half("vg0/")]
    #[case::option("-rf")]
    fn no_paths(#[case] text: &str) {
        assert_eq!(text.parse::<LvPath>(), Err(BadLvPath(text.to_owned())));
    }
}
