//! Thin pools that fill up.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use tonic::Code;

use crate::support::{
    Scene, Wish,
    content::{forget_cached, pattern},
    machine::{run, wait_until},
    mib, refused,
};

/// Writes a pattern of each MiB's own to the first ones of a device, each on disk before the next.
fn fill(device: &Path, count: u64) {
    let file = OpenOptions::new().write(true).open(device).unwrap();
    for at in 0..count {
        file.write_all_at(&pattern(at, 1 << 20), mib(at)).unwrap();
        file.sync_data().unwrap();
    }
}

#[track_caller]
fn assert_filled(device: &Path, count: u64) {
    forget_cached();
    let file = File::open(device).unwrap();
    let mut found = vec![0; 1 << 20];
    for at in 0..count {
        file.read_exact_at(&mut found, mib(at)).unwrap();
        assert!(found == pattern(at, 1 << 20), "MiB {at} is not what was written");
    }
}

fn pool_size(scene: &Scene) -> u64 {
    let pool = format!("{}/tarn-thin", scene.ground.vg);
    let columns = ["--noheadings", "--units", "m", "--nosuffix", "-o", "lv_size", &pool];
    let size: f64 = run("lvs", &columns).trim().parse().unwrap();
    mib(format!("{size:.0}").parse().unwrap())
}

#[test]
#[ignore = "guest: a real thin pool"]
fn a_pool_grows_before_it_is_full() {
    let spec = "provisioning: Thin, reserve: 100Mi, thinPool: {size: 100Mi, overprovision: 400, \
                autoextend: {threshold: 60, percent: 50}}";
    let scene = Scene::new(&[300], spec);
    let promised = scene.capacity(&[]).0;
    let (volume, target) = scene.make_used(&Wish::new("v", "block", mib(200)));
    fill(&target, 72);
    // The next change is followed by a look at the pool.
    scene.make(&Wish::new("other", "block", mib(4)));
    wait_until("the thin pool has grown", || pool_size(&scene) > mib(100));
    // It may grow by half at a time, and not into the reserve.
    let grown = pool_size(&scene);
    assert!(grown >= mib(140) && grown <= mib(200), "{grown}");
    // Known with the report that follows the growth.
    wait_until("more may be promised", || scene.capacity(&[]).0 > promised - mib(204));
    assert_filled(&target, 72);
    scene.put_down(&volume);
}

#[test]
#[ignore = "guest: a real full thin pool"]
fn a_full_pool_takes_no_volumes_and_loses_no_bytes() {
    let spec = "provisioning: Thin, thinPool: {size: 64Mi, overprovision: 1000}";
    let scene = Scene::new(&[200], spec);
    let wish = Wish::new("v", "block", mib(128));
    let (volume, target) = scene.make_used(&wish);
    let small = scene.make(&Wish::new("small", "block", mib(4)));
    fill(&target, 62);
    scene.delete(&small).unwrap();
    wait_until("the pool counts as full", || scene.capacity(&[]) == (0, 0));
    let more = |name: &str| Wish::new(name, "block", mib(128));
    refused(scene.try_make(&more("more")), Code::ResourceExhausted);
    refused(scene.try_make(&more("copy").of_volume(&volume.id)), Code::ResourceExhausted);
    // What there is goes on.
    assert_eq!(scene.make(&wish).id, volume.id);
    assert_filled(&target, 62);
    scene.put_down(&volume);
    assert_filled(&scene.take_up(&volume), 62);
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    wait_until("there is room again", || scene.capacity(&[]).1 >= mib(128));
    scene.make(&more("more"));
}
