//! Tarn's own part: the services behind a real socket, over an LVM in memory whose changes take as
//! long as LVM's programs do but no processor. What is measured is waiting for one another.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hyper_util::rt::TokioIo;
use tarn::{
    csi::{
        ControllerService,
        proto::{
            CapacityRange, CreateVolumeRequest, DeleteVolumeRequest, GetCapacityRequest,
            controller_client::ControllerClient, controller_server::ControllerServer,
        },
    },
    device::fake::FakeDevices,
    fs::fake::FakeFs,
    host::{Host, LocalProvisioner, Tools},
    lvm::fake::FakeLvm,
    pool::PoolEntry,
    units::Bytes,
    volume::{Driver, Turns},
};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};

use super::{ROUNDS, Row, driver::mounted, millis, p99, sections::join_all};

/// What lvcreate takes on a common machine.
const PACE: Duration = Duration::from_millis(30);

pub(crate) async fn all() -> Vec<Row> {
    let client = serve();
    let client = client.await;
    let mut rows = at_once(&client).await;
    rows.push(capacity(&client).await);
    rows
}

/// Serves from threads of its own, as the program does.
async fn serve() -> ControllerClient<Channel> {
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
    ControllerClient::new(endpoint.connect_with_connector(connect).await.unwrap())
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
    let host = Host::open(tools, "bench".parse().unwrap(), driver.name(), pools.into()).unwrap();
    let host = Arc::new(host);
    let turns = Turns::default();
    host.start_background(&turns).unwrap();
    let provisioner = Arc::new(LocalProvisioner::new(host));
    let controller = ControllerService::new(driver, turns, provisioner);
    let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
    let server = Server::builder().add_service(ControllerServer::new(controller));
    server.serve_with_incoming(incoming).await.unwrap();
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

async fn create(client: &ControllerClient<Channel>, name: String, pool: &str) -> String {
    let range = CapacityRange { required_bytes: 64 << 20, limit_bytes: 0 };
    let request = CreateVolumeRequest {
        name,
        capacity_range: Some(range),
        volume_capabilities: vec![mounted()],
        parameters: [("pool".to_owned(), pool.to_owned())].into(),
        ..Default::default()
    };
    let made = client.clone().create_volume(request).await.unwrap().into_inner();
    made.volume.unwrap().volume_id
}

async fn delete(client: &ControllerClient<Channel>, volume_id: String) {
    let request = DeleteVolumeRequest { volume_id, ..Default::default() };
    client.clone().delete_volume(request).await.unwrap();
}

/// Eight creates at once on two groups, beside eight in a row on one.
async fn at_once(client: &ControllerClient<Channel>) -> Vec<Row> {
    let (mut row, mut one, mut two) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (how, times) in [&mut row, &mut one, &mut two].into_iter().enumerate() {
            let wishes = (0..8).map(|at| {
                let pool = if how == 2 && at % 2 == 1 { "b" } else { "a" };
                create(client, format!("at-once-{round}-{how}-{at}"), pool)
            });
            let began = Instant::now();
            let mut ids = Vec::new();
            if how == 0 {
                for wish in wishes {
                    ids.push(wish.await);
                }
            } else {
                ids = join_all(wishes).await;
            }
            times.push(began.elapsed());
            for id in ids {
                delete(client, id).await;
            }
        }
    }
    let on_one = "8 creates at once on one group / 8 in a row";
    let on_two = "8 creates at once on two groups / 8 in a row on one";
    vec![
        Row::ratio(on_one, &mut one, &mut row.clone(), 1.05),
        Row::ratio(on_two, &mut two, &mut row, 0.9),
    ]
}

/// GetCapacity, 1,000 times while volumes are being made on the same group.
async fn capacity(client: &ControllerClient<Channel>) -> Row {
    let making = async {
        for at in 0..100 {
            create(client, format!("busy-{at}"), "a").await;
        }
    };
    let asking = async {
        let mut times = Vec::new();
        for _ in 0..1000 {
            let request = GetCapacityRequest {
                parameters: [("pool".to_owned(), "a".to_owned())].into(),
                ..Default::default()
            };
            let began = Instant::now();
            client.clone().get_capacity(request).await.unwrap();
            times.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times
    };
    let ((), mut times) = tokio::join!(making, asking);
    let most = p99(&mut times);
    let measured = format!("{:.2} ms (median {})", most.as_secs_f64() * 1e3, millis(times[500]));
    let what = "GetCapacity, p99 of 1,000 calls while volumes are being made";
    Row::new(what, measured, "1 ms", most <= Duration::from_millis(1))
}
