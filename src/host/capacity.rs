//! How much room a pool has for volumes of one class. Pure.

use super::{
    class::{Class, pool_for},
    ledger::Ledger,
    pool::Pool,
};
use crate::{
    host::Host,
    lvm::{Kind, Layout},
    pool::{PoolSpec, capacity::largest},
    units::Bytes,
    volume::{Capacity, NodeId, Parameters, Provisioning},
};

/// A thin pool fuller than this, in percent of data or metadata, gets no new volumes.
const THIN_WATERMARK: f64 = 95.0;

impl Host {
    /// How much room there is for volumes of these parameters, from memory. What cannot be made
    /// here at all has no room: GetCapacity is asked for every class of every driver's making, and
    /// an error would only be asked again.
    pub fn capacity(&self, parameters: &Parameters, node: Option<&NodeId>) -> Capacity {
        if node.is_some_and(|node| *node != self.node) {
            return Capacity::default();
        }
        let pools: Vec<&Pool> = match &parameters.pool {
            Some(name) => pool_for(&self.pools, Some(name), None).into_iter().collect(),
            None => self.pools.iter().collect(),
        };
        let rooms = pools.iter().filter_map(|pool| {
            let class = Class::resolve(parameters, pool, None).ok()?;
            Some(pool.room(&class))
        });
        rooms.fold(Capacity::default(), |sum, room| Capacity {
            available: Bytes(sum.available.0.saturating_add(room.available.0)),
            largest: sum.largest.max(room.largest),
        })
    }
}

impl Pool {
    /// How much room there is for volumes of a class, from memory.
    pub(super) fn room(&self, class: &Class) -> Capacity {
        self.read(|ledger| match class.provisioning {
            Provisioning::Thick => thick_room(ledger, &self.spec, class.layout),
            Provisioning::Thin => thin_room(ledger, self),
        })
    }
}

/// Extents beyond the reserve, and the largest volume whose extents LVM can lay out so.
fn thick_room(ledger: &Ledger, spec: &PoolSpec, layout: Layout) -> Capacity {
    let group = ledger.group();
    let reserved = spec.reserve.0.div_ceil(group.extent.0.max(1));
    let usable = group.free.saturating_sub(reserved);
    let row = stripes_of(layout);
    let largest = largest(group, layout).min(usable);
    if largest < row {
        return Capacity::default();
    }
    let bytes = |extents: u64| Bytes(extents.saturating_mul(group.extent.0));
    Capacity { available: bytes(usable), largest: bytes(largest - largest % row) }
}

/// What may still be promised of a thin pool; nothing once it is nearly full.
fn thin_room(ledger: &Ledger, pool: &Pool) -> Capacity {
    let group = ledger.group();
    let Some(thin) = ledger.find(pool.thin()) else { return Capacity::default() };
    let Kind::ThinPool { data_percent, metadata_percent } = thin.kind else {
        return Capacity::default();
    };
    let fullest = data_percent.unwrap_or(0.0).max(metadata_percent.unwrap_or(0.0));
    if fullest >= THIN_WATERMARK {
        return Capacity::default();
    }
    let percent = pool.spec.thin_pool.as_ref().map_or(100, |spec| spec.overprovision);
    let promised: u64 = group
        .logical
        .iter()
        .filter(|lv| matches!(&lv.kind, Kind::Thin(of) if of == pool.thin()))
        .map(|lv| lv.size.0)
        .fold(0, u64::saturating_add);
    let left = thin.size.percent(percent).saturating_sub(Bytes(promised));
    let room = Bytes(left.whole(group.extent) * group.extent.0);
    Capacity { available: room, largest: room }
}

/// How many extents a volume of this layout grows by at the least.
pub(super) fn stripes_of(layout: Layout) -> u64 {
    match layout {
        Layout::Linear => 1,
        Layout::Striped { stripes, .. } => u64::from(stripes.max(1)),
    }
}

/// In what unit volumes of this layout are made.
pub(super) fn unit_of(extent: Bytes, layout: Layout) -> Bytes {
    Bytes(extent.0.saturating_mul(stripes_of(layout)))
}
