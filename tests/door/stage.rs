//! NodeStageVolume and NodeUnstageVolume: one file system, made once, mounted once.

use rstest::rstest;
use tarn::{
    csi::proto::{NodeStageVolumeRequest, volume_capability::access_mode::Mode},
    fs::{Access, Content, Filesystems, FsKind, fake::Call},
    units::Bytes,
};
use tonic::Code;

use crate::{
    ground::{Ground, code, words},
    requests::*,
};

const NOBODY: &str = "v-aaaaaaaaaaaaaaaaaaaaaaaaaa";

#[rstest]
#[case::no_id(staging("", "/staging"), Code::InvalidArgument)]
#[case::no_path(staging(NOBODY, ""), Code::InvalidArgument)]
#[case::no_capability(NodeStageVolumeRequest {
    volume_capability: None, ..staging(NOBODY, "/staging")
}, Code::InvalidArgument)]
#[case::relative_path(staging(NOBODY, "staging"), Code::InvalidArgument)]
#[case::path_that_climbs(staging(NOBODY, "/var/../etc"), Code::InvalidArgument)]
#[case::root(staging(NOBODY, "/"), Code::InvalidArgument)]
#[case::endless_path(staging(NOBODY, &"/x".repeat(3000)), Code::InvalidArgument)]
#[case::endless_name(staging(NOBODY, &format!("/{}", "x".repeat(256))), Code::InvalidArgument)]
#[case::unknown(staging(NOBODY, "/staging"), Code::NotFound)]
#[case::malformed_id(staging("../x", "/staging"), Code::NotFound)]
fn what_is_refused(#[case] request: NodeStageVolumeRequest, #[case] want: Code) {
    assert_eq!(code(Ground::thick().stage(request)), want);
}

#[test]
fn what_was_formatted_ahead_is_mounted_as_it_is() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    ground.host().format_ahead(&id.parse().unwrap());
    ground.host().format_ahead(&id.parse().unwrap());
    assert_eq!((ground.fs.made(), ground.mounts().len()), (1, 0));
    ground.stage(staging(&id, &ground.path("staging"))).unwrap();
    ground.host().format_ahead(&id.parse().unwrap());
    assert_eq!((ground.fs.made(), ground.mounts().len()), (1, 1));
}

#[test]
fn what_is_not_new_and_empty_is_not_formatted_ahead() {
    let ground = Ground::thick();
    let format = |id: &str| ground.host().format_ahead(&id.parse().unwrap());
    format(NOBODY);
    format(&ground.made(block_volume("block")));
    let a = ground.made(volume("a"));
    let foreign = Content::Foreign("crypto_LUKS".to_owned());
    ground.fs.set_content(ground.device(&a), foreign.clone());
    format(&a);
    assert_eq!(ground.fs.content(ground.device(&a)), foreign);
    let source = ground.made(volume("source"));
    format(&ground.made(copy("copy", &source)));
    assert_eq!(ground.fs.made(), 0);
}

#[rstest]
#[case::ext4("ext4")]
#[case::xfs("xfs")]
#[case::btrfs("btrfs")]
fn a_file_system_is_made_once_and_mounted_once(#[case] kind: &str) {
    let ground = Ground::thick();
    let wish = tarn::csi::proto::CreateVolumeRequest {
        volume_capabilities: vec![mount(kind)],
        ..sized("a", 400 * MIB)
    };
    let id = ground.made(wish);
    let at = ground.path("staging");
    let request =
        NodeStageVolumeRequest { volume_capability: Some(mount(kind)), ..staging(&id, &at) };
    let commands = ground.commands(|| {
        for _ in 0..3 {
            ground.stage(request.clone()).unwrap();
        }
    });
    assert!(commands.is_empty(), "{commands:?}");
    assert_eq!((ground.fs.made(), ground.mounts().len()), (1, 1));
    ground.unstage(&id, &at).unwrap();
    ground.stage(request).unwrap();
    assert_eq!((ground.fs.made(), ground.mounts().len()), (1, 1));
}

#[rstest]
#[case::other_file_system(mount("xfs"))]
#[case::block(block())]
#[case::reading_only(in_mode(mount("ext4"), Mode::SingleNodeReaderOnly))]
#[case::flags(flagged("ext4", &["noexec"]))]
#[case::read_only_flag(flagged("ext4", &["ro"]))]
fn staged_in_another_way(#[case] other: tarn::csi::proto::VolumeCapability) {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    let request = NodeStageVolumeRequest { volume_capability: Some(other), ..staging(&id, &at) };
    assert_eq!(code(ground.stage(request)), Code::AlreadyExists);
    assert_eq!(ground.mounts().len(), 1);
    assert_eq!(ground.fs.made(), 1);
}

