//! CSI calls, one method each, waiting for the answer.

use std::{fmt::Debug, path::Path};

use tarn::csi::proto::{
    controller_client::ControllerClient, identity_client::IdentityClient, node_client::NodeClient,
    *,
};
use tokio::runtime::{Builder, Runtime};
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};

/// A connection to a driver.
pub(crate) struct Csi {
    runtime: Runtime,
    channel: Channel,
}

impl Csi {
    /// Connects to the driver behind a socket.
    pub(crate) fn connect(socket: &Path) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = format!("unix://{}", socket.display());
        let to = Endpoint::from_shared(address).unwrap();
        let channel = runtime.block_on(to.connect()).unwrap();
        Self { runtime, channel }
    }
}

macro_rules! calls {
    ($($client:ident: $method:ident($request:ident) -> $response:ident;)*) => {
        impl Csi {
            $(pub(crate) fn $method(&self, request: $request) -> Result<$response, Status> {
                let mut client = $client::new(self.channel.clone());
                let call = async move { client.$method(request).await.map(Response::into_inner) };
                self.runtime.block_on(call)
            })*
        }
    };
}

calls! {
    IdentityClient: get_plugin_info(GetPluginInfoRequest) -> GetPluginInfoResponse;
    IdentityClient: get_plugin_capabilities(GetPluginCapabilitiesRequest) -> GetPluginCapabilitiesResponse;
    IdentityClient: probe(ProbeRequest) -> ProbeResponse;
    ControllerClient: create_volume(CreateVolumeRequest) -> CreateVolumeResponse;
    ControllerClient: delete_volume(DeleteVolumeRequest) -> DeleteVolumeResponse;
    ControllerClient: validate_volume_capabilities(ValidateVolumeCapabilitiesRequest) -> ValidateVolumeCapabilitiesResponse;
    ControllerClient: list_volumes(ListVolumesRequest) -> ListVolumesResponse;
    ControllerClient: get_capacity(GetCapacityRequest) -> GetCapacityResponse;
    ControllerClient: create_snapshot(CreateSnapshotRequest) -> CreateSnapshotResponse;
    ControllerClient: delete_snapshot(DeleteSnapshotRequest) -> DeleteSnapshotResponse;
    ControllerClient: list_snapshots(ListSnapshotsRequest) -> ListSnapshotsResponse;
    ControllerClient: controller_expand_volume(ControllerExpandVolumeRequest) -> ControllerExpandVolumeResponse;
    ControllerClient: controller_get_capabilities(ControllerGetCapabilitiesRequest) -> ControllerGetCapabilitiesResponse;
    NodeClient: node_stage_volume(NodeStageVolumeRequest) -> NodeStageVolumeResponse;
    NodeClient: node_unstage_volume(NodeUnstageVolumeRequest) -> NodeUnstageVolumeResponse;
    NodeClient: node_publish_volume(NodePublishVolumeRequest) -> NodePublishVolumeResponse;
    NodeClient: node_unpublish_volume(NodeUnpublishVolumeRequest) -> NodeUnpublishVolumeResponse;
    NodeClient: node_get_volume_stats(NodeGetVolumeStatsRequest) -> NodeGetVolumeStatsResponse;
    NodeClient: node_expand_volume(NodeExpandVolumeRequest) -> NodeExpandVolumeResponse;
    NodeClient: node_get_info(NodeGetInfoRequest) -> NodeGetInfoResponse;
    NodeClient: node_get_capabilities(NodeGetCapabilitiesRequest) -> NodeGetCapabilitiesResponse;
}

/// The message of an answer that must be this refusal.
#[track_caller]
pub(crate) fn refused<T: Debug>(answer: Result<T, Status>, code: Code) -> String {
    let status = answer.expect_err("this must be refused");
    assert_eq!(status.code(), code, "{}", status.message());
    status.message().to_owned()
}
