//! How a volume's device appears at the paths of pods: staged, published, and taken off again.

use std::path::Path;

use super::{Found, WholeDevices, entries, record::Record};
use crate::{
    device::{BlockDevice, Hold},
    fs::{Access, DeviceNumber, Mount, paths},
    mounts::{self, Mounts, OnDevice, fs_failed},
    pool::Keeps,
    units::Bytes,
    volume::{self, Capability, Error, Publish, Purpose, SizeRange, Stage, Stats, VolumeId, chain},
};

impl WholeDevices {
    /// See [`crate::pool::PoolKind::stage`].
    pub(super) fn stage_volume(&self, wanted: &Stage) -> Result<(), Error> {
        let at = &paths::real(&wanted.at);
        let found = self.roster.found(&wanted.id)?;
        let mounts = self.mounts_of(&found, at)?;
        suits(&wanted.capability, &found, &mounts, at)?;
        if let Some(is) = &found.record.file_system {
            return self.given_as(&found, is, &wanted.capability).map(drop);
        }
        let device = self.device(&found)?;
        let Purpose::Filesystem(kind) = found.record.purpose else { return Ok(()) };
        let Some(how) = mounts::how(&wanted.capability, kind) else { return Ok(()) };
        let file_system = OnDevice {
            name: found.id.as_str(),
            device: &device.path,
            kind,
            mkfs: &found.record.mkfs,
            fresh: found.record.fresh,
            twin: false,
        };
        let is_new = file_system.stage(&*self.fs, &mounts, at, &how)?;
        if is_new {
            self.ensure_not_released(&found, at)?;
        }
        if found.record.fresh {
            self.note_used(&found);
        }
        Ok(())
    }

    /// Takes a volume off a path again that another process has released meanwhile: that has seen no mount yet.
    fn ensure_not_released(&self, found: &Found, at: &Path) -> Result<(), Error> {
        if !found.pool.is_stale(&found.id) {
            return Ok(());
        }
        let failed = |err| fs_failed(format!("unmounting {}", found.id), err);
        self.fs.unmount(at).map_err(failed)?;
        Err(Error::NotFound(format!("volume {}", found.id)))
    }

    /// From now on what is on the volume is its user's. Should that not be written, the next stage finds a whole file
    /// system, and uses it.
    fn note_used(&self, found: &Found) {
        if let Err(err) = self.put_used(found) {
            tracing::warn!(volume = %found.id, error = chain(&err), "not noted as used");
        }
    }

    fn put_used(&self, found: &Found) -> Result<(), Error> {
        let _turn = self.take_turn()?;
        let Some(record) = found.pool.find(&found.id) else { return Ok(()) };
        let used = Record { fresh: false, ..record };
        found.pool.put("writing the record of", &found.id, used)
    }

    pub(super) fn unstage_volume(&self, id: &VolumeId, at: &Path) -> Result<(), Error> {
        let Some(found) = self.roster.look_up(id) else { return Ok(()) };
        let at = paths::real(at);
        mounts::unmount_layers(&*self.fs, id.as_str(), &at, || self.mounts_of(&found, &at))
    }

    pub(super) fn publish_volume(&self, wanted: &Publish) -> Result<(), Error> {
        let (staged, at) = (paths::real(&wanted.staged), paths::real(&wanted.at));
        let wanted = &Publish { staged, at, ..wanted.clone() };
        let found = self.roster.found(&wanted.id)?;
        let mounts = self.mounts_of(&found, &wanted.at)?;
        suits(&wanted.capability, &found, &mounts, &wanted.at)?;
        let id = &wanted.id;
        if let Some(is) = &found.record.file_system {
            let (given, most) = self.given_as(&found, is, &wanted.capability)?;
            let access = if most == Access::ReadOnly { most } else { wanted.access };
            let wanted = Publish { access, ..wanted.clone() };
            mounts::publish(&*self.fs, id.as_str(), &mounts, &given.at, &wanted)?;
            return self.ensure_not_released(&found, &wanted.at);
        }
        let from = match wanted.capability.access {
            volume::Access::Block => self.device(&found)?.path,
            volume::Access::Mount { .. } => {
                if mounts.at(&wanted.staged).is_none() {
                    let at = wanted.staged.display();
                    return Err(Error::Precondition(format!("volume {id} is not staged at {at}")));
                }
                wanted.staged.clone()
            }
        };
        mounts::publish(&*self.fs, id.as_str(), &mounts, &from, wanted)
    }

    pub(super) fn expand_on_node(
        &self,
        id: &VolumeId,
        at: &Path,
        size: SizeRange,
    ) -> Result<Bytes, Error> {
        let found = self.roster.found(id)?;
        let has = found.record.size;
        if size.is_given() && size.least() > has {
            return Err(Error::OutOfRange(format!("volume {id} has {has}, not {}", size.least())));
        }
        let at = &paths::real(at);
        let mounts = self.mounts_of(&found, at)?;
        let is_there = match found.record.purpose {
            Purpose::Block => at.is_dir() || self.shows_device(at, &mounts)?,
            Purpose::Filesystem(_) => mounts.at(at).is_some(),
        };
        match is_there {
            // It has had all of its device from the beginning.
            true => Ok(has),
            false => Err(Error::NotFound(format!("a mount of volume {id} at {}", at.display()))),
        }
    }

