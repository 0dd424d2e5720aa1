//! CreateVolume: the smallest free device that fits becomes the volume, when its record is written.

use std::{path::PathBuf, sync::Arc};

use super::{
    Found, WholeDevices, entries,
    identity::Identity,
    judge::Judged,
    mounted::Seen,
    pool::Pool,
    record::{FileSystem, Record},
};
use crate::{
    device::{BlockDevice, Wipe},
    fs::MkfsOptions,
    mounts::fs_failed,
    pool::{
        Class, EntryState, PoolSpec,
        capacity::{no_device, unfit},
        pick,
    },
    units::Bytes,
    volume::{Error, Parameters, PoolName, Purpose, Volume, VolumeId, Wanted, chain, ensure_equal},
};

/// What a volume is to be, wherever it is.
struct Draft {
    class: Class,
    mkfs: String,
}

/// What was free when it was looked at is so no more.
struct NotFree;

impl WholeDevices {
    /// See [`crate::pool::PoolKind::create`].
    pub(super) fn make(&self, wanted: &Wanted) -> Result<Volume, Error> {
        let id = VolumeId::of(&wanted.name);
        if let Some(found) = self.roster.look_up(&id) {
            if found.record.deleted {
                let why = format!("an earlier volume {id} is still being wiped");
                return Err(Error::Busy(why));
            }
            self.ensure_same(&found, wanted)?;
            return Ok(self.as_volume(&id, &found.record));
        }
        let pools = self.pools();
        let named = wanted.parameters.pool.as_ref();
        let pool = pick(&pools.served, |pool| &pool.name, named, "this node")?;
        let draft = suitable(&pool.spec, &pool.name, wanted)?;
        wanted.ensure_may_be_on(&self.node)?;
        self.ensure_home()?;
        for anew in [false, true] {
            if anew {
                self.look_around(true)?;
            }
            if let Some(record) = self.claim(pool, &id, wanted, &draft)? {
                return Ok(self.as_volume(&id, &record));
            }
        }
        if let Some(device) = &wanted.parameters.device {
            let device = device.display();
            return Err(Error::NoRoom(format!("{device} of pool {} is not free", pool.name)));
        }
        let room = self.room_for(pool, wanted.purpose, &wanted.parameters);
        let why = no_device(&pool.name, wanted.size, room.largest);
        Err(Error::NoRoom(why + &self.unfit_said(pool, wanted)))
    }

