//! What the controller knows, kept true by watches; who waits for a change is woken by it.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio::sync::watch;
use tokio_stream::StreamExt as _;

use super::{
    RELEASE,
    fate::Look,
    lease,
    objects::{LogicalVolume, NodeLocalStorage},
    state::{Entry, Moment, State},
    waiters::Waiters,
};
use crate::volume::NodeId;

/// What the controller knows. Clones share it.
#[derive(Clone)]
pub struct View {
    state: Arc<Mutex<State>>,
    /// Told when a volume changes, or what an admin says of a node.
    waiters: Arc<Waiters>,
    /// Told what [`View::loose_ends`] tells.
    loose: Arc<watch::Sender<()>>,
    /// Told what [`View::news_of_devices`] tells.
    devices: Arc<watch::Sender<()>>,
    /// How many of the three first lists have come in.
    lists: Arc<watch::Sender<u8>>,
}

/// How many lists there are: volumes, nodes, leases.
const LISTS: u8 = 3;

impl View {
    /// An empty view.
    #[expect(clippy::new_without_default, reason = "a view is made once, by who feeds it")]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            waiters: Arc::default(),
            loose: Arc::new(watch::Sender::new(())),
            devices: Arc::new(watch::Sender::new(())),
            lists: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Whether everything that there was at the start is known.
    pub fn is_complete(&self) -> bool {
        *self.lists.borrow() >= LISTS
    }

    /// Ends when [`View::is_complete`].
    pub async fn complete(&self) {
        let mut lists = self.lists.subscribe();
        // The sender lives as long as this view.
        let _there = lists.wait_for(|count| *count >= LISTS).await;
    }

    /// Looks at the state, or changes it.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes when there is something new that no call may be waiting for.
    pub(super) fn loose_ends(&self) -> watch::Receiver<()> {
        self.loose.subscribe()
    }

    /// Changes when a node has reported whole devices, when a volume that was made before its claim has changed, and when others
    /// have got devices or given them back.
    pub(super) fn news_of_devices(&self) -> watch::Receiver<()> {
        self.devices.subscribe()
    }

    pub(super) fn tell_of_devices(&self) {
        self.devices.send_replace(());
    }

    /// Takes note of an object that an own call has answered with, or a watch has shown.
    pub(super) fn enter(&self, object: &LogicalVolume) {
        self.note(object, State::enter);
    }

    fn note(&self, object: &LogicalVolume, enter: impl FnOnce(&mut State, &str, &LogicalVolume)) {
        let id = object.name_any();
        let (is_ending, is_static) = self.with(|state| {
            enter(state, &id, object);
            (state.is_ending(&id), state.entry(&id).is_some_and(Entry::is_static))
        });
        self.waiters.tell(&id);
        if is_static {
            self.tell_of_devices();
        }
        if is_ending {
            self.loose.send_replace(());
        }
    }

    /// Takes note that an object is gone.
    pub(super) fn remove(&self, id: &str, uid: &str) {
        let was_static = self.with(|state| {
            let was_static = state.entry(id).is_some_and(Entry::is_static);
            state.remove(id, uid, Instant::now());
            was_static
        });
        self.waiters.tell(id);
        if was_static {
            self.tell_of_devices();
        }
    }

    /// Looks after every change of an object until it is over.
    pub(super) async fn when<T>(&self, id: &str, mut look: impl FnMut(&mut State) -> Look<T>) -> T {
        let mut waiter = self.waiters.begin(id);
        loop {
            waiter.is_up_to_date();
            let until = match self.with(&mut look) {
                Look::Done(done) => return done,
                Look::Wait(until) => until,
            };
            let late = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = waiter.news() => (),
                () = late => (),
            }
        }
    }

    /// Keeps the view true until dropped.
    pub async fn feed(&self, client: Client, namespace: &str, driver: &str) {
        let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let ours = format!("{}={driver}", lease::LABEL);
        tokio::join!(
            self.feed_volumes(Api::all(client.clone())),
            self.feed_nodes(Api::all(client.clone())),
            self.feed_leases(leases, watcher::Config::default().labels(&ours)),
            self.feed_locals(client),
        );
    }

    async fn feed_volumes(&self, api: Api<LogicalVolume>) {
        let (mut listed, mut since) = (HashSet::new(), Moment::default());
        let mut events = std::pin::pin!(watcher(api, in_large_pages()).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(object)) => self.enter(&object),
                Ok(Event::Delete(object)) => {
                    self.remove(&object.name_any(), &object.uid().unwrap_or_default());
                }
                // A list is asked for after this.
                Ok(Event::Init) => {
                    listed.clear();
                    since = self.with(|state| state.now());
                }
                Ok(Event::InitApply(object)) => {
                    listed.insert(object.name_any());
                    self.note(&object, |state, id, object| state.enter_listed(id, object, since));
                }
                Ok(Event::InitDone) => {
                    let gone = self.with(|state| state.unlisted(&listed, since));
                    gone.iter().for_each(|(id, uid)| self.remove(id, uid));
                    listed = HashSet::new();
                    self.came_in();
                }
                Err(err) => tracing::warn!(%err, "volumes cannot be watched now"),
            }
        }
    }

    async fn feed_nodes(&self, api: Api<NodeLocalStorage>) {
        let mut listed = HashSet::new();
        let mut events = std::pin::pin!(watcher(api, in_large_pages()).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(object)) => drop(self.enter_node(&object)),
                Ok(Event::Delete(object)) => {
                    if let Ok(node) = object.name_any().parse::<NodeId>() {
                        self.with(|state| state.forget_report(&node));
                    }
                }
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => listed.extend(self.enter_node(&object)),
                Ok(Event::InitDone) => {
                    self.with(|state| state.forget_unlisted_reports(&listed));
                    listed = HashSet::new();
                    self.came_in();
                }
                Err(err) => tracing::warn!(%err, "nodes' reports cannot be watched now"),
            }
        }
    }

    /// Takes note of what a node reports, and of what an admin has said about it there.
    fn enter_node(&self, object: &NodeLocalStorage) -> Option<NodeId> {
        let node = object.name_any().parse::<NodeId>().ok()?;
        let status = object.status.clone().unwrap_or_default();
        let is_lost = object.annotations().get(RELEASE).is_some_and(|value| value == "true");
        let has_changed = self.with(|state| {
            state.report(&node, &status);
            state.set_lost(&node, is_lost)
        });
        if has_changed || status.pools.iter().any(|pool| pool.spec.is_of_whole_devices()) {
            self.tell_of_devices();
        }
        if has_changed {
            tracing::warn!(%node, is_lost, "an admin has said whether the node is lost for good");
            self.waiters.tell_all();
        }
        if has_changed || !status.strays.is_empty() {
            self.loose.send_replace(());
        }
        Some(node)
    }

    async fn feed_leases(&self, api: Api<Lease>, config: watcher::Config) {
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(lease) | Event::InitApply(lease)) => {
                    if let Some(node) = lease::node_of(&lease) {
                        self.with(|state| state.heard_of(&node, Instant::now()));
                    }
                }
                Ok(Event::Delete(_) | Event::Init) => (),
                Ok(Event::InitDone) => self.came_in(),
                Err(err) => tracing::warn!(%err, "nodes' leases cannot be watched now"),
            }
        }
    }

    fn came_in(&self) {
        self.lists.send_modify(|count| *count = count.saturating_add(1).min(LISTS));
    }
}

/// Of a list that is read page by page, etcd counts what is left for each page: of 100,000 volumes that
/// is dear with 500 a page, as is usual.
pub(super) fn in_large_pages() -> watcher::Config {
    watcher::Config::default().page_size(5000)
}
