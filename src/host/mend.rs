//! Pools whose disks go away and come back: what is known of those disks, and the mending.
//!
//! A disk that comes back is another device to the kernel. LVM finds it by itself, unless the group was
//! changed meanwhile; but the volumes on it keep their way to the old device until they are refreshed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Found, Host,
    erring::erring,
    ledger::Ledger,
    pool::{Change, Pool},
};
use crate::{
    lvm::{self, Kind, LogicalVolume, Lvm, VgName},
    pool::{
        health::Health,
        plan::described,
        survey::{Absent, Disk, Survey},
        thin::bears_loss,
    },
    volume::{Error, chain},
};

/// A disk that is away for longer does not merely come back: a new one may take its place.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many of a group's physical volumes are marked as missing, and how many of those are away.
pub(super) type Gaps = (u64, u64);

/// What was seen of the disks when they were looked at last.
#[derive(Default)]
pub(super) struct Sightings(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// The groups that were seen.
    groups: BTreeMap<VgName, Gaps>,
    /// On which disk each physical volume was, by LVM's identity of it.
    faces: BTreeMap<String, Face>,
    /// Since when each that is missing is.
    away: BTreeMap<String, Instant>,
}

/// What is known of a disk.
struct Face {
    described: String,
    serial: Option<String>,
}

impl Sightings {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a survey has found.
    pub(super) fn note(&self, survey: &Survey) {
        let mut groups: BTreeMap<VgName, Gaps> = BTreeMap::new();
        for physical in &survey.physical {
            let Some(group) = &physical.group else { continue };
            let gaps = groups.entry(group.name.clone()).or_default();
            gaps.0 += u64::from(physical.missing);
            gaps.1 += u64::from(physical.is_away());
        }
        let face = |disk: &Disk| {
            let (described, serial) = (described(disk), disk.device.serial.clone());
            Some((disk.physical.as_ref()?.uuid.clone(), Face { described, serial }))
        };
        let away = survey.physical.iter().filter(|it| it.group.is_some() && it.is_away());
        let away: BTreeSet<&String> = away.map(|it| &it.uuid).collect();
        let mut seen = self.lock();
        seen.groups = groups;
        seen.away.retain(|uuid, _| away.contains(uuid));
        for uuid in away {
            seen.away.entry(uuid.clone()).or_insert_with(Instant::now);
        }
        seen.faces.extend(survey.disks.iter().filter_map(face));
    }

    /// What is known of the disk of a physical volume.
    pub(super) fn face(&self, uuid: &str) -> String {
        let known = self.lock().faces.get(uuid).map(|it| it.described.clone());
        known.unwrap_or_else(|| format!("a disk not seen since the start (physical volume {uuid})"))
    }

    /// What is known of the physical volumes that are missing, of which RAID volumes miss some.
    pub(super) fn absent(&self, missed: &BTreeSet<String>) -> BTreeMap<String, Absent> {
        let seen = self.lock();
        let absent = |(uuid, since): (&String, &Instant)| {
            let serial = seen.faces.get(uuid).and_then(|it| it.serial.clone());
            let replaceable = missed.contains(uuid) && since.elapsed() >= PATIENCE;
            (uuid.clone(), Absent { serial, replaceable })
        };
        seen.away.iter().map(absent).collect()
    }

    /// When the next of them has been away for so long that it may be replaced.
    pub(super) fn due(&self) -> Option<Duration> {
        let left = |since: &Instant| PATIENCE.checked_sub(since.elapsed());
        self.lock().away.values().filter_map(left).min()
    }

    /// Has every missing disk be away for longer than is waited.
    #[cfg(test)]
    pub(super) fn lose_patience(&self) {
        let long = Instant::now().checked_sub(PATIENCE).unwrap();
        self.lock().away.values_mut().for_each(|it| *it = long);
    }

    /// What there was of a group; `None` when it was not seen.
    fn gaps(&self, vg: &VgName) -> Option<Gaps> {
        self.lock().groups.get(vg).copied()
    }
}

