//! The verbs of a volume's life.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    Folders, Found,
    copies::ensure_not_copied,
    ground::{Copier, UNIT},
    pool::Pool,
    record::{Id, Record},
};
use crate::{
    fs::{Access, FsKind, paths},
    lvm::Layout,
    mounts::{self, Mounts, fs_failed, refuse_stranger},
    pool::{
        Class, CopyProgress, Keeps, Kept, PoolEntry, PoolKind, PoolStatus, Trimmed, health::Health,
        pick,
    },
    units::Bytes,
    volume::{
        self, AfterRestart, Capability, Capacity, Error, Mode, Parameters, PoolName, Provisioning,
        Publish, Purpose, SizeRange, Snapshot, SnapshotFilter, SnapshotId, Source, Stage, Stats,
        Volume, VolumeId, Wanted, WantedSnapshot, chain, ensure_equal,
    },
};

impl PoolKind for Folders {
    fn serve(&self, pools: Vec<PoolEntry>) -> BTreeMap<PoolName, String> {
        self.set_pools(pools)
    }

    fn unserved(&self) -> BTreeMap<PoolName, String> {
        self.roster.unserved()
    }

    fn served(&self) -> Vec<PoolName> {
        self.roster.names()
    }

    fn has(&self, id: &VolumeId) -> bool {
        self.roster.look_up(id).is_some()
    }

    fn create(&self, wanted: &Wanted) -> Result<Volume, Error> {
        let id = VolumeId::of(&wanted.name);
        match self.roster.look_up(&id) {
            Some(found) if found.record.deleted => {
                self.scrap_at_once(&found).map_err(|err| Error::Busy(chain(&err)))?;
            }
            Some(found) => {
                self.ensure_whole(&found.pool, &own(&id), found.record.clone())?;
                self.ensure_same(&found, wanted)?;
                return Ok(self.as_volume(&id, &found.record));
            }
            None => (),
        }
        if let Some(source) = &wanted.source {
            return self.create_copy(wanted, source);
        }
        let pools = self.pools();
        let named = wanted.parameters.pool.as_ref();
        let pool = pick(&pools.served, |pool| &pool.name, named, "this node")?;
        let (kind, class) = suitable(pool, wanted)?;
        let size = wanted.size.fit(UNIT, Bytes::ZERO)?;
        wanted.ensure_may_be_on(&self.node)?;
        let _turn = pool.change();
        ensure_room(pool, "a volume", size)?;
        let (name, created) = (wanted.name.clone(), (self.clock)());
        let (wipe, after_restart) = (class.wipe, wanted.parameters.after_restart);
        let (project, copied, copying, deleted) = (None, None, false, false);
        let record = Record {
            name,
            kind,
            size,
            wipe,
            after_restart,
            project,
            copied,
            copying,
            created,
            deleted,
        };
        pool.make(&own(&id), record.clone())?;
        Ok(self.as_volume(&id, &record))
    }

    fn delete(&self, id: &VolumeId) -> Result<(), Error> {
        let Some(found) = self.roster.look_up(id) else { return Ok(()) };
        let _turn = found.pool.change();
        // Another call may have deleted it meanwhile.
        let Some(record) = found.pool.find(id) else { return Ok(()) };
        let mounts = self.mounts_of(&found)?;
        if let Some(mount) = mounts.of_volume.first() {
            return Err(Error::InUse(format!("{id} is in use: mounted at {}", mount.at.display())));
        }
        ensure_not_copied(&found.pool, &own(id))?;
        if !record.deleted {
            found.pool.delete(&own(id), record)?;
        }
        self.rounds.soon();
        match found.pool.ground.scraps_at_once() {
            true => self.scrap_at_once(&found),
            false => Ok(()),
        }
    }

    fn expand(&self, id: &VolumeId, size: SizeRange) -> Result<Volume, Error> {
        let found = self.roster.found(id)?;
        let pool = &found.pool;
        let _turn = pool.change();
        let has = pool.find(id).map_or(found.record.size, |record| record.size);
        let wants = match size.allows(has) {
            true => has,
            false => size.fit(UNIT, Bytes::ZERO)?,
        };
        if wants <= has {
            // What was cut short after the record was written is made good.
            let record = Record { size: has, ..found.record.clone() };
            pool.fit(&own(id), &record)?;
            return Ok(self.as_volume(id, &record));
        }
        let (more, free) = (wants.saturating_sub(has), whole(pool.measure()?.free));
        if more > free {
            return Err(Error::OutOfRange(format!(
                "pool {} has no room for {more} more; it has {free} free",
                pool.name
            )));
        }
        let record = Record { size: wants, ..found.record.clone() };
        pool.resize(&own(id), record.clone())?;
        Ok(self.as_volume(id, &record))
    }