#[rstest]
#[case::file_system(volume("a"), block())]
#[case::other_file_system(volume("a"), mount("btrfs"))]
#[case::block(block_volume("a"), mount("ext4"))]
fn what_the_volume_was_not_made_for(
    #[case] wish: tarn::csi::proto::CreateVolumeRequest,
    #[case] capability: tarn::csi::proto::VolumeCapability,
) {
    let ground = Ground::thick();
    let id = ground.made(wish);
    let request = NodeStageVolumeRequest {
        volume_capability: Some(capability),
        ..staging(&id, &ground.path("staging"))
    };
    assert_eq!(code(ground.stage(request)), Code::FailedPrecondition);
    assert!(ground.mounts().is_empty() && ground.fs.made() == 0);
}

#[test]
fn a_mode_of_many_nodes_is_invalid() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let capability = Some(in_mode(mount("ext4"), Mode::MultiNodeMultiWriter));
    let request = NodeStageVolumeRequest { volume_capability: capability, ..staging(&id, "/x") };
    assert_eq!(code(ground.stage(request)), Code::InvalidArgument);
}

#[test]
fn mount_flags_and_reading_only_reach_the_mount() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    ground.unstage(&id, &at).unwrap();
    let capability = Some(in_mode(mount("ext4"), Mode::SingleNodeReaderOnly));
    let request = NodeStageVolumeRequest { volume_capability: capability, ..staging(&id, &at) };
    ground.stage(request.clone()).unwrap();
    ground.stage(request).unwrap();
    assert_eq!(ground.mounts_at(&at)[0].access, Access::ReadOnly);
}

#[test]
fn contexts_and_secrets_of_others_are_passed_over() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let request = NodeStageVolumeRequest {
        volume_context: map(&[("storage.kubernetes.io/csiProvisionerIdentity", "1-2")]),
        publish_context: map(&[("device", "/dev/mock")]),
        secrets: map(&[("password", "x")]),
        ..staging(&id, &ground.path("staging"))
    };
    ground.stage(request).unwrap();
}

#[rstest]
#[case::making(Call::Make)]
#[case::mounting(Call::Mount)]
#[case::looking_at_the_mounts(Call::Mounts)]
#[case::growing(Call::Grow)]
fn a_failed_step_leaves_nothing_mounted(#[case] step: Call) {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.fs.fail_once(step);
    assert_ne!(code(ground.stage(staging(&id, &at))), Code::Ok);
    assert!(ground.mounts().is_empty(), "a final code tells the kubelet that nothing is mounted");
    ground.stage(staging(&id, &at)).unwrap();
    assert_eq!(ground.mounts().len(), 1);
}

#[rstest]
#[case::probing(Call::Probe)]
#[case::checking(Call::Check)]
fn a_failed_look_at_a_used_volume_leaves_nothing_mounted(#[case] step: Call) {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    ground.unstage(&id, &at).unwrap();
    ground.settle();
    ground.fs.fail_once(step);
    assert_ne!(code(ground.stage(staging(&id, &at))), Code::Ok);
    assert!(ground.mounts().is_empty());
    ground.stage(staging(&id, &at)).unwrap();
    assert_eq!(ground.fs.made(), 1);
}

#[test]
fn damage_is_for_a_person_to_mend() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    ground.unstage(&id, &at).unwrap();
    ground.fs.damage(ground.device(&id));
    assert_eq!(code(ground.stage(staging(&id, &at))), Code::FailedPrecondition);
    assert!(words(ground.stage(staging(&id, &at))).contains("damaged"));
    assert!(ground.mounts().is_empty());
}

#[test]
fn something_else_at_the_path_is_left_alone() {
    let ground = Ground::thick();
    let (a, b) = (ground.made(volume("a")), ground.made(volume("b")));
    let at = ground.path("staging");
    ground.stage(staging(&a, &at)).unwrap();
    assert_eq!(code(ground.stage(staging(&b, &at))), Code::FailedPrecondition);
    let file = ground.path("file");
    std::fs::write(&file, "mine").unwrap();
    assert_eq!(code(ground.stage(staging(&b, &file))), Code::FailedPrecondition);
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    assert_eq!(ground.mounts().len(), 1);
}

#[test]
fn nothing_is_put_where_a_block_volume_is_staged() {
    let ground = Ground::thick();
    let id = ground.made(block_volume("a"));
    let at = ground.path("staging");
    std::fs::create_dir(&at).unwrap();
    for _ in 0..2 {
        ground.stage(block_staging(&id, &at)).unwrap();
    }
    assert!(std::fs::read_dir(&at).unwrap().next().is_none() && ground.mounts().is_empty());
    assert_eq!(ground.fs.made(), 0);
    ground.unstage(&id, &at).unwrap();
    ground.stage(block_staging(&id, &ground.path("not/there"))).unwrap();
}

