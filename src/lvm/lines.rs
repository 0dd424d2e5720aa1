//! The command line of each verb.
//!
//! `--yes` because nobody is there to answer; it is left out where LVM would ask before it wipes a
//! signature that we did not expect. Sizes are in bytes, so that no unit is guessed.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    Backing, CreateGroup, CreatePhysicalVolume, CreateSnapshot, CreateThinPool, CreateVolume,
    Layout, LvName, MoveExtents, Place, RepairRaid, SnapshotKind, Tag, VgName,
};
use crate::{process::Invocation, units::Bytes};

/// Keeps LVM from starting `dmeventd` (lvm.conf(5), activation/monitoring): Tarn watches its pools
/// itself, and a daemon started from a container would die with it.
const UNMONITORED: [&str; 2] = ["--config", "activation/monitoring=0"];

pub(super) fn version() -> Invocation {
    Invocation::reads("lvm").arg("version")
}

/// One command for everything that [`super::report::read`] needs. The segment report cannot be
/// left out, so it is cut to two fields. Unbuffered means unsorted: disks come in the group's own
/// order, which allocation follows.
pub(super) fn report(vg: &VgName) -> Invocation {
    const REPORTS: [(&str, &str); 5] = [
        ("vg", "vg_name,vg_uuid,vg_extent_size,vg_extent_count,vg_free_count,vg_tags"),
        ("pv", "pv_uuid,pv_name,pv_missing,pv_allocatable,pv_pe_count"),
        (
            "lv",
            "lv_name,lv_uuid,lv_size,lv_layout,lv_role,lv_active,lv_suspended,\
             lv_health_status,origin,origin_size,pool_lv,data_percent,metadata_percent,copy_percent,lv_tags",
        ),
        ("pvseg", "pv_uuid,pvseg_start,pvseg_size,lv_name,lv_health_status"),
        ("seg", "lv_uuid,thin_id"),
    ];
    let command = Invocation::reads("lvm").args([
        "fullreport",
        "--reportformat",
        "json",
        "--units",
        "b",
        "--nosuffix",
        "--binary",
    ]);
    let command = REPORTS.iter().fold(command, |command, (report, fields)| {
        command.args(["--configreport", report, "--options", fields])
    });
    command.arg(vg.as_str())
}

/// What depends on the volumes of a group; see [`super::report::dependents`].
pub(super) fn dependents(vg: &VgName) -> Invocation {
    Invocation::reads("lvs")
        .args(["--reportformat", "json", "--options", "lv_name,lv_role,origin,pool_lv"])
        .args(["--options", "+lv_health_status", vg.as_str()])
}

/// Every physical volume; the rest is read by [`super::physical::read`].
pub(super) fn physical_volumes() -> Invocation {
    const FIELDS: &str = "pv_name,pv_uuid,pv_major,pv_minor,pv_duplicate,pv_missing,pv_tags,vg_name,vg_uuid,vg_tags,\
                          vg_exported,vg_shared,vg_missing_pv_count,\
                          dev_size,pe_start,pv_pe_count,pv_pe_alloc_count,pv_mda_count,vg_extent_size";
    Invocation::reads("pvs")
        .args(["--reportformat", "json", "--units", "b", "--nosuffix", "--binary"])
        .args(["--options", FIELDS])
}

/// Without `--yes`: a device on which LVM finds a signature is refused, not wiped. A UUID that is
/// given needs `--norestorefile`, as there is no backup to take the rest from.
pub(super) fn create_physical_volume(wanted: &CreatePhysicalVolume, uuid: &str) -> Invocation {
    Invocation::changes("pvcreate")
        .args(["--uuid", uuid, "--norestorefile"])
        .args(["--metadatasize", &bytes(wanted.metadata)])
        .arg(&wanted.device)
}

/// Without `--yes`, as it would make a device that is no physical volume one.
pub(super) fn create_group(wanted: &CreateGroup) -> Invocation {
    Invocation::changes("vgcreate")
        .args(tagged("--addtag", &wanted.tags))
        .arg(wanted.vg.as_str())
        .args(&wanted.devices)
}

