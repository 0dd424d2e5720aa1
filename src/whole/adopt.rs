//! Adoption: what an entry leads to becomes a volume with all that is on it, and is handed back as it was.
//!
//! Its record is all that is written, with one rename, and all that goes: of two processes that would adopt, one has the turn,
//! and whoever was killed has done it or not. The device is read while nobody else has it; it is never written to, and as its
//! record says that it was adopted, no mkfs ever runs on it.

mod judge;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Found, WholeDevices,
    create::shreds,
    entries::Entry,
    identity::Identity,
    mounted::{self, Seen},
    pool::Pool,
    record::{FileSystem, Record},
    view::Scene,
};
use crate::{
    device::{BlockDevice, Hold},
    fs::{Mount, contents::Root},
    mounts::fs_failed,
    units::Bytes,
    volume::{Adopted, Adoption, Error, Purpose, Released, VolumeId},
};
use judge::{Meant, Named};

/// What a new record says of what is adopted.
struct Holds {
    purpose: Purpose,
    size: Bytes,
    file_system: Option<FileSystem>,
}

/// What is held while its record is written: so long nobody mounts the device or takes it for another, and the device of a
/// mount has no other file system.
#[expect(dead_code, reason = "they are only held")]
enum Held {
    Device(Vec<Hold>),
    Mount(Root),
}

impl WholeDevices {
    /// Makes what an entry leads to a volume, with all that it holds. What an earlier call has done is found.
    ///
    /// # Errors
    /// Each says what to do, and nothing has been changed, but perhaps after [`Error::Uncertain`].
    pub fn adopt(&self, wanted: &Adoption<PathBuf>) -> Result<Adopted, Error> {
        self.ensure_home()?;
        self.look_around(true)?;
        let found = {
            let _turn = self.take_turn()?;
            match self.look_for_entry(wanted)? {
                (_, Meant::Done(found)) => found,
                (scene, Meant::New(pool, entry)) => self.take_over(&scene, pool, &entry, wanted)?,
            }
        };
        self.look_around_or_say(false);
        Ok(Adopted {
            volume: self.as_volume(&found.id, &found.record),
            name: wanted.name.clone(),
            pool: found.pool.name.clone(),
            was: found.record.device.entry.display().to_string(),
        })
    }

    /// Whether an entry has been adopted so already. Nothing is changed.
    ///
    /// # Errors
    /// Why it may not be, where that can be told without looking at what is on it.
    pub fn is_adopted(&self, wanted: &Adoption<PathBuf>) -> Result<bool, Error> {
        let _turn = self.take_turn()?;
        self.look_for_entry(wanted).map(|(_, meant)| matches!(meant, Meant::Done(_)))
    }

    /// Hands an adopted volume back: what is on it stays, and its entry is one like any other.
    ///
    /// # Errors
    /// As [`WholeDevices::adopt`].
    pub fn release(&self, id: &VolumeId) -> Result<Released, Error> {
        let is = {
            let _turn = self.take_turn()?;
            let found = self.roster.look_up(id);
            let found = found.ok_or_else(|| Error::NotFound(format!("volume {id}")))?;
            judge::ensure_releasable(id, &found.record)?;
            let _holds = self.hold_unused(&found, id.as_str())?;
            found.pool.forget(id)?;
            found.record.device.entry
        };
        tracing::info!(volume = %id, entry = %is.display(), "handed back");
        self.look_around_or_say(true);
        Ok(Released { id: id.clone(), is: is.display().to_string() })
    }

    /// The entry that a volume was before it was adopted; `None` where Tarn has made it, or does not have it.
    pub fn adopted_from(&self, id: &VolumeId) -> Option<String> {
        let record = self.roster.look_up(id)?.record;
        record.adopted.then(|| record.device.entry.display().to_string())
    }

    /// The pool below whose directory there is a record of the volume, be it of a kind that it may.
    pub fn is_recorded(&self, id: &VolumeId) -> Option<String> {
        Record::pool_of(&self.home, id)
    }

