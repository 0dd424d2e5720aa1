//! Controller: volumes and snapshots come and go, and grow.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    answer,
    proto::{self, controller_server::Controller, *},
    request,
    work::{take_turn, to_the_end},
};
use crate::volume::{
    Driver, Error, Parameters, Provisioner, SnapshotFilter, SnapshotId, Turns, VolumeId,
    WantedSnapshot,
};

/// The Controller service over whatever makes volumes.
pub struct ControllerService<P> {
    driver: Driver,
    turns: Turns,
    provisioner: Arc<P>,
}

impl<P: Provisioner> ControllerService<P> {
    /// Serves `driver`, taking each volume's turn from `turns`.
    pub fn new(driver: Driver, turns: Turns, provisioner: Arc<P>) -> Self {
        Self { driver, turns, provisioner }
    }

    async fn create(&self, request: CreateVolumeRequest) -> Result<CreateVolumeResponse, Error> {
        let wanted = request::wanted(request, &self.driver)?;
        let turn = take_turn(&self.turns, VolumeId::of(&wanted.name).as_str()).await?;
        let provisioner = Arc::clone(&self.provisioner);
        let made = to_the_end(turn, async move { provisioner.create(wanted).await }).await?;
        Ok(CreateVolumeResponse { volume: Some(answer::volume(&made, &self.driver)) })
    }

    async fn delete(&self, request: DeleteVolumeRequest) -> Result<DeleteVolumeResponse, Error> {
        let id = request::given("volume_id", &request.volume_id)?;
        let Ok(id) = id.parse::<VolumeId>() else { return Ok(DeleteVolumeResponse {}) };
        let turn = take_turn(&self.turns, id.as_str()).await?;
        let provisioner = Arc::clone(&self.provisioner);
        to_the_end(turn, async move { provisioner.delete(id).await }).await?;
        Ok(DeleteVolumeResponse {})
    }

    async fn expand(
        &self,
        request: ControllerExpandVolumeRequest,
    ) -> Result<ControllerExpandVolumeResponse, Error> {
        let id = request::given("volume_id", &request.volume_id)?;
        if request.capacity_range.is_none() {
            return Err(Error::missing("capacity_range"));
        }
        let size = request::size(request.capacity_range.as_ref())?;
        let id: VolumeId = id.parse().map_err(|_| Error::NotFound("the volume".to_owned()))?;
        let turn = take_turn(&self.turns, id.as_str()).await?;
        let provisioner = Arc::clone(&self.provisioner);
        let grown = to_the_end(turn, async move { provisioner.expand(id, size).await }).await?;
        Ok(ControllerExpandVolumeResponse {
            capacity_bytes: grown.size.as_i64(),
            node_expansion_required: grown.purpose.filesystem().is_some(),
        })
    }

    async fn validate(
        &self,
        request: ValidateVolumeCapabilitiesRequest,
    ) -> Result<ValidateVolumeCapabilitiesResponse, Error> {
        let id = request::given("volume_id", &request.volume_id)?;
        if request.volume_capabilities.is_empty() {
            return Err(Error::missing("volume_capabilities"));
        }
        request.volume_capabilities.iter().try_for_each(request::complete)?;
        let missing = || Error::NotFound("the volume".to_owned());
        let id = id.parse().map_err(|_| missing())?;
        let volume = self.provisioner.find(id).await?.ok_or_else(missing)?;
        let verdict = request::capabilities(&request.volume_capabilities)
            .map_err(|err| err.to_string())
            .and_then(|all| all.iter().try_for_each(|it| it.suits(volume.purpose)));
        Ok(match verdict {
            Ok(()) => ValidateVolumeCapabilitiesResponse {
                confirmed: Some(validate_volume_capabilities_response::Confirmed {
                    volume_capabilities: request.volume_capabilities,
                    ..Default::default()
                }),
                message: String::new(),
            },
            Err(message) => ValidateVolumeCapabilitiesResponse { confirmed: None, message },
        })
    }

    async fn list(&self, request: ListVolumesRequest) -> Result<ListVolumesResponse, Error> {
        let (most, after) = request::page(request.max_entries, &request.starting_token)?;
        let mut found = self.provisioner.volumes(after, most.saturating_add(1)).await?;
        let more = found.len() > most;
        found.truncate(most);
        let next_token = match found.last() {
            Some(last) if more => last.id.to_string(),
            _ => String::new(),
        };
        let entry = |volume| list_volumes_response::Entry {
            volume: Some(answer::volume(volume, &self.driver)),
            status: None,
        };
        Ok(ListVolumesResponse { entries: found.iter().map(entry).collect(), next_token })
    }

    /// What cannot be made at all has no room: an error would only be asked again and again.
    async fn capacity(&self, request: GetCapacityRequest) -> Result<GetCapacityResponse, Error> {
        let unknown = || GetCapacityResponse { maximum_volume_size: Some(0), ..Default::default() };
        let parameters: Parameters = match request::parameters(&request.parameters) {
            Ok(parameters) => parameters,
            Err(_) => return Ok(unknown()),
        };
        if request::capabilities(&request.volume_capabilities).is_err() {
            return Ok(unknown());
        }
        let node = match &request.accessible_topology {
            None => None,
            Some(topology) => match request::node(topology, &self.driver) {
                Ok(Some(node)) => Some(node),
                Ok(None) | Err(_) => return Ok(unknown()),
            },
        };
        let room = self.provisioner.capacity(parameters, node).await?;
        Ok(GetCapacityResponse {
            available_capacity: room.available.as_i64(),
            maximum_volume_size: Some(room.largest.as_i64()),
            ..Default::default()
        })
    }

