//! What Adoptions ask for, and what nodes say of them.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn object(change: Value) -> Adoption {
    let mut object = json!({
        "apiVersion": "tarn.dev/v1alpha1", "kind": "Adoption", "metadata": { "name": "photos" },
        "spec": { "nodeName": "n1", "volumeGroup": "vg0", "logicalVolume": "data" },
    });
    for (key, value) in change.as_object().unwrap() {
        let there = object.as_object_mut().unwrap().entry(key).or_insert_with(|| json!({}));
        there.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    }
    serde_json::from_value(object).unwrap()
}

fn adopted() -> Adopted {
    let name: VolumeName = "photos".parse().unwrap();
    Adopted {
        volume: Volume {
            id: VolumeId::of(&name),
            size: Bytes::mib(40),
            purpose: Purpose::Block,
            source: None,
            node: "n1".parse().unwrap(),
        },
        name,
        pool: "fast".parse().unwrap(),
        was: "vg0/data".to_owned(),
    }
}

#[test]
fn what_is_left_out_is_found_out() {
    let Asked { wanted, wishes } = asked(&object(json!({}))).unwrap();
    assert_eq!((wanted.what.to_string().as_str(), wanted.name.as_str()), ("vg0/data", "photos"));
    assert_eq!((wanted.purpose, wanted.wipe), (None, None));
    assert_eq!((wishes.class.as_str(), wishes.claim), ("", None));
    assert_eq!(object(json!({})).spec.reclaim_policy, ReclaimPolicy::Retain);
}

#[test]
fn all_that_is_said_is_read() {
    let spec = json!({
        "as": "block", "wipe": "None", "storageClassName": "local",
        "claim": { "namespace": "home", "name": "album" },
    });
    let Asked { wanted, wishes } = asked(&object(json!({ "spec": spec }))).unwrap();
    assert_eq!(wanted.purpose, Some(Purpose::Block));
    assert_eq!(wanted.wipe, Some(crate::device::Wipe::None));
    assert_eq!(wishes.claim.unwrap().to_string(), "home/album");
    assert_eq!((wishes.name.to_string().as_str(), wishes.class.as_str()), ("photos", "local"));
}

#[test]
fn a_device_is_an_entry() {
    let spec = |it: Value| {
        let mut object = object(json!({}));
        object.spec = serde_json::from_value(it).unwrap();
        asked(&object).map(|it| it.wanted.what)
    };
    let device = spec(json!({ "nodeName": "n1", "device": "/mnt/disks/sda" })).unwrap();
    assert_eq!(device, Existing::Entry("/mnt/disks/sda".into()));
    // Also where it looks like a logical volume.
    let device = spec(json!({ "nodeName": "n1", "device": "/dev/vg0/data" })).unwrap();
    assert_eq!(device, Existing::Entry("/dev/vg0/data".into()));
    spec(json!({ "nodeName": "n1" })).unwrap_err();
    spec(json!({ "nodeName": "n1", "volumeGroup": "vg0" })).unwrap_err();
}

#[rstest]
#[case::relative(json!({ "spec": { "device": "disks/sda" } }), "spec.device")]
#[case::both(json!({ "spec": { "device": "/mnt/disks/sda" } }), "spec.device")]
#[case::group(json!({ "spec": { "volumeGroup": "../vg" } }), "spec.volumeGroup")]
#[case::volume(json!({ "spec": { "logicalVolume": "a b" } }), "spec.logicalVolume")]
#[case::purpose(json!({ "spec": { "as": "zfs" } }), "spec.as")]
#[case::namespace(json!({ "spec": { "claim": { "namespace": "a/b", "name": "c" } } }), "spec.claim")]
#[case::claim(json!({ "spec": { "claim": { "namespace": "a", "name": "B" } } }), "spec.claim")]
#[case::name(json!({ "metadata": { "name": "Photos" } }), "metadata.name")]
#[case::long(json!({ "metadata": { "name": "p".repeat(129) } }), "metadata.name")]
fn nonsense_names_its_field(#[case] change: Value, #[case] field: &str) {
    let err = asked(&object(change)).unwrap_err();
    assert!(matches!(&err, Error::Invalid { field: it, .. } if it == field), "{err}");
}

fn with_conditions(conditions: &[(&str, bool)]) -> Adoption {
    let all =
        conditions.iter().map(|(kind, is_so)| Condition::new(kind, *is_so, "R", String::new()));
    let status = AdoptionStatus {
        size: Some("40Mi".to_owned()),
        purpose: Some("block".to_owned()),
        conditions: all.collect(),
        ..AdoptionStatus::default()
    };
    Adoption { status: Some(status), ..object(json!({})) }
}

#[rstest]
#[case::new(&[], true, false)]
#[case::refused(&[("Adopted", false)], true, false)]
#[case::adopted(&[("Adopted", true)], false, true)]
#[case::not_published(&[("Adopted", true), ("Published", false)], false, true)]
#[case::published(&[("Adopted", true), ("Published", true)], false, false)]
#[case::edited(&[("Published", true)], true, false)]
fn who_has_something_to_do(
    #[case] conditions: &[(&str, bool)],
    #[case] node: bool,
    #[case] controller: bool,
) {
    let object = with_conditions(conditions);
    assert_eq!(is_to_adopt(&object), node);
    assert_eq!(to_publish(&object).unwrap().is_some(), controller);
    let deleted = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "name": "photos" });
    let metadata = serde_json::from_value(deleted).unwrap();
    let deleted = Adoption { metadata, ..object };
    assert!(!is_to_adopt(&deleted) && to_publish(&deleted).unwrap().is_none());
}

#[rstest]
#[case(Error::NotFound("logical volume vg0/data".to_owned()), "NotFound")]
#[case(Error::InUse("vg0/data is mounted".to_owned()), "InUse")]
#[case(Error::Precondition("vg0/data is a thin pool".to_owned()), "Precondition")]
#[case(Error::Busy("vg0/data is worked on".to_owned()), "Unfinished")]
fn a_refusal_says_why_and_since_when(#[case] err: Error, #[case] reason: &str) {
    let first = told(&object(json!({})), &Err(err));
    let [condition] = first.conditions.as_slice() else { panic!("{first:?}") };
    assert_eq!((condition.reason.as_str(), condition.status.as_str()), (reason, "False"));
    assert!(
        condition.message.starts_with("logical volume vg0/data")
            || condition.message.starts_with("vg0/data")
    );
    let mut old = first.clone();
    old.conditions[0].last_transition_time = "2026-01-01T00:00:00Z".to_owned();
    let mut object = Adoption { status: Some(old.clone()), ..object(json!({})) };
    let again = told(&object, &Err(Error::InUse("mounted".to_owned())));
    assert_eq!(again.conditions[0].last_transition_time, "2026-01-01T00:00:00Z");
    object.status = Some(again);
    let done = told(&object, &Ok(adopted()));
    assert_eq!(done.conditions.len(), 1);
    assert_eq!(
        done.conditions[0].message,
        format!("vg0/data is volume {} of pool fast", adopted().volume.id)
    );
    assert_eq!((done.size.as_deref(), done.purpose.as_deref()), (Some("40Mi"), Some("block")));
}

#[test]
fn what_the_controller_says_stays_when_the_node_says_more() {
    let object = with_conditions(&[("Published", true)]);
    let kinds: Vec<String> =
        told(&object, &Ok(adopted())).conditions.into_iter().map(|it| it.kind).collect();
    assert_eq!(kinds, ["Published", "Adopted"]);
}
