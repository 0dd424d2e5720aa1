//! CreateVolume: look up, judge, then one `lvcreate` that carries every tag.

use std::sync::Arc;

use super::{
    Found, Host,
    chores::Retag,
    class::{mkfs_text, pool_for},
    ledger::{Ledger, is_deleted},
    lvm_failed,
    pool::{Change, Pool},
    record::Record,
    same::ensure_same,
};
use crate::{
    lvm::{
        self, Backing, CreateSnapshot, CreateVolume, Kind, Layout, LogicalVolume, LvName,
        SnapshotKind, cow_size,
    },
    pool::{Class, capacity::unit_of},
    units::Bytes,
    volume::{Error, Provisioning, Purpose, Source, Volume, VolumeId, Wanted, chain},
};

impl Host {
    /// Makes the volume, or finishes or finds the one that an earlier call made.
    ///
    /// # Errors
    /// See [`Error`]; only [`Error::Uncertain`] and [`Error::Busy`] may leave something behind, and
    /// the same call, repeated, finishes that.
    pub fn create(&self, wanted: &Wanted) -> Result<Volume, Error> {
        let id = VolumeId::of(&wanted.name);
        if let Some(found) = self.volume(&id) {
            return self.take_up(&id, &found, wanted);
        }
        self.ensure_not_deleted(&id)?;
        let source = self.source(wanted)?;
        let plan = self.plan(wanted, source.as_ref())?;
        wanted.ensure_may_be_on(&self.node)?;
        self.carry_out(&id, &plan, source.as_ref())?;
        let found = self.volume(&id).ok_or_else(|| super::no_volume(&id))?;
        self.finish_or_undo(&found)?;
        self.answer(&id)
    }

    /// Refuses the name of a volume that was deleted and keeps it until a disk is back: LVM would refuse
    /// it, too, and the volume that is there would be taken for the new one.
    fn ensure_not_deleted(&self, id: &VolumeId) -> Result<(), Error> {
        let has_it = |pool: &Arc<Pool>| {
            let name = id.as_str().parse().ok();
            name.is_some_and(|name| pool.read(|ledger| ledger.find(&name).is_some_and(is_deleted)))
        };
        match self.pools().served.iter().any(has_it) {
            true => Err(Error::Busy(format!("an earlier volume {id} is still being wiped"))),
            false => Ok(()),
        }
    }

    /// What an earlier call made is compared with what is wanted, and finished if it is not.
    fn take_up(&self, id: &VolumeId, found: &Found, wanted: &Wanted) -> Result<Volume, Error> {
        ensure_same(found, wanted, &self.node)?;
        if !found.is_finished() {
            self.finish_or_undo(found)?;
        }
        self.answer(id)
    }

    /// Finishes what was begun, or takes it back where it can never be finished, so that an error
    /// that the caller takes for final leaves nothing behind.
    pub(super) fn finish_or_undo(&self, found: &Found) -> Result<(), Error> {
        let Err(err) = self.finish(found) else { return Ok(()) };
        let final_error = match err {
            Error::OutOfRange(why) => Error::NoRoom(why),
            Error::NotFound(_) | Error::NoRoom(_) => err,
            Error::Machine { doing, source } => return Err(Error::Uncertain { doing, source }),
            Error::InUse(why) | Error::Precondition(why) => return Err(Error::Busy(why)),
            Error::Invalid { .. }
            | Error::Exists { .. }
            | Error::Busy(_)
            | Error::Uncertain { .. } => return Err(err),
        };
        match self.discard(found) {
            Ok(()) => Err(final_error),
            Err(undo) => Err(Error::uncertain(format!("taking back {}", found.lv.name), undo)),
        }
    }

    /// Does what comes after the volume itself was made: its full size, its content.
    fn finish(&self, found: &Found) -> Result<(), Error> {
        if found.lv.kind == Kind::HalfMade {
            let name = &found.lv.name;
            let why = format!("the making of {name} was cut short; it is taken back, try again");
            return Err(Error::NoRoom(why));
        }
        if found.lv.size < found.record.size {
            let change = found.pool.change();
            self.extend(&change, found, found.record.size)?;
        }
        if found.record.copying {
            self.copy_content(found)?;
        }
        Ok(())
    }

    fn answer(&self, id: &VolumeId) -> Result<Volume, Error> {
        let found = self.volume(id).ok_or_else(|| super::no_volume(id))?;
        Ok(self.as_volume(id.clone(), &found.lv, &found.record))
    }

    pub(super) fn as_volume(&self, id: VolumeId, lv: &LogicalVolume, record: &Record) -> Volume {
        Volume {
            id,
            size: lv.size,
            purpose: record.purpose,
            source: record.source.clone(),
            node: self.node.clone(),
        }
    }

