//! A node adopts what is asked for, with an API and a machine in memory.

use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    cluster::{
        adoptions::fake::{ADOPTIONS, FakeApi},
        agent::strays,
        wish::{Wish, lost_spec, stray_of, wish_of},
    },
    device::{BlockDevice, fake::FakeDevices},
    fs::{Content, DeviceNumber, FsKind, fake::FakeFs},
    host::Tools,
    lvm::{
        Backing, CreateVolume, Layout, Lvm as _,
        fake::{FailAt, FakeLvm},
    },
    pool::{PoolEntry, survey::example::disk},
    units::Bytes,
};

fn id() -> VolumeId {
    VolumeId::of(&"photos".parse().unwrap())
}

fn of_object(id: &VolumeId) -> String {
    format!("/apis/tarn.dev/v1alpha1/logicalvolumes/{id}")
}

fn device(lvm: &FakeLvm, path: &Path) -> Option<(DeviceNumber, Bytes)> {
    let (vg, lv) = path.strip_prefix("/dev").ok()?.to_str()?.split_once('/')?;
    let lv = lvm.peek_at(vg, lv).filter(|lv| lv.active)?;
    let minor = lv.uuid.rsplit('-').next()?.parse().ok()?;
    Some((DeviceNumber { major: 253, minor }, lv.size))
}

/// The node n1, whose group vg0 is a pool's, and an API with Adoptions.
struct Scene {
    api: Arc<FakeApi>,
    lvm: Arc<FakeLvm>,
    fs: Arc<FakeFs>,
    devices: Arc<FakeDevices>,
    home: tempfile::TempDir,
    adopter: Adopter,
}