    fn find(&self, id: &VolumeId) -> Option<Volume> {
        let found = self.roster.found(id).ok()?;
        Some(self.as_volume(id, &found.record))
    }

    fn volumes(&self, after: Option<&VolumeId>, most: usize) -> Vec<Volume> {
        let page = self.roster.page(after, most);
        page.iter().map(|found| self.as_volume(&found.id, &found.record)).collect()
    }

    fn capacity(&self, parameters: &Parameters) -> Capacity {
        let pools = self.pools();
        let named = |pool: &&Arc<Pool>| {
            parameters.pool.as_ref().is_none_or(|name| *name == pool.name)
                && class(pool, parameters).is_ok()
        };
        let rooms = pools.served.iter().filter(named).map(|pool| {
            let room = whole(pool.room().free);
            Capacity { available: room, largest: room }
        });
        rooms.sum()
    }

    fn stage(&self, wanted: &Stage) -> Result<(), Error> {
        let at = paths::real(&wanted.at);
        let found = self.roster.found(&wanted.id)?;
        let (access, mounts) = self.suits(&wanted.capability, &found, &at)?;
        if let Some(mount) = mounts.at(&at) {
            return match mount.access == access {
                true => Ok(()),
                false => {
                    let what = format!("{} staged at {}", wanted.id, at.display());
                    Err(Error::exists(what, "way of mounting", "other options", "these"))
                }
            };
        }
        refuse_stranger(&mounts, &at)?;
        // A copy that is begun meanwhile sees it mounted.
        let _turn = found.pool.change();
        ensure_not_copied(&found.pool, &own(&found.id))?;
        self.ensure_filled(&found)?;
        paths::ensure_directory(&at)
            .map_err(|err| fs_failed("making the staging directory", err))?;
        let body = found.pool.ground.body(&found.pool.directory(&own(&wanted.id)));
        let bound = self.fs.bind(&body, &at, access);
        bound.map_err(|err| fs_failed(format!("mounting {}", wanted.id), err))
    }

    fn unstage(&self, id: &VolumeId, at: &Path) -> Result<(), Error> {
        let Some(found) = self.roster.look_up(id) else { return Ok(()) };
        let at = paths::real(at);
        mounts::unmount_layers(&*self.fs, id.as_str(), &at, || self.mounts_of(&found))
    }

    fn publish(&self, wanted: &Publish) -> Result<(), Error> {
        let (staged, at) = (paths::real(&wanted.staged), paths::real(&wanted.at));
        let wanted = &Publish { staged, at, ..wanted.clone() };
        let found = self.roster.found(&wanted.id)?;
        let (_, mounts) = self.suits(&wanted.capability, &found, &wanted.at)?;
        if mounts.at(&wanted.staged).is_none() {
            let (id, at) = (&wanted.id, wanted.staged.display());
            return Err(Error::Precondition(format!("volume {id} is not staged at {at}")));
        }
        mounts::publish(&*self.fs, wanted.id.as_str(), &mounts, &wanted.staged, wanted)
    }

    fn unpublish(&self, id: &VolumeId, at: &Path) -> Result<(), Error> {
        self.unstage(id, at)?;
        mounts::unpublish(&*self.fs, &paths::real(at))
    }

    fn node_expand(&self, id: &VolumeId, at: &Path, size: SizeRange) -> Result<Bytes, Error> {
        let found = self.roster.found(id)?;
        let has = found.record.size;
        if size.is_given() && size.least() > has {
            return Err(Error::OutOfRange(format!("volume {id} has {has}, not {}", size.least())));
        }
        self.ensure_mounted(&found, at)?;
        let _turn = found.pool.change();
        found.pool.fit(&own(id), &found.record)?;
        Ok(has)
    }

    fn stats(&self, id: &VolumeId, at: &Path) -> Result<Stats, Error> {
        let found = self.roster.found(id)?;
        self.ensure_mounted(&found, at)?;
        let usage = self.fs.usage(at);
        usage.map(Stats::Filesystem).map_err(|err| fs_failed("asking how full it is", err))
    }

    fn status(&self) -> Vec<PoolStatus> {
        self.pools().served.iter().map(|pool| status(pool)).collect()
    }

    fn look_again(&self, _: &str) -> Result<(), Error> {
        // Nobody else changes the records.
        Ok(())
    }

