//! From what the pools' specs say and what the survey has found to what is to be done, and to why
//! some of it is not. Pure: everything that decides about a disk is here.

mod arrival;
mod leave;
mod refusal;
mod replace;
mod text;

pub use arrival::{Arrival, Need};
pub use refusal::{Refusal, against_adopting, against_whole, sentence};
pub use text::described;

use std::path::{Path, PathBuf};

use super::{
    DevicesSpec, Mismatch, PoolEntry,
    capacity::metadata_size,
    left::has_left,
    owner::{Owner, Whose},
    survey::{Disk, Survey},
};
use crate::{
    device::{BlockDevice, Wipe},
    fs::Look,
    lvm::{CreateGroup, CreatePhysicalVolume, SeenGroup, VgName},
    units::Bytes,
    volume::PoolName,
};
use refusal::{is_made, of_look, refusals};

/// What is to be done, and what is not and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be done in this order; nothing that is there is lost by any of them but a wipe, for which
    /// there is consent.
    pub steps: Vec<Step>,
    /// Every disk, in the survey's order.
    pub disks: Vec<DiskPlan>,
    /// Every pool that is made of disks.
    pub pools: Vec<PoolPlan>,
    /// Groups that have come from other nodes.
    pub arrivals: Vec<Arrival>,
}

/// One thing to be done: for the most part one LVM command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An empty disk becomes a physical volume.
    MakePhysical {
        /// For which pool.
        pool: PoolName,
        /// The disk as it was surveyed: it must still be that one, and still be empty.
        disk: Box<BlockDevice>,
        /// What is made.
        wanted: CreatePhysicalVolume,
    },
    /// Physical volumes become a pool's group.
    MakeGroup {
        /// The pool.
        pool: PoolName,
        /// What is made.
        wanted: CreateGroup,
    },
    /// A used disk is overwritten, whole, because the pool's spec says so of this very one. It is empty
    /// for the next plan.
    Wipe {
        /// For which pool.
        pool: PoolName,
        /// The disk as it was surveyed.
        disk: Box<BlockDevice>,
        /// What is there: it must still be that, and nothing else.
        found: Box<Look>,
    },
    /// The disk of a physical volume has grown, and the group gets what is new.
    Grow {
        /// The pool.
        pool: PoolName,
        /// Its group.
        vg: VgName,
        /// The disk.
        device: PathBuf,
        /// How many extents there will be more.
        extents: u64,
    },
    /// Nothing new is put on a disk that is to leave.
    Close {
        /// The pool.
        pool: PoolName,
        /// Its group.
        vg: VgName,
        /// The disk.
        device: PathBuf,
    },
    /// A disk that was to leave stays after all. What was moved away from it still lies on its free extents, so
    /// these are wiped, as one deleted volume, before others get them.
    Reopen {
        /// The pool.
        pool: PoolName,
        /// Its group.
        vg: VgName,
        /// The disk.
        device: PathBuf,
        /// LVM's own identity of its physical volume.
        uuid: String,
        /// Whether it has left the group, and comes back into it first.
        joins: bool,
        /// How they are wiped.
        wipe: Wipe,
    },
    /// What lies on a disk is moved to the group's other disks. It goes on by itself, piece by piece.
    Move {
        /// The pool.
        pool: PoolName,
        /// Its group.
        vg: VgName,
        /// The disk.
        device: PathBuf,
        /// LVM's own identity of its physical volume.
        uuid: String,
    },
    /// An empty disk leaves its group, which notes it: see [`super::left`].
    Leave {
        /// The pool.
        pool: PoolName,
        /// Its group.
        vg: VgName,
        /// The disk.
        device: PathBuf,
        /// LVM's own identity of its physical volume.
        uuid: String,
    },
    /// A disk that has left is no physical volume any more, and the group's note of it goes.
    Forget {
        /// The pool.
        pool: PoolName,
        /// The group that it was in.
        vg: VgName,
        /// The disk.
        device: PathBuf,
        /// LVM's own identity of its physical volume.
        uuid: String,
    },
    /// A disk that is missing is given up: RAID volumes get new legs in the places of those on it.
    GiveUp {
        /// The pool.
        pool: PoolName,
        /// Its group.
        vg: VgName,
        /// LVM's own identity of its physical volume.
        uuid: String,
    },
    /// A pool's group gets more physical volumes.
    ExtendGroup {
        /// The pool.
        pool: PoolName,
        /// Its group.
        vg: VgName,
        /// The physical volumes.
        devices: Vec<PathBuf>,
    },
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskPlan {
    /// What is known of it.
    pub disk: Disk,
    /// What becomes of it.
    pub standing: Standing,
}

