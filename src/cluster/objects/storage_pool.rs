//! StoragePool: what the admin wants pools to be, on which nodes.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::pool::PoolSpec;

/// A pool: on which nodes, and what it is there. As an entry of a pools file, with a node selector.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "tarn.dev",
    version = "v1alpha1",
    kind = "StoragePool",
    plural = "storagepools",
    shortname = "spool",
    category = "tarn",
    doc = "A pool of volumes: on which nodes there is one of this name, and from what it is made.",
    printcolumn(name = "Provisioning", type_ = "string", json_path = ".spec.provisioning"),
    printcolumn(name = "Volume group", type_ = "string", json_path = ".spec.volumeGroup"),
    printcolumn(name = "Loop file", type_ = "string", json_path = ".spec.loopFile.size"),
    printcolumn(name = "Directory", type_ = "string", json_path = ".spec.directory.path"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".spec.memory.size"),
    printcolumn(
        name = "Whole devices",
        type_ = "string",
        json_path = ".spec.wholeDevices.directories"
    ),
    printcolumn(name = "Devices", type_ = "string", json_path = ".spec.devices.paths"),
    printcolumn(name = "Wipe", type_ = "string", json_path = ".spec.wipe"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("[has(self.volumeGroup), has(self.loopFile), has(self.devices), has(self.directory), has(self.memory), has(self.wholeDevices)].filter(it, it).size() == 1", "give `volumeGroup`, `loopFile`, `devices`, `directory`, `memory` or `wholeDevices`, and only one of them"),
    validation = ("!has(self.wholeDevices) || !has(self.wipe) || self.wipe != 'None'", "a whole device is given out again only clean: `wipe: Zero`, `Discard` or `Shred`"),
    validation = ("!has(self.wipe) || has(self.wholeDevices) || !(self.wipe in ['Shred', 'QuickReset'])", "only of whole devices `wipe` may be `Shred` or `QuickReset`"),
    validation = ("!has(self.wipe) || self.wipe != 'QuickReset' || !has(self.wholeDevices) || (has(self.wholeDevices.allowQuickReset) && self.wholeDevices.allowQuickReset)", "`wipe: QuickReset` leaves what a volume held for the next one to read; it needs `wholeDevices.allowQuickReset: true`"),
    validation = ("!has(self.devices) || has(self.devices.paths) || has(self.devices.models) || has(self.devices.transports) || has(self.devices.rotational) || has(self.devices.minSize) || has(self.devices.maxSize)", "`devices` must say which disks; every empty one is `paths: [/dev/*]`"),
    validation = ("has(self.thinPool) == (has(self.provisioning) && self.provisioning != 'Thick')", "`thinPool` is for `provisioning: Thin` or `ThickAndThin`, and needed there"),
    validation = ("has(self.volumeGroup) == has(oldSelf.volumeGroup) && (!has(self.volumeGroup) || self.volumeGroup == oldSelf.volumeGroup) && has(self.devices) == has(oldSelf.devices)", "a pool keeps its volume group; make another pool")
)]
pub struct StoragePoolSpec {
    /// The labels of the nodes that have this pool; without any, all nodes have it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// What it is.
    #[serde(flatten)]
    pub pool: PoolSpec,
}
