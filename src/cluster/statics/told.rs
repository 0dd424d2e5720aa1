//! What the author of a class is told that is offered nothing: an Event on the class. Pure.

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};

use crate::volume::{Driver, digest};

/// Where Events are that concern what is in no namespace.
pub(super) const NAMESPACE: &str = "default";
/// The most bytes of a note; the API takes 1024.
const LONGEST: usize = 1000;

/// Why a class is offered nothing, or nothing of a pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Refusal {
    pub(super) class: String,
    pub(super) uid: String,
    pub(super) why: String,
}

impl Refusal {
    /// The Event of it, with a name that follows from what it says: all replicas together write one.
    pub(super) fn event(&self, driver: &Driver, now: Timestamp) -> Event {
        let name = format!("nothing-offered.{}", digest(&[&*self.uid, &*self.why].join("\0")));
        let about = ObjectReference {
            api_version: Some("storage.k8s.io/v1".to_owned()),
            kind: Some("StorageClass".to_owned()),
            name: Some(self.class.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        };
        let end = self.why.floor_char_boundary(LONGEST);
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            type_: Some("Warning".to_owned()),
            reason: Some("NothingOffered".to_owned()),
            note: self.why.get(..end).map(str::to_owned),
            action: Some("Looked".to_owned()),
            regarding: Some(about),
            reporting_controller: Some(driver.name().to_owned()),
            reporting_instance: Some(driver.name().to_owned()),
            event_time: Some(MicroTime(now)),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(why: &str) -> Event {
        let (class, uid) = ("fast".to_owned(), "uid-fast".to_owned());
        let refusal = Refusal { class, uid, why: why.to_owned() };
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        refusal.event(&"local.tarn.dev".parse().unwrap(), now)
    }

    #[test]
    fn an_event_says_it_all() {
        let mut said = serde_json::to_value(event("parameters[wipe]: no")).unwrap();
        let name = said["metadata"]["name"].take();
        assert!(name.as_str().unwrap().starts_with("nothing-offered."), "{name}");
        let expected = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": null, "namespace": "default" },
            "type": "Warning",
            "reason": "NothingOffered",
            "note": "parameters[wipe]: no",
            "action": "Looked",
            "regarding": {
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "name": "fast", "uid": "uid-fast",
            },
            "reportingController": "local.tarn.dev",
            "reportingInstance": "local.tarn.dev",
            "eventTime": "2026-01-02T03:04:05.000000Z",
        });
        assert_eq!(said, expected);
        assert_eq!(event("a").metadata.name, event("a").metadata.name);
        assert_ne!(event("a").metadata.name, event("b").metadata.name);
    }

    #[test]
    fn a_note_is_no_longer_than_the_api_takes() {
        let note = event(&"\u{fc}".repeat(900)).note.unwrap();
        assert_eq!(note.len(), LONGEST);
        let note = event(&format!("a{}", "\u{fc}".repeat(900))).note.unwrap();
        assert_eq!(note.len(), LONGEST - 1);
    }
}
