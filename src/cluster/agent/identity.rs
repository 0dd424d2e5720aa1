//! Which cluster this is, and which volume groups its pools had: what must be known before a disk is
//! taken.
//!
//! A cluster is known by the UID of its namespace kube-system, which is as old as the cluster. Both are
//! remembered for the next start.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};

use super::Shared;
use crate::{
    host::{Cluster, Host},
    lvm::VgName,
    volume::chain,
};

/// The namespace that every cluster has, and has only once.
pub(super) const NAMESPACE: &str = "kube-system";
/// Where the cluster is remembered, below the directory for state.
const REMEMBERED: &str = "cluster";
/// Where the groups are remembered, below the directory for state.
const GROUPS: &str = "groups.json";
/// When the API is asked again that did not say.
const AGAIN: Duration = Duration::from_secs(5);

/// Takes the cluster and the groups that were remembered; without a cluster, no disk is taken before the
/// API has told.
pub(super) fn recall(host: &Host, state: &Path) {
    host.set_cluster(match recalled(state, REMEMBERED) {
        Some(id) if !id.trim().is_empty() => Cluster::Known(id.trim().to_owned()),
        _ => Cluster::Unknown,
    });
    host.expect_groups(recalled_groups(state));
}

/// The groups that the agent's pools had when they were seen last, as it has remembered them below its
/// directory for state.
pub fn recalled_groups(state: &Path) -> BTreeMap<VgName, String> {
    let text = recalled(state, GROUPS).unwrap_or_else(|| "{}".to_owned());
    serde_json::from_str(&text).unwrap_or_else(|err| {
        tracing::warn!(file = GROUPS, %err, "the volume groups are not remembered");
        Groups::new()
    })
}

/// Remembers the groups for the next start, where they are others than before.
pub(super) async fn remember_groups(shared: &Shared, before: &mut Option<Groups>) {
    let known = shared.agent.machine.groups().known_groups();
    if before.as_ref() == Some(&known) {
        return;
    }
    let (state, groups) = (shared.agent.state.clone(), known.clone());
    let written = tokio::task::spawn_blocking(move || {
        let text = serde_json::to_string_pretty(&groups).map_err(io::Error::other)?;
        remember(&state, GROUPS, &text)
    });
    match written.await.map_err(io::Error::other).flatten() {
        Ok(()) => *before = Some(known),
        Err(err) => tracing::warn!(file = GROUPS, %err, "the volume groups are not remembered"),
    }
}

/// The groups of pools that are made of disks, with LVM's own identity of each.
pub(super) type Groups = BTreeMap<VgName, String>;

fn recalled(state: &Path, name: &str) -> Option<String> {
    let path = state.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => {
            tracing::warn!(path = %path.display(), %err, "not remembered");
            None
        }
    }
}

fn remember(state: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::create_dir_all(state)?;
    let (path, new) = (state.join(name), state.join(format!("{name}.new")));
    fs::write(&new, text)?;
    fs::rename(new, path)
}

/// Learns from the API which cluster this is, and has the disks looked at again.
pub(super) async fn learn(shared: &Arc<Shared>) {
    let id = loop {
        match ask(&shared.agent.client).await {
            Ok(Some(id)) => break id,
            Ok(None) => tracing::warn!(namespace = NAMESPACE, "it has no UID"),
            Err(err) => {
                tracing::warn!(
                    namespace = NAMESPACE,
                    error = chain(&err),
                    "which cluster is this?"
                );
            }
        }
        tokio::time::sleep(AGAIN).await;
    };
    let (host, state) = (Arc::clone(shared.agent.machine.groups()), shared.agent.state.clone());
    let done = tokio::task::spawn_blocking(move || {
        if let Err(err) = remember(&state, REMEMBERED, &id) {
            tracing::warn!(directory = %state.display(), %err, "the cluster is not remembered");
        }
        host.set_cluster(Cluster::Known(id));
        host.look_at_disks();
    });
    if let Err(err) = done.await {
        tracing::error!(%err, "the disks were not looked at");
    }
}

/// What the cluster is known by, if it says so.
pub(super) async fn ask(client: &Client) -> Result<Option<String>, kube::Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    Ok(namespaces.get_metadata(NAMESPACE).await?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_back() {
        let state = tempfile::tempdir().unwrap();
        let inner = state.path().join("new");
        assert_eq!(recalled(&inner, REMEMBERED), None);
        remember(&inner, REMEMBERED, "0b2f-1").unwrap();
        remember(&inner, REMEMBERED, "0b2f-2").unwrap();
        assert_eq!(recalled(&inner, REMEMBERED).as_deref(), Some("0b2f-2"));
        let groups: Groups = [("tarn-fast".parse().unwrap(), "uuid".to_owned())].into();
        let text = serde_json::to_string(&groups).unwrap();
        assert_eq!(serde_json::from_str::<Groups>(&text).unwrap(), groups);
    }
}
