//! By what a device is known again, whatever the kernel calls it then. Pure.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{device::BlockDevice, units::Bytes};

/// A device as it was when it became a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity {
    /// The entry through which it was found: all that tells of a device that has no identity of its own.
    pub(super) entry: PathBuf,
    /// Its size.
    pub(super) bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wwn: Option<String>,
    /// What device-mapper knows it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mapped_as: Option<String>,
    /// Which partition it is of its disk, whose model, serial and world wide name the others are then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) partition: Option<u64>,
}

impl Identity {
    pub(super) fn of(device: &BlockDevice, entry: &Path) -> Self {
        Self {
            entry: entry.to_owned(),
            bytes: device.size.0,
            model: device.model.clone(),
            serial: device.serial.clone(),
            wwn: device.wwn.clone(),
            mapped_as: device.mapped_as.clone(),
            partition: partition(device),
        }
    }

    /// Those of the devices that are it. `leads` says to which device an entry leads.
    pub(super) fn find<'a>(
        &self,
        devices: &'a [BlockDevice],
        leads: impl Fn(&Path) -> Option<(u64, u64)>,
    ) -> Vec<&'a BlockDevice> {
        if !self.lasts() {
            let number = leads(&self.entry);
            let is_it = |it: &&BlockDevice| Some(it.number) == number && it.size.0 == self.bytes;
            return devices.iter().filter(is_it).collect();
        }
        devices.iter().filter(|it| self.is_of(it)).collect()
    }

    /// Whether a device may be it, as far as that can be told without what is on it.
    pub(super) fn may_be(&self, device: &BlockDevice) -> bool {
        match self.lasts() {
            true => self.is_of(device),
            false => self.bytes == device.size.0,
        }
    }

    /// Whether the device has an identity of its own.
    pub(super) fn lasts(&self) -> bool {
        self.serial.is_some() || self.wwn.is_some() || self.mapped_as.is_some()
    }

    /// What was not known of it may be known now; a device that has become smaller is another.
    fn is_of(&self, device: &BlockDevice) -> bool {
        let same = |had: &Option<String>, has: &Option<String>| had.is_none() || had == has;
        self.mapped_as == device.mapped_as
            && self.partition == partition(device)
            && same(&self.wwn, &device.wwn)
            && same(&self.serial, &device.serial)
            && same(&self.model, &device.model)
            && self.bytes <= device.size.0
    }

    /// For people.
    pub(super) fn described(&self) -> String {
        let mut parts = vec![Bytes(self.bytes).to_string()];
        parts.extend(self.model.clone());
        parts.extend(self.serial.as_ref().map(|it| format!("serial {it}")));
        let serial_is_known = self.serial.is_some();
        parts.extend(self.wwn.as_ref().filter(|_| !serial_is_known).map(|it| format!("wwn {it}")));
        parts.extend(self.partition.map(|it| format!("partition {it}")));
        format!("{} ({})", self.entry.display(), parts.join(", "))
    }
}

/// The number at the end of a partition's name (`nvme0n1p2`, `sda2`).
fn partition(device: &BlockDevice) -> Option<u64> {
    let disk = device.partition_of.as_ref()?;
    let rest = device.name.strip_prefix(disk.as_str())?;
    rest.trim_start_matches('p').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::survey::example::disk;

    fn names(found: &[&BlockDevice]) -> Vec<String> {
        found.iter().map(|it| it.name.clone()).collect()
    }

    fn part(of: &BlockDevice, name: &str) -> BlockDevice {
        let (serial, wwn) = (of.serial.clone(), of.wwn.clone());
        BlockDevice { partition_of: Some(of.name.clone()), serial, wwn, ..disk(name) }
    }

    #[test]
    fn it_is_found_under_another_name() {
        let was = Identity::of(&disk("sda"), Path::new("/mnt/a"));
        let now = BlockDevice { name: "sdq".to_owned(), number: (65, 0), ..disk("sda") };
        let devices = [disk("sdb"), now];
        assert_eq!(names(&was.find(&devices, |_| None)), ["sdq"]);
        let smaller = [BlockDevice { size: Bytes::gib(1), ..disk("sda") }];
        assert_eq!(names(&was.find(&smaller, |_| Some((8, 0)))), Vec::<String>::new());
    }

    #[test]
    fn a_partition_is_not_its_disk() {
        let of = disk("nvme0n1");
        let devices = [of.clone(), part(&of, "nvme0n1p1"), part(&of, "nvme0n1p2")];
        let find = |device: &BlockDevice| {
            let identity = Identity::of(device, Path::new("/mnt/a"));
            names(&identity.find(&devices, |_| None))
        };
        assert_eq!(find(&devices[0]), ["nvme0n1"]);
        assert_eq!(find(&devices[2]), ["nvme0n1p2"]);
    }

    #[test]
    fn one_that_is_there_twice_is_found_twice() {
        let path = BlockDevice { name: "sdb".to_owned(), number: (8, 16), ..disk("sda") };
        let devices = [disk("sda"), path];
        let was = Identity::of(&devices[0], Path::new("/mnt/a"));
        assert_eq!(names(&was.find(&devices, |_| None)), ["sda", "sdb"]);
    }

    #[test]
    fn without_an_identity_the_entry_and_the_size_tell() {
        let plain = BlockDevice { serial: None, wwn: None, ..disk("loop1") };
        let was = Identity::of(&plain, Path::new("/mnt/a"));
        let devices = [plain.clone(), BlockDevice { number: (7, 9), ..plain.clone() }];
        let found = was.find(&devices, |entry| {
            assert_eq!(entry, Path::new("/mnt/a"));
            Some(plain.number)
        });
        assert_eq!(found, [&plain]);
        let larger = [BlockDevice { size: Bytes::gib(101), ..plain.clone() }];
        assert_eq!(was.find(&larger, |_| Some(plain.number)), Vec::<&BlockDevice>::new());
    }
}
