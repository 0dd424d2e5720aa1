//! Volumes that have lost their objects, as after somebody deleted one by hand or etcd was restored
//! from a backup: reported, never removed. The controller makes the objects again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource as _, runtime::reflector::ObjectRef};

use super::{Notice, Shared};
use crate::{
    cluster::{
        objects::{LogicalVolume, LogicalVolumeSpec, NodeLocalStorage, StrayReport},
        wish::{lost_spec, stray_of},
    },
    machine::Machine,
    pool::Kept,
    units::Bytes,
    volume::{Error, NodeId},
};

/// How long a volume must have had no object before that is told: what is only news on its way, or
/// a watch that begins anew, is over by then.
const A_WHILE: Duration = Duration::from_secs(30);
/// How many are reported at once: an object in the API may have 1.5 MiB.
const MOST: usize = 500;

/// Volumes that have lost their objects.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// Since when each has been seen without one.
    since: BTreeMap<String, Instant>,
    /// Those that an Event was written about.
    told: BTreeSet<String>,
}

impl Strays {
    /// Those to report now. Nothing is known of them until all objects of the node are.
    pub(super) fn look(&mut self, shared: &Shared, now: Instant) -> Vec<StrayReport> {
        let Some(objects) = shared.objects.get() else { return Vec::new() };
        let is_lost = |id: &str| objects.get(&ObjectRef::<LogicalVolume>::new(id)).is_none();
        self.due(shared.agent.machine.kept(is_lost), now)
    }

    /// Those of `lost` that have been so for [`A_WHILE`].
    fn due(&mut self, mut lost: Vec<Kept>, now: Instant) -> Vec<StrayReport> {
        let names: BTreeSet<&str> = lost.iter().map(|it| it.id.as_str()).collect();
        self.since.retain(|id, _| names.contains(id.as_str()));
        self.told.retain(|id| names.contains(id.as_str()));
        lost.retain(|it| {
            let since = *self.since.entry(it.id.clone()).or_insert(now);
            now.duration_since(since) >= A_WHILE
        });
        lost.sort_by(|a, b| a.id.cmp(&b.id));
        lost.iter().take(MOST).map(stray_of).collect()
    }

    /// One Event about each.
    pub(super) async fn tell(
        &mut self,
        shared: &Shared,
        object: &NodeLocalStorage,
        strays: &[StrayReport],
    ) {
        for stray in strays {
            if !self.told.insert(stray.name.clone()) {
                continue;
            }
            let StrayReport { name, csi_name, pool, size, .. } = stray;
            let note = format!("{name} ({csi_name}, {size}) is in pool {pool} and has no object");
            tracing::warn!("{note}");
            let warning = Notice {
                reason: "VolumeWithoutObject",
                action: "Reported",
                note: &note,
                secondary: Some(ObjectReference {
                    api_version: Some(LogicalVolume::api_version(&()).into_owned()),
                    kind: Some(LogicalVolume::kind(&()).into_owned()),
                    name: Some(name.clone()),
                    ..ObjectReference::default()
                }),
            };
            shared.warn(&object.object_ref(&()), warning).await;
        }
    }
}

/// Takes up what was found and has an object again; gives back its size and, for a snapshot, when it
/// was taken.
///
/// # Errors
/// [`Error::NotFound`] when it is not there any more: nothing is made in its place. Those of a report
/// that cannot be read.
/// [`Error::Precondition`] when it is something else.
pub(super) fn adopt(
    machine: &Machine,
    node: &NodeId,
    id: &str,
    spec: &LogicalVolumeSpec,
) -> Result<(Bytes, Option<i64>), Error> {
    let kept = machine.kept_now(&spec.pool, id)?;
    let has = lost_spec(node, &stray_of(&kept));
    // It may have grown since.
    let has = LogicalVolumeSpec { size: spec.size.clone(), claim: spec.claim.clone(), ..has };
    if has != *spec {
        return Err(Error::Precondition(format!("{id} on the node is not what its object says")));
    }
    Ok((kept.size, kept.snapshot_of.map(|_| kept.created)))
}

#[cfg(test)]
mod tests;
