//! How the devices of deleted volumes become clean, and what keeps them from it.

use super::*;
use crate::device::{Part, Wipe, fake::Call};

/// The pool, with more fields of `wholeDevices` and beside it.
fn pool(machine: &Machine, of_devices: Value, more: Value) -> Vec<PoolEntry> {
    let mut whole = json!({ "directories": [machine.path("disks")] });
    whole.as_object_mut().unwrap().extend(of_devices.as_object().unwrap().clone());
    let mut spec = json!({ "wholeDevices": whole });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec = serde_json::from_value(spec).unwrap();
    vec![PoolEntry { name: "whole".parse().unwrap(), spec }]
}

fn shredding(machine: &Machine) -> WholeDevices {
    let whole = machine.unserved();
    let pools = pool(machine, json!({ "shredPasses": 2 }), json!({ "wipe": "Shred" }));
    assert_eq!(whole.serve(pools), BTreeMap::new());
    whole
}

fn disk_of_one_gib(has_identity: bool) -> Machine {
    let machine = Machine::with(&[]);
    let mut device = BlockDevice { size: Bytes::GIB, ..disk("sda") };
    if !has_identity {
        (device.serial, device.wwn) = (None, None);
    }
    machine.plug_in(&device);
    machine.link("sda", "/dev/sda");
    machine
}

fn made_and_deleted(whole: &WholeDevices) -> VolumeId {
    let id = whole.create(&block("a", Bytes::MIB)).unwrap().id;
    whole.delete(&id).unwrap();
    id
}

/// What is said of the only entry, or how it stands.
fn told(whole: &WholeDevices) -> String {
    let state = whole.status().pop().unwrap().entries.pop().unwrap().state;
    state.message().unwrap_or(state.word()).to_owned()
}

/// What is done to a device that nothing interrupts.
fn all_of_it() -> Vec<(Part, Wipe)> {
    let machine = disk_of_one_gib(true);
    let whole = shredding(&machine);
    made_and_deleted(&whole);
    machine.devices.write("/dev/sda", Bytes::mib(300), b"secret");
    whole.do_chores_now();
    assert_eq!((told(&whole).as_str(), whole.kept(&|_| true).len()), ("Free", 0));
    assert_eq!(machine.devices.read("/dev/sda", Bytes::mib(300), 6), [0; 6]);
    machine.devices.take_wipes()
}

/// So many parts of a device are wiped, and then one is not.
fn fail_after(devices: &FakeDevices, count: usize) {
    match count {
        0 => devices.fail_once(Call::Wipe),
        _ => devices.after_wipe(move |devices| fail_after(devices, count - 1)),
    }
}

#[test]
fn a_device_is_shredded_as_often_as_its_pool_says_and_ends_in_zeroes() {
    let all = all_of_it();
    let one = all.len() / 3;
    assert!(all[..2 * one].iter().all(|(_, how)| *how == Wipe::Shred));
    assert!(all[2 * one..].iter().all(|(_, how)| *how == Wipe::Zero));
    let written: u64 = all.iter().map(|(part, _)| part.length.0).sum();
    assert_eq!(written, 3 * Bytes::GIB.0);
}

#[rstest]
#[case::known_again(true)]
#[case::without_an_identity(false)]
fn a_wipe_goes_on_where_it_was_cut_short_if_the_device_is_surely_the_same(#[case] is_known: bool) {
    let all = all_of_it();
    let machine = disk_of_one_gib(is_known);
    let whole = shredding(&machine);
    let id = made_and_deleted(&whole);
    let count = 8;
    fail_after(&machine.devices, count);
    whole.do_chores_now();
    assert_eq!(machine.devices.take_wipes(), all[..count]);
    let said = told(&whole);
    assert!(said.contains("cannot work on"), "{said}");

    let whole = shredding(&machine);
    assert!(told(&whole).contains("% is done, now in pass 2 of 3"), "{}", told(&whole));
    whole.do_chores_now();
    let second = machine.devices.take_wipes();
    assert!(!whole.has(&id));
    assert_eq!(second, if is_known { &all[count..] } else { &all });
}

#[test]
fn a_quick_reset_needs_the_consent_of_the_pool_then_and_when_it_is_done() {
    let machine = disk_of_one_gib(true);
    let whole = machine.unserved();
    let allowing = || pool(&machine, json!({ "allowQuickReset": true }), json!({}));
    assert_eq!(whole.serve(allowing()), BTreeMap::new());
    let mut wish = block("a", Bytes::MIB);
    wish.parameters.wipe = Some(Wipe::QuickReset);
    let secret = || machine.devices.read("/dev/sda", Bytes::mib(300), 6);
    let id = whole.create(&wish).unwrap().id;
    machine.devices.write("/dev/sda", Bytes::mib(300), b"secret");
    whole.delete(&id).unwrap();
    whole.do_chores_now();
    let ends = |length: Bytes| {
        [Bytes(Bytes::GIB.0 - length.0), Bytes::ZERO].map(|offset| Part { offset, length })
    };
    let wiped = machine.devices.take_wipes();
    assert_eq!(wiped, ends(Bytes::mib(8)).map(|part| (part, Wipe::QuickReset)));
    assert_eq!((told(&whole).as_str(), secret().as_slice()), ("Free", &b"secret"[..]));

    whole.create(&wish).unwrap();
    assert_eq!(whole.serve(pool(&machine, json!({}), json!({}))), BTreeMap::new());
    whole.create(&wish).expect("what is there is found");
    let refused = whole.create(&Wanted { name: "b".parse().unwrap(), ..wish }).unwrap_err();
    assert!(refused.to_string().contains("wholeDevices.allowQuickReset"), "{refused}");
    whole.delete(&id).unwrap();
    whole.do_chores_now();
    assert_eq!((told(&whole).as_str(), secret().as_slice()), ("Free", &[0; 6][..]));
}

#[test]
fn a_device_that_still_shows_something_is_not_given_again() {
    let machine = disk_of_one_gib(true);
    let whole = shredding(&machine);
    let id = made_and_deleted(&whole);
    machine.fs.set_content("/dev/sda", Content::Foreign("swap".to_owned()));
    for _ in 0..2 {
        whole.do_chores_now();
        let said = told(&whole);
        assert_eq!(said, "/dev/sda was wiped, and yet it has a signature (swap)");
        assert!(!machine.devices.take_wipes().is_empty(), "all of it is done again");
        assert_eq!((whole.has(&id), room(&whole).1), (true, Bytes::ZERO));
    }
    machine.devices.fail_once(Call::Wipe);
    whole.do_chores_now();
    assert!(told(&whole).contains("cannot work on /dev/sda"), "{}", told(&whole));
    machine.join_wipe("sda");
    whole.do_chores_now();
    assert_eq!((told(&whole).as_str(), room(&whole).1), ("Free", Bytes::GIB));
}
