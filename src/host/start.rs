//! The start: pools are opened, and what was half done when the last life ended is put right.

use std::{
    io,
    sync::{Arc, Mutex, RwLock},
    thread,
    time::Duration,
};

use super::{
    Host, Tools,
    chores::Chores,
    copy::Copies,
    disks::Disks,
    is_finished,
    ledger::Ledger,
    pool::{Books, Pool, THIN_POOL},
    thin_pool::{ensure_thin_pool, wake_thin_pool},
    trash::Wiping,
    trims::Trims,
};
use crate::{
    device,
    fs::{self, Content},
    lvm::{self, CreateGroup, CreatePhysicalVolume, Group, LvName, PvMark, VgName, is_whole},
    pool::{LoopFile, PoolEntry, Reserves, Sequence, capacity::metadata_size},
    units::Bytes,
    volume::{Error, NodeId, PoolName, Turns, VolumeId, chain},
};

/// The oldest LVM that has everything used here, thin snapshots' activation skip and JSON reports
/// among it, in the behaviour that the tests saw.
const OLDEST_LVM: (u32, u32, u32) = (2, 3, 11);

/// When what something else is in the way of is tried again, at first and at the latest.
const SOON: Duration = Duration::from_millis(200);
const LATE: Duration = Duration::from_secs(30);

