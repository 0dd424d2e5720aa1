//! What the pools look like now, for metrics, health and reports; from memory.

use std::sync::Arc;

use super::{Host, pool::Pool, repairs::filling, trash::trash};
use crate::{
    lvm::Layout,
    pool::{Class, CopyProgress, PoolStatus, Trimmed, capacity::room, health::Health},
    units::Bytes,
    volume::{Parameters, Provisioning},
};

impl Host {
    /// What its pools look like now.
    pub fn status(&self) -> Vec<PoolStatus> {
        let of = |pool: &Arc<Pool>| pool.status(self.health(pool), self.trims.of(&pool.name));
        self.pools().served.iter().map(of).collect()
    }

    /// Every copy that runs.
    pub fn copies(&self) -> Vec<CopyProgress> {
        self.copies.progress()
    }
}

impl Pool {
    fn status(&self, health: Health, trimmed: Trimmed) -> PoolStatus {
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
                group: Some(self.vg.clone()),
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
                trimmed,
                entries: Vec::new(),
            }
        })
    }
}
