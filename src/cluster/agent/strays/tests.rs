//! What is found without an object, and that the object made from it is the one that was lost.

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{
    cluster::wish::{Wish, wish_of},
    device::fake::FakeDevices,
    fs::{DeviceNumber, fake::FakeFs},
    host::Tools,
    lvm::{Lvm as _, fake::FakeLvm},
    pool::PoolEntry,
    volume::{
        AfterRestart, LayoutWish, Parameters, Provisioning, Purpose, SizeRange, Source, VolumeId,
        Wanted, WantedSnapshot,
    },
};

fn node() -> NodeId {
    "node-1".parse().unwrap()
}

/// The number and size of an active volume's device.
fn device(lvm: &FakeLvm, path: &Path) -> Option<(DeviceNumber, Bytes)> {
    let (vg, lv) = path.strip_prefix("/dev").ok()?.to_str()?.split_once('/')?;
    let lv = lvm.peek_at(vg, lv).filter(|lv| lv.active)?;
    let minor = lv.uuid.rsplit('-').next()?.parse().ok()?;
    Some((DeviceNumber { major: 253, minor }, lv.size))
}

/// A machine with one pool for thick and thin volumes.
fn host() -> Machine {
    host_and_lvm().0
}

/// The same, and the LVM below it, which others may use as well.
fn host_and_lvm() -> (Machine, Arc<FakeLvm>) {
    let lvm = FakeLvm::default().with_group("vg0", Bytes::mib(4), &[1024, 1024]);
    let lvm = Arc::new(lvm);
    let beside = Arc::clone(&lvm);
    let of_lvm = Arc::clone(&lvm);
    let fs = FakeFs::new().looking_up(move |path| device(&of_lvm, path));
    let of_lvm = Arc::clone(&lvm);
    let devices = FakeDevices::new().looking_up(move |path| device(&of_lvm, path).map(|it| it.1));
    let clock = || 1_763_797_000;
    let tools = Tools { lvm, fs: Arc::new(fs), devices: Arc::new(devices), clock };
    let thin = json!({ "size": "2Gi", "overprovision": 400 });
    let spec: Value =
        json!({ "volumeGroup": "vg0", "provisioning": "ThickAndThin", "thinPool": thin });
    let pool =
        PoolEntry { name: "fast".parse().unwrap(), spec: serde_json::from_value(spec).unwrap() };
    (
        Machine::open(tools, node(), "local.tarn.dev", vec![pool], Path::new("/nonexistent"))
            .unwrap(),
        beside,
    )
}

fn wanted(name: &str, provisioning: Provisioning) -> Wanted {
    Wanted {
        name: name.parse().unwrap(),
        size: SizeRange::at_least(Bytes::mib(509)),
        purpose: Purpose::Filesystem(crate::fs::FsKind::Xfs),
        parameters: Parameters {
            pool: Some("fast".parse().unwrap()),
            provisioning: Some(provisioning),
            mkfs: Some("-i size=512".to_owned()),
            ..Parameters::default()
        },
        source: None,
        nodes: None,
        claim: None,
    }
}

/// Volumes of every kind, as the CSI calls make them.
fn fill(host: &Machine) {
    for (name, provisioning) in [("thick", Provisioning::Thick), ("thin", Provisioning::Thin)] {
        let made = host.create(&wanted(name, provisioning)).unwrap();
        host.expand(&made.id, SizeRange::at_least(Bytes::mib(700))).unwrap();
        let snapshot = WantedSnapshot {
            name: format!("snapshot-of-{name}").parse().unwrap(),
            source: made.id.clone(),
        };
        let snapshot = host.snapshot(&snapshot).unwrap();
        let copies = [
            (format!("clone-of-{name}"), Source::Volume(made.id)),
            (format!("restore-of-{name}"), Source::Snapshot(snapshot.id)),
        ];
        for (copy, source) in copies {
            let size = SizeRange::at_least(Bytes::mib(700));
            let wanted = Wanted { source: Some(source), size, ..wanted(&copy, provisioning) };
            host.create(&wanted).unwrap();
        }
    }
    let raw = Wanted {
        purpose: Purpose::Block,
        parameters: Parameters {
            layout: Some(LayoutWish::Striped),
            stripes: Some(2),
            stripe_size: Some(Bytes(65536)),
            ..Parameters::default()
        },
        ..wanted("striped", Provisioning::Thick)
    };
    host.create(&raw).unwrap();
}

