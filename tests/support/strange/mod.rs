//! Requests that no sane caller sends, mixed with parts of sane ones: strategies for proptest.
//!
//! They know of the driver only what [`World`] says, so that they suit one on fakes and one on real
//! disks. Every path lies in the world's folder, or is refused, or is a file that nothing may touch.

mod fields;
mod of_controller;
mod of_node;

use proptest::prelude::*;
use tarn::csi::proto::{
    ControllerExpandVolumeRequest, CreateSnapshotRequest, CreateVolumeRequest,
    DeleteSnapshotRequest, DeleteVolumeRequest, GetCapacityRequest, ListSnapshotsRequest,
    ListVolumesRequest, NodeExpandVolumeRequest, NodeGetVolumeStatsRequest,
    NodePublishVolumeRequest, NodeStageVolumeRequest, NodeUnpublishVolumeRequest,
    NodeUnstageVolumeRequest, ValidateVolumeCapabilitiesRequest, VolumeCapability,
};

/// Stands in every field that may hold a secret; no answer and no log may show it.
pub(crate) const SECRET: &str = "hunter2hunter2";

/// What there is.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// Ids of volumes.
    pub(crate) volumes: Vec<String>,
    /// Ids of snapshots.
    pub(crate) snapshots: Vec<String>,
    /// A folder in which anything may happen; see [`furnish`].
    pub(crate) folder: String,
    /// Volumes that are staged and published in it.
    pub(crate) uses: Vec<Use>,
    /// Names of pools.
    pub(crate) pools: Vec<String>,
    /// The key of the topology segment, and the node.
    pub(crate) segment: (String, String),
}

/// A volume in use.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    /// Its id.
    pub(crate) id: String,
    /// Where it is staged.
    pub(crate) staged: String,
    /// Where it is published.
    pub(crate) target: String,
    /// As what.
    pub(crate) capability: VolumeCapability,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Create(CreateVolumeRequest),
    Delete(DeleteVolumeRequest),
    Expand(ControllerExpandVolumeRequest),
    Validate(ValidateVolumeCapabilitiesRequest),
    List(ListVolumesRequest),
    Capacity(GetCapacityRequest),
    Snapshot(CreateSnapshotRequest),
    DeleteSnapshot(DeleteSnapshotRequest),
    ListSnapshots(ListSnapshotsRequest),
    Stage(NodeStageVolumeRequest),
    Unstage(NodeUnstageVolumeRequest),
    Publish(NodePublishVolumeRequest),
    Unpublish(NodeUnpublishVolumeRequest),
    Stats(NodeGetVolumeStatsRequest),
    NodeExpand(NodeExpandVolumeRequest),
}

/// Things in a folder that paths of requests can stumble over.
pub(crate) fn furnish(folder: &str) {
    use std::{fs, os::unix::fs::symlink};
    fs::create_dir_all(format!("{folder}/outside")).unwrap();
    fs::create_dir_all(format!("{folder}/full")).unwrap();
    fs::write(format!("{folder}/outside/kept"), "kept").unwrap();
    fs::write(format!("{folder}/full/kept"), "kept").unwrap();
    fs::write(format!("{folder}/file"), "kept").unwrap();
    for (to, at) in [("outside", "link"), ("ring", "ring"), ("nowhere", "dangling")] {
        symlink(to, format!("{folder}/{at}")).unwrap();
    }
}

/// Whether what [`furnish`] made is as it was.
pub(crate) fn ensure_untouched(folder: &str) {
    use std::fs::{read_dir, read_to_string, symlink_metadata};
    for kept in ["outside/kept", "full/kept"] {
        assert_eq!(read_to_string(format!("{folder}/{kept}")).unwrap(), "kept", "{kept}");
    }
    assert_eq!(read_to_string(format!("{folder}/file")).unwrap(), "kept");
    assert_eq!(read_dir(format!("{folder}/outside")).unwrap().count(), 1);
    for link in ["link", "ring", "dangling"] {
        assert!(symlink_metadata(format!("{folder}/{link}")).unwrap().is_symlink(), "{link}");
    }
}

/// Calls of the RPC of that name.
pub(crate) fn calls(rpc: &str, world: &World) -> BoxedStrategy<Call> {
    of_controller::calls(rpc, world)
}
