//! Why a disk is not taken, for programs in one word and for people in a sentence.

use std::{collections::BTreeMap, fmt, path::Path};

use crate::{
    device::{BlockDevice, DeviceType},
    fs::{Edges, Family, Look, Signature},
    lvm::{PvMark, SeenPhysicalVolume},
    pool::{
        LEAST_DISK,
        left::has_left,
        owner::{Owner, Whose},
        survey::{Disk, Survey, Use},
    },
    volume::PoolName,
};

/// Why a disk is not taken that a pool's spec selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The system is on it: it holds `/`, or another directory that a boot needs.
    System {
        /// What is mounted.
        device: String,
        /// Where.
        at: String,
    },
    /// Something on it is mounted.
    Mounted {
        /// What is mounted.
        device: String,
        /// Where.
        at: String,
    },
    /// It has partitions.
    Partitions(Vec<String>),
    /// It is one of several ways to a disk.
    MultipathPath(String),
    /// Something is made of it.
    InUse(String),
    /// It is in another volume group.
    OtherGroup {
        /// The group.
        group: String,
        /// Whose that is, where tags tell.
        whose: String,
    },
    /// It has a signature.
    Signature(Signature),
    /// It has no signature, and yet something is on it.
    NotEmpty,
    /// Its edges could not be read.
    Unreadable(String),
    /// It refuses writes.
    ReadOnly,
    /// Parts of it can only be written from their beginning.
    Zoned,
    /// It is smaller than any pool can use.
    TooSmall,
    /// Another device says that it is the same disk.
    Duplicate(Vec<String>),
    /// More than one pool selects it.
    TwoPools(Vec<PoolName>),
    /// The pool's volume group is not to be changed now.
    Group(String),
    /// It is put aside, as a volume of its own.
    Reserved(String),
    /// It is nothing that a volume could be.
    NoDisk,
    /// Taking it failed.
    Failed(String),
}

/// Directories that a machine boots from or cannot do without.
const SYSTEM: &[&str] = &["/", "/boot", "/efi", "/usr", "/etc", "/var"];

impl Refusal {
    /// Whether it goes away with the bytes of the disk.
    pub(super) fn ends_with_a_wipe(&self) -> bool {
        matches!(self, Self::Partitions(_) | Self::Signature(_) | Self::NotEmpty)
    }

    /// Whether somebody uses the disk now.
    pub fn is_use(&self) -> bool {
        matches!(self, Self::System { .. } | Self::Mounted { .. } | Self::InUse(_))
    }

    /// In one word, for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::System { .. } => "SystemDisk",
            Self::Mounted { .. } => "Mounted",
            Self::Partitions(_) => "Partitioned",
            Self::MultipathPath(_) => "MultipathPath",
            Self::InUse(_) => "InUse",
            Self::OtherGroup { .. } => "OtherVolumeGroup",
            Self::Signature(signature) => match signature.family {
                Family::FileSystem => "FileSystem",
                Family::PartitionTable => "PartitionTable",
                Family::Raid => "Raid",
                Family::Encryption => "Encrypted",
                Family::PhysicalVolume => "PhysicalVolume",
                Family::Zfs => "Zfs",
                Family::Bcache => "Bcache",
                Family::Ceph => "Ceph",
                Family::Swap => "Swap",
                Family::Other => "OtherSignature",
            },
            Self::NotEmpty => "NotEmpty",
            Self::Unreadable(_) => "Unreadable",
            Self::ReadOnly => "ReadOnly",
            Self::Zoned => "Zoned",
            Self::TooSmall => "TooSmall",
            Self::Duplicate(_) => "DuplicateId",
            Self::TwoPools(_) => "TwoPools",
            Self::Group(_) => "VolumeGroup",
            Self::Reserved(_) => "WholeDevice",
            Self::NoDisk => "NoDisk",
            Self::Failed(_) => "Failed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { device, at } => {
                write!(f, "the system is on it: {device} is mounted at {at}")
            }
            Self::Mounted { device, at } => write!(f, "{device} is mounted at {at}"),
            Self::Partitions(names) => write!(f, "it has the partitions {}", names.join(", ")),
            Self::MultipathPath(of) => {
                write!(f, "it is one of the paths to {of}, which may be taken in its place")
            }
            Self::InUse(what) => f.write_str(what),
            Self::OtherGroup { group, whose } if whose.is_empty() => {
                write!(f, "it belongs to volume group {group}")
            }
            Self::OtherGroup { group, whose } => {
                write!(f, "it belongs to volume group {group}, {whose}")
            }
            Self::Signature(found) => {
                write!(f, "it has {}", described(found))?;
                match &found.label {
                    Some(label) => write!(f, " labelled {label:?}"),
                    None => Ok(()),
                }
            }
            Self::NotEmpty => f.write_str(
                "it is not empty: its first and last MiB are not all zeroes, and nothing known is there",
            ),
            Self::Unreadable(why) => write!(f, "it cannot be read: {why}"),
            Self::ReadOnly => f.write_str("it is read-only"),
            Self::Zoned => f.write_str("it is zoned: it cannot be written to in any order"),
            Self::TooSmall => write!(f, "it is smaller than {LEAST_DISK}"),
            Self::Duplicate(others) => write!(
                f,
                "it has the identity of {} too, and may be the same disk, reached in two ways",
                others.join(", ")
            ),
            Self::TwoPools(pools) => {
                let names: Vec<&str> = pools.iter().map(PoolName::as_str).collect();
                write!(f, "more than one pool selects it: {}", names.join(", "))
            }
            Self::Group(why) | Self::Reserved(why) => f.write_str(why),
            Self::NoDisk => {
                f.write_str("it is no disk, partition, RAID, encrypted or loop device, nor a multipath one")
            }
            Self::Failed(why) => write!(f, "taking it failed: {why}"),
        }
    }
}

