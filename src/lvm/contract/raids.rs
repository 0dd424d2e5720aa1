//! What every [`Lvm`](crate::lvm::Lvm) must do with RAID volumes, on three equal disks.

use super::{
    Ground, extents,
    ground::{lv, tags},
    raid,
};
use crate::{
    lvm::{
        Backing, Error, Group, Kind, LEG_METADATA, Layout, LegStretch, Legs, LostLeg, MoveExtents,
        Place, Raid, RaidLevel, RepairRaid, SnapshotKind, Stretch, physical::is_unknown, places,
    },
    units::Bytes,
};

fn mirror() -> Raid {
    raid(RaidLevel::Raid1, 1)
}

/// The extents in use of each disk, most first.
fn used(ground: &Ground<'_>) -> Vec<u64> {
    let group = ground.report();
    let mut used: Vec<u64> = group.physical.iter().map(|pv| pv.extents - pv.free()).collect();
    used.sort_by(|a, b| b.cmp(a));
    used
}

fn legs(ground: &Ground<'_>, name: &str) -> Legs {
    ground.seen(name).legs.unwrap()
}

fn each_leg_has_a_disk_of_its_own(ground: &Ground<'_>) {
    let before = ground.report();
    ground.raid("v", 6, mirror()).unwrap();
    let seen = ground.seen("v");
    assert_eq!((seen.size, &seen.kind, seen.active), (extents(6), &Kind::Thick, true));
    assert_eq!(seen.tags, tags(&["a=1", "b=2"]));
    let its = legs(ground, "v");
    assert_eq!((its.disks.len(), its.stripes), (2, 1));
    assert_ne!(its.disks[0], its.disks[1]);
    let each = 6 + LEG_METADATA;
    assert_eq!(used(ground), [each, each, 0]);
    for _ in 0..2 {
        ground.extend("v", extents(9)).unwrap();
        assert_eq!((ground.seen("v").size, legs(ground, "v")), (extents(9), its.clone()));
        assert_eq!(used(ground), [each + 3, each + 3, 0]);
    }
    let names: Vec<_> = ground.report().logical.into_iter().map(|it| it.name).collect();
    assert_eq!(names, [lv("v")], "what LVM has below it is not shown");
    ground.remove("v").unwrap();
    ground.remove("v").unwrap();
    assert_eq!(ground.report(), before);
}

fn parity_takes_a_disk_more(ground: &Ground<'_>) {
    ground.raid("v", 5, raid(RaidLevel::Raid5, 2)).unwrap();
    assert_eq!((ground.seen("v").size, legs(ground, "v").stripes), (extents(6), 2));
    assert_eq!(used(ground), [3 + LEG_METADATA; 3]);
    ground.extend("v", extents(8)).unwrap();
    assert_eq!(used(ground), [4 + LEG_METADATA; 3]);
    let again = ground.raid("v", 4, mirror()).unwrap_err();
    assert!(matches!(again, Error::Exists { .. }), "{again:?}");
}

fn what_has_too_few_disks_or_extents_is_refused(ground: &Ground<'_>) {
    let before = ground.report();
    let disk = before.physical[0].extents;
    let full = ground.raid("v", disk, mirror()).unwrap_err();
    assert!(matches!(full, Error::NoSpace { .. }), "{full:?}");
    assert!(ground.raid("v", 4, raid(RaidLevel::Raid6, 3)).is_err());
    assert!(ground.raid("v", 4, raid(RaidLevel::Raid10, 2)).is_err());
    assert_eq!(ground.report(), before);
    ground.raid("v", 4, mirror()).unwrap();
    let full = ground.extend("v", extents(disk)).unwrap_err();
    assert!(matches!(full, Error::NoSpace { .. }), "{full:?}");
    assert_eq!(ground.seen("v").size, extents(4));
}

fn a_raid_is_renamed_sleeps_and_wakes(ground: &Ground<'_>) {
    let (lvm, vg) = (ground.lvm, &ground.vg);
    ground.raid("v", 4, mirror()).unwrap();
    ground.fate.wait_for_sync("v");
    let before = ground.seen("v");
    lvm.rename(vg, &lv("v"), &lv("w")).unwrap();
    assert_eq!(ground.seen("w"), crate::lvm::LogicalVolume { name: lv("w"), ..before });
    lvm.deactivate(vg, &lv("w")).unwrap();
    assert!(!ground.seen("w").active);
    lvm.activate_group(vg).unwrap();
    lvm.refresh(vg, &lv("w")).unwrap();
    assert!(ground.seen("w").active);
    ground.fate.suspend("w");
    assert!(ground.seen("w").suspended);
    lvm.refresh(vg, &lv("w")).unwrap();
    assert!(!ground.seen("w").suspended);
}

