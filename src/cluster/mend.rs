//! What no call waits for: objects that were lost are made again from what the nodes find, and
//! objects that are over are taken out of the API.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use kube::api::PostParams;

use super::{FOUND, fate::Ending, objects::LogicalVolumeSpec, provisioner::ClusterProvisioner};
use crate::volume::{Error, chain};

/// Calls see to their own objects first, and news come in bunches.
const BUNCH: Duration = Duration::from_secs(5);
/// When what could not be done, or is to be decided by a silence, is looked at again.
const LATER: Duration = Duration::from_secs(60);
/// For how long nothing more is tried for a volume whose node could not take its object up.
const AFTER_REFUSAL: Duration = Duration::from_secs(600);

impl ClusterProvisioner {
    /// Does what no call waits for, until dropped. Several replicas may do it at once: the API lets
    /// one make an object, and the version of an object decides who takes it out.
    pub async fn mend(&self) {
        self.view.complete().await;
        let mut news = self.view.loose_ends();
        let mut refused: HashMap<String, Instant> = HashMap::new();
        loop {
            news.mark_unchanged();
            refused.retain(|_, at| at.elapsed() < AFTER_REFUSAL);
            self.take_out_what_is_over(&mut refused).await;
            self.make_again(&refused).await;
            let is_quiet = self.view.with(|state| !state.has_loose_ends());
            if is_quiet {
                if news.changed().await.is_err() {
                    return;
                }
            } else if let Ok(Err(_)) = tokio::time::timeout(LATER, news.changed()).await {
                return;
            }
            tokio::time::sleep(BUNCH).await;
        }
    }

    async fn take_out_what_is_over(&self, refused: &mut HashMap<String, Instant>) {
        let over = self.view.with(|state| state.over(Instant::now()));
        for Ending { id, entry } in over {
            if entry.is_found && !entry.is_deleting {
                let why = entry.refusal.as_ref().map_or("", |it| it.message.as_str());
                tracing::warn!(volume = id, why, "the object made again was refused by its node");
                refused.insert(id.clone(), Instant::now());
            }
            match self.withdraw(&id, &entry).await {
                // It has changed, and is looked at again.
                Ok(()) | Err(Error::Busy(_)) => (),
                Err(err) => tracing::warn!(volume = id, error = chain(&err), "not taken out yet"),
            }
        }
    }

    async fn make_again(&self, refused: &HashMap<String, Instant>) {
        let lost = self.view.with(|state| state.lost_objects(Instant::now()));
        for (id, spec) in lost.into_iter().filter(|(id, _)| !refused.contains_key(id)) {
            match self.write_found(&id, spec).await {
                Ok(()) => tracing::warn!(volume = id, "its lost object was made again"),
                Err(err) => {
                    tracing::warn!(volume = id, error = chain(&err), "still without object")
                }
            }
        }
    }

    /// Writes an object from which its node makes nothing new.
    async fn write_found(&self, id: &str, spec: LogicalVolumeSpec) -> Result<(), kube::Error> {
        let mut object = Self::object(id, spec);
        object.metadata.annotations = Some([(FOUND.to_owned(), "true".to_owned())].into());
        match self.api.create(&PostParams::default(), &object).await {
            Ok(object) => self.view.enter(&object),
            // Another replica was faster.
            Err(kube::Error::Api(err)) if err.code == 409 => (),
            Err(err) => return Err(err),
        }
        Ok(())
    }
}
