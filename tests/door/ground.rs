//! A machine in memory with the driver on it, behind a real socket.
//!
//! Calls block, so that a test reads as a list of calls. Nothing happens in the background unless a
//! test asks for it: chores and wiping are done by [`Ground::settle`].

use std::{
    collections::BTreeSet,
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tarn::{
    csi::{
        ControllerService, IdentityService, NodeService, Observe,
        proto::{
            self, controller_client::ControllerClient, controller_server::ControllerServer,
            identity_client::IdentityClient, identity_server::IdentityServer,
            node_client::NodeClient, node_server::NodeServer,
        },
    },
    device::fake::FakeDevices,
    fs::{DeviceNumber, Mount, fake::FakeFs},
    host::Tools,
    lvm::{Kind, LogicalVolume, fake::FakeLvm},
    machine::{LocalProvisioner, Machine},
    pool::PoolEntry,
    telemetry::Metrics,
    units::Bytes,
    volume::{Driver, Turns, VolumeId},
};
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Runtime,
    task::JoinHandle,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint, Server},
};

/// The node that the machine is.
pub(crate) const NODE: &str = "node-1";
/// The key of its topology segment.
pub(crate) const KEY: &str = "topology.tarn.dev/node";
/// Bytes in an extent of every group.
pub(crate) const EXTENT: i64 = 4 << 20;

/// Seconds since 1970; every look at the clock is a second later than the one before.
fn clock() -> i64 {
    static NOW: AtomicI64 = AtomicI64::new(1_763_797_000);
    NOW.fetch_add(1, Ordering::Relaxed)
}

fn entries(pools: &[(&str, Value)]) -> Vec<PoolEntry> {
    let read = |(name, spec): &(&str, Value)| PoolEntry {
        name: name.parse().unwrap(),
        spec: serde_json::from_value(spec.clone()).unwrap(),
    };
    pools.iter().map(read).collect()
}

/// A machine and the driver on it.
pub(crate) struct Ground {
    pub(crate) lvm: Arc<FakeLvm>,
    pub(crate) fs: Arc<FakeFs>,
    pub(crate) devices: Arc<FakeDevices>,
    pub(crate) folder: tempfile::TempDir,
    pools: Vec<(&'static str, Value)>,
    pub(crate) runtime: Runtime,
    life: Option<Life>,
}

/// The driver, from one start to the next.
struct Life {
    host: Arc<Machine>,
    turns: Turns,
    channel: Channel,
    server: JoinHandle<()>,
}

impl Ground {
    /// One pool of 8 GiB on two disks, `disks`, for thick volumes.
    pub(crate) fn thick() -> Self {
        Self::with(vec![("disks", json!({"volumeGroup": "vg0"}))])
    }

    /// One pool with a thin pool of 2 GiB, of which four times as much may be promised.
    pub(crate) fn thin() -> Self {
        let thin = json!({"size": "2Gi", "overprovision": 400});
        let pool = json!({"volumeGroup": "vg0", "provisioning": "Thin", "thinPool": thin});
        Self::with(vec![("disks", pool)])
    }

    /// `fast` for thick and thin volumes, `slow` for thick ones.
    pub(crate) fn two_pools() -> Self {
        let thin = json!({"size": "2Gi"});
        let fast = json!({"volumeGroup": "vg0", "provisioning": "ThickAndThin", "thinPool": thin});
        Self::with(vec![("fast", fast), ("slow", json!({"volumeGroup": "vg1"}))])
    }

