//! Pools that miss a disk, told: a condition of the node's report, Events, and a condition of the object
//! of every volume that lies on that disk. The pool's other volumes are as they were.

use std::{collections::BTreeMap, sync::Arc};

use kube::{Resource as _, ResourceExt as _, runtime::reflector::Store};

use super::{
    Notice, Shared, locked,
    volumes::{Unwritten, write_status},
};
use crate::{
    cluster::{
        following::is_overtaken,
        objects::{Condition, LogicalVolume, LogicalVolumeStatus, Phase},
    },
    pool::{PoolStatus, health::Health},
    volume::{PoolName, chain},
};

/// The condition of a volume's object.
const INTACT: &str = "Intact";
/// Why a volume is not intact.
const DISK_MISSING: &str = "DiskMissing";
const DISK_ERRS: &str = "DiskErrs";
const UNREADABLE: &str = "VolumeGroupUnreadable";
const CONTENTS_LOST: &str = "ContentsLost";

/// Whether no pool misses a disk.
pub(super) fn condition(pools: &[PoolStatus]) -> Condition {
    let ill = pools.iter().filter(|it| !it.health.is_well());
    let said: Vec<String> = ill.map(|it| format!("{}: {}", it.name, it.health)).collect();
    let reason = match pools.iter().any(|it| it.health.unread.is_some()) {
        _ if said.is_empty() => "AllThere",
        true => UNREADABLE,
        false if pools.iter().all(|it| it.health.is_there()) => DISK_ERRS,
        false => DISK_MISSING,
    };
    let message = match said.is_empty() {
        true => "every disk of every pool is there".to_owned(),
        false => said.join("; "),
    };
    Condition::new("PoolsWhole", said.is_empty(), reason, message)
}

/// Why a volume of a pool is not intact: a reason for programs, and one for people.
fn harm(health: &Health, id: &str) -> Option<(&'static str, String)> {
    match &health.unread {
        Some(_) => Some((UNREADABLE, health.to_string())),
        None if health.lost.iter().any(|it| it == id) => {
            Some((DISK_MISSING, health.of_a_lost_volume()))
        }
        None if health.emptied.iter().any(|it| it == id) => {
            let why = "its contents are gone: they were in memory when its node was restarted, or their directory \
                       is not there";
            Some((CONTENTS_LOST, why.to_owned()))
        }
        None => {
            let disk = health.erring.iter().find(|it| it.volumes.iter().any(|it| it == id))?;
            Some((DISK_ERRS, disk.of_a_volume()))
        }
    }
}

/// The condition that an object is to have, where it has another: one that was never harmed has none.
fn wanted(has: &[Condition], harm: Option<(&'static str, String)>) -> Option<Condition> {
    let old = has.iter().find(|it| it.kind == INTACT);
    let mut new = match harm {
        Some((reason, message)) => Condition::new(INTACT, false, reason, message),
        None if old.is_some() => {
            Condition::new(INTACT, true, "AllThere", "all that it lies on is there".to_owned())
        }
        None => return None,
    };
    new.keep_time(has);
    (old != Some(&new)).then_some(new)
}

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Pools that were not well when that was told.
    ill: BTreeMap<PoolName, Health>,
}

impl Told {
    /// Tells of what has changed.
    pub(super) async fn tell(&mut self, shared: &Shared, pools: &[PoolStatus]) {
        for pool in pools {
            self.tell_of_pool(shared, pool).await;
        }
        self.ill.retain(|name, _| pools.iter().any(|it| it.name == *name));
        let objects = shared.objects.get().map(Store::state).unwrap_or_default();
        for object in objects {
            let pool = pools.iter().find(|it| it.name.as_str() == object.spec.pool);
            if let Some(pool) = pool {
                tell_of_volume(shared, &object, &pool.health).await;
            }
        }
    }

    async fn tell_of_pool(&mut self, shared: &Shared, pool: &PoolStatus) {
        if pool.health.is_well() {
            if self.ill.remove(&pool.name).is_some() {
                tell_of_recovery(shared, pool).await;
            }
            return;
        }
        if self.ill.get(&pool.name) == Some(&pool.health) {
            return;
        }
        let note = format!("pool {}: {}", pool.name, pool.health);
        tracing::error!("{note}");
        // The object that the Event is about is there once a report was written.
        let Some(node) = shared.permission.about() else { return };
        let reason = match pool.health.unread {
            Some(_) => "PoolUnreadable",
            None => "PoolDegraded",
        };
        let warning = Notice { reason, action: "Reported", note: &note, secondary: None };
        shared.warn(&node, warning).await;
        self.ill.insert(pool.name.clone(), pool.health.clone());
    }
}

