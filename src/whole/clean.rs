//! Deleted volumes: their devices are overwritten, whole, and are free again when nothing is on them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    Found, WholeDevices,
    course::{Course, Progress, Step},
    record::Record,
};
use crate::{
    device::{self, BlockDevice, Wipe},
    mounts::fs_failed,
    pool::{Keeps, plan::words_for},
    volume::{Error, VolumeId, chain},
};

/// When a device that could not be wiped is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// The volumes that are being wiped, and those that could not be.
#[derive(Default)]
pub(super) struct Cleanings(Mutex<BTreeMap<VolumeId, Cleaning>>);

enum Cleaning {
    Running,
    /// When, and why.
    Failed(Instant, String),
}

impl Cleanings {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<VolumeId, Cleaning>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, unless it runs or has just failed.
    fn begin(&self, id: &VolumeId) -> bool {
        let mut all = self.lock();
        let is_due = match all.get(id) {
            None => true,
            Some(Cleaning::Running) => false,
            Some(Cleaning::Failed(at, _)) => at.elapsed() >= AGAIN,
        };
        if is_due {
            all.insert(id.clone(), Cleaning::Running);
        }
        is_due
    }

    fn end(&self, id: &VolumeId, result: Result<(), String>) {
        match result {
            Ok(()) => self.lock().remove(id),
            Err(why) => self.lock().insert(id.clone(), Cleaning::Failed(Instant::now(), why)),
        };
    }

    /// Why the volume could not be wiped when that was tried last.
    pub(super) fn failure(&self, id: &VolumeId) -> Option<String> {
        match self.lock().get(id)? {
            Cleaning::Running => None,
            Cleaning::Failed(_, why) => Some(why.clone()),
        }
    }
}

impl WholeDevices {
    /// The volumes that were deleted, also in pools that are not to be here any more.
    fn trash(&self) -> Vec<Found> {
        let pools = self.pools();
        let of_pool = |pool: &Arc<super::Pool>| {
            let found = |(id, record)| Found { id, pool: Arc::clone(pool), record };
            pool.trash().into_iter().map(found).collect::<Vec<_>>()
        };
        pools.all().flat_map(of_pool).collect()
    }

    /// Wipes every device that waits for it, each in a thread of its own, since it may take hours.
    pub(super) fn clean_in_background(self: &Arc<Self>) {
        for found in self.trash() {
            let id = found.id.clone();
            if !self.cleanings.begin(&id) {
                continue;
            }
            let whole = Arc::clone(self);
            let work = move || whole.clean_or_say(&found);
            if let Err(error) = thread::Builder::new().name("clean".to_owned()).spawn(work) {
                tracing::warn!(volume = %id, %error, "no thread to wipe it");
                self.cleanings.end(&id, Err(error.to_string()));
            }
        }
    }

    /// Wipes every device that waits for it, one after the other, now.
    pub(super) fn clean_now(&self) {
        for found in self.trash() {
            self.clean_or_say(&found);
        }
    }

    fn clean_or_say(&self, found: &Found) {
        let (id, pool) = (&found.id, &found.pool.name);
        let cleaned = self.clean(found);
        match &cleaned {
            Ok(()) => tracing::info!(%pool, volume = %id, "wiped, and given back"),
            Err(err) => {
                tracing::warn!(%pool, volume = %id, error = chain(err), "not wiped yet");
            }
        }
        self.cleanings.end(id, cleaned.map_err(|err| chain(&err)));
        self.look_around_or_say(false);
    }

    /// Wipes the device of a deleted volume, sees that nothing is on it, and forgets the volume.
    fn clean(&self, found: &Found) -> Result<(), Error> {
        let Found { id, pool, .. } = found;
        // Since it was listed it may have become clean, and another volume of the same name.
        let Some(record) = pool.find(id).filter(|it| it.deleted) else { return Ok(()) };
        let found = &Found { id: id.clone(), pool: Arc::clone(pool), record };
        if let Some(is) = &found.record.file_system {
            return self.empty(found, is);
        }
        let device = self.device(found)?;
        self.overwrite(found, &device)?;
        if device.partition_of.is_none() {
            self.devices.forget_partitions(&device.path).map_err(|err| failed(id, err))?;
        }
        self.ensure_still(&device)?;
        let look = self.fs.look(&device.path);
        let look = look.map_err(|err| fs_failed(format!("looking at {id}"), err))?;
        if !look.is_nothing() {
            // Somebody else writes to it, or it does not keep what is written: all of it is done again.
            self.note_progress(found, None)?;
            let (path, words) = (device.path.display(), words_for(&look));
            return Err(Error::Precondition(format!("{path} was wiped, and yet {words}")));
        }
        self.note_look(&device, Ok(look), None);
        let _turn = self.take_turn()?;
        pool.forget(id)
    }

    /// Writes over the device what is to be written, from where that was cut short.
    fn overwrite(&self, found: &Found, device: &BlockDevice) -> Result<(), Error> {
        let Found { id, record, .. } = found;
        let course = Course::new(how(found), record.shreds, device.size);
        // Without an identity of its own it may be another device than it was when that was noted.
        let known = record.wiped.filter(|_| record.device.lasts());
        let begin = known.and_then(|it| it.of(course)).unwrap_or_else(|| course.begin());
        let (mut noted, mut told) = (begin, begin);
        tracing::info!(volume = %id, how = ?how(found), done = begin.said(), "wiping the device");
        for Step { part, how, after } in course.steps(begin) {
            if !self.rounds.goes_on() {
                return Err(Error::Busy("it was stopped half-way".to_owned()));
            }
            // Another disk may have been plugged in where this one was.
            self.ensure_still(device)?;
            self.devices.wipe(&device.path, part, how).map_err(|err| failed(id, err))?;
            if after.is_worth_noting(noted) {
                noted = after;
                self.note_progress(found, Some(after))?;
            }
            if after.is_worth_telling(told) {
                told = after;
                tracing::info!(volume = %id, done = after.said(), "wiping the device");
                self.look_around_or_say(false);
            }
        }
        Ok(())
    }

    fn note_progress(&self, found: &Found, wiped: Option<Progress>) -> Result<(), Error> {
        let _turn = self.take_turn()?;
        let Some(record) = found.pool.find(&found.id) else { return Ok(()) };
        found.pool.put("writing the record of", &found.id, Record { wiped, ..record })
    }

    /// The device is the one that it was, and nothing is made of it.
    fn ensure_still(&self, device: &BlockDevice) -> Result<(), Error> {
        let now = self.list()?;
        match now.iter().any(|it| it.is_still(device) && !it.read_only && it.holders.is_empty()) {
            true => Ok(()),
            false => {
                let path = device.path.display();
                Err(Error::Precondition(format!("{path} is not the disk any more that it was")))
            }
        }
    }
}

/// As the volume was made for; all of it where its pool allows no quick reset any more.
fn how(found: &Found) -> Wipe {
    let (spec, wipe) = (&found.pool.spec, found.record.wipe);
    spec.wipe_of(Some(wipe)).unwrap_or(Wipe::Zero)
}

fn failed(id: &VolumeId, err: device::Error) -> Error {
    Error::machine(format!("wiping {id}"), err)
}
