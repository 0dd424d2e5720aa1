//! Groups that miss a disk, and disks that leave their group.

use std::path::Path;

use super::{
    EXTENT, Ground, extents,
    ground::{lv, tags},
};
use crate::{
    lvm::{
        Backing, Belonging, CreatePhysicalVolume, CreateVolume, Error, Group, Layout, MoveExtents,
        Place, PvMark, SnapshotKind,
    },
    units::Bytes,
};

pub(super) fn a_group_that_misses_a_disk_is_hardly_changed(ground: &Ground<'_>) {
    let (lvm, vg) = (ground.lvm, &ground.vg);
    let (lost, whole) = two_on_two_disks(ground);
    ground.pool(4, Layout::Linear).unwrap();
    let before = ground.report();
    ground.fate.set_missing(0, true);
    let partial = ground.report();
    let missing: Vec<_> = partial.physical.iter().filter(|it| it.missing).collect();
    assert_eq!((missing.len(), &missing[0].uuid), (1, &before.physical[0].uuid));
    assert!(!missing[0].is_there());
    assert_eq!(partial.free, before.free);
    assert!(ground.seen(&lost).lost && !ground.seen(&whole).lost);
    let refused = [
        ground.thick("v", 1),
        ground.thin("v", EXTENT),
        ground.snapshot(&whole, "s", SnapshotKind::CopyOnWrite(EXTENT)),
        ground.extend(&whole, extents(300)),
        lvm.rename(vg, &lv(&whole), &lv("w")),
        ground.remove(&lost),
    ];
    for answer in refused {
        assert!(matches!(answer, Err(Error::NoGroup { .. })), "{answer:?}");
    }
    assert_eq!(ground.report(), partial);
    ground.fate.set_missing(0, false);
    assert_eq!(ground.report(), before, "nothing has marked it");
}

pub(super) fn a_disk_that_was_away_during_a_change_is_marked_until_it_is_taken_back(
    ground: &Ground<'_>,
) {
    let (lvm, vg) = (ground.lvm, &ground.vg);
    let (lost, whole) = two_on_two_disks(ground);
    ground.thick("third", 100).unwrap();
    let disk = ground.report().physical[0].device.clone();
    let seen_in = |group: Group| group.physical.into_iter().find(|it| it.device == disk).unwrap();
    assert!(lvm.take_back(vg, &disk).is_err(), "it is not missing");
    ground.fate.set_missing(0, true);
    lvm.change_tags(vg, &lv(&lost), &tags(&["c"]), &[]).unwrap();
    lvm.deactivate(vg, &lv(&lost)).unwrap();
    lvm.deactivate(vg, &lv(&whole)).unwrap();
    for refused in [lvm.activate(vg, &lv(&lost)), lvm.refresh(vg, &lv(&lost))] {
        assert!(refused.is_err(), "{refused:?}");
    }
    lvm.activate(vg, &lv(&whole)).unwrap();
    ground.remove("third").unwrap();
    assert!(lvm.take_back(vg, &disk).is_err(), "it is away");
    ground.fate.set_missing(0, false);
    assert!(seen_in(ground.report()).missing && ground.seen(&lost).lost);
    let seen = lvm.physical_volumes().unwrap();
    let seen = seen.iter().find(|it| it.device == disk).unwrap();
    assert!(seen.missing && !seen.is_away());
    assert!(ground.thick("v", 1).is_err());
    lvm.take_back(vg, &disk).unwrap();
    assert!(!seen_in(ground.report()).missing && !ground.seen(&lost).lost);
    assert!(ground.seen(&lost).tags.contains(&tags(&["c"])[0]));
    lvm.activate(vg, &lv(&lost)).unwrap();
    lvm.refresh(vg, &lv(&lost)).unwrap();
    ground.thick("v", 1).unwrap();
}

