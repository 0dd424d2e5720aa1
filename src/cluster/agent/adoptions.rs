//! Adoptions of this node's: logical volumes that are there become volumes, with the same code as by `tarn adopt`.
//!
//! One that is refused is looked at again every minute, as nobody tells when a volume is made, or let go of, by hand.
//! That asks this machine. The API is asked only whether the name is free, just before something is changed.

use std::sync::Arc;

use super::{Shared, in_turn};
use crate::{
    cluster::{
        adoptions::{
            LATER, NOT_LOOKED_AT, SOON, after_failure,
            said::{Asked, asked, is_to_adopt, told},
            write_status,
        },
        following::{drive, is_overtaken},
        objects::{Adoption, LogicalVolume},
    },
    machine::Machine,
    volume::{self, Adopted, Error, NodeId, Turns, VolumeId},
};
use kube::{
    Api, Client,
    runtime::{
        controller::{Action, Controller},
        watcher,
    },
};

/// What adopts on this node.
struct Adopter {
    client: Client,
    node: NodeId,
    machine: Arc<Machine>,
    turns: Turns,
}

/// Carries out the Adoptions of this node until dropped, from when it is known which pools it has.
pub(super) async fn carry_out(shared: &Shared) {
    shared.pools_are_known().await;
    let agent = &shared.agent;
    let own = format!("spec.nodeName={}", agent.node);
    let adopter = Adopter {
        client: agent.client.clone(),
        node: agent.node.clone(),
        machine: Arc::clone(&agent.machine),
        turns: agent.turns.clone(),
    };
    let all: Api<Adoption> = Api::all(agent.client.clone());
    let controller = Controller::new(all, watcher::Config::default().fields(&own));
    let results = controller.run(reconcile, after_failure, Arc::new(adopter));
    drive(results, NOT_LOOKED_AT).await;
}

async fn reconcile(object: Arc<Adoption>, adopter: Arc<Adopter>) -> Result<Action, kube::Error> {
    match adopter.serve(&object).await {
        // It has changed since: there is a newer event on its way.
        Err(err) if is_overtaken(&err) => Ok(Action::await_change()),
        done => done,
    }
}

impl Adopter {
    /// Adopts what an object asks for, and says what came of it.
    async fn serve(&self, object: &Adoption) -> Result<Action, kube::Error> {
        if !is_to_adopt(object) {
            return Ok(Action::await_change());
        }
        let result = match asked(object) {
            Ok(Asked { wanted, .. }) => self.adopt(wanted).await,
            Err(err) => Err(err),
        };
        write_status(&self.client, object, told(object, &result)).await?;
        Ok(match result {
            Ok(_) => Action::await_change(),
            Err(Error::Busy(_) | Error::Uncertain { .. }) => Action::requeue(SOON),
            Err(_) => Action::requeue(LATER),
        })
    }

    async fn adopt(&self, wanted: volume::Adoption) -> Result<Adopted, Error> {
        let id = VolumeId::of(&wanted.name);
        let (machine, meant) = (Arc::clone(&self.machine), wanted.clone());
        let look = move || machine.is_adopted(&meant);
        let looked = tokio::task::spawn_blocking(look).await;
        let is_done = looked.unwrap_or_else(|err| Err(Error::uncertain("looking at it", err)))?;
        if !is_done {
            self.ensure_free(&id).await?;
        }
        in_turn(&self.turns, &self.machine, id.as_str(), move |machine| machine.adopt(&wanted))
            .await
    }

    /// Refuses a name that a volume has in the cluster: calls about it would go to that one.
    async fn ensure_free(&self, id: &VolumeId) -> Result<(), Error> {
        let all: Api<LogicalVolume> = Api::all(self.client.clone());
        let there = all.get_opt(id.as_str()).await;
        let there = there.map_err(|err| Error::machine("asking whether the name is free", err))?;
        let Some(there) = there else { return Ok(()) };
        let node = match there.spec.node_name {
            node if node == self.node.as_str() => "this node".to_owned(),
            other => format!("node {other}"),
        };
        Err(Error::Precondition(format!(
            "the name is taken: there is a LogicalVolume {id} of {node}; adopt it under another name"
        )))
    }
}

#[cfg(test)]
mod tests;
