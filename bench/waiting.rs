//! Tarn's own part: the services behind a real socket, over an LVM in memory whose changes take as
//! long as LVM's programs do but no processor. What is measured is waiting for one another.

use std::{
    io,
    path::Path,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hyper_util::rt::TokioIo;
use tarn::{
    csi::{ControllerService, proto::controller_server::ControllerServer},
    device::fake::FakeDevices,
    fs::fake::FakeFs,
    host::Tools,
    lvm::fake::FakeLvm,
    machine::{LocalProvisioner, Machine},
    pool::PoolEntry,
    units::Bytes,
    volume::{Driver, Turns},
};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Endpoint, Server};

use super::{
    Row,
    calls::Calls,
    crowd::{at_once, while_making},
    millis, p99,
};

/// What lvcreate takes on a common machine.
const PACE: Duration = Duration::from_millis(30);

pub(crate) async fn all() -> Vec<Row> {
    let calls = serve().await;
    let mut rows = at_once(&calls, Duration::ZERO).await;
    rows.push(capacity(&calls).await);
    rows
}

/// Serves from threads of its own, as the program does.
async fn serve() -> Calls {
    let folder = tempfile::tempdir().unwrap().keep();
    let socket = folder.join("csi.sock");
    let listener = socket.clone();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    std::thread::spawn(move || runtime.block_on(answer(listener)));
    let began = Instant::now();
    while !socket.try_exists().unwrap() {
        assert!(began.elapsed() < Duration::from_secs(10), "no socket");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let connect = tower::service_fn(move |_| {
        let socket = socket.clone();
        async { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    Calls(endpoint.connect_with_connector(connect).await.unwrap())
}

async fn answer(socket: PathBuf) {
    let lvm = FakeLvm::default().taking(PACE);
    let lvm = lvm.with_group("a", Bytes::mib(4), &[1 << 18]);
    let lvm = lvm.with_group("b", Bytes::mib(4), &[1 << 18]);
    let tools = Tools {
        lvm: Arc::new(lvm),
        fs: Arc::new(FakeFs::new()),
        devices: Arc::new(FakeDevices::new()),
        clock: now,
    };
    let driver: Driver = "local.tarn.dev".parse().unwrap();
    let pools = ["a", "b"].map(|name| {
        let spec = serde_json::json!({"volumeGroup": name, "wipe": "None"});
        PoolEntry { name: name.parse().unwrap(), spec: serde_json::from_value(spec).unwrap() }
    });
    let host = Machine::open(
        tools,
        "bench".parse().unwrap(),
        driver.name(),
        pools.into(),
        Path::new("/nonexistent"),
    )
    .unwrap();
    let host = Arc::new(host);
    let turns = Turns::default();
    host.start_background(&turns).unwrap();
    let provisioner = Arc::new(LocalProvisioner::new(host));
    let controller = ControllerService::new(driver, turns, provisioner);
    let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
    let server = Server::builder().add_service(ControllerServer::new(controller));
    server.serve_with_incoming(incoming).await.unwrap();
}

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// GetCapacity, 1,000 times while volumes are being made on the same group.
async fn capacity(calls: &Calls) -> Row {
    let asking = async {
        let mut times = Vec::new();
        for _ in 0..1000 {
            let began = Instant::now();
            calls.capacity("a").await;
            times.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times
    };
    let mut times = while_making(calls, 100, asking).await;
    let most = p99(&mut times);
    let measured = format!("{:.2} ms (median {})", most.as_secs_f64() * 1e3, millis(times[500]));
    let what = "GetCapacity, p99 of 1,000 calls while volumes are being made";
    Row::new(what, measured, "1 ms", most <= Duration::from_millis(1))
}
