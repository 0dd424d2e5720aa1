//! Every call may come again, and two may come at once.

use std::thread;

use rstest::rstest;
use tarn::csi::proto::volume_capability::access_mode::Mode::SingleNodeMultiWriter;
use tonic::Code;

use crate::support::{
    Scene, Wish,
    calls::Csi,
    content::{holds, put},
    driver::socket,
    machine::run,
    mib, refused,
    wish::capability,
};

#[rstest]
#[case::thick_file_system("ext4", "Thick")]
#[case::thin_block("block", "Thin")]
#[ignore = "guest: real tools"]
fn every_call_twice_is_once(#[case] kind: &str, #[case] provisioning: &str) {
    let scene = Scene::usual();
    let wish = |size| Wish::new("v", kind, size).with("provisioning", provisioning);
    let volume = scene.make(&wish(mib(16)));
    let same = scene.make(&wish(mib(16)));
    assert_eq!((&same.id, same.size), (&volume.id, volume.size));
    refused(scene.try_make(&wish(mib(64))), Code::AlreadyExists);
    let other = if kind == "block" { "ext4" } else { "block" };
    let other = Wish::new("v", other, mib(16)).with("provisioning", provisioning);
    refused(scene.try_make(&other), Code::AlreadyExists);

    let target = scene.take_up(&volume);
    put(&target, 0, 1);
    assert_eq!(scene.take_up(&volume), target);
    assert!(holds(&target, 0, 1), "a second stage made the file system anew");
    if kind == "ext4" {
        let flagged = capability("ext4", SingleNodeMultiWriter, &["noatime".to_owned()]);
        refused(scene.stage_as(&volume, flagged), Code::AlreadyExists);
        let xfs = capability("xfs", SingleNodeMultiWriter, &[]);
        scene.stage_as(&volume, xfs).unwrap_err();
    }
    for _ in 0..2 {
        assert_eq!(scene.expand(&volume, mib(32)).unwrap(), mib(32));
        assert_eq!(scene.node_expand(&volume, &target).unwrap(), mib(32));
    }
    let taken = scene.snapshot("s", &volume).unwrap();
    assert_eq!(scene.snapshot("s", &volume).unwrap(), taken);
    let stranger = scene.make(&Wish::new("w", kind, mib(16)).with("provisioning", provisioning));
    refused(scene.snapshot("s", &stranger), Code::AlreadyExists);
    let copy = wish(mib(32)).of_snapshot(&taken.snapshot_id);
    refused(scene.try_make(&copy), Code::AlreadyExists);
    let mut copy = copy;
    copy.name = "copy".to_owned();
    assert_eq!(scene.make(&copy).id, scene.make(&copy).id);

    for _ in 0..2 {
        scene.unpublish(&volume, "pod").unwrap();
    }
    for _ in 0..2 {
        scene.unstage(&volume).unwrap();
    }
    for _ in 0..2 {
        scene.delete_snapshot(&taken.snapshot_id).unwrap();
    }
    for _ in 0..2 {
        scene.delete(&volume).unwrap();
    }
    refused(scene.stage(&volume), Code::NotFound);
    refused(scene.expand(&volume, mib(64)), Code::NotFound);
    scene.unpublish(&volume, "pod").unwrap();
    scene.unstage(&volume).unwrap();
    // The name is free again, and has nothing of what was.
    let anew = scene.make(&wish(mib(16)));
    assert!(!holds(&scene.take_up(&anew), 0, 1));
}

#[test]
#[ignore = "guest: real LVM"]
fn calls_at_once_make_one_volume() {
    let scene = Scene::new(&[200], "wipe: None");
    let wish = Wish::new("same", "ext4", mib(16));
    let codes: Vec<Code> = thread::scope(|scope| {
        let call = || {
            let csi = Csi::connect(&socket(scene.home()));
            csi.create_volume(wish.request()).map_or_else(|status| status.code(), |_| Code::Ok)
        };
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(call)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(codes.contains(&Code::Ok), "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, Code::Ok | Code::Aborted)), "{codes:?}");
    assert_eq!(run("lvs", &["--noheadings", &scene.ground.vg]).lines().count(), 1);

    // Volumes of many names come side by side, up to what fits exactly.
    let codes: Vec<Code> = thread::scope(|scope| {
        let call = |number: u64| {
            let csi = Csi::connect(&socket(scene.home()));
            let wish = Wish::new(&format!("v{number}"), "block", mib(32));
            csi.create_volume(wish.request()).map_or_else(|status| status.code(), |_| Code::Ok)
        };
        let calls: Vec<_> = (0..8).map(|number| scope.spawn(move || call(number))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == Code::Ok).count(), 5, "{codes:?}");
    let full = codes.iter().filter(|code| **code == Code::ResourceExhausted).count();
    assert_eq!(full, 3, "{codes:?}");
}
