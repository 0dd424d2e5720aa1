//! This machine and all its pools, whatever their kind: each call goes to the kind that it concerns.

mod adoption;
mod local;

pub use adoption::{Beside, beside};
pub use local::LocalProvisioner;

use std::{collections::BTreeMap, path::Path, sync::Arc, thread};

use crate::{
    folder::Folders,
    host::{self, Host, StartError, Tools},
    pool::{
        CopyProgress, DeviceEntry, Kept, KnownGroups, PoolEntry, PoolKind, PoolStatus, Sequence,
        owner::Owner, pick, plan::Plan,
    },
    units::Bytes,
    volume::{
        Capacity, Error, NodeId, Parameters, PoolName, Publish, SizeRange, Snapshot,
        SnapshotFilter, SnapshotId, Source, Stage, Stats, Turns, Volume, VolumeId, Wanted,
        WantedSnapshot,
    },
    whole::WholeDevices,
};

/// This machine and its pools.
pub struct Machine {
    node: NodeId,
    sequence: Arc<Sequence>,
    /// The pools that are volume groups.
    groups: Arc<Host>,
    /// The pools whose volumes are directories.
    folders: Arc<Folders>,
    /// The pools whose volumes are whole devices.
    whole: Arc<WholeDevices>,
    /// Every kind of pool; the groups are the first.
    kinds: Vec<Arc<dyn PoolKind>>,
}

/// What the machine looks like now.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Up to which change this is true at least: [`Machine::sequence`].
    pub sequence: u64,
    /// Every pool that is served.
    pub pools: Vec<PoolStatus>,
    /// Every copy that runs.
    pub copies: Vec<CopyProgress>,
}

impl Machine {
    /// Opens every pool and puts right what was half done. What pools keep in directories is below `home`.
    ///
    /// # Errors
    /// [`StartError`] says what to do about it; any pool that cannot be opened is one, but for those
    /// whose disks are being wiped first.
    pub fn open(
        tools: Tools,
        node: NodeId,
        creator: &str,
        pools: Vec<PoolEntry>,
        home: &Path,
    ) -> Result<Self, StartError> {
        let sequence = Arc::default();
        let ByKind { groups, folders: of_folders, whole: of_whole } = by_kind(pools);
        let (fs, devices, clock) = (Arc::clone(&tools.fs), Arc::clone(&tools.devices), tools.clock);
        let of_fs = || (Arc::clone(&fs), Arc::clone(&devices));
        let whole =
            Arc::new(WholeDevices::new(of_fs(), clock, node.clone(), home.to_owned(), &sequence));
        // Before any pool takes disks it is known which are put aside.
        ensure_all(whole.serve(of_whole))?;
        let reserves = Arc::clone(&whole) as _;
        let groups = Host::open(tools, node.clone(), creator, groups, (&sequence, reserves))?;
        let groups = Arc::new(groups);
        let folders =
            Arc::new(Folders::new(of_fs(), clock, node.clone(), home.to_owned(), &sequence));
        ensure_all(folders.serve(of_folders))?;
        let kinds: Vec<Arc<dyn PoolKind>> =
            vec![Arc::clone(&groups) as _, Arc::clone(&folders) as _, Arc::clone(&whole) as _];
        Ok(Self { node, sequence, groups, folders, whole, kinds })
    }

    /// The node that this machine is.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// The pools that are volume groups, and the disks below them.
    pub fn groups(&self) -> &Arc<Host> {
        &self.groups
    }

    /// Starts the background work, which ends after [`Machine::stop`].
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn start_background(
        &self,
        turns: &Turns,
    ) -> Result<Vec<thread::JoinHandle<()>>, StartError> {
        let mut threads = self.groups.start_background(turns)?;
        threads.push(self.folders.start_background().map_err(StartError::Thread)?);
        threads.extend(self.whole.start_background().map_err(StartError::Thread)?);
        Ok(threads)
    }

    /// No more background work; what runs comes to its next safe point.
    pub fn stop(&self) {
        self.groups.stop();
        self.folders.stop();
        self.whole.stop();
    }

