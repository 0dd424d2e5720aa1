//! NodeLocalStorage: what one node has to give, written by that node.

use std::path::PathBuf;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, CopySource, VolumeMode};
use crate::{
    device::{DeviceType, Transport, Wipe},
    fs::FsKind,
    lvm::{PhysicalVolume, Stretch},
    pool::{
        PoolSpec,
        capacity::{Stock, ThinStock},
    },
    units::Bytes,
    volume::{AfterRestart, LayoutWish, Provisioning},
};

/// So many entries of a pool of whole devices are reported, and no more.
pub const MOST_ENTRIES: usize = 200;

/// Nothing: all of it is status.
#[derive(
    CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize,
)]
#[kube(
    group = "tarn.dev",
    version = "v1alpha1",
    kind = "NodeLocalStorage",
    plural = "nodelocalstorages",
    singular = "nodelocalstorage",
    shortname = "nls",
    category = "tarn",
    status = "NodeLocalStorageStatus",
    derive = "PartialEq",
    doc = "What one node has to give: its pools, their disks and their room. Named after the node, which writes it.",
    printcolumn(name = "Pools", type_ = "string", json_path = ".status.pools[*].name"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.pools[*].size"),
    printcolumn(name = "Free", type_ = "string", json_path = ".status.pools[*].free"),
    printcolumn(name = "Volumes", type_ = "string", json_path = ".status.pools[*].volumes"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.pools[*].state"),
    printcolumn(name = "Devices", type_ = "string", json_path = ".status.deviceSummary"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct NodeLocalStorageSpec {}

/// What the node has to give.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeLocalStorageStatus {
    /// The node's count of changes up to which this is true.
    #[serde(default)]
    pub sequence: i64,
    /// Its pools.
    #[serde(default)]
    pub pools: Vec<PoolReport>,
    /// Volumes and snapshots that have been in its pools for a while without an object; at most 500,
    /// in the order of their names.
    // Written also when there are none: a merge leaves what it does not name.
    #[serde(default)]
    pub strays: Vec<StrayReport>,
    /// Every disk of the node, and everything else that a pool could be made of; partitions and loop
    /// devices where a pool names these types.
    // Written also when there are none, as above.
    #[serde(default)]
    pub devices: Vec<DeviceReport>,
    /// How many of them are in pools, and how many were refused.
    #[serde(default)]
    pub device_summary: String,
    /// What `tarn pools plan` says of the pools that are made of disks: how the volume group of each is,
    /// and what is to be done and is not yet; at most 100 lines.
    // Written also when there are none, as above.
    #[serde(default)]
    pub plan: Vec<String>,
    /// `Ready`: every pool that is to be here is. `PoolsWhole`: none of them misses a disk.
    /// `DisksTaken`: every disk that a pool selects is in its volume group. `ThinPoolsRoomy`: no thin pool
    /// is nearly full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolReport {
    /// The name of its StoragePool.
    pub name: String,
    /// The volume group, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_group: Option<String>,
    /// All of it.
    pub size: Bytes,
    /// What of it no volume has, the reserve left out.
    pub free: Bytes,
    /// The largest thick linear volume that would be made now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_thick: Option<Bytes>,
    /// The largest thin volume that would be made now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_thin: Option<Bytes>,
    /// How well it is: `Ready`; `Degraded` while a disk is missing: then nothing new is made; or
    /// `Unreadable` while its volume group cannot be read: then all else said of it is from before.
    #[serde(default)]
    pub state: String,
    /// Why, in words for people; not where it is `Ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The volumes and snapshots that lie on disks that are missing, if only in part; at most 500.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// RAID volumes whose legs do not all have their data yet, new ones and those that were repaired: none of
    /// their disks may be lost before they have; at most 500.
    // Written also when there are none: a merge leaves what it does not name.
    #[serde(default)]
    pub filling: Vec<FillingReport>,
    /// How many volumes it holds.
    pub volumes: u64,
    /// How many snapshots.
    pub snapshots: u64,
    /// How much room of deleted volumes waits to be wiped.
    pub wiping: Bytes,
    /// What it is served as.
    pub spec: PoolSpec,
    /// Bytes in an extent.
    pub extent_size: Bytes,
    /// Extents in all.
    pub extents: u64,
    /// Extents that no volume has.
    pub free_extents: u64,
    /// Its disks.
    pub disks: Vec<DiskReport>,
    /// What is in the directories of a pool of whole devices, in the order of the names; at most 200.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<EntryReport>,
    /// Its thin pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thin_pool: Option<ThinReport>,
}

/// A RAID volume whose legs are being filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FillingReport {
    /// The volume.
    pub volume: String,
    /// How many hundredths of it all its legs have.
    pub percent: u32,
}

/// One disk of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskReport {
    /// Its device.
    pub device: String,
    /// Whether LVM looks for it in vain.
    #[serde(default)]
    pub missing: bool,
    /// Whether volumes may be put on it.
    pub allocatable: bool,
    /// Whether it answers RAID volumes with errors: it gets no further legs then.
    #[serde(default)]
    pub erring: bool,
    /// Extents in all.
    pub extents: u64,
    /// The lengths of its free runs, in extents, in order of their place.
    #[serde(default)]
    pub free_runs: Vec<u64>,
}

