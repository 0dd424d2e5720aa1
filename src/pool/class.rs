//! In which pool volumes of a StorageClass are made, and how. Pure.

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
    /// [`Error::Invalid`] for a contradiction and for bytes that may not be left, [`Error::NoRoom`] when the pool does not hold such
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
        ensure_is_in_memory(parameters, name, spec)?;
        let layout = match provisioning {
            Provisioning::Thick => spec.layout(parameters)?,
            Provisioning::Thin => {
                ensure_no_layout(parameters)?;
                Layout::Linear
            }
        };
        Ok(Self { provisioning, layout, wipe: spec.wipe_of(parameters.wipe)? })
    }
}

/// Only of a volume in memory can a class say what becomes of it when its contents are gone.
fn ensure_is_in_memory(
    parameters: &Parameters,
    name: &PoolName,
    spec: &PoolSpec,
) -> Result<(), Error> {
    match parameters.after_restart {
        Some(word) if spec.memory.is_none() => {
            let allowed = format!(
                "pool {name} is not in memory: its volumes keep what they hold; leave it out"
            );
            Err(Error::invalid("parameters[afterRestart]", format!("{word:?}"), allowed))
        }
        _ => Ok(()),
    }
}

/// Of a thin volume the class cannot say how it lies.
fn ensure_no_layout(parameters: &Parameters) -> Result<(), Error> {
    let said = [
        ("layout", parameters.layout.map(|it| it.to_string())),
        ("mirrors", parameters.mirrors.map(|it| it.to_string())),
        ("stripes", parameters.stripes.map(|it| it.to_string())),
        ("stripeSize", parameters.stripe_size.map(|it| it.to_string())),
    ];
    match said.into_iter().find_map(|(key, value)| Some((key, value?))) {
        Some((key, value)) => {
            let allowed = "a thin volume lies as its pool does; leave it out";
            Err(Error::invalid(format!("parameters[{key}]"), value, allowed))
        }
        None => Ok(()),
    }
}

/// The pool that a new volume must be in: that of its source, else the one that its class names;
/// `None` leaves it to [`pick`].
///
/// # Errors
/// [`Error::Invalid`] when the class names another than the source's.
pub fn wanted_pool<'a>(
    named: Option<&'a PoolName>,
    source: Option<&'a PoolName>,
) -> Result<Option<&'a PoolName>, Error> {
    match (named, source) {
        (Some(named), Some(source)) if named != source => Err(Error::invalid(
            "parameters[pool]",
            named.as_str(),
            format!("a copy is made in its source's pool, {source}"),
        )),
        _ => Ok(source.or(named)),
    }
}

/// The pool of that name, else the only one there is. `node` is what messages call where they are.
///
/// # Errors
/// [`Error::Invalid`] when the class must say which, [`Error::NoRoom`] when there is none of that
/// name, or none at all: another node may have it.
pub fn pick<'a, P>(
    pools: &'a [P],
    name_of: impl Fn(&P) -> &PoolName,
    wanted: Option<&PoolName>,
    node: &str,
) -> Result<&'a P, Error> {
    match (wanted, pools) {
        (Some(wanted), _) => pools
            .iter()
            .find(|pool| name_of(pool) == wanted)
            .ok_or_else(|| Error::NoRoom(format!("{node} has no pool {wanted}"))),
        (None, [only]) => Ok(only),
        (None, []) => Err(Error::NoRoom(format!("{node} has no pool"))),
        (None, _) => {
            let names: Vec<&str> = pools.iter().map(|pool| name_of(pool).as_str()).collect();
            let allowed = format!("say which pool: {}", names.join(", "));
            Err(Error::invalid("parameters[pool]", "", allowed))
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::volume::AfterRestart;

    fn resolved(spec: &str) -> Result<Class, Error> {
        let spec = serde_json::from_str(spec).unwrap();
        let parameters =
            Parameters { after_restart: Some(AfterRestart::Empty), ..Parameters::default() };
        Class::resolve(&parameters, &"fast".parse().unwrap(), &spec, None)
    }

    #[rstest]
    #[case::group(r#"{"volumeGroup": "vg0"}"#)]
    #[case::directory(r#"{"directory": {"path": "/srv"}}"#)]
    fn only_in_memory_contents_go_with_a_restart(#[case] spec: &str) {
        let said = resolved(spec).unwrap_err();
        assert!(matches!(said, Error::Invalid { .. }), "{said}");
        let want = "parameters[afterRestart]: `Empty` is not accepted: pool fast is not in memory: its volumes keep \
                    what they hold; leave it out";
        assert_eq!(said.to_string(), want);
        resolved(r#"{"memory": {"size": "1Gi"}}"#).unwrap();
    }
}
