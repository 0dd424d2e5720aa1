//! The disks of this node, as its report has them. Pure.

use crate::{
    cluster::objects::{Condition, DeviceReport, EntryReport, MOST_ENTRIES},
    pool::{
        DeviceEntry,
        plan::{DiskPlan, Plan, Standing},
    },
};

/// So many lines of a plan are reported, and so many characters of each: an object in the API may have
/// 1.5 MiB.
const MOST_LINES: usize = 100;
const LONGEST_LINE: usize = 1000;

/// One disk.
pub(super) fn report(disk: &DiskPlan) -> DeviceReport {
    let device = &disk.disk.device;
    let pool = match &disk.standing {
        Standing::Member(pool)
        | Standing::Leaving { pool, .. }
        | Standing::Taken(pool)
        | Standing::Wiped(pool) => Some(pool.to_string()),
        Standing::Refused { .. } | Standing::Unselected(_) => None,
    };
    DeviceReport {
        path: device.path.display().to_string(),
        stable_path: device.stable_name().map(|it| it.display().to_string()),
        kind: device.kind,
        size: device.size,
        model: device.model.clone(),
        serial: device.serial.clone(),
        wwn: device.wwn.clone(),
        transport: device.transport,
        rotational: device.rotational,
        state: disk.state().to_owned(),
        pool,
        reason: disk.reason().map(str::to_owned),
        message: disk.message(),
    }
}

