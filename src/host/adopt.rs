//! Adoption: a logical volume of somebody else's becomes a volume, as it is, and is handed back as it was.
//!
//! Nothing on it is read but what says what it holds, and nothing is written. LVM has no command that changes
//! both the tags and the name, so there are two: the tags are written first, with the old name among them, and
//! go last. Whichever was cut short, either call finds the volume where it is and goes on.
//!
//! The tags also say who is about to take a name. Whoever has written them looks who else has, and takes them off
//! again where another does: of two commands at once that see nothing of each other, at most one goes on. In one
//! group LVM decides, which has a name there once.

mod judge;

use std::sync::Arc;

use super::{
    Found, Host, Tools, lvm_failed, no_volume,
    pool::{Books, Change, Pool, THIN_POOL},
    pools::Pools,
    record::{Record, is_ours},
};
use crate::{
    lvm::{self, Group, Kind, LogicalVolume, LvName, Tag},
    mounts::fs_failed,
    pool::{
        NoReserves, PoolEntry,
        owner::{Owner, Whose},
    },
    volume::{Adopted, Adoption, Error, LvPath, Purpose, Released, VolumeId},
};
use judge::Meant;

/// A host beside the one that serves, if one does: it knows the pools whose groups are there, and opens, takes and
/// puts right nothing. What it changes, LVM does one after the other with what the other changes.
///
/// # Errors
/// [`Error::Machine`] where a group cannot be read.
pub fn beside(tools: Tools, owner: &Owner, wanted: Vec<PoolEntry>) -> Result<Host, Error> {
    let sequence = Arc::default();
    let thin: LvName = THIN_POOL.parse().map_err(|err| Error::machine("naming thin pools", err))?;
    let mut served = Vec::new();
    for entry in wanted.into_iter().filter(|it| it.spec.is_a_group()) {
        let group = match tools.lvm.report(&entry.group()) {
            Ok(group) => group,
            Err(lvm::Error::NoGroup { .. }) => continue,
            Err(err) => {
                return Err(lvm_failed(format!("reading volume group {}", entry.group()), err));
            }
        };
        let is_its = || owner.whose(&group.tags) == Whose::Ours(entry.name.clone());
        if entry.spec.devices.is_some() && !is_its() {
            continue;
        }
        let books = Books::new(group, &sequence);
        served.push(Arc::new(Pool::new(entry.name, entry.spec, thin.clone(), books)));
    }
    let shared = (&sequence, Arc::new(NoReserves::default()) as _);
    let host = Host::new(tools, owner.node.clone(), &owner.creator, shared);
    host.put_pools(Pools::of(served));
    Ok(host)
}

impl Host {
    /// Makes a logical volume a volume, with all that it holds. What an earlier call has begun is finished, and
    /// what it has done is found.
    ///
    /// # Errors
    /// Each says what to do. Only after [`Error::Uncertain`] may something have been changed, and the same call
    /// goes on from there.
    pub fn adopt(&self, wanted: &Adoption<LvPath>) -> Result<Adopted, Error> {
        let (pool, meant) = self.look(|groups| judge::to_adopt(groups, wanted))?;
        let id = VolumeId::of(&wanted.name);
        if !meant.is_done {
            self.take_over(&pool, &meant.lv, wanted, &id)?;
            self.chores.report_soon(&pool.name);
        }
        let found = self.finished_volume(&id)?;
        Ok(Adopted {
            volume: self.as_volume(id, &found.lv, &found.record),
            name: wanted.name.clone(),
            pool: pool.name.clone(),
            was: format!("{}/{}", pool.vg, meant.was),
        })
    }

    /// Whether a logical volume has been adopted so already, as far as LVM says what there is. Nothing is changed.
    ///
    /// # Errors
    /// Why it may not be, where that can be told without opening it.
    pub fn is_adopted(&self, wanted: &Adoption<LvPath>) -> Result<bool, Error> {
        self.look(|groups| judge::to_adopt(groups, wanted)).map(|(_, meant)| meant.is_done)
    }

