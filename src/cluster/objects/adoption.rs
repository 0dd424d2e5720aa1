//! Adoption: what is there, with its data, is to be a volume and a PersistentVolume.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;
use crate::{device::Wipe, units::Bytes};

/// What is to be adopted, and as what. Nothing of it changes once the object is there.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "tarn.dev",
    version = "v1alpha1",
    kind = "Adoption",
    plural = "adoptions",
    category = "tarn",
    status = "AdoptionStatus",
    derive = "PartialEq",
    selectable = ".spec.nodeName",
    validation = ("size(self.metadata.name) <= 128", "the volume is called as its Adoption, by at most 128 characters"),
    doc = "A logical volume, disk, partition or mount point that is there, with its data, is to be a volume, and a PersistentVolume of the Adoption's name. Deleting the Adoption changes nothing.",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "Volume group", type_ = "string", json_path = ".spec.volumeGroup"),
    printcolumn(name = "Logical volume", type_ = "string", json_path = ".spec.logicalVolume"),
    printcolumn(name = "Device", type_ = "string", json_path = ".spec.device"),
    printcolumn(
        name = "Adopted",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Adopted")].reason"#
    ),
    printcolumn(
        name = "Published",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Published")].reason"#
    ),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Volume", type_ = "string", json_path = ".status.volume", priority = "1"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.status=="False")].message"#,
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.device) ? !has(self.volumeGroup) && !has(self.logicalVolume) : has(self.volumeGroup) && has(self.logicalVolume)", "say either volumeGroup and logicalVolume, or device"),
    validation = ("self == oldSelf", "an Adoption stays as it is; delete it, which changes nothing else, and make another")
)]
pub struct AdoptionSpec {
    /// The node that has it, as its topology label says.
    #[schemars(length(min = 1, max = 63))]
    pub node_name: String,
    /// The volume group of a logical volume, which is that of a pool there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127))]
    pub volume_group: Option<String>,
    /// The name of a logical volume in that group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127))]
    pub logical_volume: Option<String>,
    /// A disk, a partition or a mount point, in place of a logical volume: the absolute path of its entry in a directory of
    /// a pool of whole devices there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 4096), regex(pattern = "^/"))]
    pub device: Option<String>,
    /// What it is for: `block`, `ext4`, `xfs` or `btrfs`. When it is left out, the file system that is found on it.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = ("self in ['block', 'ext4', 'xfs', 'btrfs']", "use block, ext4, xfs or btrfs"))]
    pub purpose: Option<String>,
    /// What is done to its bytes should it be deleted one day: `Zero`, `Discard` or `None`, of a disk or partition `Zero`,
    /// `Discard`, `Shred` or `QuickReset`. When it is left out, what its pool says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<Wipe>,
    /// The StorageClass of the PersistentVolume and the claim; without it they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// What becomes of it when its claim is deleted: `Retain` keeps it, `Delete` deletes and wipes it.
    #[serde(default)]
    pub reclaim_policy: ReclaimPolicy,
    /// The claim that it is bound to, which is made if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<AdoptionClaim>,
}

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdoptionClaim {
    /// Where it is.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// What it is called.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What becomes of a volume when its claim is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReclaimPolicy {
    /// It stays, with all its data.
    #[default]
    Retain,
    /// It is deleted, and wiped.
    Delete,
}

/// What has become of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdoptionStatus {
    /// The volume that it is now: the name of its LogicalVolume, and the volume handle of its PersistentVolume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub volume: Option<String>,
    /// How large it was when it was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Bytes>", length(max = 20))]
    pub size: Option<String>,
    /// What it is for.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub purpose: Option<String>,
    /// The PersistentVolume that was made for it. It is made once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub persistent_volume: Option<String>,
    /// `Adopted`, written by its node, and `Published`, written by the controller: whether it is so, or why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
