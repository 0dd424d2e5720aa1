//! What there is: the entries of all pools, judged, and the devices of all volumes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    WholeDevices,
    course::Progress,
    entries::{self, Entry},
    judge::{Claim, Judged, Sight, judge, worth_a_look},
    mounted::{self, Seen},
    record::Record,
};
use crate::{
    device::BlockDevice,
    fs::{self, FsKind, Look, Mount},
    mounts::fs_failed,
    pool::{EntryState, Keeps, survey::Survey},
    units::Bytes,
    volume::{Error, PoolName, VolumeId, chain},
};

/// So long what was read from a device counts, as long as it is the same device.
const FRESH: Duration = Duration::from_secs(60);

/// What there was when it was looked last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    /// The entries of each pool.
    pub(super) judged: BTreeMap<PoolName, Vec<Judged>>,
    /// The devices that each volume may be: one, if all is well.
    pub(super) volumes: BTreeMap<VolumeId, Vec<BlockDevice>>,
    /// The volumes that are mounts, and are not mounted where they were given.
    pub(super) unmounted: BTreeSet<VolumeId>,
}

impl View {
    /// The entries of a pool.
    pub(super) fn of(&self, pool: &PoolName) -> &[Judged] {
        self.judged.get(pool).map_or(&[], Vec::as_slice)
    }
}

/// What was found on devices, by their names.
#[derive(Default)]
pub(super) struct Looks(Mutex<BTreeMap<String, Looked>>);

/// What was found on one.
struct Looked {
    device: BlockDevice,
    look: Result<Look, String>,
    unheld: Option<String>,
    at: Instant,
}

impl Looks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Looked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_known(&self, device: &BlockDevice) -> bool {
        let known = self.lock();
        let is_of = |it: &Looked| it.device.is_still(device) && it.at.elapsed() < FRESH;
        known.get(&device.name).is_some_and(is_of)
    }

    /// Tells a survey what is known of its devices.
    pub(super) fn tell(&self, survey: &mut Survey) {
        let known = self.lock();
        for disk in &mut survey.disks {
            let it = known.get(&disk.device.name).filter(|it| it.device.is_still(&disk.device));
            disk.look = it.map(|it| it.look.clone());
            disk.unheld = it.and_then(|it| it.unheld.clone());
        }
    }
}

/// The machine as it is now, but for what must be read from devices.
pub(super) struct Scene {
    devices: Vec<BlockDevice>,
    pub(super) mounts: Vec<Mount>,
    pub(super) pools: Vec<(PoolName, Vec<Entry>)>,
    pub(super) survey: Survey,
    pub(super) claims: Vec<Claim>,
}

impl WholeDevices {
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at everything; from devices that were read a moment ago only where `anew`.
    pub(super) fn look_around(&self, anew: bool) -> Result<Arc<View>, Error> {
        let scene = self.scene()?;
        let all = scene.pools.iter().flat_map(|(_, entries)| entries);
        for device in worth_a_look(all, &scene.survey, &scene.claims) {
            if anew || !self.looks.is_known(&device) {
                self.look_at(&device);
            }
        }
        let _turn = self.take_turn()?;
        self.look_around_now()
    }

    /// [`WholeDevices::look_around`], where nobody is to be told why that failed.
    pub(super) fn look_around_or_say(&self, anew: bool) {
        if let Err(err) = self.look_around(anew) {
            tracing::warn!(error = chain(&err), "the directories of devices were not looked at");
        }
    }

