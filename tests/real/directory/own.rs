//! Directories with a file system of the pool's own, in a file.

use std::{os::unix::fs::MetadataExt as _, process::Command, thread, time::Duration};

use super::*;
use crate::support::{
    dice::Dice,
    ground::attached_below,
    machine::{mount_options, mounts_below},
};

/// How large the file is at first, in MiB.
const SIZE: u64 = 320;

fn pools(home: &Path, kind: &str, size: u64) -> String {
    let path = home.join("files").display().to_string();
    format!(
        "pools: [{{name: shelf, directory: {{path: {path}, loopFile: {{size: {size}Mi, fsType: {kind}}}}}}}]\n"
    )
}

fn scene(ground: Ground, kind: &str) -> Scene {
    let pools = pools(&ground.home, kind, SIZE);
    Scene::on(ground, &pools, &[])
}

/// The file of the pool, by its ending, or where it is mounted.
fn file(home: &Path, ending: &str) -> PathBuf {
    home.join("files").join(format!("shelf.{ending}"))
}

fn say_size(scene: &Scene, kind: &str, size: u64) {
    fs::write(scene.home().join("pools.yaml"), pools(scene.home(), kind, size)).unwrap();
}

/// As after a reboot: nothing is mounted, and the file is attached to nothing.
fn unplug(home: &Path) {
    for at in mounts_below(home) {
        run("umount", &[&at]);
    }
    for device in attached_below(home) {
        run("losetup", &["-d", &device]);
    }
}

/// That the file is attached and mounted once, and that volumes of it have quotas.
fn is_in_order(scene: &Scene) {
    let (home, mount) = (scene.home(), file(scene.home(), "mount"));
    assert_eq!(attached_below(home).len(), 1, "attached once");
    let mounted = mounts_below(home).into_iter().filter(|at| Path::new(at) == mount).count();
    assert_eq!(mounted, 1, "mounted once");
    assert!(mount_options(&mount).contains("prjquota"));
    assert!(file(home, "img").is_file() && !file(home, "new").exists());
    let (volume, target) = scene.make_used(&wish("quota", mib(16)));
    let took = fill(&target.join("full"));
    assert!(took > mib(14) && took <= mib(16), "{took} bytes");
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
}

/// Starts the driver as a supervisor does: again when it ends at once, as a mkfs that it was killed beside still runs.
fn start_at_last(scene: &mut Scene) {
    wait_until("the driver serves the pool", || {
        scene.launch();
        scene.driver().comes_up()
    });
    scene.await_answer();
}

#[rstest]
#[ignore = "guest: real loop devices and project quotas"]
fn a_file_system_of_its_own_outlives_restarts_and_grows(#[values("ext4", "xfs")] kind: &str) {
    let mut scene = scene(Ground::new(&[]), kind);
    is_in_order(&scene);
    let taken = fs::metadata(file(scene.home(), "img")).unwrap();
    assert!(taken.blocks() * 512 < mib(SIZE / 2), "it is sparse");
    let (volume, target) = scene.make_used(&wish("a", mib(16)));
    put(&target, 0, 100);

    // The driver alone, killed or not, and whatever is said of the size; pods go on.
    let before = scene.capacity(&[]).1;
    for (size, more) in [(SIZE, 0), (SIZE + 128, 128), (SIZE, 128), (1 << 20, 128)] {
        scene.kill();
        say_size(&scene, kind, size);
        scene.start();
        assert!(holds(&target, 0, 100), "pods go on");
        let (now, want) = (scene.capacity(&[]).1, before + mib(more));
        assert!(now > want - mib(16) && now < want + mib(16), "{size}Mi: {now}, not {want}");
        assert_eq!(attached_below(scene.home()).len(), 1, "attached once");
    }

    // Unmounted by hand while a pod has its volume, and attached a second time.
    scene.stop();
    let (mount, img) = (file(scene.home(), "mount"), file(scene.home(), "img"));
    run("umount", &[mount.to_str().unwrap()]);
    let second = run("losetup", &["--find", "--show", img.to_str().unwrap()]);
    scene.start();
    let devices = [&mount, &target].map(|at| fs::metadata(at).unwrap().dev());
    assert_eq!(devices[0], devices[1], "the same file system");
    run("losetup", &["-d", second.trim()]);

    // The machine.
    scene.put_down(&volume);
    scene.stop();
    unplug(scene.home());
    scene.start();
    assert!(holds(&scene.take_up(&volume), 0, 100));
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    is_in_order(&scene);
}

/// The container of the life before may still have it mounted, where this life does not see it.
#[rstest]
#[ignore = "guest: real loop devices and project quotas"]
fn one_that_is_mounted_out_of_sight_is_mounted_beside(#[values("ext4", "xfs")] kind: &str) {
    let mut scene = scene(Ground::new(&[]), kind);
    let (volume, target) = scene.make_used(&wish("a", mib(16)));
    put(&target, 0, 100);
    scene.put_down(&volume);
    let mut container = Command::new("unshare").args(["--mount", "sleep", "1000"]).spawn().unwrap();
    let space = |of: &str| fs::read_link(format!("/proc/{of}/ns/mnt")).unwrap();
    let pid = container.id().to_string();
    wait_until("it has mounts of its own", || space(&pid) != space("self"));
    scene.stop();
    run("umount", &[file(scene.home(), "mount").to_str().unwrap()]);
    scene.start();
    let target = scene.take_up(&volume);
    assert!(holds(&target, 0, 100));
    container.kill().unwrap();
    container.wait().unwrap();
    put(&target, 1, 101);
    assert!(holds(&target, 0, 100) && holds(&target, 1, 101));
    scene.put_down(&volume);
    is_in_order(&scene);
}

