//! Thousands of requests that no sane caller sends, for each RPC: none may end in a panic, in a
//! code that blames the driver, or leave anything behind. `TARN_HOSTILE_CASES` says how many.

use std::{cell::Cell, collections::BTreeSet, fs, path::Path};

use proptest::test_runner::{Config, RngAlgorithm, TestRunner};
use rstest::rstest;
use tarn::{
    csi::{
        ControllerService, NodeService,
        proto::{CreateVolumeRequest, controller_server::Controller, node_server::Node},
    },
    fs::{Filesystems, Mount},
    machine::LocalProvisioner,
    volume::Turns,
};
use tonic::{Code, Request, Response, Status};

use crate::{
    ground::{Ground, KEY, NODE, services},
    requests::*,
    strange::{Call, SECRET, Use, World, calls, ensure_untouched, furnish},
};

/// After so many changes everything is put back.
const CHANGES: u32 = 10;

/// A machine with some volumes in use, which can be put back to what it was.
struct Place {
    ground: Ground,
    controller: ControllerService<LocalProvisioner>,
    node: NodeService,
    world: World,
    lvs: Vec<String>,
    mounts: Vec<Mount>,
    /// How much has changed since it was put back.
    changed: Cell<u32>,
}

impl Place {
    fn new() -> Self {
        let ground = Ground::two_pools();
        let driver = "local.tarn.dev".parse().unwrap();
        let (controller, node) = services(&driver, ground.host(), &Turns::default());
        furnish(&ground.path(""));
        let folder = ground.path("").trim_end_matches('/').to_owned();
        let world = World {
            volumes: Vec::new(),
            snapshots: Vec::new(),
            folder,
            uses: Vec::new(),
            pools: vec!["fast".to_owned(), "slow".to_owned()],
            segment: (KEY.to_owned(), NODE.to_owned()),
        };
        let (lvs, mounts) = (Vec::new(), Vec::new());
        let changed = Cell::new(0);
        let mut place = Self { ground, controller, node, world, lvs, mounts, changed };
        (place.world.volumes, place.world.snapshots) = place.fill();
        let of = |at: usize, name: &str, capability| Use {
            id: place.world.volumes[at].clone(),
            staged: place.ground.path(&format!("staging-{name}")),
            target: place.ground.path(&format!("target-{name}")),
            capability,
        };
        place.world.uses = vec![of(0, "a", mount("ext4")), of(1, "b", block())];
        place.lvs = place.ground.lvs();
        place.mounts = place.ground.mounts();
        place
    }

    /// Makes, stages and publishes what is not there; the ids of volumes and snapshots.
    fn fill(&self) -> (Vec<String>, Vec<String>) {
        let ground = &self.ground;
        let of = |pool: &str, provisioning: &str, wish: CreateVolumeRequest| {
            let parameters = map(&[("pool", pool), ("provisioning", provisioning)]);
            ground.made(CreateVolumeRequest { parameters, capacity_range: None, ..wish })
        };
        let a = of("fast", "Thick", volume("world-a"));
        let b = of("slow", "Thick", block_volume("world-b"));
        let c = of("fast", "Thin", volume("world-c"));
        let used = ["staging-a", "target-a", "staging-b", "target-b"].map(|it| ground.path(it));
        ground.stage(staging(&a, &used[0])).unwrap();
        ground.publish(publishing(&a, &used[0], &used[1])).unwrap();
        ground.stage(block_staging(&b, &used[2])).unwrap();
        ground.publish(block_publishing(&b, &used[2], &used[3])).unwrap();
        let snapshots = [("world-s", &a), ("world-t", &c)];
        let snapshots = snapshots.map(|(name, of)| ground.snapshot(name, of).unwrap().snapshot_id);
        (vec![a, b, c], snapshots.to_vec())
    }

    /// Takes away what does not belong to the world, and fills it again.
    fn restore(&self) {
        let ground = &self.ground;
        for mount in ground.mounts().iter().rev().filter(|it| !self.mounts.contains(it)) {
            ground.fs.unmount(&mount.at).unwrap();
            remove(&mount.at);
        }
        let known: BTreeSet<&String> = self.lvs.iter().collect();
        let strangers: Vec<String> =
            ground.lvs().into_iter().filter(|it| !known.contains(it)).collect();
        for id in strangers.iter().filter(|it| it.starts_with("s-")) {
            ground.delete_snapshot(id).unwrap();
        }
        for id in strangers.iter().filter(|it| it.starts_with("v-")) {
            ground.delete(id).unwrap();
        }
        ground.settle();
        let (volumes, snapshots) = self.fill();
        assert_eq!((&volumes, &snapshots), (&self.world.volumes, &self.world.snapshots));
        assert_eq!(ground.lvs(), self.lvs);
        let places =
            |mounts: &[Mount]| mounts.iter().map(|it| it.at.clone()).collect::<BTreeSet<_>>();
        assert_eq!(places(&ground.mounts()), places(&self.mounts));
    }

