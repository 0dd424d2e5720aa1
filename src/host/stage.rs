//! NodeStageVolume and NodeUnstageVolume: the file system is found or made, checked, mounted, and
//! fills its device. A raw block volume only needs its device.

use std::path::Path;

use super::{
    Found, Host, no_volume,
    record::{FRESH, TWIN},
};
use crate::{
    fs::{Access, FsKind, paths},
    mounts::{self, OnDevice},
    volume::{self, Capability, Error, Purpose, Stage, VolumeId},
};

impl Host {
    /// Makes the volume ready on this node; one that is ready so already is fine.
    ///
    /// # Errors
    /// [`Error::Exists`] when it is staged there in another way, [`Error::Precondition`] when what
    /// is on it is not what is asked for. Whatever the error, nothing is left mounted.
    pub fn stage(&self, wanted: &Stage) -> Result<(), Error> {
        let at = &paths::real(&wanted.at);
        let found = self.finished_volume(&wanted.id)?;
        self.suits(&wanted.capability, &found, at)?;
        found.ensure_not_lost()?;
        let device = self.active_device(&found)?;
        let used = match found.record.purpose {
            Purpose::Block => true,
            Purpose::Filesystem(kind) => {
                let Some(how) = mounts::how(&wanted.capability, kind) else { return Ok(()) };
                let mounts = self.mounts_of(&found)?;
                on_device(&found, &device, kind).stage(&*self.tools.fs, &mounts, at, &how)?
            }
        };
        if used {
            self.used_from_now_on(&found);
        }
        Ok(())
    }

    /// Refuses a capability that the volume was not made for.
    ///
    /// # Errors
    /// [`Error::Exists`] when the volume is at that path already, as what it was made for.
    pub(super) fn suits(
        &self,
        capability: &Capability,
        found: &Found,
        at: &Path,
    ) -> Result<(), Error> {
        let Err(why) = capability.suits(found.record.purpose) else { return Ok(()) };
        let name = &found.lv.name;
        if self.mounts_of(found)?.at(at).is_some() {
            let what = format!("{name} at {}", at.display());
            return Err(Error::exists(what, "purpose", found.record.purpose, why));
        }
        Err(Error::Precondition(format!("volume {name}: {why}")))
    }

    fn used_from_now_on(&self, found: &Found) {
        if found.record.fresh || found.record.twin {
            self.retag_soon(found, &[FRESH, TWIN]);
        }
    }

    /// Takes the volume's file system off its staging path; nothing of this volume there is fine.
    ///
    /// # Errors
    /// [`Error::InUse`] while something holds it.
    pub fn unstage(&self, id: &VolumeId, at: &Path) -> Result<(), Error> {
        let Some(found) = self.volume_anywhere(id) else { return Ok(()) };
        self.unmount_layers(&found, &paths::real(at))?;
        // A thin pool that has given up waits for the last of its users.
        if found.lv.failed {
            self.chores.report_soon(&found.pool.name);
        }
        Ok(())
    }

    /// Unmounts whatever of the volume is mounted at `at`, and sees that it is gone.
    pub(super) fn unmount_layers(&self, found: &Found, at: &Path) -> Result<(), Error> {
        let name = found.lv.name.as_str();
        mounts::unmount_layers(&*self.tools.fs, name, at, || self.mounts_of(found))
    }

    /// Grows the file system of a volume to what its device has (NodeExpandVolume). `at` is its
    /// staging or any of its target paths.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the volume is not there, [`Error::OutOfRange`] when more is asked
    /// for than the volume has, [`Error::Precondition`] for a read-only mount.
    pub fn node_expand(
        &self,
        id: &VolumeId,
        at: &Path,
        size: volume::SizeRange,
    ) -> Result<crate::units::Bytes, Error> {
        let at = &paths::real(at);
        let found = self.volume(id).ok_or_else(|| no_volume(id))?;
        if size.is_given() && size.least() > found.lv.size {
            let (name, has) = (&found.lv.name, found.lv.size);
            return Err(Error::OutOfRange(format!(
                "volume {name} has {has}, not {}",
                size.least()
            )));
        }
        let mounts = self.mounts_of(&found)?;
        let missing = || Error::NotFound(format!("a mount of volume {id} at {}", at.display()));
        let Purpose::Filesystem(kind) = found.record.purpose else {
            let is_it = self.tools.fs.device_at(at).ok().flatten() == mounts.device;
            let staged = at.is_dir();
            return if is_it || staged { Ok(found.lv.size) } else { Err(missing()) };
        };
        let mount = mounts.at(at).ok_or_else(missing)?;
        let writable = mounts.of_volume.iter().find(|it| it.access == Access::ReadWrite);
        let through = match (mount.access, writable) {
            (Access::ReadWrite, _) => mount,
            (Access::ReadOnly, Some(other)) => other,
            (Access::ReadOnly, None) => {
                let why =
                    format!("volume {id} is mounted read-only; it grows when mounted writable");
                return Err(Error::Precondition(why));
            }
        };
        let through = through.at.clone();
        let (device, fs) = (found.device(), &*self.tools.fs);
        on_device(&found, &device, kind).fill(fs, &through, Access::ReadWrite)?;
        Ok(found.lv.size)
    }
}

/// The file system that is, or is to be, on a volume.
pub(super) fn on_device<'a>(found: &'a Found, device: &'a Path, kind: FsKind) -> OnDevice<'a> {
    let record = &found.record;
    let (name, mkfs) = (found.lv.name.as_str(), record.mkfs.as_str());
    OnDevice { name, device, kind, mkfs, fresh: record.fresh, twin: record.twin }
}
