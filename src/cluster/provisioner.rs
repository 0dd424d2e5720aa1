//! Volumes by way of objects: a wish is written, its node carries it out, its answer is waited for.

use std::time::Instant;

use either::Either;
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;

use super::{
    DELETE_ADOPTED, FINALIZER,
    claims::Claims,
    fate::{Deletion, Growth, Outcome, deletion, growth, outcome},
    objects::{LogicalVolume, LogicalVolumeSpec, Phase},
    state::{Entry, State},
    view::View,
    wish::size_of,
};
use crate::volume::{
    Capacity, Error, NodeId, Parameters, Provisioner, SizeRange, Snapshot, SnapshotFilter,
    SnapshotId, Volume, VolumeId, Wanted, WantedSnapshot,
};

/// Makes volumes on the nodes of a cluster.
#[derive(Clone)]
pub struct ClusterProvisioner {
    pub(super) api: Api<LogicalVolume>,
    pub(super) view: View,
    claims: Claims,
}

impl ClusterProvisioner {
    /// Makes volumes through the API that `client` speaks to; `view` must be fed from the same.
    /// Classes are ours that name `driver` as their provisioner.
    pub fn new(client: Client, view: View, driver: &str) -> Self {
        let claims = Claims::new(client.clone(), driver);
        Self { api: Api::all(client), view, claims }
    }

    /// Makes the object unless it is there, waits for its node, and cleans up after a refusal.
    async fn make(
        &self,
        id: &str,
        place: impl Fn(&mut State) -> Result<LogicalVolumeSpec, Error>,
        same: impl Fn(&State) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.view.with(|state| state.entry(id).is_none()) {
            self.write(id, place).await?;
        }
        self.view.with(|state| same(state))?;
        let outcome = self.view.when(id, |state| outcome(state, id, Instant::now())).await;
        match outcome {
            Outcome::Made => self.view.with(|state| same(state)),
            Outcome::Pending(err) => Err(err),
            Outcome::Refused(entry, err) => {
                self.withdraw(id, &entry).await?;
                Err(err)
            }
        }
    }

    /// Writes the object. Its place and what is promised there are one step: the promise is entered
    /// before anybody else can look, and corrected by what the API says.
    async fn write(
        &self,
        id: &str,
        place: impl Fn(&mut State) -> Result<LogicalVolumeSpec, Error>,
    ) -> Result<(), Error> {
        // Another replica may have made it a moment ago.
        let spec = self.view.with(|state| {
            let now = Instant::now();
            if let Some(node) = state.finder(id).filter(|it| state.alive_until(it, now).is_some()) {
                return Err(found(id, node));
            }
            let spec = place(state)?;
            state.reserve(id, &spec);
            Ok::<_, Error>(spec)
        })?;
        let object = Self::object(id, spec.clone());
        let written = self.api.create(&PostParams::default(), &object).await;
        let known = match written {
            Err(kube::Error::Api(err)) if err.code == 409 => self.api.get(id).await,
            other => other,
        };
        if let Ok(object) = &known {
            self.view.enter(object);
        }
        self.view.with(|state| state.release(id, &spec));
        known.map(drop).map_err(|err| api_failed(format!("writing {id}"), err))
    }

    /// A new object.
    pub(super) fn object(id: &str, spec: LogicalVolumeSpec) -> LogicalVolume {
        let metadata = ObjectMeta {
            name: Some(id.to_owned()),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        };
        LogicalVolume { metadata, spec, status: None }
    }

