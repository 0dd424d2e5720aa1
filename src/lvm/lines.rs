//! The command line of each verb.
//!
//! `--yes` because nobody is there to answer; it is left out where LVM would ask before it wipes a
//! signature that we did not expect. Sizes are in bytes, so that no unit is guessed.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    Backing, Belonging, ConvertToThinPool, CreateGroup, CreatePhysicalVolume, CreateSnapshot,
    CreateThinPool, CreateVolume, Layout, LvName, MoveExtents, Place, RepairRaid, SnapshotKind,
    Tag, VgName,
};
use crate::{process::Invocation, units::Bytes};

/// Keeps LVM from starting `dmeventd` (lvm.conf(5), activation/monitoring): Tarn watches its pools
/// itself, and a daemon started from a container would die with it.
const UNMONITORED: [&str; 2] = ["--config", "activation/monitoring=0"];

/// Keeps LVM from leaving a process behind that ends a `pvmove` which was interrupted, at a moment of its own and beside
/// what Tarn does (lvm2, `vgchange_background_polling`). Tarn ends it itself. Not for `--refresh`, which begins none, and
/// refuses the option for a volume that is not active.
const UNPOLLED: [&str; 2] = ["--poll", "n"];

pub(super) fn version() -> Invocation {
    Invocation::reads("lvm").arg("version")
}

/// One command for everything that [`super::report::read`] needs; `--all` for what a thin pool lies on.
/// The segment report cannot be left out, so it is cut to two fields. Unbuffered means unsorted: disks
/// come in the group's own order, which allocation follows.
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
        "--all",
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

/// How a volume lies on the disks; see [`super::report::layout`].
pub(super) fn layout(vg: &VgName, lv: &LvName) -> Invocation {
    Invocation::reads("lvs")
        .args(["--reportformat", "json", "--units", "b", "--nosuffix"])
        .args(["--options", "segtype,data_stripes,data_copies,stripe_size"])
        .arg(path(vg, lv))
}

