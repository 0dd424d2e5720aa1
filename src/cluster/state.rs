//! What the controller knows: volumes, nodes, and what is promised. Pure; time is handed in.

mod entry;
mod kept;
mod locals;
mod loose;
mod shelf;

pub(super) use entry::Entry;
pub(super) use locals::Places;
pub(super) use shelf::Shelf;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::{Duration, Instant},
};

use super::{
    RELEASE,
    objects::{LogicalVolume, LogicalVolumeSpec, NodeLocalStorageStatus, Phase, StrayReport},
    placement::{Candidate, Origin, PoolView, Promised, silent},
    wish::{ensure_same, purpose_of, snapshot_spec},
};
use crate::{
    pool::Class,
    units::Bytes,
    volume::{
        Capacity, Error, NodeId, Parameters, PoolName, Provisioning, Snapshot, SnapshotFilter,
        SnapshotId, Source, Volume, VolumeId, Wanted, WantedSnapshot,
    },
};
use entry::Promise;

/// How long a node that renews its lease no more still counts as alive.
pub(super) const PATIENCE: Duration = Duration::from_secs(70);
/// How long it is remembered that an object is gone: late news of it must not bring it back.
const MEMORY: Duration = Duration::from_secs(120);

/// How much the state had been told until then. Later moments are larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

/// One node.
#[derive(Debug, Default)]
struct Node {
    pools: Vec<PoolView>,
    /// Its pools of whole devices; `None` without a report.
    shelves: Option<Vec<Shelf>>,
    /// What it has and knows no object of.
    strays: Vec<StrayReport>,
    sequence: i64,
    /// When its lease was last seen to be renewed.
    heard: Option<Instant>,
    /// Whether an admin has said that it is gone for good.
    is_lost: bool,
    /// Volumes that its report does not count yet.
    unsettled: HashMap<String, Promise>,
}

impl Node {
    fn pool(&self, name: &str) -> Option<&PoolView> {
        self.pools.iter().find(|pool| pool.name.as_str() == name)
    }

    /// What is promised to a volume here.
    fn promise_to(&self, entry: &Entry) -> Option<Promise> {
        let pool = self.pool(&entry.spec.pool);
        entry.promise(extent_of(Some(self), &entry.spec.pool), pool.is_some_and(shares_files))
    }

    /// Without its report nothing is known of it but its lease.
    fn forget_report(&mut self) {
        self.pools.clear();
        self.shelves = None;
        self.strays.clear();
        self.is_lost = false;
    }
}

/// What the controller knows.
#[derive(Debug, Default)]
pub(super) struct State {
    volumes: BTreeMap<String, Entry>,
    /// Those of them that are on their way out.
    ending: BTreeSet<String>,
    nodes: HashMap<NodeId, Node>,
    /// Those of them that report strays: few of very many, if any.
    finders: HashSet<NodeId>,
    /// Room for claims whose calls are still to come, by the ids of their volumes.
    kept: HashMap<String, kept::Kept>,
    /// What PersistentVolumes of the kind `local` have; `None` until all are known.
    locals: Option<locals::Locals>,
    /// The uids of objects that are gone, and since when.
    gone: HashMap<String, (Instant, Moment)>,
    now: Moment,
}

/// Bytes in an extent of a pool; LVM's default where the pool is not known.
fn extent_of(node: Option<&Node>, pool: &str) -> Bytes {
    let pool = node.and_then(|it| it.pool(pool));
    pool.map_or(Bytes::mib(4), |it| it.stock.extent)
}

/// Whether copies in a pool share the blocks of files, so that each lives without the others.
fn shares_files(pool: &PoolView) -> bool {
    pool.spec.is_of_folders()
}

impl State {
    pub(super) fn entry(&self, id: &str) -> Option<&Entry> {
        self.volumes.get(id)
    }

    /// The present moment.
    pub(super) fn now(&self) -> Moment {
        self.now
    }

    /// Takes note of an object, unless something newer is known of it.
    pub(super) fn enter(&mut self, id: &str, object: &LogicalVolume) {
        self.enter_listed(id, object, Moment::default());
    }

