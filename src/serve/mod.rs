//! The driver, from start to SIGTERM: the one place where everything is wired together.

mod adopt;
pub mod controller;
mod machine;
pub mod node;
mod outlook;
pub mod standalone;

pub use adopt::{adopt, release};
pub use controller::controller;
pub use node::node;
pub use outlook::{Directories, Outlook, Source, outlook};
pub use standalone::standalone;

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    net::UnixListener,
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::{
    csi::{
        ControllerService, IdentityService, NodeService, Observe, Running,
        proto::{
            controller_server::ControllerServer, identity_server::IdentityServer,
            node_server::NodeServer,
        },
    },
    telemetry::{Metrics, http},
    volume::{Driver, Provisioner},
};

/// What one message may hold: a CreateVolume of external-provisioner names every node of a cluster
/// of thousands, twice.
const MESSAGE: usize = 16 << 20;
/// How many calls one connection may have open; external-provisioner has up to 100 workers.
const CALLS: u32 = 256;
/// How long a client is waited for that keeps its connection open, with no call on it, although it
/// was told that no more calls are taken.
const FAREWELL: Duration = Duration::from_secs(2);
/// How many calls may block on programs and devices at once.
const BLOCKING: usize = 256;

/// What every way of running the driver is told.
#[derive(Clone, Debug)]
pub struct Door {
    /// The socket that is listened on.
    pub endpoint: PathBuf,
    /// What the driver is called.
    pub driver: Driver,
    /// Where metrics and health are served, if at all.
    pub metrics: Option<SocketAddr>,
}

/// What is served at the door.
struct Services<P> {
    identity: IdentityService,
    controller: Option<ControllerService<P>>,
    node: Option<NodeService>,
}

/// The signal to stop: SIGTERM or SIGINT.
#[derive(Clone)]
struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens for the signals from now on.
    fn listen() -> anyhow::Result<Self> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot await SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot await SIGINT")?;
        let (stop, asked) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
            tracing::info!("asked to stop: no new calls, running ones finish");
            // Without anybody who listens there is nobody to stop.
            let _nobody = stop.send(true);
            stop.closed().await;
        });
        Ok(Self(asked))
    }

    /// Ends when the signal has come.
    async fn asked(mut self) {
        // An error means that nobody can ask any more.
        let _asked = self.0.wait_for(|asked| *asked).await;
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Serves metrics and health, where that is asked for.
async fn serve_pages(door: &Door, pages: http::Pages) -> anyhow::Result<()> {
    if let Some(at) = door.metrics {
        let listener = http::listen(at)
            .await
            .with_context(|| format!("cannot serve metrics at {at}; give another --metrics"))?;
        tokio::spawn(http::serve(listener, pages));
    }
    Ok(())
}

/// Serves CSI until the stop; then takes no new calls, lets running ones finish, returns.
async fn serve<P: Provisioner>(
    door: &Door,
    services: Services<P>,
    metrics: &Metrics,
    listener: UnixListener,
    stop: Stop,
) -> anyhow::Result<()> {
    let Services { identity, controller, node } = services;
    let observe = Observe::new(metrics.clone());
    let left_alone = left_alone(stop.clone(), observe.running());
    let controller =
        controller.map(|it| ControllerServer::new(it).max_decoding_message_size(MESSAGE));
    let node = node.map(|it| NodeServer::new(it).max_decoding_message_size(MESSAGE));
    let served = Server::builder()
        .max_concurrent_streams(CALLS)
        .layer(observe)
        .add_service(IdentityServer::new(identity))
        .add_optional_service(controller)
        .add_optional_service(node)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.asked());
    let served = tokio::select! {
        served = served => served,
        () = left_alone => Ok(()),
    };
    if let Err(err) = fs::remove_file(&door.endpoint) {
        tracing::debug!(%err, "the socket was not removed");
    }
    served.context("serving failed")
}

/// Ends when a stop was asked for and then no call has run for [`FAREWELL`].
async fn left_alone(stop: Stop, running: Running) {
    stop.asked().await;
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < FAREWELL {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if running.count() > 0 {
            quiet_since = Instant::now();
        }
    }
}

/// Listens on a socket that only root may use. One that an earlier life left is replaced; one that
/// still answers is another driver's.
fn bind(socket: &Path) -> anyhow::Result<UnixListener> {
    let shown = socket.display();
    if let Some(parent) = socket.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    match fs::symlink_metadata(socket) {
        Ok(there) if there.file_type().is_socket() => {
            let answers = UnixStream::connect(socket).is_ok();
            anyhow::ensure!(!answers, "another driver serves {shown}; stop it, or give another");
            fs::remove_file(socket).with_context(|| format!("cannot replace {shown}"))?;
        }
        Ok(_) => anyhow::bail!("{shown} is there and is no socket; give another --endpoint"),
        Err(err) if err.kind() == io::ErrorKind::NotFound => (),
        Err(err) => return Err(err).with_context(|| format!("cannot look at {shown}")),
    }
    let listener =
        UnixListener::bind(socket).with_context(|| format!("cannot listen on {shown}"))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {shown}"))?;
    Ok(listener)
}
