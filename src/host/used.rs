//! Who uses a volume: mounts of its device, and whatever else holds it open.

use std::path::{Path, PathBuf};

use super::{Found, Host, fs_failed};
use crate::{
    fs::{DeviceNumber, Mount},
    volume::Error,
};

/// The mounts of one volume.
pub(super) struct Mounts {
    /// The number of the volume's device; `None` when it has none now.
    pub(super) device: Option<DeviceNumber>,
    /// Its file system or its device file, oldest first.
    pub(super) of_volume: Vec<Mount>,
    /// All mounts of the machine.
    all: Vec<Mount>,
}

impl Host {
    /// Every mount of a volume: of the file system on it, and bind mounts of its device file.
    pub(super) fn mounts_of(&self, found: &Found) -> Result<Mounts, Error> {
        let fs = &self.tools.fs;
        let doing = || "looking at the mounts".to_owned();
        let device = fs.device_at(&found.device()).map_err(|err| fs_failed(doing(), err))?;
        let all = fs.mounts().map_err(|err| fs_failed(doing(), err))?;
        let of_volume = all.iter().filter(|mount| self.is_of(mount, device)).cloned().collect();
        Ok(Mounts { device, of_volume, all })
    }

    fn is_of(&self, mount: &Mount, device: Option<DeviceNumber>) -> bool {
        let Some(device) = device else { return false };
        if mount.device == device {
            return true;
        }
        // A bind mount of a device file shows the file system that the file is in (devtmpfs), so
        // what is at the mount point tells.
        let file_of_dev = mount.root != Path::new("/") && mount.fs_type.contains("tmpfs");
        file_of_dev && self.tools.fs.device_at(&mount.at).ok().flatten() == Some(device)
    }

    /// Refuses while anything uses the volume.
    ///
    /// # Errors
    /// [`Error::InUse`] says what.
    pub(super) fn ensure_unused(&self, found: &Found) -> Result<(), Error> {
        let mounts = self.mounts_of(found)?;
        let name = &found.lv.name;
        if let Some(mount) = mounts.of_volume.first() {
            let at = mount.at.display();
            return Err(Error::InUse(format!("{name} is in use: mounted at {at}")));
        }
        if mounts.device.is_none() {
            return Ok(());
        }
        let open = self
            .tools
            .devices
            .open_count(&found.device())
            .map_err(|err| Error::machine(format!("asking who has {name} open"), err))?;
        let dependents = found.pool.read(|ledger| ledger.dependents(name).count());
        if open > 0 && dependents == 0 {
            return Err(Error::InUse(format!(
                "{name} is in use: {open} open file(s), perhaps a loop device of the kubelet's; see `lsof` and `losetup -l`"
            )));
        }
        Ok(())
    }
}

impl Mounts {
    /// The topmost mount at `path`, if it is one of the volume's.
    pub(super) fn at(&self, path: &Path) -> Option<&Mount> {
        let top = self.all.iter().rev().find(|mount| mount.at == path)?;
        self.of_volume.iter().find(|mount| *mount == top)
    }

    /// Something else's topmost mount at `path`.
    pub(super) fn stranger_at(&self, path: &Path) -> Option<&Mount> {
        let top = self.all.iter().rev().find(|mount| mount.at == path)?;
        (!self.of_volume.contains(top)).then_some(top)
    }

    /// Whether the volume is mounted at `path` below something else.
    pub(super) fn is_covered(&self, path: &Path) -> bool {
        self.at(path).is_none() && self.of_volume.iter().any(|mount| mount.at == path)
    }

    /// Where else than in `paths` the volume is mounted.
    pub(super) fn elsewhere(&self, paths: &[&Path]) -> Vec<PathBuf> {
        let away = |at: &PathBuf| !paths.contains(&at.as_path());
        self.of_volume.iter().map(|mount| mount.at.clone()).filter(away).collect()
    }
}
