//! The driver under measurement, and calls to it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tarn::csi::proto::{
    controller_client::ControllerClient, identity_client::IdentityClient, node_client::NodeClient,
    volume_capability::*, *,
};
use tonic::transport::{Channel, Endpoint};

const SOCKET: &str = "/run/tarn/csi.sock";
const METRICS: &str = "127.0.0.1:9810";

/// A running driver.
pub(crate) struct Driver {
    child: Child,
    channel: Channel,
}

impl Driver {
    /// Starts it on the groups `a`, whose deleted volumes are not wiped, and `b`, whose are.
    pub(crate) async fn start(tarn: &str) -> Self {
        let pools =
            "pools:\n- {name: a, volumeGroup: a, wipe: None}\n- {name: b, volumeGroup: b}\n";
        fs::write("/run/pools.yaml", pools).unwrap();
        let child = Command::new(tarn)
            .args(["standalone", "--pools", "/run/pools.yaml", "--endpoint", SOCKET])
            .args(["--metrics", METRICS, "--log-level", "warn", "--node-id", "bench"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !Path::new(SOCKET).try_exists().unwrap() {
            assert!(began.elapsed() < Duration::from_secs(60), "no socket");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let channel =
            Endpoint::try_from(format!("unix:{SOCKET}")).unwrap().connect().await.unwrap();
        Self { child, channel }
    }

    /// Ends it by SIGTERM.
    pub(crate) fn stop(mut self) {
        super::by_hand::run(&format!("kill -TERM {}", self.child.id()));
        assert!(self.child.wait().unwrap().success());
    }

    /// Its resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How many LVM commands it has run: (reports, everything else).
    pub(crate) fn commands(&self) -> (u64, u64) {
        let mut stream = TcpStream::connect(METRICS).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let (mut reports, mut others) = (0, 0);
        let counts =
            page.lines().filter(|line| line.starts_with("tarn_lvm_command_duration_seconds_count"));
        for line in counts {
            let count: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            let report = line.contains("verb=\"fullreport\"") || line.contains("verb=\"lvs\"");
            *if report { &mut reports } else { &mut others } += count;
        }
        (reports, others)
    }

    pub(crate) fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }

    pub(crate) fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    pub(crate) async fn create(&self, name: &str, pool: &str, bytes: i64) -> String {
        let request = CreateVolumeRequest {
            name: name.to_owned(),
            capacity_range: Some(CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
            volume_capabilities: vec![mounted()],
            parameters: [("pool".to_owned(), pool.to_owned())].into(),
            ..Default::default()
        };
        let made = self.controller().create_volume(request).await.unwrap().into_inner();
        made.volume.unwrap().volume_id
    }

    pub(crate) async fn delete(&self, id: &str) {
        let request = DeleteVolumeRequest { volume_id: id.to_owned(), ..Default::default() };
        self.controller().delete_volume(request).await.unwrap();
    }

    pub(crate) async fn stage(&self, id: &str) {
        let request = NodeStageVolumeRequest {
            volume_id: id.to_owned(),
            staging_target_path: format!("/run/staged/{id}"),
            volume_capability: Some(mounted()),
            ..Default::default()
        };
        self.node().node_stage_volume(request).await.unwrap();
    }

    pub(crate) async fn publish(&self, id: &str) {
        let request = NodePublishVolumeRequest {
            volume_id: id.to_owned(),
            staging_target_path: format!("/run/staged/{id}"),
            target_path: format!("/run/published/{id}"),
            volume_capability: Some(mounted()),
            ..Default::default()
        };
        self.node().node_publish_volume(request).await.unwrap();
    }

    pub(crate) async fn take_down(&self, id: &str) {
        let unpublish = NodeUnpublishVolumeRequest {
            volume_id: id.to_owned(),
            target_path: format!("/run/published/{id}"),
        };
        self.node().node_unpublish_volume(unpublish).await.unwrap();
        let unstage = NodeUnstageVolumeRequest {
            volume_id: id.to_owned(),
            staging_target_path: format!("/run/staged/{id}"),
        };
        self.node().node_unstage_volume(unstage).await.unwrap();
    }

    pub(crate) async fn capabilities(&self) {
        let request = GetPluginCapabilitiesRequest::default();
        let mut identity = IdentityClient::new(self.channel.clone());
        identity.get_plugin_capabilities(request).await.unwrap();
    }

    pub(crate) async fn capacity(&self, pool: &str) -> i64 {
        let request = GetCapacityRequest {
            parameters: [("pool".to_owned(), pool.to_owned())].into(),
            ..Default::default()
        };
        self.controller().get_capacity(request).await.unwrap().into_inner().available_capacity
    }
}

pub(crate) fn mounted() -> VolumeCapability {
    let mount = MountVolume { fs_type: "ext4".to_owned(), ..Default::default() };
    VolumeCapability {
        access_mode: Some(AccessMode { mode: access_mode::Mode::SingleNodeMultiWriter.into() }),
        access_type: Some(AccessType::Mount(mount)),
    }
}