/// Without `--yes`, as it would make a device that is no physical volume one.
pub(super) fn extend_group(vg: &VgName, devices: &[PathBuf]) -> Invocation {
    Invocation::changes("vgextend").arg(vg.as_str()).args(devices)
}

pub(super) fn take_back(vg: &VgName, device: &Path) -> Invocation {
    Invocation::changes("vgextend").arg("--restoremissing").arg(vg.as_str()).arg(device)
}

/// The tag of a physical volume that is to leave its group.
pub(super) const LEAVING: &str = "tarn.leaving";

pub(super) fn set_leaving(device: &Path, leaving: bool) -> Invocation {
    let (allocatable, tag) = if leaving { ("n", "--addtag") } else { ("y", "--deltag") };
    yes("pvchange").args(["--allocatable", allocatable, tag, LEAVING]).arg(device)
}

/// Without lvmpolld, which would die with a container: the kernel copies, and the next call finishes.
pub(super) fn move_extents(wanted: &MoveExtents) -> Invocation {
    let MoveExtents { device, first, count, .. } = wanted;
    let last = (first + count).saturating_sub(1);
    yes("pvmove")
        .args(["--config", "activation/monitoring=0 global/use_lvmpolld=0", "--interval", "1"])
        .arg(format!("{}:{first}-{last}", device.display()))
}

pub(super) fn reduce_group(vg: &VgName, device: &Path) -> Invocation {
    yes("vgreduce").arg(vg.as_str()).arg(device)
}

pub(super) fn tag_group(vg: &VgName, add: &[Tag], remove: &[Tag]) -> Invocation {
    let command = yes("vgchange").args(UNMONITORED);
    command.args(tagged("--addtag", add)).args(tagged("--deltag", remove)).arg(vg.as_str())
}

pub(super) fn repair(wanted: &RepairRaid) -> Invocation {
    yes("lvconvert")
        .args(UNMONITORED)
        .arg("--repair")
        .arg(path(&wanted.vg, &wanted.lv))
        .args(wanted.on.iter().map(named))
}

/// A device of a RAID's leg that no volume of LVM's is behind.
pub(super) fn remove_device(name: &str) -> Invocation {
    Invocation::changes("dmsetup").args(["remove", name])
}

/// Without `--force`, which would remove what lies on a missing disk, too.
pub(super) fn forget_missing(vg: &VgName) -> Invocation {
    yes("vgreduce").args(UNMONITORED).arg("--removemissing").arg(vg.as_str())
}

/// Without `--yes` and `--force`: what is in a group is left alone.
pub(super) fn remove_physical_volume(device: &Path) -> Invocation {
    Invocation::changes("pvremove").arg(device)
}

pub(super) fn resize_physical_volume(device: &Path) -> Invocation {
    Invocation::changes("pvresize").arg("--yes").arg(device)
}

pub(super) fn activate_group(vg: &VgName) -> Invocation {
    yes("vgchange").args(UNMONITORED).args(["--activate", "y", vg.as_str()])
}

/// `lvcreate --errorwhenfull` is refused together with the creation of a pool (2.03.16), so the
/// setting is given as configuration; LVM stores it with the pool.
pub(super) fn create_thin_pool(wanted: &CreateThinPool) -> Invocation {
    yes("lvcreate")
        .args(["--config", "activation/monitoring=0 activation/error_when_full=1"])
        .args(["--type", "thin-pool", "--zero", "y", "--poolmetadataspare", "y"])
        .args(["--name", wanted.name.as_str(), "--size", &bytes(wanted.size)])
        .args(laid_out(wanted.layout))
        .arg(wanted.vg.as_str())
}

