//! What a node is to have, asked of the API once: for whoever wants to know it and serves nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams},
};

use super::{
    identity::{self, NAMESPACE},
    pools::Said,
};
use crate::{cluster::objects::StoragePool, pool::PoolEntry};

/// What a node is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What the cluster is known by.
    pub cluster: String,
    /// The pools of the node.
    pub pools: Vec<PoolEntry>,
    /// StoragePools that cannot be read, and why. Whether they are meant for the node is not known.
    pub unread: BTreeMap<String, String>,
}

/// Why the API did not say. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It cannot be asked.
    #[error("the Kubernetes API does not say {0}")]
    Api(&'static str, #[source] Box<kube::Error>),
    /// It knows of no such node.
    #[error("the cluster has no node {0}; name one with --node-id")]
    NoNode(String),
    /// What every cluster has is not there.
    #[error("the namespace {NAMESPACE} has no UID, by which the cluster is known")]
    NoCluster,
}

/// Asks which pools the node of this name is to have.
///
/// # Errors
/// See [`AskError`].
pub async fn ask(client: &Client, node: &str) -> Result<Asked, AskError> {
    let fail = |what| move |err| AskError::Api(what, Box::new(err));
    let cluster = identity::ask(client).await.map_err(fail("which cluster it is"))?;
    let cluster = cluster.ok_or(AskError::NoCluster)?;
    // As lists, which are what the agent may ask for too.
    let of_node = ListParams::default().fields(&format!("metadata.name={node}"));
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes.list_metadata(&of_node).await.map_err(fail("which labels the node has"))?;
    let found = nodes.items.into_iter().next();
    let found = found.ok_or_else(|| AskError::NoNode(node.to_owned()))?;
    let kind = ApiResource::erase::<StoragePool>(&());
    let pools: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let pools = pools.list(&ListParams::default()).await.map_err(fail("which pools there are"))?;
    let said = Said::of(&found, pools.items);
    let (pools, unread) = said.own();
    Ok(Asked { cluster, pools, unread })
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::RETIRE;

    /// An API with these StoragePools, a cluster, and the node `n1` in the zone `a`.
    fn api(pools: Value) -> Client {
        let answer = move |path: &str| match path {
            "/api/v1/namespaces/kube-system" => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": { "name": "kube-system", "uid": "c1" },
            }),
            "/api/v1/nodes?&fieldSelector=metadata.name%3Dn1" => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": {}, "items": [{ "metadata": {
                    "name": "n1", "labels": {"zone": "a"}, "annotations": { RETIRE: "S1" },
                } }],
            }),
            _ if path.starts_with("/api/v1/nodes") => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": {}, "items": [],
            }),
            _ => json!({
                "kind": "StoragePoolList", "apiVersion": "tarn.dev/v1alpha1",
                "metadata": {}, "items": pools,
            }),
        };
        let service = tower::service_fn(move |request: hyper::Request<Body>| {
            let path = request.uri().path_and_query().unwrap().as_str().to_owned();
            let text = answer(&path).to_string();
            async move { Ok::<_, kube::Error>(hyper::Response::new(Body::from(text.into_bytes()))) }
        });
        Client::new(service, "default")
    }

    fn pool(name: &str, spec: Value) -> Value {
        json!({ "apiVersion": "tarn.dev/v1alpha1", "kind": "StoragePool",
                "metadata": { "name": name }, "spec": spec })
    }

    #[tokio::test]
    async fn a_nodes_pools_are_those_that_its_labels_match() {
        let devices = json!({ "paths": ["/dev/sd*"] });
        let client = api(json!([
            pool("everywhere", json!({ "devices": devices })),
            pool("here", json!({ "nodeSelector": { "zone": "a" }, "volumeGroup": "vg0" })),
            pool("there", json!({ "nodeSelector": { "zone": "b" }, "devices": devices })),
            pool("unknown", json!({ "provisioning": "Both" })),
        ]));
        let asked = ask(&client, "n1").await.unwrap();
        let names: Vec<&str> = asked.pools.iter().map(|it| it.name.as_str()).collect();
        assert_eq!((asked.cluster.as_str(), names), ("c1", vec!["everywhere", "here"]));
        let of_disks = asked.pools.first().and_then(|it| it.spec.devices.as_ref());
        assert_eq!(of_disks.unwrap().retire, ["S1"]);
        assert_eq!(asked.unread.keys().collect::<Vec<_>>(), ["unknown"]);
        let err = ask(&client, "n2").await.unwrap_err();
        assert!(matches!(&err, AskError::NoNode(name) if name == "n2"), "{err}");
    }
}
