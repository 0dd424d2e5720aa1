//! Options that take effect, what the driver tells of itself, and how it ends.

use std::{collections::BTreeMap, fs, thread};

use nix::sys::signal::Signal;
use tarn::csi::proto::*;
use tonic::Code;

use crate::support::{
    Scene, Wish,
    calls::Csi,
    driver::socket,
    ground::Ground,
    machine::{mount_options, run, wait_until},
    mib,
    pages::{page, told},
    refused,
};

#[test]
#[ignore = "guest: real file systems"]
fn options_take_effect() {
    let scene = Scene::new(&[800], "wipe: None");
    let ext4 = Wish::new("e", "ext4", mib(32)).with("mkfsOptions", "-I 512 -m 3").flag("noatime");
    let (volume, target) = scene.make_used(&ext4);
    for at in [&target, &scene.staging(&volume)] {
        assert!(mount_options(at).contains("noatime"), "{}", mount_options(at));
    }
    let said = run("tune2fs", &["-l", scene.device(&volume.id).to_str().unwrap()]);
    assert!(said.lines().any(|line| line.starts_with("Inode size:") && line.ends_with("512")));

    let xfs = Wish::new("x", "xfs", mib(304)).with("mkfsOptions", "-i size=1024");
    let (_, target) = scene.make_used(&xfs.flag("nodev").flag("nosuid"));
    let options = mount_options(&target);
    assert!(options.contains("nodev") && options.contains("nosuid"), "{options}");
    assert!(run("xfs_info", &[target.to_str().unwrap()]).contains("isize=1024"));

    let btrfs = Wish::new("b", "btrfs", mib(256)).flag("compress=zstd");
    let (_, target) = scene.make_used(&btrfs);
    assert!(mount_options(&target).contains("compress=zstd"), "{}", mount_options(&target));
}

#[test]
#[ignore = "guest: a real driver"]
fn metrics_and_health_are_served() {
    let ground = Ground::new(&[200]);
    let pools = format!("pools: [{{name: pool, volumeGroup: {}}}]", ground.vg);
    let scene = Scene::on(ground, &pools, &["--metrics", "127.0.0.1:9810"]);
    scene.make(&Wish::new("v", "block", mib(40)));
    refused(scene.try_make(&Wish::new("w", "block", mib(400))), Code::ResourceExhausted);
    assert!(page("/healthz").starts_with("HTTP/1.1 200"), "{}", page("/healthz"));
    let text = page("/metrics");
    let calls = "tarn_rpc_duration_seconds_count{method=\"CreateVolume\",code=";
    assert_eq!(told(&text, &format!("{calls}\"OK\"}}")), Some(1.0), "{text}");
    assert_eq!(told(&text, &format!("{calls}\"RESOURCE_EXHAUSTED\"}}")), Some(1.0), "{text}");
    assert!(text.contains("lvcreate"), "{text}");
    let bytes = |count: u64| Some(format!("{}", mib(count)).parse::<f64>().unwrap());
    let of_pool = |what: &str| told(&text, &format!("tarn_pool_{what}{{pool=\"pool\"}}"));
    assert_eq!(of_pool("size_bytes"), bytes(200), "{text}");
    assert_eq!(of_pool("free_bytes"), bytes(160), "{text}");
}

#[test]
#[ignore = "guest: a real driver"]
fn the_log_holds_no_secrets_and_no_mount_flags() {
    let ground = Ground::new(&[200]);
    let pools = format!("pools: [{{name: pool, volumeGroup: {}}}]", ground.vg);
    let scene = Scene::on(ground, &pools, &["--log-level", "debug", "--log-format", "json"]);
    let secrets = || BTreeMap::from([("password".to_owned(), "SECRET-WORD".to_owned())]);
    let wish = Wish::new("v", "ext4", mib(32)).flag("commit=77");
    let mut request = wish.request();
    request.secrets = secrets();
    scene.csi.create_volume(request).unwrap();
    let volume = scene.make(&wish);
    let staging = scene.staging(&volume).to_str().unwrap().to_owned();
    let stage = |capability| NodeStageVolumeRequest {
        volume_id: volume.id.clone(),
        staging_target_path: staging.clone(),
        volume_capability: Some(capability),
        secrets: secrets(),
        ..Default::default()
    };
    scene.csi.node_stage_volume(stage(wish.capability())).unwrap();
    let bad = Wish::new("v", "ext4", mib(32)).flag("context=\"FLAG-WORD");
    let refusal = scene.csi.node_stage_volume(stage(bad.capability())).unwrap_err();
    assert!(!refusal.message().contains("FLAG-WORD"), "{refusal}");
    let snapshot = CreateSnapshotRequest {
        name: "s".to_owned(),
        source_volume_id: volume.id.clone(),
        secrets: secrets(),
        ..Default::default()
    };
    let snapshot = scene.csi.create_snapshot(snapshot).unwrap().snapshot.unwrap().snapshot_id;
    let delete = DeleteSnapshotRequest { snapshot_id: snapshot, secrets: secrets() };
    scene.csi.delete_snapshot(delete).unwrap();
    scene.unstage(&volume).unwrap();
    let delete = DeleteVolumeRequest { volume_id: volume.id, secrets: secrets() };
    scene.csi.delete_volume(delete).unwrap();
    let log = fs::read_to_string(scene.home().join("driver.log")).unwrap();
    assert!(log.contains("NodeStageVolume"), "{log}");
    for word in ["SECRET-WORD", "FLAG-WORD", "commit=77", "password"] {
        let line = log.lines().find(|line| line.contains(word));
        assert_eq!(line, None, "the log tells {word}");
    }
}

/// A mkfs that takes its time, before the real one in the driver's PATH.
fn slow_mkfs(scene: &Scene) {
    let script = "touch \"$(dirname \"$0\")/begun\"\nsleep 2\nexec \"$real\" \"$@\"";
    scene.ground.wrap("mkfs.ext4", script);
}

#[test]
#[ignore = "guest: a real slow mkfs"]
fn a_call_that_runs_is_finished_before_the_end() {
    let mut scene = Scene::new(&[100], "wipe: None");
    slow_mkfs(&scene);
    let volume = scene.make(&Wish::new("v", "ext4", mib(32)));
    // A client that holds its connection without a call does not keep the driver alive.
    let idle = std::os::unix::net::UnixStream::connect(socket(scene.home())).unwrap();
    let staged = thread::scope(|scope| {
        let staging = scope.spawn(|| {
            let csi = Csi::connect(&socket(&scene.ground.home));
            csi.node_stage_volume(NodeStageVolumeRequest {
                volume_id: volume.id.clone(),
                staging_target_path: scene.staging(&volume).to_str().unwrap().to_owned(),
                volume_capability: Some(Wish::new("v", "ext4", 0).capability()),
                ..Default::default()
            })
        });
        let begun = scene.home().join("bin/begun");
        wait_until("mkfs runs", || begun.try_exists().unwrap());
        // Meanwhile the volume is busy, and others are not.
        refused(scene.stage(&volume), Code::Aborted);
        scene.make(&Wish::new("other", "block", mib(8)));
        let pid = nix::unistd::Pid::from_raw(scene.driver_pid().cast_signed());
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        staging.join().unwrap()
    });
    staged.unwrap();
    assert_eq!(scene.driver().ended().code(), Some(0));
    drop(idle);
    fs::remove_dir_all(scene.home().join("bin")).unwrap();
    scene.start();
    scene.take_up(&volume);
}