/// Every physical volume; the rest is read by [`super::physical::read`].
pub(super) fn physical_volumes() -> Invocation {
    const FIELDS: &str = "pv_name,pv_uuid,pv_major,pv_minor,pv_duplicate,pv_missing,pv_allocatable,pv_tags,vg_name,vg_uuid,vg_tags,\
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

pub(super) fn set_belonging(device: &Path, belonging: Belonging) -> Invocation {
    let command = yes("pvchange");
    match belonging {
        Belonging::Leaves => command.args(["--allocatable", "n", "--addtag", LEAVING]),
        Belonging::Returns => command.args(["--allocatable", "y"]),
        Belonging::Stays => command.args(["--deltag", LEAVING]),
    }
    .arg(device)
}

/// Without lvmpolld, which would die with a container: the kernel copies, and the next call finishes.
/// To a place that is named with `anywhere`, as LVM would not put more of a leg beside what it has there
/// already.
pub(super) fn move_extents(wanted: &MoveExtents) -> Invocation {
    let MoveExtents { device, first, count, on, .. } = wanted;
    let last = (first + count).saturating_sub(1);
    let anywhere = on.iter().flat_map(|_| ["--alloc", "anywhere"]);
    pvmove()
        .args(anywhere)
        .arg(format!("{}:{first}-{last}", device.display()))
        .args(on.iter().map(named))
}

pub(super) fn abort_move(device: &Path) -> Invocation {
    pvmove().arg("--abort").arg(device)
}

fn pvmove() -> Invocation {
    let config = "activation/monitoring=0 global/use_lvmpolld=0";
    yes("pvmove").args(["--config", config, "--interval", "1"])
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

/// The directory of LVM's locks (lvm.conf(5), `global/locking_dir`).
pub(super) fn locking_directory() -> Invocation {
    Invocation::reads("lvm").args(["lvmconfig", "--typeconfig", "full", "global/locking_dir"])
}

/// Every mapped device, for [`super::prepared::read`].
pub(super) fn mapped_devices() -> Invocation {
    Invocation::reads("dmsetup")
        .args(["info", "--columns", "--noheadings", "--separator", ":"])
        .args(["--options", "tables_loaded,suspended,uuid,name"])
}

/// Drops the table of a device that is loaded and not in force.
pub(super) fn clear_device(name: &str) -> Invocation {
    Invocation::changes("dmsetup").args(["clear", name])
}

/// Lets I/O through again.
pub(super) fn resume_device(name: &str) -> Invocation {
    Invocation::changes("dmsetup").args(["resume", name])
}

/// A device that no volume of LVM's is behind.
pub(super) fn remove_device(name: &str) -> Invocation {
    Invocation::changes("dmsetup").args(["remove", name])
}

/// The numbers of thin volumes, for [`super::strays::read`].
pub(super) fn thin_numbers(vg: &VgName) -> Invocation {
    from_metadata().args([
        "--options",
        "lv_name,segtype,pool_lv,thin_id,transaction_id",
        vg.as_str(),
    ])
}

/// What volumes lie on, for [`super::moves::on_moves`].
pub(super) fn lies_on(vg: &VgName) -> Invocation {
    from_metadata().args(["--all", "--options", "lv_name,devices", vg.as_str()])
}

/// A report for whom holds LVM's lock already, and without a question to the kernel, which may not answer.
fn from_metadata() -> Invocation {
    Invocation::reads("lvs").args([
        "--config",
        "global/activation=0",
        "--nolocking",
        "--reportformat",
        "json",
    ])
}

/// The devices that the table in force leads to, for [`super::moves::leads_to`].
pub(super) fn leads_to(device: &str) -> Invocation {
    Invocation::reads("dmsetup").args(["deps", "-o", "devname", device])
}

/// The state of a device, for [`super::strays`]; without having a thin pool write its own first, which may take long.
pub(super) fn status(device: &str) -> Invocation {
    Invocation::reads("dmsetup").args(["status", "--noflush", device])
}

pub(super) fn delete_thin(pool: &str, id: u32) -> Invocation {
    message(pool, &format!("delete {id}"))
}

pub(super) fn count_up_thin(pool: &str, now: u64, next: u64) -> Invocation {
    message(pool, &format!("set_transaction_id {now} {next}"))
}

/// A message to a thin pool (the kernel's `thin-provisioning.rst`).
fn message(pool: &str, text: &str) -> Invocation {
    Invocation::changes("dmsetup").args(["message", pool, "0", text])
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
    yes("vgchange").args(UNMONITORED).args(UNPOLLED).args(["--activate", "y", vg.as_str()])
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

pub(super) fn convert_to_thin_pool(wanted: &ConvertToThinPool) -> Invocation {
    yes("lvconvert")
        .args(["--config", "activation/monitoring=0 activation/error_when_full=1"])
        .args(["--type", "thin-pool", "--zero", "y", "--chunksize", &bytes(wanted.chunk)])
        .args(["--poolmetadata", &path(&wanted.vg, &wanted.metadata)])
        .args(["--poolmetadataspare", "n"])
        .arg(path(&wanted.vg, &wanted.data))
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
        .args(UNPOLLED)
        .args(["--activate", "y", "--ignoreactivationskip"])
        .arg(path(vg, lv))
}

/// In LVM's other modes no thin volume is activated of which anything is missing, be it on a RAID or not.
pub(super) fn activate_degraded(vg: &VgName, lv: &LvName) -> Invocation {
    yes("lvchange")
        .args(UNMONITORED)
        .args(UNPOLLED)
        .args(["--activate", "y", "--ignoreactivationskip", "--activationmode", "partial"])
        .arg(path(vg, lv))
}

pub(super) fn activate_anew(vg: &VgName, pool: &LvName) -> Invocation {
    const CHECKED: &str =
        "activation/monitoring=0 global/thin_check_options=[\"-q\",\"--clear-needs-check-flag\"]";
    yes("lvchange")
        .args(["--config", CHECKED])
        .args(UNPOLLED)
        .args(["--activate", "y"])
        .arg(path(vg, pool))
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
mod tests;
