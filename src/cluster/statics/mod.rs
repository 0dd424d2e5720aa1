//! Classes with `mode: Static`: each free device of their pools becomes a volume with a PersistentVolume before there is a claim
//! for it, and again after its claim is gone and it was wiped.
//!
//! ```text
//!   an entry is Free         LogicalVolume for this very entry, by a name that follows from node, pool and entry
//!   the node has made it     PersistentVolume, with a finalizer of ours
//!   its claim is deleted     external-provisioner calls DeleteVolume, and deletes the PersistentVolume
//!   that one is let go       the device is wiped, and its entry is Free
//! ```
//!
//! Several replicas may do it at once: names say which objects are the same, versions who was first. A volume is never deleted
//! here. One that a claim had may hold data, also when its PersistentVolume was deleted and it was kept: before that goes, the
//! claim is noted on the LogicalVolume, which is read anew before a volume is offered.

mod class;
mod decide;
mod published;
mod told;
mod watches;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        core::v1::{ObjectReference, PersistentVolume},
        events::v1::Event as ClassEvent,
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::json;
use tokio::sync::watch;

use super::{
    GIVEN_OUT,
    following::is_overtaken,
    objects::{LogicalVolume, LogicalVolumeSpec},
    provisioner::ClusterProvisioner,
    view::View,
};
use crate::volume::{Driver, NodeId, VolumeId, chain};
use decide::{Decided, Known, Step};
use published::Published;
use told::Refusal;

/// News come in bunches.
const BUNCH: Duration = Duration::from_secs(1);
/// When what could not be done is tried again.
const LATER: Duration = Duration::from_secs(60);

/// Offers devices to claims.
pub struct StaticVolumes {
    client: Client,
    view: View,
    driver: Driver,
    recorder: Recorder,
    known: Mutex<Known>,
    /// Told when [`Known`] changes.
    news: watch::Sender<()>,
}

/// What one who offers remembers; it may be lost at any moment.
#[derive(Default)]
struct Memory {
    /// When the last attempt was to make a volume, by its id.
    tried: HashMap<VolumeId, Instant>,
    /// The uids of the PersistentVolumes of which it was told that their devices are missing.
    missing: HashSet<String>,
    /// What the authors of classes were told.
    refused: BTreeSet<Refusal>,
}

impl StaticVolumes {
    /// Offers through the API that `client` speaks to; `view` must be fed from the same.
    pub fn new(client: Client, view: View, driver: Driver) -> Self {
        let reporter = Reporter { controller: driver.name().to_owned(), instance: None };
        let recorder = Recorder::new(client.clone(), reporter);
        let news = watch::Sender::new(());
        Self { client, view, driver, recorder, known: Mutex::default(), news }
    }

    /// Does so until dropped.
    pub async fn offer(&self) {
        self.view.complete().await;
        tokio::join!(self.watch_classes(), self.watch_own(), self.work());
    }

    fn with<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is known, and tells of it.
    fn learn(&self, learn: impl FnOnce(&mut Known)) {
        self.with(learn);
        self.news.send_replace(());
    }

    async fn work(&self) {
        let (mut known, mut devices) = (self.news.subscribe(), self.view.news_of_devices());
        let mut memory = Memory::default();
        loop {
            known.mark_unchanged();
            devices.mark_unchanged();
            let is_done = self.round(&mut memory).await;
            let late = async {
                match is_done {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(LATER).await,
                }
            };
            tokio::select! {
                Ok(()) = known.changed() => (),
                Ok(()) = devices.changed() => (),
                () = late => (),
            }
            tokio::time::sleep(BUNCH).await;
        }
    }