    fn kept(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<Kept> {
        let all = self.roster.volumes().into_iter();
        let volumes = all.filter(|found| wanted(found.id.as_str())).map(|found| {
            let Found { id, pool, record } = found;
            kept(&own(&id), &pool, record)
        });
        let pools = self.pools();
        let of_pool = |pool: &Arc<Pool>| {
            let mut all = pool.snapshots();
            all.retain(|(id, _)| wanted(id.as_str()));
            all.into_iter().map(|(id, it)| kept(&id.into(), pool, it)).collect::<Vec<_>>()
        };
        volumes.chain(pools.served.iter().flat_map(of_pool)).collect()
    }

    fn can_copy(&self) -> bool {
        let can = |pool: &Arc<Pool>| {
            let lacks = pool.ground.copier().map(Copier::lacks);
            matches!(lacks, Some(Ok(None)))
        };
        self.pools().served.iter().any(can)
    }

    fn copies(&self) -> Vec<CopyProgress> {
        self.copies.progress()
    }

    fn has_snapshot(&self, id: &SnapshotId) -> bool {
        self.knows_snapshot(id)
    }

    fn snapshot(&self, wanted: &WantedSnapshot) -> Result<Snapshot, Error> {
        self.take_snapshot(wanted)
    }

    fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), Error> {
        self.remove_snapshot(id)
    }

    fn snapshots(
        &self,
        filter: &SnapshotFilter,
        after: Option<&SnapshotId>,
        most: usize,
    ) -> Vec<Snapshot> {
        self.list_snapshots(filter, after, most)
    }
}

fn own(id: &VolumeId) -> Id {
    Id::Volume(id.clone())
}

impl Folders {
    pub(super) fn as_volume(&self, id: &VolumeId, record: &Record) -> Volume {
        Volume {
            id: id.clone(),
            size: record.size,
            purpose: record.purpose(),
            source: record.source().cloned(),
            node: self.node.clone(),
        }
    }

    /// Compares what an earlier call made with what is wanted under its name.
    fn ensure_same(&self, found: &Found, wanted: &Wanted) -> Result<(), Error> {
        let Found { id, pool, record } = found;
        let same = |field, has, wants| ensure_equal(id, field, has, wants);
        wanted.ensure_is_like(id, record.size, record.purpose())?;
        let source = |it: Option<&Source>| it.map_or("none", Source::as_str).to_owned();
        same("content source", source(record.source()), source(wanted.source.as_ref()))?;
        let name = wanted.parameters.pool.as_ref().unwrap_or(&pool.name);
        same("pool", pool.name.to_string(), name.to_string())?;
        suitable(pool, wanted)?;
        let wants = wanted.parameters.after_restart;
        same("afterRestart", AfterRestart::said(record.after_restart), AfterRestart::said(wants))?;
        wanted.ensure_is_where_wanted(id, &self.node)
    }

    /// Scraps a volume that was deleted, where that takes no time.
    fn scrap_at_once(&self, found: &Found) -> Result<(), Error> {
        let Found { id, pool, .. } = found;
        if !pool.ground.scraps_at_once() {
            return Err(Error::Busy(format!("an earlier volume {id} is still being removed")));
        }
        match pool.find(id).filter(|record| record.deleted) {
            Some(record) => pool.scrap(&own(id), &record, &|| true),
            None => Ok(()),
        }
    }

    fn mounts_of(&self, found: &Found) -> Result<Mounts, Error> {
        found.pool.mounts(&*self.fs, &own(&found.id))
    }

    /// Whether it may be written to as it is to be used, and where it is mounted now.
    ///
    /// # Errors
    /// [`Error::Exists`] when it is at that path already, as what it was made for; [`Error::Precondition`].
    fn suits(
        &self,
        capability: &Capability,
        found: &Found,
        at: &Path,
    ) -> Result<(Access, Mounts), Error> {
        let (id, purpose) = (&found.id, found.record.purpose());
        let mounts = self.mounts_of(found)?;
        if let Err(why) = capability.suits(purpose) {
            return Err(match mounts.at(at) {
                Some(_) => {
                    Error::exists(format!("{id} at {}", at.display()), "purpose", purpose, why)
                }
                None => Error::Precondition(format!("volume {id}: {why}")),
            });
        }
        let volume::Access::Mount { options, .. } = &capability.access else {
            return Ok((Access::ReadWrite, mounts));
        };
        if !options.is_only_access() {
            return Err(Error::invalid(
                "volume_capability.mount.mount_flags",
                "other options",
                format!(
                    "a volume that is {} has no mount options but `ro` and `rw`",
                    found.pool.ground.words()
                ),
            ));
        }
        let read_only = capability.mode == Mode::ReadOnly || options.read_only();
        Ok((if read_only { Access::ReadOnly } else { Access::ReadWrite }, mounts))
    }