async fn tell_of_recovery(shared: &Shared, pool: &PoolStatus) {
    let note = match pool.filling.len() {
        0 => format!("pool {} is whole again", pool.name),
        count => {
            format!("pool {} is whole again; legs of {count} volumes are being filled", pool.name)
        }
    };
    tracing::info!("{note}");
    let Some(node) = shared.permission.about() else { return };
    let event = Notice { reason: "PoolWhole", action: "Reported", note: &note, secondary: None };
    shared.say(&node, event).await;
}

async fn tell_of_volume(shared: &Shared, object: &Arc<LogicalVolume>, health: &Health) {
    let Some(status) = object.status.as_ref().filter(|it| it.phase == Some(Phase::Ready)) else {
        return;
    };
    let id = object.name_any();
    // What it says may be older than what was written of it: then a newer one is on its way.
    let version = object.metadata.resource_version.as_deref();
    if locked(&shared.written).is_ahead_of(&id, version) {
        return;
    }
    let Some(condition) = wanted(&status.conditions, harm(health, &id)) else { return };
    let is_harmed = condition.status == "False";
    let (reason, note) = (condition.reason.clone(), condition.message.clone());
    let conditions = condition.among(&status.conditions);
    let told = LogicalVolumeStatus { conditions, ..status.clone() };
    match write_status(shared, object, &told).await {
        Ok(_) => (),
        // It has changed since, and is looked at again.
        Err(Unwritten(err)) if is_overtaken(&err) => return,
        Err(Unwritten(err)) => {
            tracing::warn!(volume = id, error = chain(&err), "its condition was not written");
            return;
        }
    }
    if is_harmed {
        let warning = Notice { reason: &reason, action: "Reported", note: &note, secondary: None };
        shared.warn(&object.object_ref(&()), warning).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::health::Erring;

    fn missing() -> Health {
        Health {
            disks: vec!["/dev/sdb (1Gi)".to_owned()],
            lost: vec!["v-a".to_owned()],
            ..Health::default()
        }
    }

    #[test]
    fn only_volumes_on_the_missing_disk_are_harmed() {
        let (reason, message) = harm(&missing(), "v-a").unwrap();
        assert_eq!(
            (reason, message.ends_with("/dev/sdb (1Gi)")),
            (DISK_MISSING, true),
            "{message}"
        );
        assert_eq!(harm(&missing(), "v-b"), None);
        let emptied = Health { emptied: vec!["v-b".to_owned()], ..missing() };
        assert_eq!(harm(&emptied, "v-b").unwrap().0, CONTENTS_LOST);
        let unread = Health { unread: Some("I/O error".to_owned()), ..missing() };
        assert_eq!(harm(&unread, "v-b").unwrap().0, UNREADABLE);
        let erring = Erring { disk: "/dev/sdc".to_owned(), volumes: vec!["v-b".to_owned()] };
        let erring = Health { erring: vec![erring], ..missing() };
        assert_eq!(harm(&erring, "v-a").unwrap().0, DISK_MISSING);
        assert_eq!(harm(&erring, "v-b").unwrap().0, DISK_ERRS);
    }

    #[test]
    fn a_condition_is_written_when_something_has_changed() {
        let lost = || Some((DISK_MISSING, "lost".to_owned()));
        assert_eq!(wanted(&[], None), None, "a volume that was never harmed has no condition");
        let first = wanted(&[], lost()).unwrap();
        assert_eq!((first.kind.as_str(), first.status.as_str()), (INTACT, "False"));
        let has = [Condition::new("Deleted", false, "x", String::new()), first];
        assert_eq!(wanted(&has, lost()), None, "it says so already");
        let back = wanted(&has, None).unwrap();
        assert_eq!(back.status, "True");
        let all = back.among(&has);
        assert_eq!((all.len(), wanted(&all, None)), (2, None));
    }
}
