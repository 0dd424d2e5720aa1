//! Volumes that are mounts: staged, and emptied when they are deleted.

use std::path::Path;

use super::{Found, WholeDevices, entries, mounted, record::FileSystem};
use crate::{
    fs::{Access, DeviceNumber, FsKind, Mount, MountOptions, contents::Root},
    mounts::fs_failed,
    pool::Keeps,
    volume::{self, Capability, Error},
};

/// It is noted and told how far the removal has come after so many files and directories.
const NOTED: u64 = 5000;

impl WholeDevices {
    /// Where the file system of a volume is mounted by who gave it.
    ///
    /// # Errors
    /// [`Error::Precondition`] when it is not there now, and nothing else will do.
    fn given(&self, found: &Found, is: &FileSystem) -> Result<Mount, Error> {
        let Found { id, record, .. } = found;
        let device = self.device(found)?.number;
        let (entry, uuid) = (record.device.entry.display(), &is.uuid);
        let all = self.mounts()?;
        let there = entries::mounted_at(&all, &record.device.entry).ok_or_else(|| {
            Error::Precondition(format!(
                "volume {id}: its file system (UUID {uuid}) is not mounted at {entry}; mount it there again"
            ))
        })?;
        let kind = record.purpose.filesystem().map(FsKind::name);
        let DeviceNumber { major, minor } = there.device;
        let is_it = (major, minor) == device
            && there.root == Path::new("/")
            && kind == Some(there.fs_type.as_str());
        match is_it {
            true => Ok(there.clone()),
            false => Err(Error::Precondition(format!(
                "volume {id}: something else than its file system (UUID {uuid}) is mounted at {entry}: {} of device \
                 {major}:{minor}",
                there.fs_type
            ))),
        }
    }

    /// Where a volume that is a mount can be published from, as it is asked for. Nothing is mounted when it is staged: the kubelet
    /// never unstages what is also mounted anywhere else (kubernetes, `HasMountRefs` in pkg/volume/util/util.go), as this always
    /// is.
    ///
    /// # Errors
    /// Options that it cannot have, and those of [`WholeDevices::given`].
    pub(super) fn given_as(
        &self,
        found: &Found,
        is: &FileSystem,
        capability: &Capability,
    ) -> Result<(Mount, Access), Error> {
        let id = &found.id;
        let options = match &capability.access {
            volume::Access::Mount { options, .. } => options.clone(),
            volume::Access::Block => MountOptions::default(),
        };
        if !options.is_only_access() {
            return Err(Error::invalid(
                "volume_capability.mount.mount_flags",
                "other options",
                "a volume that is a mount has no mount options but `ro` and `rw`",
            ));
        }
        let read_only = capability.mode == volume::Mode::ReadOnly || options.read_only();
        let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
        let given = self.given(found, is)?;
        if given.access == Access::ReadOnly && access == Access::ReadWrite {
            let at = given.at.display();
            let why = format!("volume {id}: its file system is mounted read-only at {at}");
            return Err(Error::Precondition(why));
        }
        Ok((given, access))
    }

    /// Removes all that is in the file system of a deleted volume, sees that it is empty, and forgets the volume.
    pub(super) fn empty(&self, found: &Found, is: &FileSystem) -> Result<(), Error> {
        let (id, pool) = (&found.id, &found.pool);
        let root = self.root_of(found, is)?;
        let failed = |doing: &str, err| fs_failed(format!("{doing} {id}"), err);
        let (mut removed, mut untold) = (is.removed, Ok(()));
        tracing::info!(volume = %id, removed, "removing what it held");
        let mut goes_on = || {
            removed += 1;
            if removed.is_multiple_of(NOTED) {
                untold = self.note_removed(found, removed);
                tracing::info!(volume = %id, removed, "removing what it held");
                self.look_around_or_say(false);
            }
            untold.is_ok() && self.rounds.goes_on()
        };
        let is_cleared = root.clear(&mut goes_on);
        untold?;
        if !is_cleared.map_err(|err| failed("emptying", err))? {
            return Err(Error::Busy("it was stopped half-way".to_owned()));
        }
        root.reset().map_err(|err| failed("emptying", err))?;
        root.sync().map_err(|err| failed("emptying", err))?;
        if let Some(path) = root.holds().map_err(|err| failed("looking at", err))? {
            let path = path.display();
            return Err(Error::Precondition(format!("it was emptied, and yet {path} is there")));
        }
        let _turn = self.take_turn()?;
        pool.forget(id)
    }

    /// The root directory of a deleted volume, held, which nobody else uses.
    fn root_of(&self, found: &Found, is: &FileSystem) -> Result<Root, Error> {
        let id = &found.id;
        let given = self.given(found, is)?;
        let at = &given.at;
        let failed = |err| fs_failed(format!("opening {id}"), err);
        let root = self.fs.root(&given).map_err(failed)?;
        // Now that it is held, its device gets no other file system: it is looked at once more.
        let (device, kind) = (self.device(found)?, found.record.purpose.filesystem());
        let DeviceNumber { major, minor } = given.device;
        let identity = kind.map(|kind| self.fs.identity(&device.path, kind)).transpose();
        let is_it = identity.map_err(failed)?.is_some_and(|it| {
            device.number == (major, minor) && it.uuid == is.uuid && it.devices == 1
        });
        if !is_it {
            return Err(Error::Precondition(format!(
                "it is not emptied: {} has another file system, or one on several devices",
                device.path.display()
            )));
        }
        let mounts = self.mounts_of(found, Path::new(""))?;
        let other = mounts.of_volume.first().or_else(|| mounted::within(at, &mounts.all));
        match other {
            None => Ok(root),
            Some(it) => Err(Error::Precondition(format!(
                "it is not emptied while it is mounted, or something within it, at {}",
                it.at.display()
            ))),
        }
    }

    fn note_removed(&self, found: &Found, removed: u64) -> Result<(), Error> {
        let _turn = self.take_turn()?;
        let Some(mut record) = found.pool.find(&found.id) else { return Ok(()) };
        if let Some(is) = &mut record.file_system {
            is.removed = removed;
        }
        found.pool.put("writing the record of", &found.id, record)
    }
}
