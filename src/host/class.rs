//! From which pool, and how, a volume of a StorageClass is made. Pure.

use super::{Found, pool::Pool};
use crate::{
    device::Wipe,
    fs::MkfsOptions,
    lvm::{Kind, Layout},
    volume::{Error, Parameters, PoolName, Provisioning, Purpose},
};

/// How volumes of a class are made in one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) provisioning: Provisioning,
    pub(super) layout: Layout,
    pub(super) wipe: Wipe,
}

impl Class {
    /// What `parameters` and the pool's spec make together.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a contradiction, [`Error::NoRoom`] when the pool does not hold such
    /// volumes (another node's pool of that name may).
    pub(super) fn resolve(
        parameters: &Parameters,
        pool: &Pool,
        source: Option<&Found<'_>>,
    ) -> Result<Self, Error> {
        let of_source = source.map(|it| provisioning_of(&it.lv.kind));
        let wish = parameters.provisioning.or(of_source);
        let provisioning = wish.unwrap_or_else(|| pool.spec.default_provisioning());
        if of_source.is_some_and(|it| it != provisioning) {
            let allowed = "a copy is provisioned as its source is";
            let value = format!("{provisioning:?}");
            return Err(Error::invalid("parameters[provisioning]", value, allowed));
        }
        if !pool.spec.offers(provisioning) {
            let name = &pool.name;
            return Err(Error::NoRoom(format!("pool {name} holds no {provisioning:?} volumes")));
        }
        let layout = pool.spec.layout(parameters)?;
        if provisioning == Provisioning::Thin && parameters.layout.is_some() {
            let allowed = "a thin volume lies as its pool does; leave it out";
            return Err(Error::invalid("parameters[layout]", "given", allowed));
        }
        let layout = if provisioning == Provisioning::Thin { Layout::Linear } else { layout };
        Ok(Self { provisioning, layout, wipe: parameters.wipe.unwrap_or(pool.spec.wipe) })
    }
}

/// Thin or thick, as LVM has made it.
pub(super) fn provisioning_of(kind: &Kind) -> Provisioning {
    match kind {
        Kind::Thin(_) => Provisioning::Thin,
        Kind::Thick | Kind::CopyOnWrite | Kind::ThinPool { .. } | Kind::Other(_) => {
            Provisioning::Thick
        }
    }
}

/// The pool of a new volume: that of its source, else the one that the class names, else the only
/// one there is.
///
/// # Errors
/// [`Error::Invalid`] when the class must say or says another than the source's, [`Error::NoRoom`]
/// when this node has no pool of that name.
pub(super) fn pool_for<'a>(
    pools: &'a [Pool],
    named: Option<&PoolName>,
    source: Option<&Found<'a>>,
) -> Result<&'a Pool, Error> {
    if let Some(source) = source {
        return match named {
            Some(name) if *name != source.pool.name => Err(Error::invalid(
                "parameters[pool]",
                name.as_str(),
                format!("a copy is made in its source's pool, {}", source.pool.name),
            )),
            _ => Ok(source.pool),
        };
    }
    match (named, pools) {
        (Some(name), _) => pools
            .iter()
            .find(|pool| pool.name == *name)
            .ok_or_else(|| Error::NoRoom(format!("this node has no pool {name}"))),
        (None, [only]) => Ok(only),
        (None, _) => {
            let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
            let allowed = format!("say which pool: {}", names.join(", "));
            Err(Error::invalid("parameters[pool]", "", allowed))
        }
    }
}

/// The options for mkfs of a new volume: those of its class, or of its source's record when it has
/// one, since that file system is made already.
pub(super) fn mkfs_text(
    parameters: &Parameters,
    purpose: Purpose,
    source: Option<&Found<'_>>,
) -> Result<String, Error> {
    let options: MkfsOptions = parameters.mkfs_options(purpose)?;
    Ok(source.map_or_else(|| options.to_string(), |it| it.record.mkfs.clone()))
}