    /// These pools, on `vg0` and `vg1`.
    pub(crate) fn with(pools: Vec<(&'static str, Value)>) -> Self {
        Self::on_disks(&[1024, 1024], pools)
    }

    /// These pools, with `vg0` on disks of so many extents.
    pub(crate) fn on_disks(disks: &[usize], pools: Vec<(&'static str, Value)>) -> Self {
        let extent = Bytes(EXTENT.unsigned_abs());
        let lvm =
            FakeLvm::default().with_group("vg0", extent, disks).with_group("vg1", extent, &[1024]);
        let lvm = Arc::new(lvm);
        let of_lvm = Arc::clone(&lvm);
        let fs = FakeFs::new().looking_up(move |path| device(&of_lvm, path));
        let of_lvm = Arc::clone(&lvm);
        let devices =
            FakeDevices::new().looking_up(move |path| device(&of_lvm, path).map(|it| it.1));
        let mut ground = Self {
            lvm,
            fs: Arc::new(fs),
            devices: Arc::new(devices),
            folder: tempfile::tempdir().unwrap(),
            pools,
            runtime: Runtime::new().unwrap(),
            life: None,
        };
        ground.start();
        ground
    }

    fn tools(&self) -> Tools {
        let (lvm, fs, devices) =
            (Arc::clone(&self.lvm), Arc::clone(&self.fs), Arc::clone(&self.devices));
        Tools { lvm, fs, devices, clock }
    }

    /// Another life of the driver on the same machine, with its background threads asleep.
    pub(crate) fn start(&mut self) {
        if let Some(old) = self.life.take() {
            old.server.abort();
            old.host.stop();
        }
        let pools = entries(&self.pools);
        let home = self.folder.path().join("volumes");
        let driver: Driver = "local.tarn.dev".parse().unwrap();
        let host = Machine::open(self.tools(), NODE.parse().unwrap(), driver.name(), pools, &home)
            .unwrap();
        let host = Arc::new(host);
        let turns = Turns::default();
        let socket = self.folder.path().join("csi.sock");
        drop(std::fs::remove_file(&socket));
        let (channel, server) = self.runtime.block_on(serve(&driver, &host, &turns, socket));
        self.life = Some(Life { host, turns, channel, server });
    }

    /// Other pools from now on; gives back what could not be opened, and why.
    pub(crate) fn set_pools(&mut self, pools: Vec<(&'static str, Value)>) -> Vec<String> {
        let failed = self.host().set_pools(entries(&pools));
        self.pools = pools;
        failed.into_values().collect()
    }

    fn life(&self) -> &Life {
        self.life.as_ref().unwrap()
    }

    /// The machine's tools behind the door.
    pub(crate) fn host(&self) -> &Arc<Machine> {
        &self.life().host
    }

    /// Lets the driver do in the background what it does there; it ends with the ground.
    pub(crate) fn start_background(&self) {
        self.host().start_background(&self.life().turns).unwrap();
    }

    /// Who is being worked on.
    pub(crate) fn turns(&self) -> &Turns {
        &self.life().turns
    }

    /// Trims what had its moment in between; gives back what is to be tried again.
    pub(crate) fn trim(&self, after: i64, until: i64) -> BTreeSet<VolumeId> {
        let groups = self.host().groups();
        groups.trim(self.turns(), groups.due_between(after, until))
    }

    /// Does everything that waits to be done in the background.
    pub(crate) fn settle(&self) {
        self.host().groups().do_chores_now();
        while self.host().groups().empty_trash_now()
            && self.lvs().iter().any(|it| it.starts_with("x-"))
        {}
    }

    /// The machine starts anew: no mounts, no active volumes; then the driver.
    pub(crate) fn reboot(&mut self) {
        self.lvm.reboot();
        self.fs.reboot();
        self.start();
    }

    pub(crate) fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.life().channel.clone())
    }

    pub(crate) fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.life().channel.clone())
    }

    pub(crate) fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.life().channel.clone())
    }

    /// Waits for an answer.
    pub(crate) fn wait<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        self.runtime.block_on(call).map(Response::into_inner)
    }

    /// Calls and hangs up before there can be an answer.
    pub(crate) fn hang_up<T: Debug>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) {
        self.runtime.block_on(async {
            tokio::time::timeout(Duration::from_millis(200), call).await.unwrap_err();
        });
    }
}

/// What the machine looks like, without LVM noticing.
impl Ground {
    /// Free extents of all groups.
    pub(crate) fn free(&self) -> u64 {
        self.lvm.peek("vg0").free + self.lvm.peek("vg1").free
    }

    /// The names of all logical volumes but thin pools, in order.
    pub(crate) fn lvs(&self) -> Vec<String> {
        let all = ["vg0", "vg1"].map(|vg| self.lvm.peek_volumes(vg)).into_iter().flatten();
        let volumes = all.filter(|lv| !matches!(lv.kind, Kind::ThinPool { .. }));
        let mut names: Vec<String> = volumes.map(|lv| lv.name.to_string()).collect();
        names.sort();
        names
    }

