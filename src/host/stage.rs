//! NodeStageVolume and NodeUnstageVolume: the file system is found or made, checked, mounted, and
//! fills its device. A raw block volume only needs its device.

use std::path::{Path, PathBuf};

use super::{
    Found, Host, format, fs_failed, no_volume,
    record::{FRESH, TWIN},
    used::Mounts,
};
use crate::{
    fs::{self, Access, Content, FsKind, MountHow, MountOptions, paths},
    volume::{self, Capability, Error, Mode, Purpose, VolumeId},
};

/// What NodeStageVolume asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which volume.
    pub id: VolumeId,
    /// Where its file system is mounted; nothing is put there for raw block.
    pub at: PathBuf,
    /// How it will be used.
    pub capability: Capability,
}

impl Host {
    /// Makes the volume ready on this node; one that is ready so already is fine.
    ///
    /// # Errors
    /// [`Error::Exists`] when it is staged there in another way, [`Error::Precondition`] when what
    /// is on it is not what is asked for. Whatever the error, nothing is left mounted.
    pub fn stage(&self, wanted: &Stage) -> Result<(), Error> {
        let wanted = &Stage { at: paths::real(&wanted.at), ..wanted.clone() };
        let found = self.finished_volume(&wanted.id)?;
        self.suits(&wanted.capability, &found, &wanted.at)?;
        found.ensure_not_lost()?;
        let device = self.active_device(&found)?;
        let volume::Access::Mount { options, .. } = &wanted.capability.access else {
            self.used_from_now_on(&found);
            return Ok(());
        };
        let Purpose::Filesystem(kind) = found.record.purpose else { return Ok(()) };
        let how = MountHow {
            kind,
            options: options.clone(),
            access: access_of(wanted.capability.mode, options),
        };
        let mounts = self.mounts_of(&found)?;
        if let Some(mount) = mounts.at(&wanted.at) {
            let mark = self.tools.fs.mark_of(mount);
            let same = mount.access == how.access
                && how.options.agree_with(mount)
                && mark.is_none_or(|mark| mark == how.options.mark());
            if !same {
                let what = format!("{} staged at {}", found.lv.name, wanted.at.display());
                return Err(Error::exists(what, "way of mounting", "other options", "these"));
            }
            return self.fill(&found, &device, &wanted.at, kind, how.access);
        }
        refuse_stranger(&mounts, &wanted.at)?;
        self.ensure_filesystem(&found, &device, kind)?;
        paths::ensure_directory(&wanted.at)
            .map_err(|err| fs_failed("making the staging directory", err))?;
        let mounted = self.tools.fs.mount(&device, &wanted.at, &how);
        mounted.map_err(|err| fs_failed(format!("mounting {}", found.lv.name), err))?;
        if let Err(err) = self.fill(&found, &device, &wanted.at, kind, how.access) {
            self.roll_back(&wanted.at);
            return Err(err);
        }
        self.used_from_now_on(&found);
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

    /// Undoes a mount of ours; the kubelet takes a final error to mean that nothing is mounted.
    fn roll_back(&self, at: &Path) {
        if let Err(err) = self.tools.fs.unmount(at) {
            let error = volume::chain(&err);
            tracing::warn!(at = %at.display(), error, "a failed stage could not be undone");
        }
    }

    /// Makes the file system if the volume is fresh and empty; else checks the one that is there.
    fn ensure_filesystem(&self, found: &Found, device: &Path, kind: FsKind) -> Result<(), Error> {
        let name = &found.lv.name;
        let failed = |doing: &str, err| fs_failed(format!("{doing} {name}"), err);
        let Some(content) = self.make_or_see(found, device, kind)? else { return Ok(()) };
        format::usable(kind, &content)
            .map_err(|why| Error::Precondition(format!("volume {name}: {why}")))?;
        if found.record.twin {
            let parted = self.tools.fs.part_from_origin(device, kind);
            parted.map_err(|err| failed("giving an identity of its own to", err))?;
        }
        self.tools.fs.check(device, kind).map_err(|err| failed("checking", err))
    }

    /// Makes a file system on a volume that has never been staged, and gives back what stands in
    /// the way of that; a volume that has been staged is only looked at.
    pub(super) fn make_or_see(
        &self,
        found: &Found,
        device: &Path,
        kind: FsKind,
    ) -> Result<Option<Content>, Error> {
        let name = &found.lv.name;
        if !found.record.fresh {
            let probed = self.tools.fs.probe(device);
            return probed.map(Some).map_err(|err| fs_failed(format!("probing {name}"), err));
        }
        let options = fs::MkfsOptions::parse(kind, &found.record.mkfs).map_err(|err| {
            Error::Precondition(format!("volume {name}: mkfs options in its tags: {err}"))
        })?;
        match self.tools.fs.make(device, kind, &options) {
            Ok(()) => Ok(None),
            Err(fs::Error::NotEmpty { found, .. }) => Ok(Some(found)),
            Err(err) => Err(fs_failed(format!("making a file system on {name}"), err)),
        }
    }

    /// Grows a file system that is smaller than its device: a larger restore, or an expansion that
    /// was cut short.
    fn fill(
        &self,
        found: &Found,
        device: &Path,
        at: &Path,
        kind: FsKind,
        access: Access,
    ) -> Result<(), Error> {
        if access == Access::ReadOnly {
            return Ok(());
        }
        let grown = self.tools.fs.grow(device, at, kind);
        grown.map_err(|err| fs_failed(format!("growing the file system of {}", found.lv.name), err))
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

    /// Unmounts whatever of the volume is mounted at `at`, layer by layer, and sees that it is gone.
    pub(super) fn unmount_layers(&self, found: &Found, at: &Path) -> Result<(), Error> {
        loop {
            let mounts = self.mounts_of(found)?;
            match mounts.at(at) {
                Some(_) => (),
                None if mounts.is_covered(at) => {
                    let (name, at) = (&found.lv.name, at.display());
                    return Err(Error::Precondition(format!(
                        "{name} is mounted at {at} below another mount, which must go first"
                    )));
                }
                None => return Ok(()),
            }
            let off = self.tools.fs.unmount(at);
            off.map_err(|err| fs_failed(format!("unmounting {}", found.lv.name), err))?;
        }
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
        self.fill(&found, &found.device(), &through, kind, Access::ReadWrite)?;
        Ok(found.lv.size)
    }
}

/// Refuses a path where something else is mounted.
pub(super) fn refuse_stranger(mounts: &Mounts, at: &Path) -> Result<(), Error> {
    match mounts.stranger_at(at) {
        Some(other) => Err(Error::Precondition(format!(
            "something else is mounted at {}: {} of device {}:{}",
            at.display(),
            other.fs_type,
            other.device.major,
            other.device.minor
        ))),
        None => Ok(()),
    }
}

fn access_of(mode: Mode, options: &MountOptions) -> Access {
    let read_only = mode == Mode::ReadOnly || options.read_only();
    if read_only { Access::ReadOnly } else { Access::ReadWrite }
}