    /// Serves these pools from now on; see [`PoolKind::serve`].
    pub fn set_pools(&self, wanted: Vec<PoolEntry>) -> BTreeMap<PoolName, String> {
        let ByKind { groups, folders, whole } = by_kind(wanted);
        let mut failed = self.folders.serve(folders);
        failed.extend(self.whole.serve(whole));
        failed.extend(self.groups.serve(groups));
        failed
    }

    /// Whether volumes here can be copied and have snapshots: those of any pool, or of none that there is yet.
    pub fn copies(&self) -> bool {
        self.kinds.iter().any(|kind| kind.can_copy())
            || self.kinds.iter().all(|kind| kind.served().is_empty())
    }

    /// Pools that are to be here and are not served, or not as their spec says now, and why.
    pub fn unserved(&self) -> BTreeMap<PoolName, String> {
        self.kinds.iter().flat_map(|kind| kind.unserved()).collect()
    }

    /// Whether there is a pool of this name, open.
    pub fn serves_pool(&self, name: &str) -> bool {
        self.kinds.iter().any(|kind| kind.served().iter().any(|it| it.as_str() == name))
    }

    /// The kind of pool that has the volume, if there is one.
    fn keeper(&self, id: &VolumeId) -> Option<&dyn PoolKind> {
        self.kinds.iter().find(|kind| kind.has(id)).map(|kind| &**kind)
    }

    /// As [`Machine::keeper`], of a volume that must be there. One that was adopted or released beside is known then.
    fn keeper_of(&self, id: &VolumeId) -> Result<&dyn PoolKind, Error> {
        self.whole.look_for(id);
        if self.keeper(id).is_none() {
            self.groups.look_for(id);
        }
        self.known_keeper_of(id)
    }

    fn known_keeper_of(&self, id: &VolumeId) -> Result<&dyn PoolKind, Error> {
        self.keeper(id).ok_or_else(|| Error::NotFound(format!("volume {id}")))
    }

    /// Makes the volume, or finishes or finds the one that an earlier call made.
    ///
    /// # Errors
    /// As [`PoolKind::create`].
    pub fn create(&self, wanted: &Wanted) -> Result<Volume, Error> {
        self.maker(wanted)?.create(wanted)
    }

    /// The kind of pool that a volume is made in: where it or its source is already, else that of its pool.
    fn maker(&self, wanted: &Wanted) -> Result<&dyn PoolKind, Error> {
        if let Some(kind) = self.keeper(&VolumeId::of(&wanted.name)) {
            return Ok(kind);
        }
        match &wanted.source {
            Some(Source::Snapshot(id)) => {
                let gone = || Error::NotFound(format!("the source, snapshot {id},"));
                return self.snapshot_keeper(id).ok_or_else(gone);
            }
            Some(Source::Volume(id)) => {
                let gone = || Error::NotFound(format!("the source, volume {id},"));
                return self.keeper(id).ok_or_else(gone);
            }
            None => (),
        }
        let pools: Vec<(PoolName, &Arc<dyn PoolKind>)> = self
            .kinds
            .iter()
            .flat_map(|kind| kind.served().into_iter().map(move |pool| (pool, kind)))
            .collect();
        let picked = pick(&pools, |(pool, _)| pool, wanted.parameters.pool.as_ref(), "this node")?;
        Ok(&**picked.1)
    }

    /// Deletes a volume; one that is gone is fine.
    ///
    /// # Errors
    /// As [`PoolKind::delete`].
    pub fn delete(&self, id: &VolumeId) -> Result<(), Error> {
        self.keeper(id).map_or(Ok(()), |kind| kind.delete(id))
    }

    /// Grows a volume.
    ///
    /// # Errors
    /// [`Error::NotFound`], and as [`PoolKind::expand`].
    pub fn expand(&self, id: &VolumeId, size: SizeRange) -> Result<Volume, Error> {
        self.keeper_of(id)?.expand(id, size)
    }

    /// The volume, if it is there and finished.
    pub fn find(&self, id: &VolumeId) -> Option<Volume> {
        self.kinds.iter().find_map(|kind| kind.find(id))
    }