    /// Takes note of an object from a list that was asked for at `since`. What was known before is
    /// older, whatever the versions say: those of a restored backup begin anew.
    pub(super) fn enter_listed(&mut self, id: &str, object: &LogicalVolume, since: Moment) {
        self.now.0 += 1;
        let Some(new) = Entry::of(object, self.now) else { return };
        let known = self.volumes.get(id).filter(|known| known.noted > since);
        let is_old = known.is_some_and(|known| known.version >= new.version);
        if is_old || self.gone.get(&new.uid).is_some_and(|(_, noted)| *noted > since) {
            return;
        }
        self.settle(id, Some(&new));
        match new.is_ending() {
            true => self.ending.insert(id.to_owned()),
            false => self.ending.remove(id),
        };
        self.volumes.insert(id.to_owned(), new);
    }

    /// Takes note that an object is gone.
    pub(super) fn remove(&mut self, id: &str, uid: &str, now: Instant) {
        self.now.0 += 1;
        self.gone.retain(|_, (at, _)| now.duration_since(*at) < MEMORY);
        self.gone.insert(uid.to_owned(), (now, self.now));
        if self.volumes.get(id).is_some_and(|entry| entry.uid == uid) {
            self.settle(id, None);
            self.ending.remove(id);
            self.volumes.remove(id);
        }
    }

    /// The ids and uids of what was known at `since` and is not in a list that was asked for then: it
    /// was deleted while nobody watched, or a restored backup does not have it.
    pub(super) fn unlisted(
        &self,
        listed: &HashSet<String>,
        since: Moment,
    ) -> Vec<(String, String)> {
        let unlisted = self.volumes.iter().filter(|(id, _)| !listed.contains(*id));
        let old = unlisted.filter(|(_, entry)| entry.noted <= since);
        old.map(|(id, entry)| (id.clone(), entry.uid.clone())).collect()
    }

    /// Enters or takes away what is promised to a volume.
    fn settle(&mut self, id: &str, new: Option<&Entry>) {
        let old = self.volumes.get(id).and_then(Entry::node);
        if let Some(node) = old.and_then(|node| self.nodes.get_mut(&node)) {
            node.unsettled.remove(id);
        }
        let Some((entry, node)) = new.and_then(|entry| Some((entry, entry.node()?))) else {
            return;
        };
        self.kept.remove(id);
        let node = self.nodes.entry(node).or_default();
        if let Some(promise) = node.promise_to(entry)
            && promise.sequence.is_none_or(|sequence| sequence > node.sequence)
        {
            node.unsettled.insert(id.to_owned(), promise);
        }
    }

    /// Promises the room for an object that is being written, so that nobody else is promised it.
    pub(super) fn reserve(&mut self, id: &str, spec: &LogicalVolumeSpec) {
        let Ok(name) = spec.node_name.parse::<NodeId>() else { return };
        let node = self.nodes.entry(name).or_default();
        if let Some(promise) = node.promise_to(&Entry::unwritten(spec)) {
            node.unsettled.entry(id.to_owned()).or_insert(promise);
        }
    }

    /// Takes a reservation back, unless the object is known by now and has taken its place.
    pub(super) fn release(&mut self, id: &str, spec: &LogicalVolumeSpec) {
        if self.volumes.contains_key(id) {
            return;
        }
        let node = spec.node_name.parse::<NodeId>().ok().and_then(|it| self.nodes.get_mut(&it));
        if let Some(node) = node {
            node.unsettled.remove(id);
        }
    }

    /// Takes note of a node's report.
    pub(super) fn report(&mut self, name: &NodeId, status: &NodeLocalStorageStatus) {
        let node = self.nodes.entry(name.clone()).or_default();
        node.sequence = status.sequence;
        node.strays.clone_from(&status.strays);
        match node.strays.is_empty() {
            true => self.finders.remove(name),
            false => self.finders.insert(name.clone()),
        };
        node.pools = status
            .pools
            .iter()
            .filter_map(|report| {
                let name: PoolName = report.name.parse().ok()?;
                Some(PoolView { name, spec: report.spec.clone(), stock: report.stock() })
            })
            .collect();
        node.shelves = Some(status.pools.iter().filter_map(Shelf::of).collect());
        let counted = |promise: &Promise| promise.sequence.is_some_and(|it| it <= status.sequence);
        node.unsettled.retain(|_, promise| !counted(promise));
    }

    /// Takes note that a node's report is gone, and with it what was said there.
    pub(super) fn forget_report(&mut self, name: &NodeId) {
        self.finders.remove(name);
        if let Some(node) = self.nodes.get_mut(name) {
            node.forget_report();
        }
    }

