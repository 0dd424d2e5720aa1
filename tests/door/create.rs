//! CreateVolume: what is refused with which code, in which order, and what is made.

use rstest::rstest;
use tarn::csi::proto::{
    CreateVolumeRequest, VolumeCapability,
    volume_capability::{AccessMode, AccessType, BlockVolume, access_mode::Mode},
};
use tonic::Code;

use crate::{
    ground::{EXTENT, Ground, KEY, NODE, code, words},
    requests::*,
};

#[test]
fn what_a_volume_is_answered_as() {
    let ground = Ground::thick();
    let made = ground.create(volume("pvc-1")).unwrap();
    assert!(made.volume_id.starts_with("v-"));
    assert_eq!(made.capacity_bytes, 64 * MIB);
    assert_eq!((made.volume_context, made.content_source), (map(&[]), None));
    assert_eq!(made.accessible_topology, [segment(NODE)]);
    assert_eq!(ground.lvs(), [made.volume_id]);
}

#[test]
fn the_same_wish_finds_the_same_volume() {
    let ground = Ground::thick();
    let first = ground.create(volume("pvc-1")).unwrap();
    let free = ground.free();
    assert_eq!(ground.create(volume("pvc-1")).unwrap(), first);
    assert_eq!((ground.lvs().len(), ground.free()), (1, free));
}

#[rstest]
#[case::no_name(volume(""))]
#[case::name_of_129_bytes(volume(&"n".repeat(129)))]
#[case::no_capability(CreateVolumeRequest { volume_capabilities: vec![], ..volume("a") })]
#[case::no_access_type(with(VolumeCapability { access_type: None, ..block() }))]
#[case::no_access_mode(with(VolumeCapability { access_mode: None, ..block() }))]
#[case::unknown_access_mode(with(in_mode(block(), Mode::Unknown)))]
#[case::access_mode_of_a_later_spec(with(VolumeCapability {
    access_mode: Some(AccessMode { mode: 99 }), ..block()
}))]
#[case::readers_of_many_nodes(with(in_mode(block(), Mode::MultiNodeReaderOnly)))]
#[case::writer_of_many_nodes(with(in_mode(block(), Mode::MultiNodeSingleWriter)))]
#[case::writers_of_many_nodes(with(in_mode(block(), Mode::MultiNodeMultiWriter)))]
#[case::unknown_file_system(with(mount("vfat")))]
#[case::file_system_and_block(CreateVolumeRequest {
    volume_capabilities: vec![block(), mount("ext4")], ..volume("a")
})]
#[case::two_file_systems(CreateVolumeRequest {
    volume_capabilities: vec![mount("xfs"), mount("ext4")], ..volume("a")
})]
#[case::file_system_other_than_the_class(parameters(&[("csi.storage.k8s.io/fstype", "xfs")]))]
#[case::mount_flag_that_moves_things(with(flagged("ext4", &["remount"])))]
#[case::unknown_key(parameters(&[("poool", "disks")]))]
#[case::unknown_value(parameters(&[("provisioning", "Fat")]))]
#[case::one_stripe(parameters(&[("layout", "Striped"), ("stripes", "1")]))]
#[case::too_many_parameters(parameters(&[("mkfsOptions", &"-".repeat(4097))]))]
#[case::dangerous_mkfs_option(parameters(&[("mkfsOptions", "-F")]))]
#[case::what_nothing_is_made_for(parameters(&[("mode", "Static")]))]
#[case::what_only_memory_loses(parameters(&[("afterRestart", "Empty")]))]
#[case::unknown_mutable_parameter(CreateVolumeRequest {
    mutable_parameters: map(&[("XXX_FakeKey", "1")]), ..volume("a")
})]
#[case::negative_size(sized("a", -1))]
#[case::negative_limit(CreateVolumeRequest { capacity_range: size(0, -1), ..volume("a") })]
#[case::foreign_topology_key(CreateVolumeRequest {
    accessibility_requirements: Some(tarn::csi::proto::TopologyRequirement {
        requisite: vec![tarn::csi::proto::Topology { segments: map(&[("other/zone", "a")]) }],
        ..Default::default()
    }), ..volume("a")
})]
#[case::source_of_no_kind(CreateVolumeRequest {
    volume_content_source: Some(Default::default()), ..volume("a")
})]
#[case::source_without_an_id(copy("a", ""))]
fn a_malformed_wish_is_invalid(#[case] wish: CreateVolumeRequest) {
    let ground = Ground::thick();
    assert_eq!(code(ground.create(wish)), Code::InvalidArgument);
    assert!(ground.lvs().is_empty());
}

