//! The driver, from start to SIGTERM: the one place where everything is wired together.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::{
    cli::Config,
    csi::{
        ControllerService, IdentityService, NodeService, Observe, Running,
        proto::{
            controller_server::ControllerServer, identity_server::IdentityServer,
            node_server::NodeServer,
        },
    },
    device::{self, host::HostDevices},
    fs::tools::{self as fs_tools, FsTools},
    host::{Host, LocalProvisioner, Tools},
    lvm::tools::{self as lvm_tools, Courier, Exec, LvmTools},
    process::{self, Failure, Invocation},
    telemetry::{Metrics, Outcome, PoolFigures, ThinUse, http},
    volume::Turns,
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

/// Serves CSI until SIGTERM or SIGINT; then takes no new calls, lets running ones finish, returns.
///
/// # Errors
/// What kept it from starting, or stopped it, and what to do about it.
pub fn standalone(config: Config) -> anyhow::Result<()> {
    let began = Instant::now();
    check_programs().map_err(anyhow::Error::msg)?;
    let metrics = Metrics::new();
    let host = open(&config, &metrics)?;
    let turns = Turns::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let background = host.start_background(&turns)?;
    let served = runtime.block_on(serve(&config, &host, &turns, &metrics, began));
    host.stop();
    // Changes whose callers are gone are waited for here.
    drop(runtime);
    for thread in background {
        if thread.join().is_err() {
            tracing::error!("a background thread had panicked");
        }
    }
    tracing::info!("stopped");
    served
}

fn open(config: &Config, metrics: &Metrics) -> anyhow::Result<Arc<Host>> {
    let courier = Counted { metrics: metrics.clone() };
    let tools = Tools {
        lvm: Arc::new(LvmTools::new(Box::new(courier))),
        fs: Arc::new(FsTools),
        devices: Arc::new(HostDevices),
        clock: || jiff::Timestamp::now().as_second(),
    };
    fs_tools::clear_passages();
    let pools = config.pools.clone();
    let host = Host::open(tools, config.node.clone(), config.driver.name(), pools)?;
    Ok(Arc::new(host))
}

/// Every program that is ever started must be there at the start, not at the first volume.
///
/// # Errors
/// A sentence that names those that are not, and their packages.
fn check_programs() -> Result<(), String> {
    let all = [lvm_tools::PROGRAMS, fs_tools::PROGRAMS, device::host::PROGRAMS].concat();
    let missing: Vec<String> = all
        .iter()
        .filter(|(program, _)| !process::is_installed(program))
        .map(|(program, package)| format!("{program} (Debian package {package})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("these programs are not installed, or not in PATH: {}", missing.join(", ")))
}

async fn serve(
    config: &Config,
    host: &Arc<Host>,
    turns: &Turns,
    metrics: &Metrics,
    began: Instant,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot await SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot await SIGINT")?;
    if let Some(at) = config.metrics {
        let listener = http::listen(at)
            .await
            .with_context(|| format!("cannot serve metrics at {at}; give another --metrics"))?;
        tokio::spawn(http::serve(listener, pages(host, metrics)));
    }
    let socket = &config.endpoint;
    let listener = bind(socket)?;
    let stopping = Arc::clone(host);
    let (stop, stop_asked) = oneshot::channel();
    let asked_to_stop = async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        tracing::info!("asked to stop: no new calls, running ones finish");
        stopping.stop();
        // Nobody receives it once the server has ended.
        let _ = stop.send(());
    };
    tracing::info!(
        socket = %socket.display(),
        driver = %config.driver,
        node = %config.node,
        pools = config.pools.len(),
        start = ?began.elapsed(),
        "serving"
    );
    let provisioner = Arc::new(LocalProvisioner::new(Arc::clone(host)));
    let driver = &config.driver;
    let identity =
        IdentityService::new(driver.clone(), Arc::new(|| check_programs().map(|()| true)));
    let controller = ControllerService::new(driver.clone(), turns.clone(), provisioner);
    let node = NodeService::new(driver.clone(), turns.clone(), Arc::clone(host));
    let observe = Observe::new(metrics.clone());
    let left_alone = left_alone(stop_asked, observe.running());
    let served = Server::builder()
        .max_concurrent_streams(CALLS)
        .layer(observe)
        .add_service(IdentityServer::new(identity))
        .add_service(ControllerServer::new(controller).max_decoding_message_size(MESSAGE))
        .add_service(NodeServer::new(node).max_decoding_message_size(MESSAGE))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), asked_to_stop);
    let served = tokio::select! {
        served = served => served,
        () = left_alone => Ok(()),
    };
    if let Err(err) = fs::remove_file(socket) {
        tracing::debug!(%err, "the socket was not removed");
    }
    served.context("serving failed")
}

/// Ends when a stop was asked for and then no call has run for [`FAREWELL`].
async fn left_alone(stop_asked: oneshot::Receiver<()>, running: Running) {
    if stop_asked.await.is_err() {
        // The server has ended by itself; that is what counts.
        return std::future::pending().await;
    }
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

/// LVM by programs of its own, each counted.
struct Counted {
    metrics: Metrics,
}

impl Courier for Counted {
    fn carry(&self, command: Invocation) -> Result<Vec<u8>, Failure> {
        let verb = command.verb();
        let began = Instant::now();
        let result = Exec.carry(command);
        self.metrics.lvm_command(&verb, Outcome::of(&result), began.elapsed());
        result
    }
}

fn pages(host: &Arc<Host>, metrics: &Metrics) -> http::Pages {
    let (host, metrics) = (Arc::clone(host), metrics.clone());
    http::Pages {
        metrics: Arc::new(move || {
            let status = host.status();
            for pool in &status.pools {
                metrics.pool(pool.name.as_str(), &figures(pool));
            }
            // Each copy is shown for as long as it is here: while the page is written.
            let copies: Vec<_> = status
                .copies
                .iter()
                .map(|copy| {
                    let shown = metrics.copy(&copy.volume, copy.total);
                    shown.done(copy.done);
                    shown
                })
                .collect();
            let text = metrics.text();
            drop(copies);
            text
        }),
        // A full or missing pool is no reason to be restarted; missing programs are.
        health: Arc::new(check_programs),
    }
}

fn figures(pool: &crate::host::PoolStatus) -> PoolFigures {
    let thin = pool.stock.thin.and_then(|it| it.data_percent.zip(it.metadata_percent));
    PoolFigures {
        size: pool.size,
        free: pool.free,
        largest_thick: pool.largest_thick,
        largest_thin: pool.largest_thin,
        thin: thin
            .map(|(data, metadata)| ThinUse { data: data / 100.0, metadata: metadata / 100.0 }),
        volumes: pool.volumes,
        snapshots: pool.snapshots,
        wipes: pool.wipes,
        wipe: pool.wipe_bytes,
    }
}
