//! This machine: its tools, its pools, and what its metrics show.

use std::{path::Path, sync::Arc, time::Instant};

use super::{Stop, runtime};
use crate::{
    csi::Readiness,
    device::{self, host::HostDevices},
    fs::tools::{self as fs_tools, FsTools},
    host::Tools,
    lvm::tools::{self as lvm_tools, Courier, Exec, LvmTools},
    machine::Machine,
    pool::{PoolEntry, PoolStatus},
    process::{self, Failure, Invocation},
    telemetry::{Metrics, Outcome, PoolFigures, ThinUse, Trims, http},
    volume::{Driver, NodeId, Turns},
};

/// Opens this machine with its pools.
///
/// # Errors
/// What is missing, or cannot be opened, and what to do about it.
pub(super) fn open(
    node: &NodeId,
    driver: &Driver,
    pools: Vec<PoolEntry>,
    volumes: &Path,
    metrics: &Metrics,
) -> anyhow::Result<Arc<Machine>> {
    check_programs().map_err(anyhow::Error::msg)?;
    let tools = tools(Counted { metrics: metrics.clone() });
    fs_tools::clear_passages();
    Ok(Arc::new(Machine::open(tools, node.clone(), driver.name(), pools, volumes)?))
}

/// The tools of this machine.
pub(super) fn tools(courier: impl Courier + 'static) -> Tools {
    Tools {
        lvm: Arc::new(LvmTools::new(Box::new(courier))),
        fs: Arc::new(FsTools),
        devices: Arc::new(HostDevices),
        clock: || jiff::Timestamp::now().as_second(),
    }
}

/// Every program that is ever started must be there at the start, not at the first volume.
///
/// # Errors
/// A sentence that names those that are not, and their packages.
pub(super) fn check_programs() -> Result<(), String> {
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

/// What is served for people and programs that look after this machine.
pub(super) fn pages(machine: &Arc<Machine>, metrics: &Metrics) -> http::Pages {
    let (machine, metrics) = (Arc::clone(machine), metrics.clone());
    http::Pages {
        metrics: Arc::new(move || {
            let status = machine.status();
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

fn figures(pool: &PoolStatus) -> PoolFigures {
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
        missing: pool.health.disks.len() as u64,
        lost: pool.health.lost.len() as u64,
        erring: pool.health.erring.len() as u64,
        unreadable: pool.health.unread.is_some(),
        filling: pool.filling.len() as u64,
        to_fill: pool.to_fill,
        trims: pool
            .spec
            .thin_pool
            .is_some()
            .then_some(Trims { succeeded: pool.trimmed.succeeded, failed: pool.trimmed.failed }),
    }
}

/// Whether the driver is ready, for Probe.
pub(super) fn readiness() -> Readiness {
    Arc::new(|| check_programs().map(|()| true))
}

/// Tells the machine to begin nothing new once the stop is asked for.
pub(super) fn stop_with(machine: &Arc<Machine>, stop: Stop) {
    let machine = Arc::clone(machine);
    tokio::spawn(async move {
        stop.asked().await;
        machine.stop();
    });
}

/// Serves over a machine, with its background beside it; at the end all that was begun is waited for.
///
/// # Errors
/// Those of `serve`, and what kept it from being started.
pub(super) fn run<F>(machine: &Arc<Machine>, serve: impl FnOnce(Turns) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let turns = Turns::default();
    let runtime = runtime()?;
    let background = machine.start_background(&turns)?;
    let served = runtime.block_on(serve(turns));
    machine.stop();
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
