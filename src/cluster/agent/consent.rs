//! What is to be said before an adopted volume is deleted: its data were there before Tarn was. Pure.

use crate::{
    cluster::{DELETE_ADOPTED, objects::LogicalVolume, wish::refusal_of},
    volume::Error,
};

/// Whether somebody has said that the volume is to be deleted, and not only its object.
pub(super) fn is_given(object: &LogicalVolume) -> bool {
    let said = object.metadata.annotations.as_ref().and_then(|it| it.get(DELETE_ADOPTED));
    said.is_some_and(|it| it == "true")
}

/// Why the deletion of a volume waits that was called `was` before, and how it goes on.
pub(super) fn missing(object: &LogicalVolume, was: &str) -> Error {
    let id = object.metadata.name.as_deref().unwrap_or_default();
    let (node, name) = (&object.spec.node_name, &object.spec.csi_name);
    Error::Precondition(format!(
        "volume {id} was {was} before it was adopted, and keeps its data: only its object was deleted, \
         and no CSI client has asked for it. `tarn release {name}` on node {node} hands it back, and then the \
         object goes; the annotation {DELETE_ADOPTED}=true of the object deletes the volume with all its data"
    ))
}

/// Whether the object says that already.
pub(super) fn is_asked_for(object: &LogicalVolume, missing: &Error) -> bool {
    let said = object.status.as_ref().and_then(|it| it.refusal.as_ref());
    said.is_some() && said == refusal_of(missing).as_ref()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn object(annotations: &serde_json::Value) -> LogicalVolume {
        let object = json!({
            "apiVersion": "tarn.dev/v1alpha1",
            "kind": "LogicalVolume",
            "metadata": { "name": "v-a", "annotations": annotations },
            "spec": {
                "nodeName": "n1", "pool": "p", "csiName": "photos", "size": "1Gi",
                "volumeMode": "Block", "provisioning": "Thick", "wipe": "Zero",
            },
            "status": { "phase": "Ready" },
        });
        serde_json::from_value(object).unwrap()
    }

    #[rstest]
    #[case::nothing_said(json!({}), false)]
    #[case::another_thing(json!({ "tarn.dev/found": "true" }), false)]
    #[case::no(json!({ DELETE_ADOPTED: "false" }), false)]
    #[case::yes(json!({ DELETE_ADOPTED: "true" }), true)]
    fn consent_is_said(#[case] annotations: serde_json::Value, #[case] given: bool) {
        assert_eq!(is_given(&object(&annotations)), given);
    }

    #[test]
    fn who_is_asked_is_told_both_ways_on_once() {
        let mut object = object(&json!({}));
        let missing = missing(&object, "vg0/photos");
        let said = missing.to_string();
        for part in
            ["vg0/photos", "`tarn release photos` on node n1", "tarn.dev/delete-adopted=true"]
        {
            assert!(said.contains(part), "{said}");
        }
        assert!(!is_asked_for(&object, &missing));
        object.status.as_mut().unwrap().refusal = refusal_of(&Error::InUse("mounted".to_owned()));
        assert!(!is_asked_for(&object, &missing));
        object.status.as_mut().unwrap().refusal = refusal_of(&missing);
        assert!(is_asked_for(&object, &missing));
    }
}
