//! What is known of classes and PersistentVolumes, kept true by watches.

use std::collections::BTreeMap;

use k8s_openapi::api::{core::v1::PersistentVolume, storage::v1::StorageClass};
use kube::{
    Api, Resource, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio_stream::StreamExt as _;

use super::{StaticVolumes, class::StaticClass, decide::Known, published::Published};
use crate::cluster::STATIC;

/// Where what a watch tells is written; `None` until all is told.
type Shelf<T> = fn(&mut Known) -> &mut Option<BTreeMap<String, T>>;

impl StaticVolumes {
    /// Follows the classes.
    pub(super) async fn watch_classes(&self) {
        let read = |class: &StorageClass| StaticClass::read(class, &self.driver);
        self.follow(watcher::Config::default(), read, |known| &mut known.classes).await;
    }

    /// Follows the PersistentVolumes that were published here.
    pub(super) async fn watch_own(&self) {
        let own = watcher::Config::default().labels(STATIC);
        let read = |volume: &PersistentVolume| Published::read(volume, &self.driver);
        self.follow(own, read, |known| &mut known.published).await;
    }

    /// Keeps what is read of all objects of a kind.
    async fn follow<K, T>(
        &self,
        config: watcher::Config,
        read: impl Fn(&K) -> Option<T>,
        shelf: Shelf<T>,
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
        T: PartialEq,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let mut listed = BTreeMap::new();
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(object)) => self.enter(&object.name_any(), read(&object), shelf),
                Ok(Event::Delete(object)) => self.enter(&object.name_any(), None, shelf),
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    listed.extend(read(&object).map(|it| (object.name_any(), it)));
                }
                Ok(Event::InitDone) => {
                    let all = std::mem::take(&mut listed);
                    self.learn(|known| *shelf(known) = Some(all));
                }
                Err(err) => {
                    tracing::warn!(%err, kind = %K::kind(&()), "they cannot be watched now");
                }
            }
        }
    }

    /// Enters what was read of an object, and tells of it where that is news.
    fn enter<T: PartialEq>(&self, name: &str, read: Option<T>, shelf: Shelf<T>) {
        let is_news = self.with(|known| {
            let Some(all) = shelf(known) else { return false };
            match read {
                Some(read) if all.get(name) == Some(&read) => false,
                Some(read) => {
                    all.insert(name.to_owned(), read);
                    true
                }
                None => all.remove(name).is_some(),
            }
        });
        if is_news {
            self.news.send_replace(());
        }
    }
}