impl Found {
    /// Refuses what is in a group that could not be read, and still cannot.
    ///
    /// # Errors
    /// [`Error::Precondition`].
    pub(super) fn ensure_readable(&self, lvm: &dyn Lvm) -> Result<(), Error> {
        if self.pool.unread().is_none() {
            return Ok(());
        }
        self.pool.refresh(lvm).map_err(|err| {
            Error::Precondition(format!(
                "volume group {} of {} cannot be read, and nothing in it is given up: {}",
                self.pool.vg,
                self.lv.name,
                chain(&err)
            ))
        })
    }

    /// Refuses what lies on a disk that is missing, but for what lies on RAIDs that work without it.
    ///
    /// # Errors
    /// [`Error::Precondition`].
    pub(super) fn ensure_not_lost(&self) -> Result<(), Error> {
        let name = &self.lv.name;
        // What of a RAID is there is enough, and LVM adds the rest when that is back.
        let is_in_what_works =
            || !self.lv.failed && self.pool.read(|it| bears_loss(it.group(), &self.lv));
        if self.lv.legs.as_ref().is_some_and(|legs| legs.works) || is_in_what_works() {
            return Ok(());
        }
        match (self.lv.lost, self.lv.failed) {
            (false, false) if self.pool.astray().contains(name) => Err(Error::Busy(format!(
                "{name} lies on a disk that was missing, and is being led back to it"
            ))),
            (false, false) => Ok(()),
            (true, _) => Err(Error::Precondition(format!(
                "{name} lies on a disk that is missing; it is served again when that is back"
            ))),
            (false, true) => Err(Error::Precondition(format!(
                "the thin pool of {name} has given up after an error of its disks; it is served again \
                 when none of the pool's volumes is in use"
            ))),
        }
    }
}

impl Pool {
    /// Activates a volume, also one in a thin pool on RAIDs that work without a disk which is missing.
    pub(super) fn activate(&self, lvm: &dyn Lvm, lv: &LogicalVolume) -> Result<(), lvm::Error> {
        match lv.lost && self.read(|ledger| bears_loss(ledger.group(), lv)) {
            true => lvm.activate_degraded(&self.vg, &lv.name),
            false => lvm.activate(&self.vg, &lv.name),
        }
    }
}

impl Host {
    /// How well a pool is.
    pub(super) fn health(&self, pool: &Pool) -> Health {
        let unread = pool.unread();
        let mut lost = pool.astray();
        pool.read(|ledger| {
            lost.extend(ledger.lost().cloned());
            Health {
                apart: false,
                unread,
                disks: ledger.missing().map(|it| self.disks.sightings.face(&it.uuid)).collect(),
                lost: lost.iter().map(ToString::to_string).collect(),
                repair: self.prospect(pool, ledger),
                erring: erring(ledger, &self.disks.sightings),
                emptied: Vec::new(),
            }
        })
    }

    /// Looks after the pools in whose groups other disks are missing than is known, or have come back.
    pub(super) fn look_after_gaps(&self) {
        for pool in &self.pools().served {
            let known = pool.unread().is_none().then(|| pool.read(Ledger::gaps));
            if self.disks.sightings.gaps(&pool.vg) != known {
                self.look_after(pool);
            }
        }
    }