    /// Hands an adopted volume back: it has its old name and its old tags.
    ///
    /// # Errors
    /// As [`Host::adopt`].
    pub fn release(&self, id: &VolumeId) -> Result<Released, Error> {
        let (pool, meant) = self.look(|groups| judge::to_release(groups, id))?;
        let (lv, was) = (&meant.lv, &meant.was);
        let record = Record::read(&lv.tags).ok_or_else(|| no_volume(id))?;
        self.ensure_unused(&Found { pool: Arc::clone(&pool), lv: lv.clone(), record })?;
        let change = pool.change();
        change.ensure_whole(&*self.tools.lvm)?;
        self.call_it(&change, &lv.name, was)?;
        self.put_tags(&change, was, &lv.tags, &[])?;
        drop(change);
        self.chores.report_soon(&pool.name);
        Ok(Released { id: id.clone(), is: format!("{}/{was}", pool.vg) })
    }

    /// What a volume was called as VG/LV before it was adopted; `None` where Tarn has made it, or does not have it.
    pub fn adopted_from(&self, id: &VolumeId) -> Option<String> {
        let found = self.volume(id)?;
        Some(format!("{}/{}", found.pool.vg, found.record.was?))
    }

    /// Gives a logical volume its tags, and then its name.
    fn take_over(
        &self,
        pool: &Arc<Pool>,
        lv: &LogicalVolume,
        wanted: &Adoption<LvPath>,
        id: &VolumeId,
    ) -> Result<(), Error> {
        let name = id.as_str().parse();
        let name = name.map_err(|err| Error::machine(format!("naming volume {id}"), err))?;
        let tags = self.inspect(pool, lv, wanted)?.tags(&self.creator);
        let change = pool.change();
        change.ensure_whole(&*self.tools.lvm)?;
        self.put_tags(&change, &lv.name, &lv.tags, &tags)?;
        drop(change);
        let tagged = LogicalVolume { tags, ..lv.clone() };
        self.give_way(pool, &tagged, id)?;
        let renamed = self.call_it(&pool.change(), &lv.name, &name);
        if renamed.is_err() {
            self.give_way(pool, &tagged, id)?;
        }
        renamed
    }

    /// Takes the tags off again where another has the name that they are about.
    fn give_way(&self, pool: &Pool, tagged: &LogicalVolume, id: &VolumeId) -> Result<(), Error> {
        let groups = self.groups(&self.pools());
        let groups = groups.map_err(|err| {
            Error::uncertain(format!("looking who else takes the name of {}", tagged.name), err)
        })?;
        let all: Vec<&Group> = groups.iter().collect();
        let is_free = judge::ensure_free(&all, &pool.vg, tagged, id);
        if is_free.is_err() {
            self.put_tags(&pool.change(), &tagged.name, &tagged.tags, &[])?;
        }
        is_free
    }

    /// Has LVM report every group.
    fn groups(&self, pools: &Pools) -> Result<Vec<Group>, Error> {
        for pool in &pools.served {
            pool.refresh(&*self.tools.lvm)?;
        }
        Ok(pools.served.iter().map(|it| it.read(|ledger| ledger.group().clone())).collect())
    }

    /// Has LVM report every group, and finds in them what is meant.
    fn look(
        &self,
        judge: impl FnOnce(&[&Group]) -> Result<Meant, Error>,
    ) -> Result<(Arc<Pool>, Meant), Error> {
        let pools = self.pools();
        let groups = self.groups(&pools)?;
        let meant = judge(&groups.iter().collect::<Vec<_>>())?;
        let pool = pools.served.get(meant.at);
        let pool = pool.ok_or_else(|| Error::NotFound(format!("the pool of {}", meant.lv.name)))?;
        Ok((Arc::clone(pool), meant))
    }

