//! The agent of a node: carries out the wishes for its own node, and reports.
//!
//! It watches only its own objects, and what it does not need the API for (stage, publish, unmount,
//! stats) goes on while that is away. What it holds in memory can be lost at any moment: the truth
//! is in LVM, and every step may be done again.

mod pools;
mod report;
mod step;
mod strays;
mod volumes;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use kube::{
    Client,
    runtime::{
        events::{Recorder, Reporter},
        reflector::Store,
    },
};
use tokio::sync::watch;

use super::{lease, objects::LogicalVolume};
use crate::{
    host::Host,
    volume::{NodeId, Turns},
};
use pools::Trouble;

/// Everything that an agent needs.
pub struct Agent {
    /// The way to the API.
    pub client: Client,
    /// Where its lease is.
    pub namespace: String,
    /// The driver's name.
    pub driver: String,
    /// Its node.
    pub node: NodeId,
    /// Its node's name in the API.
    pub node_name: String,
    /// What carries the wishes out.
    pub host: Arc<Host>,
    /// Shared with the front door: one call a volume at a time.
    pub turns: Turns,
    /// A directory where the pools are remembered for a start without the API.
    pub state: PathBuf,
    /// Told how many volumes are reported to have no object, whenever that is looked at.
    pub on_strays: Box<dyn Fn(u64) + Send + Sync>,
}

/// What the parts of an agent share.
struct Shared {
    agent: Agent,
    recorder: Recorder,
    /// Pools that cannot be served, and why.
    trouble: Mutex<Trouble>,
    /// Grows with everything that a report says.
    changes: watch::Sender<u64>,
    /// The objects of this node, from when all of them are known.
    objects: OnceLock<Store<LogicalVolume>>,
}

impl Shared {
    /// Whether the API has said which pools this node has, and they are open as far as they can be.
    fn knows_pools(&self) -> bool {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_told()
    }
}

impl Agent {
    /// Serves the pools that were known when the last life ended, so that volumes can be staged and
    /// published before the API is there.
    pub fn recall_pools(&self) {
        pools::recall(&self.host, &self.state);
    }

    /// Does the agent's work until dropped.
    pub async fn run(self) {
        let reporter =
            Reporter { controller: self.driver.clone(), instance: Some(self.node_name.clone()) };
        let changes = watch::Sender::new(0);
        let listener = changes.clone();
        self.host.on_change(move |_| listener.send_modify(|count| *count += 1));
        let renewal = lease::renew(
            self.client.clone(),
            self.namespace.clone(),
            self.driver.clone(),
            self.node.clone(),
        );
        let shared = Arc::new(Shared {
            recorder: Recorder::new(self.client.clone(), reporter),
            trouble: Mutex::default(),
            changes,
            objects: OnceLock::new(),
            agent: self,
        });
        tokio::join!(
            renewal,
            pools::follow(&shared),
            report::keep(&shared),
            volumes::carry_out(Arc::clone(&shared)),
        );
    }
}