pub(super) fn a_disk_is_emptied_and_leaves(ground: &Ground<'_>) {
    let (lvm, vg) = (ground.lvm, &ground.vg);
    let (_, second) = two_on_two_disks(ground);
    ground.thick("third", 100).unwrap();
    ground.remove(&second).unwrap();
    let third = ground.report().physical[2].device.clone();
    let has = |group: &Group| group.physical.iter().find(|it| it.device == third).cloned();
    let all = MoveExtents { vg: vg.clone(), device: third.clone(), first: 0, count: 256, on: None };
    let all = MoveExtents { count: has(&ground.report()).unwrap().extents, ..all };
    lvm.set_belonging(&third, Belonging::Leaves).unwrap();
    assert!(!has(&ground.report()).unwrap().allocatable);
    let seen = lvm.physical_volumes().unwrap();
    let seen = seen.iter().find(|it| it.device == third).unwrap();
    assert_eq!((seen.leaving, seen.allocatable), (true, false));
    assert_eq!(seen.footprint.unwrap().used, 100);
    assert!(lvm.reduce_group(vg, &third).is_err(), "something lies on it");
    for _ in 0..2 {
        lvm.move_extents(&all).unwrap();
        let disk = has(&ground.report()).unwrap();
        assert_eq!((disk.free_runs.len(), disk.free()), (1, disk.extents));
    }
    assert_eq!((ground.seen("third").size, ground.seen("third").active), (extents(100), true));
    lvm.reduce_group(vg, &third).unwrap();
    assert!(has(&ground.report()).is_none());
    lvm.remove_physical_volume(&third).unwrap();
    assert!(!lvm.physical_volumes().unwrap().iter().any(|it| it.device == third));
    assert!(lvm.remove_physical_volume(&third).is_err(), "it is none");
    // It joins a group that misses another disk, which is marked by that.
    let mark = PvMark::of("the contract");
    let anew = CreatePhysicalVolume { device: third.clone(), mark, metadata: Bytes::mib(4) };
    lvm.create_physical_volume(&anew).unwrap();
    let first = ground.report().physical[0].device.clone();
    ground.fate.set_missing(0, true);
    lvm.extend_group(vg, std::slice::from_ref(&third)).unwrap();
    ground.fate.set_missing(0, false);
    assert!(has(&ground.report()).unwrap().allocatable);
    assert!(ground.thick("v", 1).is_err());
    lvm.take_back(vg, &first).unwrap();
    ground.thick("v", 1).unwrap();
    a_disk_stays_after_all(ground, &third);
    let full = MoveExtents { device: first, ..all };
    ground.thick("filler", ground.free()).unwrap();
    assert!(matches!(lvm.move_extents(&full), Err(Error::NoSpace { .. })));
}

/// Whatever is put on it while it returns lies on all of it, and nothing else does.
fn a_disk_stays_after_all(ground: &Ground<'_>, disk: &Path) {
    let (lvm, vg) = (ground.lvm, &ground.vg);
    let reported = || ground.report().physical.into_iter().find(|it| it.device == disk).unwrap();
    for state in [Belonging::Leaves, Belonging::Leaves, Belonging::Returns, Belonging::Returns] {
        lvm.set_belonging(disk, state).unwrap();
    }
    let before = reported();
    assert!(before.allocatable);
    let all = CreateVolume {
        vg: vg.clone(),
        name: lv("all"),
        size: extents(before.free()),
        backing: Backing::Thick(Layout::Linear),
        on: vec![Place { device: disk.to_owned(), stretches: before.free_runs }],
        tags: Vec::new(),
    };
    lvm.create_volume(&all).unwrap();
    assert_eq!(reported().free(), 0);
    lvm.set_belonging(disk, Belonging::Stays).unwrap();
    let seen = lvm.physical_volumes().unwrap();
    let seen = seen.iter().find(|it| it.device == disk).unwrap();
    assert_eq!((seen.leaving, seen.allocatable), (false, true));
    ground.remove("all").unwrap();
}

/// A volume on the first disk and one on the second.
fn two_on_two_disks(ground: &Ground<'_>) -> (String, String) {
    let size = ground.report().physical[0].extents;
    ground.thick("one", size - 8).unwrap();
    ground.thick("two", size - 8).unwrap();
    ("one".to_owned(), "two".to_owned())
}
