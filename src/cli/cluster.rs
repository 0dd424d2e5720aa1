//! `tarn controller` and `tarn node`, as they are typed.

use std::path::PathBuf;

use clap::Args;

use super::{
    Error,
    door::{DoorArgs, NodeName},
};
use crate::serve::{controller, node};

/// Serve the Controller of a cluster, beside external-provisioner, -resizer and csi-snapshotter.
///
/// Each call becomes a LogicalVolume on the right node, and is answered when that node's agent has
/// carried it out. Any number of replicas may run; the sidecars' leader election says whose calls
/// come. SIGTERM lets running calls finish and ends with code 0.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = CONTROLLER_EXAMPLE)]
pub(super) struct ControllerArgs {
    #[command(flatten)]
    pub(super) door: DoorArgs,

    #[command(flatten)]
    api: ApiArgs,
}

/// Serve the kubelet of a node, and carry out the LogicalVolumes of this node.
///
/// Pools are those StoragePools whose node selector matches this node's labels. Staging, publishing
/// and unmounting go on while the Kubernetes API is away. SIGTERM lets running changes finish and
/// ends with code 0.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = NODE_EXAMPLE)]
pub(super) struct NodeArgs {
    #[command(flatten)]
    pub(super) door: DoorArgs,

    #[command(flatten)]
    node: NodeName,

    #[command(flatten)]
    api: ApiArgs,

    /// Where the kubelet looks for drivers; empty where node-driver-registrar registers this one.
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "TARN_REGISTRATION_DIR",
        default_value = "/var/lib/kubelet/plugins_registry"
    )]
    registration_dir: String,

    /// Where the kubelet finds the endpoint, if it sees it at another path.
    #[arg(long, value_name = "PATH", env = "TARN_KUBELET_ENDPOINT")]
    kubelet_endpoint: Option<PathBuf>,

    #[command(flatten)]
    state: StateDir,

    #[command(flatten)]
    volumes: VolumesDir,

    /// How much of this node may be deleted within a minute before it asks, in percent; 100: all.
    ///
    /// When more than this share of its volumes and snapshots is to be deleted within a minute, and
    /// more than 10, all that are left are kept until an admin says on the NodeLocalStorage until
    /// when deletions are meant: tarn.dev/allow-deletions=2026-01-31T18:00:00Z.
    #[arg(
        long,
        value_name = "PERCENT",
        env = "TARN_DELETION_BRAKE",
        default_value_t = 50,
        value_parser = clap::value_parser!(u8).range(1..=100),
        verbatim_doc_comment
    )]
    deletion_brake: u8,
}

/// How the API is reached, and as what.
#[derive(Debug, Args)]
struct ApiArgs {
    /// The namespace that the driver runs in, where its nodes have their leases.
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "tarn-system")]
    namespace: String,

    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

#[derive(Debug, Args)]
pub(super) struct Kubeconfig {
    /// How the API is reached, where that is not by $KUBECONFIG or as a pod.
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct StateDir {
    /// Where the pools are remembered, for a start while the API is away, and their volume groups.
    #[arg(long, value_name = "DIRECTORY", env = "TARN_STATE_DIR", default_value = "/var/lib/tarn")]
    pub(super) state_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct VolumesDir {
    /// Where volumes in memory are mounted, and their records kept.
    ///
    /// What is mounted there must outlive this program: in a container that is a directory of the
    /// host's whose mounts are shared with it (mountPropagation: Bidirectional).
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "TARN_VOLUMES_DIR",
        default_value = "/var/lib/tarn/volumes",
        verbatim_doc_comment
    )]
    pub(super) volumes_dir: PathBuf,
}

const CONTROLLER_EXAMPLE: &str = "\
Example, beside a cluster:
  tarn controller --endpoint unix:///run/tarn/controller.sock --kubeconfig ~/.kube/config";

const NODE_EXAMPLE: &str = "\
Example, on a node and not in a pod:
  tarn node --endpoint unix:///var/lib/kubelet/plugins/local.tarn.dev/csi.sock \\
      --node-id node-1 --kubeconfig /etc/tarn/kubeconfig";

impl ControllerArgs {
    pub(super) fn config(self) -> controller::Config {
        controller::Config {
            door: self.door.door(),
            namespace: self.api.namespace,
            kubeconfig: self.api.kubeconfig.kubeconfig,
        }
    }
}

impl NodeArgs {
    pub(super) fn config(self) -> Result<node::Config, Error> {
        let door = self.door.door();
        let registration = Some(self.registration_dir).filter(|it| !it.is_empty());
        Ok(node::Config {
            node_name: self.node.text()?,
            node: self.node.parse()?,
            namespace: self.api.namespace,
            kubeconfig: self.api.kubeconfig.kubeconfig,
            registration: registration.map(PathBuf::from),
            kubelet_endpoint: self.kubelet_endpoint.unwrap_or_else(|| door.endpoint.clone()),
            state: self.state.state_dir,
            volumes: self.volumes.volumes_dir,
            deletion_brake: self.deletion_brake,
            door,
        })
    }
}
