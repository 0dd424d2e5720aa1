//! GetCapacity: never an error for what cannot be, and exactly what CreateVolume would accept.

use rstest::rstest;
use tarn::csi::proto::{GetCapacityRequest, GetCapacityResponse, Topology};

use crate::{
    ground::{Ground, NODE},
    requests::*,
};

fn class(pairs: &[(&str, &str)]) -> GetCapacityRequest {
    GetCapacityRequest { parameters: map(pairs), ..Default::default() }
}

fn room(ground: &Ground, request: GetCapacityRequest) -> (i64, i64) {
    let answer: GetCapacityResponse = ground.capacity(request).unwrap();
    (answer.available_capacity, answer.maximum_volume_size.unwrap())
}

#[test]
fn nothing_asked_is_the_whole_machine() {
    let ground = Ground::thick();
    assert_eq!(room(&ground, class(&[])), (8 * GIB, 8 * GIB));
}

#[test]
fn what_it_says_is_what_can_be_made() {
    for ground in [Ground::thick(), Ground::thin()] {
        ground.made(sized("a", 100 * MIB));
        let (_, largest) = room(&ground, class(&[]));
        assert!(ground.create(sized("b", largest + 1)).is_err());
        ground.create(sized("b", largest)).unwrap();
        assert_eq!(room(&ground, class(&[])), (0, 0));
    }
}

#[rstest]
#[case::unknown_pool(class(&[("pool", "other")]))]
#[case::malformed_pool(class(&[("pool", "../x")]))]
#[case::unknown_key(class(&[("poool", "disks")]))]
#[case::what_nothing_is_made_for(class(&[("mode", "Static"), ("pool", "disks")]))]
#[case::unknown_value(class(&[("layout", "Round")]))]
#[case::not_held_here(class(&[("provisioning", "Thin")]))]
#[case::more_stripes_than_disks(class(&[("layout", "Striped"), ("stripes", "3")]))]
#[case::another_node(GetCapacityRequest { accessible_topology: Some(segment("node-2")), ..class(&[]) })]
#[case::an_impossible_node(GetCapacityRequest { accessible_topology: Some(segment("")), ..class(&[]) })]
#[case::no_segment(GetCapacityRequest { accessible_topology: Some(Topology::default()), ..class(&[]) })]
#[case::foreign_key(GetCapacityRequest {
    accessible_topology: Some(Topology { segments: map(&[("zone", "a")]) }), ..class(&[])
})]
#[case::impossible_capability(GetCapacityRequest { volume_capabilities: vec![mount("vfat")], ..class(&[]) })]
#[case::huge_map(class(&[("csi.storage.k8s.io/x", &"x".repeat(5000))]))]
fn what_cannot_be_has_no_room(#[case] request: GetCapacityRequest) {
    let ground = Ground::thick();
    let answer = ground.capacity(request).unwrap();
    assert_eq!(answer.available_capacity, 0);
    assert_eq!(answer.maximum_volume_size.unwrap_or(0), 0);
}

#[rstest]
#[case::raw_class(class(&[("csi.storage.k8s.io/fstype", "xfs"), ("csi.storage.k8s.io/x", "y")]))]
#[case::this_node(GetCapacityRequest { accessible_topology: Some(segment(NODE)), ..class(&[]) })]
#[case::capability(GetCapacityRequest { volume_capabilities: vec![mount("ext4")], ..class(&[]) })]
#[case::named_pool(class(&[("pool", "disks")]))]
fn as_the_sidecar_asks(#[case] request: GetCapacityRequest) {
    assert_eq!(room(&Ground::thick(), request), (8 * GIB, 8 * GIB));
}

#[test]
fn striped_volumes_count_only_what_lies_beside_each_other() {
    let ground = Ground::thick();
    ground.made(sized("a", GIB));
    let striped = class(&[("layout", "Striped"), ("stripes", "2")]);
    assert_eq!(room(&ground, striped), (7 * GIB, 6 * GIB));
}

#[test]
fn several_pools_are_summed_and_each_can_be_asked_for() {
    let ground = Ground::two_pools();
    let (fast, slow) = (class(&[("pool", "fast")]), class(&[("pool", "slow")]));
    let (fast, slow) = (room(&ground, fast), room(&ground, slow));
    assert_eq!(slow, (4 * GIB, 4 * GIB));
    assert_eq!(room(&ground, class(&[])), (fast.0 + slow.0, fast.1.max(slow.1)));
    assert_eq!(
        room(&ground, class(&[("pool", "fast"), ("provisioning", "Thin")])),
        (2 * GIB, 2 * GIB)
    );
}

#[test]
fn a_thin_pool_near_its_end_promises_nothing() {
    let ground = Ground::thin();
    assert_eq!(room(&ground, class(&[])), (8 * GIB, 8 * GIB));
    for (data, metadata) in [(95.0, 0.0), (0.0, 95.5)] {
        ground.lvm.fill_pool("vg0", "tarn-thin", data, metadata);
        ground.settle();
        assert_eq!(room(&ground, class(&[])), (0, 0));
    }
}

#[test]
fn a_missing_disk_leaves_no_room() {
    let ground = Ground::thick();
    ground.lvm.set_missing("vg0", 1, true);
    ground.settle();
    assert_eq!(room(&ground, class(&[])).1, 0);
}

#[test]
fn room_that_waits_to_be_wiped_is_not_room_yet() {
    let ground = Ground::thick();
    let id = ground.made(sized("a", GIB));
    ground.delete(&id).unwrap();
    assert_eq!(room(&ground, class(&[])).0, 7 * GIB);
    ground.settle();
    assert_eq!(room(&ground, class(&[])).0, 8 * GIB);
}