    fn send(&self, call: Call) -> Result<(), Status> {
        let (controller, node) = (&self.controller, &self.node);
        self.ground.runtime.block_on(async {
            match call {
                Call::Create(it) => done(controller.create_volume(Request::new(it)).await),
                Call::Delete(it) => done(controller.delete_volume(Request::new(it)).await),
                Call::Expand(it) => {
                    done(controller.controller_expand_volume(Request::new(it)).await)
                }
                Call::Validate(it) => {
                    done(controller.validate_volume_capabilities(Request::new(it)).await)
                }
                Call::List(it) => done(controller.list_volumes(Request::new(it)).await),
                Call::Capacity(it) => done(controller.get_capacity(Request::new(it)).await),
                Call::Snapshot(it) => done(controller.create_snapshot(Request::new(it)).await),
                Call::DeleteSnapshot(it) => {
                    let request = Request::new(it);
                    done(Controller::delete_snapshot(controller, request).await)
                }
                Call::ListSnapshots(it) => {
                    done(Controller::list_snapshots(controller, Request::new(it)).await)
                }
                Call::Stage(it) => done(node.node_stage_volume(Request::new(it)).await),
                Call::Unstage(it) => done(node.node_unstage_volume(Request::new(it)).await),
                Call::Publish(it) => done(node.node_publish_volume(Request::new(it)).await),
                Call::Unpublish(it) => done(node.node_unpublish_volume(Request::new(it)).await),
                Call::Stats(it) => done(node.node_get_volume_stats(Request::new(it)).await),
                Call::NodeExpand(it) => done(node.node_expand_volume(Request::new(it)).await),
            }
        })
    }

    /// Sends the call and looks at what it did.
    fn endure(&self, call: &Call) -> Code {
        let before = (self.ground.lvs(), self.ground.mounts());
        let answer = self.send(call.clone());
        let Err(status) = answer else {
            if (self.ground.lvs(), self.ground.mounts()) != before {
                self.changed.set(self.changed.get() + 1);
            }
            if self.changed.get() >= CHANGES {
                self.restore();
                self.changed.set(0);
            }
            return Code::Ok;
        };
        let is_list = matches!(call, Call::List(_) | Call::ListSnapshots(_));
        let blame = [Code::Internal, Code::Unknown, Code::DataLoss];
        assert!(!blame.contains(&status.code()), "{status:?}");
        // With one call at a time nothing is busy: this would be a panic or a mess.
        assert!(is_list || status.code() != Code::Aborted, "{status:?}");
        assert!(!status.message().is_empty() && status.details().is_empty(), "{status:?}");
        assert!(!status.message().contains(SECRET), "{status:?}");
        assert_eq!((self.ground.lvs(), self.ground.mounts()), before, "{status:?}");
        status.code()
    }
}

fn done<T>(answer: Result<Response<T>, Status>) -> Result<(), Status> {
    answer.map(drop)
}

/// What a mount was on, unless there was something in it before.
fn remove(path: &Path) {
    let empty = path.metadata().is_ok_and(|data| data.len() == 0);
    if path.is_dir() {
        drop(fs::remove_dir(path));
    } else if empty {
        drop(fs::remove_file(path));
    }
}

#[rstest]
#[case::create("CreateVolume")]
#[case::delete("DeleteVolume")]
#[case::expand("ControllerExpandVolume")]
#[case::validate("ValidateVolumeCapabilities")]
#[case::list("ListVolumes")]
#[case::capacity("GetCapacity")]
#[case::snapshot("CreateSnapshot")]
#[case::delete_snapshot("DeleteSnapshot")]
#[case::list_snapshots("ListSnapshots")]
#[case::stage("NodeStageVolume")]
#[case::unstage("NodeUnstageVolume")]
#[case::publish("NodePublishVolume")]
#[case::unpublish("NodeUnpublishVolume")]
#[case::stats("NodeGetVolumeStats")]
#[case::node_expand("NodeExpandVolume")]
fn no_request_does_harm(#[case] rpc: &str) {
    let cases = std::env::var("TARN_HOSTILE_CASES").map_or(10_000, |text| text.parse().unwrap());
    let place = Place::new();
    let granted = Cell::new(0u32);
    let rng_algorithm = RngAlgorithm::XorShift;
    let config = Config { cases, rng_algorithm, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&calls(rpc, &place.world), |call| {
        if place.endure(&call) == Code::Ok {
            granted.set(granted.get() + 1);
        }
        Ok(())
    });
    outcome.unwrap();
    place.restore();
    ensure_untouched(&place.world.folder);
    // A strategy whose wishes are all nonsense gets no further than the first check.
    let part = f64::from(granted.get()) / f64::from(cases);
    assert!(part > 0.02, "only {part} of the calls were granted");
}
