//! Requests as sidecars and the kubelet send them, to be changed where a test wants another.

use std::collections::BTreeMap;

use tarn::csi::proto::{
    CapacityRange, ControllerExpandVolumeRequest, CreateVolumeRequest, NodeExpandVolumeRequest,
    NodePublishVolumeRequest, NodeStageVolumeRequest, Topology, TopologyRequirement,
    VolumeCapability, VolumeContentSource,
    volume_capability::{
        AccessMode, AccessType, BlockVolume, MountVolume,
        access_mode::Mode::{self, SingleNodeMultiWriter},
    },
    volume_content_source::{SnapshotSource, Type, VolumeSource},
};

use crate::ground::KEY;

pub(crate) const MIB: i64 = 1 << 20;
pub(crate) const GIB: i64 = 1 << 30;

/// An ext4 volume of 64 MiB for many writers.
pub(crate) fn volume(name: &str) -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: name.to_owned(),
        capacity_range: size(64 * MIB, 0),
        volume_capabilities: vec![mount("ext4")],
        ..Default::default()
    }
}

/// A raw block volume of 64 MiB for many writers.
pub(crate) fn block_volume(name: &str) -> CreateVolumeRequest {
    CreateVolumeRequest { volume_capabilities: vec![block()], ..volume(name) }
}

/// An ext4 volume of another size.
pub(crate) fn sized(name: &str, bytes: i64) -> CreateVolumeRequest {
    CreateVolumeRequest { capacity_range: size(bytes, 0), ..volume(name) }
}

/// A volume that begins with what another has.
pub(crate) fn copy(name: &str, of: &str) -> CreateVolumeRequest {
    CreateVolumeRequest { volume_content_source: Some(content(of)), ..volume(name) }
}

/// What a copy comes from: a volume or a snapshot, as the id says.
pub(crate) fn content(of: &str) -> VolumeContentSource {
    let id = of.to_owned();
    let r#type = match of.starts_with("s-") {
        true => Type::Snapshot(SnapshotSource { snapshot_id: id }),
        false => Type::Volume(VolumeSource { volume_id: id }),
    };
    VolumeContentSource { r#type: Some(r#type) }
}

#[expect(clippy::unnecessary_wraps, reason = "as the field of a request")]
pub(crate) fn size(required_bytes: i64, limit_bytes: i64) -> Option<CapacityRange> {
    Some(CapacityRange { required_bytes, limit_bytes })
}

pub(crate) fn mount(fs_type: &str) -> VolumeCapability {
    let mount = MountVolume { fs_type: fs_type.to_owned(), ..Default::default() };
    capability(AccessType::Mount(mount), SingleNodeMultiWriter)
}

pub(crate) fn block() -> VolumeCapability {
    capability(AccessType::Block(BlockVolume {}), SingleNodeMultiWriter)
}

pub(crate) fn capability(access: AccessType, mode: Mode) -> VolumeCapability {
    let access_mode = Some(AccessMode { mode: mode.into() });
    VolumeCapability { access_mode, access_type: Some(access) }
}

/// The same way of access in another mode.
pub(crate) fn in_mode(capability: VolumeCapability, mode: Mode) -> VolumeCapability {
    VolumeCapability { access_mode: Some(AccessMode { mode: mode.into() }), ..capability }
}

/// The same file system with mount flags.
pub(crate) fn flagged(fs_type: &str, flags: &[&str]) -> VolumeCapability {
    let mount_flags = flags.iter().map(ToString::to_string).collect();
    let fs_type = fs_type.to_owned();
    let mount = MountVolume { fs_type, mount_flags, ..Default::default() };
    capability(AccessType::Mount(mount), SingleNodeMultiWriter)
}

pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn segment(node: &str) -> Topology {
    Topology { segments: map(&[(KEY, node)]) }
}

/// What external-provisioner asks of the place: the preferred nodes first.
#[expect(clippy::unnecessary_wraps, reason = "as the field of a request")]
pub(crate) fn nodes(preferred: &[&str], requisite: &[&str]) -> Option<TopologyRequirement> {
    let topologies = |names: &[&str]| names.iter().map(|name| segment(name)).collect();
    Some(TopologyRequirement { preferred: topologies(preferred), requisite: topologies(requisite) })
}

pub(crate) fn expansion(id: &str, bytes: i64) -> ControllerExpandVolumeRequest {
    ControllerExpandVolumeRequest {
        volume_id: id.to_owned(),
        capacity_range: size(bytes, 0),
        ..Default::default()
    }
}

/// Stages a file system.
pub(crate) fn staging(id: &str, at: &str) -> NodeStageVolumeRequest {
    NodeStageVolumeRequest {
        volume_id: id.to_owned(),
        staging_target_path: at.to_owned(),
        volume_capability: Some(mount("ext4")),
        ..Default::default()
    }
}

/// Stages a raw block volume.
pub(crate) fn block_staging(id: &str, at: &str) -> NodeStageVolumeRequest {
    NodeStageVolumeRequest { volume_capability: Some(block()), ..staging(id, at) }
}

/// Publishes a staged file system.
pub(crate) fn publishing(id: &str, staged: &str, at: &str) -> NodePublishVolumeRequest {
    NodePublishVolumeRequest {
        volume_id: id.to_owned(),
        staging_target_path: staged.to_owned(),
        target_path: at.to_owned(),
        volume_capability: Some(mount("ext4")),
        ..Default::default()
    }
}

/// Publishes a staged raw block volume.
pub(crate) fn block_publishing(id: &str, staged: &str, at: &str) -> NodePublishVolumeRequest {
    NodePublishVolumeRequest { volume_capability: Some(block()), ..publishing(id, staged, at) }
}

pub(crate) fn node_expansion(id: &str, at: &str, bytes: i64) -> NodeExpandVolumeRequest {
    let capacity_range = if bytes == 0 { None } else { size(bytes, 0) };
    NodeExpandVolumeRequest {
        volume_id: id.to_owned(),
        volume_path: at.to_owned(),
        capacity_range,
        ..Default::default()
    }
}