/// What becomes of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is in the group of this pool, whatever the spec says now.
    Member(PoolName),
    /// It is in the group of a pool, whose spec says that it is to leave.
    Leaving {
        /// The pool.
        pool: PoolName,
        /// How much still lies on it.
        left: Bytes,
        /// Why it does not leave.
        why: Option<String>,
    },
    /// It is taken for this pool.
    Taken(PoolName),
    /// It is wiped for this pool, whose spec says so, and then taken.
    Wiped(PoolName),
    /// A pool selects it, or has had it, and it is left alone.
    Refused {
        /// The pools that select it.
        pools: Vec<PoolName>,
        /// Why.
        why: Vec<Refusal>,
    },
    /// No pool selects it: what each of them misses.
    Unselected(Vec<(PoolName, Mismatch)>),
}

/// One pool that is made of disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolPlan {
    /// Its name.
    pub name: PoolName,
    /// Its group.
    pub group: VgName,
    /// How the group is.
    pub state: GroupState,
    /// LVM's own identity of the group, where it is there and this pool's.
    pub uuid: Option<String>,
}

/// How the group of a pool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// There is none yet.
    Absent,
    /// It is there, and may get more disks.
    There,
    /// It is there, and gets no more disks now.
    Waiting(String),
    /// It is there and misses disks, in whose places others may come.
    Replacing(String),
    /// It is not to be touched.
    Barred(String),
}

impl GroupState {
    /// Why no disk comes into the group now, or one that `has_left` it: that one is wiped in it, for which LVM
    /// needs all of the group.
    fn hindrance(&self, has_left: bool) -> Option<&str> {
        match self {
            Self::Waiting(why) | Self::Barred(why) => Some(why),
            Self::Replacing(why) => has_left.then_some(why),
            Self::Absent | Self::There => None,
        }
    }
}

/// What is to be done for these pools.
pub fn plan(pools: &[PoolEntry], owner: &Owner, survey: &Survey) -> Plan {
    let sought: Vec<Sought<'_>> = pools
        .iter()
        .filter_map(|entry| {
            let spec = entry.spec.devices.as_ref()?;
            Some(Sought { entry, spec, state: group_state(entry, owner, survey) })
        })
        .collect();
    let standing = |disk: &Disk| DiskPlan {
        disk: disk.clone(),
        standing: standing(disk, &sought, owner, survey),
    };
    let disks: Vec<DiskPlan> = survey.disks.iter().map(standing).collect();
    let steps = sought.iter().flat_map(|it| it.steps(owner, survey, &disks)).collect();
    let arrivals = arrival::arrivals(&sought, owner, survey);
    let pools = sought.into_iter().map(|it| PoolPlan {
        name: it.entry.name.clone(),
        group: it.entry.group(),
        uuid: uuid_of(&it.entry.group(), &it.state, survey),
        state: it.state,
    });
    Plan { steps, disks, pools: pools.collect(), arrivals }
}

/// A pool that looks for disks.
struct Sought<'a> {
    entry: &'a PoolEntry,
    spec: &'a DevicesSpec,
    state: GroupState,
}

