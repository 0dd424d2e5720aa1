//! What is staged also appears at the pod's path.

use std::path::Path;

use super::{Mounts, fs_failed, refuse_stranger};
use crate::{
    fs::{self, Access, Filesystems, Mount, paths},
    volume::{self, Error, Mode, Publish},
};

/// Makes a volume appear at a path: the mount or, for raw block, the device file at `from`. Its paths are real ones.
///
/// # Errors
/// [`Error::Precondition`] when it has its one writer elsewhere, [`Error::Exists`] when it is published there in
/// another way.
pub fn publish(
    fs: &dyn Filesystems,
    name: &str,
    mounts: &Mounts,
    from: &Path,
    wanted: &Publish,
) -> Result<(), Error> {
    let block = wanted.capability.access == volume::Access::Block;
    let read_only = wanted.capability.mode == Mode::ReadOnly;
    let access = if read_only { Access::ReadOnly } else { wanted.access };
    if let Some(mount) = mounts.at(&wanted.at) {
        return same_way(mount, access, block, wanted);
    }
    if wanted.capability.mode == Mode::OneWriter {
        only_one(name, mounts, wanted)?;
    }
    refuse_stranger(mounts, &wanted.at)?;
    // The kernel ignores "read-only" for device files; the kubelet gives the container's
    // device the permission instead, and a read-only device would be so for all its users.
    let access = if block { Access::ReadWrite } else { access };
    let made =
        if block { paths::ensure_file(&wanted.at) } else { paths::ensure_directory(&wanted.at) };
    made.map_err(|err| fs_failed("making the target", err))?;
    fs.bind(from, &wanted.at, access).map_err(|err| {
        if let Err(left) = remove_target(&wanted.at) {
            tracing::warn!(error = volume::chain(&left), "a failed publish left its target");
        }
        fs_failed(format!("publishing {name}"), err)
    })
}

/// Removes the empty directory or file at a target from which the volume was taken off; one that is not there is
/// fine, and one where something else is mounted is not ours.
///
/// # Errors
/// [`Error::Precondition`] when there is more than an empty directory or file.
pub fn unpublish(fs: &dyn Filesystems, at: &Path) -> Result<(), Error> {
    let all = fs.mounts().map_err(|err| fs_failed("looking at the mounts", err))?;
    if all.iter().any(|mount| mount.at == *at) {
        return Ok(());
    }
    remove_target(at).map_err(|err| fs_failed("removing the target", err))
}

/// Published there already: in the way that is asked for, or in another.
fn same_way(mount: &Mount, access: Access, block: bool, wanted: &Publish) -> Result<(), Error> {
    if block || mount.access == access {
        return Ok(());
    }
    let what = format!("{} published at {}", wanted.id, wanted.at.display());
    Err(Error::exists(what, "access", format!("{:?}", mount.access), format!("{access:?}")))
}

/// A volume of one writer is published once.
fn only_one(name: &str, mounts: &Mounts, wanted: &Publish) -> Result<(), Error> {
    let elsewhere = mounts.elsewhere(&[&wanted.staged, &wanted.at]);
    match elsewhere.first() {
        Some(at) => Err(Error::Precondition(format!(
            "volume {name} is for one pod, and published at {}",
            at.display()
        ))),
        None => Ok(()),
    }
}

fn remove_target(at: &Path) -> Result<(), fs::Error> {
    if at.is_dir() { paths::remove_directory(at) } else { paths::remove_file(at) }
}
