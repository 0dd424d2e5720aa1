//! A driver over a pool of its own, and a leak check when the test has ended.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use tarn::csi::proto::*;
use tonic::Status;

use super::{
    calls::Csi,
    driver::{Driver, socket},
    ground::Ground,
    machine::{Inventory, mounts_below, wait_until},
    wish::{Wish, range},
};

/// A driver over a pool named `pool`. When it is dropped, everything that was made through it is
/// deleted through it, and then the machine must be as it was before.
pub(crate) struct Scene {
    pub(crate) csi: Csi,
    pub(crate) ground: Ground,
    driver: Option<Driver>,
    args: Vec<String>,
    before: Inventory,
}

/// A volume that was made in a scene.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) size: u64,
    capability: VolumeCapability,
}

impl Scene {
    /// A pool on disks of these sizes in MiB; `spec` is the rest of its entry in the pools file,
    /// such as `wipe: None`.
    #[track_caller]
    pub(crate) fn new(disks: &[u64], spec: &str) -> Self {
        let ground = Ground::new(disks);
        let vg = &ground.vg;
        let entry = format!("pools: [{{name: pool, volumeGroup: {vg}, {spec}}}]\n");
        Self::on(ground, &entry, &[])
    }

    /// Room for 2000 MiB of thick and 2000 MiB of thin volumes on two disks.
    #[track_caller]
    pub(crate) fn usual() -> Self {
        Self::new(&[2040, 2040], "provisioning: ThickAndThin, thinPool: {size: 2000Mi}")
    }

    /// The driver over a pools file of this text.
    #[track_caller]
    pub(crate) fn on(ground: Ground, pools: &str, args: &[&str]) -> Self {
        fs::write(ground.home.join("pools.yaml"), pools).unwrap();
        fs::create_dir_all(ground.home.join("staging")).unwrap();
        let args: Vec<String> = args.iter().map(|it| (*it).to_owned()).collect();
        let driver = Driver::start(&ground.home, &args);
        let csi = Csi::connect(&socket(&ground.home));
        let before = Inventory::take(&ground.home);
        Self { csi, ground, driver: Some(driver), args, before }
    }

    /// The directory of this scene.
    pub(crate) fn home(&self) -> &Path {
        &self.ground.home
    }

    /// The running driver.
    pub(crate) fn driver(&mut self) -> &mut Driver {
        self.driver.as_mut().unwrap()
    }

    /// Its process, for a signal while the scene is in use.
    pub(crate) fn driver_pid(&self) -> u32 {
        self.driver.as_ref().unwrap().pid()
    }