/// A signature in words.
fn described(found: &Signature) -> String {
    let name = &found.name;
    let article = if name.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    match found.family {
        Family::FileSystem => format!("{article} {name} file system"),
        Family::PartitionTable => format!("{article} {name} partition table"),
        Family::Raid => format!("the mark of a RAID member ({name})"),
        Family::Encryption => format!("an encrypted content ({name})"),
        Family::PhysicalVolume => {
            format!("the label of an LVM physical volume ({name}) that is in no group")
        }
        Family::Zfs => format!("the label of a ZFS pool ({name})"),
        Family::Bcache => format!("a bcache superblock ({name})"),
        Family::Ceph => format!("the label of a Ceph disk ({name})"),
        Family::Swap => format!("a swap area ({name})"),
        Family::Other => format!("a signature ({name})"),
    }
}

/// Everything about the disk itself that is against taking it for a pool, the most telling first.
/// `mark` is by what the pool's own unfinished physical volumes are known.
pub(super) fn refusals(disk: &Disk, survey: &Survey, owner: &Owner, mark: &PvMark) -> Vec<Refusal> {
    let mut found: Vec<Refusal> = disk.uses.iter().map(of_use).collect();
    let is_system = |it: &Refusal| !matches!(it, Refusal::System { .. });
    found.sort_by_key(is_system);
    found.extend(disk.physical.as_ref().and_then(|it| of_group(it, owner)));
    found.extend(of_content(disk, survey, mark));
    let device = &disk.device;
    found.extend(device.read_only.then_some(Refusal::ReadOnly));
    found.extend(device.zoned.then_some(Refusal::Zoned));
    found.extend((device.size < LEAST_DISK).then_some(Refusal::TooSmall));
    let twins = twins(device, survey);
    found.extend((!twins.is_empty()).then_some(Refusal::Duplicate(twins)));
    if disk.physical.as_ref().is_some_and(|it| it.duplicate) {
        found.push(Refusal::InUse("LVM sees its physical volume on another device too".to_owned()));
    }
    if found.iter().all(Refusal::ends_with_a_wipe) {
        found.extend(disk.unheld.clone().map(Refusal::InUse));
    }
    found.extend(disk.reserved.clone().map(Refusal::Reserved));
    found.extend(disk.failed.clone().map(Refusal::Failed));
    found
}

/// Everything that is against giving a disk as a volume, whole, the most telling first. LVM is not asked: what is
/// its own has its mark.
pub fn against_whole(disk: &Disk, survey: &Survey) -> Vec<Refusal> {
    let device = &disk.device;
    if device.kind.is_none() {
        return vec![Refusal::NoDisk];
    }
    let mut found: Vec<Refusal> = disk.uses.iter().map(of_use).collect();
    found.sort_by_key(|it| !matches!(it, Refusal::System { .. }));
    found.extend(device.read_only.then_some(Refusal::ReadOnly));
    found.extend(device.zoned.then_some(Refusal::Zoned));
    found.extend((device.size < LEAST_DISK).then_some(Refusal::TooSmall));
    let twins = twins(device, survey);
    found.extend((!twins.is_empty()).then_some(Refusal::Duplicate(twins)));
    if found.is_empty() {
        found.extend(disk.unheld.clone().map(Refusal::InUse));
    }
    if !found.is_empty() {
        return found;
    }
    let of_look = |look: &Look| match &look.signature {
        Some(it) if it.family == Family::PhysicalVolume => {
            Some(Refusal::InUse(format!("it is a physical volume of LVM's ({})", it.name)))
        }
        Some(_) | None => of_look(look),
    };
    match &disk.look {
        Some(Ok(look)) => of_look(look),
        Some(Err(why)) => Some(Refusal::Unreadable(why.clone())),
        None if device.suspended => Some(Refusal::Unreadable("its I/O is suspended".to_owned())),
        None => Some(Refusal::Unreadable("nobody has looked at it".to_owned())),
    }
    .into_iter()
    .collect()
}

