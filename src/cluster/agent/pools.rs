//! Which pools this node has: those whose selector its labels match.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject},
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt as _;

use super::{Shared, locked, retired::Retired};
use crate::{
    cluster::objects::{Condition, StoragePool, StoragePoolSpec},
    machine::Machine,
    pool::{PoolEntry, PoolSpec},
    volume::PoolName,
};

/// Where the pools are remembered, below the directory for state.
const REMEMBERED: &str = "pools.json";

/// Pools that cannot even be read, by name, and why.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Whether the API has said which pools there are to be.
    is_told: bool,
    why: BTreeMap<String, String>,
}

impl Trouble {
    /// Whether the API has said which pools there are to be.
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Whether every pool that is to be here is: so many are served, and some are not for the reasons
    /// that the host gives.
    pub(super) fn condition(
        &self,
        served: usize,
        unserved: &BTreeMap<PoolName, String>,
    ) -> Condition {
        let unserved = unserved.iter().map(|(pool, why)| format!("{pool}: {why}"));
        let unread = self.why.iter().map(|(pool, why)| format!("{pool}: {why}"));
        let all: Vec<String> = unserved.chain(unread).collect();
        let message = all.join("; ");
        match (all.is_empty(), self.is_told, served) {
            (false, ..) => Condition::new("Ready", false, "PoolsFailed", message),
            (true, false, _) => {
                let message = "the API has not said which pools there are to be".to_owned();
                Condition::new("Ready", false, "Starting", message)
            }
            (true, true, 0) => {
                let message = "no StoragePool's nodeSelector matches this node".to_owned();
                Condition::new("Ready", true, "NoPools", message)
            }
            (true, true, count) => {
                Condition::new("Ready", true, "PoolsServed", format!("{count} pools are served"))
            }
        }
    }
}

/// A pool as it is remembered.
#[derive(Serialize, Deserialize)]
struct Remembered {
    name: String,
    spec: PoolSpec,
}

/// Serves the pools that were remembered. What cannot be is told when the API asks for it again.
pub(super) fn recall(machine: &Machine, state: &Path) {
    let path = state.join(REMEMBERED);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return,
        Err(err) => return tracing::warn!(path = %path.display(), %err, "not remembered"),
    };
    match serde_json::from_slice::<Vec<Remembered>>(&text) {
        Ok(pools) => {
            let entry =
                |it: Remembered| Some(PoolEntry { name: it.name.parse().ok()?, spec: it.spec });
            let failed = machine.set_pools(pools.into_iter().filter_map(entry).collect());
            for (pool, err) in failed {
                tracing::warn!(%pool, why = err, "the pool is not served");
            }
        }
        Err(err) => tracing::warn!(path = %path.display(), %err, "not remembered"),
    }
}

fn remember(state: &Path, pools: &[PoolEntry]) -> io::Result<()> {
    let pools: Vec<Remembered> = pools
        .iter()
        .map(|it| Remembered { name: it.name.to_string(), spec: it.spec.clone() })
        .collect();
    fs::create_dir_all(state)?;
    let (path, new) = (state.join(REMEMBERED), state.join(format!("{REMEMBERED}.new")));
    fs::write(&new, serde_json::to_vec_pretty(&pools)?)?;
    fs::rename(new, path)
}

/// What the API says about pools and this node.
#[derive(Default)]
pub(super) struct Said {
    node: Option<AboutNode>,
    pools: BTreeMap<String, DynamicObject>,
    has_pools: bool,
}

/// What its object says about the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct AboutNode {
    labels: BTreeMap<String, String>,
    retired: Retired,
}

impl AboutNode {
    fn of(node: &impl kube::Resource) -> Self {
        let labels = node.meta().labels.clone().unwrap_or_default();
        Self { labels, retired: Retired::of(node.annotations()) }
    }
}