fn with(capability: VolumeCapability) -> CreateVolumeRequest {
    CreateVolumeRequest { volume_capabilities: vec![capability], ..volume("a") }
}

fn parameters(pairs: &[(&str, &str)]) -> CreateVolumeRequest {
    CreateVolumeRequest { parameters: map(pairs), ..volume("a") }
}

#[test]
fn a_refused_mount_flag_is_not_repeated() {
    let ground = Ground::thick();
    let said = words(ground.create(with(flagged("ext4", &["bind", "password=secret"]))));
    assert!(said.contains("mount_flags") && !said.contains("secret"), "{said}");
}

#[rstest]
#[case::reader(Mode::SingleNodeReaderOnly)]
#[case::node(Mode::SingleNodeWriter)]
#[case::one(Mode::SingleNodeSingleWriter)]
#[case::many(Mode::SingleNodeMultiWriter)]
fn every_mode_of_one_node_is_fine(#[case] mode: Mode) {
    let ground = Ground::thick();
    ground.create(with(in_mode(block(), mode))).unwrap();
}

#[rstest]
#[case::larger(sized("a", 65 * MIB))]
#[case::absurdly_larger(sized("a", 20 << 50))]
#[case::under_a_lower_limit(CreateVolumeRequest {
    capacity_range: size(4 * MIB, 60 * MIB), ..volume("a")
})]
#[case::block(block_volume("a"))]
#[case::file_system(CreateVolumeRequest {
    volume_capabilities: vec![mount("btrfs")], ..volume("a")
})]
#[case::mkfs(parameters(&[("mkfsOptions", "-m 1")]))]
#[case::wipe(parameters(&[("wipe", "None")]))]
#[case::layout(parameters(&[("layout", "Striped")]))]
#[case::source(copy("a", "v-aaaaaaaaaaaaaaaaaaaaaaaaaa"))]
#[case::pool(parameters(&[("pool", "nowhere")]))]
#[case::node(CreateVolumeRequest {
    accessibility_requirements: nodes(&["node-2"], &["node-2"]), ..volume("a")
})]
fn the_same_name_for_something_else_exists_already(#[case] other: CreateVolumeRequest) {
    let ground = Ground::thick();
    let first = ground.create(volume("a")).unwrap();
    assert_eq!(code(ground.create(other)), Code::AlreadyExists);
    assert_eq!(ground.create(volume("a")).unwrap(), first);
}

#[rstest]
#[case::less_is_enough(size(60 * MIB, 0))]
#[case::a_limit_above(size(0, 100 * MIB))]
#[case::no_wish(None)]
fn a_size_in_range_is_compatible(#[case] range: Option<tarn::csi::proto::CapacityRange>) {
    let ground = Ground::thick();
    let first = ground.create(volume("a")).unwrap();
    let again = CreateVolumeRequest { capacity_range: range, ..volume("a") };
    assert_eq!(ground.create(again).unwrap(), first);
}

