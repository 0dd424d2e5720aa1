//! PersistentVolumes as they concern devices: those that were published for them, and those of others. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, PersistentVolume};
use kube::ResourceExt as _;

use super::class::StaticClass;
use crate::{
    cluster::{
        STATIC, STATIC_FINALIZER,
        adopted::{BadObjectName, PROVISIONED_BY, Wishes, persistent_volume},
    },
    volume::{Driver, NodeId, Volume, VolumeName},
};

/// What the annotation [`PROVISIONED_BY`] of sig-storage-local-static-provisioner begins with; the node's name and, unless
/// that is turned off, its uid follow.
const LOCAL_PROVISIONER: &str = "local-volume-provisioner-";
/// How long a uid is, with the hyphen before it.
const UID: usize = 37;
/// The label of nodes that `local` volumes name.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// A PersistentVolume that was published for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) version: String,
    pub(super) class: String,
    /// The class that it was published for.
    pub(super) class_uid: String,
    pub(super) handle: String,
    /// Whether a claim has it, or had it.
    pub(super) is_claimed: bool,
    pub(super) is_deleting: bool,
    /// Whether nothing else keeps it any more.
    pub(super) is_kept_by_us_alone: bool,
}

impl Published {
    /// Reads one; `None` for those of others.
    pub(super) fn read(volume: &PersistentVolume, driver: &Driver) -> Option<Self> {
        let spec = volume.spec.as_ref()?;
        let source = spec.csi.as_ref().filter(|it| it.driver == driver.name())?;
        Some(Self {
            name: volume.name_any(),
            uid: volume.uid()?,
            version: volume.resource_version()?,
            class: spec.storage_class_name.clone().unwrap_or_default(),
            class_uid: volume.labels().get(STATIC)?.clone(),
            handle: source.volume_handle.clone(),
            is_claimed: spec.claim_ref.is_some(),
            is_deleting: volume.metadata.deletion_timestamp.is_some(),
            is_kept_by_us_alone: volume.finalizers() == [STATIC_FINALIZER],
        })
    }
}

/// The PersistentVolume that offers a volume to the claims of its class.
///
/// # Errors
/// None that is known: the names of volumes that are there before their claims are those of objects.
pub(super) fn offer(
    name: &VolumeName,
    volume: &Volume,
    class: &StaticClass,
    driver: &Driver,
) -> Result<PersistentVolume, BadObjectName> {
    let wishes = Wishes { name: name.as_str().parse()?, class: class.name.clone(), claim: None };
    let mut offered = persistent_volume(volume, driver, &wishes);
    offered.labels_mut().insert(STATIC.to_owned(), class.uid.clone());
    offered.finalizers_mut().push(STATIC_FINALIZER.to_owned());
    if let Some(spec) = &mut offered.spec {
        spec.persistent_volume_reclaim_policy = Some(class.reclaim.clone());
        spec.mount_options.clone_from(&class.mount_options);
    }
    Ok(offered)
}

/// The nodes and paths of a PersistentVolume of the kind `local`.
pub(super) fn places(volume: &PersistentVolume) -> BTreeSet<(NodeId, String)> {
    let spec = volume.spec.as_ref();
    let Some(local) = spec.and_then(|it| it.local.as_ref()) else { return BTreeSet::new() };
    let required = spec.and_then(|it| it.node_affinity.as_ref()?.required.as_ref());
    let terms = required.into_iter().flat_map(|it| &it.node_selector_terms);
    let wanted = terms.flat_map(|it| it.match_expressions.iter().flatten());
    let is_name = |it: &&NodeSelectorRequirement| it.key == HOSTNAME && it.operator == "In";
    let named = wanted.filter(is_name).flat_map(|it| it.values.iter().flatten());
    let by = volume.annotations().get(PROVISIONED_BY);
    let maker = by.and_then(|it| it.strip_prefix(LOCAL_PROVISIONER));
    let without_uid = maker.and_then(|it| it.get(..it.len().checked_sub(UID)?));
    let names = named.map(String::as_str).chain(maker).chain(without_uid);
    names.filter_map(|it| Some((it.parse().ok()?, local.path.clone()))).collect()
}
