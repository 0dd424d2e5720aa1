//! Block devices as `/sys/class/block` shows them (kernel, Documentation/ABI/stable/sysfs-block),
//! with the links that udev has made for them, where there is udev.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    Error,
    block::{BlockDevice, DeviceType, Transport},
    host::failed,
};
use crate::units::Bytes;

/// The unit of `size` in sysfs, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

/// Drivers whose devices are never a node's own disk: optical drives, floppies, memory, and volumes
/// that come from elsewhere over a network and are another driver's.
const NEVER: &[&str] = &["sr", "fd", "ram", "zram", "nbd", "rbd", "drbd", "zd", "mtdblock"];

/// Where a part of a device's path in sysfs tells how it is attached; the first that fits counts.
const TRANSPORTS: &[(&str, Transport)] = &[
    ("/usb", Transport::Usb),
    ("/session", Transport::Iscsi),
    ("/rport-", Transport::FibreChannel),
    ("/end_device-", Transport::Sas),
    ("/ata", Transport::Sata),
    ("/nvme", Transport::Nvme),
    ("/mmc", Transport::Mmc),
    ("/virtio", Transport::Virtio),
];

/// Every block device with a size; of mapped devices that are nothing to make pools of, of which a node may have
/// thousands, only names, size and holders. `sys` and `dev` are `/sys` and `/dev`. A device that vanishes
/// meanwhile is left out.
pub(super) fn list(sys: &Path, dev: &Path) -> Result<Vec<BlockDevice>, Error> {
    let class = sys.join("class/block");
    let fail = |source| failed("list", &class)(source);
    let links = links(dev);
    let mut found = Vec::new();
    for entry in fs::read_dir(&class).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        found.extend(read(&entry.path(), &name, dev, &links));
    }
    found.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    Ok(found)
}