/// An entry of a directory of a pool of whole devices, or a directory that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryReport {
    /// Its path.
    pub path: String,
    /// The kernel's name for the device that it leads to, which another device may have after a reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// How large a volume of it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// The file system that is mounted there, and that a volume of it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_type: Option<String>,
    /// How it stands: `Free` for a volume, `Used` as one, `Wiped` since its volume was deleted, and free
    /// afterwards, or `Refused`.
    pub state: String,
    /// The volume that it is, or was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Why it is `Refused`, or how far its wiping has come, or why it goes no further, in words for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One disk of the node, in a pool or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceReport {
    /// The kernel's name for it, which another disk may have after a reboot.
    pub path: String,
    /// A name that stays with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_path: Option<String>,
    /// What it is.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DeviceType>,
    /// How large it is.
    pub size: Bytes,
    /// The manufacturer's name for disks of its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The manufacturer's name for this very one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Its world wide name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// How it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Whether it is a spinning disk.
    pub rotational: bool,
    /// How it stands: `Member` of a pool, `Leaving` it as its spec says, `Taken` for one in a moment, `Wiped` before that where the
    /// pool says so, `Refused` although a pool selects it, or `Unselected`.
    pub state: String,
    /// The pool that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Why it was refused, in one word for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it stands so, in words for people.
    pub message: String,
}

/// The thin pool of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThinReport {
    /// Its room for data.
    pub size: Bytes,
    /// The sizes of all its volumes and snapshots together.
    pub promised: Bytes,
    /// Hundredths of its data in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_percent: Option<f64>,
    /// Hundredths of its metadata in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_percent: Option<f64>,
}

/// A volume or snapshot without an object. It is never removed by itself. The fields are those of
/// the LogicalVolume that it would have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StrayReport {
    /// The name that its object would have.
    pub name: String,
    /// The name by which the CSI client asked for it.
    pub csi_name: String,
    /// The pool that it is in.
    pub pool: String,
    /// How large it is.
    pub size: Bytes,
    /// Whether it is used as a file system or as a raw block device.
    pub volume_mode: VolumeMode,
    /// Which file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_type: Option<String>,
    /// Thin or thick.
    pub provisioning: Provisioning,
    /// How a thick volume lies on the disks.
    #[serde(default)]
    pub layout: LayoutWish,
    /// How many copies of its data a mirrored volume has beside the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrors: Option<u32>,
    /// Over how many disks the data of a striped volume lie, those of parity and mirrors not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripes: Option<u32>,
    /// How much is written to one disk before the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_size: Option<Bytes>,
    /// What is done to its bytes when it is deleted.
    pub wipe: Wipe,
    /// Options for mkfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mkfs_options: Option<String>,
    /// What becomes of a volume in memory whose contents are gone, where its class says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_restart: Option<AfterRestart>,
    /// The entry of a pool of whole devices that it was before it was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What its content was copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<CopySource>,
    /// Of which volume it is a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_of: Option<String>,
    /// When it was made, in seconds since 1970 UTC.
    pub made_at: i64,
}

impl PoolReport {
    /// From which, with its spec, the room for any class is told.
    pub fn stock(&self) -> Stock {
        Stock {
            extent: self.extent_size,
            extents: self.extents,
            free: self.free_extents,
            physical: self.disks.iter().map(DiskReport::physical_volume).collect(),
            thin: self.thin_pool.map(|thin| ThinStock {
                size: thin.size,
                promised: thin.promised,
                data_percent: thin.data_percent,
                metadata_percent: thin.metadata_percent,
            }),
            mounted: self.entries.iter().filter_map(EntryReport::mounted).collect(),
        }
    }
}

impl EntryReport {
    /// The device, and the file system that is mounted there.
    fn mounted(&self) -> Option<(PathBuf, FsKind)> {
        Some((self.device.as_ref()?.into(), self.fs_type.as_ref()?.parse().ok()?))
    }
}

impl DiskReport {
    /// Where its free runs are is not reported, and made up.
    fn physical_volume(&self) -> PhysicalVolume {
        let mut start = 0;
        let place = |length: &u64| {
            let run = Stretch { start, length: *length };
            start += length + 1;
            run
        };
        let free_runs = self.free_runs.iter().map(place).collect();
        PhysicalVolume {
            device: self.device.clone().into(),
            uuid: String::new(),
            missing: self.missing,
            allocatable: self.allocatable,
            erring: self.erring,
            extents: self.extents,
            free_runs,
        }
    }
}
