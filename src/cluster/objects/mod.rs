//! The objects in the API: wishes of the controller and the admin, reports of the nodes.
//!
//! Texts that a person could have edited are texts here, not parsed types: a watch that meets one
//! object that it cannot read would show none at all. They are parsed where they are used.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derive repeats the struct where nobody sees it, and columns are alike"
)]

mod adoption;
mod condition;
mod logical_volume;
mod node_local_storage;
mod storage_pool;

pub use adoption::{Adoption, AdoptionClaim, AdoptionSpec, AdoptionStatus, ReclaimPolicy};
pub use condition::Condition;
pub use logical_volume::{
    CopySource, CopySourceKind, LogicalVolume, LogicalVolumeSpec, LogicalVolumeStatus, Phase,
    Refusal, RefusalReason, VolumeMode,
};
pub use node_local_storage::{
    DeviceReport, DiskReport, EntryReport, FillingReport, MOST_ENTRIES, NodeLocalStorage,
    NodeLocalStorageSpec, NodeLocalStorageStatus, PoolReport, StrayReport, ThinReport,
};
pub use storage_pool::{StoragePool, StoragePoolSpec};

use std::io;

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
    },
    apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta},
};
use kube::CustomResourceExt as _;

/// What must be in the API before Tarn can use it, in the order of the names.
pub fn definitions() -> [CustomResourceDefinition; 4] {
    let all = [Adoption::crd(), LogicalVolume::crd(), NodeLocalStorage::crd(), StoragePool::crd()];
    all.map(|mut definition| {
        let versions = definition.spec.versions.iter_mut();
        let schemas = versions.filter_map(|it| it.schema.as_mut()?.open_api_v3_schema.as_mut());
        schemas.for_each(forget_rust_formats);
        definition
    })
}

/// Rust's names of numbers are no formats of OpenAPI; the API server warns of each.
fn forget_rust_formats(schema: &mut JSONSchemaProps) {
    schema.format.take_if(|format| format.starts_with("uint"));
    schema.properties.iter_mut().flatten().for_each(|(_, inner)| forget_rust_formats(inner));
    if let Some(JSONSchemaPropsOrArray::Schema(inner)) = &mut schema.items {
        forget_rust_formats(inner);
    }
}

/// Metadata that has the API server keep no book of who owns which field of an object, now and at later
/// updates (Kubernetes, Server-Side Apply, "Clearing managedFields"; an object that is being made gets
/// them all the same). It is for what has one regular writer: the book costs about a sixth of each write.
pub(super) fn without_owners_of_fields() -> ObjectMeta {
    ObjectMeta {
        managed_fields: Some(vec![ManagedFieldsEntry::default()]),
        ..ObjectMeta::default()
    }
}

/// [`definitions`] in YAML, as `kubectl apply` takes them and as `deploy/chart/crds` has them.
///
/// # Errors
/// None that is known: the types are plain.
pub fn definitions_text() -> io::Result<String> {
    let mut text = "# Made by `tarn schema crds`.\n".to_owned();
    for definition in definitions() {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&definition).map_err(io::Error::other)?);
    }
    Ok(text)
}
