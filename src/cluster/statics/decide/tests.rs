//! What becomes of devices, as nodes, classes and PersistentVolumes say.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    cluster::{
        GIVEN_OUT,
        locals::places,
        objects::{LogicalVolume, NodeLocalStorageStatus},
        state::PATIENCE,
    },
    volume::PoolName,
};

const ENTRY: &str = "/mnt/disks/a";

fn driver() -> Driver {
    "local.tarn.dev".parse().unwrap()
}

fn node() -> NodeId {
    "n1".parse().unwrap()
}

fn name() -> VolumeName {
    let pool: PoolName = "whole".parse().unwrap();
    name_of(&node(), &pool, ENTRY).unwrap()
}

fn id() -> VolumeId {
    VolumeId::of(&name())
}

/// What there is, and what is known of it.
struct Scene {
    state: State,
    known: Known,
    now: Instant,
}

impl Scene {
    /// A node with one entry, and a class for it.
    fn with(entry: Value) -> Self {
        let now = Instant::now();
        let mut scene = Self { state: State::default(), known: Known::default(), now };
        scene.state.heard_of(&node(), now);
        scene.report(&[entry], &[]);
        scene.known.published = Some(BTreeMap::new());
        scene.state.set_locals(BTreeMap::new());
        scene.known.classes = Some(BTreeMap::new());
        scene.class("fast", json!({ "mode": "Static", "pool": "whole" }));
        scene
    }

    fn report(&mut self, entries: &[Value], lost: &[&str]) {
        let status: NodeLocalStorageStatus = serde_json::from_value(json!({
            "sequence": 7,
            "pools": [{
                "name": "whole", "size": "10Gi", "free": "10Gi", "volumes": 0, "snapshots": 0, "wiping": "0",
                "spec": { "wholeDevices": { "directories": ["/mnt/disks"] } },
                "extentSize": "512", "extents": 1, "freeExtents": 1, "disks": [],
                "entries": entries, "lost": lost,
            }],
        }))
        .unwrap();
        self.state.report(&node(), &status);
    }

    fn class(&mut self, name: &str, parameters: Value) {
        let class = serde_json::from_value(json!({
            "metadata": { "name": name, "uid": format!("uid-{name}") },
            "provisioner": "local.tarn.dev",
            "reclaimPolicy": "Delete",
            "mountOptions": ["noatime"],
            "parameters": parameters,
        }));
        let class = StaticClass::read(&class.unwrap(), &driver()).unwrap();
        self.known.classes.as_mut().unwrap().insert(name.to_owned(), class);
    }

    /// The object that the device has become.
    fn volume(&mut self, status: Value, annotations: Value) {
        let class = self.known.classes.as_ref().unwrap().values().flatten().next().unwrap().clone();
        let pool = self.state.pool_of(&node(), &"whole".parse().unwrap()).unwrap();
        let size = "10Gi".parse().unwrap();
        let spec = class.spec(name(), &node(), pool, ENTRY, size).unwrap();
        let mut object = LogicalVolume::new(id().as_str(), spec);
        object.metadata.uid = Some("u".to_owned());
        object.metadata.resource_version = Some("7".to_owned());
        object.metadata.annotations = serde_json::from_value(annotations).unwrap();
        object.status = serde_json::from_value(status).unwrap();
        self.state.enter(id().as_str(), &object);
    }

    fn published(&mut self, change: impl FnOnce(&mut Published)) {
        let mut volume = Published {
            name: name().as_str().to_owned(),
            uid: "pv".to_owned(),
            version: "3".to_owned(),
            class: "fast".to_owned(),
            class_uid: "uid-fast".to_owned(),
            handle: id().to_string(),
            is_claimed: false,
            is_deleting: false,
            is_kept_by_us_alone: false,
        };
        change(&mut volume);
        self.known.published.as_mut().unwrap().insert(volume.name.clone(), volume);
    }

