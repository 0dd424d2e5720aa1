//! `tarn controller`: Identity and Controller over the nodes of a cluster.

use std::{path::PathBuf, sync::Arc, time::Instant};

use super::{Door, Services, Stop, bind, runtime, serve, serve_pages};
use crate::{
    cluster::{ClusterProvisioner, PublishedAdoptions, StaticVolumes, View, client},
    csi::{ControllerService, IdentityService},
    telemetry::{Metrics, http},
    volume::Turns,
};

/// Everything that `tarn controller` is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// How it is reached.
    pub door: Door,
    /// The namespace of the nodes' leases.
    pub namespace: String,
    /// How the API is reached, where that is not by $KUBECONFIG or as a pod.
    pub kubeconfig: Option<PathBuf>,
}

/// Serves CSI until SIGTERM or SIGINT; then takes no new calls, lets running ones finish, returns.
///
/// # Errors
/// What kept it from starting, or stopped it, and what to do about it.
pub fn controller(config: &Config) -> anyhow::Result<()> {
    runtime()?.block_on(run(config))
}

async fn run(config: &Config) -> anyhow::Result<()> {
    let began = Instant::now();
    let door = &config.door;
    let metrics = Metrics::new();
    let stop = Stop::listen()?;
    let client = client::connect(config.kubeconfig.as_deref()).await?;
    let view = View::new();
    let feed = {
        let (view, client) = (view.clone(), client.clone());
        let (namespace, driver) = (config.namespace.clone(), door.driver.name().to_owned());
        tokio::spawn(async move { view.feed(client, &namespace, &driver).await })
    };
    let texts = metrics.clone();
    let pages = http::Pages {
        metrics: Arc::new(move || texts.text()),
        // That the API is away is no reason to be restarted.
        health: Arc::new(|| Ok(())),
    };
    serve_pages(door, pages).await?;
    // What is not known yet would be made twice, or be said not to be there.
    tokio::select! {
        () = view.complete() => (),
        () = stop.clone().asked() => return Ok(()),
    }
    let listener = bind(&door.endpoint)?;
    tracing::info!(
        socket = %door.endpoint.display(),
        driver = %door.driver,
        start = ?began.elapsed(),
        "serving"
    );
    let driver = &door.driver;
    let complete = view.clone();
    let ready = Arc::new(move || Ok(complete.is_complete()));
    let offering = {
        let statics = StaticVolumes::new(client.clone(), view.clone(), driver.clone());
        tokio::spawn(async move { statics.offer().await })
    };
    let publishing = {
        let adoptions = PublishedAdoptions::new(client.clone(), view.clone(), driver.clone());
        tokio::spawn(adoptions.publish())
    };
    let provisioner = Arc::new(ClusterProvisioner::new(client, view, driver.name()));
    let mending = {
        let provisioner = Arc::clone(&provisioner);
        tokio::spawn(async move { provisioner.mend().await })
    };
    let services = Services {
        identity: IdentityService::new(driver.clone(), ready),
        controller: Some(ControllerService::new(driver.clone(), Turns::default(), provisioner)),
        node: None,
    };
    let served = serve(door, services, &metrics, listener, stop).await;
    offering.abort();
    publishing.abort();
    mending.abort();
    feed.abort();
    served
}
