//! What is in the directories of a pool of whole devices, for reports.

use std::{fmt, path::PathBuf};

use crate::{fs::FsKind, units::Bytes, volume::VolumeId};

/// An entry of a directory, or a directory that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Its path.
    pub path: PathBuf,
    /// The device that it leads to, and how large a volume of it is.
    pub device: Option<(PathBuf, Bytes)>,
    /// The file system that is mounted there.
    pub mounted: Option<FsKind>,
    /// How it stands.
    pub state: EntryState,
}

/// How an entry stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// Its device may be given as a volume.
    Free,
    /// Its device is this volume.
    Used(VolumeId),
    /// Its device was this volume, and is being wiped, which has come so far.
    Wiped(VolumeId, String),
    /// Its device is no volume, for this reason.
    Refused(String),
}

impl EntryState {
    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Free => "Free",
            Self::Used(_) => "Used",
            Self::Wiped(..) => "Wiped",
            Self::Refused(_) => "Refused",
        }
    }

    /// The volume that its device is, or was.
    pub fn volume(&self) -> Option<&VolumeId> {
        match self {
            Self::Used(id) | Self::Wiped(id, _) => Some(id),
            Self::Free | Self::Refused(_) => None,
        }
    }

    /// Why its device is no volume, or is not free yet.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Refused(why) | Self::Wiped(_, why) => Some(why),
            Self::Free | Self::Used(_) => None,
        }
    }
}

/// As `tarn pools plan` shows it.
impl fmt::Display for DeviceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match &self.state {
            EntryState::Free => "offers ",
            EntryState::Used(_) => "has    ",
            EntryState::Wiped(..) => "wipes  ",
            EntryState::Refused(_) => "refuses",
        };
        write!(f, "{verb} {}", self.path.display())?;
        if let Some((device, size)) = &self.device {
            write!(f, " ({}, {size})", device.display())?;
        }
        match &self.state {
            EntryState::Free => Ok(()),
            EntryState::Used(id) => write!(f, ": volume {id}"),
            EntryState::Wiped(id, said) => write!(f, ": volume {id}: {said}"),
            EntryState::Refused(why) => write!(f, ": {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_in_words() {
        let id: VolumeId = VolumeId::of(&"a".parse().unwrap());
        let line = |device: Option<&str>, state| {
            let device = device.map(|it| (it.into(), Bytes::gib(10)));
            DeviceEntry { path: "/mnt/disks/a".into(), device, mounted: None, state }.to_string()
        };
        assert_eq!(
            line(Some("/dev/sda"), EntryState::Free),
            "offers  /mnt/disks/a (/dev/sda, 10Gi)"
        );
        assert_eq!(
            line(Some("/dev/sda"), EntryState::Used(id.clone())),
            format!("has     /mnt/disks/a (/dev/sda, 10Gi): volume {id}")
        );
        assert_eq!(
            line(Some("/dev/sda"), EntryState::Wiped(id.clone(), "5% is done".to_owned())),
            format!("wipes   /mnt/disks/a (/dev/sda, 10Gi): volume {id}: 5% is done")
        );
        let refused = EntryState::Refused("it leads nowhere".to_owned());
        assert_eq!(line(None, refused), "refuses /mnt/disks/a: it leads nowhere");
    }
}
