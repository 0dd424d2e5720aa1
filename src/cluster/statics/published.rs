//! PersistentVolumes that were published for devices. Pure.

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::ResourceExt as _;

use super::class::StaticClass;
use crate::{
    cluster::{
        STATIC, STATIC_FINALIZER,
        adopted::{BadObjectName, Wishes, persistent_volume},
    },
    volume::{Driver, Volume, VolumeName},
};

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
