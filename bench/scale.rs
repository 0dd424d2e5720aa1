//! A large cluster: the controller with thousands of nodes and very many volumes, and one node's agent
//! among them. The API server and all objects are real; the nodes' disks are in memory.

mod controller;
mod database;
mod machines;
pub(crate) mod nodes;
mod program;
mod watches;

use std::{
    collections::HashSet,
    env,
    path::Path,
    time::{Duration, Instant},
};

use kube::{
    Api, Client, ResourceExt as _,
    runtime::watcher::{self, Event, watcher},
};
use tarn::cluster::objects::NodeLocalStorage;
use tokio_stream::StreamExt as _;

use super::{
    Row, median, millis, p99,
    process::{Memory, Process, mebibytes},
};
use controller::{Controller, Creates};
use machines::write_pool;
use nodes::{ASKED, FILLED};
use program::Program;

/// Of GetCapacity.
const CAPACITIES: usize = 20_000;
/// Of CreateVolume, and how long after each the next is made: 100 a second for 30 seconds.
const CREATES: usize = 3000;
const PACE: Duration = Duration::from_millis(10);
/// How many volumes the single node has.
const OWN: usize = 100;
/// For how long an idle agent is listened to.
const IDLE: Duration = Duration::from_secs(60);
/// What was begun is over by then.
const SETTLED: Duration = Duration::from_secs(5);

/// How large the cluster is.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) volumes: usize,
}

pub(crate) async fn all(tarn: &str, size: Size) -> Vec<Row> {
    let client = Client::try_default().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_pool(&client).await;
    let alone = single(&client, "node-99998", folder).await.process().memory();

    let began = Instant::now();
    let each = size.volumes.div_ceil(size.nodes).to_string();
    let mut many = figures(&["nodes", &size.nodes.to_string(), &each], folder);
    many.says(FILLED).await;
    println!("     the volumes and their objects are there after {:?}", began.elapsed());
    reported(&client, |nodes| nodes.len() > size.nodes).await;
    println!("     the nodes have reported after {:?}", began.elapsed());
    let mut among = single(&client, "node-99999", folder).await;

    let mut rows = controller(Path::new(tarn), size, folder, many.process()).await;
    tokio::time::sleep(SETTLED).await;
    rows.push(agent_memory(alone, among.process().memory()));
    rows.push(agent_requests(&among.says_within(IDLE).await));
    rows
}

/// Another program of this one.
fn figures(args: &[&str], folder: &Path) -> Program {
    let folder = folder.to_str().unwrap();
    Program::start(&env::current_exe().unwrap(), &[args, &[folder]].concat())
}

/// A single node in a program of its own, with nothing more to do.
async fn single(client: &Client, name: &str, folder: &Path) -> Program {
    let program = figures(&["node", name, &OWN.to_string()], folder);
    reported(client, |nodes| nodes.contains(name)).await;
    tokio::time::sleep(SETTLED).await;
    program
}

/// Waits until enough nodes have reported their pools.
async fn reported(client: &Client, enough: impl Fn(&HashSet<String>) -> bool) {
    let api: Api<NodeLocalStorage> = Api::all(client.clone());
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    let mut nodes = HashSet::new();
    while !enough(&nodes) {
        if let Event::Apply(object) | Event::InitApply(object) =
            events.next().await.unwrap().unwrap()
            && object.status.as_ref().is_some_and(|it| !it.pools.is_empty())
        {
            nodes.insert(object.name_any());
        }
    }
}

async fn controller(tarn: &Path, size: Size, folder: &Path, nodes: Process) -> Vec<Row> {
    let controller = Controller::start(tarn, folder).await;
    let process = controller.program.process();
    let start = Row::time("start to ready", controller.start, "", Duration::from_secs(15));
    tokio::time::sleep(SETTLED).await;
    let ready = resident("resident memory, once ready", process.memory());
    let mut times = controller.capacities(size.nodes, CAPACITIES).await;
    let also = format!(" (median {})", millis(median(&mut times)));
    let what = format!("GetCapacity, p99 of {CAPACITIES} calls");
    let capacity = Row::time(&what, p99(&mut times), &also, Duration::from_millis(1));
    let all = [process, nodes, Process::of("kube-apiserver"), Process::of("etcd")];
    let before = all.map(Process::worked);
    let creates = controller.creates(size.nodes, CREATES, PACE).await;
    let now = all.map(Process::worked).into_iter();
    let worked: Vec<Duration> = now.zip(before).map(|(now, before)| now - before).collect();
    let after = resident("resident memory, after these", process.memory());
    vec![start, ready, capacity, created(creates), work(&worked), after]
}

fn resident(what: &str, memory: Memory) -> Row {
    let measured = format!("{} (peak {})", mebibytes(memory.resident), mebibytes(memory.peak));
    Row::new(what, measured, "250 MiB", memory.resident <= 250 << 10)
}

fn created(mut creates: Creates) -> Row {
    let offered = PACE * u32::try_from(CREATES).unwrap();
    let most = offered + Duration::from_secs(1);
    let what =
        format!("{CREATES} CreateVolume, offered evenly over {offered:?}: until all are answered");
    let measured = format!(
        "{:.1} s ({} well, median {}, p99 {})",
        creates.all.as_secs_f64(),
        creates.times.len(),
        millis(median(&mut creates.times)),
        millis(p99(&mut creates.times)),
    );
    let kept = creates.refused.is_empty() && creates.all <= most;
    Row::new(&what, measured, &format!("{most:?}"), kept)
}

/// Who was at work meanwhile. All share the machine's processors, so this says who is waited for.
fn work(worked: &[Duration]) -> Row {
    let each = worked.iter().map(|it| millis(*it / u32::try_from(CREATES).unwrap()));
    let what = "processor time meanwhile, for each of these: controller, nodes, API server, etcd";
    Row::new(what, each.collect::<Vec<_>>().join(", "), "-", true)
}

fn agent_memory(alone: Memory, among: Memory) -> Row {
    let what = "an agent's resident memory with 100 volumes, where there are all others / none";
    let [among, alone] = [among.resident, alone.resident];
    let measured = format!("{} / {}", mebibytes(among), mebibytes(alone));
    let same = among.abs_diff(alone) <= 1 << 10;
    Row::new(what, measured, "20 MiB, and the same", among <= 20 << 10 && same)
}

fn agent_requests(lines: &[String]) -> Row {
    let requests: Vec<&str> = lines.iter().filter_map(|it| it.strip_prefix(ASKED)).collect();
    let is_lease = |it: &&&str| it.starts_with("PUT") && it.contains("/leases/");
    let is_watch = |it: &&&str| it.starts_with("GET") && it.contains("watch=true");
    let leases = requests.iter().filter(is_lease).count();
    let watches = requests.iter().filter(is_watch).count();
    let others = requests.len() - leases - watches;
    let what =
        format!("requests to the API of an idle agent in {IDLE:?}, besides its watches and lease");
    let measured = format!("{others} (and {leases} for its lease, {watches} for watches that end)");
    Row::new(&what, measured, "0", others == 0)
}
