//! A node's sign of life: a Lease of its own, renewed while its agent can reach the API.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};

use super::state::PATIENCE;
use crate::volume::NodeId;

/// How often it is renewed.
const PERIOD: Duration = Duration::from_secs(10);
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
    let mut is_there = false;
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
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        };
        let done = match is_there {
            true => api.patch(&name, &PatchParams::default(), &Patch::Merge(&lease)).await,
            false => match api.create(&PostParams::default(), &lease).await {
                Err(kube::Error::Api(err)) if err.code == 409 => {
                    api.patch(&name, &PatchParams::default(), &Patch::Merge(&lease)).await
                }
                other => other,
            },
        };
        is_there = done.is_ok();
        if let Err(err) = done {
            tracing::warn!(lease = name, %err, "the lease was not renewed");
        }
    }
}
