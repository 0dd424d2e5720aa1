//! Classes whose volumes are there before their claims, and the volumes of such a class. Pure.

use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;

use super::told::Refusal;
use crate::{
    cluster::{
        objects::{EntryReport, LogicalVolumeSpec},
        placement::PoolView,
        wish::{Placement, spec_of},
    },
    pool::{Class, capacity::unfit},
    units::Bytes,
    volume::{
        Driver, Error, NodeId, Parameters, PoolName, SizeRange, StaticParameters, VolumeName,
        Wanted, chain, digest,
    },
};

/// A StorageClass of ours with `mode: Static`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StaticClass {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) says: StaticParameters,
    pub(super) reclaim: String,
    pub(super) mount_options: Option<Vec<String>>,
}

impl StaticClass {
    /// Whether a volume of the class may be of what an entry has: not every mount is one for it.
    pub(super) fn suits(&self, entry: &EntryReport) -> bool {
        let StaticParameters { parameters, purpose } = &self.says;
        entry.fs_type.as_ref().is_none_or(|kind| {
            kind.parse().is_ok_and(|kind| unfit(kind, *purpose, parameters).is_none())
        })
    }

    /// Reads a class; `None` for one that is another driver's, or whose volumes are made for its claims.
    ///
    /// # Errors
    /// What is wrong with its parameters.
    pub(super) fn read(class: &StorageClass, driver: &Driver) -> Option<Result<Self, Refusal>> {
        if class.provisioner != driver.name() {
            return None;
        }
        let says = StaticParameters::parse(class.parameters.as_ref()?)?;
        let (name, uid) = (class.name_any(), class.uid().unwrap_or_default());
        Some(match says {
            Ok(says) => Ok(Self {
                name,
                uid,
                says,
                reclaim: class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned()),
                mount_options: class.mount_options.clone(),
            }),
            Err(err) => {
                let why = format!("nothing is offered for this class: {}", chain(&err));
                Err(Refusal { class: name, uid, why })
            }
        })
    }

    /// That a pool does not allow what it says.
    pub(super) fn refused_by(&self, pool: &PoolName, err: &Error) -> Refusal {
        let why = format!("nothing of pool {pool} is offered: {}", chain(err));
        Refusal { class: self.name.clone(), uid: self.uid.clone(), why }
    }

    /// Whether its volumes are of this pool; without a name they are of all.
    pub(super) fn is_of(&self, pool: &PoolName) -> bool {
        self.says.parameters.pool.as_ref().is_none_or(|it| it == pool)
    }

    /// The object's spec for the volume that the device of an entry is to be.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the pool does not allow what the class says.
    pub(super) fn spec(
        &self,
        name: VolumeName,
        node: &NodeId,
        pool: &PoolView,
        entry: &str,
        size: Bytes,
    ) -> Result<LogicalVolumeSpec, Error> {
        let parameters = &self.says.parameters;
        let class = Class::resolve(parameters, &pool.name, &pool.spec, None)?;
        let place = Placement { node: node.clone(), pool: pool.name.clone(), class, size };
        let wanted = Wanted {
            name,
            size: SizeRange::at_least(size),
            purpose: self.says.purpose,
            parameters: Parameters { device: Some(entry.into()), ..parameters.clone() },
            source: None,
            nodes: None,
            claim: None,
        };
        Ok(spec_of(&wanted, &place))
    }
}

/// The name of the volume that the device of an entry is, and of its PersistentVolume: the same whoever finds it, and
/// whenever.
pub(super) fn name_of(node: &NodeId, pool: &PoolName, entry: &str) -> Option<VolumeName> {
    // No part holds this character.
    let whole = [node.as_str(), pool.as_str(), entry].join("\0");
    format!("static-{}", digest(&whole)).parse().ok()
}