impl Sought<'_> {
    fn name(&self) -> &PoolName {
        &self.entry.name
    }

    fn steps(&self, owner: &Owner, survey: &Survey, disks: &[DiskPlan]) -> Vec<Step> {
        let pool = self.name();
        let is_taken = |it: &&DiskPlan| it.standing == Standing::Taken(pool.clone());
        let taken = disks.iter().filter(is_taken).map(|it| &it.disk);
        let taken: Vec<&Disk> = taken.filter(|disk| !has_left(disk, survey)).collect();
        let mark = owner.mark(pool);
        let raw = taken.iter().filter(|disk| !is_made(disk, &mark));
        let mut steps: Vec<Step> = raw
            .map(|disk| Step::MakePhysical {
                pool: pool.clone(),
                disk: Box::new(disk.device.clone()),
                wanted: CreatePhysicalVolume {
                    device: disk.device.path.clone(),
                    mark: mark.clone(),
                    metadata: metadata_size(disk.device.size),
                },
            })
            .collect();
        steps.extend(self.growth(disks));
        steps.extend(self.departures(survey, disks, &mark));
        steps.extend(self.losses(survey, !taken.is_empty()));
        let devices: Vec<PathBuf> = taken.iter().map(|disk| disk.device.path.clone()).collect();
        let (pool, vg) = (pool.clone(), self.entry.group());
        steps.extend(match &self.state {
            _ if devices.is_empty() => None,
            GroupState::Absent => {
                let tags = owner.tags(&pool);
                Some(Step::MakeGroup { pool, wanted: CreateGroup { vg, devices, tags } })
            }
            GroupState::There | GroupState::Replacing(_) => {
                Some(Step::ExtendGroup { pool, vg, devices })
            }
            GroupState::Waiting(_) | GroupState::Barred(_) => None,
        });
        let is_wiped = |it: &&DiskPlan| it.standing == Standing::Wiped(self.name().clone());
        steps.extend(disks.iter().filter(is_wiped).filter_map(|it| {
            let found = it.disk.look.as_ref()?.as_ref().ok()?;
            Some(Step::Wipe {
                pool: self.name().clone(),
                disk: Box::new(it.disk.device.clone()),
                found: Box::new(found.clone()),
            })
        }));
        steps
    }

    /// The disks of its group that have grown since. Only what adds an extent is a step: what changes
    /// nothing would be planned again for ever.
    fn growth(&self, disks: &[DiskPlan]) -> Vec<Step> {
        if self.state != GroupState::There {
            return Vec::new();
        }
        let is_its = |it: &&DiskPlan| it.standing == Standing::Member(self.name().clone());
        let members = disks.iter().filter(is_its).map(|it| &it.disk);
        members
            .filter(|disk| disk.failed.is_none())
            .filter_map(|disk| {
                let seen = disk.physical.as_ref().filter(|it| !it.duplicate)?;
                let extents = seen.footprint.map(|it| it.growth()).filter(|it| *it > 0)?;
                let (pool, vg) = (self.name().clone(), self.entry.group());
                Some(Step::Grow { pool, vg, device: disk.device.path.clone(), extents })
            })
            .collect()
    }
}

fn uuid_of(name: &VgName, state: &GroupState, survey: &Survey) -> Option<String> {
    let is_its = match state {
        GroupState::There | GroupState::Waiting(_) | GroupState::Replacing(_) => true,
        GroupState::Absent | GroupState::Barred(_) => false,
    };
    let mut groups = survey.physical.iter().filter_map(|it| it.group.as_ref());
    groups.find(|it| is_its && it.name == *name).map(|it| it.uuid.clone())
}

/// How a pool's group is, from all that LVM sees.
fn group_state(entry: &PoolEntry, owner: &Owner, survey: &Survey) -> GroupState {
    let (name, pool) = (entry.group(), &entry.name);
    let mut groups: Vec<&SeenGroup> = Vec::new();
    for group in survey.physical.iter().filter_map(|it| it.group.as_ref()) {
        let is_its = group.name == name || owner.whose(&group.tags) == Whose::Ours(pool.clone());
        if is_its && !groups.iter().any(|it| it.uuid == group.uuid) {
            groups.push(group);
        }
    }
    let known = survey.known.get(&name);
    let group = match groups.as_slice() {
        [] => match known {
            None => return GroupState::Absent,
            Some(uuid) => return missing(&name, uuid),
        },
        [group] => match known.filter(|it| **it != group.uuid) {
            None => group,
            Some(uuid) => return missing(&name, uuid),
        },
        [_, _, ..] => {
            let found: Vec<_> =
                groups.iter().map(|it| format!("{} ({})", it.name, it.uuid)).collect();
            let why = format!(
                "there are several volume groups that have its name or its tags: {}",
                found.join(", ")
            );
            return GroupState::Barred(why);
        }
    };
    match owner.whose(&group.tags) {
        Whose::Ours(of) if of == *pool && group.name == name => (),
        Whose::Ours(of) if of == *pool => {
            let why = format!("its volume group is called {}: rename it to {name}", group.name);
            return GroupState::Barred(why);
        }
        Whose::Ours(of) => return taken_by(&name, &format!("that of pool {of}")),
        Whose::Other(other) => return taken_by(&name, &other.to_string()),
        Whose::NotTarns => return taken_by(&name, "not made by Tarn from a pool's disks"),
    }
    match group.missing {
        _ if group.elsewhere => {
            GroupState::Barred(format!("volume group {name} is exported or shared"))
        }
        0 => GroupState::There,
        missing if replace::is_wanted(survey, group) => GroupState::Replacing(format!(
            "volume group {name} misses {missing} of its disks, and takes new ones in their places"
        )),
        missing => GroupState::Waiting(format!(
            "volume group {name} misses {missing} of its disks, and takes no others before they are \
             back or given up"
        )),
    }
}