    /// Forgets the reports of nodes that are not in a new list of them.
    pub(super) fn forget_unlisted_reports(&mut self, listed: &HashSet<NodeId>) {
        self.finders.retain(|name| listed.contains(name));
        let unlisted = self.nodes.iter_mut().filter(|(name, _)| !listed.contains(*name));
        unlisted.for_each(|(_, node)| node.forget_report());
    }

    /// Takes note of whether an admin says that a node is gone for good, and tells whether that is
    /// news.
    pub(super) fn set_lost(&mut self, name: &NodeId, is_lost: bool) -> bool {
        let node = self.nodes.entry(name.clone()).or_default();
        std::mem::replace(&mut node.is_lost, is_lost) != is_lost
    }

    /// Whether nobody will hear of a node again: an admin says so, and it is silent. What is said of
    /// a node that is alive does not count.
    pub(super) fn is_lost(&self, name: &NodeId, now: Instant) -> bool {
        self.nodes.get(name).is_some_and(|it| it.is_lost) && self.alive_until(name, now).is_none()
    }

    /// That new volumes can be made on a node.
    ///
    /// # Errors
    /// [`Error::NoRoom`] where it is silent, or an admin says that it is gone for good.
    pub(super) fn ensure_open(&self, name: &NodeId, now: Instant) -> Result<(), Error> {
        self.alive_until(name, now).ok_or_else(|| silent(name))?;
        match self.nodes.get(name).is_some_and(|it| it.is_lost) {
            true => Err(Error::NoRoom(format!(
                "node {name} is given up: its NodeLocalStorage has the annotation {RELEASE}"
            ))),
            false => Ok(()),
        }
    }

    /// Takes note that a node has renewed its lease.
    pub(super) fn heard_of(&mut self, name: &NodeId, now: Instant) {
        self.nodes.entry(name.clone()).or_default().heard = Some(now);
    }

    /// Until when a node counts as alive if it renews its lease no more; `None` once it is silent.
    pub(super) fn alive_until(&self, name: &NodeId, now: Instant) -> Option<Instant> {
        let heard = self.nodes.get(name)?.heard?;
        Some(heard + PATIENCE).filter(|until| *until > now)
    }

