//! Used disks that are wiped to be taken: each by a thread of its own, since it may take hours.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::Tools;
use crate::{
    device::{self, BlockDevice, Wipe, ends_last},
    fs::Look,
    volume::{Error, PoolName, chain},
};

/// Progress is told each time so much more of a hundred is done.
const STEP: u64 = 5;

/// The disks that are being wiped, or could not be.
#[derive(Clone, Default)]
pub(super) struct Wipes {
    begun: Arc<Mutex<BTreeMap<String, Wiped>>>,
    stopping: Arc<AtomicBool>,
}

/// One of them.
struct Wiped {
    disk: BlockDevice,
    found: Look,
    failed: Option<String>,
}

impl Wipes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Wiped>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the wipe of this disk failed; it is not tried again while the same is on the same disk.
    pub(super) fn failure(&self, disk: &BlockDevice, found: &Look) -> Option<String> {
        let begun = self.lock();
        let wiped = begun.get(&disk.name)?;
        let is_same = wiped.disk.is_still(disk) && wiped.found == *found;
        wiped.failed.clone().filter(|_| is_same)
    }

    /// Whether the disk of this name is being wiped.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(|it| it.failed.is_none())
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Begins unless it is on; `done` is called at its end, however it ends.
    pub(super) fn begin(
        &self,
        tools: &Tools,
        pool: &PoolName,
        (disk, found): (&BlockDevice, &Look),
        done: impl FnOnce() + Send + 'static,
    ) {
        let name = disk.name.clone();
        if self.is_on(&name) {
            return;
        }
        let (disk, found) = (disk.clone(), found.clone());
        let wiped = Wiped { disk: disk.clone(), found: found.clone(), failed: None };
        self.lock().insert(name.clone(), wiped);
        let (wipes, tools, pool) = (self.clone(), tools.clone(), pool.clone());
        let work = move || {
            let path = disk.path.display();
            tracing::info!(%pool, disk = %path, "wiping the disk, as the pool's spec says");
            match wipes.wipe(&tools, &disk, &found) {
                Ok(()) => {
                    tracing::info!(%pool, disk = %path, "wiped");
                    wipes.lock().remove(&disk.name);
                }
                Err(err) => {
                    let why = chain(&err);
                    tracing::warn!(%pool, disk = %path, why, "not wiped");
                    if let Some(it) = wipes.lock().get_mut(&disk.name) {
                        it.failed = Some(why);
                    }
                }
            }
            done();
        };
        let begun = thread::Builder::new().name("wipe".to_owned()).spawn(work);
        if let (Err(err), Some(it)) = (begun, self.lock().get_mut(&name)) {
            it.failed = Some(format!("no thread for it: {err}"));
        }
    }

    fn wipe(&self, tools: &Tools, disk: &BlockDevice, found: &Look) -> Result<(), Error> {
        ensure_still(tools, disk, found)?;
        let fail = |err: device::Error| Error::machine("wiping the disk", err);
        let (mut done, mut told) = (0u64, 0);
        for part in ends_last(disk.size) {
            if self.is_stopping() {
                return Err(Error::Busy("it was stopped half-way".to_owned()));
            }
            // Another disk may have been plugged in where this one was.
            ensure_free(tools, disk)?;
            tools.devices.wipe(&disk.path, part, Wipe::Discard).map_err(fail)?;
            done = done.saturating_add(part.length.0);
            let hundredths = done.saturating_mul(100) / disk.size.0.max(1);
            if hundredths >= told + STEP {
                told = hundredths;
                tracing::info!(disk = %disk.path.display(), hundredths, "wiping the disk");
            }
        }
        tools.devices.forget_partitions(&disk.path).map_err(fail)
    }
}

/// Nobody has the disk, it is the one that was surveyed, and what was found is on it.
pub(super) fn ensure_still(tools: &Tools, disk: &BlockDevice, found: &Look) -> Result<(), Error> {
    let fail = |err: device::Error| Error::machine("holding the disk", err);
    let _hold = tools.devices.hold(disk).map_err(fail)?;
    ensure_free(tools, disk)?;
    let path = disk.path.display();
    let look = tools.fs.look(&disk.path);
    if look.map_err(|err| Error::machine("looking at the disk", err))? != *found {
        let what = if found.is_nothing() { "empty" } else { "as it was" };
        return Err(Error::Precondition(format!("{path} is not {what} any more")));
    }
    Ok(())
}

/// The disk is the one that was surveyed, and nothing is made of it.
fn ensure_free(tools: &Tools, disk: &BlockDevice) -> Result<(), Error> {
    let now = tools.devices.list();
    let now = now.map_err(|err| Error::machine("listing the block devices", err))?;
    match now.iter().any(|it| it.is_still(disk) && !it.read_only && it.holders.is_empty()) {
        true => Ok(()),
        false => {
            let path = disk.path.display();
            Err(Error::Precondition(format!("{path} is not the disk any more that it was")))
        }
    }
}
