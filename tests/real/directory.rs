//! Volumes that are directories with project quotas.

mod copies;
mod own;

use std::{
    fs,
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
    machine::{attempt, run, wait_until},
    mib, refused,
};

/// How a file system with project quotas is made (mkfs.ext4(8); xfs needs nothing). Without a discard, which takes long
/// on a disk that tests before this one have written to.
fn make(kind: &str, disk: &str) {
    match kind {
        "ext4" => run(
            "mkfs.ext4",
            &[
                "-q",
                "-F",
                "-O",
                "quota,project",
                "-E",
                "nodiscard,quotatype=prjquota",
                disk,
                "512M",
            ],
        ),
        "plain-xfs" => run(
            "mkfs.xfs",
            &["-q", "-f", "-K", "-m", "reflink=0,bigtime=0", "-d", "size=512m", disk],
        ),
        _ => run("mkfs.xfs", &["-q", "-f", "-K", "-d", "size=512m", disk]),
    };
}

/// A pool in a directory on a file system of about 500Mi.
struct Shelf {
    scene: Scene,
    home: PathBuf,
}

impl Shelf {
    fn new(kind: &str) -> Self {
        let mut ground = Ground::new(&[]);
        let (disk, home) = (ground.take_disk(), ground.home.join("disk"));
        make(kind, disk);
        fs::create_dir(&home).unwrap();
        let at = home.to_str().unwrap();
        run("mount", &["-o", "prjquota", disk, at]);
        let pools = format!("pools: [{{name: shelf, directory: {{path: {at}}}}}]\n");
        let scene = Scene::on(ground, &pools, &[]);
        Self { scene, home: home.join("shelf") }
    }

    fn own(&self, volume: &Volume) -> PathBuf {
        self.home.join(&volume.id)
    }

    /// Waits until what was deleted is gone.
    fn await_empty(&self) {
        wait_until("nothing is left", || fs::read_dir(&self.home).unwrap().count() == 0);
    }
}

fn wish(name: &str, size: u64) -> Wish {
    Wish::new(name, "ext4", size)
}

/// Fills a file as a user of a pod does, whose root has no CAP_SYS_RESOURCE; gives back how much it took.
fn fill(file: &Path) -> u64 {
    let line = format!("head -c 64M /dev/zero >{}", file.display());
    let drop = ["--bounding-set", "-sys_resource", "sh", "-c", &line];
    assert!(!attempt("setpriv", &drop).status.success(), "64Mi went into it");
    fs::metadata(file).unwrap().len()
}

#[rstest]
#[ignore = "guest: real project quotas"]
fn a_life_in_a_directory(#[values("ext4", "xfs")] kind: &str) {
    let mut shelf = Shelf::new(kind);
    let (volume, target) = shelf.scene.make_used(&wish("a", mib(16)));
    let (other, beside) = shelf.scene.make_used(&wish("b", mib(16)));
    put(&target, 0, 100);
    assert_eq!(shelf.scene.total(&volume, &target).unwrap(), mib(16), "df shows the volume");
    let took = fill(&target.join("full"));
    assert!(took > mib(14) && took <= mib(16), "{took} bytes");
    put(&beside, 0, 101);
    fs::remove_file(target.join("full")).unwrap();

    let scene = &mut shelf.scene;
    assert_eq!(scene.expand(&volume, mib(32)).unwrap(), mib(32));
    assert_eq!(scene.node_expand(&volume, &target).unwrap(), mib(32));
    assert_eq!(scene.total(&volume, &target).unwrap(), mib(32));
    let took = fill(&target.join("full"));
    assert!(took > mib(28) && took <= mib(32), "{took} bytes");

    for is_killed in [false, true] {
        if is_killed {
            scene.kill()
        } else {
            scene.stop()
        }
        scene.start();
        assert!(holds(&target, 0, 100) && holds(&beside, 0, 101), "pods go on");
    }
    let said = refused(scene.delete(&volume), Code::FailedPrecondition);
    assert!(said.contains("in use"), "{said}");
    for it in [&volume, &other] {
        scene.put_down(it);
        scene.delete(it).unwrap();
    }
    shelf.await_empty();
}