/// Serves the pools that the API says this node has, until dropped.
pub(super) async fn follow(shared: &Arc<Shared>) {
    let client = &shared.agent.client;
    let of_node = format!("metadata.name={}", shared.agent.node_name);
    let nodes: Api<PartialObjectMeta<Node>> = Api::all(client.clone());
    let nodes = watcher(nodes, watcher::Config::default().fields(&of_node));
    let kind = ApiResource::erase::<StoragePool>(&());
    // As loose objects: one that cannot be read must not hide the others.
    let pools: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let pools = watcher(pools, watcher::Config::default());
    let mut nodes = std::pin::pin!(nodes.default_backoff());
    let mut pools = std::pin::pin!(pools.default_backoff());
    let mut said = Said::default();
    loop {
        let changed = tokio::select! {
            Some(event) = nodes.next() => said.about_node(event.map_err(|err| warn(&err)).ok()),
            Some(event) = pools.next() => said.about_pools(event.map_err(|err| warn(&err)).ok()),
            else => return,
        };
        if changed && said.node.is_some() && said.has_pools {
            apply(shared, &said).await;
        }
    }
}

fn warn(err: &watcher::Error) {
    tracing::warn!(%err, "pools and the node's labels cannot be watched now");
}

impl Said {
    /// Of this node, and of all pools.
    pub(super) fn of(node: &impl kube::Resource, pools: Vec<DynamicObject>) -> Self {
        let pools = pools.into_iter().map(|it| (it.name_any(), it)).collect();
        Self { node: Some(AboutNode::of(node)), pools, has_pools: true }
    }

    fn about_node(&mut self, event: Option<Event<impl kube::Resource>>) -> bool {
        let node = match event {
            Some(Event::Apply(node) | Event::InitApply(node)) => AboutNode::of(&node),
            // A node without an object has no labels.
            Some(Event::InitDone) if self.node.is_none() => AboutNode::default(),
            _ => return false,
        };
        let changed = self.node.as_ref() != Some(&node);
        self.node = Some(node);
        changed
    }

    fn about_pools(&mut self, event: Option<Event<DynamicObject>>) -> bool {
        match event {
            None => return false,
            Some(Event::Init) => {
                self.pools.clear();
                self.has_pools = false;
            }
            Some(Event::Apply(pool) | Event::InitApply(pool)) => {
                self.pools.insert(pool.name_any(), pool);
            }
            Some(Event::Delete(pool)) => {
                self.pools.remove(&pool.name_any());
            }
            Some(Event::InitDone) => self.has_pools = true,
        }
        self.has_pools
    }

    /// The pools of this node, and those that cannot be read, with the reason.
    pub(super) fn own(&self) -> (Vec<PoolEntry>, BTreeMap<String, String>) {
        let AboutNode { labels, retired } = self.node.clone().unwrap_or_default();
        let (mut own, mut bad) = (Vec::new(), BTreeMap::new());
        for (name, object) in &self.pools {
            let spec = object.data.get("spec").cloned().unwrap_or_default();
            match serde_json::from_value::<StoragePoolSpec>(spec) {
                Ok(pool) => {
                    let here = pool
                        .node_selector
                        .iter()
                        .all(|(key, value)| labels.get(key) == Some(value));
                    match name.parse() {
                        Ok(name) if here => {
                            own.push(PoolEntry { name, spec: retired.added_to(pool.pool) });
                        }
                        Ok(_) => (),
                        Err(err) => drop(bad.insert(name.clone(), err.to_string())),
                    }
                }
                Err(err) => drop(bad.insert(name.clone(), err.to_string())),
            }
        }
        (own, bad)
    }
}

async fn apply(shared: &Arc<Shared>, said: &Said) {
    let (own, bad) = said.own();
    let (machine, state) = (Arc::clone(&shared.agent.machine), shared.agent.state.clone());
    let done = tokio::task::spawn_blocking(move || serve(&machine, &state, own)).await;
    if let Err(err) = done {
        tracing::error!(%err, "pools were not changed");
    }
    for (pool, why) in &bad {
        tracing::warn!(pool, why, "the pool is not served");
    }
    *locked(&shared.trouble) = Trouble { is_told: true, why: bad };
    shared.has_changed();
    if let Some(node) = &said.node {
        shared.warn_of_unknown(&node.retired).await;
    }
}

fn serve(machine: &Machine, state: &Path, own: Vec<PoolEntry>) {
    if let Err(err) = remember(state, &own) {
        tracing::warn!(directory = %state.display(), %err, "the pools are not remembered");
    }
    for (pool, err) in machine.set_pools(own) {
        tracing::warn!(%pool, why = err, "the pool is not served");
    }
}
