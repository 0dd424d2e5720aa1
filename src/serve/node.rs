//! `tarn node`: Identity and Node for the kubelet, and the agent of this node.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::Context as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::{Door, Services, Stop, bind, machine, serve, serve_pages};
use crate::{
    cluster::{agent::Agent, client},
    csi::{
        IdentityService, NodeService, RegistrationService,
        registration::registration_server::RegistrationServer,
    },
    machine::{LocalProvisioner, Machine},
    telemetry::Metrics,
    volume::{NodeId, Turns},
};

/// Everything that `tarn node` is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// How it is reached.
    pub door: Door,
    /// This node's name in the API.
    pub node_name: String,
    /// The same, as the topology label has it.
    pub node: NodeId,
    /// The namespace of the node's lease.
    pub namespace: String,
    /// How the API is reached, where that is not by $KUBECONFIG or as a pod.
    pub kubeconfig: Option<PathBuf>,
    /// Where the kubelet looks for drivers; without one somebody else registers this one.
    pub registration: Option<PathBuf>,
    /// Where the kubelet finds the endpoint.
    pub kubelet_endpoint: PathBuf,
    /// Where the agent remembers its pools.
    pub state: PathBuf,
    /// Where volumes in memory are mounted, and their records kept.
    pub volumes: PathBuf,
    /// Which share of the node's volumes, in percent, may be deleted within a minute before the agent
    /// asks.
    pub deletion_brake: u8,
}

/// Serves the kubelet and carries out this node's wishes until SIGTERM or SIGINT; then takes no new
/// calls, lets running ones finish, returns.
///
/// # Errors
/// What kept it from starting, or stopped it, and what to do about it.
pub fn node(config: &Config) -> anyhow::Result<()> {
    let began = Instant::now();
    let metrics = Metrics::new();
    let machine =
        machine::open(&config.node, &config.door.driver, Vec::new(), &config.volumes, &metrics)?;
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
    let driver = &door.driver;
    let stop = Stop::listen()?;
    let of_concerns = metrics.clone();
    let agent = Agent {
        client: client::connect(config.kubeconfig.as_deref()).await?,
        namespace: config.namespace.clone(),
        driver: driver.name().to_owned(),
        node: config.node.clone(),
        node_name: config.node_name.clone(),
        machine: Arc::clone(machine),
        turns: turns.clone(),
        state: config.state.clone(),
        brake_percent: config.deletion_brake,
        on_concerns: Box::new(move |it| of_concerns.concerns(it.strays, it.held)),
    };
    // Blocks, but nobody is served yet.
    agent.recall_pools();
    serve_pages(door, machine::pages(machine, metrics)).await?;
    let listener = bind(&door.endpoint)?;
    machine::stop_with(machine, stop.clone());
    let agent = tokio::spawn(agent.run());
    // The kubelet calls the endpoint as soon as it sees this one.
    register(config, stop.clone())?;
    tracing::info!(
        socket = %door.endpoint.display(),
        %driver,
        node = %config.node,
        start = ?began.elapsed(),
        "serving"
    );
    let services = Services::<LocalProvisioner> {
        identity: IdentityService::new(driver.clone(), machine::readiness()),
        controller: None,
        node: Some(NodeService::new(driver.clone(), turns, Arc::clone(machine))),
    };
    let served = serve(door, services, metrics, listener, stop).await;
    agent.abort();
    served
}

/// Makes the driver known to the kubelet, by a socket in its registration directory.
///
/// The `@` in the name is needed: the kubelet dials with the escaped path as the request's authority,
/// which HTTP/2 in Rust refuses unless it reads as user and host.
fn register(config: &Config, stop: Stop) -> anyhow::Result<()> {
    let Some(directory) = &config.registration else { return Ok(()) };
    let name = config.door.driver.name();
    let socket = directory.join(format!("{name}@reg.sock"));
    let listener = bind(&socket)?;
    let service = RegistrationService::new(name, &config.kubelet_endpoint);
    tokio::spawn(async move {
        let incoming = UnixListenerStream::new(listener);
        let server = Server::builder().add_service(RegistrationServer::new(service));
        if let Err(err) = server.serve_with_incoming_shutdown(incoming, stop.asked()).await {
            tracing::error!(%err, "the registration socket is served no more");
        }
        take_away(&socket);
    });
    Ok(())
}

/// The kubelet forgets a driver whose registration socket is gone.
fn take_away(socket: &Path) {
    if let Err(err) = std::fs::remove_file(socket).context("removing the registration socket") {
        tracing::debug!(%err, "it stays");
    }
}
