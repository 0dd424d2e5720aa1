//! Calls of the Node service.

use proptest::{option, prelude::*};
use tarn::csi::proto::{
    NodeExpandVolumeRequest, NodeGetVolumeStatsRequest, NodePublishVolumeRequest,
    NodeStageVolumeRequest, NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest,
};

use super::{
    Call, Use, World,
    fields::{any_map, range, secrets, slightly_wrong},
};

/// Calls of one RPC of the Node.
pub(super) fn calls(rpc: &str, world: &World) -> BoxedStrategy<Call> {
    let wish = slightly_wrong(world);
    match rpc {
        "NodeStageVolume" => (wish, any_map(), option::weighted(0.95, Just(())))
            .prop_map(|(wish, volume_context, complete)| {
                Call::Stage(NodeStageVolumeRequest {
                    volume_id: wish.id,
                    publish_context: volume_context.clone(),
                    staging_target_path: wish.staged,
                    volume_capability: complete.map(|()| wish.capability),
                    secrets: secrets(),
                    volume_context,
                })
            })
            .boxed(),
        "NodeUnstageVolume" => wish
            .prop_map(|wish| {
                let (volume_id, staging_target_path) = (wish.id, wish.staged);
                Call::Unstage(NodeUnstageVolumeRequest { volume_id, staging_target_path })
            })
            .boxed(),
        "NodePublishVolume" => (wish, any_map(), any::<bool>())
            .prop_map(|(wish, map, readonly)| {
                Call::Publish(NodePublishVolumeRequest {
                    volume_id: wish.id,
                    publish_context: map.clone(),
                    staging_target_path: wish.staged,
                    target_path: wish.target,
                    volume_capability: Some(wish.capability),
                    readonly,
                    secrets: secrets(),
                    volume_context: map,
                })
            })
            .boxed(),
        "NodeUnpublishVolume" => wish
            .prop_map(|wish| {
                let (volume_id, target_path) = (wish.id, wish.target);
                Call::Unpublish(NodeUnpublishVolumeRequest { volume_id, target_path })
            })
            .boxed(),
        _ => looks(rpc, wish),
    }
}

fn looks(rpc: &str, wish: BoxedStrategy<Use>) -> BoxedStrategy<Call> {
    match rpc {
        "NodeGetVolumeStats" => wish
            .prop_map(|wish| {
                Call::Stats(NodeGetVolumeStatsRequest {
                    volume_id: wish.id,
                    volume_path: wish.target,
                    staging_target_path: wish.staged,
                })
            })
            .boxed(),
        "NodeExpandVolume" => (wish, range())
            .prop_map(|(wish, capacity_range)| {
                Call::NodeExpand(NodeExpandVolumeRequest {
                    volume_id: wish.id,
                    volume_path: wish.target,
                    capacity_range,
                    staging_target_path: wish.staged,
                    volume_capability: Some(wish.capability),
                    secrets: secrets(),
                })
            })
            .boxed(),
        other => panic!("no strategy for {other}"),
    }
}