    /// Stops the driver, which must end with code 0.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.driver.take().unwrap().stop();
    }

    /// Kills the driver.
    pub(crate) fn kill(&mut self) {
        self.driver.take().unwrap().kill();
    }

    /// Starts the driver again.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.launch();
        self.await_answer();
    }

    /// Starts the driver again, and does not wait: it may be killed before it answers.
    pub(crate) fn launch(&mut self) {
        self.driver = Some(Driver::launch(&self.ground.home, &self.args));
    }

    /// Waits until the driver answers.
    #[track_caller]
    pub(crate) fn await_answer(&mut self) {
        self.driver().await_answer();
        self.csi = Csi::connect(&socket(&self.ground.home));
    }

    /// The block device of a volume or snapshot.
    pub(crate) fn device(&self, id: &str) -> PathBuf {
        Path::new("/dev").join(&self.ground.vg).join(id)
    }

    /// Where a volume is staged.
    pub(crate) fn staging(&self, volume: &Volume) -> PathBuf {
        self.home().join("staging").join(&volume.id)
    }

    /// Where a volume appears for a pod.
    pub(crate) fn target(&self, volume: &Volume, pod: &str) -> PathBuf {
        self.home().join("pods").join(pod).join(&volume.id)
    }

    /// Makes a volume, or says why not.
    pub(crate) fn try_make(&self, wish: &Wish) -> Result<Volume, Status> {
        let made = self.csi.create_volume(wish.request())?.volume.unwrap();
        let size = made.capacity_bytes.cast_unsigned();
        Ok(Volume { id: made.volume_id, size, capability: wish.capability() })
    }

    /// Makes a volume.
    #[track_caller]
    pub(crate) fn make(&self, wish: &Wish) -> Volume {
        self.try_make(wish).unwrap_or_else(|status| panic!("{wish:?}: {status}"))
    }

    /// A volume that did not come by CreateVolume.
    pub(crate) fn known(&self, id: &str, wish: &Wish) -> Volume {
        Volume { id: id.to_owned(), size: 0, capability: wish.capability() }
    }

    /// Makes a volume, stages and publishes it; gives also where it appears.
    #[track_caller]
    pub(crate) fn make_used(&self, wish: &Wish) -> (Volume, PathBuf) {
        let volume = self.make(wish);
        let target = self.take_up(&volume);
        (volume, target)
    }

    /// Stages and publishes a volume for the pod `pod`.
    #[track_caller]
    pub(crate) fn take_up(&self, volume: &Volume) -> PathBuf {
        self.stage(volume).unwrap();
        self.publish(volume, "pod", false).unwrap()
    }

    /// Unpublishes and unstages what [`Scene::take_up`] did.
    #[track_caller]
    pub(crate) fn put_down(&self, volume: &Volume) {
        self.unpublish(volume, "pod").unwrap();
        self.unstage(volume).unwrap();
    }

    pub(crate) fn stage(&self, volume: &Volume) -> Result<(), Status> {
        self.stage_as(volume, volume.capability.clone())
    }

    /// Stages a volume in another way than it was made for.
    pub(crate) fn stage_as(&self, volume: &Volume, as_: VolumeCapability) -> Result<(), Status> {
        let request = NodeStageVolumeRequest {
            volume_id: volume.id.clone(),
            staging_target_path: text(&self.staging(volume)),
            volume_capability: Some(as_),
            ..Default::default()
        };
        self.csi.node_stage_volume(request).map(drop)
    }

    pub(crate) fn unstage(&self, volume: &Volume) -> Result<(), Status> {
        let request = NodeUnstageVolumeRequest {
            volume_id: volume.id.clone(),
            staging_target_path: text(&self.staging(volume)),
        };
        self.csi.node_unstage_volume(request).map(drop)
    }

    pub(crate) fn publish(
        &self,
        volume: &Volume,
        pod: &str,
        readonly: bool,
    ) -> Result<PathBuf, Status> {
        let target = self.target(volume, pod);
        self.publish_at(volume, &text(&target), readonly)?;
        Ok(target)
    }

    /// Publishes a volume at any path.
    pub(crate) fn publish_at(
        &self,
        volume: &Volume,
        target: &str,
        readonly: bool,
    ) -> Result<(), Status> {
        let request = NodePublishVolumeRequest {
            volume_id: volume.id.clone(),
            staging_target_path: text(&self.staging(volume)),
            target_path: target.to_owned(),
            volume_capability: Some(volume.capability.clone()),
            readonly,
            ..Default::default()
        };
        self.csi.node_publish_volume(request).map(drop)
    }

    pub(crate) fn unpublish(&self, volume: &Volume, pod: &str) -> Result<(), Status> {
        let target = text(&self.target(volume, pod));
        self.unpublish_at(&volume.id, &target)
    }

    /// Unpublishes any volume from any path.
    pub(crate) fn unpublish_at(&self, id: &str, target: &str) -> Result<(), Status> {
        let request =
            NodeUnpublishVolumeRequest { volume_id: id.to_owned(), target_path: target.to_owned() };
        self.csi.node_unpublish_volume(request).map(drop)
    }

    pub(crate) fn delete(&self, volume: &Volume) -> Result<(), Status> {
        self.delete_id(&volume.id)
    }

    pub(crate) fn delete_id(&self, id: &str) -> Result<(), Status> {
        let request = DeleteVolumeRequest { volume_id: id.to_owned(), ..Default::default() };
        self.csi.delete_volume(request).map(drop)
    }

    pub(crate) fn snapshot(&self, name: &str, of: &Volume) -> Result<Snapshot, Status> {
        let request = CreateSnapshotRequest {
            name: name.to_owned(),
            source_volume_id: of.id.clone(),
            ..Default::default()
        };
        self.csi.create_snapshot(request).map(|it| it.snapshot.unwrap())
    }

    pub(crate) fn delete_snapshot(&self, id: &str) -> Result<(), Status> {
        let request = DeleteSnapshotRequest { snapshot_id: id.to_owned(), ..Default::default() };
        self.csi.delete_snapshot(request).map(drop)
    }

    /// Grows a volume, and says what it then has.
    pub(crate) fn expand(&self, volume: &Volume, size: u64) -> Result<u64, Status> {
        let request = ControllerExpandVolumeRequest {
            volume_id: volume.id.clone(),
            capacity_range: Some(range(size, 0)),
            ..Default::default()
        };
        let grown = self.csi.controller_expand_volume(request)?;
        Ok(grown.capacity_bytes.cast_unsigned())
    }

    /// Has the node grow what appears at a path.
    pub(crate) fn node_expand(&self, volume: &Volume, at: &Path) -> Result<u64, Status> {
        let request = NodeExpandVolumeRequest {
            volume_id: volume.id.clone(),
            volume_path: text(at),
            ..Default::default()
        };
        Ok(self.csi.node_expand_volume(request)?.capacity_bytes.cast_unsigned())
    }

    /// How many bytes a volume has for its user at a path.
    pub(crate) fn total(&self, volume: &Volume, at: &Path) -> Result<u64, Status> {
        let request = NodeGetVolumeStatsRequest {
            volume_id: volume.id.clone(),
            volume_path: text(at),
            ..Default::default()
        };
        let usage = self.csi.node_get_volume_stats(request)?.usage;
        let bytes = i32::from(volume_usage::Unit::Bytes);
        Ok(usage.iter().find(|it| it.unit == bytes).unwrap().total.cast_unsigned())
    }

    /// What GetCapacity says for a class: available and the largest volume.
    pub(crate) fn capacity(&self, class: &[(&str, &str)]) -> (u64, u64) {
        let pairs = class.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let request = GetCapacityRequest { parameters: pairs.collect(), ..Default::default() };
        let room = self.csi.get_capacity(request).unwrap();
        let largest = room.maximum_volume_size.unwrap();
        (room.available_capacity.cast_unsigned(), largest.cast_unsigned())
    }

    /// The ids of all volumes.
    pub(crate) fn volumes(&self) -> Vec<String> {
        let list = self.csi.list_volumes(ListVolumesRequest::default()).unwrap();
        list.entries.into_iter().map(|it| it.volume.unwrap().volume_id).collect()
    }

    /// The ids of all snapshots.
    pub(crate) fn snapshots(&self) -> Vec<String> {
        let list = self.csi.list_snapshots(ListSnapshotsRequest::default()).unwrap();
        list.entries.into_iter().map(|it| it.snapshot.unwrap().snapshot_id).collect()
    }

    /// What is there and was not when the scene began, and the other way round.
    pub(crate) fn leaked(&self) -> Vec<String> {
        Inventory::take(self.home()).since(&self.before)
    }

    /// Deletes everything through the driver, as its callers would.
    #[track_caller]
    pub(crate) fn clear(&self) {
        let volumes = self.volumes();
        for at in mounts_below(self.home()) {
            let id = at.rsplit('/').next().unwrap();
            self.unpublish_at(id, &at).unwrap();
        }
        // A thick volume goes after its snapshots, and all else in any order.
        for id in self.snapshots() {
            self.delete_snapshot(&id).unwrap();
        }
        volumes.iter().for_each(|id| self.delete_id(id).unwrap());
    }

    /// Fails unless, soon, the machine is as it was when the scene began.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        // The kubelet removes staging and pod directories; they must be empty then.
        for place in ["staging", "pods"] {
            remove_empty(&self.home().join(place));
        }
        fs::create_dir_all(self.home().join("staging")).unwrap();
        let mut leaked = Vec::new();
        wait_until("what was deleted is wiped and gone", || {
            leaked = self.leaked();
            leaked.is_empty() || !leaked.iter().any(|it| it.contains("x-"))
        });
        assert!(leaked.is_empty(), "left over:\n{}", leaked.join("\n"));
    }
}

/// Removes a directory of directories; a file or a mount in it stays, and is found as a leak.
fn remove_empty(at: &Path) {
    let Ok(entries) = fs::read_dir(at) else { return };
    entries.for_each(|entry| remove_empty(&entry.unwrap().path()));
    drop(fs::remove_dir(at));
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

impl Drop for Scene {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.home().join("driver.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            return;
        }
        if self.driver.is_none() {
            self.start();
        }
        self.clear();
        self.assert_nothing_left();
        self.stop();
    }
}
