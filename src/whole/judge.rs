//! Which entries may be volumes, which are, and why the others are not. Pure.

use std::collections::BTreeMap;

use super::entries::{Entry, Leads};
use crate::{
    device::BlockDevice,
    pool::{
        DeviceEntry, EntryState,
        plan::{against_whole, sentence},
        survey::{Disk, Survey},
    },
    volume::{PoolName, VolumeId},
};

/// An entry of a pool's directories, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) entry: Entry,
    /// The device that it leads to.
    pub(super) device: Option<BlockDevice>,
    pub(super) state: EntryState,
}

impl Judged {
    /// For reports.
    pub(super) fn told(&self) -> DeviceEntry {
        let device = self.device.as_ref().map(|it| (it.path.clone(), it.size));
        DeviceEntry { path: self.entry.path.clone(), device, state: self.state.clone() }
    }
}

/// A device that is a volume.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// The name of the pool.
    pub(super) pool: String,
    pub(super) id: VolumeId,
    /// How far the wiping of a volume has come that was deleted.
    pub(super) wiping: Option<String>,
    /// The numbers of the devices that it may be: one, if all is well.
    pub(super) devices: Vec<(u64, u64)>,
}

/// Judges the entries of all pools; the first of those that lead to one device counts.
pub(super) fn judge(
    pools: Vec<(PoolName, Vec<Entry>)>,
    survey: &Survey,
    claims: &[Claim],
) -> BTreeMap<PoolName, Vec<Judged>> {
    let mut first = BTreeMap::new();
    let mut of_pool = |pool: &PoolName, entry: Entry| {
        let is_its = |it: &&Disk| entry.leads == Leads::Device(it.device.number);
        let disk = survey.disks.iter().find(is_its);
        let device = disk.map(|it| it.device.clone());
        let state = match (&entry.leads, disk) {
            (Leads::Device(number), Some(disk)) => match first.get(number) {
                Some(path) => EntryState::Refused(format!("it leads to the same device as {path}")),
                None => {
                    first.insert(*number, entry.path.display().to_string());
                    of_device(pool, disk, survey, claims)
                }
            },
            (Leads::Device(_), None) => EntryState::Refused("its device has no size".to_owned()),
            (leads, _) => EntryState::Refused(no_device(leads)),
        };
        Judged { entry, device, state }
    };
    let judged = |(pool, entries): (PoolName, Vec<Entry>)| {
        let all = entries.into_iter().map(|entry| of_pool(&pool, entry)).collect();
        (pool, all)
    };
    pools.into_iter().map(judged).collect()
}

fn no_device(leads: &Leads) -> String {
    let said = match leads {
        Leads::Device(_) => "it leads to a device",
        Leads::Mount => "it is a mount; only block devices are given out so far",
        Leads::Directory => "it is a directory, and not a mount point",
        Leads::File => "it is a file, and no block device",
        Leads::Nowhere => "it leads nowhere",
        Leads::Unread(why) => why,
    };
    said.to_owned()
}

fn of_device(pool: &PoolName, disk: &Disk, survey: &Survey, claims: &[Claim]) -> EntryState {
    let is_its = |it: &&Claim| it.devices.contains(&disk.device.number);
    match claims.iter().find(is_its) {
        Some(claim) if claim.pool != pool.as_str() => {
            EntryState::Refused(format!("it is volume {} of pool {}", claim.id, claim.pool))
        }
        Some(claim) => match &claim.wiping {
            Some(said) => EntryState::Wiped(claim.id.clone(), said.clone()),
            None => EntryState::Used(claim.id.clone()),
        },
        None => {
            let why = against_whole(disk, survey);
            if why.is_empty() { EntryState::Free } else { EntryState::Refused(sentence(&why)) }
        }
    }
}

/// The devices that must be looked at before they can be judged: those that entries lead to, that are no volumes,
/// and that nothing but what is on them speaks against.
pub(super) fn worth_a_look<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    survey: &Survey,
    claims: &[Claim],
) -> Vec<BlockDevice> {
    let mut all: Vec<BlockDevice> = Vec::new();
    for entry in entries {
        let Leads::Device(number) = entry.leads else { continue };
        let is_claimed = claims.iter().any(|it| it.devices.contains(&number));
        let Some(disk) = survey.disks.iter().find(|it| it.device.number == number) else {
            continue;
        };
        let device = &disk.device;
        let is_quiet = device.kind.is_some() && disk.uses.is_empty() && !device.suspended;
        if is_quiet && !is_claimed && !all.contains(device) {
            all.push(device.clone());
        }
    }
    all
}