    /// What the content comes from, which must be there and whole.
    fn source(&self, wanted: &Wanted) -> Result<Option<Found>, Error> {
        let (found, what) = match &wanted.source {
            None => return Ok(None),
            Some(Source::Volume(id)) => (self.volume(id), format!("volume {id}")),
            Some(Source::Snapshot(id)) => (self.snapshot_of_id(id), format!("snapshot {id}")),
        };
        let found = found.ok_or_else(|| Error::NotFound(format!("the source, {what},")))?;
        if !found.is_finished() {
            return Err(Error::Busy(format!("the source, {what}, is still being made")));
        }
        found.ensure_not_lost()?;
        found.ensure_in_own_thin_pool()?;
        if found.record.purpose != wanted.purpose {
            return Err(Error::invalid(
                "volume_content_source",
                what,
                format!("it was made for {}, wanted is {}", found.record.purpose, wanted.purpose),
            ));
        }
        Ok(Some(found))
    }

    /// Decides where and how; nothing is changed.
    fn plan(&self, wanted: &Wanted, source: Option<&Found>) -> Result<Plan, Error> {
        let pools = self.pools();
        let pool = pool_for(&pools.served, wanted.parameters.pool.as_ref(), source)?;
        let class = pool.class(&wanted.parameters, source)?;
        let extent = pool.read(|ledger| ledger.group().extent);
        let unit = unit_of(extent, class.layout);
        let floor = source.map_or(Bytes::ZERO, |it| it.lv.size);
        let size = wanted.size.fit(unit, floor)?;
        let size = least_for(wanted.purpose, size, wanted)?;
        let copied = source.is_some();
        let record = Record {
            name: wanted.name.clone(),
            purpose: wanted.purpose,
            size,
            layout: class.layout,
            wipe: class.wipe,
            mkfs: mkfs_text(&wanted.parameters, wanted.purpose, source)?,
            source: wanted.source.clone(),
            was: None,
            created: (self.tools.clock)(),
            fresh: source.is_none_or(|it| it.record.fresh),
            twin: copied,
            copying: copied && class.provisioning == Provisioning::Thick,
        };
        Ok(Plan { pool: Arc::clone(pool), class, record })
    }

    /// Makes the volume with one command, once it is known that there is room.
    fn carry_out(&self, id: &VolumeId, plan: &Plan, source: Option<&Found>) -> Result<(), Error> {
        let name: LvName = id
            .as_str()
            .parse()
            .map_err(|err| Error::machine(format!("naming volume {id}"), err))?;
        let change = plan.pool.change();
        self.chores.forget_retags(&plan.pool.name, &name);
        self.make_room_sure(&change, plan, source)?;
        let on = plan.pool.places_for(plan.class.layout, plan.record.size)?;
        let tags = plan.record.tags(&self.creator);
        let thin_source = source.filter(|_| plan.class.provisioning == Provisioning::Thin);
        let (made, size) = match thin_source {
            Some(source) => {
                let snapshot = CreateSnapshot {
                    vg: plan.pool.vg.clone(),
                    origin: source.lv.name.clone(),
                    name: name.clone(),
                    kind: SnapshotKind::ThinWritable,
                    tags: tags.clone(),
                };
                (self.tools.lvm.create_snapshot(&snapshot), source.lv.size)
            }
            None => {
                let backing = match plan.class.provisioning {
                    Provisioning::Thick => Backing::Thick(plan.class.layout),
                    Provisioning::Thin => Backing::Thin(plan.pool.thin().clone()),
                };
                let volume = CreateVolume {
                    vg: plan.pool.vg.clone(),
                    name: name.clone(),
                    size: plan.record.size,
                    backing,
                    on: on.clone(),
                    tags: tags.clone(),
                };
                (self.tools.lvm.create_volume(&volume), plan.record.size)
            }
        };
        if let Err(err) = made {
            return self.after_failed_create(&change, plan, &name, err);
        }
        let kind = match plan.class.provisioning {
            Provisioning::Thick => Kind::Thick,
            Provisioning::Thin => Kind::Thin(plan.pool.thin().clone()),
        };
        let origin = thin_source.map(|it| it.lv.name.clone());
        let legs = plan.class.layout.legs(&on);
        let new = LogicalVolume { legs, ..new_volume(&name, size, kind, origin, tags) };
        change.enter(|ledger| ledger.put(new));
        self.chores.report_soon(&plan.pool.name);
        Ok(())
    }

