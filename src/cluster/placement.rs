//! On which node, in which pool: chosen from what the nodes report and what is promised. Pure.

use std::path::PathBuf;

use super::wish::Placement;
use crate::{
    lvm::Layout,
    pool::{
        Class, PoolSpec,
        capacity::{Draw, Stock, fitting, no_device, room, take_smallest, unit_of},
        pick, wanted_pool,
    },
    units::Bytes,
    volume::{
        Capacity, Error, NodeId, Parameters, PoolName, Provisioning, Purpose, SizeRange, Wanted,
    },
};

/// One pool of one node, as the controller knows it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PoolView {
    pub(super) name: PoolName,
    pub(super) spec: PoolSpec,
    pub(super) stock: Stock,
}

/// What of a pool is promised to volumes that its report does not count yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Promised {
    pub(super) thick: Vec<Draw>,
    pub(super) thin: Bytes,
    /// The devices that are not Tarn's to give.
    pub(super) others: Vec<PathBuf>,
}

/// What one volume takes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    Thick(Draw),
    Thin(Bytes),
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

impl Promised {
    /// Counts one volume more.
    pub(super) fn add(&mut self, share: Share) {
        match share {
            Share::Thick(draw) => self.thick.push(draw),
            Share::Thin(size) => self.thin = Bytes(self.thin.0.saturating_add(size.0)),
        }
    }
}

impl Share {
    /// What a new volume takes.
    pub(super) fn of_new(class: &Class, size: Bytes, extent: Bytes) -> Self {
        match class.provisioning {
            Provisioning::Thick => Self::Thick(Draw::of_new(class.layout, size, extent)),
            Provisioning::Thin => Self::Thin(size),
        }
    }
}

impl PoolView {
    /// What of a pool of whole devices is left for a wish beside what is promised.
    fn whole_left(&self, promised: &Promised, purpose: Purpose, wish: &Parameters) -> Stock {
        let mut stock = self.stock.clone();
        let others = stock.physical.iter_mut().filter(|it| promised.others.contains(&it.device));
        others.for_each(|it| it.free_runs.clear());
        for draw in &promised.thick {
            take_smallest(&mut stock, Bytes(draw.extents().saturating_mul(self.stock.extent.0)));
        }
        stock.fit_for(purpose, wish)
    }

    /// How large a volume is made that is to have a size in this range, and at least `floor`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a range in which there is none, [`Error::NoRoom`] for one in which no device is.
    fn size(
        &self,
        (class, promised): (&Class, &Promised),
        (purpose, wish): (Purpose, &Parameters),
        size: SizeRange,
        floor: Bytes,
    ) -> Result<Bytes, Error> {
        if !self.spec.is_of_whole_devices() {
            return size.fit(unit_of(self.stock.extent, class.layout), floor);
        }
        let left = self.whole_left(promised, purpose, wish);
        fitting(&left, size).ok_or_else(|| {
            let largest = room(&left, &self.spec, class).largest;
            Error::NoRoom(no_device(&self.name, size, largest))
        })
    }

    /// The room for a class, with what is promised taken off. Where a promised linear or striped volume
    /// will lie is not known: for such a class it is taken off what is the largest without it.
    pub(super) fn room(
        &self,
        (class, promised): (&Class, &Promised),
        (purpose, wish): (Purpose, &Parameters),
    ) -> Capacity {
        if self.spec.is_of_whole_devices() {
            return room(&self.whole_left(promised, purpose, wish), &self.spec, class);
        }
        if let (Provisioning::Thick, Layout::Raid(_)) = (class.provisioning, class.layout) {
            let mut stock = self.stock.clone();
            promised.thick.iter().for_each(|draw| stock.draw(*draw));
            return room(&stock, &self.spec, class);
        }
        let all = room(&self.stock, &self.spec, class);
        let extent = self.stock.extent;
        let extents =
            promised.thick.iter().fold(0, |sum: u64, it| sum.saturating_add(it.extents()));
        let taken = match class.provisioning {
            Provisioning::Thick => Bytes(extents.saturating_mul(extent.0)),
            Provisioning::Thin => promised.thin,
        };
        let available = all.available.saturating_sub(taken);
        let unit = unit_of(extent, class.layout);
        let whole = Bytes(available.whole(unit) * unit.0);
        Capacity { available, largest: all.largest.min(whole) }
    }
}

