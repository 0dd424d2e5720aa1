//! What is in the directories.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    fs::{Filesystems, Mount, paths},
    pool::WholeDevicesSpec,
    volume::chain,
};

/// A name in a directory, or a directory that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) leads: Leads,
}

/// To what an entry leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// To the block device of this number.
    Device((u64, u64)),
    /// To a directory where this is mounted, on top of whatever else is there.
    Mount(Mount),
    /// To a directory that is nothing else.
    Directory,
    /// To a file.
    File,
    /// Nowhere.
    Nowhere,
    /// That cannot be told.
    Unread(String),
}

impl Leads {
    /// The mount, where it is one.
    pub(super) fn mount(&self) -> Option<&Mount> {
        match self {
            Self::Mount(mount) => Some(mount),
            Self::Device(_) | Self::Directory | Self::File | Self::Nowhere | Self::Unread(_) => {
                None
            }
        }
    }

    /// The number of the device, or of that below the mount.
    pub(super) fn number(&self) -> Option<(u64, u64)> {
        match self {
            Self::Device(number) => Some(*number),
            Self::Mount(mount) => Some((mount.device.major, mount.device.minor)),
            Self::Directory | Self::File | Self::Nowhere | Self::Unread(_) => None,
        }
    }

    /// Why it is no volume, where an entry at `path` leads there, too.
    pub(super) fn same_as(&self, path: &str) -> String {
        match self.mount() {
            Some(_) => format!("it is of the same file system as {path}"),
            None => format!("it leads to the same device as {path}"),
        }
    }
}

/// Every entry of the directories that is the pool's, in the order of their names.
pub(super) fn gather(
    fs: &dyn Filesystems,
    mounts: &[Mount],
    whole: &WholeDevicesSpec,
) -> Vec<Entry> {
    let mut all = Vec::new();
    for directory in &whole.directories {
        match names(directory, whole) {
            Ok(paths) => all.extend(paths.into_iter().map(|path| {
                let leads = leads(fs, mounts, &path);
                Entry { path, leads }
            })),
            Err(err) => all.push(Entry {
                path: directory.clone(),
                leads: Leads::Unread(format!("the directory cannot be read: {err}")),
            }),
        }
    }
    all
}

fn names(directory: &Path, whole: &WholeDevicesSpec) -> io::Result<Vec<PathBuf>> {
    let entries: io::Result<Vec<_>> = fs::read_dir(directory)?.collect();
    let meant = entries?.into_iter().filter(|it| whole.means(&it.file_name()));
    let mut paths: Vec<PathBuf> = meant.map(|it| it.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Whether two paths are of one name in one directory.
pub(super) fn same_place(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| Some((paths::real(path.parent()?), path.file_name()?.to_owned()));
    one == other || place(one) == place(other)
}

/// The number of the block device that an entry leads to.
pub(super) fn device_of(fs: &dyn Filesystems, path: &Path) -> Option<(u64, u64)> {
    let number = fs.device_at(&target(path)).ok()??;
    Some((number.major, number.minor))
}

/// Where a link leads; the path itself, if it is none.
fn target(path: &Path) -> PathBuf {
    match (fs::read_link(path), path.parent()) {
        (Ok(target), Some(parent)) => parent.join(target),
        _ => path.to_owned(),
    }
}

/// What is seen at a path of the mounts there.
fn topmost<'a>(mounts: &'a [Mount], at: &Path) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.at == at)
}

/// What is mounted where an entry leads.
pub(super) fn mounted_at<'a>(mounts: &'a [Mount], entry: &Path) -> Option<&'a Mount> {
    topmost(mounts, &entry.canonicalize().ok()?)
}

fn leads(fs: &dyn Filesystems, mounts: &[Mount], path: &Path) -> Leads {
    match fs.device_at(&target(path)) {
        Ok(Some(number)) => return Leads::Device((number.major, number.minor)),
        Ok(None) => (),
        Err(err) => return Leads::Unread(chain(&err)),
    }
    match path.canonicalize() {
        Ok(at) if at.is_dir() => match topmost(mounts, &at) {
            Some(mount) => Leads::Mount(mount.clone()),
            None => Leads::Directory,
        },
        Ok(_) => Leads::File,
        Err(_) => Leads::Nowhere,
    }
}
