//! What came out, written as the wire says it. Pure.

use std::collections::BTreeMap;

use prost_types::Timestamp;

use super::proto::{
    self, Topology, VolumeContentSource, VolumeUsage,
    volume_content_source::{SnapshotSource, Type, VolumeSource},
    volume_usage::Unit,
};
use crate::{
    fs::Share,
    volume::{Driver, NodeId, Snapshot, Source, Stats, Volume},
};

/// A volume. Its context is empty: what a node must know is in the volume's own tags.
pub(super) fn volume(volume: &Volume, driver: &Driver) -> proto::Volume {
    proto::Volume {
        capacity_bytes: volume.size.as_i64(),
        volume_id: volume.id.to_string(),
        volume_context: BTreeMap::new(),
        content_source: volume.source.as_ref().map(content_source),
        accessible_topology: vec![topology(&volume.node, driver)],
    }
}

fn content_source(source: &Source) -> VolumeContentSource {
    let r#type = match source {
        Source::Snapshot(id) => Type::Snapshot(SnapshotSource { snapshot_id: id.to_string() }),
        Source::Volume(id) => Type::Volume(VolumeSource { volume_id: id.to_string() }),
    };
    VolumeContentSource { r#type: Some(r#type) }
}

/// The one segment in which a node's volumes can be used.
pub(super) fn topology(node: &NodeId, driver: &Driver) -> Topology {
    let segment = (driver.topology_key().to_owned(), node.to_string());
    Topology { segments: BTreeMap::from([segment]) }
}

/// A snapshot; all of ours can be used as soon as they exist.
pub(super) fn snapshot(snapshot: &Snapshot) -> proto::Snapshot {
    proto::Snapshot {
        size_bytes: snapshot.size.as_i64(),
        snapshot_id: snapshot.id.to_string(),
        source_volume_id: snapshot.source.to_string(),
        creation_time: Some(Timestamp { seconds: snapshot.created, nanos: 0 }),
        ready_to_use: true,
        ..Default::default()
    }
}

/// How full a volume is.
pub(super) fn usage(stats: &Stats) -> Vec<VolumeUsage> {
    match stats {
        Stats::Block(size) => vec![VolumeUsage {
            total: size.as_i64(),
            unit: Unit::Bytes.into(),
            ..Default::default()
        }],
        Stats::Filesystem(usage) => {
            vec![share(usage.bytes, Unit::Bytes), share(usage.inodes, Unit::Inodes)]
        }
    }
}

fn share(share: Share, unit: Unit) -> VolumeUsage {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    VolumeUsage {
        available: signed(share.available),
        total: signed(share.total),
        used: signed(share.used),
        unit: unit.into(),
    }
}
