//! NodePublishVolume and NodeUnpublishVolume: what is staged appears where a pod wants it.

use std::path::Path;

use rstest::rstest;
use tarn::{
    csi::proto::{NodePublishVolumeRequest, volume_capability::access_mode::Mode},
    fs::{Access, Filesystems, fake::Call},
};
use tonic::Code;

use crate::{
    ground::{Ground, code, words},
    requests::*,
};

const NOBODY: &str = "v-aaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A staged ext4 volume: its id and where it is staged.
fn staged(ground: &Ground) -> (String, String) {
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    (id, at)
}

/// A staged block volume.
fn staged_block(ground: &Ground) -> (String, String) {
    let id = ground.made(block_volume("a"));
    let at = ground.path("staging");
    ground.stage(block_staging(&id, &at)).unwrap();
    (id, at)
}

#[rstest]
#[case::no_id(publishing("", "/s", "/t"), Code::InvalidArgument)]
#[case::no_target(publishing(NOBODY, "/s", ""), Code::InvalidArgument)]
#[case::relative_target(publishing(NOBODY, "/s", "t"), Code::InvalidArgument)]
#[case::target_that_climbs(publishing(NOBODY, "/s", "/t/../../etc"), Code::InvalidArgument)]
#[case::no_capability(NodePublishVolumeRequest {
    volume_capability: None, ..publishing(NOBODY, "/s", "/t")
}, Code::InvalidArgument)]
#[case::no_staging_path(publishing(NOBODY, "", "/t"), Code::FailedPrecondition)]
#[case::unknown(publishing(NOBODY, "/s", "/t"), Code::NotFound)]
#[case::malformed_id(publishing("..", "/s", "/t"), Code::NotFound)]
fn what_is_refused(#[case] request: NodePublishVolumeRequest, #[case] want: Code) {
    assert_eq!(code(Ground::thick().publish(request)), want);
}

#[test]
fn what_is_not_staged_is_not_published() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let (at, target) = (ground.path("staging"), ground.path("target"));
    assert_eq!(code(ground.publish(publishing(&id, &at, &target))), Code::FailedPrecondition);
    ground.stage(staging(&id, &at)).unwrap();
    let elsewhere = publishing(&id, &ground.path("other"), &target);
    assert_eq!(code(ground.publish(elsewhere)), Code::FailedPrecondition);
    assert!(!Path::new(&target).try_exists().unwrap(), "no target is left");
}

#[test]
fn publishing_twice_is_once() {
    let ground = Ground::thick();
    let (id, at) = staged(&ground);
    let target = ground.path("pod/target");
    let commands = ground.commands(|| {
        for _ in 0..3 {
            ground.publish(publishing(&id, &at, &target)).unwrap();
        }
    });
    assert!(commands.is_empty(), "{commands:?}");
    assert_eq!(ground.mounts_at(&target).len(), 1);
    for _ in 0..2 {
        ground.unpublish(&id, &target).unwrap();
        assert!(!Path::new(&target).try_exists().unwrap());
    }
    assert_eq!(ground.mounts().len(), 1, "still staged");
}

#[test]
fn reading_only_is_of_the_target_alone() {
    let ground = Ground::thick();
    let (id, at) = staged(&ground);
    let (first, second) = (ground.path("first"), ground.path("second"));
    let reading = NodePublishVolumeRequest { readonly: true, ..publishing(&id, &at, &first) };
    ground.publish(reading.clone()).unwrap();
    ground.publish(reading).unwrap();
    ground.publish(publishing(&id, &at, &second)).unwrap();
    assert_eq!(ground.mounts_at(&first)[0].access, Access::ReadOnly);
    assert_eq!(ground.mounts_at(&second)[0].access, Access::ReadWrite);
    assert_eq!(ground.mounts_at(&at)[0].access, Access::ReadWrite);
    assert_eq!(code(ground.publish(publishing(&id, &at, &first))), Code::AlreadyExists);
    let reading = NodePublishVolumeRequest { readonly: true, ..publishing(&id, &at, &second) };
    assert_eq!(code(ground.publish(reading)), Code::AlreadyExists);
}

