//! A volume with a device of its own and a file system on it: found or made, checked, mounted, and as large as the device.

use std::path::Path;

use super::{Mounts, fs_failed, refuse_stranger, usable::usable};
use crate::{
    fs::{self, Access, Content, Filesystems, FsKind, MkfsOptions, MountHow, paths},
    volume::{self, Capability, Error, Mode, chain},
};

/// A file system that is, or is to be, on a volume's device.
#[derive(Clone, Copy, Debug)]
pub struct OnDevice<'a> {
    /// What messages call the volume.
    pub name: &'a str,
    /// The device.
    pub device: &'a Path,
    /// What the volume was made for.
    pub kind: FsKind,
    /// Options for mkfs, as one text.
    pub mkfs: &'a str,
    /// Whether the volume has never been staged, so that a file system may be made where nothing is found.
    pub fresh: bool,
    /// Whether what is on it shares its identity with what it was copied from.
    pub twin: bool,
}

/// How a capability has a file system mounted; `None` for raw block.
pub fn how(capability: &Capability, kind: FsKind) -> Option<MountHow> {
    let volume::Access::Mount { options, .. } = &capability.access else { return None };
    let read_only = capability.mode == Mode::ReadOnly || options.read_only();
    let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
    Some(MountHow { kind, options: options.clone(), access })
}

impl OnDevice<'_> {
    /// Mounts it at `at`, a real path; true unless it was there already. `mounts` are those of the volume.
    ///
    /// # Errors
    /// [`Error::Exists`] when it is there in another way, [`Error::Precondition`] when what is found is not what the
    /// volume was made for. Whatever the error, nothing is left mounted.
    pub fn stage(
        &self,
        fs: &dyn Filesystems,
        mounts: &Mounts,
        at: &Path,
        how: &MountHow,
    ) -> Result<bool, Error> {
        if let Some(mount) = mounts.at(at) {
            let mark = fs.mark_of(mount);
            let same = mount.access == how.access
                && how.options.agree_with(mount)
                && mark.is_none_or(|mark| mark == how.options.mark());
            if !same {
                let what = format!("{} staged at {}", self.name, at.display());
                return Err(Error::exists(what, "way of mounting", "other options", "these"));
            }
            return self.fill(fs, at, how.access).map(|()| false);
        }
        refuse_stranger(mounts, at)?;
        self.ensure_there(fs)?;
        paths::ensure_directory(at)
            .map_err(|err| fs_failed("making the staging directory", err))?;
        let mounted = fs.mount(self.device, at, how);
        mounted.map_err(|err| fs_failed(format!("mounting {}", self.name), err))?;
        if let Err(err) = self.fill(fs, at, how.access) {
            roll_back(fs, at);
            return Err(err);
        }
        Ok(true)
    }

    /// Makes the file system if the volume is fresh and empty; else checks the one that is there.
    fn ensure_there(&self, fs: &dyn Filesystems) -> Result<(), Error> {
        let (name, device, kind) = (self.name, self.device, self.kind);
        let failed = |doing: &str, err| fs_failed(format!("{doing} {name}"), err);
        let Some(content) = self.make_or_see(fs)? else { return Ok(()) };
        usable(kind, &content)
            .map_err(|why| Error::Precondition(format!("volume {name}: {why}")))?;
        if self.twin {
            let parted = fs.part_from_origin(device, kind);
            parted.map_err(|err| failed("giving an identity of its own to", err))?;
        }
        fs.check(device, kind).map_err(|err| failed("checking", err))
    }

    /// Makes a file system on a volume that has never been staged, and gives back what stands in the way of that; a
    /// volume that has been staged is only looked at.
    ///
    /// # Errors
    /// [`Error::Precondition`] for options that mkfs cannot have, and what the device and mkfs say.
    pub fn make_or_see(&self, fs: &dyn Filesystems) -> Result<Option<Content>, Error> {
        let (name, device, kind) = (self.name, self.device, self.kind);
        if !self.fresh {
            let probed = fs.probe(device);
            return probed.map(Some).map_err(|err| fs_failed(format!("probing {name}"), err));
        }
        let options = MkfsOptions::parse(kind, self.mkfs).map_err(|err| {
            Error::Precondition(format!("volume {name}: mkfs options in its record: {err}"))
        })?;
        match fs.make(device, kind, &options) {
            Ok(()) => Ok(None),
            Err(fs::Error::NotEmpty { found, .. }) => Ok(Some(found)),
            Err(err) => Err(fs_failed(format!("making a file system on {name}"), err)),
        }
    }

    /// Grows it where it is mounted, if it is smaller than its device: a larger restore, or an expansion that was cut
    /// short.
    ///
    /// # Errors
    /// What the kernel and the programs that grow it say.
    pub fn fill(&self, fs: &dyn Filesystems, at: &Path, access: Access) -> Result<(), Error> {
        if access == Access::ReadOnly {
            return Ok(());
        }
        let grown = fs.grow(self.device, at, self.kind);
        grown.map_err(|err| fs_failed(format!("growing the file system of {}", self.name), err))
    }
}

/// Undoes a mount of ours; the kubelet takes a final error to mean that nothing is mounted.
fn roll_back(fs: &dyn Filesystems, at: &Path) {
    if let Err(err) = fs.unmount(at) {
        tracing::warn!(at = %at.display(), error = chain(&err), "a failed stage could not be undone");
    }
}