    /// Takes a free device for the volume, if there is one that fits.
    fn claim(
        &self,
        pool: &Arc<Pool>,
        id: &VolumeId,
        wanted: &Wanted,
        draft: &Draft,
    ) -> Result<Option<Record>, Error> {
        let _turn = self.take_turn()?;
        let view = self.look_around_now()?;
        let least = wanted.purpose.filesystem().map_or(Bytes::ZERO, |kind| kind.smallest());
        let fits = |it: &Judged, size: Bytes| {
            // A file system that is there already is large enough for itself.
            let can_have_one = size >= least || it.mounted().is_some();
            can_have_one && size >= wanted.size.least() && wanted.size.allows(size)
        };
        let others = self.devices_at(&wanted.parameters.except);
        let named = wanted.parameters.device.as_ref();
        let free = view.of(&pool.name).iter().filter(|it| it.state == EntryState::Free);
        let free = free.filter(|it| named.is_none_or(|named| *named == it.entry.path));
        let mut fitting: Vec<_> = free
            .filter_map(|it| Some((it.size?, it)))
            .filter(|(size, it)| fits(it, *size) && unfit_for(it, wanted, &others).is_none())
            .collect();
        fitting.sort_by_key(|(size, it)| (*size, &it.entry.path));
        for (size, it) in fitting {
            let Some(device) = &it.device else { continue };
            let Ok(file_system) = self.seize(it, device, size)? else { continue };
            let record = Record {
                name: wanted.name.clone(),
                purpose: wanted.purpose,
                size,
                wipe: draft.class.wipe,
                shreds: shreds(pool, draft.class.wipe),
                mkfs: draft.mkfs.clone(),
                created: (self.clock)(),
                fresh: file_system.is_none(),
                adopted: false,
                deleted: false,
                wiped: None,
                device: Identity::of(device, &it.entry.path),
                file_system,
            };
            if self.take(pool, id, device, &record)? {
                self.look_around_now()?;
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Writes the record while nobody else has the device, and nothing is on it; false where that is not so.
    fn take(
        &self,
        pool: &Pool,
        id: &VolumeId,
        device: &BlockDevice,
        record: &Record,
    ) -> Result<bool, Error> {
        // A file system that is mounted keeps its device from others.
        let hold = match record.file_system {
            Some(_) => None,
            None => {
                let hold = self.devices.hold(device);
                let look = self.fs.look(&device.path).map_err(|err| chain(&err));
                let is_free = hold.is_ok() && look.as_ref().is_ok_and(|look| look.is_nothing());
                let unheld = hold.as_ref().err().map(|err| chain(err));
                self.note_look(device, look, unheld);
                if !is_free {
                    return Ok(false);
                }
                Some(hold)
            }
        };
        pool.put("writing the record of", id, record.clone())?;
        drop(hold);
        tracing::info!(pool = %pool.name, volume = %id, device = %device.path.display(), "taken");
        Ok(true)
    }

    /// What is to be written of the file system of an entry that is a mount; nothing of a device.
    fn seize(
        &self,
        it: &Judged,
        device: &BlockDevice,
        size: Bytes,
    ) -> Result<Result<Option<FileSystem>, NotFree>, Error> {
        let Some((mount, kind)) = it.entry.leads.mount().zip(it.mounted()) else {
            return Ok(Ok(None));
        };
        let failed = |err| fs_failed(format!("looking at {}", mount.at.display()), err);
        // While it is held, its device has no other file system.
        let _root = self.fs.root(mount).map_err(failed)?;
        let (seen, uuid) = self.see(mount, kind, device).map_err(failed)?;
        match seen == (Seen { size, devices: 1, holds: None }) {
            true => Ok(Ok(Some(FileSystem { uuid, removed: 0 }))),
            false => Ok(Err(NotFree)),
        }
    }

    /// Which free entries are not what is wanted, and why, as the end of a sentence.
    fn unfit_said(&self, pool: &Pool, wanted: &Wanted) -> String {
        let view = self.view();
        let free = view.of(&pool.name).iter().filter(|it| it.state == EntryState::Free);
        let others = self.devices_at(&wanted.parameters.except);
        let unfit =
            free.filter_map(|it| Some((it.entry.path.display(), unfit_for(it, wanted, &others)?)));
        unfit.map(|(at, said)| format!("; {at} is free, but {said}")).collect()
    }

    /// The numbers of the devices to which paths lead.
    fn devices_at(&self, paths: &[PathBuf]) -> Vec<(u64, u64)> {
        paths.iter().filter_map(|it| entries::device_of(&*self.fs, it)).collect()
    }

    /// Compares what an earlier call made with what is wanted under its name.
    fn ensure_same(&self, found: &Found, wanted: &Wanted) -> Result<(), Error> {
        let Found { id, pool, record } = found;
        let same = |field, has, wants| ensure_equal(id, field, has, wants);
        wanted.ensure_is_like(id, record.size, record.purpose)?;
        let name = wanted.parameters.pool.as_ref().unwrap_or(&pool.name);
        same("pool", pool.name.to_string(), name.to_string())?;
        let draft = suitable(&pool.spec.allowing(record.wipe), &pool.name, wanted)?;
        same("wipe", format!("{:?}", record.wipe), format!("{:?}", draft.class.wipe))?;
        same("mkfsOptions", record.mkfs.clone(), draft.mkfs)?;
        wanted.ensure_is_where_wanted(id, &self.node)
    }
}

/// Why what is free cannot be what is wanted; `others` are the devices that others have.
fn unfit_for(it: &Judged, wanted: &Wanted, others: &[(u64, u64)]) -> Option<String> {
    let is_other = it.device.as_ref().is_some_and(|it| others.contains(&it.number));
    if is_other || wanted.parameters.except.contains(&it.entry.path) {
        return Some("a PersistentVolume of the kind `local` has it".to_owned());
    }
    unfit(it.mounted()?, wanted.purpose, &wanted.parameters)
}

/// How volumes of these parameters are made in the pool.
pub(super) fn class(pool: &Pool, parameters: &Parameters) -> Result<Class, Error> {
    Class::resolve(parameters, &pool.name, &pool.spec, None)
}

/// How often a device that is wiped so is shredded.
pub(super) fn shreds(pool: &Pool, wipe: Wipe) -> u32 {
    let whole = pool.spec.whole_devices.as_ref().filter(|_| wipe == Wipe::Shred);
    whole.map_or(0, |it| it.shred_passes)
}

/// That a volume of the pool can be what is wanted, and how it is made then.
fn suitable(spec: &PoolSpec, name: &PoolName, wanted: &Wanted) -> Result<Draft, Error> {
    let class = Class::resolve(&wanted.parameters, name, spec, None)?;
    if wanted.source.is_some() {
        let allowed =
            format!("nothing is copied into pool {name}, whose volumes are whole devices");
        return Err(Error::invalid("volume_content_source", "a copy", allowed));
    }
    let purpose: Purpose = wanted.purpose;
    let options: MkfsOptions = wanted.parameters.mkfs_options(purpose)?;
    Ok(Draft { class, mkfs: options.to_string() })
}