    fn local(&mut self, volume: Value) {
        let volume = serde_json::from_value(volume).unwrap();
        self.state.enter_local("local-pv", places(&volume));
    }

    fn decided(&self) -> Decided {
        self.known.decide(&self.state, &driver(), self.now)
    }

    fn words(&self) -> Vec<String> {
        let word = |step: Step| match step {
            Step::Claim { id, spec } => {
                format!("claim {} {}", id == self::id(), spec.device.unwrap())
            }
            Step::Offer { volume, .. } => {
                format!("offer {}", volume.metadata.name == Some(name().as_str().to_owned()))
            }
            Step::Withdraw { why, .. } => format!("withdraw: {why}"),
            Step::Keep { .. } => "keep".to_owned(),
            Step::LetGo { .. } => "let go".to_owned(),
            Step::Warn { node, .. } => format!("warn {node}"),
        };
        self.decided().steps.into_iter().map(word).collect()
    }
}

fn free() -> Value {
    json!({ "path": ENTRY, "device": "/dev/sda", "size": "10Gi", "state": "Free" })
}

fn used() -> Value {
    json!({ "path": ENTRY, "device": "/dev/sda", "size": "10Gi", "state": "Used", "volume": id().as_str() })
}

fn ready() -> Value {
    json!({ "phase": "Ready", "size": "10Gi", "sequence": 7 })
}

#[test]
fn a_free_device_becomes_a_volume_of_its_own() {
    let scene = Scene::with(free());
    let [Step::Claim { id: of, spec }] = &scene.decided().steps[..] else {
        panic!("{:?}", scene.words())
    };
    let spec = serde_json::to_value(spec).unwrap();
    assert_eq!(*of, id());
    assert_eq!(
        spec,
        json!({
            "nodeName": "n1", "pool": "whole", "csiName": name().as_str(), "size": "10Gi", "volumeMode": "Filesystem",
            "fsType": "ext4", "provisioning": "Thick", "layout": "Linear", "wipe": "Zero", "device": ENTRY,
        })
    );
}

#[test]
fn a_volume_is_offered_as_its_class_says() {
    let mut scene = Scene::with(used());
    scene.volume(ready(), json!({}));
    let [Step::Offer { volume, .. }] = &scene.decided().steps[..] else {
        panic!("{:?}", scene.words())
    };
    assert_eq!(
        serde_json::to_value(volume).unwrap(),
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": name().as_str(),
                "annotations": { "pv.kubernetes.io/provisioned-by": "local.tarn.dev" },
                "labels": { "tarn.dev/static": "uid-fast" },
                "finalizers": ["tarn.dev/static"],
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": { "storage": "10Gi" },
                "csi": { "driver": "local.tarn.dev", "volumeHandle": id().as_str(), "fsType": "ext4" },
                "mountOptions": ["noatime"],
                "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                    { "key": "topology.tarn.dev/node", "operator": "In", "values": ["n1"] },
                ] }] } },
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": "fast",
                "volumeMode": "Filesystem",
            },
        })
    );
}

#[test]
fn what_was_published_is_read_again() {
    let mut scene = Scene::with(used());
    scene.volume(ready(), json!({}));
    let Some(Step::Offer { mut volume, .. }) = scene.decided().steps.pop() else { panic!() };
    assert_eq!(Published::read(&volume, &driver()), None, "it is not in the API yet");
    volume.metadata.uid = Some("pv".to_owned());
    volume.metadata.resource_version = Some("3".to_owned());
    let read = Published::read(&volume, &driver()).unwrap();
    assert!(read.is_kept_by_us_alone && !read.is_claimed && !read.is_deleting);
    scene.known.published.as_mut().unwrap().insert(read.name.clone(), read);
    assert_eq!(scene.words(), Vec::<String>::new(), "and there is nothing more to do");
    assert_eq!(Published::read(&volume, &"other.tarn.dev".parse().unwrap()), None);
}

