//! What every [`Lvm`](super::Lvm) must do. One function a rule; each runs on a fresh group of three
//! equal disks, on the fake always and on real LVM in the guest.

mod disks;
mod ground;
mod raids;
mod strays;
mod thin_raids;

pub(crate) use ground::{Ground, ScratchGroup, extents, raid, striped};
use ground::{lv, tags};

use super::{
    Backing, CreatePhysicalVolume, Error, Kind, Layout, LogicalVolume, PhysicalVolume, PvMark,
    SeenPhysicalVolume, SnapshotKind, cow_size, fake::FakeLvm,
};
use crate::units::Bytes;

const EXTENT: Bytes = Bytes::mib(4);

fn names_and_tags_are_as_asked(ground: &Ground<'_>) {
    ground.thick("v", 3).unwrap();
    let seen = ground.seen("v");
    assert_eq!((seen.size, &seen.kind), (extents(3), &Kind::Thick));
    assert_eq!(seen.tags, tags(&["a=1", "b=2"]));
    assert_eq!((seen.origin, seen.active, seen.suspended), (None, true, false));
}

fn a_report_adds_up(ground: &Ground<'_>) {
    ground.thick("v", 5).unwrap();
    let group = ground.report();
    assert_eq!((&group.name, group.extent, group.free), (&ground.vg, EXTENT, group.extents - 5));
    assert_eq!(group.physical.len(), 3);
    assert_eq!(group.physical.iter().map(|pv| pv.extents).sum::<u64>(), group.extents);
    assert_eq!(group.physical.iter().map(PhysicalVolume::free).sum::<u64>(), group.free);
    assert!(group.physical.iter().all(|pv| pv.allocatable && !pv.missing));
    assert!(!group.uuid.is_empty());
}

fn every_physical_volume_is_seen_with_its_group(ground: &Ground<'_>) {
    let group = ground.report();
    let seen = ground.lvm.physical_volumes().unwrap();
    let is_in = |it: &&SeenPhysicalVolume| it.group.as_ref().is_some_and(|it| it.name == ground.vg);
    let of_group: Vec<_> = seen.iter().filter(is_in).collect();
    assert_eq!(of_group.len(), 3);
    for disk in &group.physical {
        let found = of_group.iter().find(|it| it.device == disk.device).unwrap();
        let its = found.group.as_ref().unwrap();
        assert_eq!((&its.uuid, &its.tags, its.missing), (&group.uuid, &group.tags, 0));
        assert!(!found.uuid.is_empty() && !found.duplicate && !its.elsewhere);
    }
    // What is in a group already is not taken again, and no group is made of nothing.
    let disk = group.physical[0].device.clone();
    let mark = PvMark::of("the contract");
    let again = CreatePhysicalVolume { device: disk.clone(), mark, metadata: Bytes::MIB };
    ground.lvm.create_physical_volume(&again).unwrap_err();
    ground.lvm.extend_group(&ground.vg, &[disk]).unwrap_err();
    assert_eq!(ground.report(), group);
}

fn a_name_can_be_used_once(ground: &Ground<'_>) {
    ground.thick("v", 3).unwrap();
    let before = ground.report();
    let again = ground.thick("v", 4).unwrap_err();
    assert!(matches!(again, Error::Exists { .. }), "{again:?}");
    let too_large = ground.thick("v", 1 << 30).unwrap_err();
    assert!(matches!(too_large, Error::Exists { .. }), "{too_large:?}");
    assert_eq!(ground.report(), before);
}

fn a_full_group_stays_as_it_is(ground: &Ground<'_>) {
    let before = ground.report();
    let full = ground.thick("v", before.free + 1).unwrap_err();
    assert!(matches!(full, Error::NoSpace { .. }), "{full:?}");
    assert_eq!(ground.report(), before);
    ground.thick("v", before.free).unwrap();
    assert_eq!(ground.free(), 0);
}

