//! Registration: how the kubelet gets to know the driver (`proto/pluginregistration.proto`).

use std::path::Path;

use tonic::{Request, Response, Status};

use super::registration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
    registration_server::Registration,
};

/// What the kubelet calls a CSI driver (kubelet, `pluginregistration/v1/constants.go`).
const KIND: &str = "CSIPlugin";
/// The version of the registration that CSI drivers speak.
const VERSION: &str = "1.0.0";

/// The kubelet's registration service.
pub struct RegistrationService {
    driver: String,
    endpoint: String,
}

impl RegistrationService {
    /// Says that `driver` is served at `endpoint`, a path as the kubelet sees it.
    pub fn new(driver: &str, endpoint: &Path) -> Self {
        Self { driver: driver.to_owned(), endpoint: endpoint.display().to_string() }
    }
}

#[tonic::async_trait]
impl Registration for RegistrationService {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: KIND.to_owned(),
            name: self.driver.clone(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec![VERSION.to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        status: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = status.into_inner();
        match status.plugin_registered {
            true => tracing::info!("registered with the kubelet"),
            // It comes back by itself.
            false => tracing::error!(error = status.error, "the kubelet refuses the driver"),
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
