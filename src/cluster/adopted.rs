//! An adopted volume as Kubernetes is told of it: a PersistentVolume and, if asked for, the claim that is bound to
//! it. Pure.

use std::{collections::BTreeMap, fmt, io, str::FromStr};

use k8s_openapi::{
    api::core::v1::{
        CSIPersistentVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
        ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
        PersistentVolumeSpec, VolumeNodeAffinity, VolumeResourceRequirements,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use serde::Serialize;

use crate::volume::{Driver, Purpose, Volume};

/// Who deletes the volume of a PersistentVolume that says `Delete` (external-provisioner).
pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// How the objects of an adopted volume are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// What the PersistentVolume is called.
    pub name: ObjectName,
    /// The StorageClass of both; none when this is empty.
    pub class: String,
    /// The claim that the volume is bound to.
    pub claim: Option<ClaimName>,
}

/// The name of an object in the API (Kubernetes, "DNS Subdomain Names").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName(String);

/// A claim, as `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName {
    namespace: ObjectName,
    name: ObjectName,
}

/// Why a text is not the name of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be the name of a PersistentVolume or claim: up to 253 of a-z 0-9 - and ., beginning and ending with a letter or digit"
)]
pub struct BadObjectName(pub String);

/// Why a text does not name a claim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` does not name a claim: write it as NAMESPACE/NAME")]
pub struct BadClaimName(pub String);

impl FromStr for ObjectName {
    type Err = BadObjectName;

    fn from_str(text: &str) -> Result<Self, BadObjectName> {
        let is_small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_label = |label: &str| {
            label.starts_with(is_small)
                && label.ends_with(is_small)
                && label.chars().all(|c| is_small(c) || c == '-')
        };
        let good = text.len() <= 253 && text.split('.').all(is_label);
        if good { Ok(Self(text.to_owned())) } else { Err(BadObjectName(text.to_owned())) }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl ClaimName {
    /// The namespace that it is in.
    pub(super) fn namespace(&self) -> String {
        self.namespace.to_string()
    }
}

impl FromStr for ClaimName {
    type Err = BadClaimName;

    fn from_str(text: &str) -> Result<Self, BadClaimName> {
        let bad = || BadClaimName(text.to_owned());
        let (namespace, name) = text.split_once('/').ok_or_else(bad)?;
        let parse = |text: &str| text.parse().map_err(|_| bad());
        Ok(Self { namespace: parse(namespace)?, name: parse(name)? })
    }
}

/// The objects of a volume in YAML, as `kubectl apply` takes them. The volume is kept when its claim is deleted.
///
/// # Errors
/// None that is known: the types are plain.
pub fn objects_text(volume: &Volume, driver: &Driver, wishes: &Wishes) -> io::Result<String> {
    let mut text = yaml(&persistent_volume(volume, driver, wishes))?;
    if let Some(claim) = &wishes.claim {
        text.push_str("---\n");
        text.push_str(&yaml(&claim_of(volume, wishes, claim))?);
    }
    Ok(text)
}

fn yaml(object: &impl Serialize) -> io::Result<String> {
    serde_saphyr::to_string(object).map_err(io::Error::other)
}

/// The PersistentVolume of a volume, which is kept when its claim is deleted.
pub(super) fn persistent_volume(
    volume: &Volume,
    driver: &Driver,
    wishes: &Wishes,
) -> PersistentVolume {
    let here = NodeSelectorRequirement {
        key: driver.topology_key().to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![volume.node.to_string()]),
    };
    let here = NodeSelectorTerm { match_expressions: Some(vec![here]), match_fields: None };
    let bound_to = |claim: &ClaimName| ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: Some(claim.namespace.to_string()),
        name: Some(claim.name.to_string()),
        ..ObjectReference::default()
    };
    let made_by = (PROVISIONED_BY.to_owned(), driver.name().to_owned());
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(wishes.name.to_string()),
            annotations: Some(BTreeMap::from([made_by])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: access_modes(),
            capacity: storage(volume),
            claim_ref: wishes.claim.as_ref().map(bound_to),
            csi: Some(CSIPersistentVolumeSource {
                driver: driver.name().to_owned(),
                volume_handle: volume.id.to_string(),
                fs_type: volume.purpose.filesystem().map(|kind| kind.name().to_owned()),
                ..CSIPersistentVolumeSource::default()
            }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![here] }),
            }),
            persistent_volume_reclaim_policy: Some("Retain".to_owned()),
            storage_class_name: Some(wishes.class.clone()),
            volume_mode: Some(mode_of(volume.purpose)),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// The claim that is bound to it.
