//! Disks that answer with errors: RAID volumes go on without them, and take them again.

use super::lost::{Mirrors, wanted};

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
    it.host.create(&wanted("more")).unwrap();

    it.machine.lvm.set_erring("tarn-fast", 0, false);
    it.host.disks.tries.lose_patience();
    it.look();
    assert!(it.health().is_well(), "{}", it.health());
    it.look();
    assert_eq!(it.machine.lvm.count("refresh"), 4);
}
