//! What an earlier life left half done is put right at the start.

use std::fs;

use crate::support::{
    Scene, Wish,
    content::{holds, put},
    ground::Ground,
    machine::{attempt, run, wait_until},
    mib,
};

/// The name of a volume's device in device-mapper, where hyphens are doubled.
fn mapped(vg: &str, volume: &str) -> String {
    format!("{}-{}", vg.replace('-', "--"), volume.replace('-', "--"))
}

fn tags(scene: &Scene, id: &str) -> String {
    run("lvs", &["--noheadings", "-o", "lv_tags", &format!("{}/{id}", scene.ground.vg)])
}

#[test]
#[ignore = "guest: a real suspended device"]
fn suspended_volumes_are_resumed() {
    let mut scene = Scene::usual();
    let thin = Wish::new("thin", "ext4", mib(32)).with("provisioning", "Thin");
    let mut used = Vec::new();
    for wish in [Wish::new("thick", "ext4", mib(32)), Wish::new("raw", "block", mib(8)), thin] {
        let (volume, target) = scene.make_used(&wish);
        put(&target, 0, 1);
        used.push((volume, target));
    }
    scene.kill();
    for (volume, _) in &used {
        run("dmsetup", &["suspend", &mapped(&scene.ground.vg, &volume.id)]);
    }
    scene.start();
    for (_, target) in &used {
        assert!(holds(target, 0, 1));
        put(target, 1, 2);
    }
}

/// Takes a thin volume out of its pool behind LVM's back, as a kill in the middle of its creation
/// leaves it.
fn lose_in_pool(scene: &Scene, id: &str) {
    let volume = format!("{}/{id}", scene.ground.vg);
    let number = run("lvs", &["--noheadings", "-o", "thin_id", &volume]);
    run("lvchange", &["-an", &volume]);
    let pool = format!("{}-tpool", mapped(&scene.ground.vg, "tarn-thin"));
    run("dmsetup", &["message", &pool, "0", &format!("delete {}", number.trim())]);
}

#[test]
#[ignore = "guest: a real thin pool"]
fn a_thin_volume_that_its_pool_does_not_know() {
    let mut scene = Scene::usual();
    let wish = |name: &str| Wish::new(name, "ext4", mib(32)).with("provisioning", "Thin");
    let (used, target) = scene.make_used(&wish("used"));
    put(&target, 0, 1);
    scene.put_down(&used);
    let (kept, fresh) = (scene.make(&wish("kept")), scene.make(&wish("fresh")));
    wait_until("the staged volume counts as used", || !tags(&scene, &used.id).contains("fresh"));
    scene.kill();
    lose_in_pool(&scene, &used.id);
    lose_in_pool(&scene, &fresh.id);
    scene.start();

    // Nobody ever had it, so it goes, and may be made anew.
    assert!(!scene.volumes().contains(&fresh.id));
    let (again, at) = scene.make_used(&wish("fresh"));
    assert_eq!(again.id, fresh.id);
    put(&at, 0, 2);
    // Somebody had this one: it stays and is told of, and can be deleted.
    assert!(scene.volumes().contains(&used.id) && scene.volumes().contains(&kept.id));
    let log = fs::read_to_string(scene.home().join("driver.log")).unwrap();
    let told = |line: &str| line.contains(&used.id) && line.contains("cannot be activated");
    assert!(log.lines().any(told), "{log}");
    scene.stage(&used).unwrap_err();
    scene.delete(&used).unwrap();
    assert!(scene.take_up(&kept).try_exists().unwrap());
}

#[test]
#[ignore = "guest: real LVM"]
fn half_made_things_are_taken_away() {
    let ground = Ground::new(&[1000]);
    let vg = ground.vg.clone();
    // What is left of a thin pool whose creation was killed.
    run("lvcreate", &["-qq", "-an", "-n", "tarn-thin", "-L", "8m", "-Wn", "-Zn", &vg]);
    let pools = format!(
        "pools: [{{name: pool, volumeGroup: {vg}, provisioning: ThickAndThin, thinPool: {{size: 200Mi}}}}]"
    );
    let mut scene = Scene::on(ground, &pools, &[]);
    scene.make(&Wish::new("thin", "block", mib(8)).with("provisioning", "Thin"));
    let all = scene.capacity(&[]);

    let (origin, target) = scene.make_used(&Wish::new("origin", "block", mib(64)));
    put(&target, 0, 3);
    let copy = Wish::new("copy", "block", mib(64)).of_volume(&origin.id);
    let copied = scene.make(&copy);
    scene.kill();
    // The copy was not whole when its source went, or its marks were not taken off yet.
    let lv = format!("{vg}/{}", copied.id);
    run("lvchange", &["-qq", "--addtag", "tarn.copying", &lv]);
    fs::write("/run/zeros", vec![0; 1 << 20]).unwrap();
    let to = format!("of={}", scene.device(&copied.id).display());
    run("dd", &["if=/run/zeros", &to, "bs=1M", "conv=fsync", "status=none"]);
    scene.start();
    wait_until("the copy is made whole", || !tags(&scene, &copied.id).contains("copying"));
    let again = scene.make(&copy);
    assert!(holds(&scene.take_up(&again), 0, 3));

    // An inactive volume, as `lvcreate` leaves it when it is killed before it activates.
    scene.put_down(&origin);
    scene.kill();
    run("lvchange", &["-qq", "-an", &format!("{vg}/{}", origin.id)]);
    scene.start();
    assert!(holds(&scene.take_up(&origin), 0, 3));

    // An active one without its node, as without udev, when it is killed just after.
    scene.put_down(&origin);
    scene.kill();
    fs::remove_file(scene.device(&origin.id)).unwrap();
    scene.start();
    assert!(holds(&scene.take_up(&origin), 0, 3));
    assert!(attempt("test", &["-b", scene.device(&origin.id).to_str().unwrap()]).status.success());
    scene.clear();
    wait_until("all of the room is back", || scene.capacity(&[]) == all);
}

/// A kill in the middle of `lvcreate --snapshot` leaves the snapshot's room as a plain volume, and in
/// the kernel, under that one's name, a snapshot that cannot be read.
#[test]
#[ignore = "guest: real LVM"]
fn the_room_of_a_snapshot_that_was_cut_short_is_given_back() {
    let mut scene = Scene::usual();
    let vg = scene.ground.vg.clone();
    let all = scene.capacity(&[]);
    let origin = scene.make(&Wish::new("origin", "block", mib(16)));
    let before = scene.capacity(&[]);
    let id = scene.snapshot("then", &origin).unwrap().snapshot_id;
    scene.delete_snapshot(&id).unwrap();
    wait_until("the first snapshot is gone", || scene.capacity(&[]) == before);
    scene.kill();
    let lv = format!("{vg}/{id}");
    run("lvcreate", &["-qq", "-an", "-n", &id, "-L", "20m", "-Wn", "-Zn", &vg]);
    let uuid = run("lvs", &["--noheadings", "-o", "vg_uuid,lv_uuid", &lv]);
    let uuid: String = uuid.chars().filter(char::is_ascii_alphanumeric).collect();
    let (uuid, name) = (format!("LVM-{uuid}"), mapped(&vg, &id));
    run("dmsetup", &["create", "--uuid", &uuid, &name, "--table", "0 32768 error"]);
    scene.start();
    wait_until("its room is wiped and given back", || scene.capacity(&[]) == before);
    scene.snapshot("then", &origin).unwrap();
    scene.clear();
    wait_until("all of the room is back", || scene.capacity(&[]) == all);
}
