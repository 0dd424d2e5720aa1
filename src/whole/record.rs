//! What is written of a volume, in a file of its own: the only record of it, and of which device it is.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{course::Progress, identity::Identity};
use crate::{
    device::Wipe,
    fs::records,
    units::Bytes,
    volume::{PoolName, Purpose, VolumeId, VolumeName},
};

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The name that the caller gave.
    pub(super) name: VolumeName,
    /// What it is for.
    pub(super) purpose: Purpose,
    /// How large it is.
    pub(super) size: Bytes,
    /// What is done to its bytes when it is deleted.
    pub(super) wipe: Wipe,
    /// How often random bytes are written over it then, where it is shredded.
    pub(super) shreds: u32,
    /// Options for mkfs, as one text.
    pub(super) mkfs: String,
    /// When it was made, in seconds since 1970 UTC.
    pub(super) created: i64,
    /// Whether it has never been staged.
    pub(super) fresh: bool,
    /// Whether it was there, with what is on it, before it was a volume: then it is never fresh, and can be handed back.
    pub(super) adopted: bool,
    /// It was deleted: its device is to be wiped, and then this record is to go.
    pub(super) deleted: bool,
    /// How far that wiping has come.
    pub(super) wiped: Option<Progress>,
    /// Its device.
    pub(super) device: Identity,
    /// The file system on it, where that was mounted already and the volume is its mount.
    pub(super) file_system: Option<FileSystem>,
}

/// A file system that is mounted by others, and is a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileSystem {
    /// By which it is known again.
    pub(super) uuid: String,
    /// How many files and directories have been removed of a volume that was deleted.
    #[serde(default)]
    pub(super) removed: u64,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    name: String,
    purpose: String,
    bytes: u64,
    wipe: Wipe,
    #[serde(default)]
    shreds: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    mkfs: String,
    created: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fresh: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    adopted: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wiped: Option<Progress>,
    device: Identity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_system: Option<FileSystem>,
}

impl Record {
    /// Writes it, so that after a power cut it is there as it was or as it is now.
    pub(super) fn write(&self, home: &Path, id: &VolumeId) -> io::Result<()> {
        let written = Written {
            name: self.name.as_str().to_owned(),
            purpose: self.purpose.word().to_owned(),
            bytes: self.size.0,
            wipe: self.wipe,
            shreds: self.shreds,
            mkfs: self.mkfs.clone(),
            created: self.created,
            fresh: self.fresh,
            adopted: self.adopted,
            deleted: self.deleted,
            wiped: self.wiped,
            device: self.device.clone(),
            file_system: self.file_system.clone(),
        };
        records::write(home, id, &serde_json::to_vec(&written)?)
    }

    /// Whether there is one.
    pub(super) fn is_written(home: &Path, id: &VolumeId) -> bool {
        records::is_written(home, id)
    }

    /// Removes it; one that is gone is fine.
    pub(super) fn remove(home: &Path, id: &VolumeId) -> io::Result<()> {
        records::remove(home, id)
    }

    /// Removes what is left of records that were never written to their end. Nobody may be writing one.
    pub(super) fn remove_unfinished(home: &Path) -> io::Result<()> {
        records::remove_unfinished::<VolumeId>(home)
    }

    /// Every record below `home`; there may be no such directory yet.
    ///
    /// # Errors
    /// One that cannot be read is an error: its device would count as free.
    pub(super) fn read_all(home: &Path) -> io::Result<BTreeMap<VolumeId, Self>> {
        records::read_all(home, Self::parse).map(BTreeMap::from_iter)
    }

    /// Every record of pools below `home` but those of `known` ones, as far as they can be read: pools of other
    /// kinds have directories there, too.
    pub(super) fn read_of_others(home: &Path, known: &[PoolName]) -> Vec<(String, VolumeId, Self)> {
        let mut all = Vec::new();
        for entry in fs::read_dir(home).into_iter().flatten().flatten() {
            let Ok(pool) = entry.file_name().into_string() else { continue };
            if known.iter().any(|it| it.as_str() == pool) {
                continue;
            }
            for (id, path) in records::files(&entry.path()).unwrap_or_default() {
                let read = fs::read(path).and_then(|text| Self::parse(&text));
                all.extend(read.ok().map(|record| (pool.clone(), id, record)));
            }
        }
        all
    }

