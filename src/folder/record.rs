//! What is written of a volume, in a file of its own beside its directory: the only record of it.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    device::Wipe,
    fs::{FsKind, records},
    units::Bytes,
    volume::{AfterRestart, Purpose, VolumeId, VolumeName},
};

/// What a volume is.
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
    /// When it was made, in seconds since 1970 UTC.
    pub(super) created: i64,
    /// It was deleted: its directory and this record are to go.
    pub(super) deleted: bool,
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
    created: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

impl Record {
    /// What it is for.
    pub(super) fn purpose(&self) -> Purpose {
        Purpose::Filesystem(self.kind)
    }

    /// Writes it, so that after a power cut it is there as it was or as it is now.
    pub(super) fn write(&self, home: &Path, id: &VolumeId) -> io::Result<()> {
        let written = Written {
            name: self.name.as_str().to_owned(),
            fs_type: self.kind.name().to_owned(),
            bytes: self.size.0,
            wipe: self.wipe,
            after_restart: self.after_restart,
            project: self.project,
            created: self.created,
            deleted: self.deleted,
        };
        records::write(home, id, &serde_json::to_vec(&written)?)
    }

    /// Removes it; one that is gone is fine.
    pub(super) fn remove(home: &Path, id: &VolumeId) -> io::Result<()> {
        records::remove(home, id)
    }

    /// Removes what is left of records that were never written to their end. Nobody may be writing one.
    pub(super) fn remove_unfinished(home: &Path) -> io::Result<()> {
        records::remove_unfinished::<VolumeId>(home)
    }

    /// Every record below `home`.
    ///
    /// # Errors
    /// One that cannot be read is an error: its volume would count as gone.
    pub(super) fn read_all(home: &Path) -> io::Result<Vec<(VolumeId, Self)>> {
        records::read_all(home, Self::parse)
    }

    fn parse(text: &[u8]) -> io::Result<Self> {
        let Written { name, fs_type, bytes, wipe, after_restart, project, created, deleted } =
            serde_json::from_slice(text)?;
        Ok(Self {
            name: name.parse().map_err(io::Error::other)?,
            kind: fs_type.parse().map_err(io::Error::other)?,
            size: Bytes(bytes),
            wipe,
            after_restart,
            project,
            created,
            deleted,
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
        let id = VolumeId::of(&name);
        let (size, created) = (Bytes::mib(3), 7);
        let (kind, wipe) = (FsKind::Xfs, Wipe::Discard);
        let project = Some(1 << 30);
        let after_restart = Some(AfterRestart::Empty);
        let deleted = false;
        let record = Record { name, kind, size, wipe, after_restart, project, created, deleted };
        record.write(home.path(), &id).unwrap();
        fs::write(home.path().join("another.json"), "not Tarn's").unwrap();
        fs::create_dir(home.path().join(id.as_str())).unwrap();
        assert_eq!(Record::read_all(home.path()).unwrap(), [(id.clone(), record.clone())]);

        let record = Record { deleted: true, ..record };
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