/// What a driver leaves that was killed while it made the file.
#[rstest]
#[ignore = "guest: real loop devices and project quotas"]
fn a_file_that_was_made_in_part_is_made_to_its_end(
    #[values("ext4", "xfs")] kind: &str,
    #[values("empty", "attached", "formatted")] left: &str,
) {
    let ground = Ground::new(&[]);
    let new = file(&ground.home, "new");
    fs::create_dir(new.parent().unwrap()).unwrap();
    let at = new.to_str().unwrap();
    let size = if left == "empty" { 0 } else { mib(SIZE) };
    fs::File::create(&new).unwrap().set_len(size).unwrap();
    if left == "attached" {
        run("losetup", &["--find", at]);
    }
    if left == "formatted" {
        make_in(kind, at);
        let before = run("blkid", &["-p", "-s", "UUID", at]);
        let scene = scene(ground, kind);
        let now = run("blkid", &["-p", "-s", "UUID", file(scene.home(), "img").to_str().unwrap()]);
        assert_eq!(now.split_once(' ').unwrap().1, before.split_once(' ').unwrap().1);
        return is_in_order(&scene);
    }
    is_in_order(&scene(ground, kind));
}

fn make_in(kind: &str, file: &str) {
    match kind {
        "ext4" => {
            run("mkfs.ext4", &["-q", "-O", "quota,project", "-E", "quotatype=prjquota", file])
        }
        _ => run("mkfs.xfs", &["-q", file]),
    };
}

#[rstest]
#[ignore = "guest: real loop devices and project quotas, kills the driver"]
fn killed_while_its_file_system_is_made(#[values("ext4", "xfs")] kind: &str) {
    let mut scene = scene(Ground::new(&[]), kind);
    let mut dice = Dice::new(11);
    for _ in 0..10 {
        scene.stop();
        unplug(scene.home());
        fs::remove_file(file(scene.home(), "img")).unwrap();
        for _ in 0..3 {
            scene.launch();
            thread::sleep(Duration::from_millis(dice.roll(700)));
            scene.kill();
        }
        start_at_last(&mut scene);
        is_in_order(&scene);
    }
}

#[rstest]
#[ignore = "guest: real loop devices and project quotas, kills the driver"]
fn killed_while_its_file_is_mounted_and_grows(#[values("ext4", "xfs")] kind: &str) {
    let mut scene = scene(Ground::new(&[]), kind);
    let (volume, target) = scene.make_used(&wish("a", mib(16)));
    put(&target, 0, 100);
    let mut dice = Dice::new(12);
    for round in 1..=10 {
        scene.put_down(&volume);
        scene.stop();
        unplug(scene.home());
        say_size(&scene, kind, SIZE + 16 * round);
        scene.launch();
        thread::sleep(Duration::from_millis(dice.roll(500)));
        scene.kill();
        start_at_last(&mut scene);
        assert!(holds(&scene.take_up(&volume), 0, 100), "round {round}");
        let length = fs::metadata(file(scene.home(), "img")).unwrap().len();
        assert_eq!(length, mib(SIZE + 16 * round));
    }
    let device = fs::metadata(file(scene.home(), "mount")).unwrap().dev();
    assert_eq!(device, fs::metadata(scene.target(&volume, "pod")).unwrap().dev());
    is_in_order(&scene);
}

#[test]
#[ignore = "guest: real loop devices and project quotas"]
fn what_is_in_the_way_of_a_file_is_named_and_stays() {
    let mut scene = scene(Ground::new(&[]), "ext4");
    scene.stop();
    unplug(scene.home());
    let (img, mount) = (file(scene.home(), "img"), file(scene.home(), "mount"));
    let refused = |scene: &mut Scene, kind: &str, size: u64, says: &str| {
        say_size(scene, kind, size);
        scene.launch();
        scene.driver().ended();
        let said = scene.driver().last_words();
        assert!(said.contains(says), "{says}: {said}");
        scene.kill();
    };
    refused(&mut scene, "xfs", SIZE, "say `fsType: ext4`");
    fs::write(mount.join("strange"), "x").unwrap();
    refused(&mut scene, "ext4", SIZE, "is not empty; move away what is in it");
    fs::remove_file(mount.join("strange")).unwrap();

    unplug(scene.home());
    fs::rename(&img, img.with_extension("away")).unwrap();
    refused(&mut scene, "ext4", 1 << 20, "say less, or make room");
    assert!(!file(scene.home(), "new").exists());
    fs::File::create(&img).unwrap().set_len(mib(64)).unwrap();
    run("mkswap", &[img.to_str().unwrap()]);
    let before = fs::read(&img).unwrap();
    refused(&mut scene, "ext4", 64, "holds swap, not ext4, and is left as it is");
    assert!(fs::read(&img).unwrap() == before, "nothing is written to it");

    unplug(scene.home());
    fs::rename(img.with_extension("away"), &img).unwrap();
    say_size(&scene, "ext4", SIZE);
    scene.start();
    is_in_order(&scene);
}
