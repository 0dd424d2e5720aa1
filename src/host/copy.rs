//! Thick clones and restores: a full copy, from a snapshot that stands still while it runs.
//!
//! A volume says `tarn.copying` until its content is whole and durable. A copy that was stopped by
//! a crash begins anew: nothing of it was ever shown to anybody.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Found, Host, lvm_failed,
    record::{COPYING, Record},
};
use crate::{
    device::parts,
    lvm::{self, LvName, Tag},
    pool::CopyProgress,
    units::Bytes,
    volume::{Error, Source},
};

/// How often the log says how far a copy is.
const TELL: Duration = Duration::from_secs(10);

/// The copies that run now.
#[derive(Default)]
pub(super) struct Copies {
    running: Mutex<BTreeMap<LvName, CopyProgress>>,
}

impl Copies {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LvName, CopyProgress>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_running(&self, target: &LvName) -> bool {
        self.lock().contains_key(target)
    }

    pub(super) fn progress(&self) -> Vec<CopyProgress> {
        self.lock().values().cloned().collect()
    }

    fn set(&self, target: &LvName, done: Bytes, total: Bytes) {
        let progress = CopyProgress { volume: target.to_string(), done, total };
        self.lock().insert(target.clone(), progress);
    }
}

/// Takes a copy off the list however it ends.
struct Listed<'a> {
    copies: &'a Copies,
    target: &'a LvName,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.copies.lock().remove(self.target);
    }
}

impl Host {
    /// Fills a thick volume with its source's content and waits until that is durable.
    pub(super) fn copy_content(&self, target: &Found) -> Result<(), Error> {
        let name = &target.lv.name;
        self.copies.set(name, Bytes::ZERO, target.lv.size);
        let listed = Listed { copies: &self.copies, target: name };
        let (from, size, passing) = self.still_source(target)?;
        let to = self.active_device(target)?;
        self.copy_parts(target, &from, &to, size)?;
        self.tools
            .devices
            .flush(&to)
            .map_err(|err| Error::uncertain(format!("flushing the copy {name}"), err))?;
        if let Some(passing) = passing.and_then(|name| self.look_up(name.as_str())) {
            self.hide(&passing.pool, &passing.lv)?;
        }
        let done: Vec<Tag> = COPYING.parse().into_iter().collect();
        let change = target.pool.change();
        self.tools
            .lvm
            .change_tags(&target.pool.vg, name, &[], &done)
            .map_err(|err| Error::uncertain(format!("marking the copy {name} as whole"), err))?;
        change.enter(|ledger| ledger.retag(name, &[], &done));
        drop(listed);
        Ok(())
    }

    fn copy_parts(
        &self,
        target: &Found,
        from: &std::path::Path,
        to: &std::path::Path,
        size: Bytes,
    ) -> Result<(), Error> {
        let name = &target.lv.name;
        let mut told = Instant::now();
        for part in parts(size) {
            if self.chores.is_stopping() {
                return Err(Error::Busy(format!("the copy to {name} goes on after a restart")));
            }
            self.tools
                .devices
                .copy(from, to, part)
                .map_err(|err| Error::uncertain(format!("copying to {name}"), err))?;
            let done = Bytes(part.offset.0 + part.length.0);
            self.copies.set(name, done, size);
            if told.elapsed() >= TELL || done == size {
                tracing::info!(volume = %name, %done, of = %size, "copied");
                told = Instant::now();
            }
        }
        Ok(())
    }

    /// The device of what the content comes from, which does not change during the copy, its size,
    /// and the snapshot to remove afterwards when there had to be one.
    fn still_source(&self, target: &Found) -> Result<(PathBuf, Bytes, Option<LvName>), Error> {
        let gone = || Error::NotFound(format!("the source of {}", target.lv.name));
        match target.record.source.as_ref().ok_or_else(gone)? {
            Source::Snapshot(id) => {
                let found = self.snapshot_of_id(id).ok_or_else(gone)?;
                Ok((self.active_device(&found)?, found.lv.size, None))
            }
            Source::Volume(id) => {
                let origin = self.volume(id).ok_or_else(gone)?;
                let name = self.passing_snapshot(target, &origin)?;
                let snapshot = self.look_up(name.as_str()).ok_or_else(gone)?;
                Ok((self.active_device(&snapshot)?, snapshot.lv.size, Some(name)))
            }
        }
    }

    /// A snapshot of a volume that is being cloned, named after the clone: taken now, or found.
    fn passing_snapshot(&self, target: &Found, origin: &Found) -> Result<LvName, Error> {
        let name = passing_name(&target.lv.name);
        if let Some(found) = self.look_up(&name) {
            return Ok(found.lv.name);
        }
        let record = Record {
            size: Bytes::ZERO,
            source: target.record.source.clone(),
            was: None,
            copying: false,
            ..origin.record.clone()
        };
        let change = origin.pool.change();
        self.take_snapshot(&change, origin, &name, &record)
    }

    /// The device of a volume, activated if it is not.
    pub(super) fn active_device(&self, found: &Found) -> Result<PathBuf, Error> {
        let device = found.device();
        let name = &found.lv.name;
        let size = self.tools.devices.size(&device);
        if size.map_err(|err| Error::machine(format!("looking at {name}"), err))?.is_none() {
            let _change = found.pool.change();
            let done = found.pool.activate(&*self.tools.lvm, &found.lv);
            if let Err(lvm::Error::NoVolume { .. }) = done {
                self.chores.report_soon(&found.pool.name);
                return Err(Error::NotFound(format!("{name}, which was there before,")));
            }
            done.map_err(|err| lvm_failed(format!("activating {name}"), err))?;
        }
        Ok(device)
    }
}

/// What the snapshot is called from which the volume `target` is cloned.
pub(super) fn passing_name(target: &LvName) -> String {
    format!("c-{}", target.as_str().trim_start_matches("v-"))
}
