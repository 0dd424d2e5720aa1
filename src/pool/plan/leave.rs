//! Disks that are to leave their pool: whether what lies on them fits on the others, and the steps.

use std::path::PathBuf;

use super::{DiskPlan, GroupState, Mismatch, Sought, Standing, Step};
use crate::{
    device::Wipe,
    lvm::{Footprint, PvMark, SeenPhysicalVolume},
    pool::{
        left::{has_left, has_leftovers},
        survey::{Disk, Survey},
    },
    units::Bytes,
    volume::PoolName,
};

/// How a member stands that is to leave.
pub(super) fn leaving(pool: PoolName, disk: &Disk, survey: &Survey) -> Standing {
    let footprint = disk.physical.as_ref().and_then(|it| it.footprint);
    let left = footprint.map_or(Bytes::ZERO, |it| Bytes(it.used * it.extent.0));
    let why = disk.failed.clone().or_else(|| in_the_way(disk, footprint, survey));
    Standing::Leaving { pool, left, why }
}

/// Why what lies on a disk cannot be moved to the others of its group.
fn in_the_way(disk: &Disk, footprint: Option<Footprint>, survey: &Survey) -> Option<String> {
    let (Some(own), Some(footprint)) = (&disk.physical, footprint) else {
        return Some("LVM does not say what lies on it".to_owned());
    };
    let is_other = |it: &&SeenPhysicalVolume| {
        let uuid = |it: &SeenPhysicalVolume| it.group.as_ref().map(|it| it.uuid.clone());
        it.uuid != own.uuid && uuid(it) == uuid(own)
    };
    let others: Vec<&SeenPhysicalVolume> = survey.physical.iter().filter(is_other).collect();
    if others.is_empty() {
        return Some("it is the only disk of its volume group".to_owned());
    }
    if let Some(why) = survey.cramped.get(&own.uuid) {
        return Some(why.clone());
    }
    let open = others.iter().filter(|it| !it.leaving && !it.missing);
    let room: u64 =
        open.filter_map(|it| it.footprint).map(|it| it.extents - it.used.min(it.extents)).sum();
    let missing = footprint.used.saturating_sub(room);
    (missing > 0).then(|| {
        let bytes = Bytes(missing * footprint.extent.0);
        format!("what lies on it does not fit on the pool's other disks: {bytes} are missing")
    })
}

impl Sought<'_> {
    /// What is done about the disks that are to leave, one move at a time, and about those that are to
    /// stay after all.
    pub(super) fn departures(
        &self,
        survey: &Survey,
        disks: &[DiskPlan],
        mark: &PvMark,
    ) -> Vec<Step> {
        if self.state != GroupState::There {
            return Vec::new();
        }
        let mut steps = Vec::new();
        let mut is_moving = false;
        for plan in disks {
            let Some(seen) = plan.disk.physical.as_ref().filter(|it| !it.duplicate) else {
                continue;
            };
            let (pool, vg) = (self.name().clone(), self.entry.group());
            let device = plan.disk.device.path.clone();
            match &plan.standing {
                Standing::Member(of) if of == self.name() && has_leftovers(seen) => {
                    steps.push(self.reopening(seen, device, false));
                }
                Standing::Taken(of) if of == self.name() && has_left(&plan.disk, survey) => {
                    steps.push(self.reopening(seen, device, true));
                }
                Standing::Leaving { pool: of, left, why: None } if of == self.name() => {
                    let uuid = seen.uuid.clone();
                    if !seen.leaving || seen.allocatable {
                        steps.push(Step::Close { pool, vg, device });
                    } else if *left == Bytes::ZERO {
                        steps.push(Step::Leave { pool, vg, device, uuid });
                    } else if !is_moving {
                        steps.push(Step::Move { pool, vg, device, uuid });
                        is_moving = true;
                    }
                }
                Standing::Unselected(misses)
                    if seen.group.is_none()
                        && mark.is_on(&seen.uuid)
                        && misses.contains(&(pool.clone(), Mismatch::Retired)) =>
                {
                    let uuid = seen.uuid.clone();
                    steps.push(Step::Forget { pool, vg, device, uuid });
                }
                Standing::Member(_)
                | Standing::Leaving { .. }
                | Standing::Taken(_)
                | Standing::Wiped(_)
                | Standing::Refused { .. }
                | Standing::Unselected(_) => (),
            }
        }
        steps
    }

    /// Whatever the pool says of deleted volumes, what was moved away is wiped: a class may want more than its pool.
    fn reopening(&self, seen: &SeenPhysicalVolume, device: PathBuf, joins: bool) -> Step {
        let wipe = match self.entry.spec.wipe {
            Wipe::None | Wipe::Zero | Wipe::QuickReset | Wipe::Shred => Wipe::Zero,
            Wipe::Discard => Wipe::Discard,
        };
        let (pool, vg, uuid) = (self.name().clone(), self.entry.group(), seen.uuid.clone());
        Step::Reopen { pool, vg, device, uuid, joins, wipe }
    }
}
