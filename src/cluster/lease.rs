//! A node's sign of life: a Lease of its own, renewed while its agent can reach the API.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};

use super::{objects::without_owners_of_fields, state::PATIENCE};
use crate::volume::NodeId;

/// How often it is renewed: twice within the patience of those who watch it, as one time may fail. Of
/// 5,000 nodes the API server has 170 of these writes a second to do.
const PERIOD: Duration = Duration::from_secs(30);
/// What the names of these leases begin with.
const PREFIX: &str = "tarn-node-";
/// The label of these leases, with the driver's name.
pub(super) const LABEL: &str = "tarn.dev/driver";

/// The name of a node's lease.
fn name_of(node: &NodeId) -> String {
    format!("{PREFIX}{}", node.as_str().to_ascii_lowercase())
}

/// Whose lease it is.
pub(super) fn node_of(lease: &Lease) -> Option<NodeId> {
    lease.spec.as_ref()?.holder_identity.as_ref()?.parse().ok()
}

/// Renews the lease of a node until dropped.
pub(super) async fn renew(client: Client, namespace: String, driver: String, node: NodeId) {
    let api: Api<Lease> = Api::namespaced(client, &namespace);
    let name = name_of(&node);
    let mut beat = tokio::time::interval(PERIOD);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // As it was written last: to replace that costs the API server less than to patch whatever is there.
    let mut version = None;
    let mut second = Some(until_second(&node));
    loop {
        beat.tick().await;
        let spec = LeaseSpec {
            holder_identity: Some(node.to_string()),
            lease_duration_seconds: i32::try_from(PATIENCE.as_secs()).ok(),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some([(LABEL.to_owned(), driver.clone())].into()),
                resource_version: version.take(),
                ..without_owners_of_fields()
            },
            spec: Some(spec),
        };
        let written = write(&api, &name, lease).await;
        if let Some(after) = second.take() {
            beat.reset_after(after);
        }
        match written {
            Ok(written) => version = written.metadata.resource_version,
            Err(err) => tracing::warn!(lease = name, %err, "the lease was not renewed"),
        }
    }
}

/// When a lease is renewed after it was first written: at another moment for each node, so that nodes that
/// began together, as in a rollout, do not all write at once ever after.
fn until_second(node: &NodeId) -> Duration {
    let mut hasher = DefaultHasher::new();
    node.as_str().hash(&mut hasher);
    let [moment, ..] = hasher.finish().to_le_bytes();
    PERIOD * u32::from(moment) / 256
}

/// Replaces the lease of the version that is named, or makes it; where that is not so any more,
/// whatever is there is changed.
async fn write(api: &Api<Lease>, name: &str, mut lease: Lease) -> Result<Lease, kube::Error> {
    let done = match lease.metadata.resource_version {
        Some(_) => api.replace(name, &PostParams::default(), &lease).await,
        None => api.create(&PostParams::default(), &lease).await,
    };
    lease.metadata.resource_version = None;
    match done {
        Err(kube::Error::Api(err)) if err.code == 409 => {
            api.patch(name, &PatchParams::default(), &Patch::Merge(&lease)).await
        }
        Err(kube::Error::Api(err)) if err.code == 404 => {
            api.create(&PostParams::default(), &lease).await
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn nodes_that_began_together_renew_at_different_moments() {
        let nodes = (0..5000).map(|n| format!("node-{n}").parse().unwrap());
        let mut of_seconds = BTreeMap::<u64, usize>::new();
        for moment in nodes.map(|node| until_second(&node)) {
            *of_seconds.entry(moment.as_secs()).or_default() += 1;
        }
        assert_eq!(of_seconds.keys().copied().collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
        assert!(of_seconds.values().all(|it| (100..250).contains(it)), "{of_seconds:?}");
    }
}
