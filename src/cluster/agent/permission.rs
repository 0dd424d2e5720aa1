//! Whether an admin allows many deletions at once, as said on this node's own object.

use std::sync::{Arc, Mutex, atomic::Ordering};

use k8s_openapi::{api::core::v1::ObjectReference, jiff::Timestamp};
use kube::{
    Api, Resource as _, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tokio_stream::{Stream, StreamExt as _};

use super::{
    Notice, Shared,
    brake::{MASS, allowed_until},
    locked,
};
use crate::cluster::{ALLOW, objects::NodeLocalStorage};

/// What an admin allows.
#[derive(Debug, Default)]
pub(super) struct Permission(Mutex<Said>);

/// What this node's own object says.
#[derive(Debug, Default)]
struct Said {
    /// The annotation.
    value: Option<String>,
    /// The time in it.
    until: Option<Timestamp>,
    /// The object.
    about: Option<ObjectReference>,
}

impl Permission {
    fn with<T>(&self, look: impl FnOnce(&mut Said) -> T) -> T {
        look(&mut locked(&self.0))
    }

    /// Whether all deletions are allowed now.
    pub(super) fn is_given(&self, now: Timestamp) -> bool {
        self.with(|said| said.until.is_some_and(|until| now < until))
    }

    /// The object that says so; `None` while there is none.
    pub(super) fn about(&self) -> Option<ObjectReference> {
        self.with(|said| said.about.clone())
    }

    /// Takes note of the annotation, and tells whether it is another than before.
    fn note(&self, value: Option<&String>, about: Option<ObjectReference>) -> bool {
        self.with(|said| {
            let has_changed = said.value.as_ref() != value;
            let until = value.and_then(|it| allowed_until(it).ok());
            *said = Said { value: value.cloned(), until, about };
            has_changed
        })
    }
}

/// Follows the node's own object; says when there is another annotation. Only metadata is sent, not
/// the report that the node itself writes.
pub(super) fn follow(shared: Arc<Shared>) -> impl Stream<Item = ()> + Send + 'static {
    let api: Api<PartialObjectMeta<NodeLocalStorage>> = Api::all(shared.agent.client.clone());
    let own = format!("metadata.name={}", shared.agent.node);
    let events = watcher(api, watcher::Config::default().fields(&own)).default_backoff();
    let changes = events.then(move |event| {
        let shared = Arc::clone(&shared);
        async move { shared.enter_own(event).await }
    });
    changes.filter_map(|has_changed| has_changed.then_some(()))
}

impl Shared {
    async fn enter_own(
        &self,
        event: watcher::Result<Event<PartialObjectMeta<NodeLocalStorage>>>,
    ) -> bool {
        let object = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => object,
            Ok(Event::Delete(_)) => {
                self.doubt_report();
                return self.permission.note(None, None);
            }
            Ok(Event::Init) => return false,
            // It was not watched for a while, and may be that of a restored backup.
            Ok(Event::InitDone) => {
                self.doubt_report();
                return false;
            }
            Err(err) => {
                tracing::warn!(%err, "the node's own object cannot be watched now");
                return false;
            }
        };
        let about = object.object_ref(&());
        let value = object.annotations().get(ALLOW);
        let has_changed = self.permission.note(value, Some(about.clone()));
        match value.filter(|_| has_changed).map(|it| allowed_until(it)) {
            Some(Ok(until)) => tracing::warn!(%until, "an admin allows all deletions"),
            Some(Err(note)) => {
                tracing::warn!("{note}");
                let warning =
                    Notice { reason: MASS, action: "Asked", note: &note, secondary: None };
                self.warn(&about, warning).await;
            }
            None => (),
        }
        has_changed
    }

    /// The report is to be written again, though the node may have nothing new to say.
    fn doubt_report(&self) {
        self.report_is_doubtful.store(true, Ordering::Relaxed);
        self.has_changed();
    }
}
