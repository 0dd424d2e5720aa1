//! What is said of disks: in errors, and in the log.

use crate::{
    lvm::VgName,
    pool::plan::{DiskPlan, Plan, Standing},
    volume::PoolName,
};

/// Why no disk was taken for a pool.
pub(super) fn none_taken(plan: &Plan, pool: &PoolName, group: &VgName) -> String {
    let refused = plan.disks.iter().filter_map(|it| match &it.standing {
        Standing::Refused { pools, .. } if pools.contains(pool) => {
            Some(format!("{}: {}", it.disk.device.path.display(), it.message()))
        }
        Standing::Member(_)
        | Standing::Leaving { .. }
        | Standing::Taken(_)
        | Standing::Wiped(_)
        | Standing::Refused { .. }
        | Standing::Unselected(_) => None,
    });
    let refused: Vec<String> = refused.collect();
    match refused.is_empty() {
        true => format!(
            "there is no volume group {group} yet, and `devices` selects none of this machine's disks"
        ),
        false => format!(
            "there is no volume group {group} yet, and no disk that `devices` selects can be taken: {}",
            refused.join("; ")
        ),
    }
}

/// One line in the log for each disk that stands otherwise than before, and for each group that has come
/// from another node.
pub(super) fn tell_changes(before: &Plan, now: &Plan) {
    for arrival in now.arrivals.iter().filter(|it| !before.arrivals.contains(it)) {
        tracing::warn!("{arrival}");
    }
    for disk in &now.disks {
        let path = disk.disk.device.path.display();
        let earlier = before.disks.iter().find(|it| it.disk.device.is_still(&disk.disk.device));
        if earlier.is_none_or(|it| it.standing != disk.standing) {
            let (state, why) = (disk.state(), disk.message());
            tracing::info!(disk = %path, state, why, "a disk");
        }
    }
    for disk in &before.disks {
        let is_it = |it: &&DiskPlan| it.disk.device.is_still(&disk.disk.device);
        if !now.disks.iter().any(|it| is_it(&it)) {
            tracing::info!(disk = %disk.disk.device.path.display(), "a disk is gone");
        }
    }
}