/// How many there are of which, in a few words.
pub(super) fn summary(plan: &Plan) -> String {
    let count = |wanted: &str| plan.disks.iter().filter(|it| it.state() == wanted).count();
    let parts = [
        (count("Member") + count("Taken"), "in pools"),
        (count("Leaving"), "leaving"),
        (count("Wiped"), "being wiped"),
        (count("Refused"), "refused"),
        (count("Unselected"), "unselected"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// How the pools that are made of disks are, and what is to be done.
pub(super) fn headlines(plan: &Plan) -> Vec<String> {
    let lines = plan.headlines().into_iter().take(MOST_LINES);
    lines.map(|it| shortened(&it)).collect()
}

fn shortened(line: &str) -> String {
    line.chars().take(LONGEST_LINE).collect()
}

/// What is in the directories of a pool of whole devices.
pub(super) fn entries(all: &[DeviceEntry]) -> Vec<EntryReport> {
    let entry = |it: &DeviceEntry| EntryReport {
        path: it.path.display().to_string(),
        device: it.device.as_ref().map(|(path, _)| path.display().to_string()),
        size: it.device.as_ref().map(|(_, size)| *size),
        fs_type: it.mounted.map(|it| it.name().to_owned()),
        state: it.state.word().to_owned(),
        volume: it.state.volume().map(ToString::to_string),
        message: it.state.message().map(shortened),
    };
    all.iter().take(MOST_ENTRIES).map(entry).collect()
}

/// Whether every disk that a pool selects is in its group; `unseen` is why nobody could look.
pub(super) fn condition(plan: &Plan, unseen: Option<&str>) -> Condition {
    let kind = "DisksTaken";
    if let Some(why) = unseen {
        return Condition::new(kind, false, "NotLooked", why.to_owned());
    }
    let barred = plan.disks.iter().filter(|it| matches!(it.standing, Standing::Refused { .. }));
    let said: Vec<String> =
        barred.map(|it| format!("{}: {}", it.disk.device.path.display(), it.message())).collect();
    let wiped = plan.disks.iter().filter(|it| matches!(it.standing, Standing::Wiped(_)));
    let wiped: Vec<String> = wiped.map(|it| it.disk.device.path.display().to_string()).collect();
    match (said.is_empty(), plan.pools.is_empty()) {
        (true, false) if !wiped.is_empty() => {
            let message = format!("being wiped, and taken afterwards: {}", wiped.join(", "));
            Condition::new(kind, false, "DisksBeingWiped", message)
        }
        (false, _) => Condition::new(kind, false, "DisksRefused", said.join("; ")),
        (true, true) => {
            let message = "no pool of this node is made of disks".to_owned();
            Condition::new(kind, true, "NoPools", message)
        }
        (true, false) => {
            let message = "every disk that a pool selects is in its volume group".to_owned();
            Condition::new(kind, true, "AllTaken", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{
        pool::{
            EntryState, PoolEntry,
            owner::Owner,
            plan::plan,
            survey::{
                Survey,
                example::{disk, nothing},
            },
        },
        units::Bytes,
        volume::VolumeId,
    };

    fn planned(written: bool) -> Plan {
        let owner = Owner { creator: "d".to_owned(), cluster: None, node: "n1".parse().unwrap() };
        let spec = serde_json::from_value(json!({"devices": {"paths": ["/dev/sd*"]}})).unwrap();
        let pools = [PoolEntry { name: "fast".parse().unwrap(), spec }];
        let found = if written { Err("I/O error".to_owned()) } else { Ok(nothing()) };
        let looks = BTreeMap::from([("sda".to_owned(), found)]);
        let survey = Survey::join(&[disk("sda"), disk("vda")], &[], Vec::new(), looks, &pools);
        plan(&pools, &owner, &survey)
    }

    #[test]
    fn a_disk_with_all_that_is_known() {
        let plan = planned(true);
        assert_eq!(
            serde_json::to_value(report(&plan.disks[0])).unwrap(),
            json!({
                "path": "/dev/sda",
                "stablePath": "/dev/disk/by-id/ata-sda",
                "type": "Disk",
                "size": "100Gi",
                "model": "WDC WD40",
                "serial": "S-sda",
                "wwn": "naa.sda",
                "transport": "Sata",
                "rotational": true,
                "state": "Refused",
                "reason": "Unreadable",
                "message": "it cannot be read: I/O error",
            })
        );
        assert_eq!(summary(&plan), "1 refused, 1 unselected");
        assert_eq!(report(&planned(false).disks[0]).pool.as_deref(), Some("fast"));
    }

    #[test]
    fn what_the_pools_are_and_what_is_to_be_done() {
        assert_eq!(
            headlines(&planned(false)),
            [
                "pool fast: volume group tarn-fast, not there yet",
                "to do: pvcreate --metadatasize 32Mi /dev/sda",
                "to do: vgcreate --addtag tarn.pool=fast --addtag tarn.node=n1 --addtag tarn.by=d \
                 tarn-fast /dev/sda",
            ]
        );
        assert_eq!(headlines(&planned(true)).len(), 1);
    }

    #[test]
    fn the_entries_of_a_pool_of_whole_devices() {
        let id = VolumeId::of(&"a".parse().unwrap());
        let told = |device: Option<&str>, state| {
            let device = device.map(|it| (it.into(), Bytes::gib(10)));
            entries(&[DeviceEntry { path: "/disks/a".into(), device, mounted: None, state }])
        };
        let json = |report: Vec<EntryReport>| serde_json::to_value(report).unwrap();
        let sda = || Some("/dev/sda");
        assert_eq!(
            json(told(sda(), EntryState::Free)),
            json!([{ "path": "/disks/a", "device": "/dev/sda", "size": "10Gi", "state": "Free" }])
        );
        assert_eq!(
            json(told(sda(), EntryState::Wiped(id.clone(), "5% is done".to_owned())))[0],
            json!({
                "path": "/disks/a", "device": "/dev/sda", "size": "10Gi", "state": "Wiped", "volume": id.as_str(),
                "message": "5% is done",
            })
        );
        assert_eq!(
            json(told(None, EntryState::Refused("x".repeat(2 * LONGEST_LINE))))[0],
            json!({ "path": "/disks/a", "state": "Refused", "message": "x".repeat(LONGEST_LINE) })
        );
        let (path, state) = ("/disks/a".into(), EntryState::Free);
        let one = DeviceEntry { path, device: None, mounted: None, state };
        assert_eq!(entries(&vec![one; 300]).len(), MOST_ENTRIES);
    }

    #[test]
    fn whether_all_are_taken() {
        let told = |plan: &Plan, unseen| {
            let told = condition(plan, unseen);
            (told.status, told.reason)
        };
        let is = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
        assert_eq!(told(&planned(true), None), is("False", "DisksRefused"));
        assert_eq!(told(&planned(false), None), is("True", "AllTaken"));
        assert_eq!(told(&Plan::default(), None), is("True", "NoPools"));
        assert_eq!(told(&planned(false), Some("pvs failed")), is("False", "NotLooked"));
    }
}