    /// Gives a volume whose contents are gone an empty file system, where its class or its pool allows that. The caller
    /// has the pool's turn.
    fn ensure_filled(&self, found: &Found) -> Result<(), Error> {
        let id = &own(&found.id);
        if found.pool.is_filled(id)? {
            return Ok(());
        }
        let pool = &found.pool.name;
        let Some(memory) = &found.pool.spec.memory else {
            return Err(Error::Precondition(format!(
                "the directory of volume {id} is not there: {}; is what pool {pool} lies on mounted?",
                found.pool.directory(id).display()
            )));
        };
        let advice = match (found.record.after_restart, memory.after_restart) {
            (Some(AfterRestart::Empty), _) | (None, AfterRestart::Empty) => {
                return found.pool.begin_anew(id, &found.record);
            }
            (Some(AfterRestart::Fail), _) => "as its class says `afterRestart: Fail`".to_owned(),
            (None, AfterRestart::Fail) => {
                format!("or say `afterRestart: Empty` in the spec of pool {pool}")
            }
        };
        Err(Error::Precondition(format!(
            "the contents of volume {id} were in memory, and went with a restart of the machine; delete its claim, \
             {advice}"
        )))
    }

    fn ensure_mounted(&self, found: &Found, at: &Path) -> Result<(), Error> {
        let at = paths::real(at);
        match self.mounts_of(found)?.at(&at) {
            Some(_) => Ok(()),
            None => Err(Error::NotFound(format!("volume {} at {}", found.id, at.display()))),
        }
    }
}

/// How volumes of these parameters are made in the pool.
fn class(pool: &Pool, parameters: &Parameters) -> Result<Class, Error> {
    Class::resolve(parameters, &pool.name, &pool.spec, None)
}

/// That a volume of the pool can be what is wanted; gives the file system that the caller names, and how it is made.
pub(super) fn suitable(pool: &Pool, wanted: &Wanted) -> Result<(FsKind, Class), Error> {
    let class = class(pool, &wanted.parameters)?;
    let (name, words) = (&pool.name, pool.ground.words());
    if let Some(options) = wanted.parameters.mkfs.as_ref().filter(|it| !it.is_empty()) {
        let allowed = format!("no mkfs runs for pool {name}, which is {words}; leave it out");
        return Err(Error::invalid("parameters[mkfsOptions]", options, allowed));
    }
    match wanted.purpose {
        Purpose::Filesystem(kind) => Ok((kind, class)),
        Purpose::Block => {
            let allowed = format!("pool {name} is {words}, and holds file systems only");
            Err(Error::invalid("volume_capabilities", "block", allowed))
        }
    }
}

/// That there is room for so much, measured anew; the caller has the pool's turn.
///
/// # Errors
/// [`Error::NoRoom`] says for what.
pub(super) fn ensure_room(pool: &Pool, what: &str, size: Bytes) -> Result<(), Error> {
    let free = whole(pool.measure()?.free);
    match size > free {
        true => Err(Error::NoRoom(format!(
            "pool {} has no room for {what} of {size}; the largest volume that fits is {free}",
            pool.name
        ))),
        false => Ok(()),
    }
}

/// In whole units.
fn whole(room: Bytes) -> Bytes {
    Bytes(room.0 / UNIT.0 * UNIT.0)
}

fn status(pool: &Pool) -> PoolStatus {
    let (stock, room, trash) = (pool.stock(), pool.room(), pool.scraps());
    let emptied = pool.emptied().iter().map(ToString::to_string).collect();
    PoolStatus {
        name: pool.name.clone(),
        group: None,
        spec: pool.spec.clone(),
        health: Health { emptied, ..Health::default() },
        size: room.size,
        free: room.free,
        largest_thick: Some(Bytes(stock.free * UNIT.0)),
        largest_thin: None,
        volumes: pool.records(None).len() as u64,
        snapshots: pool.snapshots().len() as u64,
        wipes: trash.len() as u64,
        wipe_bytes: Bytes(trash.iter().map(|(id, record)| record.promised(id).0).sum()),
        to_fill: Bytes::ZERO,
        filling: Vec::new(),
        trimmed: Trimmed::default(),
        entries: Vec::new(),
        stock,
    }
}

fn kept(id: &Id, pool: &Pool, record: Record) -> Kept {
    let source = record.source().cloned();
    let (source, snapshot_of) = match (id, source) {
        (Id::Snapshot(_), Some(Source::Volume(of))) => (None, Some(of)),
        (_, source) => (source, None),
    };
    Kept {
        id: id.to_string(),
        purpose: record.purpose(),
        name: record.name,
        pool: pool.name.clone(),
        size: record.size,
        provisioning: Provisioning::Thick,
        layout: Layout::Linear,
        wipe: record.wipe,
        mkfs: String::new(),
        after_restart: record.after_restart,
        entry: None,
        source,
        snapshot_of,
        created: record.created,
    }
}
