//! ValidateVolumeCapabilities.

use rstest::rstest;
use tarn::csi::proto::{
    ValidateVolumeCapabilitiesRequest, VolumeCapability, volume_capability::access_mode::Mode,
};
use tonic::Code;

use crate::{
    ground::{Ground, code},
    requests::*,
};

fn validation(id: &str, capabilities: &[VolumeCapability]) -> ValidateVolumeCapabilitiesRequest {
    ValidateVolumeCapabilitiesRequest {
        volume_id: id.to_owned(),
        volume_capabilities: capabilities.to_vec(),
        ..Default::default()
    }
}

#[rstest]
#[case::no_id("", &[mount("ext4")], Code::InvalidArgument)]
#[case::no_capabilities("v-aaaaaaaaaaaaaaaaaaaaaaaaaa", &[], Code::InvalidArgument)]
#[case::no_access_type("v-aaaaaaaaaaaaaaaaaaaaaaaaaa", &[VolumeCapability::default()], Code::InvalidArgument)]
#[case::unknown("v-aaaaaaaaaaaaaaaaaaaaaaaaaa", &[mount("ext4")], Code::NotFound)]
#[case::malformed("a/b", &[mount("ext4")], Code::NotFound)]
fn what_is_refused(
    #[case] id: &str,
    #[case] capabilities: &[VolumeCapability],
    #[case] want: Code,
) {
    assert_eq!(code(Ground::thick().validate(validation(id, capabilities))), want);
}

#[rstest]
#[case::same(&[mount("ext4")])]
#[case::any_file_system(&[mount("")])]
#[case::several(&[mount("ext4"), in_mode(mount("ext4"), Mode::SingleNodeReaderOnly)])]
fn what_is_possible_is_confirmed_as_it_was_asked(#[case] capabilities: &[VolumeCapability]) {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let answer = ground.validate(validation(&id, capabilities)).unwrap();
    assert_eq!(answer.confirmed.unwrap().volume_capabilities, capabilities);
}

#[rstest]
#[case::block(&[block()])]
#[case::other_file_system(&[mount("xfs")])]
#[case::unknown_file_system(&[mount("vfat")])]
#[case::many_nodes(&[in_mode(mount("ext4"), Mode::MultiNodeMultiWriter)])]
#[case::one_of_two(&[mount("ext4"), block()])]
fn what_is_not_is_said_so(#[case] capabilities: &[VolumeCapability]) {
    let ground = Ground::thick();
    let id = ground.made(volume("a"));
    let answer = ground.validate(validation(&id, capabilities)).unwrap();
    assert!(answer.confirmed.is_none() && !answer.message.is_empty());
}
