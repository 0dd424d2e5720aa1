//! The disks of this machine: what they are, which of them pools take, and the taking.
//!
//! All that is decided is decided by [`plan`]; here it is looked and done. Each step is one LVM command.
//! Whatever is interrupted is planned anew from what there is then.

mod telling;
mod told;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use super::{
    Host, Tools,
    erring::Tries,
    mend::Sightings,
    moves::{Leaving, Moves},
    reopening::Reopening,
    repairs::Repairs,
    wipes::{Wipes, ensure_still},
};
use crate::{
    device::{Bell, BlockDevice, Uevents},
    fs::{Edges, Look},
    lvm::{self, Belonging, Tag, VgName},
    pool::{
        PoolEntry, Reserves, left,
        owner::Owner,
        plan::{GroupState, Plan, Standing, Step, plan},
        repair,
        survey::{Survey, worth_a_look},
    },
    volume::{Error, PoolName, chain},
};
use telling::{none_taken, tell_changes};
use told::Told;

/// Changes of disks come in bunches, and udev needs a moment for its links: so long nothing more
/// must have come before it is looked.
const QUIET: Duration = Duration::from_millis(200);
/// However much comes, it is looked after so many quiet times that were not.
const BUNCHES: u32 = 5;
/// After a change it is looked once more, for links that udev made later.
const LATER: Duration = Duration::from_secs(3);
/// It is looked this often whatever is told. Looking reads from every disk that is not LVM's.
const ROUND: Duration = Duration::from_secs(300);

/// Which cluster this machine belongs to: part of whose its volume groups are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cluster {
    /// None.
    #[default]
    None,
    /// One that is not known yet: no disk is taken before it is.
    Unknown,
    /// This one.
    Known(String),
}

/// What is known of the disks, and for whom.
#[derive(Default)]
pub(super) struct Disks {
    cluster: RwLock<Cluster>,
    /// Whether they are looked at even when no pool is made of them.
    shown: RwLock<bool>,
    plan: RwLock<Arc<Plan>>,
    /// Why there is no plan.
    trouble: RwLock<Option<String>>,
    bell: Arc<Mutex<Option<Bell>>>,
    wipes: Wipes,
    moves: Moves,
    pub(super) sightings: Sightings,
    pub(super) repairs: Repairs,
    pub(super) tries: Tries,
    /// The groups that pools had when they were seen last, with LVM's own identity of each.
    known: Mutex<BTreeMap<VgName, String>>,
}

impl Disks {
    fn known(&self) -> BTreeMap<VgName, String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the groups of pools that are not to be here.
    fn forget_others(&self, pools: &[PoolEntry]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_made_of_disks = |it: &&PoolEntry| it.spec.devices.is_some();
        known.retain(|group, _| {
            pools.iter().filter(is_made_of_disks).any(|it| it.group() == *group)
        });
    }

    /// Notes the groups that are seen.
    fn note_groups(&self, plan: &Plan) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for pool in &plan.pools {
            if let Some(uuid) = &pool.uuid {
                known.insert(pool.group.clone(), uuid.clone());
            }
        }
    }

    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the wipes, and the wait for the next change.
    pub(super) fn stop(&self) {
        self.wipes.stop();
        self.moves.stop();
        ring(&self.bell);
    }
}

/// What was done in one round of looking at the disks, and what failed.
#[derive(Default)]
struct Round {
    done: Vec<Step>,
    /// Disks, by name, with the reason.
    failed: BTreeMap<String, String>,
}

/// Why a step that was done is not done a second time in the same round.
fn changed_nothing() -> Error {
    Error::Precondition("it was done, and LVM shows nothing of it".to_owned())
}

fn ring(bell: &Mutex<Option<Bell>>) {
    if let Some(bell) = &*bell.lock().unwrap_or_else(PoisonError::into_inner) {
        bell.ring();
    }
}