/// Whether anything below a device, which is given as sysfs has it, is gone: the link to it leads nowhere.
pub(super) fn leads_nowhere(device: &Path) -> io::Result<bool> {
    let below = match fs::read_dir(device.join("slaves")) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
        below => below?,
    };
    for link in below {
        let link = link?.path();
        if !link.try_exists()? || leads_nowhere(&link)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The links below /dev/disk, by the name of the device that they lead to.
fn links(dev: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut links: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let entries = |at: &Path| fs::read_dir(at).into_iter().flatten().flatten();
    for kind in entries(&dev.join("disk")) {
        for link in entries(&kind.path()) {
            let Ok(to) = fs::read_link(link.path()) else { continue };
            let Some(name) = to.file_name().and_then(|it| it.to_str()) else { continue };
            links.entry(name.to_owned()).or_default().push(link.path());
        }
    }
    links.values_mut().for_each(|it| it.sort());
    links
}

fn read(
    at: &Path,
    name: &str,
    dev: &Path,
    links: &BTreeMap<String, Vec<PathBuf>>,
) -> Option<BlockDevice> {
    let home = home_of(at);
    let text = |file: &str| text(&home.join(file));
    let is = |file: &str| text(file).is_some_and(|it| it != "0");
    let size = text("size")?.parse::<u64>().ok()?.checked_mul(SECTOR)?;
    if size == 0 {
        return None;
    }
    let (number, path) = (number(&text("dev")?)?, dev.join(name.replace('!', "/")));
    let mapped_as = text("dm/uuid");
    let mapper = text("dm/name").map(|it| dev.join("mapper").join(it));
    let links = mapper.into_iter().chain(links.get(name).cloned().unwrap_or_default()).collect();
    let holders = names_in(&home.join("holders"));
    let seen = BlockDevice {
        name: name.to_owned(),
        number,
        path,
        links,
        size: Bytes(size),
        mapped_as,
        holders,
        ..BlockDevice::default()
    };
    match &seen.mapped_as {
        Some(uuid) if mapped_kind(uuid).is_none() => return Some(seen),
        _ if is("hidden") => return None,
        _ => (),
    }
    let partition = text("partition").is_some();
    // What a partition inherits stands with its disk.
    let disk = if partition { home.parent()? } else { &home };
    let of_disk = |file: &str| self::text(&disk.join(file));
    let queue = |file: &str| of_disk(&format!("queue/{file}"));
    Some(BlockDevice {
        appearance: of_disk("diskseq").and_then(|it| it.parse().ok()).unwrap_or(0),
        kind: kind(&home, name, partition, seen.mapped_as.as_deref()),
        read_only: is("ro"),
        removable: of_disk("removable").is_some_and(|it| it != "0"),
        rotational: queue("rotational").is_some_and(|it| it != "0"),
        zoned: queue("zoned").is_some_and(|it| it != "none"),
        transport: transport(disk),
        model: of_disk("device/model").or_else(|| of_disk("device/name")),
        serial: serial(disk),
        wwn: of_disk("wwid").or_else(|| of_disk("device/wwid")),
        suspended: is("dm/suspended"),
        partition_of: partition.then(|| file_name(disk)).flatten(),
        ..seen
    })
}

fn kind(home: &Path, name: &str, partition: bool, mapped: Option<&str>) -> Option<DeviceType> {
    let driver = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let has = |file: &str| home.join(file).try_exists().unwrap_or(false);
    match mapped {
        Some(uuid) => mapped_kind(uuid),
        None if partition => Some(DeviceType::Partition),
        None if has("md") => Some(DeviceType::Raid),
        None if has("loop/backing_file") => Some(DeviceType::Loop),
        None if has("device") && !NEVER.contains(&driver) => Some(DeviceType::Disk),
        None => None,
    }
}

/// What a mapped device is, by its UUID; `None` for what is nothing to make pools of, like a logical volume.
fn mapped_kind(uuid: &str) -> Option<DeviceType> {
    const KINDS: [(&str, DeviceType); 3] = [
        ("mpath-", DeviceType::Multipath),
        ("CRYPT-", DeviceType::Crypt),
        ("part", DeviceType::Partition),
    ];
    KINDS.into_iter().find(|(prefix, _)| uuid.starts_with(prefix)).map(|(_, kind)| kind)
}

/// Where a device really is: its class has a link to it.
fn home_of(at: &Path) -> PathBuf {
    match (fs::read_link(at), at.parent()) {
        (Ok(target), Some(class)) => class.join(target),
        _ => at.to_owned(),
    }
}

fn transport(disk: &Path) -> Option<Transport> {
    let path = disk.to_string_lossy();
    let fits = |(part, _): &&(&str, Transport)| path.contains(part);
    TRANSPORTS.iter().find(fits).map(|(_, transport)| *transport)
}

/// Where drivers show a serial number: virtio beside the disk, NVMe and memory cards with the device
/// below, SCSI in page 0x80 of its vital product data, behind four bytes.
fn serial(disk: &Path) -> Option<String> {
    let page = || {
        let page = fs::read(disk.join("device/vpd_pg80")).ok()?;
        plain(page.get(4..)?)
    };
    let shown = text(&disk.join("serial")).or_else(|| text(&disk.join("device/serial")));
    shown.or_else(page).filter(|it| tells_apart(it))
}

/// Whether a serial number is one: some makers and drivers write the same on all their disks.
fn tells_apart(serial: &str) -> bool {
    const SAME_ON_ALL: &[&str] = &["(null)", "None", "none", "Default string", "0123456789ABCDEF"];
    !SAME_ON_ALL.contains(&serial) && serial.chars().any(|c| !matches!(c, '0' | ' ' | '.' | '-'))
}

/// What a file of sysfs says, if it says anything. One read has all of it: it is no longer than a page.
fn text(path: &Path) -> Option<String> {
    let mut page = [0; 4096];
    let length = fs::File::open(path).ok()?.read(&mut page).ok()?;
    plain(page.get(..length)?)
}

/// Text for people: without what cannot be shown, and with single spaces.
fn plain(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = shown.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn number(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|it: fs::DirEntry| it.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().and_then(|it| it.to_str()).map(str::to_owned)
}

/// Whether the node at `path` is the device of this number.
pub(super) fn is_node_of(path: &Path, number: (u64, u64)) -> io::Result<bool> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let data = fs::metadata(path)?;
    let found = (nix::sys::stat::major(data.rdev()), nix::sys::stat::minor(data.rdev()));
    Ok(data.file_type().is_block_device() && found == number)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Files of sysfs below a directory, as `path: text` lines; `path -> target` is a link.
    fn tree(at: &Path, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|it| !it.is_empty()) {
            match line.split_once(" -> ") {
                Some((link, to)) => {
                    fs::create_dir_all(at.join(link).parent().unwrap()).unwrap();
                    symlink(to, at.join(link)).unwrap();
                }
                None => {
                    let (file, text) = line.split_once(": ").unwrap();
                    fs::create_dir_all(at.join(file).parent().unwrap()).unwrap();
                    fs::write(at.join(file), format!("{text}\n")).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_volume_on_a_disk_that_is_gone_leads_nowhere() {
        let machine = tempfile::tempdir().unwrap();
        let at = machine.path();
        tree(
            at,
            "
            block/sda/size: 8
            block/dm-0/slaves/sda -> ../../sda
            block/dm-1/slaves/sdb -> ../../sdb
            block/dm-2/slaves/sda -> ../../sda
            block/dm-2/slaves/dm-1 -> ../../dm-1
            ",
        );
        let found = ["sda", "dm-0", "dm-1", "dm-2"]
            .map(|name| leads_nowhere(&at.join("block").join(name)).unwrap());
        assert_eq!(found, [false, false, true, true]);
    }

    const MACHINE: &str = "
        sys/devices/pci0/ata1/host0/block/sda/dev: 8:0
        sys/devices/pci0/ata1/host0/block/sda/size: 2097152
        sys/devices/pci0/ata1/host0/block/sda/ro: 0
        sys/devices/pci0/ata1/host0/block/sda/hidden: 0
        sys/devices/pci0/ata1/host0/block/sda/diskseq: 7
        sys/devices/pci0/ata1/host0/block/sda/queue/rotational: 1
        sys/devices/pci0/ata1/host0/block/sda/queue/zoned: none
        sys/devices/pci0/ata1/host0/block/sda/device/model: WDC  WD40
        sys/devices/pci0/ata1/host0/block/sda/device/vpd_pg80: ....WD-1
        sys/devices/pci0/ata1/host0/block/sda/device/wwid: naa.50014ee2
        sys/devices/pci0/ata1/host0/block/sda/sda1/dev: 8:1
        sys/devices/pci0/ata1/host0/block/sda/sda1/size: 1048576
        sys/devices/pci0/ata1/host0/block/sda/sda1/partition: 1
        sys/devices/pci0/ata1/host0/block/sda/sda1/holders/dm-0: x
        sys/devices/pci0/nvme/nvme0/nvme0n1/dev: 259:0
        sys/devices/pci0/nvme/nvme0/nvme0n1/size: 2048
        sys/devices/pci0/nvme/nvme0/nvme0n1/queue/zoned: host-managed
        sys/devices/pci0/nvme/nvme0/nvme0n1/device/serial: S4
        sys/devices/virtual/block/dm-0/dev: 254:0
        sys/devices/virtual/block/dm-0/size: 2048
        sys/devices/virtual/block/dm-0/dm/name: vg-lv
        sys/devices/virtual/block/dm-0/dm/uuid: LVM-abc
        sys/devices/virtual/block/dm-1/dev: 254:1
        sys/devices/virtual/block/dm-1/size: 2048
        sys/devices/virtual/block/dm-1/dm/name: mpatha
        sys/devices/virtual/block/dm-1/dm/uuid: mpath-3600
        sys/devices/virtual/block/dm-1/dm/suspended: 1
        sys/devices/virtual/block/loop0/dev: 7:0
        sys/devices/virtual/block/loop0/size: 0
        sys/devices/pci0/ata2/host1/block/sr0/dev: 11:0
        sys/devices/pci0/ata2/host1/block/sr0/size: 2048
        sys/devices/pci0/ata2/host1/block/sr0/device/model: DVD
        sys/class/block/sda -> ../../devices/pci0/ata1/host0/block/sda
        sys/class/block/sda1 -> ../../devices/pci0/ata1/host0/block/sda/sda1
        sys/class/block/nvme0n1 -> ../../devices/pci0/nvme/nvme0/nvme0n1
        sys/class/block/dm-0 -> ../../devices/virtual/block/dm-0
        sys/class/block/dm-1 -> ../../devices/virtual/block/dm-1
        sys/class/block/loop0 -> ../../devices/virtual/block/loop0
        sys/class/block/sr0 -> ../../devices/pci0/ata2/host1/block/sr0
        dev/disk/by-id/wwn-0x50014ee2 -> ../../sda
        dev/disk/by-id/ata-WDC_WD40_WD-1 -> ../../sda
        dev/disk/by-path/pci-0-ata-1 -> ../../sda
        dev/disk/by-path/pci-0-ata-1-part1 -> ../../sda1
    ";

    fn machine() -> Vec<BlockDevice> {
        let at = tempfile::tempdir().unwrap();
        tree(at.path(), MACHINE);
        let mut found = list(&at.path().join("sys"), &at.path().join("dev")).unwrap();
        let rooted = |path: &mut PathBuf| {
            *path = Path::new("/").join(path.strip_prefix(at.path()).unwrap());
        };
        for device in &mut found {
            rooted(&mut device.path);
            device.links.iter_mut().for_each(rooted);
        }
        found
    }

    fn device(name: &str) -> BlockDevice {
        machine().into_iter().find(|it| it.name == name).unwrap()
    }

    #[test]
    fn a_disk_with_all_its_names() {
        let disk = device("sda");
        assert_eq!((disk.number, disk.size, disk.appearance), ((8, 0), Bytes::GIB, 7));
        assert_eq!((disk.kind, disk.transport), (Some(DeviceType::Disk), Some(Transport::Sata)));
        assert!(disk.rotational && !disk.zoned && !disk.read_only);
        assert_eq!(disk.model.as_deref(), Some("WDC WD40"));
        assert_eq!(disk.serial.as_deref(), Some("WD-1"));
        assert_eq!(disk.wwn.as_deref(), Some("naa.50014ee2"));
        let names: Vec<_> = disk.names().map(|it| it.to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "/dev/sda",
                "/dev/disk/by-id/ata-WDC_WD40_WD-1",
                "/dev/disk/by-id/wwn-0x50014ee2",
                "/dev/disk/by-path/pci-0-ata-1"
            ]
        );
        assert_eq!(disk.stable_name().unwrap(), Path::new(names[1]));
    }

    #[test]
    fn a_partition_has_what_its_disk_has() {
        let part = device("sda1");
        assert_eq!(part.kind, Some(DeviceType::Partition));
        assert_eq!(part.partition_of.as_deref(), Some("sda"));
        assert_eq!((part.size, part.rotational), (Bytes::mib(512), true));
        assert_eq!(part.model.as_deref(), Some("WDC WD40"));
        assert_eq!(part.holders, ["dm-0"]);
    }

    #[test]
    fn kinds_and_what_is_left_out() {
        let kinds: Vec<_> = machine().iter().map(|it| (it.name.clone(), it.kind)).collect();
        let kind = |name: &str| kinds.iter().find(|it| it.0 == name).map(|it| it.1);
        assert_eq!(kind("nvme0n1"), Some(Some(DeviceType::Disk)));
        assert_eq!(kind("dm-0"), Some(None), "a logical volume is nothing to make pools of");
        assert_eq!(kind("dm-1"), Some(Some(DeviceType::Multipath)));
        assert_eq!(kind("sr0"), Some(None));
        assert_eq!(kind("loop0"), None, "no file is attached");
        assert!(device("dm-1").suspended && device("nvme0n1").zoned);
        assert_eq!(device("nvme0n1").serial.as_deref(), Some("S4"));
        assert_eq!(device("dm-1").links, [Path::new("/dev/mapper/mpatha")]);
    }

    #[test]
    fn a_serial_number_tells_disks_apart() {
        assert!(tells_apart("WD-1") && tells_apart("00010"));
        assert!(!tells_apart("(null)") && !tells_apart("0000"));
    }

    #[test]
    fn another_disk_of_the_same_name_is_another() {
        let (one, mut other) = (device("sda"), device("sda"));
        assert!(one.is_still(&other));
        other.appearance += 1;
        assert!(!one.is_still(&other));
    }
}
