//! ControllerExpandVolume: the logical volume grows; its file system grows on the node, later.

use super::{Found, Host, class::provisioning_of, lvm_failed, pool::Change};
use crate::{
    lvm,
    pool::{Class, capacity::unit_of},
    units::Bytes,
    volume::{Error, SizeRange, Volume, VolumeId},
};

impl Host {
    /// Grows a volume to a size in range; one that is large enough is left as it is.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] also where the pool is full: external-resizer lets the user ask for
    /// less only after that code.
    pub fn expand(&self, id: &VolumeId, size: SizeRange) -> Result<Volume, Error> {
        let found = self.finished_volume(id)?;
        if size.least() <= found.lv.size {
            return Ok(self.as_volume(id.clone(), &found.lv, &found.record));
        }
        let extent = found.pool.read(|ledger| ledger.group().extent);
        let wanted = size.fit(unit_of(extent, found.record.layout), Bytes::ZERO)?;
        found.ensure_in_own_thin_pool()?;
        let change = found.pool.change();
        if found.pool.read(|ledger| ledger.dependents(&found.lv.name).next().is_some()) {
            return Err(Error::Precondition(format!(
                "volume {id} has copy-on-write snapshots; delete them before it can grow"
            )));
        }
        self.extend(&change, &found, wanted)?;
        drop(change);
        let grown = self.finished_volume(id)?;
        Ok(self.as_volume(id.clone(), &grown.lv, &grown.record))
    }

    /// Grows a volume with one command, once it is known that there is room.
    pub(super) fn extend(
        &self,
        change: &Change<'_>,
        found: &Found,
        size: Bytes,
    ) -> Result<(), Error> {
        let (pool, name) = (&found.pool, &found.lv.name);
        let class = Class {
            provisioning: provisioning_of(&found.lv.kind),
            layout: found.record.layout,
            wipe: found.record.wipe,
        };
        change.ensure_whole(&*self.tools.lvm)?;
        let more = size.saturating_sub(found.lv.size);
        let legs = found.lv.legs.as_ref();
        let room = || pool.room_to_grow(&class, legs);
        if !change.has_room(&*self.tools.lvm, || more <= room())? {
            return Err(Error::OutOfRange(format!(
                "pool {} has no room for {more} more; there are {}",
                pool.name,
                room()
            )));
        }
        let on = match legs {
            Some(legs) => {
                change.settle(&*self.tools.lvm)?;
                pool.places_to_grow(legs, more)?
            }
            None => Vec::new(),
        };
        match self.tools.lvm.extend(&pool.vg, name, size, &on) {
            Ok(()) => {
                change.enter(|ledger| ledger.change(name, |lv| lv.size = size));
                self.chores.report_soon(&pool.name);
                Ok(())
            }
            Err(err @ lvm::Error::NoSpace { .. }) => {
                self.chores.report_soon(&pool.name);
                Err(Error::OutOfRange(err.to_string()))
            }
            Err(err) => self.after_failed_extend(change, found, size, err),
        }
    }

    /// After an extend that LVM says has failed: an interrupted one may have grown the volume, and
    /// may have left it suspended, with its user's I/O hanging.
    fn after_failed_extend(
        &self,
        change: &Change<'_>,
        found: &Found,
        size: Bytes,
        err: lvm::Error,
    ) -> Result<(), Error> {
        let name = &found.lv.name;
        let doing = format!("growing {name}");
        if self.see_what_is_left(change).is_err() {
            return Err(Error::uncertain(doing, err));
        }
        match found.pool.read(|ledger| ledger.find(name).cloned()) {
            Some(lv) if lv.suspended => Err(Error::uncertain(format!("resuming {name}"), err)),
            Some(lv) if lv.size >= size => Ok(()),
            _ => Err(lvm_failed(doing, err)),
        }
    }
}