    /// Looks at everything but what must be read from devices. The caller has the turn.
    pub(super) fn look_around_now(&self) -> Result<Arc<View>, Error> {
        let Scene { devices, mounts, pools, mut survey, claims } = self.scene()?;
        self.looks.tell(&mut survey);
        let seen = self.look_into(&devices, &pools, &claims);
        let sight = Sight { survey: &survey, mounts: &mounts, seen: &seen, claims: &claims };
        let judged = judge(pools, &sight);
        let unmounted = self.unmounted(&mounts, &claims);
        let of_claim = |claim: Claim| {
            let is_its = |it: &&BlockDevice| claim.devices.contains(&it.number);
            let its = devices.iter().filter(is_its).cloned().collect();
            (claim.id, its)
        };
        let volumes = claims.into_iter().map(of_claim).collect();
        let (before, now) = (self.view(), Arc::new(View { judged, volumes, unmounted }));
        if *before != *now {
            tell_changes(&before, &now);
            *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&now);
            self.sequence.grow();
        }
        Ok(now)
    }

    /// Reads what is on a device, while nobody else has it; gives back whether there is nothing.
    fn look_at(&self, device: &BlockDevice) {
        let hold = self.devices.hold(device);
        let look = self.fs.look(&device.path).map_err(|err| chain(&err));
        let unheld = hold.as_ref().err().map(|err| chain(err));
        self.note_look(device, look, unheld);
    }

    /// Remembers what was found on a device.
    pub(super) fn note_look(
        &self,
        device: &BlockDevice,
        look: Result<Look, String>,
        unheld: Option<String>,
    ) {
        let looked = Looked { device: device.clone(), look, unheld, at: Instant::now() };
        self.looks.lock().insert(device.name.clone(), looked);
    }

    /// What is in the file systems that entries lead to, as far as they may be volumes, and are none.
    fn look_into(
        &self,
        devices: &[BlockDevice],
        pools: &[(PoolName, Vec<Entry>)],
        claims: &[Claim],
    ) -> BTreeMap<PathBuf, Result<Seen, String>> {
        let mounts = pools.iter().flat_map(|(_, all)| all).filter_map(|it| it.leads.mount());
        let seen = mounts.filter_map(|mount| {
            let number = (mount.device.major, mount.device.minor);
            let is_claimed = claims.iter().any(|it| it.devices.contains(&number));
            let kind = mounted::of_all(mount).ok().filter(|_| !is_claimed)?;
            let device = devices.iter().find(|it| it.number == number)?;
            let seen = self.see(mount, kind, device).map(|(seen, _)| seen);
            Some((mount.at.clone(), seen.map_err(|err| chain(&err))))
        });
        seen.collect()
    }

    /// What is in a file system that is mounted, and its UUID.
    pub(super) fn see(
        &self,
        mount: &Mount,
        kind: FsKind,
        device: &BlockDevice,
    ) -> Result<(Seen, String), fs::Error> {
        let size = Bytes(self.fs.usage(&mount.at)?.bytes.total);
        let holds = self.fs.root(mount)?.holds()?;
        let fs::Identity { uuid, devices } = self.fs.identity(&device.path, kind)?;
        Ok((Seen { size, devices, holds }, uuid))
    }

    /// The volumes that are mounts, and are not mounted where they were given.
    fn unmounted(&self, mounts: &[Mount], claims: &[Claim]) -> BTreeSet<VolumeId> {
        let is_there = |claim: &Claim, entry: &Path| {
            entries::mounted_at(mounts, entry)
                .is_some_and(|it| claim.devices.contains(&(it.device.major, it.device.minor)))
        };
        let given = claims.iter().filter(|it| it.given.is_some());
        let gone = given.filter(|claim| {
            let found = self.roster.look_up(&claim.id);
            found.is_some_and(|it| !is_there(claim, &it.record.device.entry))
        });
        gone.map(|claim| claim.id.clone()).collect()
    }

    pub(super) fn scene(&self) -> Result<Scene, Error> {
        let devices = self.list()?;
        let mounts = self.mounts()?;
        let pools = self.entries(&mounts);
        let survey = Survey::of_all(&devices, &mounts);
        let claims = self.claims(&devices);
        Ok(Scene { devices, mounts, pools, survey, claims })
    }

    pub(super) fn mounts(&self) -> Result<Vec<Mount>, Error> {
        self.fs.mounts().map_err(|err| fs_failed("looking at the mounts", err))
    }

    /// The entries of all pools that are to be here, also of those that are not served.
    pub(super) fn entries(&self, mounts: &[Mount]) -> Vec<(PoolName, Vec<Entry>)> {
        let wanted = self.roster.wanted();
        let of_pool = |entry: crate::pool::PoolEntry| {
            let whole = entry.spec.whole_devices.as_ref();
            let all = whole.map(|it| entries::gather(&*self.fs, mounts, it));
            (entry.name, all.unwrap_or_default())
        };
        wanted.into_iter().map(of_pool).collect()
    }

    /// How far the wiping of a deleted volume has come, or why it goes no further.
    fn wiping(&self, id: &VolumeId, record: &Record) -> String {
        let done = || match &record.file_system {
            Some(is) => format!("{} files and directories are removed", is.removed),
            None => record.wiped.map_or("0% is done".to_owned(), Progress::said),
        };
        self.cleanings.failure(id).unwrap_or_else(done)
    }

    /// The devices that are volumes, also of pools that are not to be here any more.
    pub(super) fn claims(&self, devices: &[BlockDevice]) -> Vec<Claim> {
        let pools = self.pools();
        let known: Vec<PoolName> = pools.all().map(|it| it.name.clone()).collect();
        let of_pool = |pool: &Arc<super::Pool>| {
            let name = pool.name.to_string();
            pool.all().into_iter().map(move |(id, record)| (name.clone(), id, record))
        };
        let ours = pools.all().flat_map(of_pool);
        let all = ours.chain(Record::read_of_others(&self.home, &known));
        let claim = |(pool, id, record): (String, VolumeId, Record)| {
            let numbers = self.among(devices, &record).iter().map(|it| it.number).collect();
            let wiping = record.deleted.then(|| self.wiping(&id, &record));
            let given = record.file_system.is_some().then_some(record.size);
            Claim { pool, id, wiping, devices: numbers, given }
        };
        all.map(claim).collect()
    }
}

/// One line in the log for each entry that stands otherwise than before.
fn tell_changes(before: &View, now: &View) {
    for (pool, all) in &now.judged {
        for it in all {
            let was = before.of(pool).iter().find(|was| was.entry.path == it.entry.path);
            if was.is_some_and(|was| was.state == it.state) {
                continue;
            }
            let entry = it.entry.path.display();
            match &it.state {
                EntryState::Refused(why) => tracing::warn!(%pool, %entry, why, "no volume"),
                EntryState::Free => tracing::info!(%pool, %entry, "a device is free"),
                EntryState::Used(id) | EntryState::Wiped(id, _) => {
                    tracing::debug!(%pool, %entry, volume = %id, "a device is a volume");
                }
            }
        }
    }
}
