//! Deleted volumes: their devices are overwritten, whole, and are free again when nothing is on them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{Found, WholeDevices};
use crate::{
    device::{self, BlockDevice, ends_last},
    mounts::fs_failed,
    pool::{Keeps, plan::words_for},
    volume::{Error, VolumeId, chain},
};

/// When a device that could not be wiped is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// Progress is told each time so much more of a hundred is done.
const STEP: u64 = 5;

/// The volumes that are being wiped, and those that could not be.
#[derive(Default)]
pub(super) struct Cleanings(Mutex<BTreeMap<VolumeId, Cleaning>>);

enum Cleaning {
    Running,
    Failed(Instant),
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
            Some(Cleaning::Failed(at)) => at.elapsed() >= AGAIN,
        };
        if is_due {
            all.insert(id.clone(), Cleaning::Running);
        }
        is_due
    }

    fn end(&self, id: &VolumeId, is_done: bool) {
        match is_done {
            true => self.lock().remove(id),
            false => self.lock().insert(id.clone(), Cleaning::Failed(Instant::now())),
        };
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
            let work = move || {
                let is_done = whole.clean_or_say(&found);
                whole.cleanings.end(&found.id, is_done);
            };
            if let Err(error) = thread::Builder::new().name("clean".to_owned()).spawn(work) {
                tracing::warn!(volume = %id, %error, "no thread to wipe it");
                self.cleanings.end(&id, false);
            }
        }
    }

    /// Wipes every device that waits for it, one after the other, now.
    pub(super) fn clean_now(&self) {
        for found in self.trash() {
            self.clean_or_say(&found);
        }
    }

    fn clean_or_say(&self, found: &Found) -> bool {
        let (id, pool) = (&found.id, &found.pool.name);
        let cleaned = self.clean(found);
        match &cleaned {
            Ok(()) => tracing::info!(%pool, volume = %id, "wiped, and given back"),
            Err(err) => {
                tracing::warn!(%pool, volume = %id, error = chain(err), "not wiped yet");
            }
        }
        cleaned.is_ok()
    }

    /// Wipes the device of a deleted volume, sees that nothing is on it, and forgets the volume.
    fn clean(&self, found: &Found) -> Result<(), Error> {
        let Found { id, pool, record } = found;
        let device = self.device(found)?;
        let fail = |err: device::Error| Error::machine(format!("wiping {id}"), err);
        let (mut done, mut told) = (0u64, 0);
        for part in ends_last(device.size) {
            if !self.rounds.goes_on() {
                return Err(Error::Busy("it was stopped half-way".to_owned()));
            }
            // Another disk may have been plugged in where this one was.
            self.ensure_still(&device)?;
            self.devices.wipe(&device.path, part, record.wipe).map_err(fail)?;
            done = done.saturating_add(part.length.0);
            let hundredths = done.saturating_mul(100) / device.size.0.max(1);
            if hundredths >= told + STEP {
                told = hundredths;
                tracing::info!(volume = %id, hundredths, "wiping the device");
            }
        }
        if device.partition_of.is_none() {
            self.devices.forget_partitions(&device.path).map_err(fail)?;
        }
        self.ensure_still(&device)?;
        let look = self.fs.look(&device.path);
        let look = look.map_err(|err| fs_failed(format!("looking at {id}"), err))?;
        if !look.is_nothing() {
            let (path, words) = (device.path.display(), words_for(&look));
            return Err(Error::Precondition(format!("{path} was wiped, and yet {words}")));
        }
        self.note_look(&device, Ok(look), None);
        {
            let _turn = self.take_turn();
            pool.forget(id)?;
        }
        self.look_around_or_say(false);
        Ok(())
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