    /// Does all that is to be done now; gives back whether that is all.
    async fn round(&self, memory: &mut Memory) -> bool {
        let now = Instant::now();
        let Decided { steps, waits, refused } =
            self.with(|known| self.view.with(|state| known.decide(state, &self.driver, now)));
        let is_all_told = self.tell(refused, &mut memory.refused).await;
        memory.tried.retain(|_, at| at.elapsed() < LATER);
        let missing: HashSet<&str> = steps.iter().filter_map(Step::missing).collect();
        memory.missing.retain(|uid| missing.contains(uid.as_str()));
        let mut is_done = is_all_told && !waits;
        for step in steps {
            if let Step::Claim { id, .. } = &step {
                // Its node has refused it a moment ago, and has yet to report why.
                if memory.tried.contains_key(id) {
                    is_done = false;
                    continue;
                }
                memory.tried.insert(id.clone(), now);
            }
            if let Step::Offer { id, .. } = &step {
                memory.tried.remove(id);
            }
            if step.missing().is_some_and(|uid| !memory.missing.insert(uid.to_owned())) {
                continue;
            }
            if let Err(err) = self.take(&step).await {
                tracing::warn!(error = chain(&err), about = step.about(), "tried again later");
                is_done = false;
            }
        }
        is_done
    }

    /// Tells of each class that is refused, once; gives back whether all of it is told.
    async fn tell(&self, refused: BTreeSet<Refusal>, told: &mut BTreeSet<Refusal>) -> bool {
        let events: Api<ClassEvent> = Api::namespaced(self.client.clone(), told::NAMESPACE);
        told.retain(|it| refused.contains(it));
        for it in refused.difference(&told.clone()) {
            tracing::warn!(class = it.class, "{}", it.why);
            let event = it.event(&self.driver, Timestamp::now());
            match events.create(&PostParams::default(), &event).await {
                Ok(_) => (),
                // Another replica was faster, or this one in its last life.
                Err(kube::Error::Api(err)) if err.code == 409 => (),
                Err(err) => {
                    tracing::debug!(%err, class = it.class, "an event was not written");
                    continue;
                }
            }
            told.insert(it.clone());
        }
        told.len() == refused.len()
    }

    async fn take(&self, step: &Step) -> Result<(), kube::Error> {
        let done = match step {
            Step::Claim { id, spec } => self.claim(id, spec).await,
            Step::Offer { id, volume } => self.publish(id, volume).await,
            Step::Withdraw { volume, why } => self.withdraw(volume, why).await,
            Step::Keep { id } => self.keep(id).await,
            Step::LetGo { volume } => self.let_go(volume).await,
            Step::Warn { volume, node } => self.warn(volume, node).await,
        };
        match done {
            // Another replica was faster, or something has changed: there is news on its way.
            Err(err) if is_overtaken(&err) => Ok(()),
            done => done,
        }
    }

