//! Volumes in the machine's memory.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rstest::rstest;
use tonic::Code;

use crate::support::{
    Scene, Volume, Wish,
    content::{holds, put},
    ground::Ground,
    lives::lives_however_killed,
    machine::{attempt, mounts_below, run},
    mib, refused,
};

/// A pool of 256Mi in memory, and one that is a volume group.
fn scene(more: &str) -> Scene {
    let ground = Ground::new(&[256]);
    let vg = &ground.vg;
    let ram = format!("{{name: ram, memory: {{size: 256Mi{more}}}}}");
    let pools = format!("pools: [{ram}, {{name: disk, volumeGroup: {vg}}}]\n");
    Scene::on(ground, &pools, &[])
}

fn wish(name: &str, size: u64) -> Wish {
    Wish::new(name, "ext4", size).with("pool", "ram")
}

/// Where the volume's own mount is.
fn own(scene: &Scene, volume: &Volume) -> PathBuf {
    scene.home().join("volumes/ram").join(&volume.id)
}

/// Fills a file until there is no more room; gives back how much it took.
fn fill(file: &Path) -> u64 {
    let err = fs::write(file, vec![1; 64 << 20]).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::StorageFull, "{err}");
    fs::metadata(file).unwrap().len()
}

#[test]
#[ignore = "guest: real tmpfs"]
fn a_life_in_memory() {
    let mut scene = scene("");
    let (volume, target) = scene.make_used(&wish("a", mib(16)));
    assert_eq!(volume.size, mib(16));
    put(&target, 0, 100);
    let took = fill(&target.join("full"));
    assert!(took > mib(13) && took <= mib(16), "{took} bytes");
    fs::remove_file(target.join("full")).unwrap();

    assert_eq!(scene.expand(&volume, mib(32)).unwrap(), mib(32));
    assert_eq!(scene.node_expand(&volume, &target).unwrap(), mib(32));
    assert_eq!(scene.total(&volume, &target).unwrap(), mib(32));

    for is_killed in [false, true] {
        if is_killed {
            scene.kill()
        } else {
            scene.stop()
        }
        scene.start();
        assert!(holds(&target, 0, 100), "the pod goes on");
        assert_eq!(scene.volumes(), [volume.id.as_str()]);
    }
    scene.put_down(&volume);
    let target = scene.take_up(&volume);
    assert!(holds(&target, 0, 100), "the next pod finds what the last one wrote");
    let said = refused(scene.delete(&volume), Code::FailedPrecondition);
    assert!(said.contains("in use"), "{said}");
    scene.put_down(&volume);
    scene.delete(&volume).unwrap();
    assert_eq!(mounts_below(scene.home()), Vec::<String>::new());
}

#[test]
#[ignore = "guest: real tmpfs"]
fn files_are_counted_too() {
    let scene = scene(", bytesPerInode: 64Ki");
    let (_, target) = scene.make_used(&wish("a", mib(8)));
    let made = (0..1000).take_while(|n| fs::write(target.join(n.to_string()), "").is_ok()).count();
    assert!((100..=128).contains(&made), "{made} files of 8Mi / 64Ki");
}

#[test]
#[ignore = "guest: real tmpfs"]
fn the_largest_is_made_and_no_more() {
    let scene = scene("");
    scene.make(&wish("a", mib(100)));
    let class = [("pool", "ram")];
    let (available, largest) = scene.capacity(&class);
    assert_eq!((available, largest), (mib(156), mib(156)));
    let said = refused(scene.try_make(&wish("b", largest + 1)), Code::ResourceExhausted);
    assert!(said.contains("156Mi"), "{said}");
    scene.make(&wish("b", largest));
    assert_eq!(scene.capacity(&class).1, 0);
    let on_disk = Wish::new("c", "ext4", mib(64)).with("pool", "disk");
    scene.make(&on_disk);
    refused(scene.try_make(&Wish::new("d", "ext4", mib(4))), Code::InvalidArgument);
}

#[test]
#[ignore = "guest: real tmpfs"]
fn what_memory_cannot_do_is_refused_by_name() {
    let scene = scene("");
    let (volume, _) = scene.make_used(&wish("a", mib(8)));
    let refused = |wish: Wish| refused(scene.try_make(&wish), Code::InvalidArgument);
    let block = refused(Wish::new("b", "block", mib(8)).with("pool", "ram"));
    assert!(block.contains("file systems only"), "{block}");
    let clone = refused(wish("c", mib(8)).of_volume(&volume.id));
    assert!(
        clone.contains("pool ram has no snapshots and makes no copies: it is in memory"),
        "{clone}"
    );
    for (key, value) in [("layout", "Raid1"), ("mkfsOptions", "-m 0")] {
        let said = refused(wish("d", mib(8)).with(key, value));
        assert!(said.contains(key), "{said}");
    }
    let snapshot = scene.snapshot("s", &volume).unwrap_err();
    assert_eq!(snapshot.code(), Code::InvalidArgument);
    let flagged = scene.make(&wish("e", mib(8)).flag("noatime"));
    assert_eq!(scene.stage(&flagged).unwrap_err().code(), Code::InvalidArgument);
}