    /// The logical volume of an id, in the first group.
    pub(crate) fn lv(&self, id: &str) -> LogicalVolume {
        self.lvm.peek_at("vg0", id).unwrap()
    }

    /// Whether a logical volume has a tag.
    pub(crate) fn has_tag(&self, id: &str, tag: &str) -> bool {
        self.lv(id).tags.iter().any(|it| it.as_str() == tag)
    }

    /// The device of a volume in the first group.
    pub(crate) fn device(&self, id: &str) -> PathBuf {
        Path::new("/dev/vg0").join(id)
    }

    pub(crate) fn mounts(&self) -> Vec<Mount> {
        self.fs.peek_mounts()
    }

    /// The mounts at a path.
    pub(crate) fn mounts_at(&self, path: &str) -> Vec<Mount> {
        self.mounts().into_iter().filter(|it| it.at == Path::new(path)).collect()
    }

    /// Whether anything is mounted at a path.
    pub(crate) fn is_mounted(&self, path: &str) -> bool {
        !self.mounts_at(path).is_empty()
    }

    /// A path in the kubelet's folder of this machine.
    pub(crate) fn path(&self, name: &str) -> String {
        let folder = self.folder.path().canonicalize().unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    }

    /// How many LVM commands `act` takes, without reports.
    pub(crate) fn commands(&self, act: impl FnOnce()) -> Vec<&'static str> {
        let before = self.lvm.commands().len();
        act();
        let after = self.lvm.commands().split_off(before);
        after.into_iter().filter(|it| *it != "report").collect()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(life) = &self.life {
            life.host.stop();
        }
    }
}

async fn serve(
    driver: &Driver,
    host: &Arc<Machine>,
    turns: &Turns,
    socket: PathBuf,
) -> (Channel, JoinHandle<()>) {
    let (controller, node) = services(driver, host, turns);
    let identity = IdentityService::new(driver.clone(), Arc::new(|| Ok(true)));
    let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    let server = Server::builder()
        .layer(Observe::new(Metrics::new()))
        .add_service(IdentityServer::new(identity))
        .add_service(ControllerServer::new(controller))
        .add_service(NodeServer::new(node))
        .serve_with_incoming(incoming);
    let server = tokio::spawn(async { server.await.unwrap() });
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    (endpoint.connect_with_connector(connect).await.unwrap(), server)
}

/// The two services that work on volumes.
pub(crate) fn services(
    driver: &Driver,
    host: &Arc<Machine>,
    turns: &Turns,
) -> (ControllerService<LocalProvisioner>, NodeService) {
    let provisioner = Arc::new(LocalProvisioner::new(Arc::clone(host)));
    let controller = ControllerService::new(driver.clone(), turns.clone(), provisioner);
    (controller, NodeService::new(driver.clone(), turns.clone(), Arc::clone(host)))
}

/// The number and size of an active volume's device; the number stays with the volume.
fn device(lvm: &FakeLvm, path: &Path) -> Option<(DeviceNumber, Bytes)> {
    let name = path.strip_prefix("/dev").ok()?.to_str()?;
    let (vg, lv) = name.split_once('/')?;
    let lv = lvm.peek_at(vg, lv).filter(|lv| lv.active)?;
    let minor = lv.uuid.rsplit('-').next()?.parse().ok()?;
    let major = if vg == "vg0" { 253 } else { 254 };
    Some((DeviceNumber { major, minor }, lv.size))
}

/// The code of an answer. Every refusal must say why, and carry no details (CSI spec, "Errors").
#[track_caller]
pub(crate) fn code<T: Debug>(answer: Result<T, Status>) -> Code {
    match answer {
        Ok(_) => Code::Ok,
        Err(status) => {
            assert!(!status.message().is_empty() && status.details().is_empty(), "{status:?}");
            status.code()
        }
    }
}

/// The words of a refusal.
#[track_caller]
pub(crate) fn words<T: Debug>(answer: Result<T, Status>) -> String {
    answer.unwrap_err().message().to_owned()
}

macro_rules! calls {
    ($($client:ident.$rpc:ident as $name:ident($request:ident) -> $response:ty;)*) => {
        /// Each RPC; blocks until its answer is there.
        impl Ground {
            $(
                pub(crate) fn $name(
                    &self,
                    request: proto::$request,
                ) -> Result<$response, Status> {
                    self.wait(self.$client().$rpc(request))
                }
            )*
        }
    };
}