/// Why a machine cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// LVM is not there or cannot be asked.
    #[error("LVM cannot be used; is the package lvm2 installed, and is this root?")]
    NoLvm(#[source] lvm::Error),
    /// LVM is too old.
    #[error("LVM {found} is too old; {} or newer is needed (package lvm2)", version(OLDEST_LVM))]
    OldLvm {
        /// The version that is there.
        found: String,
    },
    /// A pool's volume group cannot be opened.
    #[error("pool {pool}: {why}")]
    Pool {
        /// The pool.
        pool: PoolName,
        /// What was tried, and what to do.
        why: String,
        /// Why it failed, when a tool said so.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A pool's disks are being wiped first, as its spec says. It is served when that is done.
    #[error("pool {pool}: its disks are being wiped; it is served when that is done")]
    Wiping {
        /// The pool.
        pool: PoolName,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

fn version((major, minor, patch): (u32, u32, u32)) -> String {
    format!("{major}.{minor:02}.{patch:02}")
}

impl Host {
    /// Opens every pool and puts right what was half done. Devices that are put aside are left alone.
    ///
    /// # Errors
    /// [`StartError`] says what to do about it; any pool that cannot be opened is one, but for those
    /// whose disks are being wiped first.
    pub fn open(
        tools: Tools,
        node: NodeId,
        creator: &str,
        pools: Vec<PoolEntry>,
        (sequence, reserves): (&Arc<Sequence>, Arc<dyn Reserves>),
    ) -> Result<Self, StartError> {
        let found = tools.lvm.version().map_err(StartError::NoLvm)?;
        if found < OLDEST_LVM {
            return Err(StartError::OldLvm { found: version(found) });
        }
        let host = Self::new(tools, node, creator, (sequence, reserves));
        let is_later = |it: &StartError| matches!(it, StartError::Wiping { .. });
        match host.set_pools(pools).into_values().find(|it| !is_later(it)) {
            Some(failed) => Err(failed),
            None => Ok(host),
        }
    }

    /// A host that has no pools yet.
    pub(super) fn new(
        tools: Tools,
        node: NodeId,
        creator: &str,
        (sequence, reserves): (&Arc<Sequence>, Arc<dyn Reserves>),
    ) -> Self {
        Self {
            tools,
            node,
            creator: creator.to_owned(),
            pools: RwLock::default(),
            wanted: Mutex::default(),
            sequence: Arc::clone(sequence),
            reserves,
            chores: Chores::default(),
            copies: Copies::default(),
            wiping: Wiping::default(),
            trims: Trims::default(),
            disks: Disks::default(),
            unserved: Mutex::default(),
        }
    }

    /// Starts the background work: small chores, wiping, looking at disks, and in their volumes' turns trimming
    /// and copies that a crash cut short. All of it ends after [`Host::stop`].
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn start_background(
        self: &Arc<Self>,
        turns: &Turns,
    ) -> Result<Vec<thread::JoinHandle<()>>, StartError> {
        let mut threads = Vec::new();
        let mut begin = |name: &str, work: Box<dyn FnOnce(&Self) + Send>| {
            let host = Arc::clone(self);
            let thread = thread::Builder::new().name(name.to_owned());
            let begun = thread.spawn(move || work(&host)).map_err(StartError::Thread);
            begun.map(|thread| threads.push(thread))
        };
        begin("chores", Box::new(Self::do_chores))?;
        begin("trash", Box::new(Self::empty_trash))?;
        begin("disks", Box::new(Self::watch_disks))?;
        let for_trims = turns.clone();
        begin("trim", Box::new(move |host| host.trim_now_and_then(&for_trims)))?;
        let turns = turns.clone();
        begin("resume", Box::new(move |host| host.finish_unfinished(&turns)))?;
        Ok(threads)
    }

    /// Has the background finish and wipe what an earlier life left in a pool that was just opened.
    pub(super) fn take_up_unfinished(&self, pool: &Pool) {
        self.chores.trash_soon();
        if !pool.read(Ledger::is_whole) {
            self.chores.report_soon(&pool.name);
        }
        let unfinished: Vec<VolumeId> = pool.read(|ledger| {
            let all = ledger.records("v-", None);
            let unfinished = all.filter(|(lv, record)| !is_finished(lv, record));
            unfinished.filter_map(|(lv, _)| lv.name.as_str().parse().ok()).collect()
        });
        self.chores.resume(unfinished);
    }

    /// Finishes volumes whose making was cut short, one after the other, until [`Host::stop`]. One
    /// that a call has in hand is that call's.
    fn finish_unfinished(&self, turns: &Turns) {
        let mut pause = SOON;
        while let Some(id) = self.chores.await_unfinished() {
            let Ok(turn) = turns.take(id.as_str()) else { continue };
            let is_over = self.resume(&id);
            drop(turn);
            if is_over {
                pause = SOON;
                continue;
            }
            self.chores.resume(vec![id]);
            self.chores.rest(pause);
            pause = (pause * 2).min(LATE);
        }
    }

    /// Finishes one of them; nobody was told that it exists, so an error is only logged, and the
    /// caller's next call meets it again. False when it is to be tried again: what is in its way, such
    /// as an earlier snapshot that is being wiped, goes by itself.
    fn resume(&self, id: &VolumeId) -> bool {
        let Some(found) = self.volume(id) else { return true };
        tracing::info!(volume = %id, "finishing what a restart cut short");
        let Err(err) = self.finish_or_undo(&found) else { return true };
        tracing::warn!(volume = %id, error = chain(&err), "not finished yet");
        !matches!(err, Error::Busy(_))
    }
}

/// Why a pool cannot be opened, without its name.
pub(super) struct Failed {
    why: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failed {
    /// What only the spec or the machine can mend.
    pub(super) fn plainly(why: impl Into<String>) -> Self {
        Self { why: why.into(), source: None }
    }

    /// Why, in one line.
    pub(super) fn why(&self) -> String {
        match &self.source {
            None => self.why.clone(),
            Some(source) => format!("{}: {}", self.why, chain(&**source)),
        }
    }

    pub(super) fn because(
        why: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { why: why.into(), source: Some(Box::new(source)) }
    }
}

impl From<Error> for Failed {
    fn from(err: Error) -> Self {
        Self::because("it cannot be opened", err)
    }
}

impl Host {
    /// Opens a pool, with the books of its group if there are some.
    pub(super) fn open_pool(
        &self,
        wanted: &PoolEntry,
        books: Option<Arc<Books>>,
    ) -> Result<Pool, StartError> {
        let name = &wanted.name;
        let open = || {
            if wanted.spec.devices.is_some() {
                let no_disks = |why| match self.is_wiping_for(name) {
                    true => StartError::Wiping { pool: name.clone() },
                    false => StartError::Pool { pool: name.clone(), why, source: None },
                };
                self.ensure_has_disks(name).map_err(no_disks)?;
            }
            open_group(&self.tools, wanted).map_err(|failed| StartError::Pool {
                pool: name.clone(),
                why: failed.why,
                source: failed.source,
            })
        };
        let (thin, books) = match books {
            Some(books) => {
                let change = books.change();
                let (thin, group) = open()?;
                change.enter_report(group);
                drop(change);
                (thin, books)
            }
            None => {
                let (thin, group) = open()?;
                (thin, Books::new(group, &self.sequence))
            }
        };
        Ok(Pool::new(name.clone(), wanted.spec.clone(), thin, books))
    }
}

/// The volume group of a pool, made if it is to be, with its thin pool.
fn open_group(tools: &Tools, wanted: &PoolEntry) -> Result<(LvName, Group), Failed> {
    let thin: LvName =
        THIN_POOL.parse().map_err(|err| Failed::because("naming its thin pool", err))?;
    let vg = wanted.group();
    let PoolEntry { name, spec } = wanted;
    let group = match (&spec.volume_group, &spec.loop_file) {
        (Some(vg), _) => tools.lvm.report(vg).map_err(|err| {
            let hint = format!("make it with `vgcreate {vg} DISK...`, or name one that exists");
            Failed::because(format!("volume group {vg} cannot be read; {hint}"), err)
        })?,
        (None, Some(file)) => open_loop_file(tools, &vg, name, file)?,
        (None, None) => tools
            .lvm
            .report(&vg)
            .map_err(|err| Failed::because(format!("volume group {vg} cannot be read"), err))?,
    };
    if let Err(err) = tools.lvm.activate_group(&vg) {
        // Volumes that can be activated are; each of the others is looked at below.
        tracing::warn!(pool = %name, error = chain(&err), "not every volume could be activated");
    }
    let is_whole = is_whole(&group.physical);
    if !is_whole {
        tracing::warn!(pool = %name, "a disk of its volume group is missing");
    }
    // In a group that misses a disk LVM makes nothing and lets nothing grow; what there is is served.
    if is_whole {
        ensure_thin_pool(&*tools.lvm, group, &thin, spec)?;
    }
    let group = tools
        .lvm
        .report(&vg)
        .map_err(|err| Failed::because(format!("volume group {vg} cannot be read"), err))?;
    match wake_thin_pool(&*tools.lvm, &group, &thin) {
        true => Ok((thin, tools.lvm.report(&vg).unwrap_or(group))),
        false => Ok((thin, group)),
    }
}

/// Opens the group on a loop file, which is made where there is none.
fn open_loop_file(
    tools: &Tools,
    vg: &VgName,
    name: &PoolName,
    file: &LoopFile,
) -> Result<Group, Failed> {
    fs::paths::ensure_directory(&file.directory)
        .map_err(|err| Failed::because("its directory cannot be made", err))?;
    let image = file.directory.join(format!("{vg}.img"));
    let device = tools
        .devices
        .ensure_loop(&image, file.size)
        .map_err(|err: device::Error| Failed::because("its loop file cannot be attached", err))?;
    match tools.lvm.report(vg) {
        Ok(_) => tools
            .lvm
            .resize_physical_volume(&device)
            .map_err(|err| Failed::because("its physical volume cannot be grown", err))?,
        Err(lvm::Error::NoGroup { .. }) => make_group(tools, vg, name, &device, file.size)?,
        Err(err) => return Err(Failed::because(format!("group {vg} cannot be read"), err)),
    }
    tools
        .lvm
        .report(vg)
        .map_err(|err| Failed::because(format!("the new group {vg} cannot be read"), err))
}

fn make_group(
    tools: &Tools,
    vg: &VgName,
    pool: &PoolName,
    device: &std::path::Path,
    size: Bytes,
) -> Result<(), Failed> {
    let content = tools
        .fs
        .probe(device)
        .map_err(|err| Failed::because("its loop file cannot be read", err))?;
    if content != Content::Nothing {
        let why = format!(
            "its loop file holds {content}, and is left as it is; move it away or name another directory"
        );
        return Err(Failed::plainly(why));
    }
    let tags = [format!("tarn.pool={pool}")];
    let physical = CreatePhysicalVolume {
        device: device.to_path_buf(),
        mark: PvMark::of(&format!("loop file of {vg}")),
        metadata: metadata_size(size),
    };
    let wanted = CreateGroup {
        vg: vg.clone(),
        devices: vec![device.to_path_buf()],
        tags: tags.iter().filter_map(|tag| tag.parse().ok()).collect(),
    };
    let made = tools.lvm.create_physical_volume(&physical);
    let made = made.and_then(|()| tools.lvm.create_group(&wanted));
    made.map_err(|err| Failed::because(format!("group {vg} cannot be made"), err))
}
