//! Disks that were to leave their pools and stay after all: what was moved away from them still lies on their free
//! extents. These are taken, in one step with opening the disk, as a volume that was deleted, which is wiped like
//! any other before its extents are anybody's.
//!
//! A kill between two commands leaves the disk with its tag, and so to be reopened anew, before its pool is served.

use std::path::Path;

use super::{Host, ledger::leftovers_name, record::wipe_tags};
use crate::{
    device::Wipe,
    lvm::{
        Backing, Belonging, CreateVolume, Error, Group, Layout, LvName, Lvm, MoveExtents, Place,
        VgName,
    },
    pool::left,
    units::Bytes,
    volume,
};

/// A disk that stays.
pub(super) struct Reopening<'a> {
    pub(super) vg: &'a VgName,
    pub(super) device: &'a Path,
    /// LVM's own identity of its physical volume.
    pub(super) uuid: &'a str,
    /// Whether it has left the group, and comes back into it first.
    pub(super) joins: bool,
    /// How what is left on it is wiped.
    pub(super) wipe: Wipe,
}

impl Host {
    /// Takes back what a command was moving away from the disk when it was killed, and what would become free on the disk
    /// at some later time. It needs the group's volumes to be active, and so the pool to be served; until then the disk
    /// stays closed.
    ///
    /// # Errors
    /// [`volume::Error::Busy`] where that is not over.
    pub(super) fn end_move(&self, disk: &Reopening<'_>) -> Result<(), volume::Error> {
        let lvm = &*self.tools.lvm;
        let doing = "ending the move that was cut short";
        let is_moving = || {
            let reported = lvm.report(disk.vg).map_err(|err| volume::Error::machine(doing, err));
            reported.map(|group| group.moving.contains_key(disk.uuid))
        };
        if disk.joins || !is_moving()? {
            return Ok(());
        }
        if self.pools().served.iter().any(|it| it.vg == *disk.vg) {
            let (vg, device) = (disk.vg.clone(), disk.device.to_owned());
            let rest = MoveExtents { vg, device, first: 0, count: 1, on: None };
            self.change_group(disk.vg, doing, || {
                lvm.abort_move(disk.vg, disk.device)?;
                match lvm.report(disk.vg)?.moving.contains_key(disk.uuid) {
                    true => lvm.move_extents(&rest),
                    false => Ok(()),
                }
            })?;
        }
        match is_moving()? {
            false => Ok(()),
            true => Err(volume::Error::Busy("a move of what lies on it is not over".to_owned())),
        }
    }

    /// Opens the disk. The caller has the group's turn.
    ///
    /// # Errors
    /// When LVM does not do it. Nothing can be put on the disk then, unless LVM does not even close it again.
    pub(super) fn reopen(&self, disk: &Reopening<'_>) -> Result<(), Error> {
        let lvm = &*self.tools.lvm;
        if disk.joins {
            lvm.extend_group(disk.vg, &[disk.device.to_owned()])?;
        }
        let opened = close_anew(lvm, disk).and_then(|()| self.open_wiped(disk));
        if opened.is_err()
            && let Err(err) = lvm.set_belonging(disk.device, Belonging::Leaves)
        {
            tracing::warn!(disk = %disk.device.display(), %err, "not closed again");
        }
        opened
    }

    fn open_wiped(&self, disk: &Reopening<'_>) -> Result<(), Error> {
        let lvm = &*self.tools.lvm;
        lvm.set_belonging(disk.device, Belonging::Returns)?;
        let group = lvm.report(disk.vg)?;
        if let Some(leftovers) = leftovers(&group, disk, &self.creator)? {
            lvm.create_volume(&leftovers)?;
        }
        lvm.set_belonging(disk.device, Belonging::Stays)
    }
}

/// Brings a disk that has left its group and is in it again to where one is that was only to leave: closed by its own
/// tag, with none of the group about it.
fn close_anew(lvm: &dyn Lvm, disk: &Reopening<'_>) -> Result<(), Error> {
    let Some(tag) = left::tag_for(disk.uuid) else { return Ok(()) };
    if !lvm.report(disk.vg)?.tags.contains(&tag) {
        return Ok(());
    }
    lvm.set_belonging(disk.device, Belonging::Leaves)?;
    lvm.tag_group(disk.vg, &[], &[tag])
}

/// The deleted volume that takes all free extents of a disk; `None` where there are none.
///
/// # Errors
/// When LVM does not show the disk.
fn leftovers(
    group: &Group,
    disk: &Reopening<'_>,
    creator: &str,
) -> Result<Option<CreateVolume>, Error> {
    let shown = |what: &str| Error::Report(format!("{what} of disk {}", disk.uuid));
    let physical = group.physical.iter().find(|it| it.uuid == disk.uuid);
    let physical = physical.ok_or_else(|| shown("nothing"))?;
    if physical.free() == 0 {
        return Ok(None);
    }
    let is_free = |name: &LvName| !group.logical.iter().any(|lv| lv.name == *name);
    let mut names = (0..).map_while(|number| leftovers_name(disk.uuid, number));
    let name = names.find(is_free).ok_or_else(|| shown("no usable identity"))?;
    Ok(Some(CreateVolume {
        vg: group.name.clone(),
        name,
        size: Bytes(physical.free() * group.extent.0),
        backing: Backing::Thick(Layout::Linear),
        on: vec![Place { device: physical.device.clone(), stretches: physical.free_runs.clone() }],
        tags: wipe_tags(disk.wipe, creator),
    }))
}