calls! {
    controller.create_volume as create_answer(CreateVolumeRequest) -> proto::CreateVolumeResponse;
    controller.delete_volume as delete_answer(DeleteVolumeRequest) -> proto::DeleteVolumeResponse;
    controller.controller_expand_volume as expand(ControllerExpandVolumeRequest) -> proto::ControllerExpandVolumeResponse;
    controller.validate_volume_capabilities as validate(ValidateVolumeCapabilitiesRequest) -> proto::ValidateVolumeCapabilitiesResponse;
    controller.list_volumes as list(ListVolumesRequest) -> proto::ListVolumesResponse;
    controller.get_capacity as capacity(GetCapacityRequest) -> proto::GetCapacityResponse;
    controller.create_snapshot as snapshot_answer(CreateSnapshotRequest) -> proto::CreateSnapshotResponse;
    controller.delete_snapshot as delete_snapshot_answer(DeleteSnapshotRequest) -> proto::DeleteSnapshotResponse;
    controller.list_snapshots as list_snapshots(ListSnapshotsRequest) -> proto::ListSnapshotsResponse;
    node.node_stage_volume as stage(NodeStageVolumeRequest) -> proto::NodeStageVolumeResponse;
    node.node_unstage_volume as unstage_answer(NodeUnstageVolumeRequest) -> proto::NodeUnstageVolumeResponse;
    node.node_publish_volume as publish(NodePublishVolumeRequest) -> proto::NodePublishVolumeResponse;
    node.node_unpublish_volume as unpublish_answer(NodeUnpublishVolumeRequest) -> proto::NodeUnpublishVolumeResponse;
    node.node_get_volume_stats as stats_answer(NodeGetVolumeStatsRequest) -> proto::NodeGetVolumeStatsResponse;
    node.node_expand_volume as node_expand(NodeExpandVolumeRequest) -> proto::NodeExpandVolumeResponse;
}

/// The same, shorter where a request has one or two fields.
impl Ground {
    pub(crate) fn create(
        &self,
        wanted: proto::CreateVolumeRequest,
    ) -> Result<proto::Volume, Status> {
        self.create_answer(wanted).map(|answer| answer.volume.unwrap())
    }

    /// A volume that is made without trouble; its id.
    pub(crate) fn made(&self, wanted: proto::CreateVolumeRequest) -> String {
        self.create(wanted).unwrap().volume_id
    }

    pub(crate) fn delete(&self, id: &str) -> Result<(), Status> {
        let request = proto::DeleteVolumeRequest { volume_id: id.to_owned(), ..Default::default() };
        self.delete_answer(request).map(drop)
    }

    pub(crate) fn snapshot(&self, name: &str, of: &str) -> Result<proto::Snapshot, Status> {
        let request = proto::CreateSnapshotRequest {
            name: name.to_owned(),
            source_volume_id: of.to_owned(),
            ..Default::default()
        };
        self.snapshot_answer(request).map(|answer| answer.snapshot.unwrap())
    }

    pub(crate) fn delete_snapshot(&self, id: &str) -> Result<(), Status> {
        let request =
            proto::DeleteSnapshotRequest { snapshot_id: id.to_owned(), ..Default::default() };
        self.delete_snapshot_answer(request).map(drop)
    }

    pub(crate) fn unstage(&self, id: &str, at: &str) -> Result<(), Status> {
        let request = proto::NodeUnstageVolumeRequest {
            volume_id: id.to_owned(),
            staging_target_path: at.to_owned(),
        };
        self.unstage_answer(request).map(drop)
    }

    pub(crate) fn unpublish(&self, id: &str, at: &str) -> Result<(), Status> {
        let request = proto::NodeUnpublishVolumeRequest {
            volume_id: id.to_owned(),
            target_path: at.to_owned(),
        };
        self.unpublish_answer(request).map(drop)
    }

    pub(crate) fn stats(&self, id: &str, at: &str) -> Result<Vec<proto::VolumeUsage>, Status> {
        let request = proto::NodeGetVolumeStatsRequest {
            volume_id: id.to_owned(),
            volume_path: at.to_owned(),
            ..Default::default()
        };
        self.stats_answer(request).map(|answer| answer.usage)
    }
}
