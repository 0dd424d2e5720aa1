//! Calls of the Controller service.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*};
use tarn::csi::proto::{
    ControllerExpandVolumeRequest, CreateSnapshotRequest, CreateVolumeRequest,
    DeleteSnapshotRequest, DeleteVolumeRequest, GetCapacityRequest, ListSnapshotsRequest,
    ListVolumesRequest, TopologyRequirement, ValidateVolumeCapabilitiesRequest,
};

use super::{
    Call, World,
    fields::{
        any_map, capability, id, parameters, range, secrets, snapshot_id, source, text, topology,
    },
    of_node,
};

fn create(world: &World) -> BoxedStrategy<Call> {
    let places = (vec(topology(world), 0..3), vec(topology(world), 0..3))
        .prop_map(|(preferred, requisite)| TopologyRequirement { preferred, requisite });
    (
        prop_oneof![8 => "[a-h]", 1 => text()],
        prop_oneof![1 => Just(None), 1 => range()],
        prop_oneof![9 => vec(capability(), 1), 1 => vec(capability(), 0..3)],
        parameters(world),
        source(world),
        option::weighted(0.3, places),
        prop_oneof![9 => Just(BTreeMap::new()), 1 => any_map()],
    )
        .prop_map(|(name, size, capabilities, parameters, source, places, mutable)| {
            Call::Create(CreateVolumeRequest {
                name,
                capacity_range: size,
                volume_capabilities: capabilities,
                parameters,
                secrets: secrets(),
                volume_content_source: source,
                accessibility_requirements: places,
                mutable_parameters: mutable,
            })
        })
        .boxed()
}

/// Calls of one RPC of the Controller, else of the Node.
pub(super) fn calls(rpc: &str, world: &World) -> BoxedStrategy<Call> {
    let token = prop_oneof![Just(String::new()), id(world)];
    let entries = prop_oneof![3 => 0..5i32, 1 => any::<i32>()];
    match rpc {
        "CreateVolume" => create(world),
        "DeleteVolume" => id(world)
            .prop_map(|volume_id| {
                Call::Delete(DeleteVolumeRequest { volume_id, secrets: secrets() })
            })
            .boxed(),
        "ControllerExpandVolume" => (id(world), range(), option::of(capability()))
            .prop_map(|(volume_id, capacity_range, volume_capability)| {
                Call::Expand(ControllerExpandVolumeRequest {
                    volume_id,
                    capacity_range,
                    secrets: secrets(),
                    volume_capability,
                })
            })
            .boxed(),
        "ValidateVolumeCapabilities" => (id(world), vec(capability(), 0..3), parameters(world))
            .prop_map(|(volume_id, volume_capabilities, parameters)| {
                Call::Validate(ValidateVolumeCapabilitiesRequest {
                    volume_id,
                    volume_capabilities,
                    parameters,
                    secrets: secrets(),
                    ..Default::default()
                })
            })
            .boxed(),
        "ListVolumes" => (entries, token)
            .prop_map(|(max_entries, starting_token)| {
                Call::List(ListVolumesRequest { max_entries, starting_token })
            })
            .boxed(),
        "GetCapacity" => (vec(capability(), 0..3), parameters(world), option::of(topology(world)))
            .prop_map(|(volume_capabilities, parameters, accessible_topology)| {
                Call::Capacity(GetCapacityRequest {
                    volume_capabilities,
                    parameters,
                    accessible_topology,
                })
            })
            .boxed(),
        _ => snapshots(rpc, world),
    }
}

fn snapshots(rpc: &str, world: &World) -> BoxedStrategy<Call> {
    match rpc {
        "CreateSnapshot" => (prop_oneof![4 => "[a-c]", 1 => text()], id(world), any_map())
            .prop_map(|(name, source_volume_id, parameters)| {
                Call::Snapshot(CreateSnapshotRequest {
                    name,
                    source_volume_id,
                    parameters,
                    secrets: secrets(),
                    ..Default::default()
                })
            })
            .boxed(),
        "DeleteSnapshot" => snapshot_id(world)
            .prop_map(|snapshot_id| {
                Call::DeleteSnapshot(DeleteSnapshotRequest { snapshot_id, secrets: secrets() })
            })
            .boxed(),
        "ListSnapshots" => {
            let token = prop_oneof![Just(String::new()), snapshot_id(world)];
            let filter = |some| prop_oneof![2 => Just(String::new()), 1 => some];
            let entries = prop_oneof![3 => 0..5i32, 1 => any::<i32>()];
            (entries, token, filter(id(world)), filter(snapshot_id(world)))
                .prop_map(|(max_entries, starting_token, source_volume_id, snapshot_id)| {
                    Call::ListSnapshots(ListSnapshotsRequest {
                        max_entries,
                        starting_token,
                        source_volume_id,
                        snapshot_id,
                        secrets: secrets(),
                    })
                })
                .boxed()
        }
        _ => of_node::calls(rpc, world),
    }
}
