//! ControllerExpandVolume: grows, never shrinks, and tells the resizer what it can act on.

use rstest::rstest;
use tarn::{csi::proto::ControllerExpandVolumeRequest, lvm::fake::FailAt};
use tonic::Code;

use crate::{
    ground::{EXTENT, Ground, code},
    requests::*,
};

#[rstest]
#[case::no_id(expansion("", GIB), Code::InvalidArgument)]
#[case::no_range(ControllerExpandVolumeRequest {
    volume_id: "v-aaaaaaaaaaaaaaaaaaaaaaaaaa".into(), ..Default::default()
}, Code::InvalidArgument)]
#[case::negative(expansion("v-aaaaaaaaaaaaaaaaaaaaaaaaaa", -1), Code::InvalidArgument)]
#[case::unknown(expansion("v-aaaaaaaaaaaaaaaaaaaaaaaaaa", GIB), Code::NotFound)]
#[case::no_id_of_ours(expansion("../a", GIB), Code::NotFound)]
fn what_is_refused(#[case] request: ControllerExpandVolumeRequest, #[case] want: Code) {
    assert_eq!(code(Ground::thick().expand(request)), want);
}

#[rstest]
#[case::thick(Ground::thick())]
#[case::thin(Ground::thin())]
fn it_grows_to_whole_extents_with_one_command(#[case] ground: Ground) {
    let id = ground.made(volume("a"));
    let commands = ground.commands(|| {
        let answer = ground.expand(expansion(&id, 128 * MIB)).unwrap();
        assert_eq!((answer.capacity_bytes, answer.node_expansion_required), (128 * MIB, true));
    });
    assert_eq!(commands, ["extend"]);
    let answer = ground.expand(expansion(&id, 128 * MIB + 1)).unwrap();
    assert_eq!(answer.capacity_bytes, 128 * MIB + EXTENT);
}

#[test]
fn a_large_enough_volume_is_left_but_its_file_system_may_still_have_to_grow() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let commands = ground.commands(|| {
        for smaller in [1, 64 * MIB] {
            let answer = ground.expand(expansion(&id, smaller)).unwrap();
            assert_eq!((answer.capacity_bytes, answer.node_expansion_required), (64 * MIB, true));
        }
    });
    assert!(commands.is_empty(), "{commands:?}");
}

#[test]
fn a_block_volume_needs_nothing_on_the_node() {
    let ground = Ground::thick();
    let id = ground.made(block_volume("a"));
    assert!(!ground.expand(expansion(&id, 128 * MIB)).unwrap().node_expansion_required);
}

#[rstest]
#[case::full_thick(Ground::thick(), 9 * GIB, 0)]
#[case::full_thin(Ground::thin(), 9 * GIB, 0)]
#[case::past_the_end(Ground::thick(), i64::MAX, 0)]
#[case::over_the_limit(Ground::thick(), 65 * MIB, 66 * MIB)]
#[case::limit_below(Ground::thick(), 80 * MIB, 70 * MIB)]
fn what_cannot_be_had_may_be_asked_for_less(
    #[case] ground: Ground,
    #[case] required: i64,
    #[case] limit: i64,
) {
    let id = ground.made(volume("a"));
    let request = ControllerExpandVolumeRequest {
        capacity_range: size(required, limit),
        ..expansion(&id, 0)
    };
    assert_eq!(code(ground.expand(request)), Code::OutOfRange);
    assert_eq!(ground.expand(expansion(&id, 80 * MIB)).unwrap().capacity_bytes, 80 * MIB);
}

#[test]
fn a_thick_volume_with_snapshots_must_wait() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    assert_eq!(code(ground.expand(expansion(&id, 128 * MIB))), Code::FailedPrecondition);
    ground.expand(expansion(&id, 64 * MIB)).unwrap();
    ground.delete_snapshot(&snapshot).unwrap();
    ground.expand(expansion(&id, 128 * MIB)).unwrap();
}

#[test]
fn a_thin_volume_with_snapshots_grows() {
    let ground = Ground::thin();
    let id = ground.made(volume("a"));
    ground.snapshot("s", &id).unwrap();
    ground.expand(expansion(&id, 128 * MIB)).unwrap();
}

#[rstest]
#[case::before(FailAt::Before)]
#[case::after(FailAt::After)]
fn a_failed_command_is_made_good(#[case] at: FailAt) {
    let ground = Ground::thick();
    let free = ground.free();
    let id = ground.made(volume("a"));
    ground.lvm.fail_once("extend", at);
    let first = ground.expand(expansion(&id, 128 * MIB));
    assert_eq!(first.is_ok(), at == FailAt::After, "{first:?}");
    assert_eq!(ground.expand(expansion(&id, 128 * MIB)).unwrap().capacity_bytes, 128 * MIB);
    ground.delete(&id).unwrap();
    ground.settle();
    assert_eq!(ground.free(), free);
}

#[test]
fn an_interrupted_command_does_not_leave_the_volume_hanging() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    ground.lvm.suspend("vg0", &id);
    ground.lvm.fail_once("extend", FailAt::After);
    ground.expand(expansion(&id, 128 * MIB)).unwrap();
    assert!(!ground.lv(&id).suspended);
}

#[test]
fn the_name_is_compatible_with_what_the_volume_has_grown_to() {
    let ground = Ground::thick();
    let first = ground.create(volume("a")).unwrap();
    ground.expand(expansion(&first.volume_id, 128 * MIB)).unwrap();
    let again = ground.create(volume("a")).unwrap();
    assert_eq!((again.volume_id, again.capacity_bytes), (first.volume_id, 128 * MIB));
}
