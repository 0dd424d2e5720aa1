//! The verbs of a volume's life.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{Folders, Found, ground::UNIT, pool::Pool, record::Record};
use crate::{
    fs::{Access, FsKind, paths},
    lvm::Layout,
    mounts::{self, Mounts, fs_failed, refuse_stranger},
    pool::{Class, Keeps, Kept, PoolEntry, PoolKind, PoolStatus, Trimmed, health::Health, pick},
    units::Bytes,
    volume::{
        self, AfterRestart, Capability, Capacity, Error, Mode, Parameters, PoolName, Provisioning,
        Publish, Purpose, SizeRange, Stage, Stats, Volume, VolumeId, Wanted, chain, ensure_equal,
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
                self.ensure_same(&found, wanted)?;
                return Ok(self.as_volume(&id, &found.record));
            }
            None => (),
        }
        let pools = self.pools();
        let named = wanted.parameters.pool.as_ref();
        let pool = pick(&pools.served, |pool| &pool.name, named, "this node")?;
        let (kind, class) = suitable(pool, wanted)?;
        let size = wanted.size.fit(UNIT, Bytes::ZERO)?;
        wanted.ensure_may_be_on(&self.node)?;
        let _turn = pool.change();
        let free = whole(pool.measure()?.free);
        if size > free {
            return Err(Error::NoRoom(format!(
                "pool {} has no room for a volume of {size}; the largest volume that fits is {free}",
                pool.name
            )));
        }
        let (name, created) = (wanted.name.clone(), (self.clock)());
        let (wipe, after_restart) = (class.wipe, wanted.parameters.after_restart);
        let (project, deleted) = (None, false);
        let record = Record { name, kind, size, wipe, after_restart, project, created, deleted };
        pool.make(&id, record.clone())?;
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
        if !record.deleted {
            found.pool.delete(id, record)?;
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
            pool.fit(id, &record)?;
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
        pool.resize(id, record.clone())?;
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
        self.ensure_filled(&found)?;
        paths::ensure_directory(&at)
            .map_err(|err| fs_failed("making the staging directory", err))?;
        let body = found.pool.ground.body(&found.pool.directory(&wanted.id));
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
        found.pool.fit(id, &found.record)?;
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
        all.filter(|found| wanted(found.id.as_str())).map(kept).collect()
    }
}

impl Folders {
    fn as_volume(&self, id: &VolumeId, record: &Record) -> Volume {
        Volume {
            id: id.clone(),
            size: record.size,
            purpose: record.purpose(),
            source: None,
            node: self.node.clone(),
        }
    }

    /// Compares what an earlier call made with what is wanted under its name.
    fn ensure_same(&self, found: &Found, wanted: &Wanted) -> Result<(), Error> {
        let Found { id, pool, record } = found;
        let same = |field, has, wants| ensure_equal(id, field, has, wants);
        wanted.ensure_is_like(id, record.size, record.purpose())?;
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
            Some(record) => pool.scrap(id, &record, &|| true),
            None => Ok(()),
        }
    }

    fn mounts_of(&self, found: &Found) -> Result<Mounts, Error> {
        found.pool.mounts(&*self.fs, &found.id)
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

    /// Gives a volume whose contents are gone an empty file system, where its class or its pool allows that.
    fn ensure_filled(&self, found: &Found) -> Result<(), Error> {
        let _turn = found.pool.change();
        if found.pool.is_filled(&found.id)? {
            return Ok(());
        }
        let (id, pool) = (&found.id, &found.pool.name);
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
fn suitable(pool: &Pool, wanted: &Wanted) -> Result<(FsKind, Class), Error> {
    let class = class(pool, &wanted.parameters)?;
    let (name, words) = (&pool.name, pool.ground.words());
    if wanted.source.is_some() {
        let allowed = format!("nothing is copied into pool {name}, which is {words}");
        return Err(Error::invalid("volume_content_source", "a copy", allowed));
    }
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

/// In whole units.
fn whole(room: Bytes) -> Bytes {
    Bytes(room.0 / UNIT.0 * UNIT.0)
}

fn status(pool: &Pool) -> PoolStatus {
    let (stock, room, trash) = (pool.stock(), pool.room(), pool.trash());
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
        snapshots: 0,
        wipes: trash.len() as u64,
        wipe_bytes: Bytes(trash.iter().map(|(_, record)| record.size.0).sum()),
        to_fill: Bytes::ZERO,
        filling: Vec::new(),
        trimmed: Trimmed::default(),
        entries: Vec::new(),
        stock,
    }
}

fn kept(found: Found) -> Kept {
    let Found { id, pool, record } = found;
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
        source: None,
        snapshot_of: None,
        created: record.created,
    }
}