    /// Reads a group again, and mends what can be: disks that are back but still marked are used again,
    /// and volumes that were `lost` before find their way to them.
    ///
    /// # Errors
    /// When the group cannot be read. A step that fails is logged, and tried again at the next look.
    pub(super) fn mend(&self, pool: &Pool) -> Result<(), Error> {
        let lvm = &*self.tools.lvm;
        let change = pool.change();
        let before = pool.read(Ledger::gaps);
        change.refresh(lvm)?;
        let back: Vec<PathBuf> = change.read(|ledger| {
            let back = ledger.missing().filter(|it| it.is_there());
            back.map(|it| it.device.clone()).collect()
        });
        for device in &back {
            let disk = device.display();
            match lvm.take_back(&pool.vg, device) {
                Ok(()) => tracing::info!(pool = %pool.name, %disk, "is back and used again"),
                Err(err) => {
                    tracing::warn!(pool = %pool.name, %disk, error = chain(&err), "not used again");
                }
            }
        }
        if !back.is_empty() {
            change.refresh(lvm)?;
        }
        // That a thin pool has given up shows only when it has its disk again.
        if self.lead_back(&change, pool) {
            change.refresh(lvm)?;
        }
        if self.revive(&change, pool) {
            change.refresh(lvm)?;
        }
        if self.readmit(&change, pool) {
            change.refresh(lvm)?;
        }
        drop(change);
        self.repair(pool)?;
        let gaps = pool.read(Ledger::gaps);
        if gaps != before && gaps != (0, 0) {
            tracing::error!(pool = %pool.name, "{}", self.health(pool));
        }
        Ok(())
    }

    /// Activates a thin pool anew that has given up, and what is in it, as soon as nobody uses any of
    /// that; true when something was done.
    fn revive(&self, change: &Change<'_>, pool: &Pool) -> bool {
        let inside: Vec<LogicalVolume> = change.read(|ledger| {
            let has_failed = ledger.find(pool.thin()).is_some_and(|it| it.failed && !it.lost);
            let in_it = |lv: &&LogicalVolume| lv.kind == Kind::Thin(pool.thin().clone());
            let all = ledger.group().logical.iter().filter(|_| has_failed);
            all.filter(|lv| in_it(lv) || lv.name == *pool.thin()).cloned().collect()
        });
        let (thin, pools): (Vec<_>, Vec<_>) = inside.iter().partition(|it| it.name != *pool.thin());
        let is_open = |lv: &&&LogicalVolume| {
            !matches!(self.tools.devices.open_count(&pool.device(&lv.name)), Ok(0))
        };
        if pools.is_empty() || thin.iter().filter(|it| it.active).any(|it| is_open(&it)) {
            return false;
        }
        let lvm = &*self.tools.lvm;
        let mut asleep = thin.iter().filter(|it| it.active).chain(&pools);
        let mut done = asleep.try_for_each(|lv| lvm.deactivate(&pool.vg, &lv.name));
        let volumes = thin.iter().filter(|it| it.name.as_str().starts_with("v-"));
        for it in &pools {
            done = done.and_then(|()| lvm.activate_anew(&pool.vg, &it.name));
        }
        for lv in volumes {
            done = done.and_then(|()| pool.activate(lvm, lv));
        }
        match done {
            Ok(()) => {
                tracing::info!(pool = %pool.name, "its thin pool is there again");
                inside.iter().for_each(|lv| change.is_led_back(&lv.name));
            }
            Err(err) => {
                let error = chain(&err);
                tracing::error!(pool = %pool.name, error, "its thin pool is not there again");
            }
        }
        true
    }

    /// Gives the volumes that were lost, and are whole again, their way to the disk that is back; true
    /// when there was one. A thin pool comes before what is in it.
    pub(super) fn lead_back(&self, change: &Change<'_>, pool: &Pool) -> bool {
        let mut whole: Vec<LogicalVolume> = change.whole_again();
        whole.sort_by_key(|lv| !matches!(lv.kind, Kind::ThinPool { .. }));
        // What has failed needs more.
        for lv in whole.iter().filter(|lv| !lv.failed) {
            let done = match lv.active {
                true => self.tools.lvm.refresh(&pool.vg, &lv.name),
                false if lv.name.as_str().starts_with("v-") => {
                    self.tools.lvm.activate(&pool.vg, &lv.name)
                }
                false => Ok(()),
            };
            match done {
                Ok(()) => {
                    tracing::info!(volume = %lv.name, "is whole again");
                    change.is_led_back(&lv.name);
                }
                Err(err) => {
                    tracing::error!(volume = %lv.name, error = chain(&err), "not led to its disk");
                }
            }
        }
        !whole.is_empty()
    }
}