#[test]
fn the_object_of_every_volume_can_be_made_again() {
    let host = host();
    fill(&host);
    // From now on a report says nothing new.
    host.groups().do_chores_now();
    let before = (host.volumes(None, 99), host.status());
    let kept = host.kept(|_| true);
    assert_eq!(kept.len(), 9);
    for kept in kept {
        let spec = lost_spec(&node(), &stray_of(&kept));
        let made_at = kept.snapshot_of.as_ref().map(|_| kept.created);
        assert_eq!(adopt(&host, &node(), &kept.id, &spec).unwrap(), (kept.size, made_at));
        match wish_of(&spec).unwrap() {
            Wish::Volume(wanted) => {
                let found = host.create(&wanted).unwrap();
                assert_eq!((found.id.as_str(), found.size), (kept.id.as_str(), kept.size));
            }
            Wish::Snapshot(wanted) => {
                let found = host.snapshot(&wanted).unwrap();
                assert_eq!((found.id.as_str(), found.size), (kept.id.as_str(), kept.size));
                assert_eq!(found.created, kept.created);
            }
        }
    }
    assert_eq!(before.0, host.volumes(None, 99));
    assert_eq!(before.1.pools, host.status().pools, "nothing was made");
}

/// What its class says becomes of a volume in memory is in its object, and in the one that is made again.
#[test]
fn a_volume_in_memory_keeps_what_its_class_says() {
    let home = tempfile::tempdir().unwrap();
    let (lvm, fs) = (Arc::new(FakeLvm::default()), Arc::new(FakeFs::new()));
    let tools = Tools { lvm, fs, devices: Arc::new(FakeDevices::new()), clock: || 7 };
    let spec = serde_json::from_value(json!({ "memory": { "size": "1Gi" } })).unwrap();
    let pools = vec![PoolEntry { name: "ram".parse().unwrap(), spec }];
    let machine = Machine::open(tools, node(), "local.tarn.dev", pools, home.path()).unwrap();
    let mut wish = wanted("cache", Provisioning::Thick);
    wish.parameters = Parameters {
        pool: Some("ram".parse().unwrap()),
        after_restart: Some(AfterRestart::Empty),
        ..Parameters::default()
    };
    machine.create(&wish).unwrap();
    let kept = machine.kept(|_| true).pop().unwrap();
    let spec = lost_spec(&node(), &stray_of(&kept));
    assert_eq!(spec.after_restart, Some(AfterRestart::Empty));
    adopt(&machine, &node(), &kept.id, &spec).unwrap();
    let Wish::Volume(again) = wish_of(&spec).unwrap() else { panic!("a volume") };
    assert_eq!(machine.create(&again).unwrap().id.as_str(), kept.id);
    let other = LogicalVolumeSpec { after_restart: None, ..spec };
    let refused = adopt(&machine, &node(), &kept.id, &other).unwrap_err();
    assert!(matches!(refused, Error::Precondition(_)), "{refused}");
}

#[test]
fn what_is_not_there_is_not_made_in_its_place() {
    let host = host();
    let made = host.create(&wanted("lost", Provisioning::Thick)).unwrap();
    let kept = host.kept(|_| true).pop().unwrap();
    let spec = lost_spec(&node(), &stray_of(&kept));
    let other = LogicalVolumeSpec { fs_type: Some("ext4".to_owned()), ..spec.clone() };
    let refused = adopt(&host, &node(), &kept.id, &other).unwrap_err();
    assert!(matches!(refused, Error::Precondition(_)), "{refused}");
    host.delete(&made.id).unwrap();
    let refused = adopt(&host, &node(), &kept.id, &spec).unwrap_err();
    assert!(matches!(refused, Error::NotFound(_)), "{refused}");
    assert!(host.volumes(None, 9).is_empty());
}

#[test]
fn what_was_removed_by_hand_a_moment_ago_is_not_taken_up() {
    let (host, lvm) = host_and_lvm();
    host.create(&wanted("lost", Provisioning::Thick)).unwrap();
    let kept = host.kept(|_| true).pop().unwrap();
    lvm.remove(&"vg0".parse().unwrap(), &kept.id.parse().unwrap()).unwrap();
    let spec = lost_spec(&node(), &stray_of(&kept));
    let refused = adopt(&host, &node(), &kept.id, &spec).unwrap_err();
    assert!(matches!(refused, Error::NotFound(_)), "{refused}");
}

#[test]
fn a_report_has_only_what_is_unknown_and_finished() {
    let host = host();
    host.create(&wanted("known", Provisioning::Thick)).unwrap();
    host.create(&wanted("lost", Provisioning::Thick)).unwrap();
    let deleted = host.create(&wanted("deleted", Provisioning::Thick)).unwrap();
    host.delete(&deleted.id).unwrap();
    let known = VolumeId::of(&"known".parse().unwrap());
    let lost = host.kept(|id| id != known.as_str());
    let names: Vec<&str> = lost.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["lost"]);
}

#[test]
fn a_volume_is_a_stray_after_a_while_only() {
    let host = host();
    host.create(&wanted("lost", Provisioning::Thick)).unwrap();
    let lost = || host.kept(|_| true);
    let mut strays = Strays::default();
    let now = Instant::now();
    assert!(strays.due(lost(), now).is_empty());
    assert!(strays.due(lost(), now + A_WHILE / 2).is_empty());
    assert_eq!(strays.due(lost(), now + A_WHILE).len(), 1);
    assert!(strays.due(Vec::new(), now + A_WHILE).is_empty(), "it has an object again");
    assert!(strays.due(lost(), now + A_WHILE * 2).is_empty(), "lost a second time");
}
