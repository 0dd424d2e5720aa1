//! How a driver starts: over which pools, and with which sentence it does not.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use nix::sys::signal::Signal;
use rstest::rstest;
use tonic::Code;

use crate::support::{
    Scene, Wish,
    content::{holds, put},
    driver::standalone,
    ground::{Ground, attached_below},
    machine::run,
    mib, refused,
};

/// What a driver says that must not start.
#[track_caller]
fn complaint(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[rstest]
#[case::no_group("pools: [{name: a, volumeGroup: nowhere}]", &["pool a", "vgcreate nowhere"])]
#[case::mistakes("pools:\n- name: a\n  stripes: 1\n", &["2 mistakes", "line 2", "line 3", "stripes"])]
#[case::thin_too_large(
    "pools: [{name: a, volumeGroup: GROUND, provisioning: Thin, thinPool: {size: 9Ti}}]",
    &["pool a", "thin pool"]
)]
#[ignore = "guest: looks at LVM"]
fn a_start_that_cannot_be_says_why(#[case] pools: &str, #[case] words: &[&str]) {
    let ground = Ground::new(&[40]);
    let pools = pools.replace("GROUND", &ground.vg);
    fs::write(ground.home.join("pools.yaml"), pools).unwrap();
    let said = complaint(standalone(&ground.home));
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert_eq!(run("lvs", &["--noheadings", &ground.vg]).trim(), "");
}

/// A directory of links to every program but one.
fn all_but(missing: &str, at: &Path) {
    fs::create_dir(at).unwrap();
    for folder in ["/usr/sbin", "/usr/bin"] {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != missing {
                // A program that is in both is linked once.
                drop(symlink(entry.path(), at.join(entry.file_name())));
            }
        }
    }
}

#[test]
#[ignore = "guest: the real programs"]
fn a_missing_or_old_program_is_named_with_its_package() {
    let ground = Ground::new(&[]);
    fs::write(ground.home.join("pools.yaml"), "pools: [{name: a, volumeGroup: vg}]").unwrap();
    let programs = ground.home.join("programs");
    for (program, package) in [("mkfs.xfs", "xfsprogs"), ("lvm", "lvm2")] {
        all_but(program, &programs);
        let mut command = standalone(&ground.home);
        command.env("PATH", &programs);
        let said = complaint(command);
        assert!(said.contains(&format!("{program} (Debian package {package})")), "{said}");
        fs::remove_dir_all(&programs).unwrap();
    }
    ground.wrap("lvm", "echo '  LVM version:     2.02.133(2) (2015-10-30)'");
    let said = complaint(standalone(&ground.home));
    assert!(said.contains("2.02.133") && said.contains("lvm2"), "{said}");
}

#[test]
#[ignore = "guest: a real driver on real LVM"]
fn a_second_driver_on_a_socket_does_not_start() {
    let mut scene = Scene::new(&[40], "wipe: None");
    let said = complaint(standalone(scene.home()));
    assert!(said.contains("another driver serves"), "{said}");
    scene.make(&Wish::new("v", "block", mib(4)));
    // The socket of a driver that was killed is replaced.
    scene.kill();
    scene.start();
    assert_eq!(scene.volumes().len(), 1);
    scene.driver().signal(Signal::SIGINT);
    assert_eq!(scene.driver().ended().code(), Some(0));
    assert!(!scene.home().join("csi.sock").try_exists().unwrap());
    scene.start();
}

#[test]
#[ignore = "guest: two real volume groups"]
fn two_pools_are_kept_apart() {
    let mut ground = Ground::new(&[80]);
    let second = ground.second_group(120);
    let pools = format!(
        "pools:\n- {{name: a, volumeGroup: {}, wipe: None}}\n- {{name: b, volumeGroup: {second}, wipe: None}}\n",
        ground.vg
    );
    let scene = Scene::on(ground, &pools, &[]);
    let in_pool = |name: &str, size, pool: &str| Wish::new(name, "block", size).with("pool", pool);
    let said = refused(scene.try_make(&Wish::new("v", "block", mib(4))), Code::InvalidArgument);
    assert!(said.contains("a, b"), "{said}");
    refused(scene.try_make(&in_pool("v", mib(4), "c")), Code::ResourceExhausted);
    let a = scene.make(&in_pool("a", mib(80), "a"));
    refused(scene.try_make(&in_pool("more", mib(4), "a")), Code::ResourceExhausted);
    assert_eq!(scene.capacity(&[("pool", "a")]), (0, 0));
    assert_eq!(scene.capacity(&[("pool", "b")]), (mib(120), mib(120)));
    assert_eq!(scene.capacity(&[("pool", "c")]), (0, 0));
    // A name is used once, whatever the pool.
    refused(scene.try_make(&in_pool("a", mib(80), "b")), Code::AlreadyExists);
    let b = scene.make(&in_pool("b", mib(40), "b"));
    let elsewhere = in_pool("copy", mib(40), "a").of_volume(&b.id);
    refused(scene.try_make(&elsewhere), Code::InvalidArgument);
    assert_eq!(scene.volumes().len(), 2);
    scene.delete(&a).unwrap();
    assert!(run("lvs", &["--noheadings", &second]).contains(&b.id));
}

#[test]
#[ignore = "guest: real loop devices"]
fn a_loop_file_is_attached_again_and_grows() {
    let mut ground = Ground::new(&[]);
    ground.vg = "tarn-pool".to_owned();
    let pools = |size: &str| {
        let directory = ground.home.join("images").display().to_string();
        format!(
            "pools: [{{name: pool, wipe: None, loopFile: {{directory: {directory}, size: {size}}}}}]"
        )
    };
    let (small, large) = (pools("96Mi"), pools("160Mi"));
    let mut scene = Scene::on(ground, &small, &[]);
    let before = scene.capacity(&[]).1;
    let (volume, target) = scene.make_used(&Wish::new("v", "ext4", mib(32)));
    put(&target, 0, 5);
    scene.put_down(&volume);

    // As after a reboot: neither the group nor the file is attached.
    scene.stop();
    run("vgchange", &["-qq", "-an", "tarn-pool"]);
    attached_below(scene.home()).iter().for_each(|device| drop(run("losetup", &["-d", device])));
    scene.start();
    assert!(holds(&scene.take_up(&volume), 0, 5));

    // It grows while its volumes are in use, and never shrinks.
    for (text, more) in [(&large, mib(64)), (&small, mib(64))] {
        scene.stop();
        fs::write(scene.home().join("pools.yaml"), text).unwrap();
        scene.start();
        assert_eq!(scene.capacity(&[]).1, before - mib(32) + more);
        assert_eq!(attached_below(scene.home()).len(), 1, "attached once");
    }
    assert!(holds(&scene.take_up(&volume), 0, 5));
    assert!(scene.expand(&volume, before).unwrap() >= before);
}
