//! What an interrupted command has prepared in the kernel, and not put in force.
//!
//! LVM changes devices in steps: it loads their new tables, suspends them, commits the metadata, and resumes them, which
//! puts the new tables in force. Killed after the first step it leaves tables that no metadata know, and devices that have
//! never had any other. As it does not load a table again that is in force already (libdm,
//! `_reload_with_suppression_v4`), the next command that resumes such a device, whatever it is about, puts in force what
//! was left: a way to extents that are another's by then, or to a device that answers with errors only.
//!
//! It may leave the layers of a thin pool suspended, too. Then not even LVM's reports come to an end: they ask the pool, and
//! the kernel's answer waits for metadata that cannot be written. A RAID whose legs are suspended cannot even drop a table,
//! as that writes its bitmap. What a `pvmove` goes through may lie below any of them.
//!
//! All of it is dropped while LVM's own lock of the group is held, when no command is between its steps. What the metadata say
//! is loaded anew by whoever needs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{Error, LvName, VgName, moves::MOVE, names::mapped_prefix};

/// A mapped device of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// What the device mapper calls it.
    pub(super) name: String,
    /// What tables it has.
    pub(super) tables: Tables,
    /// Whether it holds all I/O back.
    pub(super) suspended: bool,
    /// What it is of a thin pool, of a RAID or of a move, if it is a layer of one.
    pub(super) layer: Option<Layer>,
}

impl Device {
    /// Whether it is a thin pool, of which the kernel can be asked.
    pub(super) fn is_thin_pool(&self) -> bool {
        let is_top = |it: &Layer| it.height == TOP;
        self.is_in_force() && self.layer.as_ref().is_some_and(is_top)
    }

    pub(super) fn is_in_force(&self) -> bool {
        self.tables != Tables::NoneInForce
    }

    /// What it is a layer of, when it holds all I/O back. LVM cannot resume it: it would ask the pool first, and hang.
    pub(super) fn suspended_layer(&self) -> Option<&Layer> {
        self.layer.as_ref().filter(|_| self.suspended && self.is_in_force())
    }

    /// Whether it is what a `pvmove` of its group goes through.
    pub(super) fn is_a_move(&self) -> bool {
        self.layer.as_ref().is_some_and(|it| it.owner.as_str().starts_with(MOVE))
    }

    /// What LVM loads again so that the tables in force are what the metadata say, where a table was dropped or a layer
    /// resumed: a volume, or that of which it is a layer.
    pub(super) fn to_refresh(&self, vg: &VgName) -> Option<LvName> {
        let has_changed = self.tables == Tables::Both || self.suspended_layer().is_some();
        // The way through a move is that of who lies on it.
        if let Some(layer) = self.layer.as_ref().filter(|_| has_changed) {
            return Some(layer.owner.clone()).filter(|_| !self.is_a_move());
        }
        let name = self.name.strip_prefix(&mapped_prefix(vg))?.replace("--", "\0");
        let is_whole = !is_spare(&name) && !name.contains('-');
        (has_changed && is_whole).then(|| name.replace('\0', "-").parse().ok()).flatten()
    }

    /// Whether it depends on the moves of its group ([`super::moves::on_moves`]) with which of its tables it is resumed.
    pub(super) fn may_lead_to_a_move(&self) -> bool {
        self.tables == Tables::Both && self.suspended_layer().is_some()
    }
}

/// A layer of a thin pool, a leg of a RAID, or what a move goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// The thin pool, or the RAID that is not below one, or the move.
    pub(super) owner: LvName,
    /// How far it is from the disks.
    pub(super) height: u8,
}

/// How far a thin pool itself is from the disks.
const TOP: u8 = 3;

/// The tables of a mapped device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tables {
    /// One in force, and no other.
    InForce,
    /// One in force, and another is loaded.
    Both,
    /// None in force.
    NoneInForce,
}

