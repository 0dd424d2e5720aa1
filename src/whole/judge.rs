//! Which entries may be volumes, which are, and why the others are not. Pure.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    entries::{Entry, Leads},
    mounted::{self, Seen},
};
use crate::{
    device::BlockDevice,
    fs::{FsKind, Mount},
    pool::{
        DeviceEntry, EntryState,
        plan::{against_whole, sentence},
        survey::{Disk, Survey},
    },
    units::Bytes,
    volume::{PoolName, VolumeId},
};

/// An entry of a pool's directories, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) entry: Entry,
    /// The device that it leads to.
    pub(super) device: Option<BlockDevice>,
    /// How large a volume of it is.
    pub(super) size: Option<Bytes>,
    pub(super) state: EntryState,
}

impl Judged {
    /// For reports.
    pub(super) fn told(&self) -> DeviceEntry {
        let device = self.device.as_ref().zip(self.size);
        let device = device.map(|(it, size)| (it.path.clone(), size));
        let (path, mounted) = (self.entry.path.clone(), self.mounted());
        DeviceEntry { path, device, mounted, state: self.state.clone() }
    }

    /// The file system that is mounted there, where it may be a volume.
    pub(super) fn mounted(&self) -> Option<FsKind> {
        mounted::of_all(self.entry.leads.mount()?).ok()
    }
}

/// What there is to judge by.
pub(super) struct Sight<'a> {
    pub(super) survey: &'a Survey,
    pub(super) mounts: &'a [Mount],
    /// What was found in the mounts to which entries lead, by where they are; those of volumes may be left out.
    pub(super) seen: &'a BTreeMap<PathBuf, Result<Seen, String>>,
    pub(super) claims: &'a [Claim],
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
    /// How large it is, where it is a file system that was given mounted.
    pub(super) given: Option<Bytes>,
}

/// Judges the entries of all pools; the first of those that lead to one device counts, be it to the device or to the
/// file system on it.
pub(super) fn judge(
    pools: Vec<(PoolName, Vec<Entry>)>,
    sight: &Sight<'_>,
) -> BTreeMap<PoolName, Vec<Judged>> {
    let all: Vec<Entry> = pools.iter().flat_map(|(_, entries)| entries).cloned().collect();
    let of_entries: Vec<&Path> =
        all.iter().filter_map(|it| it.leads.mount()).map(|it| it.at.as_path()).collect();
    let mut first: BTreeMap<_, String> = BTreeMap::new();
    let mut of_pool = |pool: &PoolName, entry: Entry| {
        let is_its = |it: &&Disk| entry.leads.number() == Some(it.device.number);
        let disk = sight.survey.disks.iter().find(is_its);
        let device = disk.map(|it| it.device.clone());
        let (size, state) = match (&entry.leads, disk) {
            (leads, Some(disk)) => {
                let size = size(leads, disk, sight);
                match first.get(&disk.device.number) {
                    Some(path) => (size, EntryState::Refused(leads.same_as(path))),
                    None => {
                        first.insert(disk.device.number, entry.path.display().to_string());
                        (size, of_disk(pool, leads, disk, (sight, &of_entries)))
                    }
                }
            }
            (Leads::Device(_), None) => {
                (None, EntryState::Refused("its device has no size".to_owned()))
            }
            (leads, None) => (None, EntryState::Refused(no_device(leads))),
        };
        Judged { entry, device, size, state }
    };
    let judged = |(pool, entries): (PoolName, Vec<Entry>)| {
        let all = entries.into_iter().map(|entry| of_pool(&pool, entry)).collect();
        (pool, all)
    };
    pools.into_iter().map(judged).collect()
}

/// How large a volume is of what an entry leads to.
fn size(leads: &Leads, disk: &Disk, sight: &Sight<'_>) -> Option<Bytes> {
    match leads.mount() {
        None => Some(disk.device.size),
        Some(mount) => {
            let is_its = |it: &&Claim| it.devices.contains(&disk.device.number);
            let seen = || Some(sight.seen.get(&mount.at)?.as_ref().ok()?.size);
            sight.claims.iter().find(is_its).and_then(|it| it.given).or_else(seen)
        }
    }
}

pub(super) fn no_device(leads: &Leads) -> String {
    match leads {
        Leads::Device(_) => "it leads to a device".to_owned(),
        Leads::Mount(mount) => match mounted::of_all(mount) {
            Ok(kind) => format!("it is a mount of {kind}, and its device is not seen"),
            Err(why) => why,
        },
        Leads::Directory => "it is a directory, and not a mount point".to_owned(),
        Leads::File => "it is a file, and no block device".to_owned(),
        Leads::Nowhere => "it leads nowhere".to_owned(),
        Leads::Unread(why) => why.clone(),
    }
}

fn of_disk(
    pool: &PoolName,
    leads: &Leads,
    disk: &Disk,
    (sight, of_entries): (&Sight<'_>, &[&Path]),
) -> EntryState {
    let is_its = |it: &&Claim| it.devices.contains(&disk.device.number);
    if let Some(claim) = sight.claims.iter().find(is_its) {
        return of_claim(pool, claim);
    }
    let why = match leads.mount() {
        None => {
            let why = against_whole(disk, sight.survey);
            (!why.is_empty()).then(|| sentence(&why))
        }
        Some(mount) => match (mounted::of_all(mount), sight.seen.get(&mount.at)) {
            (Err(why), _) => Some(why),
            (Ok(_), Some(seen)) => mounted::against(mount, sight.mounts, of_entries, seen),
            (Ok(_), None) => Some("nobody has looked into it yet".to_owned()),
        },
    };
    why.map_or(EntryState::Free, EntryState::Refused)
}

fn of_claim(pool: &PoolName, claim: &Claim) -> EntryState {
    if claim.pool != pool.as_str() {
        return EntryState::Refused(format!("it is volume {} of pool {}", claim.id, claim.pool));
    }
    match &claim.wiping {
        Some(said) => EntryState::Wiped(claim.id.clone(), said.clone()),
        None => EntryState::Used(claim.id.clone()),
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
