//! Requests that no orderly caller sends: nothing breaks, and nothing is left behind.

use std::collections::BTreeMap;

use tarn::csi::proto::{
    volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume},
    volume_content_source::{SnapshotSource, Type, VolumeSource},
    *,
};
use tonic::{Code, Status};

use crate::support::{Scene, Wish, dice::Dice, mib};

/// How many of each kind of request are sent.
const ROUNDS: u64 = 300;

/// What strings are made of: ids that exist, and all that is no id, name or path.
struct Words {
    dice: Dice,
    known: Vec<String>,
    home: String,
}

impl Words {
    fn text(&mut self) -> String {
        let strange = [
            "",
            "-rf",
            "--all",
            "/",
            "..",
            "../../etc",
            "a\0b",
            "v-",
            "s-0",
            "%s%n",
            "vg/lv",
            " ",
            "\n",
            "@tag",
            "ünïcødé-🦀",
            "v-aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "${HOME}",
            "'; reboot; '",
            "pool",
        ];
        let at = self.dice.roll(strange.len() as u64 + 4);
        match usize::try_from(at).unwrap() {
            at if at < strange.len() => strange[at].to_owned(),
            at if at == strange.len() => "x".repeat(300),
            at if at == strange.len() + 1 => "é".repeat(64),
            _ => self.id(),
        }
    }

    fn id(&mut self) -> String {
        let at = self.dice.roll(self.known.len() as u64 + 1);
        let known = self.known.get(usize::try_from(at).unwrap()).cloned();
        known.unwrap_or_else(|| "v-bbbbbbbbbbbbbbbbbbbbbbbbbb".to_owned())
    }

    /// A path; what could be made is below the scene's own directory.
    fn path(&mut self) -> String {
        let home = self.home.clone();
        match self.dice.roll(9) {
            0 => String::new(),
            1 => "relative/path".to_owned(),
            2 => format!("{home}/pods/../../{}", self.dice.roll(3)),
            3 => format!("{home}/pods/a\0b"),
            4 => format!("{home}/pods/{}", "y".repeat(300)),
            5 => format!("{home}/pools.yaml/below-a-file"),
            6 => "/proc/nowhere/target".to_owned(),
            7 => format!("{home}/{}", "deep/".repeat(900)),
            _ => format!("{home}/pods/{}/{}", self.dice.roll(3), self.id()),
        }
    }

    fn number(&mut self) -> i64 {
        let some = [0, 1, -1, i64::MAX, i64::MIN, 1 << 22, 5 << 20, 1 << 40, 4095];
        some[usize::try_from(self.dice.roll(some.len() as u64)).unwrap()]
    }

    fn small(&mut self) -> i32 {
        let some = [0, 1, 2, -1, 7, 99, i32::MAX, i32::MIN];
        some[usize::try_from(self.dice.roll(some.len() as u64)).unwrap()]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.dice.roll(5) > 0).then(|| make(self))
    }

    fn map(&mut self) -> BTreeMap<String, String> {
        let keys = ["pool", "layout", "stripes", "wipe", "mkfsOptions", "provisioning", "Odd", ""];
        let count = self.dice.roll(3);
        let pair = |words: &mut Self| {
            let key = keys[usize::try_from(words.dice.roll(keys.len() as u64)).unwrap()];
            (key.to_owned(), words.text())
        };
        (0..count).map(|_| pair(self)).collect()
    }

    fn range(&mut self) -> CapacityRange {
        CapacityRange { required_bytes: self.number(), limit_bytes: self.number() }
    }

    fn capability(&mut self) -> VolumeCapability {
        let access = self.maybe(|words| match words.dice.roll(2) {
            0 => AccessType::Block(BlockVolume {}),
            _ => AccessType::Mount(MountVolume {
                fs_type: match words.dice.roll(4) {
                    0 => words.text(),
                    1 => "xfs".to_owned(),
                    _ => "ext4".to_owned(),
                },
                mount_flags: words.maybe(Self::text).into_iter().collect(),
                volume_mount_group: if words.dice.roll(4) > 0 {
                    String::new()
                } else {
                    words.text()
                },
            }),
        });
        let mode = self.maybe(|words| AccessMode { mode: words.small() });
        VolumeCapability { access_type: access, access_mode: mode }
    }

    fn source(&mut self) -> VolumeContentSource {
        let source = self.maybe(|words| match words.dice.roll(2) {
            0 => Type::Snapshot(SnapshotSource { snapshot_id: words.id() }),
            _ => Type::Volume(VolumeSource { volume_id: words.text() }),
        });
        VolumeContentSource { r#type: source }
    }

    fn create(&mut self) -> CreateVolumeRequest {
        CreateVolumeRequest {
            name: self.text(),
            capacity_range: self.maybe(Self::range),
            volume_capabilities: self.maybe(Self::capability).into_iter().collect(),
            parameters: self.map(),
            volume_content_source: if self.dice.roll(3) > 0 { None } else { Some(self.source()) },
            accessibility_requirements: (self.dice.roll(6) == 0).then(|| TopologyRequirement {
                requisite: vec![Topology { segments: self.map() }],
                preferred: Vec::new(),
            }),
            mutable_parameters: if self.dice.roll(6) > 0 { BTreeMap::new() } else { self.map() },
            ..Default::default()
        }
    }
}

