//! What is known of one volume or snapshot, and what room it will take.

use std::sync::Arc;

use super::Moment;
use crate::{
    cluster::{
        FOUND, GIVEN_OUT,
        objects::{LogicalVolume, LogicalVolumeSpec, Phase, Refusal},
        placement::Share,
        wish::{layout_of, purpose_of, size_of, source_of},
    },
    lvm::{Layout, cow_size},
    pool::capacity::Draw,
    units::Bytes,
    volume::{NodeId, Provisioning, Snapshot, Volume},
};

/// One volume or snapshot, as its object says.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cluster) struct Entry {
    pub(in crate::cluster) uid: String,
    /// Grows with each change of any object (API concepts, "Resource versions").
    pub(in crate::cluster) version: u64,
    /// The moment at which this was taken note of.
    pub(super) noted: Moment,
    pub(in crate::cluster) spec: Arc<LogicalVolumeSpec>,
    pub(in crate::cluster) phase: Option<Phase>,
    pub(in crate::cluster) size: Option<Bytes>,
    pub(in crate::cluster) made_at: i64,
    pub(in crate::cluster) sequence: i64,
    pub(in crate::cluster) refusal: Option<Refusal>,
    pub(in crate::cluster) is_deleting: bool,
    /// Whether it was made again from what its node had found.
    pub(in crate::cluster) is_found: bool,
    /// Whether a claim has it, or had it, though it was made before.
    pub(in crate::cluster) is_given_out: bool,
}

/// Room that a volume will take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    pub(super) pool: String,
    pub(super) share: Share,
    /// With which report of the node it is counted; `None` while it is not made.
    pub(super) sequence: Option<i64>,
}

impl Entry {
    pub(super) fn of(object: &LogicalVolume, noted: Moment) -> Option<Self> {
        let status = object.status.as_ref();
        let says = |name| object.metadata.annotations.iter().any(|it| it.contains_key(name));
        Some(Self {
            uid: object.metadata.uid.clone()?,
            version: object.metadata.resource_version.as_ref()?.parse().ok()?,
            noted,
            spec: Arc::new(object.spec.clone()),
            phase: status.and_then(|it| it.phase),
            size: status.and_then(|it| it.size.as_ref()?.parse().ok()),
            made_at: status.and_then(|it| it.made_at).unwrap_or_default(),
            sequence: status.map_or(0, |it| it.sequence),
            refusal: status.and_then(|it| it.refusal.clone()),
            is_deleting: object.metadata.deletion_timestamp.is_some(),
            is_found: says(FOUND),
            is_given_out: says(GIVEN_OUT),
        })
    }

    pub(super) fn unwritten(spec: &LogicalVolumeSpec) -> Self {
        Self {
            uid: String::new(),
            version: 0,
            noted: Moment::default(),
            spec: Arc::new(spec.clone()),
            phase: None,
            size: None,
            made_at: 0,
            sequence: 0,
            refusal: None,
            is_deleting: false,
            is_found: false,
            is_given_out: false,
        }
    }

    /// Whether it was made before there was a claim for it. No call waits for such a one.
    pub(in crate::cluster) fn is_static(&self) -> bool {
        self.spec.device.is_some()
    }

    /// Whether it is there, as far as anybody may know.
    pub(in crate::cluster) fn is_ready(&self) -> bool {
        self.phase == Some(Phase::Ready) && !self.is_deleting
    }

    pub(in crate::cluster) fn node(&self) -> Option<NodeId> {
        self.spec.node_name.parse().ok()
    }

    /// Its size, or the one that is wished for.
    pub(in crate::cluster) fn size(&self) -> Bytes {
        self.size.or_else(|| size_of(&self.spec).ok()).unwrap_or_default()
    }

    /// The room that it will take. Where copies share files a snapshot may come to need as much as its volume, and
    /// nothing for itself.
    pub(super) fn promise(&self, extent: Bytes, shares_files: bool) -> Option<Promise> {
        let Self { spec, .. } = self;
        let wished = size_of(spec).unwrap_or_default();
        let layout = layout_of(spec);
        let is_thick = spec.provisioning == Provisioning::Thick;
        let grows = match self.phase {
            None | Some(Phase::Creating) => None,
            Some(Phase::Failed | Phase::Deleted) => return None,
            Some(Phase::Ready) => (self.refusal.is_none() && wished > self.size())
                .then(|| wished.saturating_sub(self.size())),
        };
        let share = match (grows, is_thick, spec.snapshot_of.is_some()) {
            (Some(more), true, _) => Share::Thick(Draw::of_growth(layout, more, extent)),
            (None, true, false) => Share::Thick(Draw::of_new(layout, wished, extent)),
            (None, true, true) => {
                let room = if shares_files { wished } else { cow_size(wished, extent)? };
                Share::Thick(Draw::of_new(Layout::Linear, room, extent))
            }
            (more, false, _) => Share::Thin(more.unwrap_or(wished)),
        };
        let is_made = self.phase == Some(Phase::Ready) && grows.is_none();
        let sequence = is_made.then_some(self.sequence);
        Some(Promise { pool: spec.pool.clone(), share, sequence })
    }

    /// The volume, as a CSI client sees it.
    pub(in crate::cluster) fn as_volume(&self, id: &str) -> Option<Volume> {
        Some(Volume {
            id: id.parse().ok()?,
            size: self.size(),
            purpose: purpose_of(&self.spec).ok()?,
            source: source_of(&self.spec).ok()?,
            node: self.node()?,
        })
    }

    /// The snapshot, as a CSI client sees it.
    pub(in crate::cluster) fn as_snapshot(&self, id: &str) -> Option<Snapshot> {
        Some(Snapshot {
            id: id.parse().ok()?,
            source: self.spec.snapshot_of.as_ref()?.parse().ok()?,
            size: self.size(),
            created: self.made_at,
        })
    }
}