    /// Takes an object out of the API whose node has nothing of it, if nothing has changed since.
    pub(super) async fn withdraw(&self, id: &str, entry: &Entry) -> Result<(), Error> {
        let failed = |err| api_failed(format!("withdrawing {id}"), err);
        let unchanged = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(entry.uid.clone()),
                resource_version: Some(entry.version.to_string()),
            }),
            ..DeleteParams::default()
        };
        if !entry.is_deleting {
            match self.api.delete(id, &unchanged).await {
                Ok(Either::Left(object)) => self.view.enter(&object),
                Ok(Either::Right(_)) => (),
                Err(kube::Error::Api(err)) if err.code == 404 => (),
                // Its node was faster.
                Err(kube::Error::Api(err)) if err.code == 409 => {
                    return Err(Error::Busy(format!("the node has taken {id} up just now")));
                }
                Err(err) => return Err(failed(err)),
            }
        }
        let now = self.view.with(|state| state.entry(id).cloned());
        let Some(entry) = now else { return Ok(()) };
        let bare = json!({ "metadata": {
            "uid": entry.uid,
            "resourceVersion": entry.version.to_string(),
            "finalizers": null,
        }});
        match self.api.patch(id, &PatchParams::default(), &Patch::Merge(&bare)).await {
            Ok(_) => (),
            Err(kube::Error::Api(err)) if err.code == 404 => (),
            Err(kube::Error::Api(err)) if err.code == 409 => {
                return Err(Error::Busy(format!("{id} has changed just now")));
            }
            Err(err) => return Err(failed(err)),
        }
        self.view.remove(id, &entry.uid);
        Ok(())
    }

    /// Says on the object of a volume that may have been adopted that more is to be deleted than the object. All
    /// that were adopted have objects that were made from what a node has found.
    async fn say_it_is_meant(&self, id: &str) -> Result<(), Error> {
        if !self.view.with(|state| state.entry(id).is_some_and(|entry| entry.is_found)) {
            return Ok(());
        }
        let meant = json!({ "metadata": { "annotations": { DELETE_ADOPTED: "true" } } });
        match self.api.patch(id, &PatchParams::default(), &Patch::Merge(&meant)).await {
            Ok(object) => self.view.enter(&object),
            Err(kube::Error::Api(err)) if err.code == 404 => (),
            Err(err) => return Err(api_failed(format!("deleting {id}"), err)),
        }
        Ok(())
    }

    /// Deletes an object, and waits until its node has nothing of it.
    async fn delete_object(&self, id: &str) -> Result<(), Error> {
        match self.api.delete(id, &DeleteParams::default()).await {
            Ok(Either::Left(object)) => self.view.enter(&object),
            Ok(Either::Right(_)) => (),
            Err(kube::Error::Api(err)) if err.code == 404 => {
                if let Some(entry) = self.view.with(|state| state.entry(id).cloned()) {
                    self.view.remove(id, &entry.uid);
                }
                return self
                    .view
                    .with(|state| state.finder(id).map_or(Ok(()), |it| Err(found(id, it))));
            }
            Err(err) => return Err(api_failed(format!("deleting {id}"), err)),
        }
        let began = Instant::now();
        let deletion = self.view.when(id, |state| deletion(state, id, began, Instant::now())).await;
        match deletion {
            Deletion::Gone => Ok(()),
            Deletion::Released(entry) => self.withdraw(id, &entry).await,
            Deletion::Pending(err) => Err(err),
        }
    }

    async fn grow(&self, id: &VolumeId, size: SizeRange) -> Result<Volume, Error> {
        let missing = || Error::NotFound(format!("volume {id}"));
        let entry = self.view.with(|state| state.entry(id.as_str()).cloned());
        let entry = entry.filter(|entry| !entry.is_deleting).ok_or_else(missing)?;
        if entry.phase != Some(Phase::Ready) {
            return Err(Error::Busy(format!("volume {id} is still being made")));
        }
        let wished = size_of(&entry.spec)?;
        let least = size.least();
        let enough = |entry: &Entry| size.allows(entry.size()) || entry.size() >= least;
        if enough(&entry) && wished <= entry.size() {
            return entry.as_volume(id.as_str()).ok_or_else(missing);
        }
        let target = if enough(&entry) { entry.size() } else { least };
        if wished != target || entry.refusal.is_some() {
            self.resize(id, &entry, target.to_string()).await?;
        }
        match self.view.when(id.as_str(), |state| growth(state, id, Instant::now())).await {
            Growth::Granted(entry) => entry.as_volume(id.as_str()).ok_or_else(missing),
            Growth::Pending(err) => Err(err),
            Growth::Refused(entry, err) => {
                // The wish is taken back, so that nothing grows when nobody waits for it any more.
                self.resize(id, &entry, entry.size().to_string()).await?;
                Err(err)
            }
        }
    }

    async fn resize(&self, id: &VolumeId, entry: &Entry, size: String) -> Result<(), Error> {
        let wish = json!({
            "metadata": { "resourceVersion": entry.version.to_string() },
            "spec": { "size": size },
        });
        let failed = |err| api_failed(format!("resizing {id}"), err);
        match self.api.patch(id.as_str(), &PatchParams::default(), &Patch::Merge(&wish)).await {
            Ok(object) => self.view.enter(&object),
            Err(kube::Error::Api(err)) if err.code == 409 => {
                return Err(Error::Busy(format!("{id} has changed just now")));
            }
            Err(err) => return Err(failed(err)),
        }
        Ok(())
    }
}