/// An answer that says whose fault it is; "internal" and "unknown" would be ours.
#[track_caller]
fn judge<T>(what: &str, sent: &str, answer: Result<T, Status>) {
    let Err(status) = answer else { return };
    let ours = matches!(
        status.code(),
        Code::Internal | Code::Unknown | Code::Unavailable | Code::Cancelled | Code::DataLoss
    );
    assert!(!ours, "{what} answered {status:?} to {sent}");
    assert!(!status.message().is_empty(), "{what} says nothing of {sent}");
    assert!(status.details().is_empty(), "{what}: details must stay empty");
}

macro_rules! bombard {
    ($scene:ident, $words:ident: $($call:ident = $request:expr;)*) => {
        $(for _ in 0..ROUNDS {
            let request = $request;
            let sent = format!("{request:?}");
            judge(stringify!($call), &sent, $scene.csi.$call(request));
        })*
    };
}

fn bombard_controller(scene: &Scene, words: &mut Words) {
    bombard! { scene, words:
        create_volume = words.create();
        validate_volume_capabilities = ValidateVolumeCapabilitiesRequest {
            volume_id: words.text(),
            volume_capabilities: words.maybe(Words::capability).into_iter().collect(),
            parameters: words.map(),
            ..Default::default()
        };
        list_volumes = ListVolumesRequest { max_entries: words.small(), starting_token: words.text() };
        get_capacity = GetCapacityRequest {
            volume_capabilities: words.maybe(Words::capability).into_iter().collect(),
            parameters: words.map(),
            accessible_topology: (words.dice.roll(4) == 0).then(|| Topology { segments: words.map() }),
        };
        create_snapshot = CreateSnapshotRequest {
            name: words.text(),
            source_volume_id: words.text(),
            parameters: words.map(),
            ..Default::default()
        };
        list_snapshots = ListSnapshotsRequest {
            max_entries: words.small(),
            starting_token: words.text(),
            source_volume_id: words.text(),
            snapshot_id: words.text(),
            ..Default::default()
        };
        controller_expand_volume = ControllerExpandVolumeRequest {
            volume_id: words.text(),
            capacity_range: words.maybe(Words::range),
            volume_capability: words.maybe(Words::capability),
            ..Default::default()
        };
    }
}

fn bombard_node(scene: &Scene, words: &mut Words) {
    bombard! { scene, words:
        node_stage_volume = NodeStageVolumeRequest {
            volume_id: words.text(),
            staging_target_path: words.path(),
            volume_capability: words.maybe(Words::capability),
            volume_context: words.map(),
            ..Default::default()
        };
        node_publish_volume = NodePublishVolumeRequest {
            volume_id: words.text(),
            staging_target_path: words.path(),
            target_path: words.path(),
            volume_capability: words.maybe(Words::capability),
            readonly: words.dice.roll(2) == 0,
            ..Default::default()
        };
        node_get_volume_stats = NodeGetVolumeStatsRequest {
            volume_id: words.text(),
            volume_path: words.path(),
            ..Default::default()
        };
        node_expand_volume = NodeExpandVolumeRequest {
            volume_id: words.text(),
            volume_path: words.path(),
            capacity_range: words.maybe(Words::range),
            ..Default::default()
        };
        node_unpublish_volume = NodeUnpublishVolumeRequest {
            volume_id: words.text(),
            target_path: words.path(),
        };
        node_unstage_volume = NodeUnstageVolumeRequest {
            volume_id: words.text(),
            staging_target_path: words.path(),
        };
        delete_snapshot = DeleteSnapshotRequest { snapshot_id: words.text(), ..Default::default() };
        delete_volume = DeleteVolumeRequest { volume_id: words.text(), ..Default::default() };
    }
}

#[test]
#[ignore = "guest: real LVM, file systems and paths"]
fn no_request_breaks_the_driver() {
    let mut scene = Scene::usual();
    let volume = scene.make(&Wish::new("known", "ext4", mib(16)));
    let thin = scene.make(&Wish::new("thin", "block", mib(16)).with("provisioning", "Thin"));
    let snapshot = scene.snapshot("snapshot", &thin).unwrap().snapshot_id;
    let known = vec![volume.id, thin.id, snapshot];
    let home = scene.home().display().to_string();
    let pid = scene.driver().pid();
    let mut words = Words { dice: Dice::new(11), known, home };
    bombard_controller(&scene, &mut words);
    bombard_node(&scene, &mut words);
    assert_eq!(scene.driver().pid(), pid);
    let log = std::fs::read_to_string(scene.home().join("driver.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    // What a request could rightly make of the paths is removed as a kubelet would.
    scene.clear();
    drop(std::fs::remove_dir_all(scene.home().join("deep")));
}
