//! What is in use is not deleted, and is none the worse for the attempt.

use std::fs::File;

use tonic::Code;

use crate::support::{
    Scene, Wish,
    content::{forget_cached, holds, put},
    machine::run,
    mib, refused,
};

#[test]
#[ignore = "guest: real mounts"]
fn a_mounted_volume_is_not_deleted() {
    let scene = Scene::usual();
    for (name, provisioning) in [("thick", "Thick"), ("thin", "Thin")] {
        let wish = Wish::new(name, "ext4", mib(32)).with("provisioning", provisioning);
        let (volume, target) = scene.make_used(&wish);
        put(&target, 0, 7);
        refused(scene.delete(&volume), Code::FailedPrecondition);
        scene.unpublish(&volume, "pod").unwrap();
        let said = refused(scene.delete(&volume), Code::FailedPrecondition);
        assert!(said.contains("mounted at"), "{said}");
        // A mount that nobody told us of counts too.
        let aside = scene.home().join("aside");
        std::fs::create_dir_all(&aside).unwrap();
        let staging = scene.staging(&volume);
        run("mount", &["--bind", staging.to_str().unwrap(), aside.to_str().unwrap()]);
        scene.unstage(&volume).unwrap();
        refused(scene.delete(&volume), Code::FailedPrecondition);
        run("umount", &[aside.to_str().unwrap()]);
        std::fs::remove_dir(&aside).unwrap();

        forget_cached();
        let target = scene.take_up(&volume);
        assert!(holds(&target, 0, 7));
        scene.put_down(&volume);
        scene.delete(&volume).unwrap();
    }
}

#[test]
#[ignore = "guest: real loop and dm devices"]
fn a_block_volume_that_is_held_open_is_not_deleted() {
    let scene = Scene::new(&[200], "wipe: Zero");
    let (volume, target) = scene.make_used(&Wish::new("raw", "block", mib(16)));
    put(&target, 0, 8);
    let said = refused(scene.delete(&volume), Code::FailedPrecondition);
    assert!(said.contains("mounted at"), "{said}");
    scene.put_down(&volume);
    let device = scene.device(&volume.id);
    let path = device.to_str().unwrap();

    // As the kubelet holds published block volumes.
    let held = run("losetup", &["--find", "--show", path]);
    let said = refused(scene.delete(&volume), Code::FailedPrecondition);
    assert!(said.contains("open"), "{said}");
    run("losetup", &["-d", held.trim()]);

    let open = File::open(&device).unwrap();
    refused(scene.delete(&volume), Code::FailedPrecondition);
    drop(open);

    let sectors = (volume.size / 512).to_string();
    run("dmsetup", &["create", "atop", "--table", &format!("0 {sectors} linear {path} 0")]);
    refused(scene.delete(&volume), Code::FailedPrecondition);
    run("dmsetup", &["remove", "atop"]);

    assert!(holds(&device, 0, 8), "the refused deletes changed it");
    scene.delete(&volume).unwrap();
}

#[test]
#[ignore = "guest: a real open snapshot"]
fn a_snapshot_that_is_held_open_is_not_deleted() {
    let scene = Scene::new(&[200], "wipe: Zero");
    let volume = scene.make(&Wish::new("raw", "block", mib(16)));
    let snapshot = scene.snapshot("then", &volume).unwrap().snapshot_id;
    let open = File::open(scene.device(&snapshot)).unwrap();
    refused(scene.delete_snapshot(&snapshot), Code::FailedPrecondition);
    refused(scene.delete(&volume), Code::FailedPrecondition);
    drop(open);
    assert_eq!(scene.snapshots(), [snapshot.as_str()]);
    scene.delete_snapshot(&snapshot).unwrap();
    scene.delete(&volume).unwrap();
}
