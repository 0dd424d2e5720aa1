//! Everything that may be found in a directory, and whom it is kept from.

use super::*;
use crate::{
    device::DeviceType,
    pool::{DeviceEntry, EntryState},
};

/// How the entry of this name stands, in a word or in the sentence that refuses it.
fn state(whole: &WholeDevices, name: &str) -> String {
    let view = whole.look_around(true).unwrap();
    let mut all = view.judged.values().flatten();
    let it = all.find(|it| it.entry.path.ends_with(name)).unwrap();
    match &it.state {
        EntryState::Free => "free".to_owned(),
        EntryState::Used(_) => "used".to_owned(),
        EntryState::Wiped(..) => "cleaning".to_owned(),
        EntryState::Refused(why) => why.clone(),
    }
}

#[test]
fn everything_but_an_empty_device_is_refused_with_a_reason() {
    let machine = Machine::with(&[10, 10, 10]);
    let disks = machine.path("disks");
    std::fs::create_dir(disks.join("directory")).unwrap();
    std::fs::create_dir(disks.join("mount")).unwrap();
    machine.fs.mount_with_quotas(disks.join("mount"), Bytes::gib(1));
    std::fs::write(disks.join("file"), "").unwrap();
    std::fs::write(disks.join("node"), "").unwrap();
    machine.link("nowhere", "/dev/gone");
    machine.link("twice", "/dev/sda");
    machine.fs.set_content("/dev/sdb", Content::Foreign("swap".to_owned()));
    machine.devices.set_open("/dev/sdc", 1);
    let others = [
        BlockDevice { read_only: true, ..disk("sdd") },
        BlockDevice { suspended: true, ..disk("sde") },
        BlockDevice { size: Bytes::MIB, ..disk("sdf") },
        BlockDevice { kind: None, ..disk("sr0") },
        disk("sdg"),
        BlockDevice {
            kind: Some(DeviceType::Partition),
            partition_of: Some("sdg".to_owned()),
            ..disk("sdg1")
        },
        BlockDevice { holders: vec!["md0".to_owned()], ..disk("sdh") },
        BlockDevice { kind: Some(DeviceType::Raid), serial: None, wwn: None, ..disk("md0") },
        disk("sdi"),
    ];
    for device in &others {
        machine.plug_in(device);
        if device.name != "sdi" {
            machine.link(&device.name, &device.path);
        }
    }
    machine.fs.bind(Path::new("/dev/sdi"), &disks.join("node"), MountAccess::ReadWrite).unwrap();
    let whole = machine.started();
    let all = [
        ("directory", "not a mount point"),
        ("mount", "a mount of xfs, and its device is not seen"),
        ("file", "no block device"),
        ("nowhere", "leads nowhere"),
        ("sda", "free"),
        ("twice", "the same device as"),
        ("sdb", "it has a signature (swap)"),
        ("sdc", "in use"),
        ("sdd", "read-only"),
        ("sde", "suspended"),
        ("sdf", "smaller than"),
        ("sr0", "no disk"),
        ("sdg", "partitions sdg1"),
        ("sdg1", "free"),
        ("sdh", "below the RAID"),
        ("md0", "free"),
        ("node", "free"),
    ];
    for (name, want) in all {
        let found = state(&whole, name);
        assert!(found.contains(want), "{name}: {found}");
    }
}

#[test]
fn a_pool_tells_its_entries() {
    let machine = Machine::with(&[10, 10, 10]);
    machine.fs.set_content("/dev/sdb", Content::Foreign("swap".to_owned()));
    machine.link("nowhere", "/dev/gone");
    let whole = machine.started();
    let id = whole.create(&block("a", Bytes::gib(1))).unwrap().id;
    let told = || {
        let entries = whole.status().pop().unwrap().entries;
        assert_eq!(whole.entries_told().into_values().next(), Some(entries.clone()));
        let home = machine.path("disks").display().to_string();
        entries.iter().map(|it| it.to_string().replace(&home, "disks")).collect::<Vec<_>>()
    };
    assert_eq!(
        told(),
        [
            "refuses disks/nowhere: it leads nowhere".to_owned(),
            format!("has     disks/sda (/dev/sda, 10Gi): volume {id}"),
            "refuses disks/sdb (/dev/sdb, 10Gi): it has a signature (swap)".to_owned(),
            "offers  disks/sdc (/dev/sdc, 10Gi)".to_owned(),
        ]
    );
    whole.delete(&id).unwrap();
    assert_eq!(told()[1], format!("wipes   disks/sda (/dev/sda, 10Gi): volume {id}: 0% is done"));
    whole.do_chores_now();
    assert_eq!(told()[1], "offers  disks/sda (/dev/sda, 10Gi)");
}

#[test]
fn a_directory_that_is_not_there_keeps_no_volume_from_its_pod() {
    let machine = Machine::with(&[10]);
    let id = machine.started().create(&wanted("a", Bytes::gib(1))).unwrap().id;
    std::fs::rename(machine.path("disks"), machine.path("away")).unwrap();
    let whole = machine.started();
    assert!(state(&whole, "disks").contains("cannot be read"));
    whole.stage(&machine.stage(&id)).unwrap();
}

