//! What the machine looks like now, for metrics, health and reports; from memory.

use super::{
    Host,
    pool::Pool,
    repairs::{Filling, filling},
    trash::trash,
};
use crate::{
    lvm::{Layout, VgName},
    pool::{
        Class, PoolSpec,
        capacity::{Stock, room},
        health::Health,
    },
    units::Bytes,
    volume::{Parameters, PoolName, Provisioning},
};

/// What the machine looks like now.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Up to which change this is true at least: [`Host::sequence`].
    pub sequence: u64,
    /// Every pool that is served.
    pub pools: Vec<PoolStatus>,
    /// Every copy that runs.
    pub copies: Vec<CopyProgress>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolStatus {
    /// Its name.
    pub name: PoolName,
    /// Its volume group.
    pub group: VgName,
    /// What it is served as.
    pub spec: PoolSpec,
    /// From which, with the spec, [`room`] tells how much room there is for any class.
    pub stock: Stock,
    /// How well it is.
    pub health: Health,
    /// All of its volume group.
    pub size: Bytes,
    /// What of it no volume has, the reserve left out.
    pub free: Bytes,
    /// The largest thick volume of the pool's layout that would be made now, where there are such.
    pub largest_thick: Option<Bytes>,
    /// The largest thin volume that would be made now, where there are such.
    pub largest_thin: Option<Bytes>,
    /// How many volumes it holds.
    pub volumes: u64,
    /// How many snapshots.
    pub snapshots: u64,
    /// How many deleted volumes wait to be wiped.
    pub wipes: u64,
    /// How many bytes those have.
    pub wipe_bytes: Bytes,
    /// RAID volumes whose legs do not all have their data yet.
    pub filling: Vec<Filling>,
    /// How much of those is still to be filled.
    pub to_fill: Bytes,
}

/// A copy that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    /// The volume that is being filled.
    pub volume: String,
    /// How much of it is.
    pub done: Bytes,
    /// How much there is to copy.
    pub total: Bytes,
}

impl Host {
    /// What the machine looks like now.
    pub fn status(&self) -> Status {
        let sequence = self.sequence();
        let pools = self.pools().served.iter().map(|pool| pool.status(self.health(pool))).collect();
        Status { sequence, pools, copies: self.copies.progress() }
    }
}

impl Pool {
    fn status(&self, health: Health) -> PoolStatus {
        let (spec, stock) = (&self.spec, self.stock());
        self.read(|ledger| {
            let room_for = |provisioning, layout| {
                room(&stock, spec, &Class { provisioning, layout, wipe: spec.wipe })
            };
            let largest = |provisioning, layout| {
                spec.offers(provisioning).then(|| room_for(provisioning, layout).largest)
            };
            let layout = spec.layout(&Parameters::default()).unwrap_or(Layout::Linear);
            let count = |prefix: &str| ledger.records(prefix, None).count() as u64;
            let wipes = trash(ledger);
            let filling = filling(ledger);
            PoolStatus {
                name: self.name.clone(),
                group: self.vg.clone(),
                spec: spec.clone(),
                health,
                size: Bytes(stock.extents.saturating_mul(stock.extent.0)),
                free: room_for(Provisioning::Thick, Layout::Linear).available,
                largest_thick: largest(Provisioning::Thick, layout),
                largest_thin: largest(Provisioning::Thin, Layout::Linear),
                volumes: count("v-"),
                snapshots: count("s-"),
                wipes: wipes.len() as u64,
                wipe_bytes: Bytes(wipes.iter().map(|lv| lv.size.0).sum()),
                to_fill: Bytes(filling.iter().map(|it| it.left().0).sum()),
                filling,
                stock,
            }
        })
    }
}
