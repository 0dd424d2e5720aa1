//! Targets and staging paths as kubelets, crashes and attackers leave them.

use std::{
    fs::{self, File},
    os::unix::fs::{FileTypeExt, symlink},
};

use nix::libc::EROFS;
use tarn::csi::proto::volume_capability::access_mode::Mode::SingleNodeSingleWriter;
use tonic::Code;

use crate::support::{
    Scene, Wish,
    content::{holds, put},
    machine::{mounts_below, run},
    mib, refused,
};

#[test]
#[ignore = "guest: real mounts"]
fn a_read_only_publish_is_read_only() {
    let scene = Scene::new(&[400], "wipe: None");
    for (name, kind, size) in [("e", "ext4", mib(32)), ("x", "xfs", mib(304))] {
        let (volume, target) = scene.make_used(&Wish::new(name, kind, size));
        let reader = scene.publish(&volume, "reader", true).unwrap();
        put(&target, 0, 1);
        assert!(holds(&reader, 0, 1));
        let denied = File::create(reader.join("new")).unwrap_err();
        assert_eq!(denied.raw_os_error(), Some(EROFS));
        // Once more in the same way is fine, in the other it is not.
        scene.publish(&volume, "reader", true).unwrap();
        refused(scene.publish(&volume, "reader", false), Code::AlreadyExists);
        refused(scene.publish(&volume, "pod", true), Code::AlreadyExists);
        put(&target, 1, 2);
        scene.unpublish(&volume, "reader").unwrap();
        assert!(!reader.try_exists().unwrap());
        assert!(holds(&target, 1, 2));
        scene.put_down(&volume);
        scene.delete(&volume).unwrap();
    }
}

#[test]
#[ignore = "guest: real mounts"]
fn a_volume_of_one_writer_has_one_target() {
    let scene = Scene::new(&[100], "wipe: None");
    for kind in ["ext4", "block"] {
        let wish = Wish::new(kind, kind, mib(16)).mode(SingleNodeSingleWriter);
        let (volume, _) = scene.make_used(&wish);
        scene.publish(&volume, "pod", false).unwrap();
        refused(scene.publish(&volume, "other", false), Code::FailedPrecondition);
        let other = scene.target(&volume, "other");
        assert!(!other.try_exists().unwrap(), "the refused target was made");
        scene.unpublish(&volume, "pod").unwrap();
        scene.publish(&volume, "other", false).unwrap();
    }
}

#[test]
#[ignore = "guest: real mounts"]
fn stacked_mounts_are_all_taken_off() {
    let scene = Scene::new(&[100], "wipe: None");
    for kind in ["ext4", "block"] {
        let (volume, target) = scene.make_used(&Wish::new(kind, kind, mib(16)));
        let device = scene.device(&volume.id);
        let (staging, at) = (scene.staging(&volume), target.to_str().unwrap());
        let from = if kind == "block" { &device } else { &staging };
        let from = from.to_str().unwrap();
        for _ in 0..2 {
            run("mount", &["--bind", from, at]);
        }
        if kind == "ext4" {
            run("mount", &["--bind", from, from]);
        }
        scene.put_down(&volume);
        assert_eq!(mounts_below(scene.home()), Vec::<String>::new());
        assert!(!target.try_exists().unwrap());
    }
}

#[test]
#[ignore = "guest: real mounts"]
fn targets_that_are_there_already() {
    let scene = Scene::new(&[100], "wipe: None");
    let volume = scene.make(&Wish::new("v", "ext4", mib(16)));
    scene.stage(&volume).unwrap();

    // The kubelet or an earlier try made the directory.
    let target = scene.target(&volume, "pod");
    fs::create_dir_all(&target).unwrap();
    scene.publish(&volume, "pod", false).unwrap();
    scene.unpublish(&volume, "pod").unwrap();
    assert!(!target.try_exists().unwrap());

    // Files that somebody put there are never deleted.
    fs::create_dir_all(&target).unwrap();
    fs::write(target.join("precious"), "x").unwrap();
    let published = scene.publish(&volume, "pod", false);
    let unpublished = scene.unpublish(&volume, "pod");
    assert_eq!(fs::read_to_string(target.join("precious")).unwrap(), "x");
    for answer in [published.map(drop), unpublished] {
        let code = answer.map_or_else(|status| status.code(), |()| Code::Ok);
        assert!(matches!(code, Code::Ok | Code::FailedPrecondition), "{code:?}");
    }
    fs::remove_dir_all(&target).unwrap();
    scene.unpublish(&volume, "pod").unwrap();

    // Another file system is mounted there.
    fs::create_dir_all(&target).unwrap();
    run("mount", &["-t", "tmpfs", "other", target.to_str().unwrap()]);
    refused(scene.publish(&volume, "pod", false), Code::FailedPrecondition);
    scene.unpublish(&volume, "pod").unwrap();
    assert_eq!(mounts_below(&target).len(), 1, "a stranger's mount is not ours to take off");
    run("umount", &[target.to_str().unwrap()]);
}

#[test]
#[ignore = "guest: real mounts"]
fn tricks_with_paths_do_no_harm() {
    let scene = Scene::new(&[100], "wipe: None");
    let elsewhere = scene.home().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("precious"), "x").unwrap();
    fs::create_dir_all(scene.home().join("pods")).unwrap();
    for kind in ["ext4", "block"] {
        let volume = scene.make(&Wish::new(kind, kind, mib(16)));
        scene.stage(&volume).unwrap();
        let link = scene.home().join(format!("pods/link-{kind}"));
        symlink(&elsewhere, &link).unwrap();
        refused(scene.publish_at(&volume, link.to_str().unwrap(), false), Code::FailedPrecondition);
        let upward = format!("{}/pods/../elsewhere", scene.home().display());
        for target in [upward.as_str(), "relative/path", "-rf", "/", "/\0x"] {
            refused(scene.publish_at(&volume, target, false), Code::InvalidArgument);
            refused(scene.unpublish_at(&volume.id, target), Code::InvalidArgument);
        }
        fs::remove_file(&link).unwrap();
        // Option-like and spaced names are names.
        for name in ["-rf", "a b\n\\040c", "--bind", "üñí"] {
            let target = scene.home().join("pods").join(name);
            scene.publish_at(&volume, target.to_str().unwrap(), false).unwrap();
            scene.publish_at(&volume, target.to_str().unwrap(), false).unwrap();
            let there = fs::metadata(&target).unwrap().file_type();
            assert!(if kind == "block" { there.is_block_device() } else { there.is_dir() });
            scene.unpublish_at(&volume.id, target.to_str().unwrap()).unwrap();
            assert!(!target.try_exists().unwrap());
        }
        scene.unstage(&volume).unwrap();
    }
    assert_eq!(fs::read_to_string(elsewhere.join("precious")).unwrap(), "x");
    fs::remove_dir_all(elsewhere).unwrap();
}
