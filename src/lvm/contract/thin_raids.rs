//! What every [`Lvm`](crate::lvm::Lvm) must do with thin pools that lie on RAIDs, on three equal disks.

use std::path::PathBuf;

use super::{
    EXTENT, Ground, extents,
    ground::{lv, tags},
    raid,
};
use crate::{
    lvm::{
        Backing, ConvertToThinPool, CreateVolume, Error, Group, Kind, LEG_METADATA, Layout, Legs,
        LogicalVolume, MoveExtents, PhysicalVolume, Place, Raid, RaidLevel, RepairRaid, Stretch,
        places,
    },
    units::Bytes,
};

fn mirror() -> Raid {
    raid(RaidLevel::Raid1, 1)
}

/// A thin pool of so many extents; its metadata are mirrored on the first disks of its data, and have one.
fn make(ground: &Ground<'_>, count: u64, data: Raid) {
    ground.raid("pool", count, data).unwrap();
    let its = ground.seen("pool").legs.unwrap();
    let (vg, name, size) = (ground.vg.clone(), lv("meta"), extents(1));
    let group = ground.report();
    let on = places(&disks_of(&group, &its.disks[..2]), 1 + LEG_METADATA).unwrap();
    let backing = Backing::Thick(Layout::Raid(mirror()));
    let metadata = CreateVolume { vg, name, size, backing, on, tags: Vec::new() };
    ground.lvm.create_volume(&metadata).unwrap();
    convert(ground).unwrap();
}

fn disks_of<'a>(group: &'a Group, devices: &[PathBuf]) -> Vec<&'a PhysicalVolume> {
    let disk = |device: &PathBuf| group.physical.iter().find(|it| it.device == *device).unwrap();
    devices.iter().map(disk).collect()
}

fn convert(ground: &Ground<'_>) -> Result<(), Error> {
    let (vg, data, metadata, chunk) = (ground.vg.clone(), lv("pool"), lv("meta"), Bytes(64 << 10));
    ground.lvm.convert_to_thin_pool(&ConvertToThinPool { vg, data, metadata, chunk })
}

fn layer(ground: &Ground<'_>, name: &str) -> LogicalVolume {
    let layers = ground.report().layers;
    layers.into_iter().find(|it| it.name.as_str() == name).unwrap()
}

fn legs(ground: &Ground<'_>, name: &str) -> Legs {
    layer(ground, name).legs.unwrap()
}

/// Grows a RAID below the pool on the disks of its legs.
fn grow(ground: &Ground<'_>, name: &str, size: u64) -> Result<(), Error> {
    let (group, layer) = (ground.report(), layer(ground, name));
    let its = layer.legs.unwrap();
    let more = its.growth_of_leg(size - layer.size.whole(EXTENT));
    let on = places(&disks_of(&group, &its.disks), more).unwrap();
    ground.lvm.extend(&ground.vg, &layer.name, extents(size), &on)
}

fn two_raids_become_a_thin_pool(ground: &Ground<'_>) {
    let before = ground.report();
    assert!(matches!(convert(ground), Err(Error::NoVolume { .. })));
    make(ground, 16, mirror());
    let pool = ground.seen("pool");
    let Kind::ThinPool { data_percent: Some(data), metadata_percent: Some(_) } = pool.kind else {
        panic!("{pool:?}");
    };
    assert!(data < 1.0 && pool.active && pool.legs.is_none());
    assert_eq!(pool.size, extents(16));
    let group = ground.report();
    let names: Vec<_> = group.logical.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["pool"]);
    let layers: Vec<_> = group.layers.iter().map(|it| (it.name.as_str(), it.size)).collect();
    assert_eq!(layers, [("pool_tdata", extents(16)), ("pool_tmeta", extents(1))]);
    for name in ["pool_tdata", "pool_tmeta"] {
        let its = legs(ground, name);
        assert_eq!((its.disks.len(), its.stripes, its.works), (2, 1, true));
        assert_ne!(its.disks[0], its.disks[1]);
        let lies = group.legs.iter().filter(|it| it.volume.as_str() == name);
        let all: u64 = lies.map(|it| it.stretch.length).sum();
        assert_eq!(all, 2 * its.extents_of_leg(layer(ground, name).size.whole(EXTENT)));
    }
    assert_eq!(before.free - group.free, 2 * (16 + LEG_METADATA) + 2 * (1 + LEG_METADATA));
    ground.thin("v", extents(100)).unwrap();
    assert_eq!(ground.seen("v").kind, Kind::Thin(lv("pool")));
    assert!(convert(ground).is_err(), "it is one already");
    assert!(matches!(ground.remove("pool"), Err(Error::InUse { .. })));
    ground.remove("v").unwrap();
    ground.remove("pool").unwrap();
    assert_eq!(ground.report(), before);
}

fn what_it_lies_on_grows_by_its_own_name(ground: &Ground<'_>) {
    make(ground, 16, raid(RaidLevel::Raid5, 2));
    let (data, metadata) = (legs(ground, "pool_tdata"), legs(ground, "pool_tmeta"));
    assert_eq!((data.disks.len(), data.stripes), (3, 2));
    let before = ground.free();
    for _ in 0..2 {
        grow(ground, "pool_tmeta", 3).unwrap();
        grow(ground, "pool_tdata", 20).unwrap();
        assert_eq!(ground.seen("pool").size, extents(20));
        assert_eq!(layer(ground, "pool_tmeta").size, extents(3));
        assert_eq!(before - ground.free(), 3 * 2 + 2 * 2);
    }
    assert_eq!((legs(ground, "pool_tdata"), legs(ground, "pool_tmeta")), (data, metadata));
    ground.thin("v", extents(100)).unwrap();
}

