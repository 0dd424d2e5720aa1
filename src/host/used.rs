//! Who uses a volume: mounts of its device, and whatever else holds it open.

use std::path::Path;

use super::{Found, Host};
use crate::{
    fs::{DeviceNumber, Mount},
    mounts::{Mounts, fs_failed},
    volume::Error,
};

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
