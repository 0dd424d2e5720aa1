//! A disk that is missing, and comes back: what is intact is served, what is not says why, nothing is
//! lost, and nobody has to lend a hand.

use serde_json::json;
use tonic::Code;

use crate::{
    ground::{Ground, code, words},
    requests::*,
};

const GIB: i64 = 1 << 30;

/// A volume on each of the pool's two disks, by their ids.
fn one_on_each(ground: &Ground) -> (String, String) {
    let (lost, intact) =
        (ground.made(sized("lost", 3 * GIB)), ground.made(sized("intact", 2 * GIB)));
    set_missing(ground, true);
    assert!(ground.lv(&lost).lost && !ground.lv(&intact).lost);
    set_missing(ground, false);
    (lost, intact)
}

/// The first disk goes away or comes back, and the driver looks.
fn set_missing(ground: &Ground, missing: bool) {
    ground.lvm.set_missing("vg0", 0, missing);
    ground.settle();
}

/// How the pool is, and which of its volumes are not whole.
fn health(ground: &Ground) -> (&'static str, Vec<String>) {
    let status = ground.host().status();
    let health = &status.pools[0].health;
    (health.state(), health.lost.clone())
}

#[test]
fn intact_volumes_are_served_while_a_disk_is_missing() {
    let ground = Ground::thick();
    let (lost, intact) = one_on_each(&ground);
    set_missing(&ground, true);
    assert_eq!(health(&ground), ("Degraded", vec![lost.clone()]));
    let (staged, target) = (ground.path("staging"), ground.path("target"));
    ground.stage(staging(&intact, &staged)).unwrap();
    ground.publish(publishing(&intact, &staged, &target)).unwrap();
    ground.stats(&intact, &target).unwrap();
    ground.unpublish(&intact, &target).unwrap();
    ground.unstage(&intact, &staged).unwrap();
    let refused = ground.stage(staging(&lost, &ground.path("other")));
    assert_eq!(code(refused.clone()), Code::FailedPrecondition);
    assert!(words(refused).contains("a disk that is missing"));
    set_missing(&ground, false);
    assert_eq!(health(&ground), ("Ready", Vec::new()));
    ground.stage(staging(&lost, &ground.path("other"))).unwrap();
}

#[test]
fn nothing_is_made_or_grown_while_a_disk_is_missing() {
    let thin = json!({"size": "1Gi", "overprovision": 400});
    let pool = json!({"volumeGroup": "vg0", "provisioning": "ThickAndThin", "thinPool": thin});
    let ground = Ground::with(vec![("disks", pool)]);
    let thin = |name| tarn::csi::proto::CreateVolumeRequest {
        parameters: map(&[("provisioning", "Thin")]),
        ..sized(name, GIB)
    };
    let id = ground.made(thin("t"));
    set_missing(&ground, true);
    let status = ground.host().status();
    assert_eq!(status.pools[0].largest_thick.unwrap().0, 0);
    assert_eq!(status.pools[0].largest_thin.unwrap().0, 0, "a thin pool promises nothing, too");
    let refused = ground.create(thin("u"));
    assert_eq!(code(refused.clone()), Code::ResourceExhausted);
    assert!(words(refused).contains("misses a disk"));
    assert_eq!(code(ground.expand(expansion(&id, 2 * GIB))), Code::FailedPrecondition);
    assert_eq!(code(ground.snapshot("s", &id)), Code::FailedPrecondition);
    set_missing(&ground, false);
    ground.made(thin("u"));
    ground.expand(expansion(&id, 2 * GIB)).unwrap();
    ground.snapshot("s", &id).unwrap();
}

#[test]
fn what_is_intact_is_deleted_and_what_is_not_waits_for_its_disk() {
    let ground = Ground::thick();
    let free = ground.free();
    let (lost, intact) = one_on_each(&ground);
    set_missing(&ground, true);
    ground.delete(&intact).unwrap();
    ground.delete(&lost).unwrap();
    ground.delete(&lost).unwrap();
    assert_eq!(code(ground.create(sized("lost", 3 * GIB))), Code::Aborted);
    ground.settle();
    assert_eq!(ground.lvs(), [lost], "its bytes come back with its disk, and are wiped then");
    assert!(ground.host().volumes(None, 9).is_empty());
    set_missing(&ground, false);
    ground.settle();
    assert_eq!((ground.free(), ground.lvs().len()), (free, 0));
    ground.made(sized("lost", 3 * GIB));
}