fn a_raid_whose_activation_was_cut_short_is_activated(ground: &Ground<'_>) {
    let (lvm, vg) = (ground.lvm, &ground.vg);
    ground.raid("v", 4, mirror()).unwrap();
    ground.fate.cut_activation("v");
    assert!(!ground.seen("v").active);
    lvm.activate(vg, &lv("v")).unwrap();
    assert!(ground.seen("v").active);
    ground.fate.cut_activation("v");
    lvm.activate_group(vg).unwrap();
    assert!(ground.seen("v").active);
    ground.fate.cut_activation("v");
    ground.remove("v").unwrap();
}

fn a_raid_works_without_a_leg(ground: &Ground<'_>) {
    let (lvm, vg) = (ground.lvm, &ground.vg);
    ground.raid("v", 4, mirror()).unwrap();
    ground.fate.wait_for_sync("v");
    let whole = ground.seen("v");
    ground.fate.set_missing(0, true);
    let seen = ground.seen("v");
    assert!(seen.lost && seen.legs.unwrap().works);
    lvm.deactivate(vg, &lv("v")).unwrap();
    lvm.activate(vg, &lv("v")).unwrap();
    let refused = ground.remove("v").unwrap_err();
    assert!(matches!(refused, Error::NoGroup { .. }), "{refused:?}");
    ground.fate.set_missing(0, false);
    lvm.refresh(vg, &lv("v")).unwrap();
    assert_eq!(ground.seen("v"), whole);
    ground.remove("v").unwrap();
}

fn a_lost_leg_is_replaced_and_its_disk_forgotten(ground: &Ground<'_>) {
    let (lvm, vg) = (ground.lvm, &ground.vg);
    ground.raid("v", 4, mirror()).unwrap();
    ground.thick("beside", 2).unwrap();
    ground.fate.wait_for_sync("v");
    let whole = ground.report();
    let gone = whole.physical[0].uuid.clone();
    let repair = |on| RepairRaid { vg: vg.clone(), lv: lv("v"), on };
    lvm.repair(&repair(Vec::new())).unwrap();
    assert_eq!(ground.report(), whole, "nothing was missing");
    ground.fate.set_missing(0, true);
    let its = legs(ground, "v");
    let lost = its.disks.iter().position(|it| is_unknown(it)).unwrap();
    assert_eq!(its.lost, [LostLeg { leg: lost, disk: gone.clone() }]);
    lvm.tag_group(vg, &tags(&["gone"]), &[]).unwrap();
    assert!(ground.report().tags.contains(&tags(&["gone"])[0]));
    let there: Vec<_> = ground.report().physical.into_iter().filter(|it| !it.missing).collect();
    let (its_own, others): (Vec<_>, Vec<_>) =
        there.into_iter().partition(|it| its.disks.contains(&it.device));
    let (kept, third) = (&its_own[0], &others[0]);
    let each = its.extents_of_leg(4);
    for (disk, extents) in [(third, each - 1), (kept, each)] {
        let full = lvm.repair(&repair(places(&[disk], extents).unwrap())).unwrap_err();
        assert!(matches!(full, Error::NoSpace { .. }), "{full:?}");
        assert!(ground.seen("v").lost);
    }
    for _ in 0..2 {
        lvm.repair(&repair(places(&[third], each).unwrap())).unwrap();
        let seen = ground.seen("v");
        assert!(!seen.lost && seen.active && seen.size == extents(4));
        let its = seen.legs.unwrap();
        assert!(its.works && its.lost.is_empty() && its.disks.contains(&third.device));
    }
    // Whatever else lies there keeps the disk in the group.
    lvm.forget_missing(vg).unwrap();
    assert!(ground.seen("beside").lost);
    lvm.discard_leg(vg, &lv("beside")).unwrap();
    lvm.discard_leg(vg, &lv("beside")).unwrap();
    lvm.forget_missing(vg).unwrap();
    lvm.forget_missing(vg).unwrap();
    lvm.tag_group(vg, &[], &tags(&["gone"])).unwrap();
    let group = ground.report();
    assert!(!group.physical.iter().any(|it| it.missing || it.uuid == gone));
    assert_eq!(group.tags, whole.tags);
    ground.fate.wait_for_sync("v");
    lvm.refresh(vg, &lv("v")).unwrap();
    ground.thick("more", 1).unwrap();
    for name in ["v", "more"] {
        ground.remove(name).unwrap();
    }
    assert_eq!(used(ground), [0; 2]);
    ground.bring_back_empty(&whole);
    assert_eq!(used(ground), [0; 3]);
}

