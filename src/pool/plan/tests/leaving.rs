//! Disks that are to leave their pool.

use super::*;
use crate::pool::left;

const REOPENED_SDB: &str =
    "pvchange --allocatable y /dev/sdb, and wipe what was moved away from it";

/// A member of 24 extents, of which so many are used.
fn used(name: &str, extents: u64, leaving: bool) -> Disk {
    let mut disk = member(name, "tarn-fast", our_tags("fast"));
    if let Some(it) = &mut disk.physical {
        let (start, extent) = (Bytes::MIB, Bytes::mib(4));
        let (uuid, device) = (format!("uuid-{name}"), Bytes::mib(97));
        let footprint = Footprint { device, start, extent, extents: 24, used: extents, areas: 1 };
        let (allocatable, footprint) = (!leaving, Some(footprint));
        *it = SeenPhysicalVolume { uuid, leaving, allocatable, footprint, ..it.clone() };
    }
    disk
}

fn retiring() -> PoolEntry {
    pool("fast", r#"{"paths": ["/dev/sd*"], "retire": ["S-sda"]}"#)
}

#[rstest]
#[case::first_nothing_new_is_put_on_it(
    used("sda", 8, false),
    used("sdb", 16, false),
    &["pvchange --allocatable n /dev/sda"]
)]
#[case::then_it_is_emptied(used("sda", 8, true), used("sdb", 16, false), &["pvmove /dev/sda"])]
#[case::and_leaves(used("sda", 0, true), used("sdb", 24, false), &["vgreduce tarn-fast /dev/sda"])]
#[case::it_does_not_fit(used("sda", 9, true), used("sdb", 16, false), &[])]
#[case::the_other_leaves_too(used("sda", 1, false), used("sdb", 0, true), &[REOPENED_SDB])]
#[case::a_disk_is_missing(
    with_a_missing_disk(used("sda", 8, true)),
    with_a_missing_disk(used("sdb", 0, false)),
    &[]
)]
fn what_is_done(#[case] leaving: Disk, #[case] other: Disk, #[case] want: &[&str]) {
    let plan = planned(&[retiring()], vec![leaving, other]);
    assert_eq!(steps(&plan), want, "{plan}");
    assert_eq!((plan.disks[0].state(), plan.disks[1].state()), ("Leaving", "Member"));
}

#[test]
fn what_is_missing_is_said_in_bytes() {
    let plan = planned(&[retiring()], vec![used("sda", 20, false), used("sdb", 14, false)]);
    assert_eq!(plan.disks[0].reason(), Some("CannotLeave"));
    let message = plan.disks[0].message();
    assert!(
        message.ends_with("does not fit on the pool's other disks: 40Mi are missing"),
        "{message}"
    );
    let alone = planned(&[retiring()], vec![used("sda", 0, true)]);
    assert!(alone.disks[0].message().contains("the only disk"), "{alone}");
}

#[test]
fn what_has_left_is_not_taken_again() {
    let uuid = owner().mark(&"fast".parse().unwrap()).uuid("0123456789abcdef");
    let left = loose("sda", &uuid, None);
    let plan = planned(&[retiring()], vec![left.clone(), used("sdb", 3, false)]);
    assert_eq!(steps(&plan), ["pvremove /dev/sda"], "{plan}");
    assert!(plan.disks[0].message().contains("`retire` has its serial"), "{plan}");
    assert_eq!(planned(&[retiring()], vec![empty("sda"), used("sdb", 3, false)]).steps, []);
    // Of nobody, or another pool's.
    let others = loose("sda", "abcdef-0123", None);
    assert_eq!(planned(&[retiring()], vec![others, used("sdb", 3, false)]).steps, []);
}

#[test]
fn a_disk_that_is_to_stay_after_all_is_used_again() {
    let plan = planned(&[fast()], vec![used("sda", 8, true), used("sdb", 0, false)]);
    let want = "pvchange --allocatable y /dev/sda, and wipe what was moved away from it";
    assert_eq!(steps(&plan), [want], "{plan}");
}

#[test]
fn a_disk_whose_reopening_was_cut_short_is_closed_before_anything_is_moved() {
    let mut disk = used("sda", 8, true);
    if let Some(it) = &mut disk.physical {
        it.allocatable = true;
    }
    let plan = planned(&[retiring()], vec![disk, used("sdb", 0, false)]);
    assert_eq!(steps(&plan), ["pvchange --allocatable n /dev/sda"], "{plan}");
}

/// A disk that has left the group of the other, with what volumes wrote still on it.
fn emptied_and_gone() -> (Disk, Disk) {
    let uuid = owner().mark(&"fast".parse().unwrap()).uuid("0123456789abcdef");
    let mut gone = loose("sda", &uuid, None);
    if let Some(Ok(look)) = &mut gone.look {
        look.edges = Edges::Written;
    }
    let mut other = used("sdb", 3, false);
    let group = other.physical.as_mut().and_then(|it| it.group.as_mut()).unwrap();
    group.tags.extend(left::tag_for(&uuid));
    (gone, other)
}

#[test]
fn a_disk_that_has_left_and_is_wished_again_comes_back_and_is_wiped() {
    let (gone, other) = emptied_and_gone();
    let plan = planned(&[fast()], vec![gone.clone(), other.clone()]);
    let want = "vgextend tarn-fast /dev/sda; pvchange --allocatable y /dev/sda, and wipe what was moved away from it";
    assert_eq!(steps(&plan), [want], "{plan}");
    // Not where the group does not say that it was emptied: somebody's volumes may be on it.
    let plan = planned(&[fast()], vec![gone.clone(), used("sdb", 3, false)]);
    assert_eq!((steps(&plan).len(), plan.disks[0].reason()), (0, Some("PhysicalVolume")));
    // And while a disk of the group is missing it waits, as it could not be wiped.
    let missing = with_a_missing_disk(other);
    let plan = planned(&[fast()], vec![gone, missing]);
    assert_eq!((steps(&plan).len(), plan.disks[0].reason()), (0, Some("VolumeGroup")), "{plan}");
}

#[test]
fn a_disk_that_has_come_back_is_wiped_also_when_only_the_group_tells() {
    let (gone, other) = emptied_and_gone();
    let (seen, of) = (gone.physical.clone().unwrap(), other.physical.clone().unwrap());
    let seen = SeenPhysicalVolume { group: of.group, footprint: of.footprint, ..seen };
    let back = Disk { physical: Some(seen), ..gone };
    let plan = planned(&[fast()], vec![back.clone(), other.clone()]);
    let want = "pvchange --allocatable y /dev/sda, and wipe what was moved away from it";
    assert_eq!(steps(&plan), [want], "{plan}");
    let plan = planned(&[retiring()], vec![back, other]);
    assert_eq!(steps(&plan), ["pvchange --allocatable n /dev/sda"], "{plan}");
}