/// What is done with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// Its table that is not in force is dropped.
    Drop(&'a str),
    /// It is resumed, with the table that is not in force where it has one.
    Resume(&'a str),
    /// It is removed.
    Remove(&'a str),
}

/// How what a command has left comes to rest: tables that are not in force are dropped, layers resumed, and devices that
/// have no table in force removed. What is below others comes before them:
///
/// - The table of a RAID can be dropped when its legs are resumed, as that writes its bitmap (Linux, `md_stop`).
/// - A suspended pool has suspended a thin volume once for each of its tables, and resumes it once for each that is
///   there by then. With one of them gone it would stay suspended until the next boot, and who resumes it would wait
///   for that (Linux, `pool_suspend_active_thins` and `dm_internal_suspend_noflush`).
///
/// Only the table of a suspended layer stays which leads to a move that has begun: around it, what is written would
/// not be copied. A move whose own device has no table in force has copied nothing, and answers with errors. `moves` has
/// none that the layer is on already: what is loaded leads off that one, and what is written there would be copied over.
pub(super) fn to_rest<'a>(
    devices: &'a [Device],
    moves: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<Step<'a>> {
    let begun: BTreeSet<_> =
        devices.iter().filter(|it| it.is_in_force()).map(|it| &it.name).collect();
    let stays = |it: &Device| {
        let on = moves.get(&it.name).filter(|_| it.may_lead_to_a_move());
        on.is_some_and(|on| on.iter().any(|it| begun.contains(it)))
    };
    let mut upwards: Vec<&Device> = devices.iter().filter(|it| it.is_in_force()).collect();
    upwards.sort_by_key(|it| it.layer.as_ref().map_or(u8::MAX, |layer| layer.height));
    let mut steps = Vec::new();
    for device in upwards {
        if device.tables == Tables::Both && !stays(device) {
            steps.push(Step::Drop(&device.name));
        }
        if device.suspended_layer().is_some() {
            steps.push(Step::Resume(&device.name));
        }
    }
    let empty = devices.iter().filter(|it| !it.is_in_force());
    steps.extend(empty.map(|it| Step::Remove(&it.name)));
    steps
}

/// The devices of a group, from what [`super::lines::mapped_devices`] prints.
///
/// # Errors
/// [`Error::Report`] for a line that is none of its.
pub(super) fn read(out: &[u8], vg: &VgName) -> Result<Vec<Device>, Error> {
    let text = String::from_utf8_lossy(out);
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "No devices found");
    let mut found = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(':').collect();
        let [tables, state, uuid, name] = words.as_slice() else {
            return Err(Error::Report(format!("`{line}` is no line about a mapped device")));
        };
        if !uuid.starts_with("LVM-") || !is_in(vg, name) {
            continue;
        }
        let tables = match *tables {
            "Both" => Tables::Both,
            "Inactive" | "None" => Tables::NoneInForce,
            _ => Tables::InForce,
        };
        let (suspended, layer) = (*state == "Suspended", layer(vg, name));
        found.push(Device { name: (*name).to_owned(), tables, suspended, layer });
    }
    Ok(found)
}

/// Whether it is the room that is spared for a thin pool's metadata, which is active only while it is moved.
pub(super) fn is_spare(name: &str) -> bool {
    name.ends_with("_pmspare")
}

/// What a device is a layer of, by its name.
fn layer(vg: &VgName, device: &str) -> Option<Layer> {
    let rest = device.strip_prefix(&mapped_prefix(vg))?;
    let before =
        |marks: [&str; 2]| marks.iter().find_map(|it| rest.find(it)).and_then(|at| rest.get(..at));
    let (in_pool, in_raid) = (before(["_tdata", "_tmeta"]), before(["_rimage_", "_rmeta_"]));
    let (owner, height) = match (rest.strip_suffix("-tpool"), in_pool, in_raid) {
        (Some(pool), ..) => (pool, TOP),
        (None, Some(pool), None) => (pool, 2),
        (None, pool, Some(raid)) => (pool.unwrap_or(raid), 1),
        (None, None, None) if rest.starts_with(MOVE) => (rest, 0),
        (None, None, None) => return None,
    };
    Some(Layer { owner: owner.replace("--", "-").parse().ok()?, height })
}

/// Whether a device has the name of one of a group's: the group's, with its hyphens doubled, a hyphen, and the volume's
/// (lvm(8), `dm_build_dm_name`).
fn is_in(vg: &VgName, name: &str) -> bool {
    let volume = name.strip_prefix(&mapped_prefix(vg));
    volume.is_some_and(|volume| !volume.starts_with('-'))
}

/// The directory of LVM's locks, from what [`super::lines::locking_directory`] prints: `locking_dir="/run/lock/lvm"`.
///
/// # Errors
/// [`Error::Report`] for anything else.
pub(super) fn directory(out: &[u8]) -> Result<PathBuf, Error> {
    let text = String::from_utf8_lossy(out);
    let value = text.lines().find_map(|line| line.trim().strip_prefix("locking_dir="));
    let path = value.and_then(|it| it.strip_prefix('"')?.strip_suffix('"'));
    path.map(PathBuf::from)
        .ok_or_else(|| Error::Report(format!("no directory of locks in `{}`", text.trim())))
}