/// What would be done with this machine's disks for these pools, with the groups that they had when they
/// were seen last. Nothing is changed.
///
/// # Errors
/// [`Error::Machine`] when the machine cannot be asked.
pub fn plan_disks(
    tools: &Tools,
    pools: &[PoolEntry],
    owner: &Owner,
    known: &BTreeMap<VgName, String>,
    reserves: &dyn Reserves,
) -> Result<Plan, Error> {
    let before = Disks { known: Mutex::new(known.clone()), ..Disks::default() };
    before.forget_others(pools);
    let told = Told::by_reports(&*tools.lvm, pools);
    plan_after((tools, reserves), pools, owner, &BTreeMap::new(), told, &before)
}

/// [`plan_disks`], but for disks that could not be taken, by name, with the reason, and with what is known
/// from before.
fn plan_after(
    (tools, reserves): (&Tools, &dyn Reserves),
    pools: &[PoolEntry],
    owner: &Owner,
    failed: &BTreeMap<String, String>,
    told: Told,
    before: &Disks,
) -> Result<Plan, Error> {
    let mut survey = survey(tools, pools)?;
    survey.known = before.known();
    before.sightings.note(&survey);
    survey.absent = before.sightings.absent(&told.missed);
    survey.cramped = told.cramped;
    let reserved = reserves.reserved();
    for disk in &mut survey.disks {
        disk.reserved = reserved.get(&disk.device.number).cloned();
        let not_wiped = || match &disk.look {
            Some(Ok(found)) => before.wipes.failure(&disk.device, found),
            Some(Err(_)) | None => None,
        };
        let not_moved = || before.moves.failure(&disk.device.path);
        disk.failed = failed.get(&disk.device.name).cloned().or_else(not_wiped).or_else(not_moved);
    }
    let first = plan(pools, owner, &survey);
    // Whether anybody holds a disk is only asked of those that would be taken: for a moment it keeps
    // others from holding it.
    let is_needed = |step: &Step, name: &str| match step {
        Step::MakePhysical { disk, .. } => disk.name == name,
        // Whoever wipes it has it.
        Step::Wipe { disk, .. } => disk.name == name && !before.wipes.is_on(name),
        Step::MakeGroup { .. }
        | Step::ExtendGroup { .. }
        | Step::Grow { .. }
        | Step::Close { .. }
        | Step::Reopen { .. }
        | Step::Move { .. }
        | Step::Leave { .. }
        | Step::GiveUp { .. }
        | Step::Forget { .. } => false,
    };
    let raw = |name: &str| first.steps.iter().any(|it| is_needed(it, name));
    let mut changed = false;
    for disk in survey.disks.iter_mut().filter(|it| raw(&it.device.name)) {
        disk.unheld = tools.devices.hold(&disk.device).err().map(|err| chain(&err));
        changed |= disk.unheld.is_some();
    }
    Ok(if changed { plan(pools, owner, &survey) } else { first })
}

/// Looks at every disk: the kernel's lists, one LVM command, and a blkid for each disk that is not
/// LVM's.
fn survey(tools: &Tools, pools: &[PoolEntry]) -> Result<Survey, Error> {
    let devices =
        tools.devices.list().map_err(|err| Error::machine("listing the block devices", err))?;
    let physical = tools.lvm.physical_volumes();
    let physical = physical.map_err(|err| Error::machine("listing the physical volumes", err))?;
    let mounts = tools.fs.mounts().map_err(|err| Error::machine("listing the mounts", err))?;
    let looked_at = worth_a_look(&devices, &physical, pools);
    let look = |device: &&BlockDevice| {
        (device.name.clone(), tools.fs.look(&device.path).map_err(|err| chain(&err)))
    };
    let looks = looked_at.iter().map(look).collect();
    Ok(Survey::join(&devices, &mounts, physical, looks, pools))
}

impl Host {
    /// Says to which cluster this machine belongs; until then it belongs to none.
    pub fn set_cluster(&self, cluster: Cluster) {
        *self.disks.cluster.write().unwrap_or_else(PoisonError::into_inner) = cluster;
    }

