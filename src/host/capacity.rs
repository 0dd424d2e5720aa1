//! How much room the pools have for volumes of one class, from memory.

use std::sync::Arc;

use super::{class::pool_for, pool::Pool};
use crate::{
    host::Host,
    pool::{Class, capacity},
    volume::{Capacity, NodeId, Parameters},
};

impl Host {
    /// How much room there is for volumes of these parameters, from memory. What cannot be made
    /// here at all has no room: GetCapacity is asked for every class of every driver's making, and
    /// an error would only be asked again.
    pub fn capacity(&self, parameters: &Parameters, node: Option<&NodeId>) -> Capacity {
        if node.is_some_and(|node| *node != self.node) {
            return Capacity::default();
        }
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
}
