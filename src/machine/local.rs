//! The provisioner of one machine: every wish is done here and now, on a thread that may block.

use std::sync::Arc;

use super::Machine;
use crate::volume::{
    Capacity, Error, NodeId, Parameters, Provisioner, SizeRange, Snapshot, SnapshotFilter,
    SnapshotId, Volume, VolumeId, Wanted, WantedSnapshot,
};

/// Makes volumes on this machine.
#[derive(Clone)]
pub struct LocalProvisioner {
    machine: Arc<Machine>,
}

impl LocalProvisioner {
    /// Makes volumes on `machine`.
    pub fn new(machine: Arc<Machine>) -> Self {
        Self { machine }
    }

    /// Blocking work runs to its end, also when nobody waits for it any more.
    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Machine) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let machine = Arc::clone(&self.machine);
        let done = tokio::task::spawn_blocking(move || work(&machine)).await;
        done.unwrap_or_else(|err| Err(Error::uncertain("the work on the volume", err)))
    }
}

impl Provisioner for LocalProvisioner {
    async fn create(&self, wanted: Wanted) -> Result<Volume, Error> {
        self.on_a_thread(move |machine| machine.create(&wanted)).await
    }

    async fn delete(&self, id: VolumeId) -> Result<(), Error> {
        self.on_a_thread(move |machine| machine.delete(&id)).await
    }

    async fn expand(&self, id: VolumeId, size: SizeRange) -> Result<Volume, Error> {
        self.on_a_thread(move |machine| machine.expand(&id, size)).await
    }

    async fn find(&self, id: VolumeId) -> Result<Option<Volume>, Error> {
        Ok(self.machine.find(&id))
    }

    async fn volumes(&self, after: Option<VolumeId>, most: usize) -> Result<Vec<Volume>, Error> {
        Ok(self.machine.volumes(after.as_ref(), most))
    }

    async fn snapshot(&self, wanted: WantedSnapshot) -> Result<Snapshot, Error> {
        self.on_a_thread(move |machine| machine.snapshot(&wanted)).await
    }

    async fn delete_snapshot(&self, id: SnapshotId) -> Result<(), Error> {
        self.on_a_thread(move |machine| machine.delete_snapshot(&id)).await
    }

    async fn snapshots(
        &self,
        filter: SnapshotFilter,
        after: Option<SnapshotId>,
        most: usize,
    ) -> Result<Vec<Snapshot>, Error> {
        Ok(self.machine.snapshots(&filter, after.as_ref(), most))
    }

    async fn capacity(
        &self,
        parameters: Parameters,
        node: Option<NodeId>,
    ) -> Result<Capacity, Error> {
        Ok(self.machine.capacity(&parameters, node.as_ref()))
    }

    fn copies(&self) -> bool {
        self.machine.copies()
    }

    fn is_ready(&self) -> bool {
        true
    }
}
