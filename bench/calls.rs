//! Calls to a driver, each as a client makes it.

use tarn::csi::proto::{
    controller_client::ControllerClient, identity_client::IdentityClient, node_client::NodeClient,
    volume_capability::*, *,
};
use tonic::transport::Channel;

/// The way to a driver.
pub(crate) struct Calls(pub(crate) Channel);

impl Calls {
    pub(crate) fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.0.clone())
    }

    pub(crate) fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.0.clone())
    }

    pub(crate) async fn create(&self, name: &str, pool: &str, bytes: i64) -> String {
        let request = CreateVolumeRequest {
            name: name.to_owned(),
            capacity_range: Some(CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
            volume_capabilities: vec![mounted()],
            parameters: [("pool".to_owned(), pool.to_owned())].into(),
            ..Default::default()
        };
        let made = self.controller().create_volume(request).await.unwrap().into_inner();
        made.volume.unwrap().volume_id
    }

    pub(crate) async fn delete(&self, id: &str) {
        let request = DeleteVolumeRequest { volume_id: id.to_owned(), ..Default::default() };
        self.controller().delete_volume(request).await.unwrap();
    }

    pub(crate) async fn stage(&self, id: &str) {
        let request = NodeStageVolumeRequest {
            volume_id: id.to_owned(),
            staging_target_path: format!("/run/staged/{id}"),
            volume_capability: Some(mounted()),
            ..Default::default()
        };
        self.node().node_stage_volume(request).await.unwrap();
    }

    pub(crate) async fn publish(&self, id: &str) {
        let request = NodePublishVolumeRequest {
            volume_id: id.to_owned(),
            staging_target_path: format!("/run/staged/{id}"),
            target_path: format!("/run/published/{id}"),
            volume_capability: Some(mounted()),
            ..Default::default()
        };
        self.node().node_publish_volume(request).await.unwrap();
    }

    pub(crate) async fn take_down(&self, id: &str) {
        let unpublish = NodeUnpublishVolumeRequest {
            volume_id: id.to_owned(),
            target_path: format!("/run/published/{id}"),
        };
        self.node().node_unpublish_volume(unpublish).await.unwrap();
        let unstage = NodeUnstageVolumeRequest {
            volume_id: id.to_owned(),
            staging_target_path: format!("/run/staged/{id}"),
        };
        self.node().node_unstage_volume(unstage).await.unwrap();
    }

    pub(crate) async fn capabilities(&self) {
        let request = GetPluginCapabilitiesRequest::default();
        let mut identity = IdentityClient::new(self.0.clone());
        identity.get_plugin_capabilities(request).await.unwrap();
    }

    pub(crate) async fn capacity(&self, pool: &str) -> i64 {
        let request = GetCapacityRequest {
            parameters: [("pool".to_owned(), pool.to_owned())].into(),
            ..Default::default()
        };
        self.controller().get_capacity(request).await.unwrap().into_inner().available_capacity
    }
}

pub(crate) fn mounted() -> VolumeCapability {
    let mount = MountVolume { fs_type: "ext4".to_owned(), ..Default::default() };
    VolumeCapability {
        access_mode: Some(AccessMode { mode: access_mode::Mode::SingleNodeMultiWriter.into() }),
        access_type: Some(AccessType::Mount(mount)),
    }
}
