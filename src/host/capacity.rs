//! How much room the pools have for volumes of one class, from memory.

use std::sync::Arc;

use super::{class::pool_for, pool::Pool};
use crate::{
    host::Host,
    lvm::{Layout, Legs, Place, places_apart, places_to_grow},
    pool::{
        Class,
        capacity::{self, Draw},
    },
    units::Bytes,
    volume::{Capacity, Error, Parameters},
};

impl Host {
    /// How much room there is for volumes of these parameters, from memory.
    pub fn capacity(&self, parameters: &Parameters) -> Capacity {
        let pools = self.pools();
        let chosen: Vec<&Arc<Pool>> = match &parameters.pool {
            Some(name) => pool_for(&pools.served, Some(name), None).into_iter().collect(),
            None => pools.served.iter().collect(),
        };
        let rooms = chosen
            .into_iter()
            .filter_map(|pool| Some(pool.room(&pool.class(parameters, None).ok()?)));
        rooms.sum()
    }
}

impl Pool {
    /// How much room there is for volumes of a class, from memory.
    pub(super) fn room(&self, class: &Class) -> Capacity {
        capacity::room(&self.stock(), &self.spec, class)
    }

    /// How much room there is for a thick volume of this size and, as its copy may need, for so much
    /// more beside it, wherever that lies.
    pub(super) fn has_room(&self, class: &Class, size: Bytes, beside: Bytes) -> bool {
        let stock = self.stock();
        let room = capacity::room(&stock, &self.spec, class);
        if beside == Bytes::ZERO {
            return size <= room.largest;
        }
        let linear = Class { layout: Layout::Linear, ..class.clone() };
        let free = capacity::room(&stock, &self.spec, &linear).available;
        let own = Draw::of_new(class.layout, size, stock.extent).extents();
        let all = Bytes(own.saturating_mul(stock.extent.0)).checked_add(beside);
        size <= room.largest && all.is_some_and(|all| all <= free)
    }

    /// By how much a volume of a class can grow, a RAID volume on the disks of its legs, from memory.
    pub(super) fn room_to_grow(&self, class: &Class, legs: Option<&Legs>) -> Bytes {
        capacity::room_to_grow(&self.stock(), &self.spec, class, legs)
    }

    /// Where the legs of a new volume go; nowhere for one that is no RAID, where LVM decides. As true as
    /// the ledger is.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub(super) fn places_for(&self, layout: Layout, size: Bytes) -> Result<Vec<Place>, Error> {
        let Layout::Raid(raid) = layout else { return Ok(Vec::new()) };
        let places = self.read(|ledger| {
            let group = ledger.group();
            let each = raid.extents_of_leg(size.whole(group.extent));
            places_apart(&group.physical, raid.legs(), each)
        });
        places.ok_or_else(|| {
            let (legs, level) = (raid.legs(), raid.level.name());
            let why = format!("has not {legs} disks with room for {size} of {level}");
            Error::NoRoom(format!("pool {} {why}", self.name))
        })
    }

    /// Where what a volume with these legs grows by goes, on the disks of its legs.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], as for any volume that cannot grow.
    pub(super) fn places_to_grow(&self, legs: &Legs, more: Bytes) -> Result<Vec<Place>, Error> {
        let places = self.read(|ledger| {
            let group = ledger.group();
            let each = legs.growth_of_leg(more.whole(group.extent));
            places_to_grow(&group.physical, legs, each)
        });
        places.ok_or_else(|| {
            let why = "not every disk of the volume's legs has room";
            Error::OutOfRange(format!("pool {}: {why} for {more} more", self.name))
        })
    }
}