    /// Finished volumes after `after` in the order of their ids, at most `most`.
    pub fn volumes(&self, after: Option<&VolumeId>, most: usize) -> Vec<Volume> {
        let mut all: Vec<_> =
            self.kinds.iter().flat_map(|kind| kind.volumes(after, most)).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.truncate(most);
        all
    }

    /// How much room there is for volumes of these parameters, from memory. What cannot be made here at all has
    /// no room: GetCapacity is asked for every class of every driver's making, and an error would only be asked
    /// again.
    pub fn capacity(&self, parameters: &Parameters, node: Option<&NodeId>) -> Capacity {
        if node.is_some_and(|node| *node != self.node) {
            return Capacity::default();
        }
        self.kinds.iter().map(|kind| kind.capacity(parameters)).sum()
    }

    /// Takes a snapshot, or finds the one that an earlier call took.
    ///
    /// # Errors
    /// As [`PoolKind::snapshot`].
    pub fn snapshot(&self, wanted: &WantedSnapshot) -> Result<Snapshot, Error> {
        if let Some(kind) = self.snapshot_keeper(&SnapshotId::of(&wanted.name)) {
            return kind.snapshot(wanted);
        }
        let gone = || Error::NotFound(format!("volume {}", wanted.source));
        self.keeper(&wanted.source).ok_or_else(gone)?.snapshot(wanted)
    }

    /// The kind of pool that has the snapshot, if there is one.
    fn snapshot_keeper(&self, id: &SnapshotId) -> Option<&dyn PoolKind> {
        self.kinds.iter().find(|kind| kind.has_snapshot(id)).map(|kind| &**kind)
    }

    /// Deletes a snapshot; one that is gone is fine.
    ///
    /// # Errors
    /// As [`PoolKind::delete_snapshot`].
    pub fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), Error> {
        self.snapshot_keeper(id).map_or(Ok(()), |kind| kind.delete_snapshot(id))
    }

    /// Snapshots after `after` that pass the filter, at most `most`.
    pub fn snapshots(
        &self,
        filter: &SnapshotFilter,
        after: Option<&SnapshotId>,
        most: usize,
    ) -> Vec<Snapshot> {
        let of_kind = |kind: &Arc<dyn PoolKind>| kind.snapshots(filter, after, most);
        let mut all: Vec<_> = self.kinds.iter().flat_map(of_kind).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.truncate(most);
        all
    }

    /// Makes the volume ready on this node.
    ///
    /// # Errors
    /// [`Error::NotFound`], and as [`PoolKind::stage`].
    pub fn stage(&self, wanted: &Stage) -> Result<(), Error> {
        self.keeper_of(&wanted.id)?.stage(wanted)
    }

    /// Takes the volume off its staging path; one that is not here is not there.
    ///
    /// # Errors
    /// As [`PoolKind::unstage`].
    pub fn unstage(&self, id: &VolumeId, at: &Path) -> Result<(), Error> {
        self.keeper(id).map_or(Ok(()), |kind| kind.unstage(id, at))
    }

    /// Makes a staged volume appear at a path.
    ///
    /// # Errors
    /// [`Error::NotFound`], and as [`PoolKind::publish`].
    pub fn publish(&self, wanted: &Publish) -> Result<(), Error> {
        self.keeper_of(&wanted.id)?.publish(wanted)
    }

    /// Takes the volume off a path. What is at the path of a volume that is not here is not ours.
    ///
    /// # Errors
    /// As [`PoolKind::unpublish`].
    pub fn unpublish(&self, id: &VolumeId, at: &Path) -> Result<(), Error> {
        self.keeper(id).map_or(Ok(()), |kind| kind.unpublish(id, at))
    }

    /// Has what is mounted take up what the volume has grown by.
    ///
    /// # Errors
    /// [`Error::NotFound`], and as [`PoolKind::node_expand`].
    pub fn node_expand(&self, id: &VolumeId, at: &Path, size: SizeRange) -> Result<Bytes, Error> {
        self.keeper_of(id)?.node_expand(id, at, size)
    }

    /// How full a volume is that is staged or published at `at`.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn stats(&self, id: &VolumeId, at: &Path) -> Result<Stats, Error> {
        self.known_keeper_of(id)?.stats(id, at)
    }

    /// What the machine looks like now.
    pub fn status(&self) -> Status {
        let sequence = self.sequence();
        let pools = self.kinds.iter().flat_map(|kind| kind.status()).collect();
        let copies = self.kinds.iter().flat_map(|kind| kind.copies()).collect();
        Status { sequence, pools, copies }
    }

    /// How far the changes of all pools have come: see [`Sequence::now`].
    pub fn sequence(&self) -> u64 {
        self.sequence.now()
    }

    /// Has `listener` called after every change: see [`Sequence::on_change`].
    pub fn on_change(&self, listener: impl Fn(u64) + Send + Sync + 'static) {
        self.sequence.on_change(listener);
    }

    /// The finished volumes and snapshots whose ids are `wanted`, in no order.
    pub fn kept(&self, wanted: impl Fn(&str) -> bool) -> Vec<Kept> {
        self.kinds.iter().flat_map(|kind| kind.kept(&wanted)).collect()
    }

    /// The finished volume or snapshot of this id in this pool, as it is now: somebody may have removed it by
    /// hand a moment ago.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of a pool that cannot be read.
    pub fn kept_now(&self, pool: &str, id: &str) -> Result<Kept, Error> {
        self.look_again(pool)?;
        let gone = || Error::NotFound(format!("{id}, which was found on the node before,"));
        self.kept(|it| it == id).pop().ok_or_else(gone)
    }

    /// Looks at the pool of that name anew, for what others have done to it; one that is not served has nothing.
    ///
    /// # Errors
    /// Those of a pool that cannot be read.
    pub fn look_again(&self, pool: &str) -> Result<(), Error> {
        let serves = |kind: &&Arc<dyn PoolKind>| kind.served().iter().any(|it| it.as_str() == pool);
        self.kinds.iter().find(serves).map_or(Ok(()), |kind| kind.look_again(pool))
    }

    /// Makes the file system of a new volume before its first stage, where it is to get one.
    pub fn format_ahead(&self, id: &VolumeId) {
        self.groups.format_ahead(id);
    }
}