fn no_group_is_said_so(ground: &Ground<'_>) {
    let nowhere = Ground { vg: "no-such-group".parse().unwrap(), ..*ground };
    let (vg, v) = (&nowhere.vg, &lv("v"));
    let answers = [
        nowhere.lvm.report(vg).map(drop),
        nowhere.lvm.activate_group(vg),
        nowhere.thick("v", 1),
        nowhere.thin("v", EXTENT),
        nowhere.pool(1, Layout::Linear),
        nowhere.snapshot("v", "s", SnapshotKind::ThinFrozen),
        nowhere.extend("v", EXTENT),
        nowhere.remove("v"),
        nowhere.lvm.rename(vg, v, &lv("w")),
        nowhere.lvm.split_snapshot(vg, v),
        nowhere.lvm.change_tags(vg, v, &tags(&["a"]), &[]),
        nowhere.lvm.activate(vg, v),
        nowhere.lvm.deactivate(vg, v),
        nowhere.lvm.refresh(vg, v),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(Error::NoGroup { .. })), "{answer:?}");
    }
}

fn no_volume_is_said_so(ground: &Ground<'_>) {
    let (lvm, vg, v) = (ground.lvm, &ground.vg, &lv("v"));
    let answers = [
        ground.thin("w", EXTENT),
        ground.snapshot("v", "s", SnapshotKind::ThinFrozen),
        ground.snapshot("v", "s", SnapshotKind::CopyOnWrite(EXTENT)),
        ground.extend("v", EXTENT),
        lvm.rename(vg, v, &lv("w")),
        lvm.split_snapshot(vg, v),
        lvm.change_tags(vg, v, &tags(&["a"]), &[]),
        lvm.activate(vg, v),
        lvm.deactivate(vg, v),
        lvm.refresh(vg, v),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(Error::NoVolume { .. })), "{answer:?}");
    }
}

fn removing_twice_is_removing_once(ground: &Ground<'_>) {
    let before = ground.report();
    ground.thick("v", 7).unwrap();
    ground.remove("v").unwrap();
    ground.remove("v").unwrap();
    assert_eq!(ground.report(), before);
}

fn growing_keeps_what_is_there(ground: &Ground<'_>) {
    ground.thick("v", 2).unwrap();
    let before = ground.free();
    ground.extend("v", extents(6)).unwrap();
    ground.extend("v", extents(6)).unwrap();
    assert_eq!((ground.seen("v").size, ground.free()), (extents(6), before - 4));
    let full = ground.extend("v", extents(before + 3)).unwrap_err();
    assert!(matches!(full, Error::NoSpace { .. }), "{full:?}");
    let smaller = ground.extend("v", extents(1)).unwrap_err();
    assert!(matches!(smaller, Error::Tool(_)), "{smaller:?}");
    assert_eq!((ground.seen("v").size, ground.free()), (extents(6), before - 4));
    ground.lvm.deactivate(&ground.vg, &lv("v")).unwrap();
    ground.extend("v", extents(before + 2)).unwrap();
    assert_eq!(ground.free(), 0);
}

fn a_renamed_volume_is_the_same_volume(ground: &Ground<'_>) {
    ground.thick("v", 2).unwrap();
    ground.thick("other", 2).unwrap();
    let before = ground.seen("v");
    let clash = ground.lvm.rename(&ground.vg, &lv("v"), &lv("other")).unwrap_err();
    assert!(matches!(clash, Error::Exists { .. }), "{clash:?}");
    ground.lvm.rename(&ground.vg, &lv("v"), &lv("w")).unwrap();
    assert_eq!(ground.seen("w"), LogicalVolume { name: lv("w"), ..before });
    assert_eq!(ground.find("v"), None);
}

fn tags_change_together(ground: &Ground<'_>) {
    ground.thick("v", 1).unwrap();
    let change = |add: &[&str], remove: &[&str]| {
        ground.lvm.change_tags(&ground.vg, &lv("v"), &tags(add), &tags(remove)).unwrap();
        ground.seen("v").tags
    };
    assert_eq!(change(&["c=3", "d"], &["a=1"]), tags(&["b=2", "c=3", "d"]));
    assert_eq!(change(&["c=3"], &["a=1"]), tags(&["b=2", "c=3", "d"]));
    assert_eq!(change(&[], &["b=2", "c=3", "d"]), []);
}

fn a_volume_sleeps_and_wakes(ground: &Ground<'_>) {
    let (vg, v) = (&ground.vg, &lv("v"));
    ground.thick("v", 1).unwrap();
    for _ in 0..2 {
        ground.lvm.deactivate(vg, v).unwrap();
        assert!(!ground.seen("v").active);
    }
    ground.lvm.refresh(vg, v).unwrap();
    assert!(!ground.seen("v").active);
    for _ in 0..2 {
        ground.lvm.activate(vg, v).unwrap();
        assert!(ground.seen("v").active);
    }
    ground.lvm.deactivate(vg, v).unwrap();
    ground.lvm.activate_group(vg).unwrap();
    assert!(ground.seen("v").active);
    ground.lvm.refresh(vg, v).unwrap();
}