    pub(super) fn usage(&self, id: &VolumeId, at: &Path) -> Result<Stats, Error> {
        let found = self.roster.found(id)?;
        let at = &paths::real(at);
        let mounts = self.mounts_of(&found, at)?;
        let missing = || Error::NotFound(format!("volume {id} at {}", at.display()));
        match found.record.purpose {
            Purpose::Block if self.shows_device(at, &mounts)? => {
                Ok(Stats::Block(found.record.size))
            }
            Purpose::Block => Err(missing()),
            Purpose::Filesystem(_) => {
                let mount = mounts.at(at).ok_or_else(missing)?;
                let usage = self.fs.usage(&mount.at);
                usage.map(Stats::Filesystem).map_err(|err| fs_failed("asking how full it is", err))
            }
        }
    }

    fn shows_device(&self, at: &Path, mounts: &Mounts) -> Result<bool, Error> {
        let there = self.fs.device_at(at);
        let there = there.map_err(|err| fs_failed("looking at the path", err))?;
        Ok(there.is_some() && there == mounts.device)
    }

    /// Every mount of a volume: of the file system on it, and bind mounts of its device file. Of one whose disk is
    /// missing it is what is mounted at `at` of a device that is gone.
    pub(super) fn mounts_of(&self, found: &Found, at: &Path) -> Result<Mounts, Error> {
        let devices = self.list()?;
        let all = self.mounts()?;
        let of = |number: (u64, u64)| DeviceNumber { major: number.0, minor: number.1 };
        let candidates: Vec<_> =
            self.among(&devices, &found.record).iter().map(|it| of(it.number)).collect();
        let is_gone =
            |number| candidates.is_empty() && !devices.iter().any(|it| of(it.number) == number);
        let is_of = |mount: &&Mount| match self.shown_by(mount) {
            Some(number) if candidates.contains(&number) => true,
            Some(number) => mount.at == at && is_gone(number),
            None => false,
        };
        // A device file that the admin has bound where it is found is nobody's use of it, nor is a file system that is
        // mounted there.
        let given = entries::mounted_at(&all, &found.record.device.entry);
        let is_entry = |mount: &&Mount| {
            let of_pool = found.pool.directories().iter().any(|it| mount.at.starts_with(it));
            of_pool
                || mount.at == paths::real(&found.record.device.entry)
                || given.is_some_and(|it| it.at == mount.at)
        };
        let of_volume = all.iter().filter(is_of).filter(|it| !is_entry(it)).cloned().collect();
        Ok(Mounts { device: candidates.first().copied(), of_volume, all })
    }

    /// The device that a mount shows: that of its file system, or the one whose file is bound there, which shows the
    /// file system that the file is in (devtmpfs).
    fn shown_by(&self, mount: &Mount) -> Option<DeviceNumber> {
        let file_of_dev = mount.root != Path::new("/") && mount.fs_type.contains("tmpfs");
        match file_of_dev {
            true => self.fs.device_at(&mount.at).ok().flatten(),
            // Those of no device have the major number 0.
            false => Some(mount.device).filter(|it| it.major != 0),
        }
    }

    /// Refuses while anything uses the volume.
    ///
    /// # Errors
    /// [`Error::InUse`] says what.
    pub(super) fn ensure_unused(&self, found: &Found) -> Result<(), Error> {
        self.hold_unused(found, found.id.as_str()).map(drop)
    }

    /// Holds the device of a volume that nobody uses, unless its file system stays mounted; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`WholeDevices::ensure_unused`].
    pub(super) fn hold_unused(&self, found: &Found, name: &str) -> Result<Vec<Hold>, Error> {
        let mounts = self.mounts_of(found, Path::new(""))?;
        if let Some(mount) = mounts.of_volume.first() {
            let at = mount.at.display();
            return Err(Error::InUse(format!("{name} is in use: mounted at {at}")));
        }
        if found.record.file_system.is_some() {
            // Its file system stays mounted where it was given.
            return Ok(Vec::new());
        }
        let hold = |device: &BlockDevice| {
            self.devices.hold(device).map_err(|err| {
                Error::InUse(format!("{name} is in use, or its device is: {}", chain(&err)))
            })
        };
        self.candidates(&found.record)?.iter().map(hold).collect()
    }
}

/// Refuses a capability that the volume was not made for.
fn suits(capability: &Capability, found: &Found, mounts: &Mounts, at: &Path) -> Result<(), Error> {
    let (id, purpose) = (&found.id, found.record.purpose);
    let Err(why) = capability.suits(purpose) else { return Ok(()) };
    Err(match mounts.at(at) {
        Some(_) => Error::exists(format!("{id} at {}", at.display()), "purpose", purpose, why),
        None => Error::Precondition(format!("volume {id}: {why}")),
    })
}