    /// The pool, of whatever kind, below whose directory in `home` there is a record of this volume.
    pub(super) fn pool_of(home: &Path, id: &VolumeId) -> Option<String> {
        let mut all = fs::read_dir(home).into_iter().flatten().flatten();
        let pool = all.find(|it| records::is_written(&it.path(), id))?;
        Some(pool.file_name().to_string_lossy().into_owned())
    }

    fn parse(text: &[u8]) -> io::Result<Self> {
        let written: Written = serde_json::from_slice(text)?;
        Ok(Self {
            name: written.name.parse().map_err(io::Error::other)?,
            purpose: written.purpose.parse().map_err(io::Error::other)?,
            size: Bytes(written.bytes),
            wipe: written.wipe,
            shreds: written.shreds,
            mkfs: written.mkfs,
            created: written.created,
            fresh: written.fresh && !written.adopted,
            adopted: written.adopted,
            deleted: written.deleted,
            wiped: written.wiped,
            device: written.device,
            file_system: written.file_system,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fs::FsKind, pool::survey::example::disk, whole::course::Course};

    fn record() -> (VolumeId, Record) {
        let name: VolumeName = "pvc-1".parse().unwrap();
        let record = Record {
            name: name.clone(),
            purpose: Purpose::Filesystem(FsKind::Xfs),
            size: Bytes::gib(100),
            wipe: Wipe::Discard,
            shreds: 0,
            wiped: None,
            mkfs: "-m crc=1".to_owned(),
            created: 7,
            fresh: true,
            adopted: false,
            deleted: false,
            device: Identity::of(&disk("sda"), Path::new("/mnt/disks/a")),
            file_system: None,
        };
        (VolumeId::of(&name), record)
    }

    #[test]
    fn what_is_written_is_read() {
        let home = tempfile::tempdir().unwrap();
        let pool = home.path().join("fast");
        assert_eq!(Record::read_all(&pool).unwrap(), BTreeMap::new());
        fs::create_dir(&pool).unwrap();
        let (id, first) = record();
        let block = Record { purpose: Purpose::Block, mkfs: String::new(), ..first.clone() };
        let course = Course::new(Wipe::Shred, 3, Bytes::gib(100));
        let done = course.steps(course.begin()).nth(5).map(|step| step.after);
        let shredded =
            Record { wipe: Wipe::Shred, shreds: 3, deleted: true, wiped: done, ..first.clone() };
        let deleted = Record { deleted: true, fresh: false, ..first.clone() };
        let file_system = Some(FileSystem { uuid: "d5a20803".to_owned(), removed: 9 });
        let mounted = Record { file_system, ..first.clone() };
        let adopted = Record { adopted: true, fresh: false, ..first.clone() };
        for record in [first, block, shredded, deleted, mounted, adopted] {
            record.write(&pool, &id).unwrap();
            let all = BTreeMap::from([(id.clone(), record.clone())]);
            assert_eq!(Record::read_all(&pool).unwrap(), all);
            let others = Record::read_of_others(home.path(), &[]);
            assert_eq!(others, [("fast".to_owned(), id.clone(), record)]);
        }
        assert_eq!(Record::read_of_others(home.path(), &["fast".parse().unwrap()]), []);
        for _ in 0..2 {
            Record::remove(&pool, &id).unwrap();
            assert_eq!(Record::read_all(&pool).unwrap(), BTreeMap::new());
        }
    }

    /// Also not by a record that somebody has edited.
    #[test]
    fn one_that_was_adopted_is_never_fresh() {
        let home = tempfile::tempdir().unwrap();
        let (id, record) = record();
        Record { adopted: true, fresh: true, ..record }.write(home.path(), &id).unwrap();
        assert!(!Record::read_all(home.path()).unwrap()[&id].fresh);
    }

    #[test]
    fn one_that_cannot_be_read_is_named() {
        let home = tempfile::tempdir().unwrap();
        let (id, _) = record();
        fs::write(home.path().join(format!("{id}.json")), "{").unwrap();
        let said = Record::read_all(home.path()).unwrap_err().to_string();
        assert!(said.contains(id.as_str()), "{said}");
    }
}