fn stripes_lie_side_by_side(ground: &Ground<'_>) {
    let layout = Layout::Striped { stripes: 3, stripe_size: Some(Bytes(16 << 10)) };
    ground.create("v", extents(6), Backing::Thick(layout)).unwrap();
    assert_eq!((ground.seen("v").size, ground.seen("v").kind), (extents(6), Kind::Thick));
    let free = |ground: &Ground<'_>| -> Vec<u64> {
        ground.report().physical.iter().map(|pv| pv.free()).collect()
    };
    let after = free(ground);
    assert!(after.iter().all(|it| it == &after[0]), "{after:?}");
    ground.extend("v", extents(9)).unwrap();
    assert!(free(ground).iter().all(|it| *it == after[0] - 1));
    let wide = ground.create("w", extents(4), Backing::Thick(striped(4))).unwrap_err();
    assert!(matches!(wide, Error::NoSpace { .. }), "{wide:?}");
    ground.thick("filler", after[0] - 1).unwrap();
    let full = ground.create("w", extents(6), Backing::Thick(striped(3))).unwrap_err();
    assert!(matches!(full, Error::NoSpace { .. }), "{full:?}");
    assert_eq!(ground.find("w"), None);
}

fn a_striped_size_is_whole_rows(ground: &Ground<'_>) {
    ground.create("v", extents(4), Backing::Thick(striped(3))).unwrap();
    assert_eq!(ground.seen("v").size, extents(6));
}

fn a_snapshot_of_a_thick_volume_needs_its_origin(ground: &Ground<'_>) {
    let cow = SnapshotKind::CopyOnWrite(extents(1));
    ground.thick("v", 8).unwrap();
    ground.snapshot("v", "s", cow).unwrap();
    let seen = ground.seen("s");
    assert_eq!((&seen.kind, seen.size), (&Kind::CopyOnWrite, extents(8)));
    assert_eq!((seen.origin, seen.tags, seen.active), (Some(lv("v")), tags(&["s=1"]), true));
    assert_eq!(ground.seen("v").kind, Kind::Thick);
    let before = ground.report();
    for refused in [ground.remove("v"), ground.extend("v", extents(9))] {
        assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
    }
    assert!(ground.snapshot("s", "t", cow).is_err());
    let again = ground.snapshot("v", "s", cow);
    assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
    assert_eq!(ground.report(), before);
    ground.lvm.rename(&ground.vg, &lv("v"), &lv("w")).unwrap();
    assert_eq!(ground.seen("s").origin, Some(lv("w")));
    ground.remove("s").unwrap();
    ground.extend("w", extents(9)).unwrap();
    ground.remove("w").unwrap();
}

fn room_beyond_the_need_of_a_snapshot_is_not_taken(ground: &Ground<'_>) {
    ground.thick("v", 8).unwrap();
    let before = ground.free();
    ground.snapshot("v", "s", SnapshotKind::CopyOnWrite(extents(1 << 20))).unwrap();
    let room = cow_size(extents(8), EXTENT).unwrap();
    assert_eq!(before - ground.free(), room.whole(EXTENT));
    ground.thick("filler", ground.free()).unwrap();
    let full = ground.snapshot("v", "t", SnapshotKind::CopyOnWrite(extents(1)));
    assert!(matches!(full, Err(Error::NoSpace { .. })), "{full:?}");
    assert_eq!(ground.find("t"), None);
}

fn origin_and_snapshots_sleep_together(ground: &Ground<'_>) {
    ground.thick("v", 2).unwrap();
    ground.snapshot("v", "s", SnapshotKind::CopyOnWrite(extents(1))).unwrap();
    ground.lvm.deactivate(&ground.vg, &lv("s")).unwrap();
    assert!(!ground.seen("v").active && !ground.seen("s").active);
    ground.snapshot("v", "t", SnapshotKind::CopyOnWrite(extents(1))).unwrap();
    assert!(!ground.seen("t").active);
    ground.extend("v", extents(3)).unwrap();
    ground.lvm.activate(&ground.vg, &lv("v")).unwrap();
    assert!(ground.seen("s").active && ground.seen("t").active);
    assert_eq!((ground.seen("v").size, ground.seen("s").size), (extents(3), extents(2)));
}

