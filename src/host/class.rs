//! From which pool, and with which options, a volume of a StorageClass is made. Pure.

use std::sync::Arc;

use super::{Found, pool::Pool};
use crate::{
    fs::MkfsOptions,
    lvm::Kind,
    pool::{Class, pick, wanted_pool},
    volume::{Error, Parameters, PoolName, Provisioning, Purpose},
};

impl Pool {
    /// How volumes of `parameters` are made here, for copies of `source` if there is one.
    ///
    /// # Errors
    /// As [`Class::resolve`].
    pub(super) fn class(
        &self,
        parameters: &Parameters,
        source: Option<&Found>,
    ) -> Result<Class, Error> {
        let of_source = source.map(|it| provisioning_of(&it.lv.kind));
        Class::resolve(parameters, &self.name, &self.spec, of_source)
    }
}

/// Thin or thick, as LVM has made it.
pub(super) fn provisioning_of(kind: &Kind) -> Provisioning {
    match kind {
        Kind::Thin(_) => Provisioning::Thin,
        Kind::Thick
        | Kind::CopyOnWrite
        | Kind::ThinPool { .. }
        | Kind::HalfMade
        | Kind::Other(_) => Provisioning::Thick,
    }
}

/// The pool of a new volume: that of its source, else the one that the class names, else the only
/// one there is.
///
/// # Errors
/// [`Error::Invalid`] when the class must say or says another than the source's, [`Error::NoRoom`]
/// when this node has no pool of that name.
pub(super) fn pool_for<'a>(
    pools: &'a [Arc<Pool>],
    named: Option<&PoolName>,
    source: Option<&'a Found>,
) -> Result<&'a Arc<Pool>, Error> {
    let wanted = wanted_pool(named, source.map(|it| &it.pool.name))?;
    match source {
        Some(source) => Ok(&source.pool),
        None => pick(pools, |pool| &pool.name, wanted, "this node"),
    }
}

/// The options for mkfs of a new volume: those of its class, or of its source's record when it has
/// one, since that file system is made already.
pub(super) fn mkfs_text(
    parameters: &Parameters,
    purpose: Purpose,
    source: Option<&Found>,
) -> Result<String, Error> {
    let options: MkfsOptions = parameters.mkfs_options(purpose)?;
    Ok(source.map_or_else(|| options.to_string(), |it| it.record.mkfs.clone()))
}
