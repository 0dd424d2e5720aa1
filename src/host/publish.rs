//! NodePublishVolume and NodeUnpublishVolume: what is staged also appears at the pod's path.

use std::path::{Path, PathBuf};

use super::{Found, Host};
use crate::{
    fs::paths,
    mounts::{self, Mounts},
    volume::{Access, Error, Publish, VolumeId},
};

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
        let from = self.staged(&found, &mounts, wanted)?;
        mounts::publish(&*self.tools.fs, found.lv.name.as_str(), &mounts, &from, wanted)
    }

    /// What is bound to the target: the staging mount, or the device.
    fn staged(&self, found: &Found, mounts: &Mounts, wanted: &Publish) -> Result<PathBuf, Error> {
        let name = &found.lv.name;
        if wanted.capability.access == Access::Block {
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
        mounts::unpublish(&*self.tools.fs, at)
    }
}