pub(super) fn claim_of(
    volume: &Volume,
    wishes: &Wishes,
    claim: &ClaimName,
) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            namespace: Some(claim.namespace.to_string()),
            name: Some(claim.name.to_string()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: access_modes(),
            resources: Some(VolumeResourceRequirements { requests: storage(volume), limits: None }),
            storage_class_name: Some(wishes.class.clone()),
            volume_mode: Some(mode_of(volume.purpose)),
            volume_name: Some(wishes.name.to_string()),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn access_modes() -> Option<Vec<String>> {
    Some(vec!["ReadWriteOnce".to_owned()])
}

fn storage(volume: &Volume) -> Option<BTreeMap<String, Quantity>> {
    Some(BTreeMap::from([("storage".to_owned(), Quantity(volume.size.to_string()))]))
}

fn mode_of(purpose: Purpose) -> String {
    match purpose {
        Purpose::Block => "Block".to_owned(),
        Purpose::Filesystem(_) => "Filesystem".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::{fs::FsKind, units::Bytes, volume::VolumeId};

    fn volume(purpose: Purpose) -> Volume {
        Volume {
            id: VolumeId::of(&"diary".parse().unwrap()),
            size: Bytes(3 << 22),
            purpose,
            source: None,
            node: "node-1".parse().unwrap(),
        }
    }

    fn text(purpose: Purpose, class: &str, claim: Option<&str>) -> String {
        let claim = claim.map(|it| it.parse().unwrap());
        let wishes = Wishes { name: "diary".parse().unwrap(), class: class.to_owned(), claim };
        let driver: Driver = "local.tarn.dev".parse().unwrap();
        objects_text(&volume(purpose), &driver, &wishes).unwrap()
    }

    fn read(yaml: &str) -> Value {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn a_volume_and_its_claim_name_each_other() {
        let text = text(Purpose::Filesystem(FsKind::Xfs), "fast", Some("home/diary-of-ann"));
        let (volume, claim) = text.split_once("---\n").unwrap();
        assert_eq!(
            read(volume),
            json!({
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {
                    "name": "diary",
                    "annotations": { "pv.kubernetes.io/provisioned-by": "local.tarn.dev" },
                },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "capacity": { "storage": "12Mi" },
                    "claimRef": {
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "namespace": "home",
                        "name": "diary-of-ann",
                    },
                    "csi": {
                        "driver": "local.tarn.dev",
                        "fsType": "xfs",
                        "volumeHandle": "v-dv76crx22zfyqm6n4uramtev3e",
                    },
                    "nodeAffinity": { "required": { "nodeSelectorTerms": [{
                        "matchExpressions": [{
                            "key": "topology.tarn.dev/node",
                            "operator": "In",
                            "values": ["node-1"],
                        }],
                    }] } },
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "fast",
                    "volumeMode": "Filesystem",
                },
            })
        );
        assert_eq!(
            read(claim),
            json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": { "namespace": "home", "name": "diary-of-ann" },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": "12Mi" } },
                    "storageClassName": "fast",
                    "volumeMode": "Filesystem",
                    "volumeName": "diary",
                },
            })
        );
    }

    #[test]
    fn a_raw_volume_has_no_file_system_and_no_class() {
        let text = text(Purpose::Block, "", None);
        let volume = read(&text);
        assert_eq!(volume["spec"]["volumeMode"], "Block");
        assert_eq!(volume["spec"]["storageClassName"], "");
        assert_eq!(volume["spec"]["csi"]["fsType"], Value::Null);
        assert_eq!(volume["spec"]["claimRef"], Value::Null);
    }

    #[rstest]
    #[case("a", true)]
    #[case("pvc-0b.example", true)]
    #[case("", false)]
    #[case("Diary", false)]
    #[case("-a", false)]
    #[case("a..b", false)]
    #[case("a_b", false)]
    fn names(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<ObjectName>().is_ok(), good);
        assert_eq!(format!("ns/{text}").parse::<ClaimName>().is_ok(), good);
    }
}
