//! What is written of a volume or snapshot, in a file of its own beside its directory: the only record of it.

use std::{fmt, io, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    device::Wipe,
    fs::{FsKind, records},
    units::Bytes,
    volume::{AfterRestart, NotAnId, Purpose, SnapshotId, Source, VolumeId, VolumeName},
};

/// Whose a record is, and a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Id {
    /// A snapshot's.
    Snapshot(SnapshotId),
    /// A volume's.
    Volume(VolumeId),
}

impl Id {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Snapshot(id) => id.as_str(),
            Self::Volume(id) => id.as_str(),
        }
    }

    pub(super) fn of_source(source: &Source) -> Self {
        match source {
            Source::Snapshot(id) => Self::Snapshot(id.clone()),
            Source::Volume(id) => Self::Volume(id.clone()),
        }
    }

    fn into_source(self) -> Source {
        match self {
            Self::Snapshot(id) => Source::Snapshot(id),
            Self::Volume(id) => Source::Volume(id),
        }
    }
}

impl From<VolumeId> for Id {
    fn from(id: VolumeId) -> Self {
        Self::Volume(id)
    }
}

impl From<SnapshotId> for Id {
    fn from(id: SnapshotId) -> Self {
        Self::Snapshot(id)
    }
}

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let as_snapshot = || text.parse().map(Self::Snapshot);
        text.parse().map(Self::Volume).or_else(|_| as_snapshot())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a volume or snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The name that the caller gave.
    pub(super) name: VolumeName,
    /// The file system that the caller named. It has none of its own, but is used only as what it was made for.
    pub(super) kind: FsKind,
    /// How large it is.
    pub(super) size: Bytes,
    /// What its class says of its bytes when it is deleted; the kernel never gives memory to others as it was.
    pub(super) wipe: Wipe,
    /// What its class says becomes of it when its contents are gone; its pool decides where that says nothing.
    pub(super) after_restart: Option<AfterRestart>,
    /// Its project, where its size is kept by a project quota.
    pub(super) project: Option<u32>,
    /// What its contents were copied from, where they were.
    pub(super) copied: Option<Copied>,
    /// They are being copied: it is not there yet, but has its room.
    pub(super) copying: bool,
    /// When it was made, in seconds since 1970 UTC.
    pub(super) created: i64,
    /// It was deleted: its directory and this record are to go.
    pub(super) deleted: bool,
}

/// What a copy shares with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copied {
    /// What it is a copy of.
    pub(super) of: Source,
    /// The volume at the beginning of all copies of copies: what has the same may share blocks.
    pub(super) kin: VolumeId,
    /// How many bytes it had when it was made, each of which it may share.
    pub(super) bytes: Bytes,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    name: String,
    fs_type: String,
    bytes: u64,
    wipe: Wipe,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after_restart: Option<AfterRestart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    copied: Option<WrittenCopy>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    copying: bool,
    created: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

/// What a copy shares, as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenCopy {
    of: String,
    kin: String,
    bytes: u64,
}

impl Copied {
    fn written(&self) -> WrittenCopy {
        let (of, kin) = (self.of.as_str().to_owned(), self.kin.to_string());
        WrittenCopy { of, kin, bytes: self.bytes.0 }
    }

    fn read(WrittenCopy { of, kin, bytes }: &WrittenCopy) -> Result<Self, NotAnId> {
        let of = of.parse::<Id>()?.into_source();
        Ok(Self { of, kin: kin.parse()?, bytes: Bytes(*bytes) })
    }
}

impl Record {
    /// What it is for.
    pub(super) fn purpose(&self) -> Purpose {
        Purpose::Filesystem(self.kind)
    }

    /// What it was copied from, where it was.
    pub(super) fn source(&self) -> Option<&Source> {
        self.copied.as_ref().map(|it| &it.of)
    }

    /// How much room is promised to it: a volume may have all of its size, a snapshot what it holds.
    pub(super) fn promised(&self, id: &Id) -> Bytes {
        match (id, &self.copied) {
            (Id::Snapshot(_), Some(copied)) => {
                copied.bytes.round_up(super::ground::UNIT).unwrap_or(copied.bytes)
            }
            (Id::Snapshot(_) | Id::Volume(_), _) => self.size,
        }
    }

