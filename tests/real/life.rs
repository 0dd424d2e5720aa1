//! A volume's life from first to last, with restarts in the middle.

use std::path::PathBuf;

use rstest::rstest;
use tonic::Code;

use crate::support::{
    Scene, Volume, Wish,
    content::{forget_cached, holds, put},
    mib, refused,
};

/// Small, and large enough for its file system.
fn least(kind: &str) -> u64 {
    match kind {
        "xfs" => mib(304),
        "btrfs" => mib(256),
        _ => mib(64),
    }
}

struct Life {
    scene: Scene,
    kind: String,
    provisioning: String,
    volume: Volume,
    target: PathBuf,
}

impl Life {
    fn begin(kind: &str, provisioning: &str) -> Self {
        let scene = Scene::usual();
        let wish = Wish::new("origin", kind, least(kind)).with("provisioning", provisioning);
        let (volume, target) = scene.make_used(&wish);
        put(&target, 0, 100);
        let (kind, provisioning) = (kind.to_owned(), provisioning.to_owned());
        Self { scene, kind, provisioning, volume, target }
    }

    fn wish(&self, name: &str, size: u64) -> Wish {
        Wish::new(name, &self.kind, size).with("provisioning", &self.provisioning)
    }

    /// A volume made of the snapshot holds what was there when it was taken, and nothing later,
    /// and fills its larger size.
    fn restored_larger(&self, snapshot: &str, name: &str) -> (Volume, PathBuf) {
        let size = self.volume.size + mib(64);
        let wish = self.wish(name, size).of_snapshot(snapshot);
        let (volume, target) = self.scene.make_used(&wish);
        assert_eq!(volume.size, size);
        assert!(holds(&target, 0, 100) && !holds(&target, 1, 102));
        let total = |of, at: &PathBuf| self.scene.total(of, at).unwrap();
        let more = total(&volume, &target) - total(&self.volume, &self.target);
        assert!(more >= mib(56), "{more} bytes more");
        (volume, target)
    }

    /// The volume grows while it is in use, and its file system with it.
    fn grow(&mut self) {
        let scene = &self.scene;
        let total = || scene.total(&self.volume, &self.target).unwrap();
        let (before, size) = (total(), self.volume.size + mib(32));
        assert_eq!(scene.expand(&self.volume, size).unwrap(), size);
        assert_eq!(scene.node_expand(&self.volume, &self.target).unwrap(), size);
        assert!(total() >= before + mib(28), "{} after {before}", total());
        self.volume.size = size;
    }
}

#[rstest]
#[case::ext4_thick("ext4", "Thick")]
#[case::ext4_thin("ext4", "Thin")]
#[case::xfs_thick("xfs", "Thick")]
#[case::xfs_thin("xfs", "Thin")]
#[case::btrfs_thick("btrfs", "Thick")]
#[case::btrfs_thin("btrfs", "Thin")]
#[case::block_thick("block", "Thick")]
#[case::block_thin("block", "Thin")]
#[ignore = "guest: real LVM and file systems"]
fn a_whole_life(#[case] kind: &str, #[case] provisioning: &str) {
    let thick = provisioning == "Thick";
    let mut life = Life::begin(kind, provisioning);
    let snapshot = life.scene.snapshot("then", &life.volume).unwrap().snapshot_id;
    put(&life.target, 0, 101);
    put(&life.target, 1, 102);

    let (restored, at_restored) = life.restored_larger(&snapshot, "restored");
    let clone = life.wish("clone", life.volume.size).of_volume(&life.volume.id);
    let (clone, at_clone) = life.scene.make_used(&clone);
    assert!(holds(&at_clone, 0, 101) && holds(&at_clone, 1, 102), "a clone is the present");
    put(&at_restored, 0, 103);
    put(&at_clone, 0, 104);

    if thick {
        let said = refused(life.scene.expand(&life.volume, mib(600)), Code::FailedPrecondition);
        assert!(said.contains("snapshot"), "{said}");
    } else {
        life.grow();
    }
    life.scene.kill();
    forget_cached();
    life.scene.start();
    assert!(holds(&life.target, 0, 101) && holds(&life.target, 1, 102));
    assert!(holds(&at_restored, 0, 103) && holds(&at_clone, 0, 104));
    // What is staged and published is found so by the new process.
    life.scene.take_up(&life.volume);

    let scene = &life.scene;
    scene.put_down(&restored);
    scene.delete(&restored).unwrap();
    scene.put_down(&life.volume);
    if thick {
        refused(scene.delete(&life.volume), Code::FailedPrecondition);
        scene.delete_snapshot(&snapshot).unwrap();
        assert_eq!(scene.take_up(&life.volume), life.target);
        life.grow();
        assert!(holds(&life.target, 0, 101) && holds(&life.target, 1, 102));
        life.scene.put_down(&life.volume);
        life.scene.delete(&life.volume).unwrap();
    } else {
        scene.delete(&life.volume).unwrap();
        // A thin snapshot outlives what it was taken of.
        let again = life.wish("again", restored.size).of_snapshot(&snapshot);
        let (_, at) = scene.make_used(&again);
        assert!(holds(&at, 0, 100) && !holds(&at, 1, 102));
    }
    life.scene.put_down(&clone);
    let at = life.scene.take_up(&clone);
    forget_cached();
    assert!(holds(&at, 0, 104) && holds(&at, 1, 102));
}
