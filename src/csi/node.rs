//! Node: volumes are staged, published and watched on this machine.

use std::{path::Path, sync::Arc, time::Duration};

use tonic::{Request, Response, Status};

use super::{
    answer,
    observe::subject,
    proto::{self, node_server::Node, *},
    request,
    work::{take_turn, to_the_end},
};
use crate::{
    fs,
    machine::Machine,
    volume::{Driver, Error, Publish, Stage, Turns, VolumeId},
};

/// A device that hangs must not hold a caller for ever; the thread that waits for it is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The Node service over this machine.
pub struct NodeService {
    driver: Driver,
    turns: Turns,
    machine: Arc<Machine>,
}

impl NodeService {
    /// Serves `driver`, taking each volume's turn from `turns`.
    pub fn new(driver: Driver, turns: Turns, machine: Arc<Machine>) -> Self {
        Self { driver, turns, machine }
    }

    /// Blocking work on a volume, in its turn and to its end.
    async fn in_turn<T: Send + 'static>(
        &self,
        id: &VolumeId,
        work: impl FnOnce(&Machine) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = take_turn(&self.turns, id.as_str()).await?;
        let machine = Arc::clone(&self.machine);
        to_the_end(turn, async move {
            let done = tokio::task::spawn_blocking(move || work(&machine)).await;
            done.unwrap_or_else(|err| Err(Error::uncertain("the work on the volume", err)))
        })
        .await
    }

    async fn stage(&self, request: NodeStageVolumeRequest) -> Result<(), Error> {
        let id = request::given("volume_id", &request.volume_id)?;
        let at = request::path("staging_target_path", &request.staging_target_path)?;
        let wire = request.volume_capability.as_ref();
        let wire = wire.ok_or_else(|| Error::missing("volume_capability"))?;
        let capability = request::capability(wire)?;
        let id = known(id)?;
        let stage = Stage { id: id.clone(), at, capability };
        self.in_turn(&id, move |machine| machine.stage(&stage)).await
    }

    async fn unstage(&self, request: NodeUnstageVolumeRequest) -> Result<(), Error> {
        let id = request::given("volume_id", &request.volume_id)?;
        let at = request::path("staging_target_path", &request.staging_target_path)?;
        let Ok(id) = id.parse::<VolumeId>() else { return Ok(()) };
        let of = id.clone();
        self.in_turn(&id, move |machine| machine.unstage(&of, &at)).await
    }

    async fn publish(&self, request: NodePublishVolumeRequest) -> Result<(), Error> {
        let id = request::given("volume_id", &request.volume_id)?;
        let at = request::path("target_path", &request.target_path)?;
        let wire = request.volume_capability.as_ref();
        let wire = wire.ok_or_else(|| Error::missing("volume_capability"))?;
        let capability = request::capability(wire)?;
        if request.staging_target_path.is_empty() {
            let why = "staging_target_path is empty: the volume must be staged first".to_owned();
            return Err(Error::Precondition(why));
        }
        let staged = request::path("staging_target_path", &request.staging_target_path)?;
        let id = known(id)?;
        let access = if request.readonly { fs::Access::ReadOnly } else { fs::Access::ReadWrite };
        let publish = Publish { id: id.clone(), staged, at, capability, access };
        self.in_turn(&id, move |machine| machine.publish(&publish)).await
    }

    async fn unpublish(&self, request: NodeUnpublishVolumeRequest) -> Result<(), Error> {
        let id = request::given("volume_id", &request.volume_id)?;
        let at = request::path("target_path", &request.target_path)?;
        let Ok(id) = id.parse::<VolumeId>() else { return Ok(()) };
        let of = id.clone();
        self.in_turn(&id, move |machine| machine.unpublish(&of, &at)).await
    }

    async fn stats(
        &self,
        request: NodeGetVolumeStatsRequest,
    ) -> Result<NodeGetVolumeStatsResponse, Error> {
        let id = request::given("volume_id", &request.volume_id)?;
        let path = request::given("volume_path", &request.volume_path)?;
        let id = known(id)?;
        subject(&id);
        let machine = Arc::clone(&self.machine);
        let at = Path::new(path).to_path_buf();
        let look = tokio::task::spawn_blocking(move || machine.stats(&id, &at));
        let late = |_| Error::Busy(format!("the volume does not answer within {PATIENCE:?}"));
        let stats = tokio::time::timeout(PATIENCE, look).await.map_err(late)?;
        let stats = stats.map_err(|err| Error::machine("looking at the volume", err))??;
        Ok(NodeGetVolumeStatsResponse { usage: answer::usage(&stats) })
    }

    async fn expand(
        &self,
        request: NodeExpandVolumeRequest,
    ) -> Result<NodeExpandVolumeResponse, Error> {
        let id = request::given("volume_id", &request.volume_id)?;
        let path = request::given("volume_path", &request.volume_path)?;
        let size = request::size(request.capacity_range.as_ref())?;
        let id = known(id)?;
        let (of, at) = (id.clone(), Path::new(path).to_path_buf());
        let size = self.in_turn(&id, move |machine| machine.node_expand(&of, &at, size)).await?;
        Ok(NodeExpandVolumeResponse { capacity_bytes: size.as_i64() })
    }
}

/// An id that we never gave belongs to no volume.
fn known(id: &str) -> Result<VolumeId, Error> {
    id.parse().map_err(|_| Error::NotFound("the volume".to_owned()))
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        self.stage(request.into_inner()).await?;
        Ok(Response::new(NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        self.unstage(request.into_inner()).await?;
        Ok(Response::new(NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        self.publish(request.into_inner()).await?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        self.unpublish(request.into_inner()).await?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        Ok(Response::new(self.stats(request.into_inner()).await?))
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        Ok(Response::new(self.expand(request.into_inner()).await?))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.machine.node().to_string(),
            max_volumes_per_node: 0,
            accessible_topology: Some(answer::topology(self.machine.node(), &self.driver)),
        }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        use node_service_capability::{Rpc, Type, rpc};
        let can = [
            rpc::Type::StageUnstageVolume,
            rpc::Type::GetVolumeStats,
            rpc::Type::ExpandVolume,
            rpc::Type::SingleNodeMultiWriter,
        ];
        let capability = |it: rpc::Type| proto::NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: it.into() })),
        };
        let capabilities = can.map(capability).into();
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }
}
