//! Disks that were to leave, or have left, and stay after all.

use super::*;
use crate::lvm::LogicalVolume;

/// `sda` is to leave, and is empty but for a part of what lay on it; `sdb` has the rest.
fn half_emptied() -> (Machine, Host) {
    let (machine, host) = with_a_volume(&["sdb"]);
    machine.lvm.fail_once("reduce_group", FailAt::Before);
    host.set_pools(vec![without_sda()]);
    until("it is empty", || {
        host.look_at_disks();
        machine.lvm.count("reduce_group") == 1
    });
    (machine, host)
}

/// What is to be wiped on `sda`.
fn leftovers(machine: &Machine) -> Option<LogicalVolume> {
    let volumes = machine.lvm.peek_volumes("tarn-fast");
    volumes.into_iter().find(|it| it.name.as_str().starts_with("x-p-"))
}

/// Whether others may get extents of `sda`.
fn is_open(machine: &Machine) -> bool {
    let group = machine.lvm.peek("tarn-fast");
    let sda = group.physical.iter().find(|it| it.device.ends_with("sda"));
    sda.is_some_and(|it| it.allocatable && it.free() > 0)
}

fn wipe(machine: &Machine, host: &Host) {
    let left = leftovers(machine).unwrap();
    let path = format!("/dev/tarn-fast/{}", left.name);
    machine.devices.add_device(&path, left.size);
    machine.devices.write(&path, Bytes(4096), b"a tenant's");
    assert!(host.empty_trash_now());
    assert_eq!(machine.devices.read(&path, Bytes(4096), 10), [0; 10], "it is wiped");
}

#[test]
fn what_was_moved_away_from_it_is_wiped_before_others_get_its_place() {
    let (machine, host) = half_emptied();
    assert!(!is_open(&machine));
    host.set_pools(vec![fast()]);
    assert_eq!(state(&host, "sda").0, "Member");
    assert!(host.disks().0.steps.is_empty());
    let (left, group) = (leftovers(&machine).unwrap(), machine.lvm.peek("tarn-fast"));
    let sda = group.physical.iter().find(|it| it.device.ends_with("sda")).unwrap();
    assert_eq!((left.size.0 / group.extent.0, sda.free()), (sda.extents, 0));
    // Nobody is shown it, and its room is nobody's yet.
    assert_eq!(host.status()[0].stock.free, group.free);
    assert!(host.volumes(None, 9).is_empty());
    wipe(&machine, &host);
    assert!(is_open(&machine) && leftovers(&machine).is_none());
}

#[test]
fn however_it_is_cut_short_nobody_gets_what_was_not_wiped() {
    for (others, at) in (0..12).flat_map(|it| [(it, FailAt::Before), (it, FailAt::After)]) {
        let (machine, host) = half_emptied();
        machine.lvm.fail_later(others, at);
        host.set_pools(vec![fast()]);
        assert!(!is_open(&machine), "{others} {at:?}");
        drop(host);
        let host = machine.started();
        host.look_at_disks();
        assert!(!is_open(&machine) && leftovers(&machine).is_some(), "{others} {at:?}");
        wipe(&machine, &host);
        assert!(is_open(&machine), "{others} {at:?}");
    }
}

/// `sda` has left the group, and is a physical volume nevertheless.
fn just_gone() -> (Machine, Host) {
    let (machine, host) = half_emptied();
    machine.lvm.fail_once("remove_physical_volume", FailAt::Before);
    until("the disk has left", || {
        host.look_at_disks();
        machine.members() == ["/dev/sdb"]
    });
    machine.fill("sda", "LVM2_member");
    (machine, host)
}

#[test]
fn a_disk_that_has_just_left_comes_back_wiped_however_that_is_cut_short() {
    for (others, at) in (0..14).flat_map(|it| [(it, FailAt::Before), (it, FailAt::After)]) {
        let (machine, host) = just_gone();
        machine.lvm.fail_later(others, at);
        drop(host);
        drop(machine.open(vec![fast()]));
        assert!(!is_open(&machine), "{others} {at:?}");
        let host = machine.started();
        host.look_at_disks();
        assert_eq!(state(&host, "sda").0, "Member", "{others} {at:?}");
        assert!(!is_open(&machine) && leftovers(&machine).is_some(), "{others} {at:?}");
        let tags = machine.lvm.peek("tarn-fast").tags;
        assert!(!tags.iter().any(|it| it.as_str().starts_with("tarn.left")), "{tags:?}");
        wipe(&machine, &host);
        assert!(is_open(&machine), "{others} {at:?}");
    }
}

#[test]
fn the_group_forgets_a_disk_that_is_forgotten() {
    let (machine, host) = just_gone();
    let all = machine.lvm.physical_volumes().unwrap();
    let uuid = &all.iter().find(|it| it.device.ends_with("sda")).unwrap().uuid;
    let is_noted = || {
        let tags = machine.lvm.peek("tarn-fast").tags;
        tags.iter().any(|it| it.as_str() == format!("tarn.left={uuid}"))
    };
    assert!(is_noted());
    until("it is no physical volume any more", || {
        host.look_at_disks();
        machine.lvm.count("remove_physical_volume") == 2
    });
    assert!(!is_noted());
}

/// A command that was killed may have left the kernel a way through a disk of which LVM knows nothing more.
#[test]
fn what_commands_left_is_put_to_rest_before_a_disk_leaves() {
    let machine = Machine::with(&["sda", "sdb"]);
    drop(machine.started());
    let before = machine.lvm.commands().len();
    let host = machine.open(vec![without_sda()]).unwrap();
    until("the disk has left", || {
        host.look_at_disks();
        machine.members() == ["/dev/sdb"]
    });
    let commands = machine.lvm.commands().split_off(before);
    let first = |verb| commands.iter().position(|it| *it == verb).unwrap();
    assert!(first("forget_prepared") < first("reduce_group"), "{commands:?}");
}
