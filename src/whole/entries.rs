//! What is in the directories.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    fs::{Filesystems, Mount, paths},
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
    /// To a directory where something is mounted.
    Mount,
    /// To a directory that is nothing else.
    Directory,
    /// To a file.
    File,
    /// Nowhere.
    Nowhere,
    /// That cannot be told.
    Unread(String),
}

/// Every entry of the directories, in the order of their names.
pub(super) fn gather(
    fs: &dyn Filesystems,
    mounts: &[Mount],
    directories: &[PathBuf],
) -> Vec<Entry> {
    let mut all = Vec::new();
    for directory in directories {
        match names(directory) {
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

fn names(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: io::Result<Vec<_>> = fs::read_dir(directory)?.collect();
    let mut paths: Vec<PathBuf> = entries?.into_iter().map(|it| it.path()).collect();
    paths.sort();
    Ok(paths)
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

fn leads(fs: &dyn Filesystems, mounts: &[Mount], path: &Path) -> Leads {
    match fs.device_at(&target(path)) {
        Ok(Some(number)) => return Leads::Device((number.major, number.minor)),
        Ok(None) => (),
        Err(err) => return Leads::Unread(chain(&err)),
    }
    let is_mount = |at: &Path| mounts.iter().any(|mount| mount.at == at);
    match path.canonicalize() {
        Ok(at) if at.is_dir() && is_mount(&paths::real(&at)) => Leads::Mount,
        Ok(at) if at.is_dir() => Leads::Directory,
        Ok(_) => Leads::File,
        Err(_) => Leads::Nowhere,
    }
}
