//! NodePublishVolume and NodeUnpublishVolume: what is staged also appears at the pod's path.

use std::path::{Path, PathBuf};

use super::{Found, Host, fs_failed, stage::refuse_stranger, used::Mounts};
use crate::{
    fs::{self, Access, Mount, paths},
    volume::{self, Capability, Error, Mode, VolumeId},
};

/// What NodePublishVolume asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Which volume.
    pub id: VolumeId,
    /// Where it is staged.
    pub staged: PathBuf,
    /// Where it shall appear: a directory, or for raw block a file.
    pub at: PathBuf,
    /// How it will be used.
    pub capability: Capability,
    /// Whether it may be written to there.
    pub access: Access,
}

impl Host {
    /// Makes a staged volume appear at a path; one that does already is fine.
    ///
    /// # Errors
    /// [`Error::Precondition`] when it is not staged, or has its one writer elsewhere;
    /// [`Error::Exists`] when it is published there in another way.
    pub fn publish(&self, wanted: &Publish) -> Result<(), Error> {
        let (staged, at) = (paths::real(&wanted.staged), paths::real(&wanted.at));
        let wanted = &Publish { staged, at, ..wanted.clone() };
        let found = self.finished_volume(&wanted.id)?;
        self.suits(&wanted.capability, &found, &wanted.at)?;
        let mounts = self.mounts_of(&found)?;
        let read_only = wanted.capability.mode == Mode::ReadOnly;
        let access = if read_only { Access::ReadOnly } else { wanted.access };
        let block = wanted.capability.access == volume::Access::Block;
        let from = self.staged(&found, &mounts, wanted, block)?;
        if let Some(mount) = mounts.at(&wanted.at) {
            return same_way(mount, access, block, wanted);
        }
        if wanted.capability.mode == Mode::OneWriter {
            only_one(&found, &mounts, wanted)?;
        }
        refuse_stranger(&mounts, &wanted.at)?;
        self.appear(&found, &from, wanted, access, block)
    }

    /// What is bound to the target: the staging mount, or the device.
    fn staged(
        &self,
        found: &Found,
        mounts: &Mounts,
        wanted: &Publish,
        block: bool,
    ) -> Result<PathBuf, Error> {
        let name = &found.lv.name;
        if block {
            return match mounts.device {
                Some(_) => Ok(found.device()),
                None => Err(Error::Precondition(format!("volume {name} is not staged"))),
            };
        }
        if mounts.at(&wanted.staged).is_none() {
            let at = wanted.staged.display();
            return Err(Error::Precondition(format!("volume {name} is not staged at {at}")));
        }
        Ok(wanted.staged.clone())
    }

    fn appear(
        &self,
        found: &Found,
        from: &Path,
        wanted: &Publish,
        access: Access,
        block: bool,
    ) -> Result<(), Error> {
        // The kernel ignores "read-only" for device files; the kubelet gives the container's
        // device the permission instead, and a read-only device would be so for all its users.
        let access = if block { Access::ReadWrite } else { access };
        let made = if block {
            paths::ensure_file(&wanted.at)
        } else {
            paths::ensure_directory(&wanted.at)
        };
        made.map_err(|err| fs_failed("making the target", err))?;
        let bound = self.tools.fs.bind(from, &wanted.at, access);
        bound.map_err(|err| {
            let removed = remove_target(&wanted.at);
            if let Err(left) = removed {
                tracing::warn!(error = volume::chain(&left), "a failed publish left its target");
            }
            fs_failed(format!("publishing {}", found.lv.name), err)
        })
    }

    /// Takes the volume off a path, and removes the empty directory or file there; a path that is
    /// not there is fine. What is at the path of a volume that is not there is not ours.
    ///
    /// # Errors
    /// [`Error::InUse`] while something holds it, [`Error::Precondition`] when there is more than an
    /// empty directory or file.
    pub fn unpublish(&self, id: &VolumeId, at: &Path) -> Result<(), Error> {
        let at = &paths::real(at);
        let Some(found) = self.volume_anywhere(id) else { return Ok(()) };
        self.unmount_layers(&found, at)?;
        let all = self.tools.fs.mounts().map_err(|err| fs_failed("looking at the mounts", err))?;
        if all.iter().any(|mount| mount.at == *at) {
            return Ok(());
        }
        remove_target(at).map_err(|err| fs_failed("removing the target", err))
    }
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
fn only_one(found: &Found, mounts: &Mounts, wanted: &Publish) -> Result<(), Error> {
    let elsewhere = mounts.elsewhere(&[&wanted.staged, &wanted.at]);
    match elsewhere.first() {
        Some(at) => Err(Error::Precondition(format!(
            "volume {} is for one pod, and published at {}",
            found.lv.name,
            at.display()
        ))),
        None => Ok(()),
    }
}

fn remove_target(at: &Path) -> Result<(), fs::Error> {
    if at.is_dir() { paths::remove_directory(at) } else { paths::remove_file(at) }
}