    /// The groups of pools that are made of disks, with LVM's own identity of each, to be remembered.
    pub fn known_groups(&self) -> BTreeMap<VgName, String> {
        self.disks.known()
    }

    /// Says which groups there were in an earlier life: one of them that is not seen is missing, and no
    /// other is made in its place.
    pub fn expect_groups(&self, known: BTreeMap<VgName, String>) {
        *self.disks.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Has the disks looked at even when no pool is made of them, for [`Host::disks`].
    pub fn show_disks(&self) {
        *self.disks.shown.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// How every disk stood when they were last looked at, and why that could not be done since.
    pub fn disks(&self) -> (Arc<Plan>, Option<String>) {
        (self.disks.plan(), self.disks.trouble())
    }

    fn owner(&self) -> Option<Owner> {
        let cluster = self.disks.cluster.read().unwrap_or_else(PoisonError::into_inner);
        let cluster = match &*cluster {
            Cluster::None => None,
            Cluster::Unknown => return None,
            Cluster::Known(id) => Some(id.clone()),
        };
        Some(Owner { creator: self.creator.clone(), cluster, node: self.node.clone() })
    }

    /// Whether disks are looked at, for these pools or for whoever shows them.
    pub(super) fn watches_disks(&self, pools: &[PoolEntry]) -> bool {
        *self.disks.shown.read().unwrap_or_else(PoisonError::into_inner)
            || pools.iter().any(|it| it.spec.devices.is_some())
    }

    /// Takes the disks that these pools are to have, as far as that can be done.
    pub(super) fn take_disks(&self, pools: &[PoolEntry]) {
        self.disks.forget_others(pools);
        if !self.watches_disks(pools) {
            return;
        }
        let found = match self.owner() {
            None => Err("the cluster is not known yet".to_owned()),
            Some(owner) => self.take_all(pools, &owner).map_err(|err| chain(&err)),
        };
        let trouble = found.as_ref().err().cloned();
        if self.disks.trouble() != trouble {
            if let Some(why) = &trouble {
                tracing::warn!(why, "the disks were not looked at");
            }
            *self.disks.trouble.write().unwrap_or_else(PoisonError::into_inner) = trouble;
            self.sequence.grow();
        }
        if let Ok(plan) = found
            && *self.disks.plan() != plan
        {
            tell_changes(&self.disks.plan(), &plan);
            *self.disks.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
            self.sequence.grow();
        }
        self.look_after_gaps();
    }

    /// Plans and does until nothing is left to do. Each time a step that was not done before is done, or
    /// one disk more has failed, so there is an end.
    fn take_all(&self, pools: &[PoolEntry], owner: &Owner) -> Result<Plan, Error> {
        let mut round = Round::default();
        loop {
            let told = Told::by_books(self);
            let tools = (&self.tools, &*self.reserves);
            let plan = plan_after(tools, pools, owner, &round.failed, told, &self.disks)?;
            self.disks.note_groups(&plan);
            let before = (round.done.len(), round.failed.len());
            self.apply(&plan, &mut round);
            if (round.done.len(), round.failed.len()) == before {
                return Ok(plan);
            }
        }
    }

    /// Takes the steps in their order; what follows in its pool from one that failed is left out, and
    /// its disks are noted.
    fn apply(&self, plan: &Plan, round: &mut Round) {
        let mut stopped: Vec<&PoolName> = Vec::new();
        self.disks.moves.keep(plan);
        for step in &plan.steps {
            let pool = step.pool();
            if let Step::Wipe { disk, found, .. } = step {
                if self.ensure_not_reserved(disk).is_err() {
                    continue;
                }
                let bell = Arc::clone(&self.disks.bell);
                let done = move || ring(&bell);
                self.disks.wipes.begin(&self.tools, pool, (disk, found), done);
                continue;
            }
            if stopped.contains(&pool) {
                continue;
            }
            if let Step::Move { vg, device, uuid, .. } = step {
                let leaving = Leaving { device: device.clone(), uuid: uuid.clone() };
                self.move_away(vg, leaving);
                continue;
            }
            let is_repeated = round.done.contains(step);
            match if is_repeated { Err(changed_nothing()) } else { self.take(step) } {
                Ok(()) => {
                    tracing::info!(%pool, %step, "done");
                    round.done.push(step.clone());
                }
                Err(err) => {
                    let why = chain(&err);
                    tracing::warn!(%pool, %step, why, "failed; the disks are left as they are");
                    stopped.push(pool);
                    let named = plan.disks_of(pool).map(|it| &it.disk.device);
                    let named = named.filter(|it| step.names(&it.path));
                    round.failed.extend(named.map(|it| (it.name.clone(), why.clone())));
                }
            }
        }
    }

    fn take(&self, step: &Step) -> Result<(), Error> {
        let lvm = &self.tools.lvm;
        match step {
            // They go on by themselves.
            Step::Wipe { .. } | Step::Move { .. } => Ok(()),
            Step::Close { vg, device, .. } => {
                let closed = || lvm.set_belonging(device, Belonging::Leaves);
                self.change_group(vg, "saying that the disk is to leave", closed)
            }
            Step::Reopen { vg, device, uuid, joins, wipe, .. } => {
                let disk = Reopening { vg, device, uuid, joins: *joins, wipe: *wipe };
                self.end_move(&disk)?;
                let reopened = || self.reopen(&disk);
                self.change_group(vg, "opening the disk that stays after all", reopened)?;
                self.chores.trash_soon();
                Ok(())
            }
            Step::Leave { vg, device, uuid, .. } => {
                let note: Vec<Tag> = left::tag_for(uuid).into_iter().collect();
                let noted = || lvm.tag_group(vg, &note, &[]);
                let reduced = || noted().and_then(|()| lvm.reduce_group(vg, device));
                self.change_group(vg, "taking the disk out of the volume group", reduced)
            }
            Step::GiveUp { pool, vg, uuid } => {
                let tags: Vec<Tag> = repair::tag_for(uuid).into_iter().collect();
                let noted = || lvm.tag_group(vg, &tags, &[]);
                self.change_group(vg, "noting that a missing disk is given up", noted)?;
                self.chores.report_soon(pool);
                Ok(())
            }
            Step::Forget { vg, device, uuid, .. } => {
                let removed = lvm.remove_physical_volume(device);
                removed.map_err(|err| Error::machine("removing the physical volume", err))?;
                let note: Vec<Tag> = left::tag_for(uuid).into_iter().collect();
                let forgotten = || lvm.tag_group(vg, &[], &note);
                self.change_group(vg, "taking back the note of the disk that has left", forgotten)
            }
            // Between the survey and now the disk may have been used, or be another. `pvcreate` wants to
            // hold it itself, so it is let go of just before; it refuses a disk with a signature.
            Step::MakePhysical { disk, wanted, .. } => {
                let _turn = self.reserves.turn();
                self.ensure_not_reserved(disk)?;
                let nothing = Look { signature: None, edges: Edges::Zero };
                ensure_still(&self.tools, disk, &nothing)?;
                let made = lvm.create_physical_volume(wanted);
                made.map_err(|err| Error::machine("making a physical volume", err))
            }
            Step::MakeGroup { wanted, .. } => {
                let made = lvm.create_group(wanted);
                made.map_err(|err| Error::machine("making the volume group", err))
            }
            Step::ExtendGroup { pool, vg, devices } => {
                let extended = || lvm.extend_group(vg, devices);
                self.change_group(vg, "extending the volume group", extended)?;
                // There may be room now for what waits for it.
                self.chores.report_soon(pool);
                Ok(())
            }
            Step::Grow { vg, device, .. } => {
                let grown = || lvm.resize_physical_volume(device);
                self.change_group(vg, "making the physical volume larger", grown)
            }
        }
    }

    /// That nobody has put the disk aside since the survey.
    fn ensure_not_reserved(&self, disk: &BlockDevice) -> Result<(), Error> {
        match self.reserves.reserved().remove(&disk.number) {
            Some(why) => Err(Error::Precondition(format!("{}: {why}", disk.path.display()))),
            None => Ok(()),
        }
    }

    /// Has a disk emptied that is to leave its group, as long as its pool is served.
    fn move_away(&self, vg: &VgName, disk: Leaving) {
        let pools = self.pools();
        if let Some(pool) = pools.served.iter().find(|it| it.vg == *vg) {
            let bell = Arc::clone(&self.disks.bell);
            self.disks.moves.begin(&self.tools.lvm, pool, disk, move || ring(&bell));
        }
    }

    /// Changes a group, in its turn and with its ledger brought up to date where its pool is open.
    pub(super) fn change_group(
        &self,
        vg: &VgName,
        doing: &str,
        change: impl FnOnce() -> Result<(), lvm::Error>,
    ) -> Result<(), Error> {
        let fail = |err| Error::machine(doing, err);
        let pools = self.pools();
        let Some(pool) = pools.served.iter().find(|it| it.vg == *vg) else {
            return change().map_err(fail);
        };
        let turn = pool.change();
        change().map_err(fail)?;
        turn.refresh(&*self.tools.lvm)
    }

    /// Why the group of a pool that is made of disks cannot be opened.
    ///
    /// # Errors
    /// What is in the way, and what the admin can do about it.
    pub(super) fn ensure_has_disks(&self, pool: &PoolName) -> Result<(), String> {
        if let Some(why) = self.disks.trouble() {
            return Err(format!("its disks were not looked at: {why}"));
        }
        let plan = self.disks.plan();
        let Some(found) = plan.pools.iter().find(|it| it.name == *pool) else {
            return Err("its disks were not looked at".to_owned());
        };
        match &found.state {
            GroupState::There | GroupState::Waiting(_) | GroupState::Replacing(_) => Ok(()),
            GroupState::Barred(why) => Err(why.clone()),
            GroupState::Absent => Err(none_taken(&plan, pool, &found.group)),
        }
    }

    /// Whether disks are being wiped for a pool.
    pub(super) fn is_wiping_for(&self, pool: &PoolName) -> bool {
        self.disks.plan().disks.iter().any(|it| it.standing == Standing::Wiped(pool.clone()))
    }

    /// Looks at the disks whenever the kernel tells of a change, and now and then, until
    /// [`Host::stop`].
    pub(super) fn watch_disks(&self) {
        let uevents = match self.tools.devices.watch() {
            Ok(uevents) => uevents,
            Err(err) => {
                // The thread of the chores goes on; so does this one, with its slow timer.
                tracing::error!(error = chain(&err), "changes of disks are not heard of");
                return self.look_now_and_then();
            }
        };
        *self.disks.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some(uevents.bell());
        // What could not be done before the pools were served.
        let mut patience = LATER;
        while !self.chores.is_stopping() {
            let told = match uevents.wait(patience) {
                Ok(told) => told,
                Err(err) => {
                    tracing::error!(%err, "changes of disks are not heard of");
                    return self.look_now_and_then();
                }
            };
            if told {
                await_quiet(&uevents);
            }
            self.look_at_disks();
            patience = if told { LATER } else { ROUND };
            if let Some(due) = self.disks.sightings.due() {
                patience = patience.min(due);
            }
        }
    }

    fn look_now_and_then(&self) {
        while !self.chores.is_stopping() {
            self.chores.rest(ROUND);
            self.look_at_disks();
        }
    }

    /// Looks at the disks now, takes what is to be taken, and opens pools that could not be before.
    pub fn look_at_disks(&self) {
        if self.chores.is_stopping() {
            return;
        }
        for (pool, err) in self.try_again() {
            tracing::debug!(%pool, error = chain(&err), "the pool is not served");
        }
    }
}

/// Waits until a bunch of changes is over.
fn await_quiet(uevents: &Uevents) {
    for _ in 0..BUNCHES {
        if !uevents.wait(QUIET).unwrap_or(false) {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