#[test]
fn volumes_find_their_way_to_a_disk_that_is_back() {
    let ground = Ground::thick();
    let (lost, intact) = one_on_each(&ground);
    let refreshed = ground.lvm.count("refresh");
    set_missing(&ground, true);
    // A change of the group marks the disk: it counts as missing also when it is there again.
    ground.delete(&intact).unwrap();
    assert!(ground.lvm.is_astray("vg0", &lost));
    set_missing(&ground, false);
    assert_eq!(ground.lvm.count("take_back"), 1);
    assert!(!ground.lvm.is_astray("vg0", &lost));
    assert_eq!(health(&ground), ("Ready", Vec::new()));
    ground.settle();
    assert_eq!(ground.lvm.count("take_back"), 1, "once");
    assert_eq!(ground.lvm.count("refresh"), refreshed + 1, "once");
}

#[test]
fn a_start_without_a_disk_serves_what_is_there() {
    let thin = json!({"size": "1Gi"});
    let pool = json!({"volumeGroup": "vg0", "provisioning": "ThickAndThin", "thinPool": thin});
    let mut ground = Ground::with(vec![("disks", pool.clone())]);
    let (lost, intact) = (ground.made(sized("a", 2 * GIB)), ground.made(sized("b", 3 * GIB)));
    ground.lvm.set_missing("vg0", 0, true);
    let (lost, intact) = if ground.lv(&lost).lost { (lost, intact) } else { (intact, lost) };
    ground.reboot();
    assert!(!ground.lv(&lost).active && ground.lv(&intact).active);
    ground.stage(staging(&intact, &ground.path("staging"))).unwrap();
    set_missing(&ground, false);
    assert!(ground.lv(&lost).active, "what could not be activated then is now");
}

#[test]
fn a_group_that_cannot_be_read_is_not_gone() {
    let ground = Ground::thick();
    let (lost, intact) = one_on_each(&ground);
    (0..2).for_each(|disk| ground.lvm.set_missing("vg0", disk, true));
    ground.settle();
    assert_eq!(health(&ground).0, "Unreadable");
    assert_eq!(ground.host().status().pools[0].largest_thick.unwrap().0, 0);
    assert_eq!(ground.host().volumes(None, 9).len(), 2);
    let refused = ground.delete(&intact);
    assert_eq!(code(refused.clone()), Code::FailedPrecondition);
    assert!(words(refused).contains("cannot be read"));
    (0..2).for_each(|disk| ground.lvm.set_missing("vg0", disk, false));
    ground.settle();
    assert_eq!(health(&ground), ("Ready", Vec::new()));
    assert_eq!(ground.host().volumes(None, 9).len(), 2);
    ground.delete(&lost).unwrap();
}

#[test]
fn a_thin_pool_that_has_given_up_is_there_again_when_nobody_uses_it() {
    let ground = Ground::thin();
    let id = ground.made(volume("a"));
    ground.lvm.fail_pool("vg0", "tarn-thin");
    let path = ground.device(&id);
    ground.devices.set_open(&path, 1);
    ground.settle();
    assert_eq!(health(&ground), ("Degraded", vec!["tarn-thin".to_owned(), id.clone()]));
    assert_eq!(ground.host().status().pools[0].largest_thin.unwrap().0, 0);
    assert_eq!(code(ground.stage(staging(&id, &ground.path("s")))), Code::FailedPrecondition);
    ground.devices.set_open(&path, 0);
    ground.settle();
    assert_eq!(health(&ground), ("Ready", Vec::new()));
    ground.stage(staging(&id, &ground.path("s"))).unwrap();
}

#[test]
fn a_thin_pool_that_gave_up_before_a_restart_is_there_again_after_it() {
    let mut ground = Ground::thin();
    let id = ground.made(volume("a"));
    ground.lvm.fail_pool("vg0", "tarn-thin");
    ground.lvm.reboot();
    ground.start();
    assert_eq!(health(&ground), ("Ready", Vec::new()));
    ground.stage(staging(&id, &ground.path("s"))).unwrap();
}

#[test]
fn a_driver_that_was_away_meanwhile_leads_volumes_to_their_disks() {
    let mut ground = Ground::thick();
    let (lost, intact) = one_on_each(&ground);
    set_missing(&ground, true);
    // Which marks the disk.
    ground.delete(&intact).unwrap();
    ground.lvm.set_missing("vg0", 0, false);
    assert!(ground.lvm.is_astray("vg0", &lost));
    ground.devices.lead_astray(ground.device(&lost));
    ground.start();
    assert!(!ground.lvm.is_astray("vg0", &lost));
    assert_eq!(health(&ground), ("Ready", Vec::new()));
}
