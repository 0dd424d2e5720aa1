//! Which entry is meant, and whether what it leads to may be adopted, or released. Pure.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    device::BlockDevice,
    fs::{FsKind, Mount},
    pool::{
        PoolEntry,
        plan::{Refusal, against_adopting, sentence},
        survey::{Disk, Survey},
    },
    volume::{Adoption, Error, PoolName, Purpose, VolumeId},
    whole::{
        Found,
        entries::{Entry, Leads, same_place},
        judge::{Claim, no_device},
        mounted,
        pool::Pool,
        record::Record,
    },
};

/// A path that somebody has said, and the device to which it leads.
pub(super) struct Named<'a> {
    pub(super) path: &'a Path,
    pub(super) number: Option<(u64, u64)>,
}

/// What is meant.
pub(super) enum Meant {
    /// A volume that has all that it is to have.
    Done(Found),
    /// An entry of a pool, whose device is no volume yet.
    New(Arc<Pool>, Entry),
}

/// That something is not adopted.
pub(super) fn not(path: &Path, why: &str) -> Error {
    Error::Precondition(format!("{} is not adopted: {why}", path.display()))
}

fn used(path: &Path, why: &str) -> Error {
    Error::InUse(format!("{} is in use: {why}", path.display()))
}

/// The entry that is meant, and its pool, of those that are to be here.
///
/// # Errors
/// Where none is, or more than one pool has it.
pub(super) fn entry<'a>(
    all: &'a [(PoolName, Vec<Entry>)],
    pools: &[PoolEntry],
    named: &Named<'_>,
) -> Result<(&'a PoolName, &'a Entry), Error> {
    let each = || all.iter().flat_map(|(pool, all)| all.iter().map(move |it| (pool, it)));
    let mut so_called = each().filter(|(_, it)| same_place(&it.path, named.path));
    match (so_called.next(), so_called.next()) {
        (Some(one), None) => Ok(one),
        (Some((one, _)), Some((other, _))) => {
            let why = format!(
                "pools {one} and {other} both have it; have one of them say another `namePattern`"
            );
            Err(not(named.path, &why))
        }
        (None, _) => {
            let leads_there =
                |it: &&Entry| named.number.is_some_and(|number| it.leads == Leads::Device(number));
            let other = each().find(|(_, it)| leads_there(it));
            Err(no_entry(pools, named.path, other))
        }
    }
}

/// That a path is that of no entry, and what to do about it; `other` leads to the same device.
fn no_entry(pools: &[PoolEntry], path: &Path, other: Option<(&PoolName, &Entry)>) -> Error {
    if let Some((pool, other)) = other {
        let other = other.path.display();
        let why = format!("pool {pool} has the same device as {other}; adopt that");
        return not(path, &why);
    }
    let whole = |it: &PoolEntry| Some((it.name.clone(), it.spec.whole_devices.clone()?));
    let first = pools.iter().find_map(whole);
    let Some((pool, directory)) =
        first.and_then(|(pool, whole)| Some((pool, whole.directories.into_iter().next()?)))
    else {
        let why = "this node has no pool of whole devices; make one (wholeDevices), with a directory that has it";
        return not(path, why);
    };
    let name = path.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    let inside = directory.join(name);
    let (path_, directory, inside) = (path.display(), directory.display(), inside.display());
    not(
        path,
        &format!(
            "it is in no directory of this node's pools of whole devices. Link it into {directory} of pool {pool} \
             first (ln -s {path_} {directory}/), and adopt {inside}; of a file system, mount it there"
        ),
    )
}

/// The number of the device of an entry, or of that below its mount.
///
/// # Errors
/// Where it has none, or two pools do.
pub(super) fn number(
    all: &[(PoolName, Vec<Entry>)],
    pool: &PoolName,
    entry: &Entry,
) -> Result<(u64, u64), Error> {
    let Some(number) = entry.leads.number() else {
        return Err(not(&entry.path, &no_device(&entry.leads)));
    };
    let of_others = all.iter().filter(|(name, _)| name != pool);
    let mut of_others = of_others.flat_map(|(name, all)| all.iter().map(move |it| (name, it)));
    match of_others.find(|(_, it)| it.leads.number() == Some(number)) {
        None => Ok(number),
        Some((name, other)) => {
            let why = format!(
                "{}, which is {} of pool {name}; take one of them away",
                entry.leads.same_as("another"),
                other.path.display()
            );
            Err(not(&entry.path, &why))
        }
    }
}