fn it_goes_on_without_a_disk_and_is_repaired(ground: &Ground<'_>) {
    let (lvm, vg) = (ground.lvm, &ground.vg);
    make(ground, 16, mirror());
    ground.thin("v", extents(8)).unwrap();
    for name in ["pool_tdata", "pool_tmeta"] {
        ground.fate.wait_for_sync(name);
    }
    let whole = ground.report();
    ground.fate.set_missing(0, true);
    assert!(ground.seen("pool").lost && ground.seen("v").lost);
    for name in ["pool_tdata", "pool_tmeta"] {
        let its = layer(ground, name);
        let its_legs = its.legs.unwrap();
        assert!(its.lost && its_legs.works, "{name}");
        assert_eq!(its_legs.lost[0].disk, whole.physical[0].uuid);
    }
    // LVM bears what is missing only when it is told to.
    for name in ["v", "pool"] {
        lvm.deactivate(vg, &lv(name)).unwrap();
        let refused = lvm.activate(vg, &lv(name)).unwrap_err();
        assert!(matches!(refused, Error::NoGroup { .. }), "{refused:?}");
    }
    assert!(lvm.activate_group(vg).is_err() && !ground.seen("pool").active);
    for name in ["pool", "v", "pool"] {
        lvm.activate_degraded(vg, &lv(name)).unwrap();
        assert!(ground.seen(name).active);
    }
    let group = ground.report();
    let third = group.physical.iter().find(|it| !it.missing && it.free() == it.extents).unwrap();
    let (mut free, mut taken) = (third.clone(), 0);
    for name in ["pool_tdata", "pool_tmeta"] {
        let its = layer(ground, name);
        let each = its.legs.unwrap().extents_of_leg(its.size.whole(EXTENT));
        free.free_runs = vec![Stretch { start: taken, length: free.extents - taken }];
        taken += each;
        let on = places(&[&free], each).unwrap();
        let wanted = RepairRaid { vg: vg.clone(), lv: lv(name), on };
        for _ in 0..2 {
            lvm.repair(&wanted).unwrap();
            let its = layer(ground, name);
            assert!(!its.lost && its.legs.unwrap().disks.contains(&third.device), "{name}");
        }
    }
    assert!(!ground.seen("pool").lost && !ground.seen("v").lost);
    lvm.forget_missing(vg).unwrap();
    assert!(ground.report().physical.iter().all(|it| !it.missing));
    lvm.refresh(vg, &lv("pool")).unwrap();
    lvm.refresh(vg, &lv("v")).unwrap();
    ground.thin("w", extents(8)).unwrap();
    for name in ["v", "w", "pool"] {
        ground.remove(name).unwrap();
    }
    let group = ground.report();
    assert!(group.layers.is_empty() && group.free == group.extents, "{group:?}");
    ground.bring_back_empty(&whole);
}

fn its_legs_are_moved_by_extents(ground: &Ground<'_>) {
    let (lvm, vg) = (ground.lvm, &ground.vg);
    make(ground, 4, mirror());
    ground.thin("v", extents(8)).unwrap();
    let group = ground.report();
    let from = legs(ground, "pool_tdata").disks[0].clone();
    let uuid = group.physical.iter().find(|it| it.device == from).unwrap().uuid.clone();
    let to = group.physical.iter().find(|it| it.free() == it.extents).unwrap().device.clone();
    let mut at = 0;
    for it in group.legs.iter().filter(|it| it.disk == uuid) {
        let stretches = vec![Stretch { start: at, length: it.stretch.length }];
        let on = Some(Place { device: to.clone(), stretches });
        at += it.stretch.length;
        let (first, count) = (it.stretch.start, it.stretch.length);
        let (vg, device) = (vg.clone(), from.clone());
        lvm.move_extents(&MoveExtents { vg, device, first, count, on }).unwrap();
    }
    for name in ["pool_tdata", "pool_tmeta"] {
        let its = legs(ground, name);
        assert!(its.disks.contains(&to) && !its.disks.contains(&from), "{its:?}");
        assert!(its.beside.is_empty());
    }
}

fn only_the_pool_is_refreshed(ground: &Ground<'_>) {
    make(ground, 4, mirror());
    ground.lvm.refresh(&ground.vg, &lv("pool")).unwrap();
    assert!(ground.lvm.refresh(&ground.vg, &lv("pool_tdata")).is_err());
    let tagged = ground.lvm.change_tags(&ground.vg, &lv("pool"), &tags(&["t"]), &[]);
    tagged.unwrap();
    assert_eq!(ground.seen("pool").tags, tags(&["t"]));
    assert_eq!(
        layer(ground, "pool_tdata").tags,
        tags(&["a=1", "b=2"]),
        "they stay where they were"
    );
}

pub(super) const RULES: &[fn(&Ground<'_>)] = &[
    two_raids_become_a_thin_pool,
    what_it_lies_on_grows_by_its_own_name,
    its_legs_are_moved_by_extents,
    only_the_pool_is_refreshed,
    // The disks are in another order afterwards.
    it_goes_on_without_a_disk_and_is_repaired,
];