#[rstest]
#[case::is_being_made(json!({ "phase": "Creating" }), json!({}), used())]
#[case::is_not_told_yet(ready(), json!({}), free())]
#[case::may_hold_data(ready(), json!({ GIVEN_OUT: "true" }), used())]
#[case::was_lost(ready(), json!({ "tarn.dev/found": "true" }), used())]
fn a_volume_is_not_offered_that(
    #[case] status: Value,
    #[case] annotations: Value,
    #[case] entry: Value,
) {
    let mut scene = Scene::with(entry);
    scene.volume(status, annotations);
    assert_eq!(scene.words(), Vec::<String>::new());
}

#[test]
fn a_volume_is_not_offered_for_another_use_than_it_was_made_for() {
    let mut scene = Scene::with(used());
    scene.volume(ready(), json!({}));
    scene.class("fast", json!({ "mode": "Static", "volumeMode": "Block" }));
    assert_eq!(scene.words(), Vec::<String>::new());
}

#[rstest]
#[case::used_by_another(json!({ "path": ENTRY, "size": "10Gi", "state": "Used", "volume": "v-x" }))]
#[case::being_wiped(json!({ "path": ENTRY, "size": "10Gi", "state": "Wiped", "volume": "v-x" }))]
#[case::refused(json!({ "path": ENTRY, "state": "Refused", "message": "it leads nowhere" }))]
fn no_device_is_taken_but_a_free_one(#[case] entry: Value) {
    assert_eq!(Scene::with(entry).words(), Vec::<String>::new());
}

#[test]
fn a_device_is_taken_anew_only_when_its_persistent_volume_is_gone() {
    let mut scene = Scene::with(free());
    scene.published(|it| {
        it.is_claimed = true;
        it.is_deleting = true;
    });
    assert_eq!(scene.words(), Vec::<String>::new(), "others keep it");
    scene.published(|it| {
        it.is_claimed = true;
        it.is_deleting = true;
        it.is_kept_by_us_alone = true;
    });
    assert_eq!(scene.words(), ["let go"]);
    scene.known.published.as_mut().unwrap().clear();
    assert_eq!(scene.words(), [format!("claim true {ENTRY}")]);
}

#[test]
fn a_volume_with_a_claim_is_marked_before_its_persistent_volume_goes() {
    for is_deleting in [false, true] {
        let mut scene = Scene::with(used());
        scene.volume(ready(), json!({}));
        scene.published(|it| {
            it.is_claimed = true;
            it.is_deleting = is_deleting;
            it.is_kept_by_us_alone = true;
        });
        assert_eq!(scene.words(), ["keep"]);
    }
}

#[test]
fn two_classes_of_one_pool_do_not_get_one_device() {
    let mut scene = Scene::with(free());
    scene.class("also", json!({ "mode": "Static" }));
    assert_eq!(scene.words().len(), 1);
    scene.class("other", json!({ "mode": "Static", "pool": "elsewhere" }));
    scene.known.classes.as_mut().unwrap().retain(|name, _| name == "other");
    assert_eq!(scene.words(), Vec::<String>::new());
}

/// How a volume that is published stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Device {
    There,
    Missing,
    NotTold,
    OfSilentNode,
    OfLostNode,
}

