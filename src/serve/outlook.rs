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
        /// Where `tarn node` remembers which volume groups its pools had.
        state: PathBuf,
    },
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

/// What `tarn standalone` or `tarn node` would do with this machine's disks; nothing is changed. What pools keep in
/// directories is below `volumes`.
///
/// # Errors
/// What is missing, or cannot be asked or looked at, and what to do about it.
pub fn outlook(
    driver: &Driver,
    node: &NodeId,
    source: Source,
    volumes: &Path,
) -> anyhow::Result<Outlook> {
    machine::check_programs().map_err(anyhow::Error::msg)?;
    let creator = driver.name().to_owned();
    let (pools, cluster, known, unread) = match source {
        Source::File(pools) => (pools, None, BTreeMap::new(), BTreeMap::new()),
        Source::Api { kubeconfig, node_name, state } => {
            let asked = runtime()?.block_on(ask(kubeconfig.as_deref(), &node_name))?;
            let known = agent::recalled_groups(&state);
            (asked.pools, Some(asked.cluster), known, asked.unread)
        }
    };
    let owner = Owner { creator, cluster, node: node.clone() };
    let devices = plan_disks(&machine::tools(Exec), &pools, &owner, &known, volumes)?;
    Ok(Outlook { devices, unread })
}

async fn ask(kubeconfig: Option<&Path>, node_name: &str) -> anyhow::Result<agent::Asked> {
    let client = client::connect(kubeconfig).await;
    let client = client.context("without a pools file (--pools) the Kubernetes API is asked")?;
    Ok(agent::ask(&client, node_name).await?)
}
