//! Identity, and what each service says it can do.

use std::collections::BTreeSet;

use tarn::csi::proto::{
    ControllerGetCapabilitiesRequest, ControllerModifyVolumeRequest,
    ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest, GetPluginCapabilitiesRequest,
    GetPluginInfoRequest, GetSnapshotRequest, NodeGetCapabilitiesRequest, NodeGetInfoRequest,
    ProbeRequest, controller_service_capability, node_service_capability,
};
use tonic::Code;

use crate::{
    ground::{Ground, NODE},
    requests::segment,
};

#[test]
fn the_driver_says_who_it_is() {
    let ground = Ground::thick();
    let info = ground.wait(ground.identity().get_plugin_info(GetPluginInfoRequest {})).unwrap();
    assert_eq!(info.name, "local.tarn.dev");
    assert!(!info.vendor_version.is_empty());
}

#[test]
fn a_full_or_vanished_pool_is_no_reason_to_restart_the_driver() {
    let ground = Ground::thick();
    ground.lvm.set_missing("vg0", 0, true);
    ground.lvm.set_missing("vg0", 1, true);
    let probe = ground.wait(ground.identity().probe(ProbeRequest {})).unwrap();
    assert_eq!(probe.ready, Some(true));
}

#[test]
fn the_plugin_can_be_constrained_to_nodes_and_grow_online() {
    let ground = Ground::thick();
    let request = GetPluginCapabilitiesRequest {};
    let answer = ground.wait(ground.identity().get_plugin_capabilities(request)).unwrap();
    let all: Vec<String> =
        answer.capabilities.iter().map(|it| format!("{:?}", it.r#type.as_ref().unwrap())).collect();
    let all = all.join(" ");
    assert!(all.contains("ControllerService") && all.contains("VolumeAccessibilityConstraints"));
    assert!(all.contains("Online"));
}

#[test]
fn the_node_says_where_it_is() {
    let ground = Ground::thick();
    let info = ground.wait(ground.node().node_get_info(NodeGetInfoRequest {})).unwrap();
    assert_eq!(info.node_id, NODE);
    assert_eq!(info.accessible_topology, Some(segment(NODE)));
    assert_eq!(info.max_volumes_per_node, 0, "no limit");
}

#[test]
fn what_is_advertised_is_served_and_nothing_else() {
    use controller_service_capability::rpc::Type as Controller;
    use node_service_capability::rpc::Type as Node;
    let ground = Ground::thick();
    let request = ControllerGetCapabilitiesRequest {};
    let answer = ground.wait(ground.controller().controller_get_capabilities(request)).unwrap();
    let can: BTreeSet<i32> = answer
        .capabilities
        .iter()
        .map(|it| match it.r#type.as_ref().unwrap() {
            controller_service_capability::Type::Rpc(rpc) => rpc.r#type,
        })
        .collect();
    for it in [Controller::SingleNodeMultiWriter, Controller::CloneVolume, Controller::GetCapacity]
    {
        assert!(can.contains(&i32::from(it)), "{it:?}");
    }
    for it in [Controller::PublishUnpublishVolume, Controller::ListVolumesPublishedNodes] {
        assert!(!can.contains(&i32::from(it)), "{it:?}");
    }
    let request = NodeGetCapabilitiesRequest {};
    let answer = ground.wait(ground.node().node_get_capabilities(request)).unwrap();
    let can: BTreeSet<i32> = answer
        .capabilities
        .iter()
        .map(|it| match it.r#type.as_ref().unwrap() {
            node_service_capability::Type::Rpc(rpc) => rpc.r#type,
        })
        .collect();
    assert!(can.contains(&Node::StageUnstageVolume.into()));
    assert!(
        !can.contains(&Node::VolumeMountGroup.into()),
        "ext4, xfs and btrfs have no gid option"
    );
}

#[test]
fn what_is_not_advertised_is_unimplemented() {
    let ground = Ground::thick();
    let mut door = ground.controller();
    let codes = [
        ground
            .wait(door.controller_publish_volume(ControllerPublishVolumeRequest::default()))
            .err(),
        ground
            .wait(door.controller_unpublish_volume(ControllerUnpublishVolumeRequest::default()))
            .err(),
        ground.wait(door.controller_modify_volume(ControllerModifyVolumeRequest::default())).err(),
        ground.wait(door.get_snapshot(GetSnapshotRequest::default())).err(),
    ];
    for status in codes {
        assert_eq!(status.unwrap().code(), Code::Unimplemented);
    }
}