/// Everything that is against adopting a device with all that is on it, the most telling first. What others put together by
/// themselves is theirs; what else is on it, and how small it is, is no reason.
pub fn against_adopting(disk: &Disk, survey: &Survey) -> Vec<Refusal> {
    let mut found = against_whole(disk, survey);
    found.retain(|it| !matches!(it, Refusal::TooSmall | Refusal::NotEmpty | Refusal::Signature(_)));
    let signature = disk.look.iter().flatten().find_map(|it| it.signature.as_ref());
    let is_of_others = |it: &&Signature| {
        matches!(it.family, Family::Raid | Family::PhysicalVolume | Family::Zfs | Family::Bcache)
    };
    if found.is_empty() {
        found.extend(signature.filter(is_of_others).cloned().map(Refusal::Signature));
    }
    found
}

fn of_use(use_: &Use) -> Refusal {
    match use_ {
        Use::Mounted { device, at } => {
            let (device, at) = (device.clone(), at.display().to_string());
            let is_system = SYSTEM.contains(&at.as_str()) || Path::new(&at).starts_with("/boot");
            match is_system {
                true => Refusal::System { device, at },
                false => Refusal::Mounted { device, at },
            }
        }
        Use::Partitioned(names) => Refusal::Partitions(names.clone()),
        Use::PathOf(map) => Refusal::MultipathPath(map.clone()),
        Use::Below(what) => Refusal::InUse(format!("it is below {what}")),
    }
}

fn of_group(physical: &SeenPhysicalVolume, owner: &Owner) -> Option<Refusal> {
    let group = physical.group.as_ref()?;
    let whose = match owner.whose(&group.tags) {
        Whose::Ours(pool) => format!("that of this node's pool {pool}"),
        Whose::Other(other) => other.to_string(),
        Whose::NotTarns => String::new(),
    };
    Some(Refusal::OtherGroup { group: group.name.to_string(), whose })
}

fn of_content(disk: &Disk, survey: &Survey, mark: &PvMark) -> Option<Refusal> {
    if disk.physical.as_ref().is_some_and(|it| it.group.is_some()) {
        return None;
    }
    match disk.look.as_ref() {
        None if disk.device.suspended => {
            Some(Refusal::Unreadable("its I/O is suspended".to_owned()))
        }
        None => Some(Refusal::Unreadable("nobody has looked at it".to_owned())),
        Some(Err(why)) => Some(Refusal::Unreadable(why.clone())),
        Some(Ok(look)) if is_unfinished(disk, look, mark) => None,
        Some(Ok(look)) if is_emptied(disk, look, survey, mark) => None,
        Some(Ok(look)) => of_look(look),
    }
}

/// What is against a disk on which this was found.
pub(super) fn of_look(look: &Look) -> Option<Refusal> {
    match &look.signature {
        Some(signature) => Some(Refusal::Signature(signature.clone())),
        None if look.edges == Edges::Zero => None,
        None => Some(Refusal::NotEmpty),
    }
}

/// Whether it is a physical volume of this pool's that has not come into its group: made by us, and
/// never in a group that had a volume.
fn is_unfinished(disk: &Disk, look: &Look, mark: &PvMark) -> bool {
    look.edges == Edges::OnlyLabel && is_ours(disk, look, mark)
}

/// Whether it is a physical volume of this pool's that has left its group, emptied.
fn is_emptied(disk: &Disk, look: &Look, survey: &Survey, mark: &PvMark) -> bool {
    is_ours(disk, look, mark) && has_left(disk, survey)
}

/// Whether it is a physical volume in no group that was made for this pool.
fn is_ours(disk: &Disk, look: &Look, mark: &PvMark) -> bool {
    let is_marked = |it: &SeenPhysicalVolume| it.group.is_none() && mark.is_on(&it.uuid);
    let is_lvm = look.signature.as_ref().is_some_and(|it| it.family == Family::PhysicalVolume);
    is_lvm && disk.physical.as_ref().is_some_and(is_marked)
}

/// Whether it is already the physical volume that taking it for the pool would make of it.
pub(super) fn is_made(disk: &Disk, mark: &PvMark) -> bool {
    matches!(&disk.look, Some(Ok(look)) if is_unfinished(disk, look, mark))
}

/// Other whole disks with the same identity: the world wide name, or, without one, model and serial.
fn twins(device: &BlockDevice, survey: &Survey) -> Vec<String> {
    if device.kind != Some(DeviceType::Disk) {
        return Vec::new();
    }
    let is_same = |other: &BlockDevice| match (&device.wwn, &other.wwn) {
        (Some(one), Some(other)) => one == other,
        (None, None) => {
            device.serial.is_some()
                && (&device.model, &device.serial) == (&other.model, &other.serial)
        }
        _ => false,
    };
    let others = survey.disks.iter().map(|it| &it.device);
    let others = others.filter(|it| it.kind == Some(DeviceType::Disk) && it.name != device.name);
    others.filter(|it| is_same(it)).map(|it| it.path.display().to_string()).collect()
}

/// Reasons as one sentence.
pub fn sentence(why: &[Refusal]) -> String {
    let mut seen = BTreeMap::new();
    let mut parts = Vec::new();
    for refusal in why {
        let text = refusal.to_string();
        if seen.insert(text.clone(), ()).is_none() {
            parts.push(text);
        }
    }
    parts.join("; ")
}