/// LVM's own lock of a group, which every command holds that changes it, until this is dropped.
///
/// Who unlocks may remove the file, so the one that was locked must still be there (lvm2, lib/locking/file_locking.c
/// and lib/misc/lvm-flock.c).
pub(super) fn lock(directory: &Path, vg: &VgName) -> io::Result<Flock<File>> {
    let path = directory.join(format!("V_{vg}"));
    loop {
        fs::create_dir_all(directory)?;
        let file =
            OpenOptions::new().read(true).append(true).create(true).truncate(false).open(&path)?;
        let locked = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let (ours, there) = (locked.metadata()?, fs::metadata(&path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(locked);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Both:Active:LVM-a:vg0-v", Some((Tables::Both, false)))]
    #[case("Inactive:Suspended:LVM-a:vg0-v", Some((Tables::NoneInForce, true)))]
    #[case("None:Suspended:LVM-a-tdata:vg0-v", Some((Tables::NoneInForce, true)))]
    #[case("Live:Active:LVM-a:vg0-v", Some((Tables::InForce, false)))]
    #[case("Both:Active:CRYPT-a:vg0-v", None)]
    #[case("Both:Active::vg0-v", None)]
    #[case("Both:Active:LVM-a:vg0--x-v", None)]
    #[case("Both:Active:LVM-a:vg1-v", None)]
    #[case("No devices found", None)]
    fn devices_of_the_group(#[case] line: &str, #[case] want: Option<(Tables, bool)>) {
        let found = read(line.as_bytes(), &"vg0".parse().unwrap()).unwrap();
        let name = "vg0-v".to_owned();
        let device = |(tables, suspended)| Device { name, tables, suspended, layer: None };
        assert_eq!(found, Vec::from_iter(want.map(device)));
    }

    #[rstest]
    #[case("a--b-tarn--thin-tpool", Some(("tarn-thin", 3)))]
    #[case("a--b-tarn--thin_tmeta", Some(("tarn-thin", 2)))]
    #[case("a--b-tarn--thin_tdata", Some(("tarn-thin", 2)))]
    #[case("a--b-p_tmeta_rimage_0", Some(("p", 1)))]
    #[case("a--b-p_tdata_rmeta_1", Some(("p", 1)))]
    #[case("a--b-pvmove0", Some(("pvmove0", 0)))]
    #[case("a--b-tarn--thin", None)]
    #[case("a--b-v_rimage_0", Some(("v", 1)))]
    #[case("a--b-v--1_rmeta_1", Some(("v-1", 1)))]
    #[case("a-p-tpool", None)]
    fn layers_of_thin_pools_raids_and_moves(
        #[case] device: &str,
        #[case] want: Option<(&str, u8)>,
    ) {
        let found = layer(&"a-b".parse().unwrap(), device);
        let want = want.map(|(owner, height)| Layer { owner: owner.parse().unwrap(), height });
        assert_eq!(found, want);
    }

    #[rstest]
    #[case::a_table_that_nobody_wants("Both:Active", "v", &["drop v"])]
    #[case::of_a_volume_that_lvm_can_resume("Both:Suspended", "v", &["drop v"])]
    #[case::a_layer("Live:Suspended", "p-tpool", &["resume p-tpool"])]
    #[case::a_layer_with_two("Both:Suspended", "p_tmeta", &["drop p_tmeta", "resume p_tmeta"])]
    #[case::a_layer_on_a_move("Both:Suspended", "p_tdata", &["resume p_tdata"])]
    #[case::the_table_that_led_off_a_move("Both:Active", "p_tdata", &["drop p_tdata"])]
    #[case::a_layer_on_a_move_that_has_not_begun(
        "Both:Suspended", "q_tdata", &["drop q_tdata", "resume q_tdata"]
    )]
    #[case::a_device_without_a_table("Inactive:Suspended", "v", &["remove v"])]
    #[case::a_layer_without_a_table("None:Suspended", "p-tpool", &["remove p-tpool"])]
    #[case::at_rest("Live:Active", "p_tdata", &[])]
    fn what_was_left_comes_to_rest(#[case] state: &str, #[case] name: &str, #[case] want: &[&str]) {
        let lines = format!(
            "{state}:LVM-a:vg0-{name}\nLive:Active:LVM-b:vg0-pvmove0\nInactive:Active:LVM-c:vg0-pvmove1"
        );
        let want = want.iter().copied().chain(["remove pvmove1"]).collect::<Vec<_>>();
        assert_eq!(rest(&lines), want);
    }

    #[rstest]
    #[case("Both:Active", "v--1", Some("v-1"))]
    #[case("Both:Suspended", "v--1", Some("v-1"))]
    #[case("Live:Suspended", "v--1", None)]
    #[case("Both:Active", "v--1-real", None)]
    #[case("Both:Active", "pvmove0", None)]
    #[case("Both:Active", "lvol0_pmspare", None)]
    #[case("Both:Active", "p_tmeta", Some("p"))]
    #[case("Live:Suspended", "p_tmeta", Some("p"))]
    #[case("Live:Active", "p_tmeta", None)]
    #[case("None:Active", "v--1", None)]
    fn what_is_loaded_again(#[case] state: &str, #[case] name: &str, #[case] want: Option<&str>) {
        let vg = "vg0".parse().unwrap();
        let devices = read(format!("{state}:LVM-a:vg0-{name}").as_bytes(), &vg).unwrap();
        assert_eq!(devices[0].to_refresh(&vg), want.map(|it| it.parse().unwrap()));
    }

    #[test]
    fn what_is_below_comes_before_what_is_above() {
        let lines = "Both:Suspended:LVM-a:vg0-v\nBoth:Suspended:LVM-b:vg0-p-tpool\nBoth:Active:LVM-c:vg0-r\n\
                     Live:Suspended:LVM-d:vg0-p_tmeta\nLive:Suspended:LVM-e:vg0-r_rmeta_0\n\
                     Both:Suspended:LVM-f:vg0-pvmove0";
        let want = [
            "drop pvmove0",
            "resume pvmove0",
            "resume r_rmeta_0",
            "resume p_tmeta",
            "drop p-tpool",
            "resume p-tpool",
            "drop v",
            "drop r",
        ];
        assert_eq!(rest(lines), want);
    }

    /// The steps, where `p_tdata` is on a move and `q_tdata` on another, of which LVM knows.
    fn rest(lines: &str) -> Vec<String> {
        let devices = read(lines.as_bytes(), &"vg0".parse().unwrap()).unwrap();
        let on = |at: &str| BTreeSet::from([format!("vg0-{at}")]);
        let moves = BTreeMap::from([
            ("vg0-p_tdata".to_owned(), on("pvmove0")),
            ("vg0-q_tdata".to_owned(), on("pvmove1")),
        ]);
        let word = |step: &Step<'_>| {
            let (Step::Drop(name) | Step::Resume(name) | Step::Remove(name)) = *step;
            let verb = match step {
                Step::Drop(_) => "drop",
                Step::Resume(_) => "resume",
                Step::Remove(_) => "remove",
            };
            format!("{verb} {}", name.trim_start_matches("vg0-"))
        };
        to_rest(&devices, &moves).iter().map(word).collect()
    }

    #[test]
    fn where_the_locks_are() {
        let said = directory(b"locking_dir=\"/run/lock/lvm\"\n").unwrap();
        assert_eq!(said, Path::new("/run/lock/lvm"));
        assert!(directory(b"").is_err());
    }

    #[test]
    fn hyphens_are_doubled() {
        let lines = b"Both:Active:LVM-a:a--b-v\nBoth:Active:LVM-a:a-v\n";
        let found = read(lines, &"a-b".parse().unwrap()).unwrap();
        let names: Vec<_> = found.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["a--b-v"]);
        assert!(read(b"Both", &"a".parse().unwrap()).is_err());
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let (at, vg) = (directory.path().join("lvm"), "vg0".parse().unwrap());
        let first = lock(&at, &vg).unwrap();
        let second = thread::scope(|scope| {
            let second = scope.spawn(|| lock(&at, &vg).unwrap());
            // As LVM does when it unlocks.
            fs::remove_file(at.join("V_vg0")).unwrap();
            drop(first);
            second.join().unwrap()
        });
        let (ours, there) = (second.metadata().unwrap(), fs::metadata(at.join("V_vg0")).unwrap());
        assert_eq!(ours.ino(), there.ino());
    }
}
