//! Thin pools that fill up.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use rstest::rstest;
use tonic::Code;

use crate::support::{
    Scene, Wish,
    content::{forget_cached, holds, pattern, put},
    ground::Ground,
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

/// The same until a write fails; says how many are on disk.
fn fill_to_the_brim(device: &Path) -> u64 {
    let file = OpenOptions::new().write(true).open(device).unwrap();
    let write = |at: &u64| {
        file.write_all_at(&pattern(*at, 1 << 20), mib(*at)).and_then(|()| file.sync_data()).is_ok()
    };
    (0..).take_while(write).count() as u64
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

#[rstest]
#[case::linear(&[300], "Linear")]
#[case::mirrored(&[300, 300], "Raid1")]
#[case::with_parity(&[200, 200, 200], "Raid5")]
#[ignore = "guest: a real thin pool"]
fn a_pool_grows_before_it_is_full(#[case] disks: &[u64], #[case] layout: &str) {
    let spec = format!(
        "provisioning: Thin, reserve: 100Mi, thinPool: {{size: 100Mi, layout: {layout}, \
         overprovision: 400, autoextend: {{threshold: 60, percent: 50}}}}"
    );
    let scene = Scene::new(disks, &spec);
    let (promised, before) = (scene.capacity(&[]).0, pool_size(&scene));
    let (volume, target) = scene.make_used(&Wish::new("v", "block", mib(200)));
    fill(&target, 72);
    // The next change is followed by a look at the pool.
    scene.make(&Wish::new("other", "block", mib(4)));
    wait_until("the thin pool has grown", || pool_size(&scene) > before);
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

#[rstest]
#[case::linear(&[300], "Linear")]
#[case::mirrored(&[300, 300], "Raid1")]
#[ignore = "guest: a real full thin pool"]
fn a_pool_filled_to_the_brim_loses_nothing_acknowledged_and_recovers_when_it_is_grown(
    #[case] disks: &[u64],
    #[case] layout: &str,
) {
    let pools = |vg: &str, size: &str| {
        format!(
            "pools: [{{name: pool, volumeGroup: {vg}, provisioning: Thin, thinPool: {{size: {size}, \
             layout: {layout}, overprovision: 1000}}}}]\n"
        )
    };
    let ground = Ground::new(disks);
    let vg = ground.vg.clone();
    let mut scene = Scene::on(ground, &pools(&vg, "64Mi"), &[]);
    let (files, directory) = scene.make_used(&Wish::new("files", "ext4", mib(32)));
    put(&directory, 0, 1);
    let (_, target) = scene.make_used(&Wish::new("v", "block", mib(128)));
    let small = scene.make(&Wish::new("small", "block", mib(4)));
    let filled = fill_to_the_brim(&target);
    assert!((20..64).contains(&filled), "{filled}");
    assert_filled(&target, filled);
    // A change, which a report follows.
    scene.delete(&small).unwrap();
    wait_until("the pool counts as full", || scene.capacity(&[]) == (0, 0));
    refused(scene.try_make(&Wish::new("more", "block", mib(8))), Code::ResourceExhausted);

    scene.stop();
    fs::write(scene.home().join("pools.yaml"), pools(&vg, "200Mi")).unwrap();
    scene.start();
    assert!(scene.capacity(&[]).0 > 0);
    assert_filled(&target, filled);
    fill(&target, 120);
    assert_filled(&target, 120);
    // A file system that met the brim may have shut itself: it is opened anew, with all that it promised.
    scene.put_down(&files);
    let directory = scene.take_up(&files);
    assert!(holds(&directory, 0, 1));
    put(&directory, 1, 2);
}