/// As after a restart of the machine: the mounts are gone, the records are not.
fn restart_machine(scene: &mut Scene) {
    scene.kill();
    for at in mounts_below(scene.home()) {
        run("umount", &[&at]);
    }
    scene.start();
}

#[test]
#[ignore = "guest: real tmpfs"]
fn contents_that_are_gone_are_told_of() {
    let mut scene = scene("");
    let (volume, target) = scene.make_used(&wish("a", mib(8)));
    put(&target, 0, 100);
    restart_machine(&mut scene);
    assert_eq!(scene.volumes(), [volume.id.as_str()]);
    let said = scene.stage(&volume).unwrap_err();
    assert_eq!(said.code(), Code::FailedPrecondition);
    assert!(said.message().contains("went with a restart of the machine"), "{said}");
    scene.unstage(&volume).unwrap();
    scene.delete(&volume).unwrap();
}

#[test]
#[ignore = "guest: real tmpfs"]
fn contents_that_are_gone_may_begin_empty() {
    let mut scene = scene(", afterRestart: Empty");
    let (volume, target) = scene.make_used(&wish("a", mib(8)));
    put(&target, 0, 100);
    restart_machine(&mut scene);
    let target = scene.take_up(&volume);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    assert_eq!(scene.total(&volume, &target).unwrap(), mib(8));
    put(&target, 0, 101);
    assert!(holds(&target, 0, 101));
}

/// What the class says goes before what the pool says, and is still known after a restart.
#[test]
#[ignore = "guest: real tmpfs"]
fn a_class_says_what_becomes_of_its_volumes() {
    let mut scene = scene(", afterRestart: Empty");
    let of = |name: &str, word: &str| wish(name, mib(8)).with("afterRestart", word);
    let (kept, _) = scene.make_used(&of("a", "Fail"));
    let (given, _) = scene.make_used(&of("b", "Empty"));
    restart_machine(&mut scene);
    let said = refused(scene.stage(&kept), Code::FailedPrecondition);
    assert!(said.contains("its class says `afterRestart: Fail`"), "{said}");
    scene.take_up(&given);
    assert_eq!(scene.make(&of("a", "Fail")).id, kept.id);
    refused(scene.try_make(&of("a", "Empty")), Code::AlreadyExists);
    let on_disk = Wish::new("c", "ext4", mib(64)).with("pool", "disk");
    let said =
        refused(scene.try_make(&on_disk.with("afterRestart", "Empty")), Code::InvalidArgument);
    assert!(said.contains("pool disk is not in memory"), "{said}");
}

#[rstest]
#[ignore = "guest: real tmpfs"]
fn the_root_of_a_volume_has_the_mode_of_its_pool(#[values("1770", "'0700'")] mode: &str) {
    let mut scene = scene(&format!(", afterRestart: Empty, mode: {mode}"));
    let want = u32::from_str_radix(mode.trim_matches('\''), 8).unwrap();
    let (volume, target) = scene.make_used(&wish("a", mib(8)));
    let mode_of = |at: &Path| fs::metadata(at).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode_of(&target), want);
    restart_machine(&mut scene);
    assert_eq!(mode_of(&scene.take_up(&volume)), want, "also when it begins anew");
}

/// A kernel either has what the pool's spec says, or the pool is not served: mount(8) is asked which.
#[rstest]
#[case::swap("swap: false", "noswap")]
#[case::pages("hugePages: WithinSize", "huge=within_size")]
#[ignore = "guest: real tmpfs"]
fn as_asked_for_or_not_at_all(#[case] field: &str, #[case] option: &str) {
    let mut scene = scene("");
    scene.stop();
    let pools = format!("pools: [{{name: ram, memory: {{size: 256Mi, {field}}}}}]\n");
    fs::write(scene.home().join("pools.yaml"), pools).unwrap();
    let tried = scene.home().join("tried");
    fs::create_dir(&tried).unwrap();
    let tried = tried.to_str().unwrap();
    let is_there = attempt("mount", &["-t", "tmpfs", "-o", option, "none", tried]).status.success();
    if is_there {
        run("umount", &[tried]);
    }
    fs::remove_dir(tried).unwrap();
    if is_there {
        scene.start();
        let volume = scene.make(&wish("a", mib(8)));
        assert_eq!(scene.expand(&volume, mib(16)).unwrap(), mib(16));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let line = mounts.lines().find(|it| it.starts_with(&volume.id)).unwrap();
        assert!(line.contains(option), "{line}");
        return;
    }
    scene.launch();
    assert!(!scene.driver().ended().success());
    let (said, word) = (scene.driver().last_words(), option.split('=').next().unwrap());
    assert!(said.contains(&format!("memory.{field}")), "{said}");
    assert!(said.contains(&format!("parameter '{word}'")), "the kernel's own words: {said}");
    fs::write(scene.home().join("pools.yaml"), "pools: [{name: ram, memory: {size: 256Mi}}]\n")
        .unwrap();
    scene.start();
}

#[test]
#[ignore = "guest: real tmpfs, kills the driver"]
fn killed_anywhere() {
    let mut scene = scene("");
    let last = lives_however_killed(&mut scene, &|name| wish(name, mib(8)), 40);
    assert_eq!(scene.capacity(&[("pool", "ram")]).1, mib(256 - 16));
    assert!(own(&scene, &last).is_dir());
}
