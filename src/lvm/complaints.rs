//! What LVM's complaints mean. Exit code 5 alone says nothing but "failed" (lvm(8)), so the text
//! decides; `LC_ALL=C` keeps it in English.

use super::{Error, LvName, VgName, names::mapped};
use crate::process::Failure;

/// The exit code of a command that was understood and failed.
const FAILED: i32 = 5;

/// What the failed command was about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) vg: &'a VgName,
    /// The volume that it was to make or give a name to.
    pub(super) new: Option<&'a LvName>,
    /// The volume that had to be there.
    pub(super) old: Option<&'a LvName>,
}

enum Meaning {
    NoGroup,
    NoVolume,
    NoSpace,
    Exists,
    InUse,
    MissingInPool,
}

/// The first that fits counts.
const COMPLAINTS: &[(&str, Meaning)] = &[
    ("already exists in volume group", Meaning::Exists),
    ("already exists in Volume group", Meaning::Exists),
    ("while PVs are missing", Meaning::NoGroup),
    ("Refusing activation of partial LV", Meaning::NoGroup),
    ("Cannot process volume group", Meaning::NoGroup),
    ("insufficient free space", Meaning::NoSpace),
    ("Insufficient free space", Meaning::NoSpace),
    ("nsufficient suitable", Meaning::NoSpace),
    ("must not exceed number of physical volumes", Meaning::NoSpace),
    ("No specified PVs have space available", Meaning::NoSpace),
    ("free space in thin pool", Meaning::NoSpace),
    ("No extents available for allocation", Meaning::NoSpace),
    // The group's metadata area is full: no volume more.
    ("too large for circular buffer", Meaning::NoSpace),
    ("Failed to find logical volume", Meaning::NoVolume),
    ("not found in volume group", Meaning::NoVolume),
    ("not found in Volume group", Meaning::NoVolume),
    ("in use.", Meaning::InUse),
    ("is used by another device", Meaning::InUse),
    ("can be resized only while inactive", Meaning::InUse),
    ("No data available", Meaning::MissingInPool),
];

/// The layer of a thin pool that an interrupted activation left active alone, as the complaint about
/// it names it: "Activation of logical volume VG/POOL is prohibited while logical volume
/// VG/POOL_tmeta is active."
pub(super) fn layer_in_the_way(failure: &Failure, vg: &VgName) -> Option<LvName> {
    let (_, rest) = failure.complaint()?.split_once("is prohibited while logical volume ")?;
    let (path, _) = rest.split_once(" is active")?;
    let layer = path.strip_prefix(vg.as_str())?.strip_prefix('/')?;
    layer.parse().ok()
}

/// The device of a leg that an interrupted command has made and LVM knows nothing of, as the complaint about
/// it names it: "device-mapper: create ioctl on VG-LV_rmeta_2 LVM-... failed: Device or resource busy".
pub(super) fn device_in_the_way(failure: &Failure, about: About<'_>) -> Option<String> {
    let (_, rest) = failure.complaint()?.split_once("create ioctl on ")?;
    let (name, why) = rest.split_once(' ')?;
    let layer = name.strip_prefix(&mapped(about.vg, about.old?))?.strip_prefix('_')?;
    let is_leg = ["rmeta_", "rimage_"]
        .iter()
        .any(|kind| layer.strip_prefix(kind).is_some_and(|number| number.parse::<u32>().is_ok()));
    (is_leg && why.contains("Device or resource busy")).then(|| name.to_owned())
}

