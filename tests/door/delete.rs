//! DeleteVolume: gone for the caller at once, wiped and given back later; never while in use.

use rstest::rstest;
use tarn::lvm::fake::FailAt;
use tonic::Code;

use crate::{
    ground::{Ground, code, words},
    requests::*,
};

#[test]
fn an_id_is_needed() {
    assert_eq!(code(Ground::thick().delete("")), Code::InvalidArgument);
}

#[rstest]
#[case::well_formed("v-aaaaaaaaaaaaaaaaaaaaaaaaaa")]
#[case::any_text("a volume")]
#[case::path("../../vg0/v-a")]
#[case::option("-rf")]
#[case::hidden_name("x-v-aaaaaaaaaaaaaaaaaaaaaaaaaa-0")]
#[case::thin_pool("tarn-thin")]
#[case::long(&"v".repeat(4096))]
fn what_is_not_there_is_deleted(#[case] id: &str) {
    let ground = Ground::thin();
    let commands = ground.commands(|| ground.delete(id).unwrap());
    assert!(commands.is_empty(), "{commands:?}");
}

#[test]
fn an_id_of_a_snapshot_is_no_volume() {
    let ground = Ground::thin();
    let id = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    ground.delete(&snapshot).unwrap();
    ground.delete_snapshot(&id).unwrap();
    assert_eq!(ground.lvs(), [snapshot, id]);
}

#[rstest]
#[case::thick(Ground::thick())]
#[case::thin(Ground::thin())]
fn everything_is_given_back(#[case] ground: Ground) {
    let free = ground.free();
    let id = ground.made(volume("a"));
    ground.delete(&id).unwrap();
    ground.delete(&id).unwrap();
    ground.settle();
    assert_eq!((ground.free(), ground.lvs().len()), (free, 0));
}

#[test]
fn the_name_can_be_used_again_before_the_old_bytes_are_wiped() {
    let ground = Ground::thick();
    let free = ground.free();
    for _ in 0..3 {
        let id = ground.made(volume("a"));
        ground.delete(&id).unwrap();
    }
    assert_eq!(ground.lvs().len(), 3, "hidden, not wiped yet");
    ground.settle();
    assert_eq!(ground.free(), free);
}

#[rstest]
#[case::thick(Ground::thick())]
#[case::thin(Ground::thin())]
fn not_while_it_is_mounted(#[case] ground: Ground) {
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    assert!(words(ground.delete(&id)).contains(&at));
    assert_eq!(code(ground.delete(&id)), Code::FailedPrecondition);
    ground.unstage(&id, &at).unwrap();
    ground.delete(&id).unwrap();
}

#[test]
fn not_while_a_loop_device_holds_it_open() {
    let ground = Ground::thick();
    let id = ground.made(block_volume("a"));
    ground.devices.set_open(ground.device(&id), 1);
    assert_eq!(code(ground.delete(&id)), Code::FailedPrecondition);
    ground.devices.set_open(ground.device(&id), 0);
    ground.delete(&id).unwrap();
}

#[test]
fn not_when_only_lvm_knows_that_it_is_open() {
    let ground = Ground::thin();
    let id = ground.made(block_volume("a"));
    ground.lvm.set_open("vg0", &id, true);
    assert_eq!(code(ground.delete(&id)), Code::FailedPrecondition);
    ground.lvm.set_open("vg0", &id, false);
    ground.delete(&id).unwrap();
    assert!(ground.lvs().is_empty());
}

#[test]
fn thick_volumes_outlive_their_snapshots() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    assert_eq!(code(ground.delete(&id)), Code::FailedPrecondition);
    assert!(words(ground.delete(&id)).contains(&snapshot));
    ground.delete_snapshot(&snapshot).unwrap();
    ground.delete(&id).unwrap();
}

#[test]
fn thin_snapshots_outlive_their_volumes() {
    let ground = Ground::thin();
    let id = ground.made(volume("a"));
    let snapshot = ground.snapshot("s", &id).unwrap().snapshot_id;
    ground.delete(&id).unwrap();
    let restored = ground.create(copy("b", &snapshot)).unwrap();
    assert_eq!(restored.content_source, Some(content(&snapshot)));
}

#[test]
fn a_deleted_volume_is_wiped_before_its_extents_are_free() {
    let ground = Ground::thick();
    let id = ground.made(block_volume("a"));
    let free = ground.free();
    ground.delete(&id).unwrap();
    assert_eq!(ground.free(), free);
    ground.settle();
    assert_eq!(ground.devices.calls(tarn::device::fake::Call::Wipe), 1);
    assert!(ground.free() > free);
}

#[test]
fn an_erased_policy_is_obeyed() {
    let ground = Ground::thick();
    let wish = tarn::csi::proto::CreateVolumeRequest {
        parameters: map(&[("wipe", "None")]),
        ..volume("a")
    };
    let id = ground.made(wish);
    ground.delete(&id).unwrap();
    assert!(ground.lvs().is_empty(), "given back at once");
    assert_eq!(ground.devices.calls(tarn::device::fake::Call::Wipe), 0);
}

#[test]
fn a_wipe_that_fails_is_tried_again() {
    let ground = Ground::thick();
    let free = ground.free();
    let id = ground.made(volume("a"));
    ground.delete(&id).unwrap();
    ground.devices.fail_once(tarn::device::fake::Call::Wipe);
    assert!(!ground.host().groups().empty_trash_now());
    assert!(ground.host().groups().empty_trash_now());
    assert_eq!(ground.free(), free);
}

#[rstest]
#[case::thick_before(Ground::thick(), "rename", FailAt::Before)]
#[case::thick_after(Ground::thick(), "rename", FailAt::After)]
#[case::thin_before(Ground::thin(), "remove", FailAt::Before)]
#[case::thin_after(Ground::thin(), "remove", FailAt::After)]
fn a_failed_command_leaves_nothing(
    #[case] ground: Ground,
    #[case] verb: &'static str,
    #[case] at: FailAt,
) {
    let free = ground.free();
    let id = ground.made(volume("a"));
    ground.lvm.fail_once(verb, at);
    let first = ground.delete(&id);
    assert_eq!(first.is_ok(), at == FailAt::After, "{first:?}");
    ground.delete(&id).unwrap();
    ground.settle();
    assert_eq!((ground.free(), ground.lvs().len()), (free, 0));
}
