//! Disks that answer with errors: RAID volumes go on without them, and take them again.

use std::{collections::BTreeSet, path::Path};

use super::lost::{Mirrors, wanted};
use crate::volume::Error;

#[test]
fn a_leg_that_was_shut_out_is_taken_again_when_its_disk_is_well() {
    let it = Mirrors::new(2);
    it.machine.lvm.set_erring("tarn-fast", 0, true);
    it.look();
    let health = it.health();
    assert_eq!((health.state(), health.lost.len(), health.disks.len()), ("Degraded", 0, 0));
    let [erring] = health.erring.as_slice() else { panic!("{health}") };
    assert!(erring.disk.contains("/dev/sda"), "{erring}");
    assert_eq!(erring.volumes.len(), 2);
    assert_eq!(it.machine.lvm.count("refresh"), 2, "each is tried once");
    it.look();
    assert_eq!(it.machine.lvm.count("refresh"), 2, "and not at every look");
    let refused = it.host.create(&wanted("more")).unwrap_err();
    let why = "a disk answers with errors";
    assert!(matches!(&refused, Error::NoRoom(it) if it.contains(why)), "{refused}");

    it.machine.lvm.set_erring("tarn-fast", 0, false);
    it.host.disks.tries.lose_patience();
    it.look();
    assert!(it.health().is_well(), "{}", it.health());
    it.look();
    assert_eq!(it.machine.lvm.count("refresh"), 4);
    it.host.create(&wanted("more")).unwrap();
}

#[test]
fn a_disk_that_errs_gets_no_new_leg() {
    let it = Mirrors::new(2);
    it.machine.plug_in("sdc");
    it.look();
    it.machine.lvm.set_erring("tarn-fast", 0, true);
    it.look();
    for name in ["more", "most"] {
        let made = it.host.create(&wanted(name)).unwrap();
        let seen = it.machine.lvm.peek_at("tarn-fast", made.id.as_str()).unwrap();
        let disks: BTreeSet<_> = seen.legs.unwrap().disks.into_iter().collect();
        assert!(!disks.contains(Path::new("/dev/sda")), "{disks:?}");
    }
}
