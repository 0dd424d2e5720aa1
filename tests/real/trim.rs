//! Deleted files of thin volumes come back to the thin pool.

use std::{fs, path::Path, time::Duration};

use crate::support::{
    Scene, Wish,
    content::{holds, pattern, put},
    ground::Ground,
    machine::{run, wait_until, wait_within},
    mib,
    pages::{PAGES, figure, page, told},
};

/// A moment comes within a minute, and is seen within a quarter of one.
const PERIOD: Duration = Duration::from_secs(120);

/// How much of a thin volume has blocks of the pool, in percent.
fn mapped(scene: &Scene, id: &str) -> f64 {
    let volume = format!("{}/{id}", scene.ground.vg);
    run("lvs", &["--noheadings", "-o", "data_percent", &volume]).trim().parse().unwrap()
}

fn fill_and_empty(directory: &Path) {
    let file = directory.join("large");
    fs::write(&file, pattern(7, 96 << 20)).unwrap();
    run("sync", &[]);
    fs::remove_file(file).unwrap();
    run("sync", &[]);
}

#[test]
#[ignore = "guest: a real thin pool, and file systems that discard"]
fn files_that_are_gone_come_back_to_the_thin_pool() {
    let ground = Ground::new(&[1000]);
    let pools = format!(
        "pools: [{{name: pool, volumeGroup: {}, provisioning: Thin, \
         thinPool: {{size: 800Mi, overprovision: 400, trim: 1m}}}}]\n",
        ground.vg
    );
    let scene = Scene::on(ground, &pools, &PAGES);
    let volumes: Vec<_> = ["ext4", "xfs", "btrfs"]
        .map(|kind| (kind, scene.make_used(&Wish::new(kind, kind, mib(320)))))
        .into_iter()
        .map(|(kind, (volume, target))| {
            put(&target, 0, 1);
            fill_and_empty(&target);
            let before = mapped(&scene, &volume.id);
            assert!(before > 30.0, "{kind}: {before}");
            (kind, volume, target, before)
        })
        .collect();
    for (kind, volume, target, before) in &volumes {
        wait_within(PERIOD, &format!("{kind} has given back what it does not use"), || {
            // Of the 30 hundredths of the file; meanwhile ext4 zeroes its inode tables, which are some of them.
            mapped(&scene, &volume.id) < before - 15.0
        });
        assert!(holds(target, 0, 1), "{kind}");
    }
    let counted = |outcome: &str| {
        let series = format!("tarn_pool_trims_total{{pool=\"pool\",outcome=\"{outcome}\"}}");
        told(&page("/metrics"), &series).unwrap()
    };
    assert!(counted("succeeded") >= 3.0);
    assert!(counted("failed") < 1.0);
    wait_until("the report shows it", || figure("thin_data_used_ratio") < 0.3);
    volumes.iter().for_each(|(_, volume, _, _)| scene.put_down(volume));
}