/// Turns a failed command into the error that a caller can act on.
pub(super) fn understand(failure: Failure, about: About<'_>) -> Error {
    let vg = || about.vg.clone();
    let found = COMPLAINTS.iter().find(|(words, _)| failure.says(words));
    let Some((_, meaning)) = found.filter(|_| failure.exit_code() == Some(FAILED)) else {
        return Error::Tool(failure);
    };
    match (meaning, about.old, about.new) {
        (Meaning::NoGroup, _, _) => Error::NoGroup { vg: vg() },
        (Meaning::NoSpace, _, _) => Error::NoSpace { vg: vg() },
        (Meaning::Exists, _, Some(lv)) => Error::Exists { vg: vg(), lv: lv.clone() },
        (Meaning::NoVolume, Some(lv), _) => Error::NoVolume { vg: vg(), lv: lv.clone() },
        (Meaning::InUse, Some(lv), _) => Error::InUse { vg: vg(), lv: lv.clone() },
        (Meaning::MissingInPool, Some(lv), _) => Error::MissingInPool { vg: vg(), lv: lv.clone() },
        (Meaning::Exists | Meaning::NoVolume | Meaning::InUse | Meaning::MissingInPool, _, _) => {
            Error::Tool(failure)
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::process::Cause;

    fn meaning(code: i32, stderr: &str) -> String {
        let (vg, old, new) = ("vg0".parse().unwrap(), "old".parse().unwrap(), "new".parse());
        let cause = Cause::Exit { code, stderr: stderr.to_owned() };
        let failure = Failure { command: "lvcreate".to_owned(), cause };
        let new = new.unwrap();
        let about = About { vg: &vg, new: Some(&new), old: Some(&old) };
        let text = format!("{:?}", understand(failure, about));
        text.split([' ', '(']).next().unwrap().to_owned()
    }

    // As LVM 2.03.16 said them.
    #[rstest]
    #[case("Logical Volume \"a\" already exists in volume group \"vg0\"", "Exists")]
    #[case("Logical volume pool already exists in Volume group vg0.", "Exists")]
    #[case("Volume group \"nope\" not found; Cannot process volume group nope", "NoGroup")]
    #[case("Cannot change VG vg0 while PVs are missing.", "NoGroup")]
    #[case("Refusing activation of partial LV vg0/m.", "NoGroup")]
    #[case("Volume group \"vg0\" has insufficient free space (3 extents): 4 required.", "NoSpace")]
    #[case("Insufficient free space: 5 extents needed, but only 2 available", "NoSpace")]
    #[case(
        "Insufficient suitable allocatable extents for logical volume st: 4 more required",
        "NoSpace"
    )]
    #[case("Number of stripes (4) must not exceed number of physical volumes (3)", "NoSpace")]
    #[case("No specified PVs have space available.", "NoSpace")]
    #[case(
        "Cannot create new thin volume, free space in thin pool vg0/pool reached threshold.",
        "NoSpace"
    )]
    #[case("No extents available for allocation.", "NoSpace")]
    #[case("Failed to find logical volume \"vg0/nope\"", "NoVolume")]
    #[case("Existing logical volume \"s2\" not found in volume group \"vg0\"", "NoVolume")]
    #[case("Snapshot origin LV nope not found in Volume group vg0.", "NoVolume")]
    #[case("Pool nopool not found in Volume group vg0.", "NoVolume")]
    #[case("Logical volume a not found in volume group vg0.", "NoVolume")]
    #[case("Logical volume vg0/a in use.", "InUse")]
    #[case("Logical volume vg0/a contains a filesystem in use.", "InUse")]
    #[case(
        "Snapshot origin volumes can be resized only while inactive: try lvchange -an.",
        "InUse"
    )]
    #[case("device-mapper: reload ioctl on  (254:4) failed: No data available", "MissingInPool")]
    #[case("Snapshots of snapshots are not supported.", "Tool")]
    fn what_lvm_says(#[case] stderr: &str, #[case] want: &str) {
        assert_eq!(meaning(5, stderr), want);
    }

    #[rstest]
    #[case::metadata("vg--0-v--1_rmeta_2 LVM-x failed: Device or resource busy", true)]
    #[case::image("vg--0-v--1_rimage_2 LVM-x failed: Device or resource busy", true)]
    #[case::another_volume("vg--0-v--2_rmeta_2 LVM-x failed: Device or resource busy", false)]
    #[case::the_volume("vg--0-v--1 LVM-x failed: Device or resource busy", false)]
    #[case::no_leg("vg--0-v--1_rmeta_x LVM-x failed: Device or resource busy", false)]
    #[case::something_else("vg--0-v--1_rmeta_2 LVM-x failed: Invalid argument", false)]
    fn devices_in_the_way(#[case] rest: &str, #[case] is_leg: bool) {
        let (vg, old) = ("vg-0".parse().unwrap(), "v-1".parse().unwrap());
        let stderr = format!("  device-mapper: create ioctl on {rest}\n  Failed to suspend it.");
        let failure =
            Failure { command: "lvconvert".to_owned(), cause: Cause::Exit { code: 5, stderr } };
        let about = About { vg: &vg, new: None, old: Some(&old) };
        let want = is_leg.then(|| rest.split(' ').next().unwrap().to_owned());
        assert_eq!(device_in_the_way(&failure, about), want);
    }

    #[test]
    fn the_text_counts_only_with_its_code() {
        assert_eq!(meaning(3, "Logical volume vg0/a in use."), "Tool");
    }
}
