//! Whether a volume that exists is the one that a repeated CreateVolume wants. Pure.

use super::{
    Found,
    class::{mkfs_text, provisioning_of},
    record::layout_text,
};
use crate::volume::{Error, NodeId, Provisioning, Source, VolumeId, Wanted, ensure_equal};

/// Compares an existing volume with what is wanted under its name. What the StorageClass leaves
/// open is compared as the pool decides it now.
///
/// # Errors
/// [`Error::Exists`] names the first thing in which they differ.
pub(super) fn ensure_same(found: &Found, wanted: &Wanted, node: &NodeId) -> Result<(), Error> {
    let (lv, record) = (&found.lv, &found.record);
    let same = |field, has, wants| ensure_equal(&lv.name, field, has, wants);
    wanted.ensure_is_like(&lv.name, lv.size.max(record.size), record.purpose)?;
    same(
        "content source",
        source_text(record.source.as_ref()),
        source_text(wanted.source.as_ref()),
    )?;
    let pool = wanted.parameters.pool.as_ref().unwrap_or(&found.pool.name);
    same("pool", found.pool.name.to_string(), pool.to_string())?;
    let has = provisioning_of(&lv.kind);
    let wants = match record.source {
        // A copy is provisioned as its source was, unless the class insists.
        Some(_) => wanted.parameters.provisioning.unwrap_or(has),
        None => wanted.parameters.provisioning.unwrap_or(found.pool.spec.default_provisioning()),
    };
    same("provisioning", format!("{has:?}"), format!("{wants:?}"))?;
    let class = found.pool.class(&wanted.parameters, Some(found))?;
    if has == Provisioning::Thick {
        same("layout", layout_text(record.layout), layout_text(class.layout))?;
    }
    same("wipe", format!("{:?}", record.wipe), format!("{:?}", class.wipe))?;
    if record.source.is_none() {
        let mkfs = mkfs_text(&wanted.parameters, wanted.purpose, None)?;
        same("mkfsOptions", record.mkfs.clone(), mkfs)?;
    }
    wanted.ensure_is_where_wanted(&VolumeId::of(&wanted.name), node)
}

fn source_text(source: Option<&Source>) -> String {
    match source {
        Some(Source::Volume(id)) => id.to_string(),
        Some(Source::Snapshot(id)) => id.to_string(),
        None => "none".to_owned(),
    }
}
