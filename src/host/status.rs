//! What the machine looks like now, for metrics and health; from memory.

use super::{Host, class::Class, trash::trash};
use crate::{
    lvm::{Kind, Layout},
    units::Bytes,
    volume::{PoolName, Provisioning},
};

/// What the machine looks like now.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Every pool.
    pub pools: Vec<PoolStatus>,
    /// Every copy that runs.
    pub copies: Vec<CopyProgress>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolStatus {
    /// Its name.
    pub name: PoolName,
    /// All of its volume group.
    pub size: Bytes,
    /// What of it no volume has, the reserve left out.
    pub free: Bytes,
    /// The largest thick volume that would be made now, where there are such.
    pub largest_thick: Option<Bytes>,
    /// The largest thin volume that would be made now, where there are such.
    pub largest_thin: Option<Bytes>,
    /// Hundredths of the thin pool's data in use.
    pub thin_data_percent: Option<f64>,
    /// Hundredths of the thin pool's metadata in use.
    pub thin_metadata_percent: Option<f64>,
    /// How many volumes it holds.
    pub volumes: u64,
    /// How many snapshots.
    pub snapshots: u64,
    /// How many deleted volumes wait to be wiped.
    pub wipes: u64,
    /// How many bytes those have.
    pub wipe_bytes: Bytes,
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
        let pools = self.pools.iter().map(|pool| {
            let room = |provisioning| {
                pool.room(&Class { provisioning, layout: Layout::Linear, wipe: pool.spec.wipe })
            };
            let largest =
                |provisioning| pool.spec.offers(provisioning).then(|| room(provisioning).largest);
            pool.read(|ledger| {
                let group = ledger.group();
                let count = |prefix: &str| ledger.records(prefix, None).count() as u64;
                let use_of = ledger.find(pool.thin()).map(|lv| lv.kind.clone());
                let (data, metadata) = match use_of {
                    Some(Kind::ThinPool { data_percent, metadata_percent }) => {
                        (data_percent, metadata_percent)
                    }
                    _ => (None, None),
                };
                PoolStatus {
                    name: pool.name.clone(),
                    size: Bytes(group.extents.saturating_mul(group.extent.0)),
                    free: room(Provisioning::Thick).available,
                    largest_thick: largest(Provisioning::Thick),
                    largest_thin: largest(Provisioning::Thin),
                    thin_data_percent: data,
                    thin_metadata_percent: metadata,
                    volumes: count("v-"),
                    snapshots: count("s-"),
                    wipes: trash(ledger).len() as u64,
                    wipe_bytes: Bytes(trash(ledger).iter().map(|lv| lv.size.0).sum()),
                }
            })
        });
        Status { pools: pools.collect(), copies: self.copies.progress() }
    }
}
