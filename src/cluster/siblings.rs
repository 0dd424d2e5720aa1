//! The other claims of a pod: which of them are still to be made, and whether all fit together. Pure.
//!
//! The scheduler looks for room for each claim of a pod alone, and the first one that has its volume
//! ties the pod to that node. If another then finds no room there, the pod can never run. So nothing
//! is made before there is room for all.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::{placement::Candidate, wish::Placement};
use crate::{
    units::Bytes,
    volume::{Error, NodeId, Parameters, Purpose, SizeRange, VolumeId, VolumeName, Wanted},
};

/// On which node the scheduler wants a claim's volume (k8s.io/component-helpers,
/// `AnnSelectedNode`).
const CHOSEN: &str = "volume.kubernetes.io/selected-node";

/// Another claim of the pod, whose volume is still to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sibling {
    /// As namespace/name, for people.
    pub(super) claim: String,
    pub(super) id: VolumeId,
    pub(super) size: SizeRange,
    pub(super) purpose: Purpose,
    pub(super) parameters: Parameters,
}

/// The other claims that a pod has which uses `claim`. Of several such pods it is not known for
/// which one the node was chosen: then only what all of them have.
pub(super) fn others(pods: &[Pod], claim: &str) -> BTreeSet<String> {
    let mut users = pods.iter().map(claims_of).filter(|all| all.contains(claim));
    let first = users.next().unwrap_or_default();
    let mut shared = users.fold(first, |shared, all| &shared & &all);
    shared.remove(claim);
    shared
}

/// The claim of a generic ephemeral volume is named for its pod and volume (Kubernetes, "Ephemeral
/// Volumes").
fn claims_of(pod: &Pod) -> BTreeSet<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claim = |volume: &k8s_openapi::api::core::v1::Volume| {
        let named = volume.persistent_volume_claim.as_ref().map(|it| it.claim_name.clone());
        let ephemeral = || volume.ephemeral.as_ref().map(|_| format!("{name}-{}", volume.name));
        named.or_else(ephemeral)
    };
    volumes.filter_map(claim).collect()
}

/// Whether the scheduler has chosen this node for a claim; `None` where it has chosen none.
pub(super) fn is_chosen(claim: &PersistentVolumeClaim, node: &NodeId) -> Option<bool> {
    let chosen = claim.metadata.annotations.as_ref()?.get(CHOSEN)?;
    Some(chosen.parse::<NodeId>().is_ok_and(|it| it == *node))
}

/// What comes before the claim's uid in the name of its volume (external-provisioner,
/// `--volume-name-prefix`); `None` where the volume is not named for this claim.
pub(super) fn prefix<'a>(volume: &'a VolumeName, claim: &PersistentVolumeClaim) -> Option<&'a str> {
    let uid = claim.metadata.uid.as_deref().filter(|uid| !uid.is_empty())?;
    volume.as_str().strip_suffix(uid)
}

/// The class of a claim whose volume is still to be made on this node.
///
/// For a claim of the same pod no chosen node is as good as this one: the scheduler writes its
/// choice into one claim after the other, and a refusal takes it off again, while the pod still
/// has to go where any of its claims goes. Copies are left out: they go where their sources are.
pub(super) fn class_of<'a>(claim: &'a PersistentVolumeClaim, node: &NodeId) -> Option<&'a str> {
    let spec = claim.spec.as_ref()?;
    let is_bound = spec.volume_name.as_ref().is_some_and(|it| !it.is_empty());
    let is_copy = spec.data_source.is_some() || spec.data_source_ref.is_some();
    let is_deleted = claim.metadata.deletion_timestamp.is_some();
    let is_elsewhere = is_chosen(claim, node) == Some(false);
    if is_bound || is_copy || is_deleted || is_elsewhere {
        return None;
    }
    spec.storage_class_name.as_deref().filter(|it| !it.is_empty())
}

/// What the volume of a claim will be.
///
/// # Errors
/// [`Error::Invalid`] for what cannot be read.
pub(super) fn sibling(
    claim: &PersistentVolumeClaim,
    prefix: &str,
    parameters: Parameters,
) -> Result<Sibling, Error> {
    let metadata = &claim.metadata;
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let volume = format!("{prefix}{}", text(&metadata.uid));
    let name = volume.parse().map_err(|err| Error::invalid("metadata.uid", &volume, said(err)))?;
    let requests = claim.spec.as_ref().and_then(|it| it.resources.as_ref()?.requests.as_ref());
    let field = "spec.resources.requests.storage";
    let size = &requests.and_then(|it| it.get("storage")).ok_or_else(|| Error::missing(field))?.0;
    let bytes: Bytes = size.parse().map_err(|err| Error::invalid(field, size, said(err)))?;
    let mode = claim.spec.as_ref().and_then(|it| it.volume_mode.as_deref());
    let is_block = mode == Some("Block");
    Ok(Sibling {
        claim: format!("{}/{}", text(&metadata.namespace), text(&metadata.name)),
        id: VolumeId::of(&name),
        size: SizeRange::at_least(bytes),
        purpose: if is_block { Purpose::Block } else { parameters.purpose() },
        parameters,
    })
}

fn said(err: impl std::error::Error) -> String {
    err.to_string()
}

/// Where the siblings of a volume would go on the node where it goes itself, one after the other.
///
/// # Errors
/// [`Error::NoRoom`] where not all fit, with all their names. What is wrong with a sibling in
/// another way is said when its own turn comes.
pub(super) fn place_all(
    candidate: &mut Candidate<'_>,
    wanted: &Wanted,
    place: &Placement,
    siblings: &[&Sibling],
) -> Result<Vec<(VolumeId, Placement)>, Error> {
    candidate.take(place);
    let mut places = Vec::new();
    for sibling in siblings {
        match candidate.place(sibling.size, (sibling.purpose, &sibling.parameters), None) {
            Ok(its) => {
                candidate.take(&its);
                places.push((sibling.id.clone(), its));
            }
            Err(Error::NoRoom(why)) => {
                return Err(Error::NoRoom(format!(
                    "the claims of one pod do not fit on node {} together: {}. Besides the others, \
                     {why}",
                    place.node,
                    listed(wanted, place.size, siblings)
                )));
            }
            Err(_) => (),
        }
    }
    Ok(places)
}

fn listed(wanted: &Wanted, size: Bytes, siblings: &[&Sibling]) -> String {
    let own = wanted.claim.as_deref().unwrap_or_else(|| wanted.name.as_str());
    let others = siblings.iter().map(|it| (it.claim.as_str(), it.size.least()));
    let all = [(own, size)].into_iter().chain(others);
    all.map(|(claim, size)| format!("{claim} ({size})")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