/// Nothing is said of a volume that is there until it has its object again.
fn found(id: &str, node: &NodeId) -> Error {
    Error::Busy(format!("node {node} has {id} without an object, which is being made again"))
}

/// A call to the API that failed may have been carried out all the same.
fn api_failed(doing: String, err: kube::Error) -> Error {
    Error::uncertain(doing, err)
}

impl Provisioner for ClusterProvisioner {
    async fn create(&self, wanted: Wanted) -> Result<Volume, Error> {
        let id = VolumeId::of(&wanted.name);
        let is_new = self.view.with(|state| state.entry(id.as_str()).is_none());
        let siblings = if is_new { self.claims.siblings(&wanted).await } else { Vec::new() };
        let place = |state: &mut State| state.place(&wanted, &siblings, Instant::now());
        let same = |state: &State| state.ensure_same(id.as_str(), &wanted);
        self.make(id.as_str(), place, same).await?;
        self.find(id.clone()).await?.ok_or_else(|| Error::Busy(format!("{id} was deleted")))
    }

    async fn delete(&self, id: VolumeId) -> Result<(), Error> {
        self.view.with(|state| match state.dependents(&id).as_slice() {
            [] => Ok(()),
            dependents => Err(Error::Precondition(format!(
                "volume {id} has copy-on-write snapshots, which cannot live without it: {}",
                dependents.join(", ")
            ))),
        })?;
        self.say_it_is_meant(id.as_str()).await?;
        self.delete_object(id.as_str()).await
    }

    async fn expand(&self, id: VolumeId, size: SizeRange) -> Result<Volume, Error> {
        self.grow(&id, size).await
    }

    async fn find(&self, id: VolumeId) -> Result<Option<Volume>, Error> {
        Ok(self.view.with(|state| {
            let entry = state.entry(id.as_str()).filter(|entry| entry.is_ready());
            entry.and_then(|entry| entry.as_volume(id.as_str()))
        }))
    }

    async fn volumes(&self, after: Option<VolumeId>, most: usize) -> Result<Vec<Volume>, Error> {
        Ok(self.view.with(|state| state.volumes(after.as_ref(), most)))
    }

    async fn snapshot(&self, wanted: WantedSnapshot) -> Result<Snapshot, Error> {
        let id = SnapshotId::of(&wanted.name);
        let place = |state: &mut State| state.place_snapshot(&wanted, Instant::now());
        let same = |state: &State| match state.entry(id.as_str()) {
            Some(entry) if entry.spec.snapshot_of.as_deref() != Some(wanted.source.as_str()) => {
                let has = entry.spec.snapshot_of.clone().unwrap_or_default();
                let what = format!("snapshot {id}");
                Err(Error::exists(what, "source volume", has, &wanted.source))
            }
            _ => Ok(()),
        };
        self.make(id.as_str(), place, same).await?;
        let gone = || Error::Busy(format!("{id} was deleted"));
        let found = self.view.with(|state| {
            state.entry(id.as_str()).and_then(|entry| entry.as_snapshot(id.as_str()))
        });
        found.ok_or_else(gone)
    }

    async fn delete_snapshot(&self, id: SnapshotId) -> Result<(), Error> {
        self.delete_object(id.as_str()).await
    }

    async fn snapshots(
        &self,
        filter: SnapshotFilter,
        after: Option<SnapshotId>,
        most: usize,
    ) -> Result<Vec<Snapshot>, Error> {
        Ok(self.view.with(|state| state.snapshots(&filter, after.as_ref(), most)))
    }

    async fn capacity(
        &self,
        parameters: Parameters,
        node: Option<NodeId>,
    ) -> Result<Capacity, Error> {
        Ok(self.view.with(|state| state.capacity(&parameters, node.as_ref(), Instant::now())))
    }

    fn copies(&self) -> bool {
        // Any node may have a volume group.
        true
    }

    fn is_ready(&self) -> bool {
        self.view.is_complete()
    }
}