/// A thin volume needs no wiping: its pool zeroes every new block.
pub(super) fn create_volume(wanted: &CreateVolume) -> Invocation {
    let size = bytes(wanted.size);
    let command = match &wanted.backing {
        Backing::Thick(layout) => yes("lvcreate")
            .args(unmonitored(*layout))
            .args(["--wipesignatures", "y", "--zero", "y", "--size", &size])
            .args(laid_out(*layout)),
        Backing::Thin(pool) => yes("lvcreate").args(UNMONITORED).args([
            "--virtualsize",
            &size,
            "--thinpool",
            pool.as_str(),
        ]),
    };
    command
        .args(["--name", wanted.name.as_str()])
        .args(tagged("--addtag", &wanted.tags))
        .arg(wanted.vg.as_str())
        .args(wanted.on.iter().map(named))
}

pub(super) fn create_snapshot(wanted: &CreateSnapshot) -> Invocation {
    let command = yes("lvcreate").args(UNMONITORED).arg("--snapshot");
    let command = match wanted.kind {
        SnapshotKind::ThinFrozen => command.args(["--permission", "r", "--setactivationskip", "y"]),
        SnapshotKind::ThinWritable => {
            command.args(["--permission", "rw", "--setactivationskip", "n"])
        }
        SnapshotKind::CopyOnWrite(room) => {
            command.args(["--permission", "rw", "--size", &bytes(room)])
        }
    };
    command
        .args(["--name", wanted.name.as_str()])
        .args(tagged("--addtag", &wanted.tags))
        .arg(path(&wanted.vg, &wanted.origin))
}

pub(super) fn extend(vg: &VgName, lv: &LvName, size: Bytes, on: &[Place]) -> Invocation {
    let command = yes("lvextend").args(UNMONITORED).args(["--size", &bytes(size)]);
    command.arg(path(vg, lv)).args(on.iter().map(named))
}

pub(super) fn rename(vg: &VgName, from: &LvName, to: &LvName) -> Invocation {
    yes("lvrename").args([vg.as_str(), from.as_str(), to.as_str()])
}

pub(super) fn remove(vg: &VgName, lv: &LvName) -> Invocation {
    yes("lvremove").arg(path(vg, lv))
}

pub(super) fn split_snapshot(vg: &VgName, lv: &LvName) -> Invocation {
    yes("lvconvert").args(UNMONITORED).arg("--splitsnapshot").arg(path(vg, lv))
}

pub(super) fn change_tags(vg: &VgName, lv: &LvName, add: &[Tag], remove: &[Tag]) -> Invocation {
    yes("lvchange").args(tagged("--addtag", add)).args(tagged("--deltag", remove)).arg(path(vg, lv))
}

pub(super) fn activate(vg: &VgName, lv: &LvName) -> Invocation {
    yes("lvchange")
        .args(UNMONITORED)
        .args(["--activate", "y", "--ignoreactivationskip"])
        .arg(path(vg, lv))
}

pub(super) fn deactivate(vg: &VgName, lv: &LvName) -> Invocation {
    yes("lvchange").args(["--activate", "n"]).arg(path(vg, lv))
}

pub(super) fn refresh(vg: &VgName, lv: &LvName) -> Invocation {
    yes("lvchange").args(UNMONITORED).arg("--refresh").arg(path(vg, lv))
}

fn yes(program: &'static str) -> Invocation {
    Invocation::changes(program).arg("--yes")
}

fn bytes(size: Bytes) -> String {
    format!("{}b", size.0)
}

/// A disk and the extents of it that may be taken: `PV:FROM-TO:FROM-TO` (lvm(8)).
fn named(place: &Place) -> OsString {
    let mut text = OsString::from(&place.device);
    for stretch in &place.stretches {
        let last = stretch.start + stretch.length.saturating_sub(1);
        text.push(format!(":{}-{last}", stretch.start));
    }
    text
}

fn path(vg: &VgName, lv: &LvName) -> String {
    format!("{vg}/{lv}")
}

fn tagged<'a>(option: &'a str, tags: &'a [Tag]) -> impl Iterator<Item = &'a str> {
    tags.iter().flat_map(move |tag| [option, tag.as_str()])
}

