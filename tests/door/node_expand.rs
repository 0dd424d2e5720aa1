//! NodeExpandVolume: the file system follows its device.

use rstest::rstest;
use tarn::{
    csi::proto::{NodeExpandVolumeRequest, NodePublishVolumeRequest, NodeStageVolumeRequest},
    fs::{Content, FsKind, fake::Call},
    units::Bytes,
};
use tonic::Code;

use crate::{
    ground::{Ground, code},
    requests::*,
};

const NOBODY: &str = "v-aaaaaaaaaaaaaaaaaaaaaaaaaa";

/// An ext4 volume that is staged and published, and has grown to 128 MiB since.
fn grown(ground: &Ground) -> String {
    let id = ground.made(volume("a"));
    ground.stage(staging(&id, &ground.path("staging"))).unwrap();
    let publish = publishing(&id, &ground.path("staging"), &ground.path("target"));
    ground.publish(publish).unwrap();
    ground.expand(expansion(&id, 128 * MIB)).unwrap();
    id
}

fn size_of(ground: &Ground, id: &str) -> Bytes {
    let content = ground.fs.content(ground.device(id));
    let Content::Filesystem { size, .. } = content else { panic!("{content}") };
    size
}

#[rstest]
#[case::no_id(node_expansion("", "/x", 0), Code::InvalidArgument)]
#[case::no_path(node_expansion(NOBODY, "", 0), Code::InvalidArgument)]
#[case::negative(node_expansion(NOBODY, "/x", -1), Code::InvalidArgument)]
#[case::unknown(node_expansion(NOBODY, "/x", 0), Code::NotFound)]
#[case::relative(node_expansion(NOBODY, "some/path", 0), Code::NotFound)]
fn what_is_refused(#[case] request: NodeExpandVolumeRequest, #[case] want: Code) {
    assert_eq!(code(Ground::thick().node_expand(request)), want);
}

#[rstest]
#[case::at_the_target("target", 128 * MIB)]
#[case::at_the_staging_path("staging", 128 * MIB)]
#[case::of_no_size("target", 0)]
#[case::less_than_there_is("target", 65 * MIB)]
fn the_file_system_fills_its_device(#[case] path: &str, #[case] bytes: i64) {
    let ground = Ground::thick();
    let id = grown(&ground);
    assert_eq!(size_of(&ground, &id), Bytes::mib(64));
    let commands = ground.commands(|| {
        for _ in 0..2 {
            let request = node_expansion(&id, &ground.path(path), bytes);
            assert_eq!(ground.node_expand(request).unwrap().capacity_bytes, 128 * MIB);
        }
    });
    assert!(commands.is_empty(), "{commands:?}");
    assert_eq!(size_of(&ground, &id), Bytes::mib(128));
}

#[test]
fn not_beyond_the_device() {
    let ground = Ground::thick();
    let id = grown(&ground);
    let request = node_expansion(&id, &ground.path("target"), 129 * MIB);
    assert_eq!(code(ground.node_expand(request)), Code::OutOfRange);
}

#[test]
fn any_other_path_is_not_found() {
    let ground = Ground::thick();
    let id = grown(&ground);
    for path in ["some/path", "/not/there", "/", &ground.path("nowhere")] {
        let answer = ground.node_expand(node_expansion(&id, path, 0));
        assert_eq!(code(answer), Code::NotFound, "{path}");
    }
    let other = ground.made(volume("b"));
    let answer = ground.node_expand(node_expansion(&other, &ground.path("target"), 0));
    assert_eq!(code(answer), Code::NotFound);
}

#[test]
fn a_block_volume_has_nothing_to_grow() {
    let ground = Ground::thick();
    let id = ground.made(block_volume("a"));
    let (at, target) = (ground.path("staging"), ground.path("target"));
    ground.stage(block_staging(&id, &at)).unwrap();
    ground.publish(block_publishing(&id, &at, &target)).unwrap();
    ground.expand(expansion(&id, 128 * MIB)).unwrap();
    let answer = ground.node_expand(node_expansion(&id, &target, 128 * MIB)).unwrap();
    assert_eq!((answer.capacity_bytes, ground.fs.calls(Call::Grow)), (128 * MIB, 0));
}

#[test]
fn a_read_only_target_grows_through_the_writable_mount() {
    let ground = Ground::thick();
    let id = grown(&ground);
    let (at, target) = (ground.path("staging"), ground.path("reader"));
    let reading = NodePublishVolumeRequest { readonly: true, ..publishing(&id, &at, &target) };
    ground.publish(reading).unwrap();
    ground.node_expand(node_expansion(&id, &target, 0)).unwrap();
    assert_eq!(size_of(&ground, &id), Bytes::mib(128));
}

#[test]
fn a_volume_staged_for_reading_waits() {
    let ground = Ground::thick();
    let id = grown(&ground);
    ground.unpublish(&id, &ground.path("target")).unwrap();
    let at = ground.path("staging");
    ground.unstage(&id, &at).unwrap();
    let capability = Some(flagged("ext4", &["ro"]));
    let request = NodeStageVolumeRequest { volume_capability: capability, ..staging(&id, &at) };
    ground.stage(request).unwrap();
    let answer = ground.node_expand(node_expansion(&id, &at, 128 * MIB));
    assert_eq!(code(answer), Code::FailedPrecondition);
    ground.unstage(&id, &at).unwrap();
    ground.stage(staging(&id, &at)).unwrap();
    let full = Content::Filesystem { kind: FsKind::Ext4, size: Bytes::mib(128) };
    assert_eq!(ground.fs.content(ground.device(&id)), full, "grown when staged for writing");
}

#[test]
fn a_failed_growth_is_made_good() {
    let ground = Ground::thick();
    let id = grown(&ground);
    let request = node_expansion(&id, &ground.path("target"), 0);
    ground.fs.fail_once(Call::Grow);
    assert_ne!(code(ground.node_expand(request.clone())), Code::Ok);
    ground.node_expand(request).unwrap();
    assert_eq!(size_of(&ground, &id), Bytes::mib(128));
}
