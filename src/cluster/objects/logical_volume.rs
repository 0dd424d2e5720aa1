//! LogicalVolume: one volume or snapshot, wished for by the controller and made by its node.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;
use crate::{
    device::Wipe,
    units::Bytes,
    volume::{AfterRestart, LayoutWish, Provisioning},
};

/// The rule for a field that is not changed once the object is there, and what who changes it is told.
const FIXED: (&str, &str) = ("self == oldSelf", "a volume keeps it; only `size` changes");

/// One volume or snapshot. The controller writes the spec, the node that has it the status.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "tarn.dev",
    version = "v1alpha1",
    kind = "LogicalVolume",
    plural = "logicalvolumes",
    shortname = "lvol",
    category = "tarn",
    status = "LogicalVolumeStatus",
    derive = "PartialEq",
    selectable = ".spec.nodeName",
    doc = "One volume or snapshot of one node: what the controller wishes for, and what the node has made.",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.pool"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Claim", type_ = "string", json_path = ".spec.claim"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "CSI name", type_ = "string", json_path = ".spec.csiName", priority = "1"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.refusal.message",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
// What is fixed says so itself, as the API server looks at a field of `self` far more slowly than at `self`.
#[x_kube(
    validation = ("has(self.fsType) == has(oldSelf.fsType) && has(self.mirrors) == has(oldSelf.mirrors) && has(self.stripes) == has(oldSelf.stripes) && has(self.stripeSize) == has(oldSelf.stripeSize) && has(self.afterRestart) == has(oldSelf.afterRestart) && has(self.device) == has(oldSelf.device) && has(self.source) == has(oldSelf.source) && has(self.snapshotOf) == has(oldSelf.snapshotOf)", "a volume keeps its file system, mirrors, stripes, source, device and what becomes of it after a restart; only `size` changes"),
    validation = ("has(self.fsType) == (self.volumeMode == 'Filesystem')", "`fsType` is for `volumeMode: Filesystem`, and needed there"),
    validation = ("!(has(self.source) && has(self.snapshotOf))", "a snapshot (`snapshotOf`) has no `source`")
)]
pub struct LogicalVolumeSpec {
    /// The node that has it, as its topology label says.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = FIXED)]
    pub node_name: String,
    /// The pool of that node that it is made in.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = FIXED)]
    pub pool: String,
    /// The name by which the CSI client asked for it.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = FIXED)]
    pub csi_name: String,
    /// How large it is to be. It may grow, and go back to `status.size` when growing was refused.
    #[schemars(with = "Bytes", length(max = 20))]
    pub size: String,
    /// Whether it is used as a file system or as a raw block device.
    #[x_kube(validation = FIXED)]
    pub volume_mode: VolumeMode,
    /// Which file system: ext4, xfs or btrfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = FIXED)]
    pub fs_type: Option<String>,
    /// With room of its own, or in the pool's thin pool.
    #[x_kube(validation = FIXED)]
    pub provisioning: Provisioning,
    /// How a thick volume lies on the disks.
    #[serde(default)]
    #[x_kube(validation = FIXED)]
    pub layout: LayoutWish,
    /// How many copies of its data a mirrored volume has beside the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = FIXED)]
    pub mirrors: Option<u32>,
    /// Over how many disks the data of a striped volume lie, those of parity and mirrors not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = FIXED)]
    pub stripes: Option<u32>,
    /// How much is written to one disk before the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Bytes>", length(max = 20))]
    #[x_kube(validation = FIXED)]
    pub stripe_size: Option<String>,
    /// What is done to its bytes when it is deleted.
    #[x_kube(validation = FIXED)]
    pub wipe: Wipe,
    /// Options for mkfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub mkfs_options: Option<String>,
    /// What becomes of a volume in memory whose contents are gone, where its class says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = FIXED)]
    pub after_restart: Option<AfterRestart>,
    /// The entry of a pool of whole devices whose device it is, where its class has `mode: Static` or it was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    #[x_kube(validation = FIXED)]
    pub device: Option<String>,
    /// Paths of its node that PersistentVolumes of the kind `local` have: of a pool of whole devices it gets none to which one of
    /// them leads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 4096)))]
    pub except: Vec<String>,
    /// What its content is copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = FIXED)]
    pub source: Option<CopySource>,
    /// Makes this a snapshot: of which volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = FIXED)]
    pub snapshot_of: Option<String>,
    /// The claim that it was made for, as namespace/name, where the CSI client says so. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub claim: Option<String>,
}

/// How a volume is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumeMode {
    /// Mounted.
    Filesystem,
    /// As a device.
    Block,
}

/// What a volume's content is copied from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopySource {
    /// A volume or a snapshot.
    pub kind: CopySourceKind,
    /// The name of its object.
    #[schemars(length(max = 63))]
    pub name: String,
}

/// What can be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CopySourceKind {
    /// Another volume, as it is at the moment of the copy.
    Volume,
    /// A snapshot.
    Snapshot,
}

/// What the node has made of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogicalVolumeStatus {
    /// How far it is. Without one the node has not seen it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// How large it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Bytes>", length(max = 20))]
    pub size: Option<String>,
    /// When it was made, in seconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<i64>,
    /// The node's count of changes when this was true: a NodeLocalStorage with this `sequence` or a
    /// greater one has the volume in its figures.
    #[serde(default)]
    pub sequence: i64,
    /// Why the last wish was not granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// What there is to know besides. `Intact`: no disk that it lies on is missing; there once one was.
    /// `Deleted`: not yet, and why; there while a deletion waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// How far a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The node has taken the wish up: from now on only it may say what became of it.
    Creating,
    /// It is there.
    Ready,
    /// It was refused, and nothing of it is there.
    Failed,
    /// It is gone, as was wished.
    Deleted,
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// Of which kind; decides the code of the CSI answer.
    pub reason: RefusalReason,
    /// In words.
    pub message: String,
    /// The size that was refused, when growing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RefusalReason {
    /// The wish is malformed.
    Invalid,
    /// Something that it needs is not there.
    NotFound,
    /// Something else has that name.
    Exists,
    /// No such size can be had.
    OutOfRange,
    /// There is no room on the node now.
    NoRoom,
    /// Somebody has it mounted or open.
    InUse,
    /// Not in the state that things are in.
    Precondition,
    /// The machine failed.
    Machine,
}
