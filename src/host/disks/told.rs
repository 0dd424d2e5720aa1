//! What LVM's reports tell of pools' volume groups that a survey of the disks does not see.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    host::{Host, pool::Pool},
    lvm::{Group, Lvm},
    pool::{PoolEntry, PoolSpec, departure::in_the_way},
};

/// By LVM's own identities of physical volumes.
#[derive(Default)]
pub(super) struct Told {
    /// Those that are missing, and with which a RAID volume of ours has lost a leg.
    pub(super) missed: BTreeSet<String>,
    /// Why what lies on one does not fit on the others of its group.
    pub(super) cramped: BTreeMap<String, String>,
}

impl Told {
    /// As the books of the pools that are served have it.
    pub(super) fn by_books(host: &Host) -> Self {
        let pools = host.pools();
        let retiring = pools.served.iter().filter(|pool| retires(&pool.spec));
        let cramped = |pool: &Arc<Pool>| pool.read(|ledger| cramped(ledger.group()));
        Self { missed: host.missed(), cramped: retiring.flat_map(cramped).collect() }
    }

    /// As LVM has it now. What is missing only tells whom it watches.
    pub(super) fn by_reports(lvm: &dyn Lvm, pools: &[PoolEntry]) -> Self {
        let retiring = pools.iter().filter(|pool| retires(&pool.spec));
        // Where a group cannot be read, the survey says so.
        let groups = retiring.filter_map(|pool| lvm.report(&pool.group()).ok());
        let cramped = groups.flat_map(|group| cramped(&group)).collect();
        Self { missed: BTreeSet::new(), cramped }
    }
}

fn retires(spec: &PoolSpec) -> bool {
    spec.devices.as_ref().is_some_and(|devices| !devices.retire.is_empty())
}

fn cramped(group: &Group) -> Vec<(String, String)> {
    let uuids = group.physical.iter().map(|it| &it.uuid);
    uuids.filter_map(|uuid| Some((uuid.clone(), in_the_way(group, uuid)?))).collect()
}
