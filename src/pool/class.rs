//! How volumes of a StorageClass are made in one pool. Pure.

use super::PoolSpec;
use crate::{
    device::Wipe,
    lvm::Layout,
    volume::{Error, Parameters, PoolName, Provisioning},
};

/// How volumes of a class are made in one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// With room of their own, or in the thin pool.
    pub provisioning: Provisioning,
    /// How they lie on the disks.
    pub layout: Layout,
    /// What is done to their bytes when they are deleted.
    pub wipe: Wipe,
}

impl Class {
    /// What `parameters` and the spec of a pool make together, for a copy of a volume that is
    /// provisioned as `source` says.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a contradiction, [`Error::NoRoom`] when the pool does not hold such
    /// volumes (another node's pool of that name may).
    pub fn resolve(
        parameters: &Parameters,
        name: &PoolName,
        spec: &PoolSpec,
        source: Option<Provisioning>,
    ) -> Result<Self, Error> {
        let wish = parameters.provisioning.or(source);
        let provisioning = wish.unwrap_or_else(|| spec.default_provisioning());
        if source.is_some_and(|it| it != provisioning) {
            let allowed = "a copy is provisioned as its source is";
            let value = format!("{provisioning:?}");
            return Err(Error::invalid("parameters[provisioning]", value, allowed));
        }
        if !spec.offers(provisioning) {
            return Err(Error::NoRoom(format!("pool {name} holds no {provisioning:?} volumes")));
        }
        let layout = spec.layout(parameters)?;
        if provisioning == Provisioning::Thin && parameters.layout.is_some() {
            let allowed = "a thin volume lies as its pool does; leave it out";
            return Err(Error::invalid("parameters[layout]", "given", allowed));
        }
        let layout = if provisioning == Provisioning::Thin { Layout::Linear } else { layout };
        Ok(Self { provisioning, layout, wipe: parameters.wipe.unwrap_or(spec.wipe) })
    }
}