#[rstest]
#[case::block(block())]
#[case::other_file_system(mount("xfs"))]
fn published_as_something_else(#[case] other: tarn::csi::proto::VolumeCapability) {
    let ground = Ground::thick();
    let (id, at) = staged(&ground);
    let target = ground.path("target");
    let other = NodePublishVolumeRequest {
        volume_capability: Some(other),
        ..publishing(&id, &at, &target)
    };
    assert_eq!(code(ground.publish(other.clone())), Code::FailedPrecondition);
    ground.publish(publishing(&id, &at, &target)).unwrap();
    assert_eq!(code(ground.publish(other)), Code::AlreadyExists);
}

#[rstest]
#[case::one_writer(Mode::SingleNodeSingleWriter, Code::FailedPrecondition)]
#[case::many_writers(Mode::SingleNodeMultiWriter, Code::Ok)]
#[case::pods_of_the_node(Mode::SingleNodeWriter, Code::Ok)]
#[case::readers(Mode::SingleNodeReaderOnly, Code::Ok)]
fn a_second_target(#[case] mode: Mode, #[case] want: Code) {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    let capability = Some(in_mode(mount("ext4"), mode));
    let stage = tarn::csi::proto::NodeStageVolumeRequest {
        volume_capability: capability.clone(),
        ..staging(&id, &at)
    };
    ground.stage(stage).unwrap();
    let request = |target: &str| NodePublishVolumeRequest {
        volume_capability: capability.clone(),
        ..publishing(&id, &at, target)
    };
    let (first, second) = (ground.path("first"), ground.path("second"));
    ground.publish(request(&first)).unwrap();
    ground.publish(request(&first)).unwrap();
    let answer = ground.publish(request(&second));
    assert_eq!(Path::new(&second).try_exists().unwrap(), answer.is_ok());
    assert_eq!(code(answer), want);
    ground.unpublish(&id, &first).unwrap();
    ground.publish(request(&second)).unwrap();
}

#[test]
fn one_writer_of_a_block_volume() {
    let ground = Ground::thick();
    let (id, at) = staged_block(&ground);
    let request = |target: &str| NodePublishVolumeRequest {
        volume_capability: Some(in_mode(block(), Mode::SingleNodeSingleWriter)),
        ..publishing(&id, &at, target)
    };
    ground.publish(request(&ground.path("first"))).unwrap();
    let second = ground.path("second");
    assert_eq!(code(ground.publish(request(&second))), Code::FailedPrecondition);
    assert!(!Path::new(&second).try_exists().unwrap());
}

#[test]
fn a_block_volume_is_a_file_at_its_target() {
    let ground = Ground::thick();
    let (id, at) = staged_block(&ground);
    let target = ground.path("publish/pod");
    for _ in 0..3 {
        ground.publish(block_publishing(&id, &at, &target)).unwrap();
    }
    assert!(Path::new(&target).is_file());
    assert_eq!(ground.mounts_at(&target).len(), 1, "not stacked");
    let device = ground.fs.device_at(&ground.device(&id)).unwrap();
    assert_eq!(ground.fs.device_at(target.as_ref()).unwrap(), device);
    ground.unpublish(&id, &target).unwrap();
    assert!(!Path::new(&target).try_exists().unwrap() && ground.mounts().is_empty());
}

#[test]
fn a_published_block_volume_is_in_use() {
    let ground = Ground::thick();
    let (id, at) = staged_block(&ground);
    ground.publish(block_publishing(&id, &at, &ground.path("pod"))).unwrap();
    ground.unstage(&id, &at).unwrap();
    assert_eq!(code(ground.delete(&id)), Code::FailedPrecondition);
    assert_eq!(ground.mounts().len(), 1);
}

#[test]
fn a_failed_bind_leaves_no_target() {
    let ground = Ground::thick();
    let (id, at) = staged(&ground);
    let target = ground.path("target");
    ground.fs.fail_once(Call::Bind);
    assert_ne!(code(ground.publish(publishing(&id, &at, &target))), Code::Ok);
    assert!(!Path::new(&target).try_exists().unwrap());
    ground.publish(publishing(&id, &at, &target)).unwrap();
}

