//! Volumes that an Adoption has asked for get their PersistentVolume and their claim.
//!
//! ```text
//!   admin     Adoption                      what is to be adopted, on which node
//!   node      condition Adopted             it is a volume, or why not ([`super::agent`])
//!   here      PersistentVolume, then claim  each unless it is there
//!             condition Published           they are there: nothing more is done
//! ```
//!
//! They are made once: who deletes them afterwards has meant it. Several replicas may do it at once: names say which
//! objects are the same, and the version of the Adoption who was first. Nothing is deleted here.

#[cfg(test)]
pub(super) mod fake;
pub(super) mod said;

use std::{sync::Arc, time::Duration};

use super::{
    adopted::{claim_of, persistent_volume},
    following::{drive, is_overtaken},
    objects::{Adoption, AdoptionStatus},
    view::View,
};
use crate::volume::{Driver, chain};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{
    Api, Client, ResourceExt as _,
    api::PostParams,
    runtime::{
        controller::{Action, Controller},
        watcher,
    },
};
use said::{
    Refused, Unpublished, ensure_here, ensure_its, ensure_not_local, ensure_open, to_publish,
};

/// When what was refused is tried again.
pub(super) const LATER: Duration = Duration::from_secs(60);
/// When what failed is, or what something has come between.
pub(super) const SOON: Duration = Duration::from_secs(5);

/// What is noted of one that a controller could not serve.
pub(super) const NOT_LOOKED_AT: &str = "an Adoption was not looked at";

/// Makes the objects of adopted volumes.
pub struct PublishedAdoptions {
    client: Client,
    view: View,
    driver: Driver,
}

/// What came of an attempt.
type Attempt = Result<Result<(), Refused>, kube::Error>;

impl PublishedAdoptions {
    /// Makes them through the API that `client` speaks to; `view` must be fed from the same.
    pub fn new(client: Client, view: View, driver: Driver) -> Self {
        Self { client, view, driver }
    }

    /// Does so until dropped.
    pub async fn publish(self) {
        self.view.complete().await;
        let all: Api<Adoption> = Api::all(self.client.clone());
        let controller = Controller::new(all, watcher::Config::default());
        let results = controller.run(reconcile, after_failure, Arc::new(self));
        drive(results, NOT_LOOKED_AT).await;
    }

    /// Has the volume of an object have its PersistentVolume and claim, and says so.
    async fn serve(&self, object: &Adoption) -> Result<Action, kube::Error> {
        let wanted = match to_publish(object) {
            Ok(None) => return Ok(Action::await_change()),
            Ok(Some(wanted)) => wanted,
            Err(err) => {
                write_status(&self.client, object, said::unreadable(object, &err)).await?;
                return Ok(Action::await_change());
            }
        };
        let made = self.make(&wanted).await?;
        write_status(&self.client, object, said::published(object, &wanted.wishes, &made)).await?;
        Ok(match made {
            Ok(()) => Action::await_change(),
            Err(_) => Action::requeue(LATER),
        })
    }

    async fn make(&self, wanted: &Unpublished) -> Attempt {
        let Unpublished { volume, wishes, reclaim, entry: _ } = wanted;
        let is_here = self.view.with(|state| {
            ensure_here(state.entry(volume.id.as_str()), volume)?;
            ensure_not_local(state, wanted)
        });
        if is_here.is_err() {
            return Ok(is_here);
        }
        let of_claim = wishes.claim.as_ref().map(|claim| {
            let claims = Api::namespaced(self.client.clone(), &claim.namespace());
            (claims, claim_of(volume, wishes, claim))
        });
        let mut is_there = false;
        if let Some((claims, claim)) = &of_claim {
            let found: Option<PersistentVolumeClaim> = claims.get_opt(&claim.name_any()).await?;
            is_there = found.is_some();
            if let Some(Err(taken)) = found.map(|it| ensure_open(&it, wishes)) {
                return Ok(Err(taken));
            }
        }
        let mut offered = persistent_volume(volume, &self.driver, wishes);
        if let Some(spec) = &mut offered.spec {
            spec.persistent_volume_reclaim_policy = Some(format!("{reclaim:?}"));
        }
        let made = self.make_volume(&offered).await?;
        match of_claim {
            Some((claims, claim)) if made.is_ok() && !is_there => {
                said_by_api(claims.create(&PostParams::default(), &claim).await)
            }
            _ => Ok(made),
        }
    }

    async fn make_volume(&self, wanted: &PersistentVolume) -> Attempt {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        match volumes.create(&PostParams::default(), wanted).await {
            // Its answer was lost, another replica was faster, or it is another volume's.
            Err(kube::Error::Api(err)) if err.code == 409 => {
                let there = volumes.get(&wanted.name_any()).await?;
                Ok(ensure_its(&there, wanted))
            }
            done => said_by_api(done),
        }
    }
}

/// Writes a status that is news, if the object is still as it was.
pub(super) async fn write_status(
    client: &Client,
    object: &Adoption,
    status: AdoptionStatus,
) -> Result<(), kube::Error> {
    if object.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let name = object.name_any();
    let said = status.conditions.last().map(|it| it.message.clone());
    let wanted = Adoption { status: Some(status), ..object.clone() };
    let all: Api<Adoption> = Api::all(client.clone());
    all.replace_status(&name, &PostParams::default(), &wanted).await?;
    tracing::info!(adoption = name, said, "told of a volume that is to be adopted");
    Ok(())
}

/// What the API will not take is told; what it could not do now is tried again.
fn said_by_api<T>(done: Result<T, kube::Error>) -> Attempt {
    match done {
        Err(kube::Error::Api(err)) if (400..500).contains(&err.code) && err.code != 409 => {
            let reason = Some(err.reason).filter(|it| !it.is_empty());
            let reason = reason.unwrap_or_else(|| "Refused".to_owned());
            Ok(Err(Refused { reason, message: err.message }))
        }
        done => done.map(|_| Ok(())),
    }
}

async fn reconcile(
    object: Arc<Adoption>,
    adoptions: Arc<PublishedAdoptions>,
) -> Result<Action, kube::Error> {
    match adoptions.serve(&object).await {
        // Another replica was faster, or something has changed. Should there be no news of that, it is looked at again.
        Err(err) if is_overtaken(&err) => Ok(Action::requeue(SOON)),
        done => done,
    }
}

/// What either who serves Adoptions does after a failure.
pub(super) fn after_failure<C>(object: Arc<Adoption>, err: &kube::Error, _: Arc<C>) -> Action {
    tracing::warn!(adoption = object.name_any(), error = chain(err), "tried again later");
    Action::requeue(SOON)
}

#[cfg(test)]
mod tests;
