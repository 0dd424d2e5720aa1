//! What the API says about the claim of a new volume, its pod, and the pod's other claims.

use std::time::Duration;

use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::StorageClass};
use kube::{Api, Client};

use super::{
    pending::Pending,
    siblings::{self, Sibling},
};
use crate::volume::{Error, NodeId, Parameters, StaticParameters, Wanted};

/// How long a look may take. The call that waits for it has about a minute.
const MOST: Duration = Duration::from_secs(5);

/// Looks for claims that are to be made together.
#[derive(Clone)]
pub(super) struct Claims {
    client: Client,
    pending: Pending,
    /// The provisioner of our classes.
    driver: String,
}

/// Why nothing is known of a claim's pod.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("the API does not answer")]
    Slow,
    #[error("the API refuses to tell")]
    Api(#[from] Box<kube::Error>),
    #[error("a claim or its class cannot be read")]
    Strange(#[from] Error),
}

impl Claims {
    pub(super) fn new(client: Client, driver: &str) -> Self {
        Self { pending: Pending::new(client.clone()), client, driver: driver.to_owned() }
    }

    /// The claims of the same pod that are still to be made on the node that was chosen for this
    /// one. None where that cannot be found out: a volume is not refused for it.
    pub(super) async fn siblings(&self, wanted: &Wanted) -> Vec<Sibling> {
        let nodes = wanted.nodes.as_ref();
        let place = nodes.and_then(|nodes| nodes.first()).filter(|_| wanted.source.is_none());
        let claim = wanted.claim.as_ref().and_then(|claim| claim.split_once('/'));
        let (Some(node), Some((namespace, name))) = (place, claim) else { return Vec::new() };
        let look = self.look(wanted, node, namespace, name);
        let found = tokio::time::timeout(MOST, look).await.unwrap_or(Err(LookError::Slow));
        found.unwrap_or_else(|err| {
            let why = crate::volume::chain(&err);
            tracing::warn!(claim = %format_args!("{namespace}/{name}"), %why,
                "whether its pod has other claims is not known; it is placed alone");
            Vec::new()
        })
    }

    async fn look(
        &self,
        wanted: &Wanted,
        node: &NodeId,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<Sibling>, LookError> {
        let pods = self.pending.of(namespace).await.map_err(Box::new)?;
        let others = siblings::others(&pods, name);
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        // Not from a cache: it must be the claim that the call is about, with what was chosen for it.
        let Some(own) = claims.get_opt(name).await.map_err(Box::new)? else {
            return Ok(Vec::new());
        };
        let prefix = siblings::prefix(&wanted.name, &own);
        let is_chosen = siblings::is_chosen(&own, node) == Some(true);
        let Some(prefix) = prefix.filter(|_| is_chosen) else { return Ok(Vec::new()) };
        let own_class = own.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
        let mut found = Vec::new();
        for other in &others {
            let Some(claim) = claims.get_opt(other).await.map_err(Box::new)? else { continue };
            let Some(class) = siblings::class_of(&claim, node) else { continue };
            let parameters = match Some(class) == own_class {
                true => Some(wanted.parameters.clone()),
                false => self.parameters(class).await?,
            };
            if let Some(parameters) = parameters {
                found.push(siblings::sibling(&claim, prefix, parameters)?);
            }
        }
        Ok(found)
    }

    /// The parameters of a class, if it is one of ours for whose claims volumes are made.
    async fn parameters(&self, class: &str) -> Result<Option<Parameters>, LookError> {
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        let class = classes.get_opt(class).await.map_err(Box::new)?;
        let ours = class.filter(|it| it.provisioner == self.driver);
        let parameters = ours.map(|it| it.parameters.unwrap_or_default());
        let made = parameters.filter(|it| StaticParameters::parse(it).is_none());
        let read = made.map(|it| Parameters::parse(&it));
        Ok(read.transpose()?)
    }
}