fn a_leg_goes_where_it_is_told(ground: &Ground<'_>) {
    ground.raid("v", 4, mirror()).unwrap();
    ground.fate.wait_for_sync("v");
    let before = ground.report();
    let its = legs(ground, "v");
    let third = before.physical.iter().find(|it| !its.disks.contains(&it.device)).unwrap();
    let from = before.physical.iter().find(|it| it.device == its.disks[0]).unwrap();
    let on = |group: &Group, uuid: &str| -> Vec<LegStretch> {
        group.legs.iter().filter(|it| it.disk == uuid).cloned().collect()
    };
    let leg = on(&before, &from.uuid)[0].leg;
    assert!(on(&before, &from.uuid).iter().all(|it| (&it.volume, it.leg) == (&lv("v"), leg)));
    assert!(on(&before, &third.uuid).is_empty());
    // Piece by piece, so that a leg lies on two disks meanwhile, to the end of the free room.
    let mut end = third.extents;
    while let Some(piece) = on(&ground.report(), &from.uuid).first() {
        let stretch = Stretch { start: end - 1, length: 1 };
        let there = Place { device: third.device.clone(), stretches: vec![stretch] };
        let (vg, device) = (ground.vg.clone(), from.device.clone());
        let first = piece.stretch.start;
        let wanted = MoveExtents { vg, device, first, count: 1, on: Some(there) };
        ground.lvm.move_extents(&wanted).unwrap();
        end -= 1;
        let group = ground.report();
        let theirs = on(&group, &third.uuid);
        assert!(theirs.iter().all(|it| (&it.volume, it.leg) == (&lv("v"), leg)), "{theirs:?}");
        assert_eq!(theirs.iter().map(|it| it.stretch.start).min(), Some(end));
        assert_eq!(group.moving.len(), 0, "nothing is left half-way");
    }
    assert_eq!(third.extents - end, 4 + LEG_METADATA);
    let disks = vec![third.device.clone(), its.disks[1].clone()];
    assert_eq!(legs(ground, "v"), Legs { disks, ..its });
    ground.remove("v").unwrap();
}

fn a_snapshot_of_a_raid_is_as_of_any_thick_volume(ground: &Ground<'_>) {
    ground.raid("v", 4, mirror()).unwrap();
    let before = used(ground).iter().sum::<u64>();
    ground.snapshot("v", "s", SnapshotKind::CopyOnWrite(extents(2))).unwrap();
    let (origin, snapshot) = (ground.seen("v"), ground.seen("s"));
    assert_eq!((origin.kind, origin.legs.is_some()), (Kind::Thick, true));
    assert_eq!((snapshot.kind, snapshot.size), (Kind::CopyOnWrite, extents(4)));
    assert_eq!((snapshot.origin, snapshot.legs), (Some(lv("v")), None));
    assert_eq!(used(ground).iter().sum::<u64>(), before + 2);
    for refused in [ground.remove("v"), ground.extend("v", extents(9))] {
        assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
    }
    ground.lvm.split_snapshot(&ground.vg, &lv("s")).unwrap();
    assert_eq!((ground.seen("s").kind, ground.seen("s").size), (Kind::Thick, extents(2)));
    ground.extend("v", extents(5)).unwrap();
    ground.remove("v").unwrap();
    ground.remove("s").unwrap();
    assert_eq!(used(ground), [0; 3]);
}

fn a_volume_says_how_it_lies(ground: &Ground<'_>) {
    let layout = |name: &str| ground.lvm.layout(&ground.vg, &lv(name));
    let size = Some(Bytes(16 << 10));
    let side_by_side = Layout::Striped { stripes: 3, stripe_size: size };
    let raid5 = raid(RaidLevel::Raid5, 2);
    ground.thick("v", 3).unwrap();
    ground.create("w", extents(6), Backing::Thick(side_by_side)).unwrap();
    ground.raid("r", 4, Raid { stripe_size: size, ..raid5 }).unwrap();
    ground.raid("m", 4, raid(RaidLevel::Raid1, 1)).unwrap();
    ground.pool(8, Layout::Linear).unwrap();
    ground.thin("t", extents(4)).unwrap();
    assert_eq!(layout("v").unwrap(), Some(Layout::Linear));
    assert_eq!(layout("w").unwrap(), Some(side_by_side));
    assert_eq!(layout("r").unwrap(), Some(Layout::Raid(Raid { stripe_size: size, ..raid5 })));
    assert_eq!(layout("m").unwrap(), Some(Layout::Raid(raid(RaidLevel::Raid1, 1))));
    assert_eq!(layout("t").unwrap(), Some(Layout::Linear));
    let gone = layout("x").unwrap_err();
    assert!(matches!(gone, Error::NoVolume { .. }), "{gone:?}");
}

pub(super) const RULES: &[fn(&Ground<'_>)] = &[
    a_volume_says_how_it_lies,
    each_leg_has_a_disk_of_its_own,
    parity_takes_a_disk_more,
    what_has_too_few_disks_or_extents_is_refused,
    a_raid_is_renamed_sleeps_and_wakes,
    a_raid_whose_activation_was_cut_short_is_activated,
    a_raid_works_without_a_leg,
    a_snapshot_of_a_raid_is_as_of_any_thick_volume,
    a_leg_goes_where_it_is_told,
    // The disks are in another order afterwards.
    a_lost_leg_is_replaced_and_its_disk_forgotten,
];
