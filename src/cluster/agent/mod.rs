//! The agent of a node: carries out the wishes for its own node, and reports.
//!
//! It watches only its own objects, and what it does not need the API for (stage, publish, unmount,
//! stats) goes on while that is away. What it holds in memory can be lost at any moment: the truth
//! is in LVM, and every step may be done again.

mod adoptions;
mod asked;
mod brake;
mod consent;
mod devices;
mod freed;
mod fuller;
mod fullness;
mod health;
mod identity;
mod permission;
mod pools;
mod report;
mod retired;
mod step;
mod strays;
mod volumes;
mod written;

pub use asked::{AskError, Asked, ask};
pub use identity::recalled_groups;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::{
        events::{Event, EventType, Recorder, Reporter},
        reflector::Store,
    },
};
use tokio::sync::{Semaphore, watch};

use super::{lease, objects::LogicalVolume};
use crate::{
    machine::Machine,
    volume::{Error, NodeId, Turns},
};
use brake::Brake;
use freed::Freed;
use permission::Permission;
use pools::Trouble;
use written::Written;

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
    pub machine: Arc<Machine>,
    /// Shared with the front door: one call a volume at a time.
    pub turns: Turns,
    /// A directory where the pools are remembered for a start without the API.
    pub state: PathBuf,
    /// Which share of its volumes may be deleted within a minute before it asks; 100: all.
    pub brake_percent: u8,
    /// Told what an admin should look at, whenever that is counted.
    pub on_concerns: Box<dyn Fn(Concerns) + Send + Sync>,
}

/// How much there is that an admin should look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Concerns {
    /// Volumes and snapshots that are reported to have no object.
    pub strays: u64,
    /// Deletions that wait until they are allowed.
    pub held: u64,
}

/// What the parts of an agent share.
struct Shared {
    agent: Agent,
    recorder: Recorder,
    /// Pools that cannot be served, and why.
    trouble: Mutex<Trouble>,
    /// Told when anything changes that a report says.
    changes: watch::Sender<()>,
    /// The objects of this node, from when all of them are known.
    objects: OnceLock<Store<LogicalVolume>>,
    /// Stops mass deletions.
    brake: Mutex<Brake>,
    /// Whether they are allowed.
    permission: Permission,
    /// What it wrote last of its objects.
    written: Mutex<Written>,
    /// Whether the API may have another report of the node than was written last.
    report_is_doubtful: AtomicBool,
    /// Deletions that wait until a volume is free.
    freed: Freed,
    /// One permit: to format a volume that nobody waits for yet.
    formatting: Arc<Semaphore>,
}

impl Shared {
    /// Whether the API has said which pools this node has, and they are open as far as they can be.
    fn knows_pools(&self) -> bool {
        locked(&self.trouble).is_told()
    }

    /// Returns when it does.
    async fn pools_are_known(&self) {
        let mut changes = self.changes.subscribe();
        // The sender lives as long as this does.
        while !self.knows_pools() && changes.changed().await.is_ok() {}
    }

    /// Something that a report says has changed.
    fn has_changed(&self) {
        self.changes.send_replace(());
    }

    /// A warning about an object, as an Event; that one cannot be written is no reason not to go on.
    async fn warn(&self, about: &ObjectReference, event: Notice<'_>) {
        self.publish(EventType::Warning, about, event).await;
    }

    /// What is no reason to worry about an object, as an Event.
    async fn say(&self, about: &ObjectReference, event: Notice<'_>) {
        self.publish(EventType::Normal, about, event).await;
    }

    async fn publish(&self, type_: EventType, about: &ObjectReference, event: Notice<'_>) {
        let event = Event {
            type_,
            reason: event.reason.to_owned(),
            // As much as the API takes.
            note: Some(event.note.chars().take(1000).collect()),
            action: event.action.to_owned(),
            secondary: event.secondary,
        };
        if let Err(err) = self.recorder.publish(&event, about).await {
            tracing::debug!(%err, "an event was not written");
        }
    }
}

/// Does blocking work on the machine, to its end and in the turn of a volume. The turn is given back before
/// anybody is told of the result, since their next call needs it.
async fn in_turn<T: Send + 'static>(
    turns: &Turns,
    machine: &Arc<Machine>,
    id: &str,
    work: impl FnOnce(&Machine) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let turn = turns.take(id)?;
    let machine = Arc::clone(machine);
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(&machine)
    });
    done.await.unwrap_or_else(|err| Err(Error::uncertain("the work on the volume", err)))
}

/// No work that holds one of the agent's locks can be left half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What [`Shared::warn`] and [`Shared::say`] say.
struct Notice<'a> {
    reason: &'a str,
    action: &'a str,
    note: &'a str,
    /// What else it is about: Events that say the same of the same are counted as one.
    secondary: Option<ObjectReference>,
}

impl Agent {
    /// Serves the pools that were known when the last life ended, so that volumes can be staged and
    /// published before the API is there.
    pub fn recall_pools(&self) {
        identity::recall(self.machine.groups(), &self.state);
        self.machine.groups().show_disks();
        pools::recall(&self.machine, &self.state);
    }

    /// Does the agent's work until dropped.
    pub async fn run(self) {
        let reporter =
            Reporter { controller: self.driver.clone(), instance: Some(self.node_name.clone()) };
        let changes = watch::Sender::new(());
        let listener = changes.clone();
        self.machine.on_change(move |_| listener.send_replace(()));
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
            brake: Mutex::new(Brake::new(self.brake_percent)),
            permission: Permission::default(),
            written: Mutex::default(),
            report_is_doubtful: AtomicBool::default(),
            freed: Freed::of(&self.turns),
            formatting: Arc::new(Semaphore::new(1)),
            agent: self,
        });
        tokio::join!(
            renewal,
            identity::learn(&shared),
            pools::follow(&shared),
            report::keep(&shared),
            volumes::carry_out(Arc::clone(&shared)),
            adoptions::carry_out(&shared),
        );
    }
}
