//! RAID volumes: a disk for each leg, sizes that are exact, and nothing weaker than what was asked for.

use rstest::rstest;
use serde_json::json;
use tarn::{
    csi::proto::{CreateVolumeRequest, GetCapacityRequest},
    device::fake::Call,
};
use tonic::Code;

use crate::{
    ground::{EXTENT, Ground, code, words},
    requests::*,
};

type Class<'a> = &'a [(&'a str, &'a str)];

const MIRROR: Class<'_> = &[("layout", "Raid1")];

/// One pool on so many disks of 1024 extents.
fn ground(disks: usize) -> Ground {
    let pool = json!({"volumeGroup": "vg0"});
    Ground::on_disks(&vec![1024; disks], vec![("disks", pool)])
}

fn of_class(name: &str, bytes: i64, class: Class<'_>) -> CreateVolumeRequest {
    CreateVolumeRequest { parameters: map(class), ..sized(name, bytes) }
}

/// Extents of the pool that no volume has.
fn free(ground: &Ground) -> u64 {
    ground.lvm.peek("vg0").free
}

/// What is available and the largest volume, in extents.
fn room(ground: &Ground, class: Class<'_>) -> (i64, i64) {
    let asked = GetCapacityRequest { parameters: map(class), ..Default::default() };
    let answer = ground.capacity(asked).unwrap();
    (answer.available_capacity / EXTENT, answer.maximum_volume_size.unwrap_or(0) / EXTENT)
}

#[rstest]
#[case::mirror(2, MIRROR, (1023, 1023), 1, "raid1:1x1")]
#[case::two_copies(3, &[("layout", "Raid1"), ("mirrors", "2")], (1023, 1023), 1, "raid1:2x1")]
#[case::a_disk_more(3, MIRROR, (1535, 1023), 1, "raid1:1x1")]
#[case::parity(3, &[("layout", "raid5")], (2046, 2046), 2, "raid5:0x2")]
#[case::two_parities(5, &[("layout", "Raid6"), ("stripes", "3")], (3069, 3069), 3, "raid6:0x3")]
#[case::mirrored_stripes(
    4, &[("layout", "Raid10"), ("stripeSize", "64Ki")], (2046, 2046), 2, "raid10:1x2:65536"
)]
fn the_largest_is_made_and_a_row_more_is_not(
    #[case] disks: usize,
    #[case] class: Class<'_>,
    #[case] has: (i64, i64),
    #[case] row: i64,
    #[case] tag: &str,
) {
    let ground = ground(disks);
    assert_eq!(room(&ground, class), has);
    let more = of_class("more", (has.1 + row) * EXTENT, class);
    assert_eq!(code(ground.create(more)), Code::ResourceExhausted);
    let made = ground.create(of_class("a", has.1 * EXTENT, class)).unwrap();
    assert_eq!(made.capacity_bytes, has.1 * EXTENT);
    assert!(ground.has_tag(&made.volume_id, &format!("tarn.layout={tag}")));
    ground.settle();
    assert_eq!(room(&ground, class).1, 0);
}

#[test]
fn sizes_are_whole_rows() {
    let ground = ground(3);
    let parity = of_class("a", EXTENT + 1, &[("layout", "Raid5")]);
    assert_eq!(ground.create(parity).unwrap().capacity_bytes, 2 * EXTENT);
}

#[test]
fn a_disk_less_than_legs_is_no_room() {
    assert_eq!(room(&ground(1), MIRROR), (0, 0));
    let refused = ground(3).create(of_class("a", EXTENT, &[("layout", "Raid10")]));
    assert_eq!(code(refused), Code::ResourceExhausted);
}

#[test]
fn what_is_kept_back_is_kept_back() {
    let pool = json!({"volumeGroup": "vg0", "reserve": "4Gi"});
    let ground = Ground::on_disks(&[1024, 1024], vec![("disks", pool)]);
    assert_eq!(room(&ground, MIRROR), (511, 511));
}

/// Which extents a linear volume takes is only known from a report.
#[test]
fn the_disks_are_chosen_from_what_is_true() {
    let ground = ground(3);
    for (name, extents) in [("a", 1000), ("b", 1000)] {
        ground.made(sized(name, extents * EXTENT));
    }
    let legs = |id: &str| ground.lv(id).legs.unwrap().disks;
    let first = ground.made(of_class("c", 10 * EXTENT, MIRROR));
    assert_eq!(legs(&first).len(), 2);
    assert_eq!(free(&ground), 1072 - 22);
    let second = ground.made(of_class("d", 10 * EXTENT, MIRROR));
    assert_eq!(free(&ground), 1072 - 44);
    assert_eq!(legs(&second).len(), 2);
}

#[rstest]
#[case::no_stripes(&[("layout", "Raid1"), ("stripes", "2")], "parameters[stripes]: `2`")]
#[case::no_mirrors(&[("layout", "Raid5"), ("mirrors", "1")], "parameters[mirrors]: `1`")]
#[case::too_few(&[("layout", "Raid6"), ("stripes", "2")], "Raid6 has 3 to 62")]
#[case::too_few_of_the_pool(&[("layout", "Raid6")], "Raid6 has 3 to 62")]
#[case::linear_by_default(&[("mirrors", "1")], "Linear has no mirrors")]
#[case::unknown(&[("layout", "Raid0")], "Linear, Striped, Raid1, Raid5, Raid6, Raid10")]
fn what_cannot_be_is_said(#[case] class: Class<'_>, #[case] says: &str) {
    let ground = ground(6);
    let said = words(ground.create(of_class("a", EXTENT, class)));
    assert!(said.contains(says), "{said}");
    assert_eq!(code(ground.create(of_class("a", EXTENT, class))), Code::InvalidArgument);
    assert_eq!(room(&ground, class), (0, 0));
}

