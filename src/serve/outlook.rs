//! `tarn pools plan`: what would become of this machine's disks.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{machine, runtime};
use crate::{
    cluster::{agent, client},
    lvm::tools::Exec,
    machine::{self as this_machine, plan_disks},
    pool::{PoolEntry, owner::Owner},
    volume::{Driver, NodeId},
};

/// Who says which pools there are to be.
#[derive(Clone, Debug)]
pub enum Source {
    /// A pools file, for `tarn standalone`.
    File(Vec<PoolEntry>),
    /// The Kubernetes API, for `tarn node`.
    Api {
        /// How it is reached, where that is not by $KUBECONFIG or as a pod.
        kubeconfig: Option<PathBuf>,
        /// The node's name in the API.
        node_name: String,
    },
}

/// Where this machine's driver keeps what it must find again.
#[derive(Clone, Debug)]
pub struct Directories {
    /// Where `tarn node` remembers which volume groups its pools had.
    pub state: PathBuf,
    /// What pools keep in directories.
    pub volumes: PathBuf,
}

/// What would become of the disks.
#[derive(Clone, Debug)]
pub struct Outlook {
    devices: this_machine::Outlook,
    /// StoragePools that cannot be read, and why.
    unread: BTreeMap<String, String>,
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pool, why) in &self.unread {
            writeln!(f, "StoragePool {pool} cannot be read: {why}")?;
        }
        for (pool, entries) in &self.devices.entries {
            writeln!(f, "pool {pool}: whole devices")?;
            entries.iter().try_for_each(|it| writeln!(f, "  {it}"))?;
            if entries.is_empty() {
                writeln!(f, "  nothing is in its directories")?;
            }
        }
        self.devices.plan.fmt(f)
    }
}

/// What `tarn standalone` or `tarn node` would do with this machine's disks; nothing is changed.
///
/// # Errors
/// What is missing, or cannot be asked or looked at, and what to do about it.
pub fn outlook(
    driver: &Driver,
    node: &NodeId,
    source: Source,
    directories: &Directories,
) -> anyhow::Result<Outlook> {
    machine::check_programs().map_err(anyhow::Error::msg)?;
    let known = match &source {
        Source::File(_) => BTreeMap::new(),
        Source::Api { .. } => agent::recalled_groups(&directories.state),
    };
    let Said { pools, cluster, unread } = source.ask()?;
    let owner = Owner { creator: driver.name().to_owned(), cluster, node: node.clone() };
    let devices = plan_disks(&machine::tools(Exec), &pools, &owner, &known, &directories.volumes)?;
    Ok(Outlook { devices, unread })
}

/// What was said of this machine's pools.
pub(super) struct Said {
    pub(super) pools: Vec<PoolEntry>,
    /// What the cluster is known by; `None` without one.
    pub(super) cluster: Option<String>,
    /// StoragePools that cannot be read, and why.
    pub(super) unread: BTreeMap<String, String>,
}

impl Source {
    /// Which pools there are to be.
    pub(super) fn ask(self) -> anyhow::Result<Said> {
        match self {
            Self::File(pools) => Ok(Said { pools, cluster: None, unread: BTreeMap::new() }),
            Self::Api { kubeconfig, node_name } => {
                let asked = runtime()?.block_on(ask(kubeconfig.as_deref(), &node_name))?;
                let agent::Asked { cluster, pools, unread } = asked;
                Ok(Said { pools, cluster: Some(cluster), unread })
            }
        }
    }
}

async fn ask(kubeconfig: Option<&Path>, node_name: &str) -> anyhow::Result<agent::Asked> {
    let client = client::connect(kubeconfig).await;
    let client = client.context("without a pools file (--pools) the Kubernetes API is asked")?;
    Ok(agent::ask(&client, node_name).await?)
}
