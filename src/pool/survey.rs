//! What is known of a machine's disks: the kernel's, LVM's and blkid's words put together. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::PoolEntry;
use crate::{
    device::{BlockDevice, DeviceType},
    fs::{Look, Mount},
    lvm::{SeenPhysicalVolume, VgName},
};

/// What is known of a machine's disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Everything that a pool could be made of.
    pub disks: Vec<Disk>,
    /// Every physical volume, those on missing devices too.
    pub physical: Vec<SeenPhysicalVolume>,
    /// Groups that pools had when they were seen last: LVM's own identity of each. One that is not
    /// seen now is missing, and never gone.
    pub known: BTreeMap<VgName, String>,
    /// What is known of physical volumes that are missing, by LVM's own identity of each.
    pub absent: BTreeMap<String, Absent>,
    /// Why what lies on physical volumes does not fit on the others of their groups, by LVM's own identity
    /// of each; of those that are not here nothing more is known than how much is used.
    pub cramped: BTreeMap<String, String>,
}

/// A physical volume that is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent {
    /// The serial of its disk, where that was seen.
    pub serial: Option<String>,
    /// Whether a new disk may take its place: a RAID volume has lost a leg with it, and it is away for
    /// longer than a disk that merely comes back.
    pub replaceable: bool,
}

/// One disk, partition or other device that a pool could be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What the kernel says.
    pub device: BlockDevice,
    /// What it is used for.
    pub uses: Vec<Use>,
    /// What is at its edges, or why they could not be read; `None` where nobody looked.
    pub look: Option<Result<Look, String>>,
    /// What LVM says.
    pub physical: Option<SeenPhysicalVolume>,
    /// Why it cannot be held, as one must be able to who takes it; `None` where nobody tried, too.
    pub unheld: Option<String>,
    /// Why taking it has just failed.
    pub failed: Option<String>,
    /// For what it is put aside, where it is: then no pool of disks takes it.
    pub reserved: Option<String>,
}

/// What a device is used for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// It, or something on it, is mounted.
    Mounted {
        /// The name of what is mounted.
        device: String,
        /// Where.
        at: PathBuf,
    },
    /// It has partitions.
    Partitioned(Vec<String>),
    /// It is one of several ways to a disk.
    PathOf(String),
    /// Something is made of it.
    Below(String),
}

/// Which devices are read from: those that something could be made of now. Pools may name types that
/// are passed over otherwise. What LVM knows, what has partitions, and what would not answer is left
/// in peace.
pub fn worth_a_look<'a>(
    devices: &'a [BlockDevice],
    physical: &[SeenPhysicalVolume],
    pools: &[PoolEntry],
) -> Vec<&'a BlockDevice> {
    let named: BTreeSet<DeviceType> = pools
        .iter()
        .filter_map(|it| it.spec.devices.as_ref())
        .flat_map(|it| it.types.clone())
        .collect();
    let is_shown = |device: &&BlockDevice| device.kind.is_some_and(|kind| is_shown(kind, &named));
    let in_group =
        |device: &BlockDevice| physical.iter().any(|it| it.group.is_some() && is_on(it, device));
    devices.iter().filter(is_shown).filter(|it| !it.suspended && !in_group(it)).collect()
}

/// Partitions and loop devices are nobody's concern until a pool names them.
fn is_shown(kind: DeviceType, named: &BTreeSet<DeviceType>) -> bool {
    !matches!(kind, DeviceType::Partition | DeviceType::Loop) || named.contains(&kind)
}

/// Whether a physical volume is on a device.
fn is_on(physical: &SeenPhysicalVolume, device: &BlockDevice) -> bool {
    match physical.number {
        Some(number) => number == device.number,
        None => device.names().any(|name| *name == physical.device),
    }
}

impl Survey {
    /// Puts together what was found, each `look` by the name of its device; devices that no pool could
    /// be made of tell only how others are used.
    pub fn join(
        devices: &[BlockDevice],
        mounts: &[Mount],
        physical: Vec<SeenPhysicalVolume>,
        mut looks: BTreeMap<String, Result<Look, String>>,
        pools: &[PoolEntry],
    ) -> Self {
        let named: BTreeSet<DeviceType> = pools
            .iter()
            .filter_map(|it| it.spec.devices.as_ref())
            .flat_map(|it| it.types.clone())
            .collect();
        let tree = Tree { devices, mounts };
        let shown = devices.iter().filter(|it| it.kind.is_some_and(|it| is_shown(it, &named)));
        let disks = shown
            .map(|device| Disk {
                look: looks.remove(&device.name),
                physical: physical.iter().find(|it| is_on(it, device)).cloned(),
                ..tree.disk(device)
            })
            .collect();
        Self { disks, physical, ..Self::default() }
    }

