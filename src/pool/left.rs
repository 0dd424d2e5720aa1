//! Disks that Tarn has emptied and takes out of a group: noted by a tag of the group just before, since a
//! physical volume in no group has none. What lies on such a disk was moved elsewhere, and is nobody's. Pure.

use super::survey::{Disk, Survey};
use crate::lvm::{SeenPhysicalVolume, Tag};

/// The tag of a group for a physical volume that was emptied and leaves it.
const LEFT: &str = "tarn.left=";

/// The tag that says so of a physical volume, by LVM's identity of it. `None` for what LVM never gives.
pub fn tag_for(uuid: &str) -> Option<Tag> {
    format!("{LEFT}{uuid}").parse().ok()
}

/// Whether a group's tags say so of a physical volume.
pub fn says_so(tags: &[Tag], uuid: &str) -> bool {
    tags.iter().any(|tag| tag.as_str().strip_prefix(LEFT) == Some(uuid))
}

/// Whether a disk is in no group, and has left one of those that are seen.
pub(super) fn has_left(disk: &Disk, survey: &Survey) -> bool {
    let groups = || survey.physical.iter().filter_map(|it| it.group.as_ref());
    let is_told = |it: &SeenPhysicalVolume| groups().any(|group| says_so(&group.tags, &it.uuid));
    disk.physical.as_ref().is_some_and(|it| it.group.is_none() && is_told(it))
}

/// Whether a disk in a group may still have on its free extents what was moved away from it: it was to leave, or
/// has left and is in it again.
pub(super) fn has_leftovers(physical: &SeenPhysicalVolume) -> bool {
    let tags = physical.group.as_ref().map_or(&[][..], |it| &it.tags);
    physical.leaving || says_so(tags, &physical.uuid)
}
