//! What is known of a block device without reading from it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// One block device, as the kernel and udev's links describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDevice {
    /// The kernel's name for it, such as `sda` or `nvme0n1p2`. Another disk may have it after a reboot.
    pub name: String,
    /// Its number: major and minor.
    pub number: (u64, u64),
    /// The kernel's count of disks when this one appeared; another disk with the same name has
    /// another (Linux 5.15). Zero where the kernel does not tell.
    pub appearance: u64,
    /// Its node below /dev.
    pub path: PathBuf,
    /// Its other names: links below /dev/disk, sorted, and the name in /dev/mapper.
    pub links: Vec<PathBuf>,
    /// What it is, if it is something that a pool could be made of.
    pub kind: Option<DeviceType>,
    /// How large it is.
    pub size: Bytes,
    /// Whether it refuses writes.
    pub read_only: bool,
    /// Whether its medium can be taken out.
    pub removable: bool,
    /// Whether it is a spinning disk.
    pub rotational: bool,
    /// Whether parts of it can only be written from their beginning (SMR, ZNS).
    pub zoned: bool,
    /// How it is attached.
    pub transport: Option<Transport>,
    /// The manufacturer's name for disks of its kind.
    pub model: Option<String>,
    /// The manufacturer's name for this very one.
    pub serial: Option<String>,
    /// Its world wide name.
    pub wwn: Option<String>,
    /// What device-mapper knows it by (`dm/uuid`), such as `LVM-...` or `mpath-...`.
    pub mapped_as: Option<String>,
    /// Whether its I/O is held back, so that whoever reads it waits.
    pub suspended: bool,
    /// The disk that it is a partition of.
    pub partition_of: Option<String>,
    /// Devices that are made of it, by name: device-mapper, RAID, bcache.
    pub holders: Vec<String>,
}

/// What kinds of block devices a pool may be made of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum DeviceType {
    /// A whole disk.
    Disk,
    /// A partition.
    Partition,
    /// A disk that is reached by several paths, put together by multipathd.
    Multipath,
    /// A software RAID (md).
    Raid,
    /// An opened encrypted device (LUKS).
    Crypt,
    /// A file, attached as a loop device.
    Loop,
}

/// How a disk is attached.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Transport {
    /// PCI Express or a fabric.
    Nvme,
    /// Serial ATA.
    Sata,
    /// Serial attached SCSI.
    Sas,
    /// USB.
    Usb,
    /// A hypervisor's virtual disk.
    Virtio,
    /// SCSI over IP.
    Iscsi,
    /// Fibre Channel.
    FibreChannel,
    /// A memory card.
    Mmc,
}

impl BlockDevice {
    /// All its names, the kernel's first.
    pub fn names(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.path).chain(&self.links)
    }

    /// Whether both are the same disk, seen twice: nothing that stays the same on a disk differs.
    pub fn is_still(&self, earlier: &Self) -> bool {
        let lasting = |it: &Self| {
            let identity = (it.serial.clone(), it.wwn.clone(), it.model.clone());
            (it.name.clone(), it.number, it.appearance, it.size, it.kind, identity)
        };
        lasting(self) == lasting(earlier)
    }

    /// A name that it has after a reboot too, if it has one.
    pub fn stable_name(&self) -> Option<&PathBuf> {
        let by = |part: &str| {
            let part = format!("/dev/disk/{part}/");
            move |it: &&PathBuf| it.to_string_lossy().starts_with(&part)
        };
        self.links.iter().find(by("by-id")).or_else(|| self.links.iter().find(by("by-path")))
    }
}

/// A spinning disk of 100Gi, by Sata, for tests.
#[cfg(test)]
pub(crate) fn example() -> BlockDevice {
    BlockDevice {
        name: "sdx".to_owned(),
        number: (8, 368),
        appearance: 1,
        path: "/dev/sdx".into(),
        links: Vec::new(),
        kind: Some(DeviceType::Disk),
        size: Bytes::gib(100),
        read_only: false,
        removable: false,
        rotational: true,
        zoned: false,
        transport: Some(Transport::Sata),
        model: Some("WDC WD40".to_owned()),
        serial: Some("S-sdx".to_owned()),
        wwn: Some("naa.sdx".to_owned()),
        mapped_as: None,
        suspended: false,
        partition_of: None,
        holders: Vec::new(),
    }
}
