//! On which node, in which pool: chosen from what the nodes report and what is promised. Pure.

use super::wish::Placement;
use crate::{
    pool::{
        Class, PoolSpec,
        capacity::{Stock, room, unit_of},
    },
    units::Bytes,
    volume::{Capacity, Error, NodeId, Parameters, PoolName, Provisioning, Purpose, Wanted},
};

/// One pool of one node, as the controller knows it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PoolView {
    pub(super) name: PoolName,
    pub(super) spec: PoolSpec,
    pub(super) stock: Stock,
}

/// What of a pool is promised to volumes that its report does not count yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Promised {
    pub(super) thick: Bytes,
    pub(super) thin: Bytes,
}

/// A node that could take a volume.
pub(super) struct Candidate<'a> {
    pub(super) node: &'a NodeId,
    pub(super) pools: Vec<(&'a PoolView, Promised)>,
}

/// What a copy is made from: it decides the node, the pool and the least size.
pub(super) struct Origin {
    pub(super) node: NodeId,
    pub(super) pool: PoolName,
    pub(super) provisioning: Provisioning,
    pub(super) purpose: Purpose,
    pub(super) size: Bytes,
}

impl PoolView {
    /// The room for a class, with what is promised taken off.
    pub(super) fn room(&self, class: &Class, promised: Promised) -> Capacity {
        let all = room(&self.stock, &self.spec, class);
        let taken = match class.provisioning {
            Provisioning::Thick => promised.thick,
            Provisioning::Thin => promised.thin,
        };
        let available = all.available.saturating_sub(taken);
        let unit = unit_of(self.stock.extent, class.layout);
        let whole = Bytes(available.whole(unit) * unit.0);
        Capacity { available, largest: all.largest.min(whole) }
    }
}

impl Candidate<'_> {
    /// The room for volumes of these parameters, over all pools that they allow.
    pub(super) fn capacity(&self, parameters: &Parameters) -> Capacity {
        let named = |pool: &PoolView| parameters.pool.as_ref().is_none_or(|it| *it == pool.name);
        let rooms =
            self.pools.iter().filter(|(pool, _)| named(pool)).filter_map(|(pool, taken)| {
                let class = Class::resolve(parameters, &pool.name, &pool.spec, None).ok()?;
                Some(pool.room(&class, *taken))
            });
        rooms.fold(Capacity::default(), |sum, room| Capacity {
            available: Bytes(sum.available.0.saturating_add(room.available.0)),
            largest: sum.largest.max(room.largest),
        })
    }

    /// Where in this node the volume goes.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::OutOfRange`] where no node could, [`Error::NoRoom`] where
    /// another may.
    fn place(&self, wanted: &Wanted, origin: Option<&Origin>) -> Result<Placement, Error> {
        let (pool, promised) = self.pool(wanted, origin)?;
        let provisioned = origin.map(|it| it.provisioning);
        let class = Class::resolve(&wanted.parameters, &pool.name, &pool.spec, provisioned)?;
        let floor = origin.map_or(Bytes::ZERO, |it| it.size);
        let size = wanted.size.fit(unit_of(pool.stock.extent, class.layout), floor)?;
        if size < floor {
            return Err(Error::OutOfRange(format!(
                "{size} is less than the {floor} of the source; ask for at least that"
            )));
        }
        let room = pool.room(&class, promised);
        if size > room.largest {
            return Err(Error::NoRoom(format!(
                "pool {} of node {} has no room for a volume of {size}; the largest that fits is {}",
                pool.name, self.node, room.largest
            )));
        }
        Ok(Placement { node: self.node.clone(), pool: pool.name.clone(), class, size })
    }

    fn pool(
        &self,
        wanted: &Wanted,
        origin: Option<&Origin>,
    ) -> Result<(&PoolView, Promised), Error> {
        let named = wanted.parameters.pool.as_ref();
        if let (Some(origin), Some(named)) = (origin, named)
            && *named != origin.pool
        {
            let allowed = format!("a copy is made in its source's pool, {}", origin.pool);
            return Err(Error::invalid("parameters[pool]", named.as_str(), allowed));
        }
        match (origin.map(|it| &it.pool).or(named), self.pools.as_slice()) {
            (Some(name), pools) => pools
                .iter()
                .find(|(pool, _)| pool.name == *name)
                .map(|(pool, promised)| (*pool, *promised))
                .ok_or_else(|| Error::NoRoom(format!("node {} has no pool {name}", self.node))),
            (None, [(only, promised)]) => Ok((*only, *promised)),
            (None, []) => Err(Error::NoRoom(format!("node {} has no pools", self.node))),
            (None, pools) => {
                let names: Vec<&str> = pools.iter().map(|(pool, _)| pool.name.as_str()).collect();
                let allowed = format!("say which pool: {}", names.join(", "));
                Err(Error::invalid("parameters[pool]", "", allowed))
            }
        }
    }
}

/// Chooses among the nodes that are alive. A copy goes to its source's node, which must be one of
/// those allowed. With a wish for nodes only the first of them is tried: the scheduler has chosen
/// it, and an answer that there is no room makes it choose again. Without one the node with the
/// most room is taken.
///
/// # Errors
/// As [`Candidate::place`].
pub(super) fn choose(
    wanted: &Wanted,
    origin: Option<&Origin>,
    alive: &[Candidate<'_>],
) -> Result<Placement, Error> {
    if let Some(origin) = origin {
        if origin.purpose != wanted.purpose {
            return Err(Error::invalid(
                "volume_content_source",
                wanted.source.as_ref().map_or("", |it| it.as_str()),
                format!("it was made for {}, wanted is {}", origin.purpose, wanted.purpose),
            ));
        }
        if wanted.nodes.as_ref().is_some_and(|nodes| !nodes.contains(&origin.node)) {
            return Err(Error::NoRoom(format!(
                "the source is on node {}, where the volume is not to be",
                origin.node
            )));
        }
    }
    let node = origin.map(|it| &it.node).or(wanted.nodes.as_ref().and_then(|it| it.first()));
    if let Some(node) = node {
        let chosen = alive.iter().find(|it| it.node == node);
        let chosen = chosen.ok_or_else(|| silent(node))?;
        return chosen.place(wanted, origin);
    }
    let most = alive.iter().max_by_key(|it| it.capacity(&wanted.parameters).largest);
    let none = || Error::NoRoom("no node of the driver is alive".to_owned());
    most.ok_or_else(none)?.place(wanted, None)
}

/// Nothing is made on a node that says nothing.
pub(super) fn silent(node: &NodeId) -> Error {
    Error::NoRoom(format!(
        "node {node} is unknown to the driver or has been silent; is its tarn pod running?"
    ))
}
