//! Identity: who the driver is, what it can do, whether it is ready.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::proto::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest,
    GetPluginInfoResponse, PluginCapability, ProbeRequest, ProbeResponse,
    identity_server::Identity,
    plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion},
};
use crate::volume::Driver;

/// What the driver stands on: ready, still coming up, or broken with the reason.
pub type Readiness = Arc<dyn Fn() -> Result<bool, String> + Send + Sync>;

/// The Identity service.
pub struct IdentityService {
    driver: Driver,
    ready: Readiness,
}

impl IdentityService {
    /// Says that it is `driver`.
    pub fn new(driver: Driver, ready: Readiness) -> Self {
        Self { driver, ready }
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: self.driver.name().to_owned(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let service = |r#type: service::Type| Type::Service(Service { r#type: r#type.into() });
        let online = VolumeExpansion { r#type: volume_expansion::Type::Online.into() };
        let capabilities = [
            service(service::Type::ControllerService),
            service(service::Type::VolumeAccessibilityConstraints),
            Type::VolumeExpansion(online),
        ];
        let capabilities = capabilities.map(|it| PluginCapability { r#type: Some(it) }).into();
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        let ready = (self.ready)().map_err(Status::failed_precondition)?;
        Ok(Response::new(ProbeResponse { ready: Some(ready) }))
    }
}