fn a_split_snapshot_is_a_plain_volume(ground: &Ground<'_>) {
    ground.thick("v", 4).unwrap();
    ground.snapshot("v", "s", SnapshotKind::CopyOnWrite(extents(2))).unwrap();
    let uuid = ground.seen("s").uuid;
    ground.lvm.split_snapshot(&ground.vg, &lv("s")).unwrap();
    let seen = ground.seen("s");
    assert_eq!((seen.kind, seen.size, seen.origin), (Kind::Thick, extents(2), None));
    assert_eq!((seen.uuid, seen.tags, seen.active), (uuid, tags(&["s=1"]), true));
    let plain = ground.lvm.split_snapshot(&ground.vg, &lv("s")).unwrap_err();
    assert!(matches!(plain, Error::Tool(_)), "{plain:?}");
    ground.remove("v").unwrap();
    ground.remove("s").unwrap();
}

fn a_thin_pool_takes_room_and_gives_it_back(ground: &Ground<'_>) {
    let before = ground.report();
    ground.pool(32, Layout::Linear).unwrap();
    let seen = ground.seen("pool");
    assert_eq!(seen.size, extents(32));
    let Kind::ThinPool { data_percent: Some(data), metadata_percent: Some(_) } = seen.kind else {
        panic!("{seen:?}");
    };
    assert!(data < 1.0);
    assert_eq!(before.free - ground.free(), 32 + 1 + 1, "data, metadata and its spare");
    let again = ground.pool(8, Layout::Linear).unwrap_err();
    assert!(matches!(again, Error::Exists { .. }), "{again:?}");
    ground.extend("pool", extents(40)).unwrap();
    ground.extend("pool", extents(40)).unwrap();
    assert_eq!(ground.seen("pool").size, extents(40));
    ground.thin("v", extents(100)).unwrap();
    let needed = ground.remove("pool").unwrap_err();
    assert!(matches!(needed, Error::InUse { .. }), "{needed:?}");
    ground.remove("v").unwrap();
    ground.remove("pool").unwrap();
    assert_eq!(ground.report(), before);
    let full = ground.pool(before.free + 1, Layout::Linear).unwrap_err();
    assert!(matches!(full, Error::NoSpace { .. }), "{full:?}");
    assert_eq!(ground.report(), before);
    ground.pool(6, striped(3)).unwrap();
    assert_eq!(ground.seen("pool").size, extents(6));
}

fn thin_volumes_take_no_extents(ground: &Ground<'_>) {
    ground.pool(32, Layout::Linear).unwrap();
    let before = ground.free();
    ground.thin("v", extents(5000)).unwrap();
    let seen = ground.seen("v");
    assert_eq!((&seen.kind, seen.size), (&Kind::Thin(lv("pool")), extents(5000)));
    assert_eq!((seen.tags, seen.active), (tags(&["a=1", "b=2"]), true));
    let again = ground.thin("v", extents(1)).unwrap_err();
    assert!(matches!(again, Error::Exists { .. }), "{again:?}");
    ground.extend("v", extents(6000)).unwrap();
    ground.extend("v", extents(6000)).unwrap();
    assert_eq!((ground.seen("v").size, ground.free()), (extents(6000), before));
    ground.lvm.rename(&ground.vg, &lv("v"), &lv("w")).unwrap();
    ground.remove("w").unwrap();
    ground.remove("w").unwrap();
}

