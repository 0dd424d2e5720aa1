//! What Adoptions ask for, what is to be done about them, and what is said on them. Pure.

use std::{fmt::Display, str::FromStr};

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};

use crate::{
    cluster::{
        adopted::{ClaimName, Wishes},
        objects::{
            Adoption, AdoptionClaim, AdoptionSpec, AdoptionStatus, Condition, ReclaimPolicy,
        },
        state::{Entry, State},
        wish::refusal_of,
    },
    lvm::LvName,
    units::Bytes,
    volume::{
        self, Adopted, Error, Existing, LvPath, NodeId, Purpose, Volume, VolumeId, VolumeName,
        chain, entry_path,
    },
};

/// The condition that the node writes.
pub(in crate::cluster) const ADOPTED: &str = "Adopted";
/// The condition that the controller writes.
const PUBLISHED: &str = "Published";

/// What an object asks its node for, and its PersistentVolume and claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct Asked {
    pub(in crate::cluster) wanted: volume::Adoption,
    pub(in crate::cluster) wishes: Wishes,
}

/// A volume that is adopted, and is to have its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unpublished {
    pub(super) volume: Volume,
    /// What it was, where that is an entry of a pool of whole devices.
    pub(super) entry: Option<String>,
    pub(super) wishes: Wishes,
    pub(super) reclaim: ReclaimPolicy,
}

/// Why an object of an adopted volume is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// In one word for programs.
    pub(super) reason: String,
    /// In words for people.
    pub(super) message: String,
}

impl Refused {
    fn taken(message: String) -> Self {
        Self { reason: "NameTaken".to_owned(), message }
    }
}

fn name_of(object: &Adoption) -> &str {
    object.metadata.name.as_deref().unwrap_or_default()
}

fn read<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|err: T::Err| Error::invalid(field, text, err.to_string()))
}

/// What an object asks for. All of it is read before anything is changed.
///
/// # Errors
/// [`Error::Invalid`] names the field.
pub(in crate::cluster) fn asked(object: &Adoption) -> Result<Asked, Error> {
    let (name, spec) = (name_of(object), &object.spec);
    let purpose = spec.purpose.as_deref().map(|it| read::<Purpose>("spec.as", it)).transpose()?;
    let claim = |it: &AdoptionClaim| {
        read::<ClaimName>("spec.claim", &format!("{}/{}", it.namespace, it.name))
    };
    Ok(Asked {
        wanted: volume::Adoption {
            what: what(spec)?,
            name: read::<VolumeName>("metadata.name", name)?,
            purpose,
            wipe: spec.wipe,
        },
        wishes: Wishes {
            name: read("metadata.name", name)?,
            class: spec.storage_class_name.clone().unwrap_or_default(),
            claim: spec.claim.as_ref().map(claim).transpose()?,
        },
    })
}

/// What is to be adopted.
fn what(spec: &AdoptionSpec) -> Result<Existing, Error> {
    match (&spec.device, &spec.volume_group, &spec.logical_volume) {
        (Some(device), None, None) => entry_path(device)
            .map(Existing::Entry)
            .map_err(|err| Error::invalid("spec.device", device, err.to_string())),
        (None, Some(group), Some(lv)) => Ok(Existing::Lv(LvPath {
            group: Some(read("spec.volumeGroup", group)?),
            name: read::<LvName>("spec.logicalVolume", lv)?,
        })),
        (None, None, _) => Err(Error::missing("spec.volumeGroup")),
        (None, Some(_), None) => Err(Error::missing("spec.logicalVolume")),
        (Some(device), _, _) => {
            let allowed = "say either volumeGroup and logicalVolume, or device".to_owned();
            Err(Error::invalid("spec.device", device, allowed))
        }
    }
}

fn is_so(object: &Adoption, kind: &str) -> bool {
    let conditions = object.status.iter().flat_map(|it| &it.conditions);
    conditions.into_iter().any(|it| it.kind == kind && it.status == "True")
}

fn is_deleting(object: &Adoption) -> bool {
    object.metadata.deletion_timestamp.is_some()
}

/// Whether its node has anything to do about it. What was adopted once is not adopted again: it may have been
/// handed back since.
pub(in crate::cluster) fn is_to_adopt(object: &Adoption) -> bool {
    !is_deleting(object) && !is_so(object, ADOPTED)
}

/// What its node says of it.
pub(in crate::cluster) fn told(
    object: &Adoption,
    result: &Result<Adopted, Error>,
) -> AdoptionStatus {
    let there = object.status.clone().unwrap_or_default();
    match result {
        Ok(Adopted { volume, pool, was, .. }) => {
            let message = format!("{was} is volume {} of pool {pool}", volume.id);
            let status = AdoptionStatus {
                volume: Some(volume.id.to_string()),
                size: Some(volume.size.to_string()),
                purpose: Some(volume.purpose.word().to_owned()),
                ..there
            };
            with(status, Condition::new(ADOPTED, true, "Adopted", message))
        }
        Err(err) => with(there, Condition::new(ADOPTED, false, &reason_of(err), chain(err))),
    }
}

/// The kind of a refusal, in the words of LogicalVolumes.
fn reason_of(err: &Error) -> String {
    refusal_of(err).map_or_else(|| "Unfinished".to_owned(), |it| format!("{:?}", it.reason))
}