#[rstest]
#[case::all_is_well(Device::There, false, &[])]
#[case::vanished(Device::Missing, false, &["withdraw: its device is missing"])]
#[case::its_entry_was_removed(Device::NotTold, false, &["withdraw: its device is missing"])]
#[case::silent(Device::OfSilentNode, false, &[])]
#[case::given_up(Device::OfLostNode, false, &["withdraw: its node is given up"])]
#[case::claimed(Device::There, true, &[])]
#[case::vanished_with_a_claim(Device::Missing, true, &["warn n1"])]
#[case::without_entry_with_a_claim(Device::NotTold, true, &[])]
#[case::silent_with_a_claim(Device::OfSilentNode, true, &[])]
#[case::given_up_with_a_claim(Device::OfLostNode, true, &[])]
fn a_device_vanishes(#[case] device: Device, #[case] is_claimed: bool, #[case] expected: &[&str]) {
    let mut scene = Scene::with(used());
    let mark = if is_claimed { json!({ GIVEN_OUT: "true" }) } else { json!({}) };
    scene.volume(ready(), mark);
    scene.published(|it| it.is_claimed = is_claimed);
    match device {
        Device::There => (),
        Device::Missing => {
            scene.report(&[json!({ "path": ENTRY, "state": "Refused" })], &[id().as_str()]);
        }
        Device::NotTold => scene.report(&[], &[]),
        Device::OfSilentNode | Device::OfLostNode => {
            scene.report(&[], &[]);
            scene.now += PATIENCE;
        }
    }
    scene.state.set_lost(&node(), device == Device::OfLostNode);
    assert_eq!(scene.words(), expected);
}

#[test]
fn of_more_entries_than_are_told_nothing_is_missing() {
    let mut scene = Scene::with(used());
    scene.volume(ready(), json!({}));
    scene.published(|_| ());
    let other = |n: usize| json!({ "path": format!("/mnt/disks/{n}"), "state": "Refused" });
    scene.report(&(0..crate::cluster::objects::MOST_ENTRIES).map(other).collect::<Vec<_>>(), &[]);
    assert_eq!(scene.words(), Vec::<String>::new());
}

#[test]
fn without_its_class_or_its_volume_it_is_withdrawn() {
    let mut scene = Scene::with(used());
    scene.published(|_| ());
    assert_eq!(scene.words(), ["withdraw: its volume is gone"]);
    scene.volume(ready(), json!({}));
    assert_eq!(scene.words(), Vec::<String>::new());
    scene.published(|it| it.class_uid = "of an earlier class of this name".to_owned());
    assert_eq!(scene.words(), ["withdraw: its class is gone"]);
    scene.known.classes.as_mut().unwrap().clear();
    assert_eq!(scene.words(), ["withdraw: its class is gone"]);
}

#[test]
fn nothing_is_done_before_all_is_known() {
    let mut scene = Scene::with(free());
    let known = std::mem::take(&mut scene.state);
    scene.state.heard_of(&node(), scene.now);
    scene.report(&[free()], &[]);
    assert_eq!(scene.decided(), Decided::default(), "which are of the kind `local` is not known");
    scene.state = known;
    scene.known.published = None;
    assert_eq!(scene.decided(), Decided::default());
}

#[test]
fn a_class_that_its_pool_does_not_allow_gets_nothing_and_is_told_why() {
    let mut scene = Scene::with(free());
    scene.class("fast", json!({ "mode": "Static", "wipe": "QuickReset" }));
    let decided = scene.decided();
    assert_eq!(decided.steps, []);
    let said = decided.refused.first().unwrap();
    assert_eq!((&*said.class, &*said.uid), ("fast", "uid-fast"));
    let why = &said.why;
    assert!(why.starts_with("nothing of pool whole is offered: ") && why.contains("wipe"), "{why}");
}

#[test]
fn a_class_with_a_mistake_gets_nothing_and_is_told_why() {
    let mut scene = Scene::with(used());
    scene.volume(ready(), json!({}));
    scene.published(|_| ());
    scene.class("fast", json!({ "mode": "Static", "wipe": "Twice" }));
    assert_eq!(scene.words(), ["withdraw: its class is gone"]);
    let refused = scene.decided().refused;
    let why = &refused.first().unwrap().why;
    assert!(why.starts_with("nothing is offered for this class: parameters[wipe]"), "{why}");
    assert!(refused.len() == 1 && why.contains("`Twice`"), "{why}");
}