fn a_thin_snapshot_stands_alone(ground: &Ground<'_>) {
    ground.pool(32, Layout::Linear).unwrap();
    ground.thin("v", extents(10)).unwrap();
    ground.snapshot("v", "s", SnapshotKind::ThinFrozen).unwrap();
    let seen = ground.seen("s");
    assert_eq!((&seen.kind, seen.size), (&Kind::Thin(lv("pool")), extents(10)));
    assert_eq!((&seen.origin, seen.active), (&Some(lv("v")), false));
    assert_eq!(seen.tags, tags(&["s=1"]));
    ground.lvm.activate_group(&ground.vg).unwrap();
    assert!(!ground.seen("s").active, "a frozen snapshot is skipped");
    ground.snapshot("s", "w", SnapshotKind::ThinWritable).unwrap();
    assert_eq!((ground.seen("w").origin, ground.seen("w").active), (Some(lv("s")), true));
    assert!(!ground.seen("s").active);
    ground.snapshot("v", "x", SnapshotKind::ThinWritable).unwrap();
    assert!(ground.seen("x").active);
    ground.remove("v").unwrap();
    assert_eq!((ground.seen("s").origin, ground.seen("w").origin), (None, Some(lv("s"))));
    ground.lvm.activate(&ground.vg, &lv("s")).unwrap();
    assert!(ground.seen("s").active, "unless it is asked for");
    ground.lvm.deactivate(&ground.vg, &lv("s")).unwrap();
    ground.extend("w", extents(20)).unwrap();
    ground.remove("s").unwrap();
    assert_eq!((ground.seen("w").size, ground.seen("w").origin), (extents(20), None));
}

fn the_youngest_thin_volume_has_the_highest_number(ground: &Ground<'_>) {
    ground.pool(8, Layout::Linear).unwrap();
    let number = |name| ground.seen(name).thin_id.unwrap();
    ground.thin("z", extents(4)).unwrap();
    ground.thin("y", extents(4)).unwrap();
    ground.snapshot("z", "x", SnapshotKind::ThinFrozen).unwrap();
    ground.remove("y").unwrap();
    ground.snapshot("z", "w", SnapshotKind::ThinWritable).unwrap();
    assert!(number("w") > number("x") && number("x") > number("z"));
    ground.thick("v", 1).unwrap();
    assert_eq!(ground.seen("v").thin_id, None);
}

fn kinds_do_not_mix(ground: &Ground<'_>) {
    ground.thick("v", 2).unwrap();
    for kind in [SnapshotKind::ThinFrozen, SnapshotKind::ThinWritable] {
        let refused = ground.snapshot("v", "s", kind).unwrap_err();
        assert!(matches!(refused, Error::Tool(_)), "{refused:?}");
    }
    assert_eq!(ground.find("s"), None);
}

fn an_open_volume_stays(ground: &Ground<'_>) {
    let (lvm, vg, v) = (ground.lvm, &ground.vg, &lv("v"));
    ground.thick("v", 2).unwrap();
    ground.fate.set_open("v", true);
    for refused in [ground.remove("v"), lvm.deactivate(vg, v)] {
        assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");
    }
    ground.extend("v", extents(3)).unwrap();
    lvm.rename(vg, v, &lv("w")).unwrap();
    lvm.rename(vg, &lv("w"), v).unwrap();
    lvm.refresh(vg, v).unwrap();
    assert!(ground.seen("v").active);
    ground.fate.set_open("v", false);
    ground.remove("v").unwrap();
}

fn a_suspended_volume_is_seen_and_cured(ground: &Ground<'_>) {
    ground.thick("v", 2).unwrap();
    ground.fate.suspend("v");
    assert!(ground.seen("v").suspended);
    ground.lvm.refresh(&ground.vg, &lv("v")).unwrap();
    assert!(!ground.seen("v").suspended);
}

fn what_an_interrupted_command_has_prepared_is_dropped(ground: &Ground<'_>) {
    let (lvm, vg, fate) = (ground.lvm, &ground.vg, ground.fate);
    ground.thick("v", 2).unwrap();
    fate.prepare("v");
    lvm.refresh(vg, &lv("v")).unwrap();
    assert!(!fate.is_led_well("v"), "LVM does not drop it");
    lvm.refresh(vg, &lv("v")).unwrap();
    (0..2).for_each(|_| lvm.forget_prepared(vg).unwrap());
    fate.prepare("v");
    lvm.forget_prepared(vg).unwrap();
    lvm.refresh(vg, &lv("v")).unwrap();
    assert!(fate.is_led_well("v"));
}

fn an_activation_of_its_group_resumes_what_is_suspended(ground: &Ground<'_>) {
    ground.thick("v", 2).unwrap();
    ground.fate.prepare("v");
    ground.fate.suspend("v");
    ground.lvm.activate_group(&ground.vg).unwrap();
    assert!(!ground.seen("v").suspended);
    assert!(!ground.fate.is_led_well("v"), "it puts in force what is prepared");
}