    fn objects(&self) -> Api<LogicalVolume> {
        Api::all(self.client.clone())
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    async fn claim(&self, id: &VolumeId, spec: &LogicalVolumeSpec) -> Result<(), kube::Error> {
        let object = ClusterProvisioner::object(id.as_str(), spec.clone());
        let object = self.objects().create(&PostParams::default(), &object).await?;
        tracing::info!(volume = %id, node = spec.node_name, entry = spec.device, "to be offered");
        self.view.enter(&object);
        Ok(())
    }

    async fn publish(&self, id: &VolumeId, volume: &PersistentVolume) -> Result<(), kube::Error> {
        // What is known of it may be from before its last PersistentVolume went.
        let object = self.objects().get(id.as_str()).await?;
        self.view.enter(&object);
        let is_going = object.metadata.deletion_timestamp.is_some();
        if is_going || object.annotations().contains_key(GIVEN_OUT) {
            return Ok(());
        }
        self.volumes().create(&PostParams::default(), volume).await?;
        tracing::info!(volume = %id, persistent_volume = volume.name_any(), "offered");
        Ok(())
    }

    async fn withdraw(&self, volume: &Published, why: &str) -> Result<(), kube::Error> {
        // No claim may have got it since.
        let unchanged = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(volume.uid.clone()),
                resource_version: Some(volume.version.clone()),
            }),
            ..DeleteParams::default()
        };
        self.volumes().delete(&volume.name, &unchanged).await?;
        tracing::info!(volume = volume.handle, persistent_volume = volume.name, why, "withdrawn");
        Ok(())
    }

    async fn keep(&self, id: &str) -> Result<(), kube::Error> {
        let mark = json!({ "metadata": { "annotations": { GIVEN_OUT: "true" } } });
        let (as_usual, mark) = (PatchParams::default(), Patch::Merge(&mark));
        let object = self.objects().patch(id, &as_usual, &mark).await?;
        self.view.enter(&object);
        Ok(())
    }

    async fn let_go(&self, volume: &Published) -> Result<(), kube::Error> {
        let bare = json!({ "metadata": {
            "uid": volume.uid,
            "resourceVersion": volume.version,
            "finalizers": null,
        }});
        self.volumes().patch(&volume.name, &PatchParams::default(), &Patch::Merge(&bare)).await?;
        Ok(())
    }

    async fn warn(&self, volume: &Published, node: &NodeId) -> Result<(), kube::Error> {
        let note = format!(
            "the device of volume {} is missing on node {node}: `kubectl describe nls {node}` says which; the data \
             are there again when it is",
            volume.handle
        );
        tracing::warn!(volume = volume.handle, persistent_volume = volume.name, "{note}");
        let event = Event {
            type_: EventType::Warning,
            reason: "DeviceMissing".to_owned(),
            note: Some(note),
            action: "Looked".to_owned(),
            secondary: None,
        };
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolume".to_owned()),
            name: Some(volume.name.clone()),
            uid: Some(volume.uid.clone()),
            ..ObjectReference::default()
        };
        self.recorder.publish(&event, &about).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{class::StaticClass, *};
    use crate::cluster::adoptions::fake::FakeApi;

    const EVENTS: &str = "POST /apis/events.k8s.io/v1/namespaces/default/events";

    /// A class, and one who offers through the API.
    fn offering(api: &std::sync::Arc<FakeApi>, uid: &str, wipe: &str) -> StaticVolumes {
        let driver: Driver = "local.tarn.dev".parse().unwrap();
        let class = serde_json::from_value(json!({
            "metadata": { "name": "fast", "uid": uid }, "provisioner": "local.tarn.dev",
            "parameters": { "mode": "Static", "wipe": wipe },
        }));
        let class = StaticClass::read(&class.unwrap(), &driver).unwrap();
        let offers = StaticVolumes::new(api.client(), View::new(), driver);
        offers.with(|known| {
            known.classes = Some([("fast".to_owned(), class)].into());
            known.published = Some([].into());
        });
        offers
    }

    #[tokio::test]
    async fn a_class_with_a_mistake_is_told_once_by_all_and_again_after_a_change() {
        let (api, mut memory) = (FakeApi::new(), Memory::default());
        let one = offering(&api, "a", "Twice");
        for requests in [vec![EVENTS], vec![]] {
            assert!(one.round(&mut memory).await);
            assert_eq!(api.requests(), requests);
        }
        let mut of_another = Memory::default();
        assert!(offering(&api, "a", "Twice").round(&mut of_another).await);
        assert_eq!(api.requests(), [EVENTS]);
        assert!(one.round(&mut of_another).await && api.requests().is_empty(), "it was there");

        assert!(offering(&api, "b", "Zero").round(&mut memory).await && api.requests().is_empty());
        assert!(offering(&api, "c", "Twice").round(&mut memory).await);
        assert_eq!(api.requests(), [EVENTS]);
    }

    #[tokio::test]
    async fn an_event_that_could_not_be_written_is_written_later() {
        let (api, mut memory) = (FakeApi::new(), Memory::default());
        let one = offering(&api, "a", "Twice");
        api.lose_an_answer();
        assert!(!one.round(&mut memory).await, "there is more to be done");
        assert!(one.round(&mut memory).await);
        assert_eq!(api.requests(), [EVENTS, EVENTS]);
    }
}