#[test]
fn a_pool_says_what_it_allows_and_what_it_makes() {
    let pool = json!({
        "volumeGroup": "vg0", "layout": "Raid1", "mirrors": 2, "layouts": ["Raid1", "Raid5"],
    });
    let ground = Ground::on_disks(&[1024; 3], vec![("disks", pool)]);
    let id = ground.made(volume("a"));
    assert!(ground.has_tag(&id, "tarn.layout=raid1:2x1"));
    let weaker = of_class("b", EXTENT, &[("layout", "Linear")]);
    let said = words(ground.create(weaker.clone()));
    assert!(said.contains("the pool allows Raid1, Raid5"), "{said}");
    assert_eq!(code(ground.create(weaker)), Code::InvalidArgument);
    ground.made(of_class("c", EXTENT, &[("layout", "Raid5")]));
}

#[test]
fn a_repeated_call_is_compared() {
    let ground = ground(3);
    let id = ground.made(of_class("a", 2 * EXTENT, MIRROR));
    assert_eq!(ground.made(of_class("a", 2 * EXTENT, MIRROR)), id);
    for other in [&[][..], &[("layout", "Raid5")], &[("layout", "Raid1"), ("mirrors", "2")]] {
        assert_eq!(code(ground.create(of_class("a", 2 * EXTENT, other))), Code::AlreadyExists);
    }
}

#[test]
fn it_grows_on_the_disks_of_its_legs() {
    let ground = ground(3);
    let id = ground.made(of_class("a", 10 * EXTENT, MIRROR));
    let legs = ground.lv(&id).legs;
    let grown = ground.expand(expansion(&id, 1000 * EXTENT)).unwrap();
    assert_eq!(grown.capacity_bytes, 1000 * EXTENT);
    assert_eq!((ground.lv(&id).legs, free(&ground)), (legs.clone(), 3 * 1024 - 2002));
    assert_eq!(code(ground.expand(expansion(&id, 1024 * EXTENT))), Code::OutOfRange);
    assert_eq!(ground.expand(expansion(&id, 1023 * EXTENT)).unwrap().capacity_bytes, 1023 * EXTENT);
    assert_eq!((ground.lv(&id).legs, free(&ground)), (legs, 1024));
}

#[test]
fn a_deleted_one_is_wiped_and_all_of_it_is_given_back() {
    let ground = ground(3);
    let all = free(&ground);
    let id = ground.made(of_class("a", 10 * EXTENT, &[("layout", "Raid5")]));
    ground.delete(&id).unwrap();
    ground.settle();
    assert_eq!((ground.devices.calls(Call::Wipe), free(&ground)), (1, all));
}

#[test]
fn snapshots_and_clones_are_as_of_any_thick_volume() {
    let ground = ground(3);
    let of = |name: &str, from: &str| CreateVolumeRequest {
        parameters: map(MIRROR),
        ..copy(name, from)
    };
    let id = ground.made(of_class("a", 10 * EXTENT, MIRROR));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    let restored = ground.made(of("b", &snapshot));
    assert!(ground.has_tag(&restored, "tarn.layout=raid1:1x1"));
    ground.delete_snapshot(&snapshot).unwrap();
    let clone = ground.made(of("c", &id));
    assert_eq!(ground.lv(&clone).legs.unwrap().disks.len(), 2);
    for id in [id, restored, clone] {
        ground.delete(&id).unwrap();
    }
    ground.settle();
    assert_eq!(free(&ground), 3 * 1024);
}

/// A clone takes its own room and, while it is copied, that of a snapshot of its source.
#[test]
fn a_clone_needs_room_for_a_snapshot_beside_it() {
    let ground = ground(2);
    let id = ground.made(of_class("a", 500 * EXTENT, MIRROR));
    let clone =
        CreateVolumeRequest { parameters: map(MIRROR), capacity_range: None, ..copy("b", &id) };
    assert_eq!(code(ground.create(clone)), Code::ResourceExhausted);
    assert_eq!(ground.lvs(), [id]);
}

#[test]
fn one_whose_making_was_cut_short_is_made_anew() {
    let mut ground = ground(2);
    let wish = of_class("a", 10 * EXTENT, MIRROR);
    let id = ground.made(wish.clone());
    ground.lvm.half_make("vg0", &id);
    ground.reboot();
    assert!(!ground.lv(&id).active, "nothing uses it");
    assert_eq!(code(ground.create(wish.clone())), Code::ResourceExhausted);
    assert!(ground.lvs().is_empty());
    assert_eq!(ground.made(wish), id);
    ground.lvm.half_make("vg0", &id);
    ground.start();
    ground.delete(&id).unwrap();
    assert!(ground.lvs().is_empty());
}
