//! Volumes that are directories of a file system with project quota: each has a project of its own, whose limits
//! are the volume's size and number of files.

use std::{
    collections::BTreeSet,
    fs::{self, DirEntry},
    io,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use super::{
    ground::{Copier, Ground, Place, Room, inodes},
    image::Image,
    record::{Id, Record},
    sharing::{Part, taken},
};
use crate::{
    device::Devices,
    fs::{DeviceNumber, Filesystems, Mount, ProjectLimit, Quota, contents, paths},
    mounts::fs_failed,
    pool::DirectorySpec,
    units::Bytes,
    volume::{Error, PoolName, chain},
};

/// The directory below that of the pool where deleted volumes go until their files are removed.
const TRASH: &str = ".trash";
/// The permissions of a volume's root directory, the same as of an emptyDir.
const MODE: u32 = 0o777;
/// Project ids of volumes begin here: far from those that people give.
const FIRST_PROJECT: u32 = 0x5400_0000;
/// How many there may be.
const PROJECTS: u32 = 0x00ff_ffff;

/// A directory on a file system that keeps project quotas.
pub(super) struct Directory {
    fs: Arc<dyn Filesystems>,
    home: PathBuf,
    /// Where the file system is mounted.
    mount: PathBuf,
    overprovision: u64,
    bytes_per_inode: Bytes,
    /// Why files there cannot share blocks, once that is known.
    lacks_reflinks: OnceLock<Option<String>>,
}

impl Directory {
    /// Opens it: volumes are in a directory with the pool's name, which nobody but root may enter. A file system that is
    /// the pool's own is made and mounted first.
    pub(super) fn open(
        fs: &Arc<dyn Filesystems>,
        devices: &dyn Devices,
        name: &PoolName,
        spec: &DirectorySpec,
    ) -> Result<Self, Error> {
        let path = paths::real(&spec.path);
        let path = match &spec.loop_file {
            Some(file) => Image::new(&**fs, devices, (&path, name), file).ensure()?,
            None => path,
        };
        let refused = |why: &str| {
            Err(Error::Precondition(format!("directory.path: {}: {why}", path.display())))
        };
        if !path.is_dir() {
            return refused("there is no such directory");
        }
        let quota = fs.quota_at(&path);
        let mount = match quota.map_err(|err| fs_failed("asking for project quotas", err))? {
            Quota::Enforced { mount } => mount,
            Quota::Off(why) => return refused(&why),
        };
        let home = path.join(name.as_str());
        paths::ensure_directory(&home)
            .map_err(|err| fs_failed("making the directory of the pool", err))?;
        let directory = Self {
            fs: Arc::clone(fs),
            home,
            mount,
            overprovision: spec.overprovision,
            bytes_per_inode: spec.bytes_per_inode,
            lacks_reflinks: OnceLock::new(),
        };
        // One that is full, such as of what is to be deleted, cannot be asked now.
        if let Err(err) = directory.lacks() {
            tracing::warn!(pool = %name, error = chain(&err), "whether it has reflinks is not known");
        }
        Ok(directory)
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    fn trash(&self) -> PathBuf {
        self.home.join(TRASH)
    }

    fn limit(&self, id: &Id, project: u32, limit: ProjectLimit) -> Result<(), Error> {
        let limited = self.fs.limit_project(&self.mount, project, limit);
        limited.map_err(|err| fs_failed(format!("limiting {id}"), err))
    }

    fn limit_of(&self, size: Bytes) -> ProjectLimit {
        ProjectLimit { bytes: size, inodes: inodes(size, self.bytes_per_inode) }
    }

    /// How much a volume has of what it may have. One that is being copied has no limit yet, and shares all.
    fn part<'a>(&self, place: &Place<'a>, record: &'a Record) -> Part<'a> {
        let used = self.fs.usage(place.at).map_or(Bytes::ZERO, |usage| Bytes(usage.bytes.used));
        let used = if record.copying { Bytes::ZERO } else { used };
        match &record.copied {
            Some(copied) => Part { kin: copied.kin.as_str(), used, shared: copied.bytes },
            None => Part { kin: place.id.as_str(), used, shared: Bytes::ZERO },
        }
    }
}

fn project_of(id: &Id, record: &Record) -> Result<u32, Error> {
    let missing = || Error::Precondition(format!("the record of volume {id} has no project"));
    record.project.ok_or_else(missing)
}

impl Ground for Directory {
    fn words(&self) -> &'static str {
        "a directory"
    }

    /// What is free, and what volumes have of it, may be given to volumes, as often as the spec says; what they
    /// have been promised is gone.
    fn room(&self, volumes: &[(Place<'_>, &Record)]) -> Result<Room, Error> {
        let usage = self.fs.usage(&self.home);
        let usage = usage.map_err(|err| fs_failed("asking how much room there is", err))?;
        let used = taken(volumes.iter().map(|(place, record)| self.part(place, record)));
        let promised = Bytes(volumes.iter().map(|(at, record)| record.promised(at.id).0).sum());
        let all = Bytes(usage.bytes.available.saturating_add(used.0)).percent(self.overprovision);
        Ok(Room { size: all, free: all.saturating_sub(promised) })
    }

    fn project(&self, id: &Id, taken: &BTreeSet<u32>) -> Result<Option<u32>, Error> {
        let used = self.fs.used_projects(&self.mount);
        let used = used.map_err(|err| fs_failed("asking for project quotas", err))?;
        // Each volume begins to look at a place of its own, so that an id is not soon another's.
        let hash = id
            .as_str()
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let is_free = |project: &u32| !taken.contains(project) && !used.contains(project);
        let mut all = (0..PROJECTS).map(|n| FIRST_PROJECT + hash.wrapping_add(n) % PROJECTS);
        let found = all.find(is_free);
        found.map(Some).ok_or_else(|| Error::NoRoom("all project ids are in use".to_owned()))
    }

    fn fill(&self, Place { id, at }: Place<'_>, record: &Record) -> Result<(), Error> {
        let doing = || format!("making the directory of {id}");
        let failed = |err| fs_failed(doing(), err);
        let project = project_of(id, record)?;
        paths::ensure_directory(at).map_err(failed)?;
        self.fs.set_project(at, project).map_err(failed)?;
        self.limit(id, project, self.limit_of(record.size))?;
        let opened = fs::set_permissions(at, fs::Permissions::from_mode(MODE));
        opened.map_err(|err| Error::machine(doing(), err))
    }

    fn copier(&self) -> Option<&dyn Copier> {
        Some(self)
    }

    fn is_filled(&self, place: Place<'_>) -> Result<bool, Error> {
        match fs::symlink_metadata(place.at) {
            Ok(found) => Ok(found.is_dir()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(Error::machine(format!("looking for {}", place.at.display()), err)),
        }
    }

    fn fit(&self, Place { id, .. }: Place<'_>, record: &Record) -> Result<(), Error> {
        self.limit(id, project_of(id, record)?, self.limit_of(record.promised(id)))
    }

    fn scraps_at_once(&self) -> bool {
        false
    }

    fn hide(&self, Place { id, at }: Place<'_>) -> Result<(), Error> {
        let failed = |err| Error::uncertain(format!("hiding {id}"), err);
        let trash = self.trash();
        paths::ensure_directory(&trash).map_err(|err| fs_failed(format!("hiding {id}"), err))?;
        // No two directories of a file system have the same number: what an earlier try has left may be there.
        let number = match fs::symlink_metadata(at) {
            Ok(found) => found.ino(),
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(failed(err)),
        };
        let aside = trash.join(number.to_string());
        take_away(at, |it| fs::rename(it, &aside)).map_err(failed)
    }

    fn scrap(
        &self,
        place: Place<'_>,
        record: &Record,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        self.clear(place)?;
        self.tidy(goes_on)?;
        match record.project {
            Some(project) => self.limit(place.id, project, ProjectLimit::default()),
            None => Ok(()),
        }
    }

    fn clear(&self, place: Place<'_>) -> Result<(), Error> {
        if self.is_filled(place)? { self.hide(place) } else { Ok(()) }
    }

    fn tidy(&self, goes_on: &dyn Fn() -> bool) -> Result<(), Error> {
        empty(&self.trash(), goes_on).map_err(|err| {
            if err.kind() == io::ErrorKind::Interrupted {
                return Error::Busy("removing files stopped half-way".to_owned());
            }
            Error::machine(format!("removing what is in {}", self.trash().display()), err)
        })
    }

    fn body(&self, at: &Path) -> PathBuf {
        at.to_owned()
    }

    fn face(&self, at: &Path, mounts: &[Mount]) -> Option<(DeviceNumber, PathBuf)> {
        let at = paths::real(at);
        let mount = Mount::around(&at, mounts)?;
        let below = at.strip_prefix(&mount.at).ok()?;
        Some((mount.device, mount.root.join(below)))
    }
}

impl Copier for Directory {
    fn lacks(&self) -> Result<Option<String>, Error> {
        if let Some(known) = self.lacks_reflinks.get() {
            return Ok(known.clone());
        }
        let lacks = self.fs.lacks_reflinks(&self.home);
        let lacks = lacks.map_err(|err| fs_failed("asking whether files can share blocks", err))?;
        Ok(self.lacks_reflinks.get_or_init(|| lacks).clone())
    }

    fn holds(&self, Place { id, at }: Place<'_>) -> Result<Bytes, Error> {
        let usage = self.fs.usage(at);
        let usage = usage.map_err(|err| fs_failed(format!("asking how full {id} is"), err))?;
        Ok(Bytes(usage.bytes.used))
    }

    /// It has no limit before it is whole: what it takes for itself while it is copied may be more than in the end.
    fn copy(
        &self,
        from: Place<'_>,
        Place { id, at }: Place<'_>,
        record: &Record,
        goes_on: &mut dyn FnMut(Bytes) -> bool,
    ) -> Result<Option<Bytes>, Error> {
        let failed = |err| fs_failed(format!("copying {} to {id}", from.id), err);
        paths::ensure_directory(at).map_err(failed)?;
        self.fs.set_project(at, project_of(id, record)?).map_err(failed)?;
        self.fs.clone_tree(from.at, at, goes_on).map_err(failed)
    }
}

/// Removes everything in a directory of trash, unless it is to stop. Directories within others are moved up first,
/// so that none is too deep, whatever the volumes' users have made. No link is followed, and what is a mount point
/// stays.
fn empty(trash: &Path, goes_on: &dyn Fn() -> bool) -> io::Result<()> {
    loop {
        let tops = entries(trash)?;
        if tops.is_empty() {
            return gone(fs::remove_dir(trash));
        }
        for top in tops {
            if !goes_on() {
                return Err(io::Error::from(io::ErrorKind::Interrupted));
            }
            if !top.file_type()?.is_dir() {
                take_away(&top.path(), |it| fs::remove_file(it))?;
                continue;
            }
            for entry in entries(&top.path())? {
                // No two directories of a file system have the same number.
                let aside = trash.join(entry.ino().to_string());
                match entry.file_type()?.is_dir() {
                    true => take_away(&entry.path(), |it| fs::rename(it, &aside))?,
                    false => take_away(&entry.path(), |it| fs::remove_file(it))?,
                }
            }
            take_away(&top.path(), |it| fs::remove_dir(it))?;
        }
    }
}

fn entries(directory: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.collect(),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(err) => Err(err),
    }
}

/// Takes something away from where it is, also where it, or the directory around it, is immutable.
fn take_away(at: &Path, away: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    match gone(away(at)) {
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => {
            contents::loosen(at)?;
            gone(away(at))
        }
        done => done,
    }
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trash_goes_and_what_links_lead_to_stays() {
        let home = tempfile::tempdir().unwrap();
        let (trash, other) = (home.path().join("trash"), home.path().join("other"));
        fs::create_dir_all(trash.join("v-a/b/c")).unwrap();
        fs::create_dir_all(trash.join("v-b/b")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "kept").unwrap();
        fs::write(trash.join("v-a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink(&other, trash.join("v-a/b/link")).unwrap();
        let stopped = empty(&trash, &|| false).unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
        for _ in 0..2 {
            empty(&trash, &|| true).unwrap();
        }
        assert!(!trash.try_exists().unwrap());
        assert_eq!(fs::read_to_string(other.join("file")).unwrap(), "kept");
    }

    /// Deeper than a path may be long, and than a stack is.
    #[test]
    fn none_is_too_deep() {
        let home = tempfile::tempdir().unwrap();
        let mut bottom = home.path().join("bottom");
        fs::create_dir(&bottom).unwrap();
        for n in 0..5000 {
            let above = home.path().join(n.to_string());
            fs::create_dir(&above).unwrap();
            fs::rename(&bottom, above.join("x")).unwrap();
            bottom = above;
        }
        let trash = home.path().join("trash");
        fs::create_dir(&trash).unwrap();
        fs::rename(bottom, trash.join("v-a")).unwrap();
        empty(&trash, &|| true).unwrap();
        assert!(!trash.try_exists().unwrap());
    }
}
