//! What is there with data and is to become a volume, as somebody says it, and what has become of it. Pure.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use super::{Error, PoolName, Purpose, Volume, VolumeId, VolumeName};
use crate::{
    device::Wipe,
    fs::Content,
    lvm::{LvName, VgName},
};

/// What is to be adopted, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption<T = Existing> {
    /// What is there.
    pub what: T,
    /// The name of the volume that it becomes.
    pub name: VolumeName,
    /// What it is for; what is found on it when this is left out.
    pub purpose: Option<Purpose>,
    /// What is done to its bytes should it be deleted one day; what its pool says when this is left out.
    pub wipe: Option<Wipe>,
}

/// Something that can be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existing {
    /// A logical volume.
    Lv(LvPath),
    /// An entry of a directory of whole devices: its absolute path.
    Entry(PathBuf),
}

/// A logical volume, as `VG/LV` or `/dev/VG/LV`, or only as `LV`, where one group alone has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LvPath {
    /// The group, where it is said.
    pub group: Option<VgName>,
    /// Its name there.
    pub name: LvName,
}

/// A volume that was adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The volume that it is now.
    pub volume: Volume,
    /// Its name, as a volume.
    pub name: VolumeName,
    /// Its pool.
    pub pool: PoolName,
    /// What it was called, as VG/LV or by the path of its entry.
    pub was: String,
}

/// A volume that was handed back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The volume that it was.
    pub id: VolumeId,
    /// What it is called again, as VG/LV or by the path of its entry.
    pub is: String,
}

/// Why a text names no logical volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no logical volume: write it as VG/LV, as `lvs -o vg_name,lv_name` shows them")]
pub struct BadLvPath(pub String);

/// Why a text is not the path of an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no absolute path without `..`: write that of the device or mount point in a directory of a pool"
)]
pub struct BadEntry(pub String);

/// Why a text names nothing that can be adopted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExisting {
    /// It is no logical volume.
    #[error(transparent)]
    Lv(#[from] BadLvPath),
    /// It is no entry.
    #[error(transparent)]
    Entry(#[from] BadEntry),
}

impl<T> Adoption<T> {
    /// The same of something else.
    pub fn of<U>(&self, what: U) -> Adoption<U> {
        Adoption { what, name: self.name.clone(), purpose: self.purpose, wipe: self.wipe }
    }

    /// What a volume is for that holds this; `path` says for people where that is.
    ///
    /// # Errors
    /// What was found, where that is not what was said, or is nothing that a volume is for by itself.
    pub fn purpose_of(&self, path: &str, found: &Content) -> Result<Purpose, Error> {
        let said = self.purpose;
        let holds = match found {
            _ if said == Some(Purpose::Block) => return Ok(Purpose::Block),
            Content::Filesystem { kind, .. } => Some(Purpose::Filesystem(*kind)),
            Content::Nothing | Content::Unfinished(_) | Content::Foreign(_) => None,
        };
        match (holds, said) {
            (Some(holds), Some(said)) if holds != said => Err(Error::Precondition(format!(
                "{path} holds {holds}, not {said}; leave that out, and it is adopted as what it is"
            ))),
            (Some(holds), _) => Ok(holds),
            (None, _) => Err(Error::Precondition(format!(
                "{path} holds {found}, which is no file system that Tarn mounts. If a program has its data there, \
                 adopt it as a raw block device (as block)"
            ))),
        }
    }
}

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

/// The path of an entry, as it may be said.
///
/// # Errors
/// [`BadEntry`].
pub fn entry_path(text: &str) -> Result<PathBuf, BadEntry> {
    let path = Path::new(text);
    let mut parts = path.components();
    let is_plain = parts.all(|it| matches!(it, Component::RootDir | Component::Normal(_)));
    let is_whole = path.is_absolute() && path.file_name().is_some() && is_plain;
    // Without a slash at its end.
    if is_whole { Ok(path.components().collect()) } else { Err(BadEntry(text.to_owned())) }
}

/// An absolute path is that of an entry; `/dev/VG/LV` is a logical volume, as no pool has a directory there.
impl FromStr for Existing {
    type Err = BadExisting;

    fn from_str(text: &str) -> Result<Self, BadExisting> {
        let is_lv = match text.strip_prefix("/dev/") {
            Some(rest) => rest.matches('/').count() == 1,
            None => !text.starts_with('/'),
        };
        match is_lv {
            true => Ok(Self::Lv(text.parse()?)),
            false => Ok(Self::Entry(entry_path(text)?)),
        }
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

impl fmt::Display for Existing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lv(lv) => lv.fmt(f),
            Self::Entry(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{fs::FsKind, units::Bytes};

    #[rstest]
    #[case("vg0/data", Some("vg0/data"))]
    #[case("/dev/vg0/data", Some("vg0/data"))]
    #[case("data", Some("data"))]
    #[case("/mnt/disks/sda", None)]
    #[case("/mnt/disks/sda/", None)]
    #[case("/dev/sda", None)]
    #[case("/dev/disk/by-id/ata-a", None)]
    fn paths(#[case] text: &str, #[case] lv: Option<&str>) {
        let found: Existing = text.parse().unwrap();
        assert_eq!(found.to_string(), lv.unwrap_or(text.trim_end_matches('/')));
        assert_eq!(matches!(found, Existing::Lv(_)), lv.is_some());
    }

    #[rstest]
    #[case::empty("")]
    #[case::half("vg0/")]
    #[case::option("-rf")]
    #[case::root("/")]
    #[case::dots("/mnt/disks/../../dev/sda")]
    #[case::above("/mnt/disks/..")]
    fn no_paths(#[case] text: &str) {
        let said = text.parse::<Existing>().unwrap_err().to_string();
        assert!(said.starts_with(&format!("`{text}` ")), "{said}");
    }

    const EXT4: Content = Content::Filesystem { kind: FsKind::Ext4, size: Bytes::GIB };

    #[rstest]
    #[case::found(EXT4, None, Some("ext4"))]
    #[case::as_said(EXT4, Some("ext4"), Some("ext4"))]
    #[case::another(EXT4, Some("xfs"), None)]
    #[case::raw_with_something(EXT4, Some("block"), Some("block"))]
    #[case::empty(Content::Nothing, None, None)]
    #[case::empty_is_never_formatted(Content::Nothing, Some("ext4"), None)]
    #[case::raw(Content::Nothing, Some("block"), Some("block"))]
    #[case::luks(Content::Foreign("crypto_LUKS".into()), None, None)]
    #[case::raw_luks(Content::Foreign("crypto_LUKS".into()), Some("block"), Some("block"))]
    #[case::unfinished(Content::Unfinished(FsKind::Xfs), None, None)]
    fn what_it_holds_says_what_it_is_for(
        #[case] found: Content,
        #[case] said: Option<&str>,
        #[case] want: Option<&str>,
    ) {
        let said = said.map(|it| it.parse().unwrap());
        let name = "diary".parse().unwrap();
        let wanted = Adoption { what: (), name, purpose: said, wipe: None };
        let got = wanted.purpose_of("vg0/data", &found);
        assert_eq!(got.ok().map(Purpose::word), want);
    }
}