    /// What is meant, as far as that is told by the machine and the records. The caller has the turn.
    fn look_for_entry(&self, wanted: &Adoption<PathBuf>) -> Result<(Scene, Meant), Error> {
        let (id, path) = (VolumeId::of(&wanted.name), &wanted.what);
        let scene = self.scene()?;
        let pools = self.roster.wanted();
        let named = Named { path, number: super::entries::device_of(&*self.fs, path) };
        let (name, entry) = judge::entry(&scene.pools, &pools, &named)?;
        let number = judge::number(&scene.pools, name, entry)?;
        let claim = scene.claims.iter().find(|it| it.devices.contains(&number));
        if let Some(claim) = claim {
            let found = self.roster.look_up(&claim.id).filter(|_| claim.pool == name.as_str());
            judge::ensure_adopted(path, &id, claim, found.as_ref().map(|it| &it.record))?;
            if let Some(found) = found {
                return Ok((scene, Meant::Done(found)));
            }
        }
        if let Some(of) = self.is_recorded(&id) {
            return Err(judge::taken(path, &id, &of));
        }
        let served = self.pools();
        let pool = served.served.iter().find(|it| it.name == *name).cloned();
        let pool = pool.ok_or_else(|| {
            let why = self.roster.unserved().remove(name).unwrap_or_default();
            Error::Precondition(format!("pool {name} is not served: {why}"))
        })?;
        let entry = entry.clone();
        Ok((scene, Meant::New(pool, entry)))
    }

    /// Writes the record of a new volume, once nothing speaks against that.
    fn take_over(
        &self,
        scene: &Scene,
        pool: Arc<Pool>,
        entry: &Entry,
        wanted: &Adoption<PathBuf>,
    ) -> Result<Found, Error> {
        let device = &judge::disk(&scene.survey, entry)?.device;
        let wipe = pool.spec.wipe_of(wanted.wipe)?;
        let record = Record {
            name: wanted.name.clone(),
            purpose: Purpose::Block,
            size: device.size,
            wipe,
            shreds: shreds(&pool, wipe),
            mkfs: String::new(),
            created: (self.clock)(),
            fresh: false,
            adopted: true,
            deleted: false,
            wiped: None,
            device: Identity::of(device, &entry.path),
            file_system: None,
        };
        let mut found = Found { id: VolumeId::of(&wanted.name), pool, record };
        let (held, Holds { purpose, size, file_system }) = match entry.leads.mount() {
            None => self.of_device(scene, &found, device, wanted)?,
            Some(mount) => self.of_mount(scene, &entry.path, (mount, device), wanted)?,
        };
        found.record = Record { purpose, size, file_system, ..found.record };
        // By what is written it must be found again, and nothing else.
        judge::ensure_alone(&entry.path, device, &self.candidates(&found.record)?)?;
        found.pool.put("writing the record of", &found.id, found.record.clone())?;
        drop(held);
        let (pool, id) = (&found.pool.name, &found.id);
        tracing::info!(%pool, volume = %id, entry = %entry.path.display(), "adopted");
        Ok(found)
    }

    /// What is on a device that nobody uses.
    fn of_device(
        &self,
        scene: &Scene,
        found: &Found,
        device: &BlockDevice,
        wanted: &Adoption<PathBuf>,
    ) -> Result<(Held, Holds), Error> {
        let path = &found.record.device.entry;
        let mut survey = scene.survey.clone();
        self.looks.tell(&mut survey);
        judge::ensure_adoptable(path, device, &survey)?;
        let shown = path.display().to_string();
        let held = Held::Device(self.hold_unused(found, &shown)?);
        let failed = |err| fs_failed(format!("looking at {shown}"), err);
        let content = self.fs.probe(&device.path).map_err(failed)?;
        let purpose = wanted.purpose_of(&shown, &content)?;
        if let Purpose::Filesystem(kind) = purpose {
            let identity = self.fs.identity(&device.path, kind).map_err(failed)?;
            judge::ensure_on_one(path, identity.devices)?;
        }
        Ok((held, Holds { purpose, size: device.size, file_system: None }))
    }

    /// What is in a file system that is mounted where an entry leads, and nowhere else.
    fn of_mount(
        &self,
        scene: &Scene,
        path: &Path,
        (mount, device): (&Mount, &BlockDevice),
        wanted: &Adoption<PathBuf>,
    ) -> Result<(Held, Holds), Error> {
        let kind = mounted::of_all(mount).map_err(|why| judge::not(path, &why))?;
        judge::ensure_as_mounted(path, kind, wanted)?;
        judge::ensure_mount_unused(path, mount, &scene.mounts)?;
        let failed = |err| fs_failed(format!("looking at {}", path.display()), err);
        let held = Held::Mount(self.fs.root(mount).map_err(failed)?);
        let seen = self.see(mount, kind, device);
        let (Seen { size, devices, holds: _ }, uuid) = seen.map_err(failed)?;
        judge::ensure_on_one(path, devices)?;
        let file_system = Some(FileSystem { uuid, removed: 0 });
        Ok((held, Holds { purpose: Purpose::Filesystem(kind), size, file_system }))
    }
}