#[rstest]
#[case::nothing_asked(0, 0, GIB)]
#[case::one_byte_over(64 * MIB + 1, 0, 64 * MIB + EXTENT)]
#[case::exact(64 * MIB, 64 * MIB, 64 * MIB)]
#[case::only_a_limit(0, 100 * MIB, 100 * MIB)]
fn sizes_are_whole_extents(#[case] required: i64, #[case] limit: i64, #[case] made: i64) {
    let ground = Ground::thick();
    let wish = CreateVolumeRequest { capacity_range: size(required, limit), ..volume("a") };
    assert_eq!(ground.create(wish).unwrap().capacity_bytes, made);
}

#[rstest]
#[case::limit_below(2 * EXTENT, EXTENT)]
#[case::rounded_over_the_limit(10 * EXTENT + 1, 10 * EXTENT + 2)]
#[case::past_the_end(i64::MAX, 0)]
#[case::past_the_end_with_limit(i64::MAX, i64::MAX)]
#[case::too_small_for_ext4(1, 0)]
fn no_such_size(#[case] required: i64, #[case] limit: i64) {
    let ground = Ground::thick();
    let wish = CreateVolumeRequest { capacity_range: size(required, limit), ..volume("a") };
    assert_eq!(code(ground.create(wish)), Code::OutOfRange);
    assert!(ground.lvs().is_empty());
}

#[rstest]
#[case::ext4("ext4", 8)]
#[case::btrfs("btrfs", 256)]
#[case::xfs("xfs", 300)]
fn what_is_too_small_for_its_file_system(#[case] kind: &str, #[case] least: i64) {
    let ground = Ground::thick();
    let wish =
        |bytes| CreateVolumeRequest { volume_capabilities: vec![mount(kind)], ..sized("a", bytes) };
    assert_eq!(code(ground.create(wish(least * MIB - EXTENT))), Code::OutOfRange);
    let made = ground.create(wish(least * MIB)).unwrap();
    let staged = tarn::csi::proto::NodeStageVolumeRequest {
        volume_capability: Some(mount(kind)),
        ..staging(&made.volume_id, &ground.path("staging"))
    };
    ground.stage(staged).unwrap();
}

#[rstest]
#[case::thick(Ground::thick())]
#[case::thin(Ground::thin())]
fn a_full_pool_sends_the_pod_elsewhere(#[case] ground: Ground) {
    let free = ground.free();
    assert_eq!(code(ground.create(sized("a", 9 * GIB))), Code::ResourceExhausted);
    assert_eq!((ground.free(), ground.lvs().len()), (free, 0));
}

#[test]
fn the_reserve_is_no_volumes_room() {
    let reserve = serde_json::json!({"volumeGroup": "vg0", "reserve": "1Gi"});
    let ground = Ground::with(vec![("disks", reserve)]);
    assert_eq!(code(ground.create(sized("a", 7 * GIB + 1))), Code::ResourceExhausted);
    ground.create(sized("a", 7 * GIB)).unwrap();
}

#[rstest]
#[case::one_disk(&[0])]
#[case::all_disks(&[0, 1])]
fn a_group_without_its_disks_has_no_room(#[case] missing: &[usize]) {
    let ground = Ground::thick();
    missing.iter().for_each(|disk| ground.lvm.set_missing("vg0", *disk, true));
    assert_eq!(code(ground.create(volume("a"))), Code::ResourceExhausted);
    missing.iter().for_each(|disk| ground.lvm.set_missing("vg0", *disk, false));
    assert!(ground.lvs().is_empty());
}

#[rstest]
#[case::nothing_required(None, Code::Ok)]
#[case::empty(nodes(&[], &[]), Code::Ok)]
#[case::preferred(nodes(&[NODE], &[NODE, "node-2"]), Code::Ok)]
#[case::only_requisite(nodes(&[], &["node-2", NODE]), Code::Ok)]
#[case::preferred_elsewhere(nodes(&["node-2"], &["node-2", NODE]), Code::Ok)]
#[case::only_elsewhere(nodes(&["node-2"], &["node-2"]), Code::ResourceExhausted)]
#[case::impossible_name(nodes(&["-"], &["-"]), Code::ResourceExhausted)]
fn where_a_volume_may_be(
    #[case] accessibility_requirements: Option<tarn::csi::proto::TopologyRequirement>,
    #[case] want: Code,
) {
    let ground = Ground::thick();
    let wish = CreateVolumeRequest { accessibility_requirements, ..volume("a") };
    assert_eq!(code(ground.create(wish)), want);
}