/// Pools, by what they are.
struct ByKind {
    groups: Vec<PoolEntry>,
    folders: Vec<PoolEntry>,
    whole: Vec<PoolEntry>,
}

fn by_kind(pools: Vec<PoolEntry>) -> ByKind {
    let (folders, others) = pools.into_iter().partition(|pool| pool.spec.is_of_folders());
    let (whole, groups): (_, Vec<_>) =
        Vec::into_iter(others).partition(|pool| pool.spec.is_of_whole_devices());
    ByKind { groups, folders, whole }
}

/// That none of these could not be opened.
fn ensure_all(failed: BTreeMap<PoolName, String>) -> Result<(), StartError> {
    match failed.into_iter().next() {
        Some((pool, why)) => Err(StartError::Pool { pool, why, source: None }),
        None => Ok(()),
    }
}

/// What would become of the devices of this machine.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// What would be done with the disks.
    pub plan: Plan,
    /// What is in the directories of each pool of whole devices.
    pub entries: BTreeMap<PoolName, Vec<DeviceEntry>>,
}

/// What would be done with this machine's disks for these pools, with the groups that they had when they were seen
/// last, and which devices could be volumes. Nothing is changed. What pools keep in directories is below `home`.
///
/// # Errors
/// [`Error::Machine`] when the machine cannot be asked.
pub fn plan_disks(
    tools: &Tools,
    pools: &[PoolEntry],
    owner: &Owner,
    known: &KnownGroups,
    home: &Path,
) -> Result<Outlook, Error> {
    let of_fs = (Arc::clone(&tools.fs), Arc::clone(&tools.devices));
    let (node, home) = (owner.node.clone(), home.to_owned());
    let whole = WholeDevices::new(of_fs, tools.clock, node, home, &Arc::default());
    for (pool, why) in whole.serve(by_kind(pools.to_vec()).whole) {
        tracing::warn!(%pool, why, "the pool cannot be served");
    }
    let plan = host::plan_disks(tools, pools, owner, known, &whole)?;
    Ok(Outlook { plan, entries: whole.entries_told() })
}