fn with(status: AdoptionStatus, mut condition: Condition) -> AdoptionStatus {
    condition.keep_time(&status.conditions);
    let conditions = condition.among(&status.conditions);
    AdoptionStatus { conditions, ..status }
}

/// The volume that is to have its objects; `None` where there is nothing to do.
///
/// # Errors
/// [`Error::Invalid`] where somebody has written nonsense into the object.
pub(super) fn to_publish(object: &Adoption) -> Result<Option<Unpublished>, Error> {
    if is_deleting(object) || !is_so(object, ADOPTED) || is_so(object, PUBLISHED) {
        return Ok(None);
    }
    let Asked { wanted, wishes } = asked(object)?;
    let status = object.status.clone().unwrap_or_default();
    let (size, purpose) = (status.size.unwrap_or_default(), status.purpose.unwrap_or_default());
    let volume = Volume {
        // By the name, as what is written in a status may have been edited.
        id: VolumeId::of(&wanted.name),
        size: read::<Bytes>("status.size", &size)?,
        purpose: read("status.as", &purpose)?,
        source: None,
        node: read("spec.nodeName", &object.spec.node_name)?,
    };
    let entry = object.spec.device.clone();
    Ok(Some(Unpublished { volume, entry, wishes, reclaim: object.spec.reclaim_policy }))
}

/// What the controller says of it.
pub(super) fn published(
    object: &Adoption,
    wishes: &Wishes,
    result: &Result<(), Refused>,
) -> AdoptionStatus {
    let there = object.status.clone().unwrap_or_default();
    match result {
        Ok(()) => {
            let bound = wishes.claim.as_ref().map(|it| format!(", for claim {it}"));
            let message =
                format!("PersistentVolume {} is there{}", wishes.name, bound.unwrap_or_default());
            let status =
                AdoptionStatus { persistent_volume: Some(wishes.name.to_string()), ..there };
            with(status, Condition::new(PUBLISHED, true, "Published", message))
        }
        Err(Refused { reason, message }) => {
            with(there, Condition::new(PUBLISHED, false, reason, message.clone()))
        }
    }
}

/// What the controller says of one that it cannot read.
pub(super) fn unreadable(object: &Adoption, err: &Error) -> AdoptionStatus {
    let there = object.status.clone().unwrap_or_default();
    with(there, Condition::new(PUBLISHED, false, &reason_of(err), chain(err)))
}

/// Refuses a volume of whose id another node has one: calls would go there.
pub(super) fn ensure_here(entry: Option<&Entry>, volume: &Volume) -> Result<(), Refused> {
    let other: Option<NodeId> = entry.and_then(Entry::node).filter(|it| *it != volume.node);
    match other {
        None => Ok(()),
        Some(other) => Err(Refused::taken(format!(
            "the LogicalVolume {} is one of node {other}; hand this one back (tarn release) and adopt it under \
             another name",
            volume.id
        ))),
    }
}

/// Refuses a device or mount point of which another PersistentVolume is still there, of the kind `local`.
pub(super) fn ensure_not_local(state: &State, wanted: &Unpublished) -> Result<(), Refused> {
    let node = &wanted.volume.node;
    match wanted.entry.as_deref().filter(|it| state.is_local_at(node, it)) {
        None => Ok(()),
        Some(entry) => Err(Refused::taken(format!(
            "there is a PersistentVolume of the kind `local` with {entry}; delete it, once it says Retain"
        ))),
    }
}

/// Refuses a PersistentVolume of that name that is not the volume's, or is another claim's.
pub(super) fn ensure_its(
    there: &PersistentVolume,
    wanted: &PersistentVolume,
) -> Result<(), Refused> {
    let source = |it: &PersistentVolume| {
        let csi = it.spec.as_ref()?.csi.as_ref()?;
        Some((csi.driver.clone(), csi.volume_handle.clone()))
    };
    let name = wanted.metadata.name.as_deref().unwrap_or_default();
    if source(there) != source(wanted) {
        return Err(Refused::taken(format!(
            "there is a PersistentVolume {name}, of another volume; delete it if it is not needed"
        )));
    }
    let claim = |it: &PersistentVolume| it.spec.as_ref()?.claim_ref.as_ref().map(claim_of);
    match (claim(there), claim(wanted)) {
        (Some(has), Some(wants)) if has != wants => Err(Refused::taken(format!(
            "PersistentVolume {name} is bound to claim {has}, and not to {wants}"
        ))),
        _ => Ok(()),
    }
}

fn claim_of(reference: &ObjectReference) -> String {
    let part = |it: &Option<String>| it.clone().unwrap_or_default();
    format!("{}/{}", part(&reference.namespace), part(&reference.name))
}

/// Refuses a claim that has another volume.
pub(super) fn ensure_open(claim: &PersistentVolumeClaim, wishes: &Wishes) -> Result<(), Refused> {
    let has = claim.spec.as_ref().and_then(|it| it.volume_name.clone()).unwrap_or_default();
    match has.is_empty() || has == wishes.name.to_string() {
        true => Ok(()),
        false => {
            let named = wishes.claim.as_ref().map(ToString::to_string).unwrap_or_default();
            Err(Refused::taken(format!("claim {named} has another volume, {has}")))
        }
    }
}

#[cfg(test)]
mod tests;