/// All disks of a group that was there are away. Another of its name would be in its way when they come
/// back.
fn missing(name: &VgName, uuid: &str) -> GroupState {
    GroupState::Barred(format!(
        "volume group {name} ({uuid}) was here and is not seen now: all its disks are missing, and no \
         other group is made in its place. If they are gone for good, take the pool off this node, and \
         then put it there again"
    ))
}

fn taken_by(name: &VgName, whose: &str) -> GroupState {
    GroupState::Barred(format!("there is a volume group {name} already, {whose}; it is left alone"))
}

fn standing(disk: &Disk, sought: &[Sought<'_>], owner: &Owner, survey: &Survey) -> Standing {
    let group = disk.physical.as_ref().and_then(|it| it.group.as_ref());
    if let Some(group) = group
        && let Whose::Ours(pool) = owner.whose(&group.tags)
    {
        let is_its = |it: &&Sought<'_>| *it.name() == pool && it.entry.group() == group.name;
        if let Some(its) = sought.iter().find(is_its) {
            return match its.spec.retires(&disk.device) {
                true => leave::leaving(pool, disk, survey),
                false => Standing::Member(pool),
            };
        }
    }
    let (mut pools, mut misses) = (Vec::new(), Vec::new());
    for it in sought {
        match it.spec.mismatch(&disk.device) {
            None => pools.push(it),
            Some(mismatch) => misses.push((it.name().clone(), mismatch)),
        }
    }
    let Some(first) = pools.first() else { return Standing::Unselected(misses) };
    let mut why = refusals(disk, survey, owner, &owner.mark(first.name()));
    let names: Vec<PoolName> = pools.iter().map(|it| it.name().clone()).collect();
    if names.len() > 1 {
        why.push(Refusal::TwoPools(names.clone()));
    } else if let Some(said) = first.state.hindrance(has_left(disk, survey))
        && why.is_empty()
    {
        why.push(Refusal::Group(said.to_owned()));
    }
    let can_go = why.iter().all(Refusal::ends_with_a_wipe);
    match why.as_slice() {
        [] => Standing::Taken(first.name().clone()),
        [_, ..] if can_go && first.spec.allows_to_wipe(&disk.device, &sentence(&why)) => {
            Standing::Wiped(first.name().clone())
        }
        [_, ..] => Standing::Refused { pools: names, why },
    }
}

impl Step {
    /// For which pool it is.
    pub fn pool(&self) -> &PoolName {
        match self {
            Self::MakePhysical { pool, .. }
            | Self::MakeGroup { pool, .. }
            | Self::Wipe { pool, .. }
            | Self::Grow { pool, .. }
            | Self::Close { pool, .. }
            | Self::Reopen { pool, .. }
            | Self::Move { pool, .. }
            | Self::Leave { pool, .. }
            | Self::Forget { pool, .. }
            | Self::GiveUp { pool, .. }
            | Self::ExtendGroup { pool, .. } => pool,
        }
    }

    /// Whether it is about the device at this path.
    pub fn names(&self, path: &Path) -> bool {
        match self {
            Self::MakePhysical { wanted, .. } => wanted.device == path,
            Self::Wipe { disk, .. } => disk.path == path,
            Self::Grow { device, .. }
            | Self::Close { device, .. }
            | Self::Reopen { device, .. }
            | Self::Move { device, .. }
            | Self::Leave { device, .. }
            | Self::Forget { device, .. } => device == path,
            Self::MakeGroup { wanted, .. } => wanted.devices.iter().any(|it| it == path),
            Self::ExtendGroup { devices, .. } => devices.iter().any(|it| it == path),
            Self::GiveUp { .. } => false,
        }
    }
}

/// What is on a disk on which this was found, in the words that refuse it; nothing for an empty one.
pub fn words_for(look: &Look) -> String {
    of_look(look).map_or_else(String::new, |it| it.to_string())
}

impl Plan {
    /// The disks of a pool, and those that it is to get.
    pub fn disks_of<'a>(&'a self, pool: &'a PoolName) -> impl Iterator<Item = &'a DiskPlan> {
        self.disks.iter().filter(move |it| match &it.standing {
            Standing::Member(of)
            | Standing::Taken(of)
            | Standing::Wiped(of)
            | Standing::Leaving { pool: of, .. } => of == pool,
            Standing::Refused { .. } | Standing::Unselected(_) => false,
        })
    }
}

#[cfg(test)]
mod tests;
