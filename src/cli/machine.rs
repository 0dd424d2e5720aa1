//! What a command is told that does one thing on this machine and ends.

use std::path::PathBuf;

use clap::Args;

use super::{
    Error, PoolsArg,
    cluster::Kubeconfig,
    door::{DriverArg, NodeName},
};
use crate::{
    serve::Source,
    volume::{Driver, NodeId},
};

/// Which machine this is, and who says which pools it has.
#[derive(Debug, Args)]
pub(super) struct MachineArgs {
    /// The pools of this machine, in YAML; without it the Kubernetes API is asked.
    #[arg(long, value_name = "FILE", env = "TARN_POOLS", conflicts_with = "kubeconfig")]
    pools: Option<PathBuf>,

    #[command(flatten)]
    api: Kubeconfig,

    #[command(flatten)]
    driver: DriverArg,

    #[command(flatten)]
    node: NodeName,
}

impl MachineArgs {
    pub(super) fn driver(&self) -> Driver {
        self.driver.driver()
    }

    pub(super) fn node(&self) -> Result<NodeId, Error> {
        self.node.parse()
    }

    pub(super) fn source(self) -> Result<Source, Error> {
        Ok(match self.pools {
            Some(file) => Source::File(PoolsArg { file }.read()?),
            None => Source::Api { kubeconfig: self.api.kubeconfig, node_name: self.node.text()? },
        })
    }
}