    /// Writes it, so that after a power cut it is there as it was or as it is now.
    pub(super) fn write(&self, home: &Path, id: &Id) -> io::Result<()> {
        let written = Written {
            name: self.name.as_str().to_owned(),
            fs_type: self.kind.name().to_owned(),
            bytes: self.size.0,
            wipe: self.wipe,
            after_restart: self.after_restart,
            project: self.project,
            copied: self.copied.as_ref().map(Copied::written),
            copying: self.copying,
            created: self.created,
            deleted: self.deleted,
        };
        records::write(home, id, &serde_json::to_vec(&written)?)
    }

    /// Removes it; one that is gone is fine.
    pub(super) fn remove(home: &Path, id: &Id) -> io::Result<()> {
        records::remove(home, id)
    }

    /// Removes what is left of records that were never written to their end. Nobody may be writing one.
    pub(super) fn remove_unfinished(home: &Path) -> io::Result<()> {
        records::remove_unfinished::<Id>(home)
    }

    /// Every record below `home`.
    ///
    /// # Errors
    /// One that cannot be read is an error: its volume would count as gone.
    pub(super) fn read_all(home: &Path) -> io::Result<Vec<(Id, Self)>> {
        records::read_all(home, Self::parse)
    }

    fn parse(text: &[u8]) -> io::Result<Self> {
        let it: Written = serde_json::from_slice(text)?;
        let copied = it.copied.as_ref().map(Copied::read).transpose();
        Ok(Self {
            name: it.name.parse().map_err(io::Error::other)?,
            kind: it.fs_type.parse().map_err(io::Error::other)?,
            size: Bytes(it.bytes),
            wipe: it.wipe,
            after_restart: it.after_restart,
            project: it.project,
            copied: copied.map_err(io::Error::other)?,
            copying: it.copying,
            created: it.created,
            deleted: it.deleted,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let home = tempfile::tempdir().unwrap();
        let name: VolumeName = "pvc-\u{e4} \"x\"".parse().unwrap();
        let id = Id::from(VolumeId::of(&name));
        let kin = VolumeId::of(&"pvc-0".parse().unwrap());
        let of = Source::Snapshot(SnapshotId::of(&name));
        let copied = Some(Copied { of, kin, bytes: Bytes::mib(2) });
        let (size, created) = (Bytes::mib(3), 7);
        let (kind, wipe) = (FsKind::Xfs, Wipe::Discard);
        let project = Some(1 << 30);
        let after_restart = Some(AfterRestart::Empty);
        let (copying, deleted) = (true, false);
        let record = Record {
            name,
            kind,
            size,
            wipe,
            after_restart,
            project,
            copied,
            copying,
            created,
            deleted,
        };
        record.write(home.path(), &id).unwrap();
        fs::write(home.path().join("another.json"), "not Tarn's").unwrap();
        fs::create_dir(home.path().join(id.as_str())).unwrap();
        assert_eq!(Record::read_all(home.path()).unwrap(), [(id.clone(), record.clone())]);

        let record = Record { deleted: true, copying: false, copied: None, ..record };
        record.write(home.path(), &id).unwrap();
        assert_eq!(Record::read_all(home.path()).unwrap(), [(id.clone(), record)]);
        for _ in 0..2 {
            Record::remove(home.path(), &id).unwrap();
            assert_eq!(Record::read_all(home.path()).unwrap(), []);
        }
    }

    #[test]
    fn what_a_kill_has_left_of_writing_one_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let id = VolumeId::of(&"pvc-1".parse().unwrap());
        let at = |name: &str| home.path().join(name);
        let (left, kept) =
            (at(&format!("{id}.json.new")), [at(&format!("{id}.json")), at("my.new")]);
        fs::write(&left, "{").unwrap();
        kept.iter().for_each(|it| fs::write(it, "{").unwrap());
        Record::remove_unfinished(home.path()).unwrap();
        let is_there = |it: &PathBuf| it.try_exists().unwrap();
        assert!(!is_there(&left) && kept.iter().all(is_there));
    }

    #[test]
    fn one_that_cannot_be_read_is_named() {
        let home = tempfile::tempdir().unwrap();
        let id = VolumeId::of(&"pvc-1".parse().unwrap());
        fs::write(home.path().join(format!("{id}.json")), "{").unwrap();
        let said = Record::read_all(home.path()).unwrap_err().to_string();
        assert!(said.contains(id.as_str()), "{said}");
    }
}