#[test]
fn what_is_in_the_way_stays() {
    let ground = Ground::thick();
    let (id, at) = staged(&ground);
    let file = ground.path("file");
    std::fs::write(&file, "mine").unwrap();
    let link = ground.path("link");
    std::os::unix::fs::symlink("/etc", &link).unwrap();
    for target in [&file, &link] {
        let answer = ground.publish(publishing(&id, &at, target));
        assert_eq!(code(answer), Code::FailedPrecondition, "{target}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let other = ground.made(volume("b"));
    let other_at = ground.path("other");
    ground.stage(staging(&other, &other_at)).unwrap();
    let answer = ground.publish(publishing(&id, &at, &other_at));
    assert_eq!(code(answer), Code::FailedPrecondition);
}

#[rstest]
#[case::no_id("", "/t", Code::InvalidArgument)]
#[case::no_target(NOBODY, "", Code::InvalidArgument)]
#[case::relative_target(NOBODY, "t", Code::InvalidArgument)]
#[case::unknown(NOBODY, "/not/there", Code::Ok)]
#[case::malformed_id("../x", "/not/there", Code::Ok)]
fn what_is_unpublished(#[case] id: &str, #[case] at: &str, #[case] want: Code) {
    assert_eq!(code(Ground::thick().unpublish(id, at)), want);
}

#[test]
fn what_belongs_to_another_volume_stays() {
    let ground = Ground::thick();
    let (id, at) = staged(&ground);
    let target = ground.path("target");
    ground.publish(publishing(&id, &at, &target)).unwrap();
    let other = ground.made(volume("b"));
    for stranger in [other.as_str(), NOBODY, "../x"] {
        ground.unpublish(stranger, &target).unwrap();
    }
    assert_eq!(ground.mounts_at(&target).len(), 1);
}

#[test]
fn what_a_pod_left_in_an_unmounted_target_is_not_deleted() {
    let ground = Ground::thick();
    let (id, _) = staged(&ground);
    let target = ground.path("target");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(ground.path("target/data"), "precious").unwrap();
    assert_eq!(code(ground.unpublish(&id, &target)), Code::FailedPrecondition);
    assert!(words(ground.unpublish(&id, &target)).contains(&target));
    ground.unpublish(NOBODY, &target).unwrap();
    assert_eq!(std::fs::read(ground.path("target/data")).unwrap(), b"precious");
}

#[test]
fn targets_on_top_of_each_other_all_go() {
    let ground = Ground::thick();
    let (id, at) = staged(&ground);
    let target = ground.path("target");
    ground.publish(publishing(&id, &at, &target)).unwrap();
    ground.fs.bind(at.as_ref(), target.as_ref(), Access::ReadWrite).unwrap();
    assert_eq!(ground.mounts_at(&target).len(), 2);
    ground.unpublish(&id, &target).unwrap();
    assert!(ground.mounts_at(&target).is_empty() && !Path::new(&target).try_exists().unwrap());
}

#[test]
fn a_busy_target_is_not_hidden() {
    let ground = Ground::thick();
    let (id, at) = staged(&ground);
    let target = ground.path("target");
    ground.publish(publishing(&id, &at, &target)).unwrap();
    ground.fs.hold(&target);
    assert_eq!(code(ground.unpublish(&id, &target)), Code::FailedPrecondition);
    ground.fs.release(&target);
    ground.unpublish(&id, &target).unwrap();
}

#[test]
fn a_restart_of_the_driver_changes_nothing_for_pods() {
    let mut ground = Ground::thick();
    let (id, at) = staged(&ground);
    let target = ground.path("target");
    ground.publish(publishing(&id, &at, &target)).unwrap();
    ground.start();
    ground.stage(staging(&id, &at)).unwrap();
    ground.publish(publishing(&id, &at, &target)).unwrap();
    assert_eq!(ground.mounts().len(), 2);
    assert_eq!(code(ground.delete(&id)), Code::FailedPrecondition);
    ground.unpublish(&id, &target).unwrap();
    ground.unstage(&id, &at).unwrap();
    ground.delete(&id).unwrap();
}
