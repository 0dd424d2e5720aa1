//! Thin pools that lie on RAIDs, whose disks go, come back and err.

use super::{
    lost::{Mirrors, assert_mended, wanted},
    *,
};

const POOL: &str = "tarn-thin";
const LAYERS: [&str; 2] = ["tarn-thin_tdata", "tarn-thin_tmeta"];

fn entry() -> PoolEntry {
    let spec = r#"{
        "devices": {"paths": ["/dev/sd*"]}, "provisioning": "Thin",
        "thinPool": {"size": "256Mi", "layout": "Raid1"}
    }"#;
    PoolEntry { name: "fast".parse().unwrap(), spec: serde_json::from_str(spec).unwrap() }
}

fn disks_of(machine: &Machine, layer: &str) -> Vec<String> {
    let legs = machine.lvm.peek_at("tarn-fast", layer).unwrap().legs.unwrap();
    let mut disks: Vec<String> = legs.disks.iter().map(|it| it.display().to_string()).collect();
    disks.sort();
    disks
}

#[test]
fn its_data_and_its_metadata_get_new_legs() {
    let it = Mirrors::of(entry(), 2);
    it.pull();
    assert_eq!(it.state(), ("Degraded", 3), "the thin pool, too");
    assert!(it.says().contains("a new disk takes the place"), "{}", it.says());
    it.host.volume(&it.volumes[0]).unwrap().ensure_not_lost().unwrap();
    it.machine.plug_in("sdc");
    it.wait();
    it.look();
    assert_eq!(it.state(), ("Ready", 0), "{}", it.says());
    assert_eq!(it.machine.members(), ["/dev/sdb", "/dev/sdc"]);
    for layer in LAYERS {
        assert_eq!(disks_of(&it.machine, layer), ["/dev/sdb", "/dev/sdc"]);
    }
    assert_eq!((it.machine.lvm.count("repair"), it.machine.lvm.count("forget_missing")), (2, 1));
    it.host.create(&wanted("more")).unwrap();
}

#[test]
fn what_a_restart_cuts_short_goes_on_with_the_pool_awake() {
    for others in 0..8 {
        for at in [FailAt::Before, FailAt::After] {
            let it = Mirrors::of(entry(), 1);
            it.pull();
            it.machine.plug_in("sdc");
            it.wait();
            it.machine.lvm.fail_later(others, at);
            it.look();
            let Mirrors { machine, host, volumes } = it;
            drop(host);
            machine.lvm.reboot();
            let host = machine.open(vec![entry()]).unwrap();
            for lv in [POOL, volumes[0].as_str()] {
                assert!(machine.lvm.peek_at("tarn-fast", lv).unwrap().active, "{lv}");
            }
            assert_mended(&machine, &host, &format!("{others} {at:?}"));
        }
    }
}

#[test]
fn all_in_it_go_on_without_a_disk_that_errs_and_the_pool_is_what_tries_it_again() {
    let it = Mirrors::of(entry(), 2);
    it.machine.lvm.set_erring("tarn-fast", 0, true);
    it.look();
    let health = it.health();
    let [erring] = health.erring.as_slice() else { panic!("{health}") };
    let mut told = erring.volumes.clone();
    told.sort();
    let mut all: Vec<String> = it.volumes.iter().map(ToString::to_string).collect();
    all.push(POOL.to_owned());
    all.sort();
    assert_eq!((health.state(), told), ("Degraded", all));
    assert_eq!(it.machine.lvm.count("refresh"), 1, "both RAIDs at once");
    it.machine.lvm.set_erring("tarn-fast", 0, false);
    it.host.disks.tries.lose_patience();
    it.look();
    assert!(it.health().is_well(), "{}", it.health());
}