fn laid_out(layout: Layout) -> Vec<OsString> {
    let (level, mirrors, stripes, stripe_size) = match layout {
        Layout::Linear => (None, None, None, None),
        Layout::Striped { stripes, stripe_size } => (None, None, Some(stripes), stripe_size),
        Layout::Raid(raid) => (
            Some(raid.level.name().to_owned()),
            raid.level.mirrors().map(|_| raid.mirrors),
            raid.level.stripes().map(|_| raid.stripes),
            raid.stripe_size,
        ),
    };
    let options = [
        ("--type", level),
        ("--mirrors", mirrors.map(|it| it.to_string())),
        ("--stripes", stripes.map(|it| it.to_string())),
        ("--stripesize", stripe_size.map(bytes)),
    ];
    let given = options.into_iter().filter_map(|(option, value)| Some([option.to_owned(), value?]));
    given.flatten().map(OsString::from).collect()
}

/// LVM would have `dmeventd` watch RAID volumes, too.
fn unmonitored(layout: Layout) -> &'static [&'static str] {
    match layout {
        Layout::Linear | Layout::Striped { .. } => &[],
        Layout::Raid(_) => &UNMONITORED,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::lvm::{PvMark, Raid, RaidLevel, Stretch};

    fn vg() -> VgName {
        "vg0".parse().unwrap()
    }

    fn lv(name: &str) -> LvName {
        name.parse().unwrap()
    }

    fn tags(tags: &[&str]) -> Vec<Tag> {
        tags.iter().map(|tag| tag.parse().unwrap()).collect()
    }

    fn volume(backing: Backing) -> Invocation {
        let size = Bytes::GIB;
        let tags = tags(&["a=1", "b"]);
        create_volume(&CreateVolume {
            vg: vg(),
            name: lv("v"),
            size,
            backing,
            on: Vec::new(),
            tags,
        })
    }

    fn places() -> Vec<Place> {
        let stretch = |start, length| Stretch { start, length };
        let two = vec![stretch(0, 3), stretch(10, 1)];
        let of = |device: &str| Place { device: device.into(), stretches: two.clone() };
        vec![of("/dev/sda"), of("/dev/sdb")]
    }

    fn raid(
        level: RaidLevel,
        stripes: u32,
        mirrors: u32,
        stripe_size: Option<Bytes>,
    ) -> Invocation {
        let layout = Layout::Raid(Raid { level, stripes, mirrors, stripe_size });
        let (backing, tags) = (Backing::Thick(layout), tags(&["a=1"]));
        let on = places();
        let size = Bytes::GIB;
        create_volume(&CreateVolume { vg: vg(), name: lv("v"), size, backing, on, tags })
    }

    fn snapshot(kind: SnapshotKind) -> Invocation {
        let (origin, name, tags) = (lv("v"), lv("s"), tags(&["a=1"]));
        create_snapshot(&CreateSnapshot { vg: vg(), origin, name, kind, tags })
    }

    fn striped_over(stripes: u32, stripe_size: Option<Bytes>) -> Layout {
        Layout::Striped { stripes, stripe_size }
    }

    fn group() -> CreateGroup {
        let devices = vec!["/dev/sda".into(), "/dev/sdb".into()];
        CreateGroup { vg: vg(), devices, tags: tags(&["t"]) }
    }

    fn physical_volume() -> Invocation {
        let (device, mark) = ("/dev/sda".into(), PvMark::of("x"));
        let wanted = CreatePhysicalVolume { device, mark, metadata: Bytes::mib(16) };
        create_physical_volume(&wanted, "UUID")
    }

    fn pool(layout: Layout) -> Invocation {
        create_thin_pool(&CreateThinPool { vg: vg(), name: lv("pool"), size: Bytes::GIB, layout })
    }

    #[rstest]
    #[case::version(version(), "lvm version")]
    #[case::dependents(
        dependents(&vg()),
        "lvs --reportformat json --options lv_name,lv_role,origin,pool_lv --options +lv_health_status vg0"
    )]
    #[case::physical(
        physical_volume(),
        "pvcreate --uuid UUID --norestorefile --metadatasize 16777216b /dev/sda"
    )]
    #[case::extend_group(
        extend_group(&vg(), &["/dev/sda".into(), "/dev/sdb".into()]),
        "vgextend vg0 /dev/sda /dev/sdb"
    )]
    #[case::physical_volumes(
        physical_volumes(),
        "pvs --reportformat json --units b --nosuffix --binary --options pv_name,pv_uuid,pv_major,pv_minor,pv_duplicate,pv_missing,pv_tags,vg_name,vg_uuid,vg_tags,vg_exported,vg_shared,vg_missing_pv_count,dev_size,pe_start,pv_pe_count,pv_pe_alloc_count,pv_mda_count,vg_extent_size"
    )]
    #[case::group(create_group(&group()), "vgcreate --addtag t vg0 /dev/sda /dev/sdb")]
    #[case::take_back(
        take_back(&vg(), Path::new("/dev/sda")),
        "vgextend --restoremissing vg0 /dev/sda"
    )]
    #[case::leaving(
        set_leaving(Path::new("/dev/sda"), true),
        "pvchange --yes --allocatable n --addtag tarn.leaving /dev/sda"
    )]
    #[case::staying(
        set_leaving(Path::new("/dev/sda"), false),
        "pvchange --yes --allocatable y --deltag tarn.leaving /dev/sda"
    )]
    #[case::moving(
        move_extents(&MoveExtents { vg: vg(), device: "/dev/sda".into(), first: 8, count: 8 }),
        "pvmove --yes --config \"activation/monitoring=0 global/use_lvmpolld=0\" --interval 1 /dev/sda:8-15"
    )]
    #[case::tag_group(
        tag_group(&vg(), &tags(&["a=1"]), &tags(&["b"])),
        "vgchange --yes --config activation/monitoring=0 --addtag a=1 --deltag b vg0"
    )]
    #[case::repair(
        repair(&RepairRaid { vg: vg(), lv: lv("v"), on: places() }),
        "lvconvert --yes --config activation/monitoring=0 --repair vg0/v /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
    )]
    #[case::remove_device(remove_device("vg0-v_rmeta_2"), "dmsetup remove vg0-v_rmeta_2")]
    #[case::forget_missing(
        forget_missing(&vg()),
        "vgreduce --yes --config activation/monitoring=0 --removemissing vg0"
    )]
    #[case::reduce(reduce_group(&vg(), Path::new("/dev/sda")), "vgreduce --yes vg0 /dev/sda")]
    #[case::unmade(remove_physical_volume(Path::new("/dev/sda")), "pvremove /dev/sda")]
    #[case::resize(resize_physical_volume(Path::new("/dev/sda")), "pvresize --yes /dev/sda")]
    #[case::activate_group(
        activate_group(&vg()),
        "vgchange --yes --config activation/monitoring=0 --activate y vg0"
    )]
    #[case::pool(
        pool(Layout::Linear),
        "lvcreate --yes --config \"activation/monitoring=0 activation/error_when_full=1\" --type thin-pool --zero y --poolmetadataspare y --name pool --size 1073741824b vg0"
    )]
    #[case::striped_pool(
        pool(striped_over(2, None)),
        "lvcreate --yes --config \"activation/monitoring=0 activation/error_when_full=1\" --type thin-pool --zero y --poolmetadataspare y --name pool --size 1073741824b --stripes 2 vg0"
    )]
    #[case::linear(
        volume(Backing::Thick(Layout::Linear)),
        "lvcreate --yes --wipesignatures y --zero y --size 1073741824b --name v --addtag a=1 --addtag b vg0"
    )]
    #[case::striped(
        volume(Backing::Thick(striped_over(3, Some(Bytes::KIB)))),
        "lvcreate --yes --wipesignatures y --zero y --size 1073741824b --stripes 3 --stripesize 1024b --name v --addtag a=1 --addtag b vg0"
    )]
    #[case::raid1(
        raid(RaidLevel::Raid1, 1, 1, None),
        "lvcreate --yes --config activation/monitoring=0 --wipesignatures y --zero y --size 1073741824b --type raid1 --mirrors 1 --name v --addtag a=1 vg0 /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
    )]
    #[case::raid5(
        raid(RaidLevel::Raid5, 2, 0, Some(Bytes::KIB)),
        "lvcreate --yes --config activation/monitoring=0 --wipesignatures y --zero y --size 1073741824b --type raid5 --stripes 2 --stripesize 1024b --name v --addtag a=1 vg0 /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
    )]
    #[case::raid6(
        raid(RaidLevel::Raid6, 3, 0, None),
        "lvcreate --yes --config activation/monitoring=0 --wipesignatures y --zero y --size 1073741824b --type raid6 --stripes 3 --name v --addtag a=1 vg0 /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
    )]
    #[case::raid10(
        raid(RaidLevel::Raid10, 2, 1, None),
        "lvcreate --yes --config activation/monitoring=0 --wipesignatures y --zero y --size 1073741824b --type raid10 --mirrors 1 --stripes 2 --name v --addtag a=1 vg0 /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
    )]
    #[case::thin(
        volume(Backing::Thin(lv("pool"))),
        "lvcreate --yes --config activation/monitoring=0 --virtualsize 1073741824b --thinpool pool --name v --addtag a=1 --addtag b vg0"
    )]
    #[case::frozen(
        snapshot(SnapshotKind::ThinFrozen),
        "lvcreate --yes --config activation/monitoring=0 --snapshot --permission r --setactivationskip y --name s --addtag a=1 vg0/v"
    )]
    #[case::writable(
        snapshot(SnapshotKind::ThinWritable),
        "lvcreate --yes --config activation/monitoring=0 --snapshot --permission rw --setactivationskip n --name s --addtag a=1 vg0/v"
    )]
    #[case::copy_on_write(
        snapshot(SnapshotKind::CopyOnWrite(Bytes::MIB)),
        "lvcreate --yes --config activation/monitoring=0 --snapshot --permission rw --size 1048576b --name s --addtag a=1 vg0/v"
    )]
    #[case::extend(
        extend(&vg(), &lv("v"), Bytes::GIB, &[]),
        "lvextend --yes --config activation/monitoring=0 --size 1073741824b vg0/v"
    )]
    #[case::extend_on_disks(
        extend(&vg(), &lv("v"), Bytes::GIB, &places()),
        "lvextend --yes --config activation/monitoring=0 --size 1073741824b vg0/v /dev/sda:0-2:10-10 /dev/sdb:0-2:10-10"
    )]
    #[case::rename(rename(&vg(), &lv("v"), &lv("w")), "lvrename --yes vg0 v w")]
    #[case::remove(remove(&vg(), &lv("v")), "lvremove --yes vg0/v")]
    #[case::split(
        split_snapshot(&vg(), &lv("s")),
        "lvconvert --yes --config activation/monitoring=0 --splitsnapshot vg0/s"
    )]
    #[case::tags(
        change_tags(&vg(), &lv("v"), &tags(&["a=1", "b"]), &tags(&["c"])),
        "lvchange --yes --addtag a=1 --addtag b --deltag c vg0/v"
    )]
    #[case::activate(
        activate(&vg(), &lv("v")),
        "lvchange --yes --config activation/monitoring=0 --activate y --ignoreactivationskip vg0/v"
    )]
    #[case::deactivate(deactivate(&vg(), &lv("v")), "lvchange --yes --activate n vg0/v")]
    #[case::refresh(
        refresh(&vg(), &lv("v")),
        "lvchange --yes --config activation/monitoring=0 --refresh vg0/v"
    )]
    fn command_lines(#[case] command: Invocation, #[case] want: &str) {
        assert_eq!(command.to_string(), want);
    }

    #[test]
    fn the_report_is_one_command() {
        let line = report(&vg()).to_string();
        assert!(line.starts_with("lvm fullreport --reportformat json --units b --nosuffix"));
        assert!(line.ends_with("--configreport seg --options lv_uuid,thin_id vg0"));
    }
}