    async fn snapshot(
        &self,
        request: CreateSnapshotRequest,
    ) -> Result<CreateSnapshotResponse, Error> {
        let name = request::name("name", &request.name)?;
        let source = request::given("source_volume_id", &request.source_volume_id)?;
        if let Some(key) =
            request.parameters.keys().find(|key| !key.starts_with("csi.storage.k8s.io/"))
        {
            let allowed = "snapshots have no parameters";
            return Err(Error::invalid("parameters", key, allowed));
        }
        let source: VolumeId =
            source.parse().map_err(|_| Error::NotFound("the source volume".to_owned()))?;
        let turn = take_turn(&self.turns, SnapshotId::of(&name).as_str()).await?;
        let of_source = take_turn(&self.turns, source.as_str()).await?;
        let provisioner = Arc::clone(&self.provisioner);
        let wanted = WantedSnapshot { name, source };
        let taken = to_the_end(turn, async move {
            let _of_source = of_source;
            provisioner.snapshot(wanted).await
        });
        Ok(CreateSnapshotResponse { snapshot: Some(answer::snapshot(&taken.await?)) })
    }

    async fn delete_snapshot(
        &self,
        request: DeleteSnapshotRequest,
    ) -> Result<DeleteSnapshotResponse, Error> {
        let id = request::given("snapshot_id", &request.snapshot_id)?;
        let Ok(id) = id.parse::<SnapshotId>() else { return Ok(DeleteSnapshotResponse {}) };
        let turn = take_turn(&self.turns, id.as_str()).await?;
        let provisioner = Arc::clone(&self.provisioner);
        to_the_end(turn, async move { provisioner.delete_snapshot(id).await }).await?;
        Ok(DeleteSnapshotResponse {})
    }

    async fn list_snapshots(
        &self,
        request: ListSnapshotsRequest,
    ) -> Result<ListSnapshotsResponse, Error> {
        let (most, after) = request::page(request.max_entries, &request.starting_token)?;
        let Some(filter) = filter(&request) else { return Ok(ListSnapshotsResponse::default()) };
        let mut found = self.provisioner.snapshots(filter, after, most.saturating_add(1)).await?;
        let more = found.len() > most;
        found.truncate(most);
        let next_token = match found.last() {
            Some(last) if more => last.id.to_string(),
            _ => String::new(),
        };
        let entry = |it| list_snapshots_response::Entry { snapshot: Some(answer::snapshot(it)) };
        Ok(ListSnapshotsResponse { entries: found.iter().map(entry).collect(), next_token })
    }
}

/// Which snapshots are listed; `None` when an id that we never gave can match none.
fn filter(request: &ListSnapshotsRequest) -> Option<SnapshotFilter> {
    let id = match request.snapshot_id.as_str() {
        "" => None,
        text => Some(text.parse().ok()?),
    };
    let source = match request.source_volume_id.as_str() {
        "" => None,
        text => Some(text.parse().ok()?),
    };
    Some(SnapshotFilter { id, source })
}

#[tonic::async_trait]
impl<P: Provisioner> Controller for ControllerService<P> {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        Ok(Response::new(self.create(request.into_inner()).await?))
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        Ok(Response::new(self.delete(request.into_inner()).await?))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        Ok(Response::new(self.expand(request.into_inner()).await?))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        Ok(Response::new(self.validate(request.into_inner()).await?))
    }

    async fn list_volumes(
        &self,
        request: Request<ListVolumesRequest>,
    ) -> Result<Response<ListVolumesResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn get_capacity(
        &self,
        request: Request<GetCapacityRequest>,
    ) -> Result<Response<GetCapacityResponse>, Status> {
        Ok(Response::new(self.capacity(request.into_inner()).await?))
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        Ok(Response::new(self.snapshot(request.into_inner()).await?))
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        Ok(Response::new(Self::delete_snapshot(self, request.into_inner()).await?))
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        Ok(Response::new(Self::list_snapshots(self, request.into_inner()).await?))
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        use controller_service_capability::{Rpc, Type, rpc};
        let always = [
            rpc::Type::CreateDeleteVolume,
            rpc::Type::ExpandVolume,
            rpc::Type::ListVolumes,
            rpc::Type::GetCapacity,
            rpc::Type::SingleNodeMultiWriter,
        ];
        let copying =
            [rpc::Type::CreateDeleteSnapshot, rpc::Type::ListSnapshots, rpc::Type::CloneVolume];
        let copying = copying.into_iter().filter(|_| self.provisioner.copies());
        let capability = |it: rpc::Type| proto::ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: it.into() })),
        };
        let capabilities = always.into_iter().chain(copying).map(capability).collect();
        Ok(Response::new(ControllerGetCapabilitiesResponse { capabilities }))
    }
}