    /// Refuses what does not fit, on a report that is not old.
    fn make_room_sure(
        &self,
        change: &Change<'_>,
        plan: &Plan,
        source: Option<&Found>,
    ) -> Result<(), Error> {
        let thin = plan.class.provisioning == Provisioning::Thin;
        let beside = self.room_beside(plan, source)?;
        if matches!(plan.class.layout, Layout::Raid(_)) {
            change.settle(&*self.tools.lvm)?;
        }
        let fits = || plan.pool.has_room(&plan.class, plan.record.size, beside);
        if change.has_room(&*self.tools.lvm, fits)? {
            return Ok(());
        }
        let largest = plan.pool.room(&plan.class).largest;
        let what = if thin && source.is_some() { "a thin copy" } else { "a volume" };
        let while_copying = match beside {
            Bytes::ZERO => String::new(),
            _ => format!(" and, while it is copied, for {beside} beside it"),
        };
        let errs = change.read(|it| it.group().physical.iter().any(|pv| pv.erring));
        let why = match change.read(Ledger::is_whole) {
            true if errs && matches!(plan.class.layout, Layout::Raid(_)) => {
                ": a disk answers with errors, and gets no new legs before it is well"
            }
            true => "",
            false => ": it misses a disk, and LVM makes nothing before that is back",
        };
        Err(Error::NoRoom(format!(
            "pool {} has no room for {what} of {}{while_copying}; the largest volume that fits is {largest}{why}",
            plan.pool.name, plan.record.size
        )))
    }

    /// The room that the snapshot takes from which a thick clone is made.
    fn room_beside(&self, plan: &Plan, source: Option<&Found>) -> Result<Bytes, Error> {
        let cloned = source.filter(|_| plan.record.copying);
        let cloned = cloned.filter(|_| matches!(plan.record.source, Some(Source::Volume(_))));
        let Some(cloned) = cloned else { return Ok(Bytes::ZERO) };
        let extent = plan.pool.read(|ledger| ledger.group().extent);
        cow_size(cloned.lv.size, extent)
            .ok_or_else(|| Error::OutOfRange(format!("{} is too large", cloned.lv.name)))
    }

    /// After a create that LVM says has failed: what is there now decides. A group that LVM does
    /// not find, or can take nothing from (a disk is missing), leaves the volume to another node.
    fn after_failed_create(
        &self,
        change: &Change<'_>,
        plan: &Plan,
        name: &LvName,
        err: lvm::Error,
    ) -> Result<(), Error> {
        let doing = format!("making logical volume {name}");
        if matches!(err, lvm::Error::NoGroup { .. }) {
            self.chores.report_soon(&plan.pool.name);
            return Err(Error::NoRoom(err.to_string()));
        }
        if self.see_what_is_left(change).is_err() {
            return Err(Error::uncertain(doing, err));
        }
        match change.read(|ledger| ledger.find(name).cloned()) {
            None if plan.record.size > plan.pool.room(&plan.class).largest => {
                Err(Error::NoRoom(chain(&err)))
            }
            None => Err(lvm_failed(doing, err)),
            // Adopted a moment ago; now it is known, and the next call compares it with what is wanted.
            Some(_) if matches!(err, lvm::Error::Exists { .. }) => {
                Err(Error::Busy(format!("a volume {name} has just come into the group")))
            }
            Some(lv) => {
                tracing::warn!(%name, error = %err, "LVM reported a failure but made the volume");
                let vg = &change.vg();
                if lv.kind != Kind::HalfMade && self.tools.lvm.activate(vg, &lv.name).is_ok() {
                    self.ensure_has_node(&plan.pool, &lv.name);
                    return Ok(());
                }
                // Such as a thin volume that its pool never heard of; nobody has been told of it.
                if self.tools.lvm.remove(vg, &lv.name).is_err() {
                    return Err(Error::uncertain(doing, err));
                }
                change.enter(|ledger| drop(ledger.take_out(&lv.name)));
                Err(lvm_failed(doing, err))
            }
        }
    }

    /// Tags change later, off the caller's way: nothing waits for them, and what they say is found
    /// again by looking at the volume.
    pub(super) fn retag_soon(&self, found: &Found, remove: &[&str]) {
        self.chores.retag(Retag {
            pool: found.pool.name.clone(),
            lv: found.lv.name.clone(),
            remove: remove.iter().filter_map(|tag| tag.parse().ok()).collect(),
        });
    }
}

/// What CreateVolume has decided.
struct Plan {
    pool: Arc<Pool>,
    class: Class,
    record: Record,
}

/// The least size in which a file system of its kind can be made (mkfs.xfs(8), mkfs.btrfs(8)).
fn least_for(purpose: Purpose, size: Bytes, wanted: &Wanted) -> Result<Bytes, Error> {
    let least = match purpose {
        Purpose::Block => return Ok(size),
        Purpose::Filesystem(kind) => kind.smallest(),
    };
    if size >= least {
        return Ok(size);
    }
    let asked = wanted.size.least();
    Err(Error::OutOfRange(format!("{asked} is too small for {purpose}, which needs {least}")))
}

/// A volume as LVM will report it, but for its UUID.
pub(super) fn new_volume(
    name: &LvName,
    size: Bytes,
    kind: Kind,
    origin: Option<LvName>,
    tags: Vec<lvm::Tag>,
) -> LogicalVolume {
    LogicalVolume { origin, tags, ..LogicalVolume::new(name.clone(), size, kind) }
}