#[test]
fn a_silent_node_is_waited_for() {
    let mut scene = Scene::with(free());
    scene.now += PATIENCE;
    assert_eq!(scene.decided(), Decided { waits: true, ..Decided::default() });
}

/// A volume as sig-storage-local-static-provisioner makes it, and as somebody may.
fn local(path: &str, host: &str, by: Option<&str>) -> Value {
    let annotations = by.map(|by| json!({ "pv.kubernetes.io/provisioned-by": by }));
    json!({
        "metadata": { "name": "local-pv-7b1b1f5e", "annotations": annotations },
        "spec": {
            "local": { "path": path },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": "kubernetes.io/hostname", "operator": "In", "values": [host] },
            ] }] } },
        },
    })
}

#[rstest]
#[case::by_its_label(local(ENTRY, "n1", None), true)]
#[case::by_its_maker(
    local(
        ENTRY,
        "host-1",
        Some("local-volume-provisioner-n1-6ba7b810-9dad-11d1-80b4-00c04fd430c8")
    ),
    true
)]
#[case::by_its_maker_without_uid(local(ENTRY, "host-1", Some("local-volume-provisioner-n1")), true)]
#[case::by_its_device(local("/dev/sda", "n1", None), true)]
#[case::elsewhere(
    local(ENTRY, "n2", Some("local-volume-provisioner-n2-6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
    false
)]
#[case::another(local("/mnt/disks/b", "n1", None), false)]
#[case::of_another_kind(json!({ "metadata": {}, "spec": { "hostPath": { "path": ENTRY } } }), false)]
fn the_device_of_a_local_volume_is_left_alone(#[case] volume: Value, #[case] is_left: bool) {
    let mut scene = Scene::with(free());
    scene.local(volume);
    assert_eq!(scene.words().is_empty(), is_left);
}

#[test]
fn names_tell_devices_apart() {
    let pool = |name: &str| name.parse::<PoolName>().unwrap();
    let all = [
        name_of(&node(), &pool("whole"), ENTRY),
        name_of(&"n2".parse().unwrap(), &pool("whole"), ENTRY),
        name_of(&node(), &pool("other"), ENTRY),
        name_of(&node(), &pool("whole"), "/mnt/disks/b"),
    ];
    let all: BTreeSet<_> = all.into_iter().map(|it| it.unwrap().as_str().to_owned()).collect();
    assert_eq!(all.len(), 4);
    assert_eq!(name(), name_of(&node(), &pool("whole"), ENTRY).unwrap());
}

#[rstest]
#[case::of_another_driver("other.example.org", json!({ "mode": "Static" }), "none")]
#[case::made_on_demand("local.tarn.dev", json!({ "pool": "whole" }), "none")]
#[case::fs("local.tarn.dev", json!({ "mode": "static", "csi.storage.k8s.io/fstype": "xfs" }), "xfs")]
#[case::block("local.tarn.dev", json!({ "mode": "Static", "volumeMode": "block" }), "block")]
#[case::odd_mode("local.tarn.dev", json!({ "mode": "Static", "volumeMode": "Raw" }), "volumeMode")]
#[case::odd_key("local.tarn.dev", json!({ "mode": "Static", "hostDir": "/mnt" }), "hostDir")]
#[case::block_with_fs("local.tarn.dev", json!({ "mode": "Static", "volumeMode": "Block", "csi.storage.k8s.io/fstype": "xfs" }), "fstype")]
fn classes_are_read(#[case] provisioner: &str, #[case] parameters: Value, #[case] expected: &str) {
    let class = json!({ "metadata": { "name": "c" }, "provisioner": provisioner, "parameters": parameters });
    let read = StaticClass::read(&serde_json::from_value(class).unwrap(), &driver());
    let said = match read {
        None => "none".to_owned(),
        Some(Ok(class)) => class.says.purpose.to_string(),
        Some(Err(refused)) => refused.why,
    };
    assert!(said.contains(expected), "{said}");
}
