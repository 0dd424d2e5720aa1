//! Is a report news to who chooses nodes? Pure.
//!
//! The controller takes what it has promised off what a node reports, until a report counts it. So a
//! report that says only that volumes were made, and that there is less room for it, can wait for the
//! next ones: of a node where many are made it is one write and not one for each.

use crate::cluster::objects::{NodeLocalStorageStatus, PoolReport};

/// Whether `now` says nothing but that in some pools there are more volumes or snapshots than `then`.
/// Less room without more of them is news: others took it.
pub(super) fn is_only(then: &NodeLocalStorageStatus, now: &NodeLocalStorageStatus) -> bool {
    if then.pools == now.pools {
        return false;
    }
    let mut expected = then.clone();
    expected.sequence = now.sequence;
    for pool in &mut expected.pools {
        if let Some(fuller) = now.pools.iter().find(|it| it.name == pool.name) {
            fill(pool, fuller);
        }
    }
    expected == *now
}

/// Gives `pool` what making volumes changes, where volumes were made.
fn fill(pool: &mut PoolReport, now: &PoolReport) {
    let count = |it: &PoolReport| it.volumes.saturating_add(it.snapshots);
    let is_fuller = count(now) > count(pool) && now.free <= pool.free;
    if !is_fuller {
        return;
    }
    let now = now.clone();
    *pool = PoolReport {
        free: now.free,
        largest_thick: now.largest_thick,
        largest_thin: now.largest_thin,
        volumes: now.volumes,
        snapshots: now.snapshots,
        free_extents: now.free_extents,
        disks: now.disks,
        entries: now.entries,
        thin_pool: now.thin_pool,
        filling: now.filling,
        ..pool.clone()
    };
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pool(name: &str, volumes: u64, free: u64) -> Value {
        json!({
            "name": name, "volumeGroup": "vg", "size": "100Gi", "free": format!("{free}Gi"),
            "volumes": volumes, "snapshots": 0, "wiping": "0",
            "spec": { "volumeGroup": "vg" },
            "extentSize": "1Gi", "extents": 100, "freeExtents": free,
            "disks": [{ "device": "/dev/sda", "allocatable": true, "extents": 100, "freeRuns": [free] }],
        })
    }

    fn status(sequence: i64, pools: &[Value]) -> NodeLocalStorageStatus {
        serde_json::from_value(json!({ "sequence": sequence, "pools": pools })).unwrap()
    }

    #[rstest::rstest]
    #[case::one_more(json!({ "volumes": 2, "free": "9Gi", "freeExtents": 9 }), true)]
    #[case::a_snapshot_more(json!({ "snapshots": 1, "free": "9Gi", "freeExtents": 9 }), true)]
    #[case::of_a_thin_pool(json!({ "volumes": 2 }), true)]
    #[case::the_same(json!({}), false)]
    #[case::one_less(json!({ "volumes": 0, "free": "11Gi", "freeExtents": 11 }), false)]
    #[case::others_took_room(json!({ "free": "9Gi", "freeExtents": 9 }), false)]
    #[case::more_room_than_before(json!({ "volumes": 2, "free": "11Gi", "freeExtents": 11 }), false)]
    #[case::on_a_whole_device(json!({ "volumes": 2, "entries": [{ "path": "/disks/a", "state": "Used" }] }), true)]
    #[case::an_entry_is_refused(json!({ "entries": [{ "path": "/disks/a", "state": "Refused" }] }), false)]
    #[case::another_state(json!({ "volumes": 2, "state": "Degraded" }), false)]
    #[case::a_disk_grew(json!({ "volumes": 2, "extents": 200 }), false)]
    #[case::one_is_wiped(json!({ "volumes": 2, "wiping": "1Gi" }), false)]
    fn only_more_volumes_can_wait(#[case] change: Value, #[case] can_wait: bool) {
        let then = pool("fast", 1, 10);
        let mut now = then.clone();
        for (key, value) in change.as_object().unwrap() {
            now[key] = value.clone();
        }
        assert_eq!(is_only(&status(6, &[then]), &status(7, &[now])), can_wait);
    }

    #[test]
    fn another_pool_is_news() {
        let then = status(6, &[pool("fast", 1, 10)]);
        let now = status(7, &[pool("fast", 2, 9), pool("slow", 0, 10)]);
        assert!(!is_only(&then, &now));
    }
}