#[test]
fn what_is_put_aside_is_told_to_pools_of_disks() {
    let machine = Machine::with(&[10, 10]);
    let part = BlockDevice {
        kind: Some(DeviceType::Partition),
        partition_of: Some("sdc".to_owned()),
        ..disk("sdc1")
    };
    for device in [disk("sdc"), part, disk("sdd")] {
        machine.plug_in(&device);
    }
    machine.link("part", "/dev/sdc1");
    let whole = machine.started();
    let why = |name: &str| whole.reserved().remove(&disk(name).number).unwrap_or_default();
    assert!(why("sda").contains("disks/sda of pool whole"), "{}", why("sda"));
    assert!(why("sdc").contains("a partition of it is put aside"), "{}", why("sdc"));
    assert_eq!(why("sdd"), "");

    // A volume is kept from others also when its entry is gone, and its pool.
    let id = whole.create(&block("a", Bytes::gib(1))).unwrap().id;
    std::fs::remove_file(machine.path("disks/sda")).unwrap();
    whole.serve(Vec::new());
    assert!(why("sda").contains(id.as_str()) && why("sdb").is_empty());
    let whole = machine.unserved();
    let why = whole.reserved().remove(&disk("sda").number).unwrap();
    assert!(why.contains(id.as_str()), "{why}");
}

#[test]
fn a_directory_is_shared_by_the_names_in_it() {
    let machine = Machine::with(&[10, 10, 20]);
    let named = |pool: &str, names: &str| {
        let whole = json!({ "directories": [machine.path("disks")], "namePattern": names });
        machine.entry(pool, json!({ "wholeDevices": whole }))
    };
    let whole = machine.unserved();
    let pools = vec![named("one", "sda,x*"), named("two", "sd[!ac]")];
    assert_eq!(whole.serve(pools), BTreeMap::new());
    let told = || {
        let of = |(pool, all): (PoolName, Vec<DeviceEntry>)| {
            let word = |it: DeviceEntry| {
                let name = it.path.file_name().unwrap().to_owned();
                format!("{pool} {} {}", name.display(), it.state.word())
            };
            all.into_iter().map(word).collect::<Vec<_>>()
        };
        whole.look_around(true).unwrap();
        whole.entries_told().into_iter().flat_map(of).collect::<Vec<_>>()
    };
    assert_eq!(told(), ["one sda Free", "two sdb Free"]);
    let is_put_aside = |name: &str| whole.reserved().contains_key(&disk(name).number);
    assert!(is_put_aside("sda") && is_put_aside("sdb") && !is_put_aside("sdc"));

    let large = Wanted { purpose: Purpose::Block, ..wanted("a", Bytes::gib(15)) };
    let of = |pool: &str, wish: &Wanted| {
        let parameters = Parameters { pool: pool.parse().ok(), ..Parameters::default() };
        whole.create(&Wanted { parameters, ..wish.clone() })
    };
    assert!(matches!(of("one", &large), Err(Error::NoRoom(_))), "sdc is of no pool");
    let id = of("one", &block("b", Bytes::gib(1))).unwrap().id;
    assert_eq!(told(), ["one sda Used", "two sdb Free"]);

    // A volume stays one under another pattern, and its device put aside.
    assert_eq!(whole.serve(vec![named("one", "sdc"), named("two", "sd[!ac]")]), BTreeMap::new());
    assert_eq!(told(), ["one sdc Free", "two sdb Free"]);
    assert!(is_put_aside("sda") && whole.find(&id).is_some());
    whole.delete(&id).unwrap();
    whole.do_chores_now();
    assert!(!is_put_aside("sda") && whole.find(&id).is_none());

    // Where the pattern is a mistake nothing is given out, and all is kept from others.
    let failed = whole.serve(vec![named("one", "sd[")]);
    assert!(failed.values().any(|why| why.contains("namePattern") && why.contains("`sd[`")));
    assert!(is_put_aside("sda") && is_put_aside("sdb") && is_put_aside("sdc"));
}

#[test]
fn no_other_pool_gets_the_device_of_a_volume() {
    let machine = Machine::with(&[10]);
    let id = machine.started().create(&block("a", Bytes::gib(1))).unwrap().id;
    let whole = machine.unserved();
    assert_eq!(whole.serve(vec![machine.entry("other", json!({}))]), BTreeMap::new());
    assert_eq!(state(&whole, "sda"), format!("it is volume {id} of pool whole"));
    assert!(matches!(whole.create(&block("b", Bytes::gib(1))), Err(Error::NoRoom(_))));

    let both = vec![machine.entry("whole", json!({})), machine.entry("other", json!({}))];
    assert_eq!(whole.serve(both), BTreeMap::new());
    assert!(whole.find(&id).is_some());
    assert_eq!(room(&whole).1, Bytes::ZERO);
}

#[test]
fn a_pool_with_a_record_that_cannot_be_read_is_not_served_and_its_devices_stay_put_aside() {
    let machine = Machine::with(&[10]);
    let id = machine.started().create(&block("a", Bytes::gib(1))).unwrap().id;
    let file = machine.path("volumes/whole").join(format!("{id}.json"));
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, "{").unwrap();
    let whole = machine.unserved();
    let failed = whole.serve(vec![machine.entry("whole", json!({}))]);
    assert!(failed.values().any(|why| why.contains(id.as_str())), "{failed:?}");
    assert!(whole.reserved().contains_key(&disk("sda").number));
    std::fs::write(&file, text).unwrap();
    whole.do_chores_now();
    assert!(whole.find(&id).is_some() && whole.unserved().is_empty());
}

#[test]
fn a_device_file_that_is_bound_in_the_directory_is_not_in_use() {
    let machine = Machine::with(&[]);
    machine.plug_in(&disk("sda"));
    let node = machine.path("disks").join("node");
    std::fs::write(&node, "").unwrap();
    machine.fs.bind(Path::new("/dev/sda"), &node, MountAccess::ReadWrite).unwrap();
    let whole = machine.started();
    let id = whole.create(&block("a", Bytes::gib(1))).unwrap().id;
    whole.delete(&id).unwrap();
    whole.do_chores_now();
    assert_eq!((whole.has(&id), room(&whole).1), (false, Bytes::gib(100)));
}