impl Scene {
    fn new() -> Self {
        let lvm = Arc::new(FakeLvm::default().with_group("vg0", Bytes::mib(4), &[64]));
        let of_lvm = Arc::clone(&lvm);
        let fs = Arc::new(FakeFs::new().looking_up(move |path| device(&of_lvm, path)));
        let of_lvm = Arc::clone(&lvm);
        let devices =
            FakeDevices::new().looking_up(move |path| device(&of_lvm, path).map(|it| it.1));
        let devices = Arc::new(devices);
        let (lvm_, fs_, devices_) = (Arc::clone(&lvm), Arc::clone(&fs), Arc::clone(&devices));
        let tools = Tools { lvm: lvm_, fs: fs_, devices: devices_, clock: || 0 };
        let spec = serde_json::from_str(r#"{"volumeGroup": "vg0"}"#).unwrap();
        let pools = vec![PoolEntry { name: "fast".parse().unwrap(), spec }];
        let node: NodeId = "n1".parse().unwrap();
        let home = tempfile::tempdir().unwrap();
        let volumes = home.path().join("volumes");
        let machine =
            Machine::open(tools, node.clone(), "local.tarn.dev", pools, &volumes).unwrap();
        let api = FakeApi::new();
        let (client, machine) = (api.client(), Arc::new(machine));
        let adopter = Adopter { client, node, machine, turns: Turns::default() };
        Self { api, lvm, fs, devices, home, adopter }
    }

    /// Somebody makes a volume by hand, with an ext4.
    fn make(&self, lv: &str) {
        let volume = CreateVolume {
            vg: "vg0".parse().unwrap(),
            name: lv.parse().unwrap(),
            size: Bytes::mib(40),
            backing: Backing::Thick(Layout::Linear),
            on: Vec::new(),
            tags: Vec::new(),
        };
        self.lvm.create_volume(&volume).unwrap();
        let ext4 = Content::Filesystem { kind: FsKind::Ext4, size: Bytes::mib(40) };
        self.fs.set_content(format!("/dev/vg0/{lv}"), ext4);
    }

    /// An Adoption of `photos`, as `name`.
    fn ask(&self, name: &str) {
        let object = json!({
            "apiVersion": "tarn.dev/v1alpha1", "kind": "Adoption", "metadata": { "name": name },
            "spec": { "nodeName": "n1", "volumeGroup": "vg0", "logicalVolume": "photos" },
        });
        self.api.put(&format!("{ADOPTIONS}{name}"), object);
    }

    fn object(&self, name: &str) -> Adoption {
        serde_json::from_value(self.api.get(&format!("{ADOPTIONS}{name}")).unwrap()).unwrap()
    }

    /// A disk with an ext4 and a link to it, and a pool over the directory of that; what an Adoption calls it.
    fn with_disk(&self, home: &Path) -> String {
        let device = BlockDevice { size: Bytes::gib(1), ..disk("sda") };
        let (major, minor) = device.number;
        self.fs.add_device(&device.path, DeviceNumber { major, minor }, device.size);
        self.devices.plug_in(device.clone());
        let ext4 = Content::Filesystem { kind: FsKind::Ext4, size: device.size };
        self.fs.set_content(&device.path, ext4);
        std::fs::create_dir(home.join("disks")).unwrap();
        let entry = home.join("disks/sda");
        std::os::unix::fs::symlink(&device.path, &entry).unwrap();
        let spec = json!({ "wholeDevices": { "directories": [home.join("disks")] } });
        let spec = serde_json::from_value(spec).unwrap();
        let pool = PoolEntry { name: "whole".parse().unwrap(), spec };
        assert!(self.adopter.machine.set_pools(vec![pool]).is_empty());
        entry.display().to_string()
    }

    async fn serve(&self, name: &str) -> Action {
        self.adopter.serve(&self.object(name)).await.unwrap()
    }

    fn said(&self, name: &str) -> (String, String) {
        let said = self.object(name).status.unwrap().conditions.remove(0);
        assert_eq!(said.kind, "Adopted");
        (said.reason, said.message)
    }

    fn names(&self) -> Vec<String> {
        self.lvm.peek_volumes("vg0").iter().map(|it| it.name.to_string()).collect()
    }
}

#[tokio::test]
async fn a_volume_is_adopted_by_the_driver_that_runs() {
    let scene = Scene::new();
    scene.make("photos");
    scene.ask("photos");
    assert_eq!(scene.serve("photos").await, Action::await_change());
    assert_eq!(scene.said("photos").0, "Adopted");
    let status = scene.object("photos").status.unwrap();
    assert_eq!(status.volume.as_deref(), Some(id().as_str()));
    assert_eq!((status.size.as_deref(), status.purpose.as_deref()), (Some("40Mi"), Some("ext4")));
    assert_eq!((scene.names(), scene.fs.made()), (vec![id().to_string()], 0));
    assert!(scene.adopter.machine.find(&id()).is_some(), "without a look at LVM");
    scene.api.requests();
    let reports = scene.lvm.count("report");
    assert_eq!(scene.serve("photos").await, Action::await_change());
    assert_eq!(
        (scene.api.requests(), scene.lvm.count("report")),
        (Vec::new(), reports),
        "it is over"
    );
}

#[tokio::test]
async fn a_status_that_was_lost_is_written_again() {
    let scene = Scene::new();
    scene.make("photos");
    scene.ask("photos");
    scene.serve("photos").await;
    let first = scene.object("photos").status;
    // It has its LogicalVolume by now.
    scene.api.put(&of_object(&id()), logical_volume("n1"));
    scene.ask("photos");
    assert_eq!(scene.serve("photos").await, Action::await_change());
    let second = scene.object("photos").status;
    assert_eq!(first.unwrap().volume, second.unwrap().volume);
}

#[rstest]
#[tokio::test]
async fn what_is_cut_short_is_finished(
    #[values("change_tags", "rename")] verb: &'static str,
    #[values(FailAt::Before, FailAt::After)] at: FailAt,
) {
    let scene = Scene::new();
    scene.make("photos");
    scene.ask("photos");
    scene.lvm.fail_once(verb, at);
    assert_eq!(scene.serve("photos").await, Action::requeue(SOON));
    assert_eq!(scene.said("photos").0, "Unfinished");
    assert_eq!(scene.serve("photos").await, Action::await_change());
    assert_eq!(
        (scene.said("photos").0.as_str(), scene.names()),
        ("Adopted", vec![id().to_string()])
    );
}

#[tokio::test]
async fn what_is_not_there_yet_is_looked_for_without_asking_the_api() {
    let scene = Scene::new();
    scene.ask("photos");
    assert_eq!(scene.serve("photos").await, Action::requeue(LATER));
    assert_eq!(scene.said("photos").0, "NotFound");
    scene.api.requests();
    assert_eq!(scene.serve("photos").await, Action::requeue(LATER));
    assert_eq!(scene.api.requests(), [""; 0], "and what is no news is not written");
    scene.make("photos");
    assert_eq!(scene.serve("photos").await, Action::await_change());
    assert_eq!(scene.said("photos").0, "Adopted");
}

#[tokio::test]
async fn of_two_that_ask_for_one_the_second_is_told_who_has_it() {
    let scene = Scene::new();
    scene.make("photos");
    scene.ask("photos");
    scene.ask("album");
    scene.serve("photos").await;
    assert_eq!(scene.serve("album").await, Action::requeue(LATER));
    let (reason, message) = scene.said("album");
    assert_eq!(reason, "Precondition");
    assert!(message.contains("vg0/photos was adopted as volume photos"), "{message}");
}

fn logical_volume(node: &str) -> Value {
    json!({
        "apiVersion": "tarn.dev/v1alpha1", "kind": "LogicalVolume", "metadata": { "name": id().as_str() },
        "spec": {
            "nodeName": node, "pool": "p", "csiName": "photos", "size": "1Gi",
            "volumeMode": "Block", "provisioning": "Thick", "wipe": "Zero",
        },
    })
}

#[rstest]
#[case::here("n1", "of this node")]
#[case::elsewhere("n2", "of node n2")]
#[tokio::test]
async fn a_name_that_is_taken_in_the_cluster_is_refused(#[case] node: &str, #[case] words: &str) {
    let scene = Scene::new();
    scene.make("photos");
    scene.ask("photos");
    scene.api.put(&of_object(&id()), logical_volume(node));
    assert_eq!(scene.serve("photos").await, Action::requeue(LATER));
    let (reason, message) = scene.said("photos");
    assert_eq!((reason.as_str(), message.contains(words)), ("Precondition", true), "{message}");
    assert_eq!(scene.names(), ["photos"]);
}

#[tokio::test]
async fn what_was_handed_back_is_not_adopted_again() {
    let scene = Scene::new();
    scene.make("photos");
    scene.ask("photos");
    scene.serve("photos").await;
    scene.adopter.machine.release(&id()).unwrap();
    assert_eq!(scene.serve("photos").await, Action::await_change());
    assert_eq!(scene.names(), ["photos"]);
}

#[tokio::test]
async fn a_disk_is_adopted_by_the_driver_that_runs() {
    let scene = Scene::new();
    let entry = scene.with_disk(scene.home.path());
    let object = json!({
        "apiVersion": "tarn.dev/v1alpha1", "kind": "Adoption", "metadata": { "name": "photos" },
        "spec": { "nodeName": "n1", "device": entry },
    });
    scene.api.put(&format!("{ADOPTIONS}photos"), object);
    assert_eq!(scene.serve("photos").await, Action::await_change());
    let (reason, message) = scene.said("photos");
    let want = format!("{entry} is volume {} of pool whole", id());
    assert_eq!((reason.as_str(), message), ("Adopted", want));
    let status = scene.object("photos").status.unwrap();
    assert_eq!((status.size.as_deref(), status.purpose.as_deref()), (Some("1Gi"), Some("ext4")));
    let machine = &scene.adopter.machine;
    assert_eq!((machine.adopted_from(&id()), scene.fs.made()), (Some(entry.clone()), 0));

    // The object that is made of what is reported names the entry, and means this very volume.
    let (kept, node) = (machine.kept(|_| true).pop().unwrap(), &scene.adopter.node);
    let spec = lost_spec(node, &stray_of(&kept));
    assert_eq!(spec.device, Some(entry));
    assert_eq!(strays::adopt(machine, node, &kept.id, &spec).unwrap(), (Bytes::gib(1), None));
    let Wish::Volume(wanted) = wish_of(&spec).unwrap() else { panic!("{spec:?}") };
    assert_eq!(machine.create(&wanted).unwrap().id, id());
    assert_eq!((machine.volumes(None, 9).len(), scene.fs.made()), (1, 0));
    machine.release(&id()).unwrap();
    assert_eq!((machine.find(&id()), machine.adopted_from(&id())), (None, None));
}
