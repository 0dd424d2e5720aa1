//! `tarn standalone`: Identity, Controller and Node over this machine's own pools.

use std::{path::PathBuf, sync::Arc, time::Instant};

use super::{Door, Services, Stop, bind, machine, serve, serve_pages};
use crate::{
    csi::{ControllerService, IdentityService, NodeService},
    machine::{LocalProvisioner, Machine},
    pool::PoolEntry,
    telemetry::Metrics,
    volume::{NodeId, Turns},
};

/// Everything that `tarn standalone` is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// How it is reached.
    pub door: Door,
    /// The pools of this machine, at least one.
    pub pools: Vec<PoolEntry>,
    /// What this machine is called.
    pub node: NodeId,
    /// Where volumes in memory are mounted, and their records kept.
    pub volumes: PathBuf,
}

/// Serves CSI until SIGTERM or SIGINT; then takes no new calls, lets running ones finish, returns.
///
/// # Errors
/// What kept it from starting, or stopped it, and what to do about it.
pub fn standalone(config: &Config) -> anyhow::Result<()> {
    let began = Instant::now();
    let metrics = Metrics::new();
    let Config { door, pools, node, volumes } = config;
    let machine = machine::open(node, &door.driver, pools.clone(), volumes, &metrics)?;
    machine::run(&machine, |turns| run(config, &machine, turns, &metrics, began))
}

async fn run(
    config: &Config,
    machine: &Arc<Machine>,
    turns: Turns,
    metrics: &Metrics,
    began: Instant,
) -> anyhow::Result<()> {
    let door = &config.door;
    let stop = Stop::listen()?;
    serve_pages(door, machine::pages(machine, metrics)).await?;
    let listener = bind(&door.endpoint)?;
    machine::stop_with(machine, stop.clone());
    tracing::info!(
        socket = %door.endpoint.display(),
        driver = %door.driver,
        node = %config.node,
        pools = config.pools.len(),
        start = ?began.elapsed(),
        "serving"
    );
    let driver = &door.driver;
    let provisioner = Arc::new(LocalProvisioner::new(Arc::clone(machine)));
    let services = Services {
        identity: IdentityService::new(driver.clone(), machine::readiness()),
        controller: Some(ControllerService::new(driver.clone(), turns.clone(), provisioner)),
        node: Some(NodeService::new(driver.clone(), turns, Arc::clone(machine))),
    };
    serve(door, services, metrics, listener, stop).await
}