/// That the volume which has the device is the one that is wanted, and was adopted; `record` is of one in the pool.
///
/// # Errors
/// Whose it is.
pub(super) fn ensure_adopted(
    path: &Path,
    id: &VolumeId,
    claim: &Claim,
    record: Option<&Record>,
) -> Result<(), Error> {
    let is = format!("it is volume {} of pool {} already", claim.id, claim.pool);
    match record {
        Some(record) if record.deleted => {
            Err(not(path, &format!("{is}, which was deleted through Tarn, and is being wiped")))
        }
        Some(record) if claim.id == *id && record.adopted => Ok(()),
        Some(record) if record.adopted => {
            let name = record.name.as_str();
            let why = format!("{is}, adopted as {name}; release that first (tarn release {name})");
            Err(not(path, &why))
        }
        Some(_) => Err(not(path, &format!("{is}, and was made by Tarn"))),
        None => Err(not(path, &is)),
    }
}

/// That the name is taken, by a volume of this pool.
pub(super) fn taken(path: &Path, id: &VolumeId, pool: &str) -> Error {
    let why = format!(
        "the name is taken: there is a volume {id} in pool {pool}, which is its id; adopt it under another name"
    );
    not(path, &why)
}

/// The device of an entry, and what is known of it.
///
/// # Errors
/// Where the kernel shows none with a size.
pub(super) fn disk<'a>(survey: &'a Survey, entry: &Entry) -> Result<&'a Disk, Error> {
    let is_its = |it: &&Disk| entry.leads.number() == Some(it.device.number);
    let disk = survey.disks.iter().find(is_its);
    disk.ok_or_else(|| match entry.leads.mount() {
        None => not(&entry.path, "its device has no size"),
        Some(_) => not(&entry.path, &no_device(&entry.leads)),
    })
}

/// Refuses a device for what it is, or is used for.
///
/// # Errors
/// All that speaks against it.
pub(super) fn ensure_adoptable(
    path: &Path,
    device: &BlockDevice,
    survey: &Survey,
) -> Result<(), Error> {
    let Some(disk) = survey.disks.iter().find(|it| it.device.number == device.number) else {
        return Err(not(path, "its device is gone"));
    };
    let why = against_adopting(disk, survey);
    match why.is_empty() {
        true => Ok(()),
        false if why.iter().any(Refusal::is_use) => Err(used(path, &sentence(&why))),
        false => Err(not(path, &sentence(&why))),
    }
}

/// Refuses a mount that is read-only, or whose file system is used at another place, too.
///
/// # Errors
/// Where.
pub(super) fn ensure_mount_unused(
    path: &Path,
    mount: &Mount,
    mounts: &[Mount],
) -> Result<(), Error> {
    if let Some(why) = mounted::read_only(mount) {
        return Err(not(path, &why));
    }
    let in_use = mounted::in_use(mount, mounts, &[&mount.at]);
    in_use.map_or(Ok(()), |why| Err(used(path, &why)))
}

/// A mount can only be what it is.
///
/// # Errors
/// What it is.
pub(super) fn ensure_as_mounted(
    path: &Path,
    kind: FsKind,
    wanted: &Adoption<PathBuf>,
) -> Result<(), Error> {
    if wanted.wipe.is_some() {
        let why = "what is mounted there is emptied when it is deleted, and has no other wipe; leave that out";
        return Err(not(path, why));
    }
    match wanted.purpose {
        None => Ok(()),
        Some(said) if said == Purpose::Filesystem(kind) => Ok(()),
        Some(said) => {
            let is = Purpose::Filesystem(kind);
            let why = format!(
                "{is} is mounted there, and it cannot be {said}; unmount it, and link its device there instead"
            );
            Err(not(path, &why))
        }
    }
}

/// Refuses a file system on several devices: the record would know one of them.
///
/// # Errors
/// [`Error::Precondition`].
pub(super) fn ensure_on_one(path: &Path, devices: u64) -> Result<(), Error> {
    match devices {
        0 | 1 => Ok(()),
        several => Err(not(path, &format!("its file system lies on {several} devices"))),
    }
}

/// Refuses what could not be told from others: `found` is what is found again by the record.
///
/// # Errors
/// [`Error::Precondition`].
pub(super) fn ensure_alone(
    path: &Path,
    device: &BlockDevice,
    found: &[BlockDevice],
) -> Result<(), Error> {
    let mut others = found.iter().filter(|it| it.number != device.number);
    let is_found = found.iter().any(|it| it.number == device.number);
    match others.next() {
        None if is_found => Ok(()),
        None => Err(not(path, "its device could not be found again")),
        Some(other) => {
            let other = other.path.display();
            Err(not(path, &format!("it cannot be told from {other}, which has the same identity")))
        }
    }
}

/// Refuses to release what was not adopted, or is being wiped.
///
/// # Errors
/// [`Error::Precondition`].
pub(super) fn ensure_releasable(id: &VolumeId, record: &Record) -> Result<(), Error> {
    let why = match (record.adopted, record.deleted) {
        (true, false) => return Ok(()),
        (true, true) => "was deleted, and is being wiped",
        (false, _) => {
            "was not adopted: it was made by Tarn, and there is nobody to hand it back to"
        }
    };
    Err(Error::Precondition(format!("volume {id} {why}")))
}
