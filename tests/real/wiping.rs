//! Nobody reads what was in a deleted thick volume.

use std::path::Path;

use crate::support::{
    Scene, Wish,
    content::{forget_cached, put, stands_in},
    machine::{run, wait_until},
    mib,
};

/// Whether any of what was written shows in the first `size` MiB of a device.
fn is_on(disk: &str, size: u64, seeds: &[u64]) -> bool {
    forget_cached();
    stands_in(Path::new(disk), mib(size), seeds)
}

/// Waits until all of the pool is free again.
#[track_caller]
fn wait_for(scene: &Scene, capacity: (u64, u64)) {
    wait_until("deleted volumes are wiped", || scene.capacity(&[]) == capacity);
}

#[test]
#[ignore = "guest: real blocks"]
fn no_byte_of_a_deleted_volume_can_be_read() {
    let scene = Scene::new(&[160], "wipe: Zero");
    let all = scene.capacity(&[]);
    let disk = scene.ground.disk(0);
    let mut ids = Vec::new();
    for (kind, seed) in [("ext4", 1001), ("block", 1011)] {
        let (volume, target) = scene.make_used(&Wish::new(kind, kind, mib(24)));
        put(&target, 0, seed);
        ids.push(scene.snapshot(&format!("{kind}-then"), &volume).unwrap().snapshot_id);
        // What the snapshot keeps is copied to blocks of its own when it is overwritten.
        put(&target, 0, seed + 1);
        run("sync", &[]);
    }
    let seeds = [1001, 1002, 1011, 1012];
    for seed in seeds {
        assert!(is_on(disk, 164, &[seed]), "{seed} never came to the disk");
    }
    scene.clear();
    wait_for(&scene, all);
    let whole = scene.make(&Wish::new("whole", "block", all.1));
    let target = scene.take_up(&whole);
    assert!(!is_on(target.to_str().unwrap(), 160, &seeds), "a new volume shows old bytes");
    assert!(!is_on(disk, 164, &seeds), "old bytes are on the disk");
}

#[test]
#[ignore = "guest: a real kill in a real wipe"]
fn a_wipe_that_was_cut_short_goes_on() {
    let mut scene = Scene::new(&[400], "wipe: Zero");
    let all = scene.capacity(&[]);
    let disk = scene.ground.disk(0);
    for (round, seed) in [2001, 2002, 2003].into_iter().enumerate() {
        let (volume, target) = scene.make_used(&Wish::new("v", "block", mib(300)));
        put(&target, 0, seed);
        put(&target, 74, seed);
        scene.put_down(&volume);
        match round {
            0 => {
                scene.delete(&volume).unwrap();
                scene.kill();
            }
            1 => {
                scene.delete(&volume).unwrap();
                scene.stop();
            }
            // As it is when the very first step was all that was done.
            _ => {
                scene.kill();
                let hidden = format!("x-{}-0", volume.id);
                run("lvrename", &["-qq", &scene.ground.vg, &volume.id, &hidden]);
            }
        }
        scene.start();
        assert_eq!(scene.volumes(), Vec::<String>::new());
        // Deleting again what is only being wiped is fine.
        scene.delete(&volume).unwrap();
        wait_for(&scene, all);
        assert!(!is_on(disk, 404, &[seed]), "round {round}");
    }
}

#[test]
#[ignore = "guest: real blocks"]
fn a_pool_that_does_not_wipe_gives_back_at_once() {
    let scene = Scene::new(&[100], "wipe: None");
    let all = scene.capacity(&[]);
    let volume = scene.make(&Wish::new("v", "block", all.1));
    assert_eq!(scene.capacity(&[]), (0, 0));
    scene.delete(&volume).unwrap();
    assert_eq!(scene.capacity(&[]), all);
}
