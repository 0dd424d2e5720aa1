//! Nodes whose disks are in memory: the driver's own code over them, with volumes, as after a restart.

use std::{path::Path, sync::Arc};

use super::database::Database;
use kube::{Api, Client, api::PostParams};
use tarn::{
    cluster::{
        agent::Agent,
        objects::{
            LogicalVolume, LogicalVolumeSpec, LogicalVolumeStatus, Phase, StoragePool,
            StoragePoolSpec, VolumeMode,
        },
    },
    device::{Wipe, fake::FakeDevices},
    fs::{FsKind, fake::FakeFs},
    host::Tools,
    lvm::fake::FakeLvm,
    machine,
    pool::{PoolEntry, PoolSpec},
    units::Bytes,
    volume::{
        DEFAULT_NAME, LayoutWish, NodeId, Parameters, Provisioning, Purpose, SizeRange, Turns,
        VolumeId, Wanted,
    },
};

/// Where the nodes' leases are.
pub(crate) const NAMESPACE: &str = "tarn-system";
/// The pool that each node has, which is its volume group, too.
const POOL: &str = "local";
/// Extents of 16 MiB.
const EXTENTS: usize = 4096;
/// How large each volume is.
const SIZE: Bytes = Bytes::mib(64);

/// A node.
pub(crate) struct Machine {
    node: NodeId,
    host: Arc<machine::Machine>,
    turns: Turns,
}

/// The name of a node.
pub(crate) fn name_of(number: usize) -> String {
    format!("node-{number:05}")
}

/// Thick and thin volumes, which are gone as soon as they are deleted.
fn pool() -> PoolSpec {
    let spec = serde_json::json!({
        "volumeGroup": POOL,
        "provisioning": "ThickAndThin",
        "thinPool": { "size": "16Gi", "overprovision": 1000 },
        "wipe": "None",
    });
    serde_json::from_value(spec).unwrap()
}

/// Makes the pool of all nodes known to the API.
pub(crate) async fn write_pool(client: &Client) {
    let spec = StoragePoolSpec { node_selector: [].into(), pool: pool() };
    let api: Api<StoragePool> = Api::all(client.clone());
    api.create(&PostParams::default(), &StoragePool::new(POOL, spec)).await.unwrap();
}

impl Machine {
    /// A node with an empty pool.
    pub(crate) fn new(name: &str) -> Self {
        let lvm = FakeLvm::default().with_group(POOL, Bytes::mib(16), &[EXTENTS]);
        let tools = Tools {
            lvm: Arc::new(lvm),
            fs: Arc::new(FakeFs::new()),
            devices: Arc::new(FakeDevices::new()),
            clock: crate::waiting::now,
        };
        let node: NodeId = name.parse().unwrap();
        let pools = vec![PoolEntry { name: POOL.parse().unwrap(), spec: pool() }];
        let host = machine::Machine::open(
            tools,
            node.clone(),
            DEFAULT_NAME,
            pools,
            Path::new("/nonexistent"),
        )
        .unwrap();
        Self { node, host: Arc::new(host), turns: Turns::default() }
    }

    /// Makes volumes, and their objects as they are when all is done.
    pub(crate) async fn fill(&self, database: &Database, volumes: usize) {
        for number in 0..volumes {
            let wanted = wanted(&self.node, number);
            let made = self.host.create(&wanted).unwrap();
            let name = VolumeId::of(&wanted.name).to_string();
            let mut object = LogicalVolume::new(&name, spec_of(&self.node, &wanted));
            object.metadata.finalizers = Some(vec!["tarn.dev/volume".to_owned()]);
            object.status = Some(LogicalVolumeStatus {
                phase: Some(Phase::Ready),
                size: Some(made.size.to_string()),
                sequence: i64::try_from(self.host.sequence()).unwrap(),
                ..LogicalVolumeStatus::default()
            });
            database.put(object).await;
        }
    }

    /// Starts what the node's program has besides the agent.
    pub(crate) fn start_background(&self) {
        self.host.start_background(&self.turns).unwrap();
    }

    /// Its agent, which keeps its state below a folder.
    pub(crate) fn agent(self, client: Client, folder: &Path) -> Agent {
        let node_name = self.node.to_string();
        Agent {
            client,
            namespace: NAMESPACE.to_owned(),
            driver: DEFAULT_NAME.to_owned(),
            state: folder.join(&node_name),
            node_name,
            node: self.node,
            machine: self.host,
            turns: self.turns,
            brake_percent: 50,
            on_concerns: Box::new(|it| assert_eq!(it.strays, 0, "volumes without objects")),
        }
    }
}

/// Every other volume is thick.
fn wanted(node: &NodeId, number: usize) -> Wanted {
    let provisioning = [Provisioning::Thick, Provisioning::Thin][number % 2];
    let serial = node.as_str().rsplit('-').next().unwrap();
    Wanted {
        // As long as the names that external-provisioner gives.
        name: format!("pvc-0c5e{number:04x}-7d1a-4b32-9e88-{serial:0>12}").parse().unwrap(),
        size: SizeRange::at_least(SIZE),
        purpose: Purpose::Filesystem(FsKind::Ext4),
        parameters: Parameters {
            provisioning: Some(provisioning),
            wipe: Some(Wipe::None),
            ..Parameters::default()
        },
        source: None,
        nodes: Some(vec![node.clone()]),
        claim: Some(format!("team-{serial}/data-database-{number}")),
    }
}

fn spec_of(node: &NodeId, wanted: &Wanted) -> LogicalVolumeSpec {
    LogicalVolumeSpec {
        node_name: node.to_string(),
        pool: POOL.to_owned(),
        csi_name: wanted.name.as_str().to_owned(),
        size: SIZE.to_string(),
        volume_mode: VolumeMode::Filesystem,
        fs_type: Some(FsKind::Ext4.name().to_owned()),
        provisioning: wanted.parameters.provisioning.unwrap(),
        layout: LayoutWish::Linear,
        mirrors: None,
        stripes: None,
        stripe_size: None,
        wipe: Wipe::None,
        mkfs_options: None,
        after_restart: None,
        device: None,
        except: Vec::new(),
        source: None,
        snapshot_of: None,
        claim: wanted.claim.clone(),
    }
}