    fn candidate<'a>(&'a self, name: &'a NodeId, node: &'a Node, now: Instant) -> Candidate<'a> {
        let promised = |pool: &PoolView| {
            let all = node.unsettled.values().chain(self.kept_on(name, now));
            let of_pool = all.filter(|it| it.pool == pool.name.as_str());
            let others = self.local_devices(name, &pool.name);
            of_pool.fold(Promised { others, ..Promised::default() }, |mut sum, promise| {
                sum.add(promise.share);
                sum
            })
        };
        let pools = node.pools.iter().map(|pool| (pool, promised(pool))).collect();
        Candidate { node: name, pools }
    }

    fn open(&self, now: Instant) -> impl Iterator<Item = Candidate<'_>> {
        let open = self.nodes.iter().filter(move |(name, _)| self.ensure_open(name, now).is_ok());
        open.map(move |(name, node)| self.candidate(name, node, now))
    }

    /// A node, if volumes may be made there.
    ///
    /// # Errors
    /// [`Error::NoRoom`] for one that is silent or given up.
    fn open_node(&self, name: &NodeId, now: Instant) -> Result<Candidate<'_>, Error> {
        self.ensure_open(name, now)?;
        let (name, node) = self.nodes.get_key_value(name).ok_or_else(|| silent(name))?;
        Ok(self.candidate(name, node, now))
    }

    /// Room for volumes of these parameters, on one node or on all; none on one that is silent.
    pub(super) fn capacity(
        &self,
        parameters: &Parameters,
        node: Option<&NodeId>,
        now: Instant,
    ) -> Capacity {
        let purpose = parameters.purpose();
        match node {
            Some(node) => {
                let open = self.open_node(node, now);
                open.map(|it| it.capacity(purpose, parameters)).unwrap_or_default()
            }
            None => self.open(now).map(|it| it.capacity(purpose, parameters)).sum(),
        }
    }

    fn origin(&self, source: &Source) -> Result<Origin, Error> {
        let id = source.as_str();
        let entry = self.entry(id).filter(|it| !it.is_deleting);
        let entry = entry.ok_or_else(|| Error::NotFound(format!("the source, {id},")))?;
        if entry.phase != Some(Phase::Ready) {
            return Err(Error::Busy(format!("the source, {id}, is still being made")));
        }
        let bad = |_| Error::Busy(format!("the object of the source, {id}, makes no sense"));
        let placed = |it: &Entry| Some((it.node()?, it.spec.pool.parse().ok()?));
        let (node, pool) = placed(entry).ok_or_else(|| bad(()))?;
        Ok(Origin {
            node,
            pool,
            provisioning: entry.spec.provisioning,
            purpose: purpose_of(&entry.spec)?,
            size: entry.size(),
        })
    }

    /// The spec of the object for a new snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Busy`], [`Error::NoRoom`].
    pub(super) fn place_snapshot(
        &self,
        wanted: &WantedSnapshot,
        now: Instant,
    ) -> Result<LogicalVolumeSpec, Error> {
        let id = wanted.source.as_str();
        let missing = || Error::NotFound(format!("the source volume {id}"));
        if self.entry(id).is_none_or(|entry| entry.is_deleting) {
            return Err(missing());
        }
        let origin = self.origin(&Source::Volume(wanted.source.clone()))?;
        self.ensure_open(&origin.node, now)?;
        let entry = self.entry(id).ok_or_else(missing)?;
        Ok(snapshot_spec(wanted, &entry.spec, origin.size))
    }

    /// Whether the object under `id` is what a repeated call wants.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub(super) fn ensure_same(&self, id: &str, wanted: &Wanted) -> Result<(), Error> {
        let Some(entry) = self.entry(id) else { return Ok(()) };
        let node = entry.node().and_then(|node| self.nodes.get(&node));
        let pool = node.and_then(|node| node.pool(&entry.spec.pool));
        let provisioned = wanted.source.as_ref().map(|_| entry.spec.provisioning);
        let class = pool
            .map(|pool| Class::resolve(&wanted.parameters, &pool.name, &pool.spec, provisioned));
        // A class that this pool cannot be asked for is another class.
        let class = class
            .transpose()
            .map_err(|err| Error::exists(format!("volume {id}"), "parameters", "its own", err))?;
        ensure_same(id, &entry.spec, entry.size(), wanted, class.as_ref())
    }

    /// Snapshots that cannot live without this volume.
    pub(super) fn dependents(&self, id: &VolumeId) -> Vec<&str> {
        self.volumes
            .range("s-".to_owned()..)
            .take_while(|(name, _)| name.starts_with("s-"))
            .filter(|(_, entry)| entry.spec.snapshot_of.as_deref() == Some(id.as_str()))
            .filter(|(_, entry)| entry.spec.provisioning == Provisioning::Thick)
            .filter(|(_, entry)| {
                let node = entry.node().and_then(|node| self.nodes.get(&node));
                !node.and_then(|node| node.pool(&entry.spec.pool)).is_some_and(shares_files)
            })
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The volumes after `after`, in order.
    pub(super) fn volumes(&self, after: Option<&VolumeId>, most: usize) -> Vec<Volume> {
        let ready = self.after("v-", after.map(VolumeId::as_str));
        ready.filter_map(|(id, entry)| entry.as_volume(id)).take(most).collect()
    }

    /// The snapshots after `after`, in order.
    pub(super) fn snapshots(
        &self,
        filter: &SnapshotFilter,
        after: Option<&SnapshotId>,
        most: usize,
    ) -> Vec<Snapshot> {
        let ready = self.after("s-", after.map(SnapshotId::as_str));
        let all = ready.filter_map(|(id, entry)| entry.as_snapshot(id));
        all.filter(|it| filter.passes(it)).take(most).collect()
    }

    fn after<'a>(
        &'a self,
        prefix: &'static str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a String, &'a Entry)> {
        use std::ops::Bound;
        let from = match after {
            Some(after) => Bound::Excluded(after.to_owned()),
            None => Bound::Included(prefix.to_owned()),
        };
        self.volumes
            .range((from, Bound::Unbounded))
            .take_while(move |(id, _)| id.starts_with(prefix))
            .filter(|(_, entry)| entry.is_ready())
    }
}

#[cfg(test)]
mod tests;
