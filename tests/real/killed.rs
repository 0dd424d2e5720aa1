//! LVM killed before each of its steps that changes something in the kernel, alone or together with the driver. The call,
//! repeated, ends as if nothing had happened, and so does what comes after it.

use std::{fs, path::PathBuf};

use rstest::rstest;
use tonic::Status;

use crate::support::{
    Scene, Volume, Wish,
    content::{forget_cached, holds, put},
    killer::{Killer, tried},
    machine::wait_until,
    mib,
};

/// What is called; each round is about objects of its own.
#[derive(Clone, Copy, Debug)]
enum Act {
    Create,
    Clone,
    Snapshot,
    Expand,
    Delete,
    DeleteSnapshot,
}

/// A volume that is in use, and what is done beside it.
struct Play {
    act: Act,
    provisioning: &'static str,
    layout: &'static str,
    origin: Volume,
    target: PathBuf,
}

impl Play {
    fn wish(&self, name: &str, kind: &str, size: u64) -> Wish {
        let wish = Wish::new(name, kind, size).with("provisioning", self.provisioning);
        if self.layout.is_empty() { wish } else { wish.with("layout", self.layout) }
    }

    fn empty(&self, round: usize) -> Wish {
        self.wish(&format!("v{round}"), "block", mib(8))
    }

    /// What the call needs, before it may be killed.
    fn prepare(&self, scene: &Scene, round: usize) {
        match self.act {
            Act::Create | Act::Clone | Act::Snapshot => (),
            Act::Expand | Act::Delete => drop(scene.make(&self.empty(round))),
            Act::DeleteSnapshot => {
                drop(scene.snapshot(&format!("s{round}"), &self.origin).unwrap());
            }
        }
    }

    fn call(&self, scene: &Scene, round: usize) -> Result<(), Status> {
        match self.act {
            Act::Create => scene.try_make(&self.empty(round)).map(drop),
            Act::Clone => {
                let wish = self.wish(&format!("v{round}"), "ext4", mib(32));
                scene.try_make(&wish.of_volume(&self.origin.id)).map(drop)
            }
            Act::Snapshot => scene.snapshot(&format!("s{round}"), &self.origin).map(drop),
            Act::Expand => {
                let volume = scene.try_make(&self.empty(round))?;
                scene.expand(&volume, mib(16)).map(drop)
            }
            Act::Delete => self.made(scene).iter().try_for_each(|id| scene.delete_id(id)),
            Act::DeleteSnapshot => {
                scene.snapshots().iter().try_for_each(|id| scene.delete_snapshot(id))
            }
        }
    }

    /// The volumes beside the origin.
    fn made(&self, scene: &Scene) -> Vec<String> {
        scene.volumes().into_iter().filter(|it| *it != self.origin.id).collect()
    }

    /// The origin is as it was and can be written to; what was made is what was wanted. Then it goes.
    fn check(&self, scene: &Scene, round: usize) {
        put(&self.target, 1, round as u64);
        forget_cached();
        assert!(holds(&self.target, 0, 7), "round {round}: the origin has changed");
        let made = self.made(scene);
        let want = usize::from(matches!(self.act, Act::Create | Act::Clone | Act::Expand));
        assert_eq!(made.len(), want, "round {round}: {made:?}");
        for id in &made {
            let size = if matches!(self.act, Act::Expand) { mib(16) } else { mib(8) };
            if !matches!(self.act, Act::Clone) {
                let content = fs::read(scene.device(id)).unwrap();
                assert_eq!(content.len() as u64, size, "round {round}");
                // A thick one may have what was there before its pool.
                let is_empty = self.provisioning == "Thick" || content.iter().all(|it| *it == 0);
                assert!(is_empty, "round {round}: a new volume has content");
            }
            scene.delete_id(id).unwrap();
        }
        let snapshots = scene.snapshots();
        assert_eq!(
            snapshots.len(),
            usize::from(matches!(self.act, Act::Snapshot)),
            "round {round}"
        );
        snapshots.iter().for_each(|id| scene.delete_snapshot(id).unwrap());
    }
}

#[rstest]
#[case::thin_volume(Act::Create, "Thin", "", "lvcreate")]
#[case::thin_clone(Act::Clone, "Thin", "", "lvcreate")]
#[case::thin_snapshot(Act::Snapshot, "Thin", "", "lvcreate")]
#[case::thin_snapshot_removed(Act::DeleteSnapshot, "Thin", "", "lvremove")]
#[case::thick_volume(Act::Create, "Thick", "", "lvcreate")]
#[case::mirror(Act::Create, "Thick", "raid1", "lvcreate")]
#[case::thick_snapshot(Act::Snapshot, "Thick", "", "lvcreate")]
#[case::thick_growth(Act::Expand, "Thick", "", "lvextend")]
#[case::thick_snapshot_removed(Act::DeleteSnapshot, "Thick", "", "lvconvert")]
#[case::thin_growth(Act::Expand, "Thin", "", "lvextend")]
#[case::mirror_growth(Act::Expand, "Thick", "raid1", "lvextend")]
#[case::mirror_snapshot(Act::Snapshot, "Thick", "raid1", "lvcreate")]
#[case::mirror_snapshot_removed(Act::DeleteSnapshot, "Thick", "raid1", "lvconvert")]
#[case::thin_volume_removed(Act::Delete, "Thin", "", "lvremove")]
#[case::thick_volume_hidden(Act::Delete, "Thick", "", "lvrename")]
#[case::thick_volume_removed(Act::Delete, "Thick", "", "lvremove")]
#[case::mirror_removed(Act::Delete, "Thick", "raid1", "lvremove")]
#[ignore = "guest: real LVM, killed"]
fn a_call_ends_well_at_whichever_step_lvm_is_killed(
    #[case] act: Act,
    #[case] provisioning: &'static str,
    #[case] layout: &'static str,
    #[case] program: &str,
) {
    let spec = "provisioning: ThickAndThin, thinPool: {size: 400Mi}";
    let mut scene = Scene::new(&[1000, 1000], spec);
    let origin = Wish::new("origin", "ext4", mib(32)).with("provisioning", provisioning);
    let (origin, target) = scene.make_used(&origin);
    put(&target, 0, 7);
    let play = Play { act, provisioning, layout, origin, target };
    let killer = Killer::new(&scene, program);

    let run = |scene: &mut Scene, round: usize, step: Option<usize>, dies_too: bool| {
        play.prepare(scene, round);
        killer.arm(step);
        let first = play.call(scene, round);
        // A snapshot is removed in the background.
        wait_until("LVM has ended", || killer.is_over());
        assert!(step.is_some() || first.is_ok(), "{first:?}");
        if dies_too {
            scene.kill();
            scene.start();
        }
        wait_until("the call, repeated, ends well", || play.call(scene, round).is_ok());
        play.check(scene, round);
    };
    run(&mut scene, 0, None, false);
    let steps = killer.steps();
    assert!(!steps.is_empty(), "{}", killer.trace());
    eprintln!("{act:?} {provisioning} {layout}: killed before {} ioctls of {program}", steps.len());
    for (nth, (step, dies_too)) in tried(&steps).into_iter().enumerate() {
        eprintln!("ioctl {step}, with the driver: {dies_too}");
        run(&mut scene, nth + 1, Some(step), dies_too);
    }
}