    /// Every device, whatever it is, and how it is used; nobody has looked at them or asked LVM.
    pub fn of_all(devices: &[BlockDevice], mounts: &[Mount]) -> Self {
        let tree = Tree { devices, mounts };
        Self { disks: devices.iter().map(|it| tree.disk(it)).collect(), ..Self::default() }
    }
}

/// How devices are made of each other.
struct Tree<'a> {
    devices: &'a [BlockDevice],
    mounts: &'a [Mount],
}

impl Tree<'_> {
    fn disk(&self, device: &BlockDevice) -> Disk {
        Disk {
            uses: self.uses(device),
            look: None,
            physical: None,
            device: device.clone(),
            unheld: None,
            failed: None,
            reserved: None,
        }
    }

    fn uses(&self, device: &BlockDevice) -> Vec<Use> {
        let mut uses = Vec::new();
        for name in self.above(&device.name) {
            let Some(found) = self.named(&name) else { continue };
            let on_it = |mount: &&Mount| (mount.device.major, mount.device.minor) == found.number;
            let mounted = self.mounts.iter().filter(on_it);
            uses.extend(mounted.map(|it| Use::Mounted { device: name.clone(), at: it.at.clone() }));
        }
        uses.sort();
        uses.dedup();
        let partitions = self.partitions(&device.name);
        if !partitions.is_empty() {
            uses.push(Use::Partitioned(partitions));
        }
        uses.extend(device.holders.iter().map(|holder| self.holder(holder)));
        uses
    }

    fn holder(&self, name: &str) -> Use {
        let found = self.named(name);
        let mapped = found.and_then(|it| it.mapped_as.as_deref()).unwrap_or_default();
        let shown = found.and_then(|it| it.links.first()).map(|it| it.display().to_string());
        let shown = shown.unwrap_or_else(|| name.to_owned());
        match found.and_then(|it| it.kind) {
            Some(DeviceType::Multipath) => Use::PathOf(shown),
            Some(DeviceType::Raid) => Use::Below(format!("the RAID {shown}")),
            Some(DeviceType::Crypt) => Use::Below(format!("the encrypted device {shown}")),
            _ if mapped.starts_with("LVM-") => Use::Below(format!("the logical volume {shown}")),
            _ => Use::Below(format!("the device {shown}")),
        }
    }

    /// The device and all that is made of it.
    fn above(&self, name: &str) -> BTreeSet<String> {
        let (mut found, mut next) = (BTreeSet::new(), vec![name.to_owned()]);
        while let Some(name) = next.pop() {
            next.extend(self.partitions(&name));
            next.extend(self.named(&name).into_iter().flat_map(|it| it.holders.clone()));
            found.insert(name);
            next.retain(|it| !found.contains(it));
        }
        found
    }

    fn partitions(&self, of: &str) -> Vec<String> {
        let parts = self.devices.iter().filter(|it| it.partition_of.as_deref() == Some(of));
        parts.map(|it| it.name.clone()).collect()
    }

    fn named(&self, name: &str) -> Option<&BlockDevice> {
        self.devices.iter().find(|it| it.name == name)
    }
}

#[cfg(test)]
pub(crate) mod example {
    //! Disks for tests.

    use super::*;
    use crate::fs::Edges;

    /// A spinning disk of 100Gi, by Sata, with a name that stays and an identity of its own.
    pub(crate) fn disk(name: &str) -> BlockDevice {
        let minor = name.bytes().map(u64::from).fold(0, |sum, byte| sum * 31 + byte);
        BlockDevice {
            name: name.to_owned(),
            number: (8, minor),
            path: format!("/dev/{name}").into(),
            links: vec![format!("/dev/disk/by-id/ata-{name}").into()],
            serial: Some(format!("S-{name}")),
            wwn: Some(format!("naa.{name}")),
            ..crate::device::example()
        }
    }

    /// What is at the edges of an empty disk.
    pub(crate) fn nothing() -> Look {
        Look { signature: None, edges: Edges::Zero }
    }
}

#[cfg(test)]
mod tests {
    use nix::mount::MsFlags;

    use super::{example::disk, *};
    use crate::{
        fs::{Access, DeviceNumber},
        lvm::SeenGroup,
    };