impl Candidate<'_> {
    /// The room for volumes of these parameters, over all pools that they allow.
    pub(super) fn capacity(&self, purpose: Purpose, parameters: &Parameters) -> Capacity {
        let named = |pool: &PoolView| parameters.pool.as_ref().is_none_or(|it| *it == pool.name);
        let rooms =
            self.pools.iter().filter(|(pool, _)| named(pool)).filter_map(|(pool, taken)| {
                let class = Class::resolve(parameters, &pool.name, &pool.spec, None).ok()?;
                Some(pool.room((&class, taken), (purpose, parameters)))
            });
        rooms.sum()
    }

    /// Where in this node a volume goes.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::OutOfRange`] where no node could, [`Error::NoRoom`] where
    /// another may.
    pub(super) fn place(
        &self,
        size: SizeRange,
        (purpose, parameters): (Purpose, &Parameters),
        origin: Option<&Origin>,
    ) -> Result<Placement, Error> {
        let (pool, promised) = self.pool(parameters, origin)?;
        let provisioned = origin.map(|it| it.provisioning);
        let class = Class::resolve(parameters, &pool.name, &pool.spec, provisioned)?;
        let floor = origin.map_or(Bytes::ZERO, |it| it.size);
        let wish = (purpose, parameters);
        let size = pool.size((&class, promised), wish, size, floor)?;
        let room = pool.room((&class, promised), wish);
        if size > room.largest {
            return Err(Error::NoRoom(format!(
                "pool {} of node {} has no room for a volume of {size}; the largest that fits is {}",
                pool.name, self.node, room.largest
            )));
        }
        Ok(Placement { node: self.node.clone(), pool: pool.name.clone(), class, size })
    }

    /// Counts a volume that goes here as promised.
    pub(super) fn take(&mut self, place: &Placement) {
        let its = self.pools.iter_mut().find(|(pool, _)| pool.name == place.pool);
        if let Some((pool, promised)) = its {
            promised.add(Share::of_new(&place.class, place.size, pool.stock.extent));
        }
    }

    fn pool(
        &self,
        parameters: &Parameters,
        origin: Option<&Origin>,
    ) -> Result<(&PoolView, &Promised), Error> {
        let named = wanted_pool(parameters.pool.as_ref(), origin.map(|it| &it.pool))?;
        let node = format!("node {}", self.node);
        let (pool, promised) = pick(&self.pools, |(pool, _)| &pool.name, named, &node)?;
        Ok((*pool, promised))
    }
}

/// The node that a volume must be on: its source's, which must be one of those allowed; else the
/// first of those wished for, since the scheduler has chosen it, and an answer that there is no room
/// makes it choose again. `None` leaves it to [`roomiest`].
///
/// # Errors
/// [`Error::Invalid`] for a source of another kind, [`Error::NoRoom`] for one elsewhere.
pub(super) fn node_of<'a>(
    wanted: &'a Wanted,
    origin: Option<&'a Origin>,
) -> Result<Option<&'a NodeId>, Error> {
    let Some(origin) = origin else {
        return Ok(wanted.nodes.as_ref().and_then(|nodes| nodes.first()));
    };
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
    Ok(Some(&origin.node))
}

/// The node with the most room for what is wanted.
///
/// # Errors
/// [`Error::NoRoom`] where there is no node.
pub(super) fn roomiest<'a>(
    wanted: &Wanted,
    open: impl Iterator<Item = Candidate<'a>>,
) -> Result<Candidate<'a>, Error> {
    let none = || Error::NoRoom("no node of the driver is alive".to_owned());
    let room = |it: &Candidate<'_>| it.capacity(wanted.purpose, &wanted.parameters).largest;
    open.max_by_key(room).ok_or_else(none)
}

/// Nothing is made on a node that says nothing.
pub(super) fn silent(node: &NodeId) -> Error {
    Error::NoRoom(format!(
        "node {node} is unknown to the driver or has been silent; is its tarn pod running?"
    ))
}

#[cfg(test)]
mod tests;