    /// What the record of a volume will be, from what it is and holds. It is activated for that, where it is not.
    fn inspect(
        &self,
        pool: &Arc<Pool>,
        lv: &LogicalVolume,
        wanted: &Adoption<LvPath>,
    ) -> Result<Record, Error> {
        let path = format!("{}/{}", pool.vg, lv.name);
        let layout = self.tools.lvm.layout(&pool.vg, &lv.name);
        let layout = layout.map_err(|err| lvm_failed(format!("looking at {path}"), err))?;
        let layout = layout.ok_or_else(|| {
            Error::Precondition(format!(
                "{path} lies on its disks in a way that Tarn does not serve"
            ))
        })?;
        let mut record = Record {
            name: wanted.name.clone(),
            purpose: wanted.purpose.unwrap_or(Purpose::Block),
            size: lv.size,
            layout,
            wipe: pool.spec.wipe_of(wanted.wipe)?,
            mkfs: String::new(),
            source: None,
            was: Some(lv.name.clone()),
            created: (self.tools.clock)(),
            fresh: false,
            twin: false,
            copying: false,
        };
        let found = Found { pool: Arc::clone(pool), lv: lv.clone(), record: record.clone() };
        found.ensure_not_lost()?;
        self.ensure_unused(&found)?;
        let purpose = self.purpose_of(&found, wanted);
        if purpose.is_err() && !lv.active {
            // As it was; whoever opened it meanwhile has it active.
            drop(self.tools.lvm.deactivate(&pool.vg, &lv.name));
        }
        record.purpose = purpose?;
        Ok(record)
    }

    fn purpose_of(&self, found: &Found, wanted: &Adoption<LvPath>) -> Result<Purpose, Error> {
        let device = self.active_device(found)?;
        let path = format!("{}/{}", found.pool.vg, found.lv.name);
        let content = self.tools.fs.probe(&device);
        let content = content.map_err(|err| fs_failed(format!("looking at {path}"), err))?;
        wanted.purpose_of(&path, &content)
    }

    /// Has a volume have these tags of Tarn's and no others, with one command. Those of others stay.
    fn put_tags(
        &self,
        change: &Change<'_>,
        name: &LvName,
        has: &[Tag],
        wants: &[Tag],
    ) -> Result<(), Error> {
        let add: Vec<Tag> = wants.iter().filter(|it| !has.contains(it)).cloned().collect();
        let gone = |it: &&Tag| is_ours(it) && !wants.contains(it);
        let remove: Vec<Tag> = has.iter().filter(gone).cloned().collect();
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        let changed = self.tools.lvm.change_tags(&change.vg(), name, &add, &remove);
        changed.map_err(|err| Error::uncertain(format!("changing the tags of {name}"), err))?;
        change.enter(|ledger| ledger.retag(name, &add, &remove));
        Ok(())
    }

    /// Has a volume be called so.
    fn call_it(&self, change: &Change<'_>, name: &LvName, so: &LvName) -> Result<(), Error> {
        if name == so {
            return Ok(());
        }
        let renamed = self.tools.lvm.rename(&change.vg(), name, so);
        renamed.map_err(|err| Error::uncertain(format!("renaming {name} to {so}"), err))?;
        change.enter(|ledger| ledger.change(name, |lv| lv.name = so.clone()));
        Ok(())
    }
}

impl Found {
    /// Refuses a thin volume that was adopted with a thin pool of somebody else's, for which nobody here knows how
    /// much may be promised.
    ///
    /// # Errors
    /// [`Error::Precondition`].
    pub(super) fn ensure_in_own_thin_pool(&self) -> Result<(), Error> {
        match &self.lv.kind {
            Kind::Thin(of) if of != self.pool.thin() => Err(Error::Precondition(format!(
                "{} lies in thin pool {of}, whose room Tarn does not look after: it neither grows there by a call \
                 nor is it cloned; grow it with lvextend",
                self.lv.name
            ))),
            Kind::Thick
            | Kind::Thin(_)
            | Kind::CopyOnWrite
            | Kind::ThinPool { .. }
            | Kind::HalfMade
            | Kind::Other(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