#[test]
fn after_a_reboot_the_device_is_there_again() {
    let mut ground = Ground::thin();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    ground.settle();
    ground.reboot();
    ground.stage(staging(&id, &at)).unwrap();
    assert_eq!((ground.mounts().len(), ground.fs.made()), (1, 1));
}

#[test]
fn a_volume_that_is_still_being_copied_must_wait() {
    let ground = Ground::thick();
    let a = ground.made(volume("a"));
    ground.devices.fail_once(tarn::device::fake::Call::Copy);
    assert_eq!(code(ground.create(copy("b", &a))), Code::Aborted);
    let b = ground.lvs().into_iter().find(|it| it.starts_with("v-") && *it != a).unwrap();
    assert_eq!(code(ground.stage(staging(&b, &ground.path("staging")))), Code::Aborted);
}

#[test]
fn a_copy_of_btrfs_gets_an_identity_of_its_own() {
    let ground = Ground::thin();
    let wish = |wish| tarn::csi::proto::CreateVolumeRequest {
        volume_capabilities: vec![mount("btrfs")],
        capacity_range: size(256 * MIB, 0),
        ..wish
    };
    let stage = |id: &str, at: &str| NodeStageVolumeRequest {
        volume_capability: Some(mount("btrfs")),
        ..staging(id, &ground.path(at))
    };
    let a = ground.made(wish(volume("a")));
    ground.stage(stage(&a, "a")).unwrap();
    ground.settle();
    let b = ground.made(wish(copy("b", &a)));
    ground.fs.copy_content(ground.device(&a), ground.device(&b));
    ground.stage(stage(&b, "b")).unwrap();
    assert_eq!(ground.mounts().len(), 2);
    ground.unstage(&b, &ground.path("b")).unwrap();
    ground.settle();
    ground.stage(stage(&b, "b")).unwrap();
    assert_eq!(ground.fs.calls(Call::PartFromOrigin), 1);
}

#[rstest]
#[case::no_id("", "/staging", Code::InvalidArgument)]
#[case::no_path(NOBODY, "", Code::InvalidArgument)]
#[case::relative_path(NOBODY, "a", Code::InvalidArgument)]
#[case::unknown(NOBODY, "/not/there", Code::Ok)]
#[case::malformed_id("../x", "/not/there", Code::Ok)]
fn what_is_unstaged(#[case] id: &str, #[case] at: &str, #[case] want: Code) {
    assert_eq!(code(Ground::thick().unstage(id, at)), want);
}

#[test]
fn unstaging_twice_is_once() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.unstage(&id, &at).unwrap();
    ground.stage(staging(&id, &at)).unwrap();
    for _ in 0..2 {
        ground.unstage(&id, &at).unwrap();
        assert!(ground.mounts().is_empty());
    }
}

#[test]
fn another_volume_at_the_path_stays() {
    let ground = Ground::thick();
    let (a, b) = (ground.made(volume("a")), ground.made(volume("b")));
    let at = ground.path("staging");
    ground.stage(staging(&a, &at)).unwrap();
    ground.unstage(&b, &at).unwrap();
    ground.unstage(NOBODY, &at).unwrap();
    assert_eq!(ground.mounts_at(&at).len(), 1);
}

#[test]
fn mounts_on_top_of_each_other_all_go() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    for _ in 0..2 {
        ground.fs.bind(at.as_ref(), at.as_ref(), Access::ReadWrite).unwrap();
    }
    assert_eq!(ground.mounts_at(&at).len(), 3);
    ground.unstage(&id, &at).unwrap();
    assert!(ground.mounts().is_empty());
}

#[test]
fn a_busy_mount_is_not_hidden() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    ground.fs.hold(&at);
    assert_eq!(code(ground.unstage(&id, &at)), Code::FailedPrecondition);
    assert_eq!(ground.mounts_at(&at).len(), 1);
    ground.fs.release(&at);
    ground.unstage(&id, &at).unwrap();
}

#[test]
fn a_failed_unmount_is_tried_again() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    ground.fs.fail_once(Call::Unmount);
    assert_ne!(code(ground.unstage(&id, &at)), Code::Ok);
    ground.unstage(&id, &at).unwrap();
    assert!(ground.mounts().is_empty());
}

#[test]
fn a_file_system_smaller_than_its_device_grows() {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let at = ground.path("staging");
    ground.stage(staging(&id, &at)).unwrap();
    ground.expand(expansion(&id, 128 * MIB)).unwrap();
    ground.stage(staging(&id, &at)).unwrap();
    let full = Content::Filesystem { kind: FsKind::Ext4, size: Bytes::mib(128) };
    assert_eq!(ground.fs.content(ground.device(&id)), full);
}
