//! Pools that come, change and go while the driver runs.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tarn::{
    csi::proto::CreateVolumeRequest, device::fake::Call, lvm::fake::FailAt, volume::Parameters,
};
use tonic::Code;

use crate::{
    ground::{Ground, code},
    requests::*,
};

fn on(group: &str) -> Value {
    json!({"volumeGroup": group})
}

fn with_parameters(wanted: CreateVolumeRequest, pairs: &[(&str, &str)]) -> CreateVolumeRequest {
    CreateVolumeRequest { parameters: map(pairs), ..wanted }
}

fn room(ground: &Ground) -> u64 {
    ground.host().capacity(&Parameters::default(), None).available.0
}

#[test]
fn a_driver_without_pools_waits_for_some() {
    let mut ground = Ground::with(Vec::new());
    assert_eq!(code(ground.create(volume("a"))), Code::ResourceExhausted);
    assert!(ground.set_pools(vec![("disks", on("vg0"))]).is_empty());
    ground.made(volume("a"));
}

#[test]
fn a_pool_that_cannot_be_opened_keeps_no_other_from_serving() {
    let mut ground = Ground::with(Vec::new());
    let failed = ground.set_pools(vec![
        ("absent", on("nothing")),
        ("neither", json!({})),
        ("disks", on("vg0")),
        ("again", on("vg0")),
    ]);
    assert_eq!(failed.len(), 3, "{failed:?}");
    assert!(failed[0].starts_with("pool absent: volume group nothing cannot"), "{failed:?}");
    assert_eq!(failed[1], "pool again: volume group vg0 is pool disks's already");
    assert!(failed[2].starts_with("pool neither: volumeGroup: give"), "{failed:?}");
    ground.made(volume("a"));
}

#[test]
fn what_has_not_changed_is_left_alone() {
    let mut ground = Ground::thick();
    let commands = ground.lvm.commands().len();
    let sequence = ground.host().sequence();
    assert!(ground.set_pools(vec![("disks", on("vg0"))]).is_empty());
    assert_eq!(ground.lvm.commands().len(), commands);
    assert_eq!(ground.host().sequence(), sequence);
}

#[test]
fn a_changed_pool_takes_up_what_changed_and_keeps_its_volumes() {
    let mut ground = Ground::thick();
    let a = ground.made(volume("a"));
    let before = room(&ground);
    let spec = json!({
        "volumeGroup": "vg0", "reserve": "1Gi", "layout": "Striped",
        "provisioning": "ThickAndThin", "thinPool": {"size": "1Gi"},
    });
    assert!(ground.set_pools(vec![("disks", spec)]).is_empty());
    assert!(room(&ground) < before - (2 << 30));
    let striped = ground.made(volume("striped"));
    assert!(ground.has_tag(&striped, "tarn.layout=striped:2"), "{:?}", ground.lv(&striped).tags);
    ground.made(with_parameters(volume("thin"), &[("provisioning", "Thin")]));
    ground.delete(&a).unwrap();
}

#[test]
fn a_pool_that_cannot_take_up_a_change_is_served_as_it_was() {
    let mut ground = Ground::thick();
    let wish = json!({
        "volumeGroup": "vg0", "provisioning": "ThickAndThin", "thinPool": {"size": "1Gi"},
    });
    ground.lvm.fail_once("create_thin_pool", FailAt::Before);
    assert_eq!(ground.set_pools(vec![("disks", wish.clone())]).len(), 1);
    ground.made(volume("a"));
    assert!(ground.set_pools(vec![("disks", wish)]).is_empty(), "the next try goes well");
    ground.made(with_parameters(volume("b"), &[("provisioning", "Thin")]));
}

#[test]
fn a_pool_let_go_of_is_left_as_it_is() {
    let mut ground = Ground::two_pools();
    let at = |pool| [("pool", pool)];
    let a = ground.made(with_parameters(volume("a"), &at("slow")));
    let (stage, target) = (ground.path("stage"), ground.path("pod"));
    ground.stage(staging(&a, &stage)).unwrap();
    ground.publish(publishing(&a, &stage, &target)).unwrap();
    let volumes = ground.lvs();
    assert!(ground.set_pools(vec![("fast", on("vg0"))]).is_empty());
    assert_eq!(ground.lvs(), volumes);
    let new = with_parameters(volume("b"), &at("slow"));
    assert_eq!(code(ground.create(new)), Code::ResourceExhausted);
    assert_eq!(code(ground.stage(staging(&a, &ground.path("other")))), Code::NotFound);
    // Its pods can still go.
    ground.unpublish(&a, &target).unwrap();
    ground.unstage(&a, &stage).unwrap();
    assert!(ground.mounts().is_empty());
    // And it is back when it is named again, also by another name.
    assert!(ground.set_pools(vec![("fast", on("vg0")), ("other", on("vg1"))]).is_empty());
    ground.stage(staging(&a, &stage)).unwrap();
}

#[test]
fn what_was_half_done_in_a_new_pool_is_finished() {
    let mut ground = Ground::thick();
    let a = ground.made(volume("a"));
    ground.devices.fail_once(Call::Copy);
    assert_eq!(code(ground.create(copy("b", &a))), Code::Aborted);
    ground.set_pools(Vec::new());
    ground.start();
    ground.start_background();
    assert!(ground.set_pools(vec![("disks", on("vg0"))]).is_empty());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while ground.host().volumes(None, 9).len() < 2 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn every_change_has_a_larger_number_and_is_told() {
    let ground = Ground::thin();
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    ground.host().on_change(move |number| listener.lock().unwrap().push(number));
    let before = ground.host().sequence();
    let a = ground.made(volume("a"));
    let made = ground.host().sequence();
    assert!(made > before);
    ground.settle();
    let settled = ground.host().sequence();
    ground.settle();
    assert_eq!(ground.host().sequence(), settled, "a report without news is none");
    ground.delete(&a).unwrap();
    assert!(ground.host().sequence() > settled);
    let status = ground.host().status();
    assert_eq!(status.sequence, ground.host().sequence());
    let told = told.lock().unwrap();
    assert!(told.is_sorted() && told.first() == Some(&(before + 1)));
    assert_eq!(told.last(), Some(&status.sequence));
}

#[test]
fn a_report_tells_the_room_of_any_class() {
    let ground = Ground::two_pools();
    ground.made(with_parameters(volume("a"), &[("pool", "fast"), ("provisioning", "Thin")]));
    ground.made(with_parameters(volume("b"), &[("pool", "fast")]));
    for pool in ground.host().status().pools {
        for class in [&[][..], &[("provisioning", "Thin")], &[("layout", "Striped")]] {
            let named = [class, &[("pool", pool.name.as_str())]].concat();
            let parameters = Parameters::parse(&map(&named)).unwrap();
            let here = ground.host().capacity(&parameters, None);
            let class = tarn::pool::Class::resolve(&parameters, &pool.name, &pool.spec, None);
            let elsewhere =
                class.map(|it| tarn::pool::capacity::room(&pool.stock, &pool.spec, &it));
            assert_eq!(elsewhere.unwrap_or_default(), here, "{named:?}");
        }
    }
}