#[test]
fn a_segment_without_our_key_matches_no_node() {
    let ground = Ground::thick();
    let mut anywhere = nodes(&[NODE], &[]);
    anywhere.as_mut().unwrap().preferred[0].segments.remove(KEY);
    let wish = CreateVolumeRequest { accessibility_requirements: anywhere, ..volume("a") };
    assert_eq!(code(ground.create(wish)), Code::ResourceExhausted);
}

#[rstest]
#[case::ascii(&"n".repeat(128))]
#[case::unicode(&"ü€".repeat(25))]
#[case::four_bytes_each(&"𝄞".repeat(32))]
#[case::hyphens("--a---b-")]
#[case::slashes("../../etc/passwd")]
#[case::option("-rf")]
#[case::blanks(" \t\n\u{0}")]
fn any_name_of_128_bytes_is_a_name(#[case] name: &str) {
    let ground = Ground::thick();
    let made = ground.create(volume(name)).unwrap();
    assert_eq!(ground.create(volume(name)).unwrap(), made);
    assert!(made.volume_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    ground.delete(&made.volume_id).unwrap();
}

#[test]
fn keys_of_sidecars_are_passed_over() {
    let ground = Ground::thick();
    let keys = [("csi.storage.k8s.io/pvc/name", "x"), ("csi.storage.k8s.io/pv/name", "y")];
    ground.create(parameters(&keys)).unwrap();
}

#[test]
fn the_class_may_choose_the_file_system() {
    let ground = Ground::thick();
    let wish = CreateVolumeRequest {
        volume_capabilities: vec![mount("")],
        capacity_range: size(GIB, 0),
        ..parameters(&[("csi.storage.k8s.io/fstype", "xfs")])
    };
    let id = ground.made(wish);
    assert!(ground.has_tag(&id, "tarn.for=xfs"));
}

#[test]
fn with_several_pools_the_class_must_say_which() {
    let ground = Ground::two_pools();
    assert_eq!(code(ground.create(volume("a"))), Code::InvalidArgument);
    ground.create(parameters(&[("pool", "slow")])).unwrap();
    let nowhere = CreateVolumeRequest { name: "b".into(), ..parameters(&[("pool", "other")]) };
    assert_eq!(code(ground.create(nowhere)), Code::ResourceExhausted);
}

#[test]
fn what_the_pool_does_not_hold_may_be_elsewhere() {
    let ground = Ground::thick();
    let thin = parameters(&[("provisioning", "Thin")]);
    assert_eq!(code(ground.create(thin)), Code::ResourceExhausted);
}

#[test]
fn block_and_mount_are_told_apart_by_the_capability_alone() {
    let ground = Ground::thick();
    let access = AccessType::Block(BlockVolume {});
    let id = ground.made(with(capability(access, Mode::SingleNodeWriter)));
    assert!(ground.has_tag(&id, "tarn.for=block"));
}

#[test]
fn stripes_lie_on_several_disks() {
    let ground = Ground::thick();
    let striped = [("layout", "Striped"), ("stripes", "2"), ("stripeSize", "64Ki")];
    let wish = CreateVolumeRequest { capacity_range: size(62 * MIB, 0), ..parameters(&striped) };
    assert_eq!(ground.create(wish).unwrap().capacity_bytes, 64 * MIB, "whole rows of extents");
    let wide = CreateVolumeRequest {
        name: "b".into(),
        ..parameters(&[("layout", "Striped"), ("stripes", "3")])
    };
    assert_eq!(code(ground.create(wide)), Code::ResourceExhausted);
}
