//! What every way of running the driver is told.

use std::net::SocketAddr;

use clap::Args;

use super::{Error, endpoint::Endpoint};
use crate::{
    serve::Door,
    telemetry::log,
    volume::{DEFAULT_NAME, Driver, NodeId},
};

/// How the driver is reached, and what it tells.
#[derive(Debug, Args)]
pub(super) struct DoorArgs {
    /// The socket to listen on: unix:///run/tarn/csi.sock, or its absolute path.
    #[arg(long, value_name = "SOCKET", env = "CSI_ENDPOINT")]
    pub(super) endpoint: Endpoint,

    #[command(flatten)]
    driver: DriverArg,

    /// Serve /metrics and /healthz here, such as 127.0.0.1:9810; not served unless given.
    #[arg(long, value_name = "ADDRESS", env = "TARN_METRICS")]
    metrics: Option<SocketAddr>,

    /// How a line of the log, which goes to stderr, is written.
    #[arg(long, value_name = "FORMAT", env = "TARN_LOG_FORMAT", default_value = "text")]
    log_format: log::Format,

    /// How much is logged: error, warn, info, debug or trace; also by module, as tarn::lvm=debug.
    #[arg(long, value_name = "LEVEL", env = "TARN_LOG_LEVEL", default_value = "info")]
    log_level: log::Level,
}

impl DoorArgs {
    pub(super) fn log(&self) -> log::Options {
        log::Options { format: self.log_format, level: self.log_level.clone() }
    }

    pub(super) fn door(self) -> Door {
        Door { endpoint: self.endpoint.0, driver: self.driver.driver(), metrics: self.metrics }
    }
}

/// What the driver is called.
#[derive(Debug, Args)]
pub(super) struct DriverArg {
    /// What StorageClasses call the driver.
    ///
    /// The label of nodes follows from it: local.tarn.dev has topology.tarn.dev/node.
    #[arg(long, value_name = "NAME", env = "TARN_DRIVER_NAME", default_value = DEFAULT_NAME)]
    driver_name: Driver,
}

impl DriverArg {
    pub(super) fn driver(&self) -> Driver {
        self.driver_name.clone()
    }
}

/// What this machine is called.
#[derive(Debug, Args)]
pub(super) struct NodeName {
    /// This machine's name, as Kubernetes knows it.
    ///
    /// [default: $NODE_NAME, else the host name]
    #[arg(long, value_name = "NAME", env = "TARN_NODE_ID")]
    node_id: Option<String>,
}

impl NodeName {
    /// The name as it is written in the API.
    pub(super) fn text(&self) -> Result<String, Error> {
        if let Some(name) = &self.node_id {
            return Ok(name.clone());
        }
        let name = match std::env::var_os("NODE_NAME").filter(|name| !name.is_empty()) {
            Some(name) => name,
            None => nix::unistd::gethostname().map_err(|err| Error::Nameless(err.to_string()))?,
        };
        Ok(name.to_string_lossy().into_owned())
    }

    /// The name as the topology label has it.
    pub(super) fn parse(&self) -> Result<NodeId, Error> {
        self.text()?.parse().map_err(|err| Error::Nameless(format!("{err}")))
    }
}