fn a_thin_volume_lost_in_its_pool_can_only_go(ground: &Ground<'_>) {
    ground.pool(8, Layout::Linear).unwrap();
    ground.thin("v", extents(4)).unwrap();
    ground.fate.lose_in_pool("v");
    assert!(!ground.seen("v").active);
    let snapshot = ground.snapshot("v", "s", SnapshotKind::ThinFrozen);
    for refused in [ground.lvm.activate(&ground.vg, &lv("v")), snapshot] {
        assert!(matches!(refused, Err(Error::MissingInPool { .. })), "{refused:?}");
    }
    assert!(ground.lvm.activate_group(&ground.vg).is_err());
    assert_eq!(ground.find("s"), None);
    ground.remove("v").unwrap();
    ground.thin("v", extents(4)).unwrap();
}

fn a_thin_pool_that_has_given_up_is_activated_anew(ground: &Ground<'_>) {
    let (lvm, vg, pool, v) = (ground.lvm, &ground.vg, &lv("pool"), &lv("v"));
    let sleep = || [v, pool].into_iter().for_each(|it| lvm.deactivate(vg, it).unwrap());
    let failed = || [pool, v].map(|it| ground.seen(it.as_str()).failed);
    ground.pool(8, Layout::Linear).unwrap();
    ground.thin("v", extents(4)).unwrap();
    ground.fate.give_up("pool", "v");
    assert_eq!(failed(), [true; 2]);
    sleep();
    [pool, v].into_iter().for_each(|it| lvm.activate(vg, it).unwrap());
    assert_eq!(failed(), [true; 2], "it has a note of it");
    ground.thin("w", extents(1)).unwrap_err();
    sleep();
    (0..2).for_each(|_| lvm.activate_anew(vg, pool).unwrap());
    lvm.activate(vg, v).unwrap();
    assert_eq!(failed(), [false; 2]);
    ground.thin("w", extents(1)).unwrap();
}

const RULES: &[fn(&Ground<'_>)] = &[
    names_and_tags_are_as_asked,
    a_report_adds_up,
    every_physical_volume_is_seen_with_its_group,
    a_name_can_be_used_once,
    a_full_group_stays_as_it_is,
    no_group_is_said_so,
    no_volume_is_said_so,
    removing_twice_is_removing_once,
    growing_keeps_what_is_there,
    a_renamed_volume_is_the_same_volume,
    tags_change_together,
    a_volume_sleeps_and_wakes,
    stripes_lie_side_by_side,
    a_striped_size_is_whole_rows,
    a_snapshot_of_a_thick_volume_needs_its_origin,
    room_beyond_the_need_of_a_snapshot_is_not_taken,
    origin_and_snapshots_sleep_together,
    a_split_snapshot_is_a_plain_volume,
    a_thin_pool_takes_room_and_gives_it_back,
    thin_volumes_take_no_extents,
    a_thin_snapshot_stands_alone,
    the_youngest_thin_volume_has_the_highest_number,
    kinds_do_not_mix,
    an_open_volume_stays,
    a_suspended_volume_is_seen_and_cured,
    what_an_interrupted_command_has_prepared_is_dropped,
    an_activation_of_its_group_resumes_what_is_suspended,
    a_thin_volume_lost_in_its_pool_can_only_go,
    a_thin_pool_that_has_given_up_is_activated_anew,
    disks::a_group_that_misses_a_disk_is_hardly_changed,
    disks::a_disk_that_was_away_during_a_change_is_marked_until_it_is_taken_back,
    disks::a_disk_is_emptied_and_leaves,
];

#[test]
fn fake_keeps_the_contract() {
    for rule in RULES.iter().chain(raids::RULES).chain(thin_raids::RULES) {
        let lvm = FakeLvm::default().with_group(ground::FAKE, EXTENT, &[256, 256, 256]);
        rule(&Ground { lvm: &lvm, vg: ground::FAKE.parse().unwrap(), fate: &lvm });
    }
}

#[test]
#[ignore = "guest: needs root and LVM"]
fn guest_lvm_keeps_the_contract() {
    let group = ScratchGroup::new(3);
    for rule in RULES.iter().chain(raids::RULES).chain(thin_raids::RULES) {
        rule(&group.ground());
        group.clear();
    }
}