/// Whoever has it mounted may write to it; the way to where it lies is root's alone.
#[test]
#[ignore = "guest: real project quotas"]
fn only_who_has_it_mounted_can_reach_it() {
    let shelf = Shelf::new("xfs");
    let (volume, target) = shelf.scene.make_used(&wish("a", mib(16)));
    let modes = [&target, &shelf.home].map(|it| fs::metadata(it).unwrap().permissions().mode());
    assert_eq!(modes.map(|it| it & 0o777), [0o777, 0o750]);
    let user = ["--reuid", "1000", "--regid", "1000", "--clear-groups"];
    let own = shelf.own(&volume);
    let look = attempt("setpriv", &[&user[..], &["ls", own.to_str().unwrap()]].concat());
    assert!(String::from_utf8_lossy(&look.stderr).contains("Permission denied"), "{look:?}");
}

#[rstest]
#[ignore = "guest: real project quotas"]
fn the_largest_is_made_and_no_more(#[values("ext4", "xfs")] kind: &str) {
    let shelf = Shelf::new(kind);
    let scene = &shelf.scene;
    let (_, target) = scene.make_used(&wish("a", mib(64)));
    fs::write(target.join("used"), vec![1; 32 << 20]).unwrap();
    run("sync", &[]);
    // The room is measured every 15 seconds, and before each volume.
    scene.make(&wish("b", mib(1)));
    let (_, largest) = scene.capacity(&[]);
    assert!(largest > mib(200) && largest < mib(512 - 64), "{largest}");
    refused(scene.try_make(&wish("c", largest + 1)), Code::ResourceExhausted);
    scene.make(&wish("c", largest));
    let (_, left) = scene.capacity(&[]);
    assert!(left < mib(1), "{left}");
}

/// A user of the volume may give files other projects, and nest directories beyond all bounds.
#[rstest]
#[ignore = "guest: real project quotas"]
fn whatever_is_in_it_goes(#[values("ext4", "xfs")] kind: &str) {
    let shelf = Shelf::new(kind);
    let (volume, target) = shelf.scene.make_used(&wish("a", mib(64)));
    let at = target.to_str().unwrap();
    run(
        "sh",
        &[
            "-c",
            &format!(
                "cd {at} && mkdir strange && chattr -p 77 +P strange && touch strange/file && ln -s / strange/link && \
         mkfifo pipe && mkdir stays && touch stays/file && chattr +i stays/file stays && touch log && chattr +a log && mkdir -p deep/$(printf 'd/%.0s' $(seq 800))"
            ),
        ],
    );
    shelf.scene.put_down(&volume);
    shelf.scene.delete(&volume).unwrap();
    shelf.await_empty();
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
#[ignore = "guest: real project quotas"]
fn without_quotas_it_says_how_to_switch_them_on() {
    for (kind, says) in [("ext4", "tune2fs -O quota,project"), ("xfs", "mount it with `prjquota`")]
    {
        let shelf = Shelf::new(kind);
        let mut scene = shelf.scene;
        scene.stop();
        let at = shelf.home.parent().unwrap().to_str().unwrap();
        run("umount", &[at]);
        run("mount", &["-o", "noquota", scene.ground.disk(0), at]);
        scene.launch();
        scene.driver().ended();
        let said = scene.driver().last_words();
        assert!(said.contains(says), "{kind}: {said}");
        run("umount", &[at]);
        run("mount", &["-o", "prjquota", scene.ground.disk(0), at]);
        scene.start();
    }
}

#[rstest]
#[ignore = "guest: real project quotas, kills the driver"]
fn killed_anywhere(#[values("ext4", "xfs")] kind: &str) {
    let mut shelf = Shelf::new(kind);
    let last = lives_however_killed(&mut shelf.scene, &|name| wish(name, mib(8)), 25);
    shelf.scene.put_down(&last);
    shelf.scene.delete(&last).unwrap();
    shelf.await_empty();
}
