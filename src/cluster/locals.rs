//! PersistentVolumes of the kind `local`, which others make: their devices are left alone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, PersistentVolume};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{Event, watcher},
    },
};
use tokio_stream::StreamExt as _;

use super::{
    adopted::PROVISIONED_BY,
    state::Places,
    view::{View, in_large_pages},
};

/// What the annotation [`PROVISIONED_BY`] of sig-storage-local-static-provisioner begins with; the node's name and, unless
/// that is turned off, its uid follow.
const LOCAL_PROVISIONER: &str = "local-volume-provisioner-";
/// How long a uid is, with the hyphen before it.
const UID: usize = 37;
/// The label of nodes that `local` volumes name.
const HOSTNAME: &str = "kubernetes.io/hostname";

impl View {
    /// Follows them, from when a node has a pool of whole devices. The API cannot tell them from other PersistentVolumes, of
    /// which there may be very many.
    pub(super) async fn feed_locals(&self, client: Client) {
        let mut devices = self.news_of_devices();
        while !self.with(|state| state.shelves().next().is_some()) {
            if devices.changed().await.is_err() {
                return;
            }
        }
        let api: Api<PersistentVolume> = Api::all(client);
        let mut listed = BTreeMap::new();
        let mut events = std::pin::pin!(watcher(api, in_large_pages()).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(volume)) => self.enter_local(&volume, places(&volume)),
                Ok(Event::Delete(volume)) => self.enter_local(&volume, Places::new()),
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(volume)) => {
                    let places = Some(places(&volume)).filter(|it| !it.is_empty());
                    listed.extend(places.map(|it| (volume.name_any(), it)));
                }
                Ok(Event::InitDone) => {
                    self.with(|state| state.set_locals(std::mem::take(&mut listed)));
                    self.tell_of_devices();
                }
                Err(err) => tracing::warn!(%err, "PersistentVolumes cannot be watched now"),
            }
        }
    }

    fn enter_local(&self, volume: &PersistentVolume, places: Places) {
        if self.with(|state| state.enter_local(&volume.name_any(), places)) {
            self.tell_of_devices();
        }
    }
}

/// The nodes and paths of a PersistentVolume of the kind `local`.
pub(super) fn places(volume: &PersistentVolume) -> Places {
    let spec = volume.spec.as_ref();
    let Some(local) = spec.and_then(|it| it.local.as_ref()) else { return Places::new() };
    let required = spec.and_then(|it| it.node_affinity.as_ref()?.required.as_ref());
    let terms = required.into_iter().flat_map(|it| &it.node_selector_terms);
    let wanted = terms.flat_map(|it| it.match_expressions.iter().flatten());
    let is_name = |it: &&NodeSelectorRequirement| it.key == HOSTNAME && it.operator == "In";
    let named = wanted.filter(is_name).flat_map(|it| it.values.iter().flatten());
    let by = volume.annotations().get(PROVISIONED_BY);
    let maker = by.and_then(|it| it.strip_prefix(LOCAL_PROVISIONER));
    let without_uid = maker.and_then(|it| it.get(..it.len().checked_sub(UID)?));
    let names = named.map(String::as_str).chain(maker).chain(without_uid);
    names.filter_map(|it| Some((it.parse().ok()?, local.path.clone()))).collect()
}