    fn mounted(device: &BlockDevice, at: &str) -> Mount {
        Mount {
            device: DeviceNumber { major: device.number.0, minor: device.number.1 },
            root: "/".into(),
            at: at.into(),
            access: Access::ReadWrite,
            flags: MsFlags::empty(),
            fs_type: "ext4".to_owned(),
        }
    }

    fn physical(device: &str, number: Option<(u64, u64)>) -> SeenPhysicalVolume {
        let group = SeenGroup {
            name: "vg0".parse().unwrap(),
            uuid: "g".to_owned(),
            tags: Vec::new(),
            missing: 0,
            elsewhere: false,
        };
        let uuid = "u".to_owned();
        SeenPhysicalVolume {
            device: device.into(),
            number,
            uuid,
            duplicate: false,
            missing: false,
            leaving: false,
            allocatable: true,
            group: Some(group),
            footprint: None,
        }
    }

    #[test]
    fn what_is_above_a_disk_is_its_use() {
        let part = BlockDevice {
            kind: Some(DeviceType::Partition),
            partition_of: Some("sda".to_owned()),
            holders: vec!["dm-0".to_owned()],
            ..disk("sda1")
        };
        let volume = BlockDevice {
            kind: None,
            mapped_as: Some("LVM-x".to_owned()),
            links: vec!["/dev/mapper/vg-root".into()],
            ..disk("dm-0")
        };
        let mounts = [mounted(&volume, "/"), mounted(&disk("sdz"), "/elsewhere")];
        let devices = [disk("sda"), part, volume, disk("sdb")];
        let survey = Survey::join(&devices, &mounts, Vec::new(), BTreeMap::new(), &[]);
        let names: Vec<_> = survey.disks.iter().map(|it| it.device.name.as_str()).collect();
        assert_eq!(names, ["sda", "sdb"], "partitions and volumes are not shown");
        let root = Use::Mounted { device: "dm-0".to_owned(), at: "/".into() };
        assert_eq!(survey.disks[0].uses, [root, Use::Partitioned(vec!["sda1".to_owned()])]);
        assert!(survey.disks[1].uses.is_empty());
    }

    #[test]
    fn holders_are_named() {
        let map = BlockDevice {
            kind: Some(DeviceType::Multipath),
            links: vec!["/dev/mapper/mpatha".into()],
            ..disk("dm-1")
        };
        let path = BlockDevice { holders: vec!["dm-1".to_owned()], ..disk("sda") };
        let raid = BlockDevice { kind: Some(DeviceType::Raid), links: Vec::new(), ..disk("md0") };
        let member = BlockDevice { holders: vec!["md0".to_owned()], ..disk("sdb") };
        let cached = BlockDevice { holders: vec!["bcache0".to_owned()], ..disk("sdc") };
        let survey =
            Survey::join(&[path, map, member, raid, cached], &[], Vec::new(), BTreeMap::new(), &[]);
        let uses = |name: &str| {
            survey.disks.iter().find(|it| it.device.name == name).unwrap().uses.clone()
        };
        assert_eq!(uses("sda"), [Use::PathOf("/dev/mapper/mpatha".to_owned())]);
        assert_eq!(uses("sdb"), [Use::Below("the RAID md0".to_owned())]);
        assert_eq!(uses("sdc"), [Use::Below("the device bcache0".to_owned())]);
    }

    #[test]
    fn physical_volumes_are_found_by_number_or_else_by_name() {
        let devices = [disk("sda"), disk("sdb"), disk("sdc")];
        // LVM may call a device by any of its names.
        let by_number = physical("/dev/whatever", Some(devices[0].number));
        let by_name = physical("/dev/disk/by-id/ata-sdb", None);
        let physical = vec![by_number.clone(), by_name.clone()];
        let looked: Vec<_> =
            worth_a_look(&devices, &physical, &[]).iter().map(|it| it.name.clone()).collect();
        assert_eq!(looked, ["sdc"]);
        let survey = Survey::join(&devices, &[], physical, BTreeMap::new(), &[]);
        let found: Vec<_> = survey.disks.iter().map(|it| it.physical.clone()).collect();
        assert_eq!(found, [Some(by_number), Some(by_name), None]);
    }

    #[test]
    fn what_sleeps_is_not_woken() {
        let suspended = BlockDevice { suspended: true, ..disk("dm-1") };
        assert!(worth_a_look(&[suspended], &[], &[]).is_empty());
    }
}
