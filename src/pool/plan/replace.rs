//! Disks that are missing and will not come back: when they are given up, and others take their places.

use std::collections::BTreeSet;

use super::{GroupState, Sought, Step};
use crate::{
    lvm::{SeenGroup, SeenPhysicalVolume},
    pool::{
        repair::given_up,
        survey::{Absent, Survey},
    },
};

/// The missing physical volumes of a group, with what is known of each.
fn absent<'a>(
    survey: &'a Survey,
    group: &'a SeenGroup,
) -> impl Iterator<Item = (&'a SeenPhysicalVolume, Absent)> {
    let is_its = |it: &&SeenPhysicalVolume| {
        it.is_away() && it.group.as_ref().is_some_and(|its| its.uuid == group.uuid)
    };
    let away = survey.physical.iter().filter(is_its);
    away.map(|it| (it, survey.absent.get(&it.uuid).cloned().unwrap_or_default()))
}

/// Whether new disks may come in the places of those that a group misses.
pub(super) fn is_wanted(survey: &Survey, group: &SeenGroup) -> bool {
    absent(survey, group).any(|(_, it)| it.replaceable)
}

impl Sought<'_> {
    /// Which missing disks are given up: those that the spec retires and, where a new disk is taken, those
    /// that it may replace.
    pub(super) fn losses(&self, survey: &Survey, takes_a_disk: bool) -> Vec<Step> {
        let (pool, vg) = (self.name(), self.entry.group());
        match &self.state {
            GroupState::Waiting(_) | GroupState::Replacing(_) => (),
            GroupState::Absent | GroupState::There | GroupState::Barred(_) => return Vec::new(),
        }
        let groups = survey.physical.iter().filter_map(|it| it.group.as_ref());
        let Some(group) = groups.into_iter().find(|it| it.name == vg) else { return Vec::new() };
        let gone: BTreeSet<String> = given_up(&group.tags);
        let is_over = |(seen, known): &(&SeenPhysicalVolume, Absent)| {
            let retired = self.spec.retires_absent(known.serial.as_deref(), &seen.uuid);
            !gone.contains(&seen.uuid) && (retired || (takes_a_disk && known.replaceable))
        };
        let over = absent(survey, group).filter(is_over);
        let step = |(seen, _): (&SeenPhysicalVolume, Absent)| {
            let (pool, vg, uuid) = (pool.clone(), vg.clone(), seen.uuid.clone());
            Step::GiveUp { pool, vg, uuid }
        };
        over.map(step).collect()
    }
}
