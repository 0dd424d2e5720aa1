//! The programs that stand for nodes: one for many of them, and one for a single one.

use std::{path::Path, sync::Arc};

use hyper::Request;
use kube::{Client, client::Body};
use tokio::{runtime::Runtime, sync::Semaphore, task::JoinSet};

use super::{
    database::Database,
    machines::{Machine, name_of},
    watches::Watches,
};

/// Said when the volumes and their objects are there.
pub(crate) const FILLED: &str = "filled";
/// What a request of the single agent is said with.
pub(crate) const ASKED: &str = "asked ";

/// How many nodes have their objects written at once.
const WRITERS: usize = 24;

/// As the program's own.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).max_blocking_threads(256).enable_all().build().unwrap()
}

/// Is `count` nodes with `volumes` volumes each, until it is killed.
///
/// The chores, wiping and resuming of their hosts, which are threads, are left out: nothing is staged or
/// deleted here.
pub(crate) fn many(count: usize, volumes: usize, folder: &Path) {
    runtime().block_on(async {
        let client = Client::try_default().await.unwrap();
        let database = Arc::new(Database::new(&client));
        let writers = Arc::new(Semaphore::new(WRITERS));
        let mut filling = JoinSet::new();
        for number in 0..count {
            let (database, writers) = (Arc::clone(&database), Arc::clone(&writers));
            filling.spawn(async move {
                let machine = Machine::new(&name_of(number));
                let _turn = writers.acquire().await.unwrap();
                machine.fill(&database, volumes).await;
                machine
            });
        }
        let machines = filling.join_all().await;
        println!("{FILLED}");
        let watches = Arc::new(Watches::begin(&client).await);
        let client = watches.client(&client);
        let mut running = JoinSet::new();
        for machine in machines {
            running.spawn(machine.agent(client.clone(), folder).run());
        }
        running.join_all().await;
    });
}

/// Is one node with `volumes` volumes, until it is killed, and says what it asks the API.
pub(crate) fn single(name: &str, volumes: usize, folder: &Path) {
    runtime().block_on(async {
        let client = Client::try_default().await.unwrap();
        let machine = Machine::new(name);
        machine.fill(&Database::new(&client), volumes).await;
        machine.start_background();
        println!("{FILLED}");
        machine.agent(telling(client), folder).run().await;
    });
}

/// A client that says what it asks.
fn telling(real: Client) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        println!("{ASKED}{} {}", request.method(), request.uri());
        let real = real.clone();
        async move { real.send(request).await }
    });
    Client::new(service, "default")
}
