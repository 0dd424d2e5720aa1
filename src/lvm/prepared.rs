//! What an interrupted command has prepared in the kernel, and not put in force.
//!
//! LVM changes devices in steps: it loads their new tables, suspends them, commits the metadata, and resumes them, which
//! puts the new tables in force. Killed after the first step it leaves tables that no metadata know, and devices that have
//! never had any other. As it does not load a table again that is in force already (libdm,
//! `_reload_with_suppression_v4`), the next command that resumes such a device, whatever it is about, puts in force what
//! was left: a way to extents that are another's by then, or to a device that answers with errors only.
//!
//! All of it is dropped while LVM's own lock of the group is held, when no command is between its steps. What the metadata say
//! is loaded anew by whoever needs it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{Error, VgName};

/// A device whose tables are not only the one in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Prepared {
    /// It has one in force, and another is loaded.
    Loaded(String),
    /// It has none in force.
    Empty(String),
}

/// The devices of a group of which something is prepared, from what [`super::lines::mapped_devices`] prints.
///
/// # Errors
/// [`Error::Report`] for a line that is none of its.
pub(super) fn read(out: &[u8], vg: &VgName) -> Result<Vec<Prepared>, Error> {
    let text = String::from_utf8_lossy(out);
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "No devices found");
    let mut found = Vec::new();
    for line in lines {
        let mut words = line.split(':');
        let (Some(tables), Some(uuid), Some(name)) = (words.next(), words.next(), words.next())
        else {
            return Err(Error::Report(format!("`{line}` is no line about a mapped device")));
        };
        if !uuid.starts_with("LVM-") || !is_in(vg, name) {
            continue;
        }
        match tables {
            "Both" => found.push(Prepared::Loaded(name.to_owned())),
            "Inactive" | "None" => found.push(Prepared::Empty(name.to_owned())),
            _ => (),
        }
    }
    Ok(found)
}

/// Whether a device has the name of one of a group's: the group's, with its hyphens doubled, a hyphen, and the volume's
/// (lvm(8), `dm_build_dm_name`).
pub(super) fn is_in(vg: &VgName, name: &str) -> bool {
    let group = vg.as_str().replace('-', "--");
    let volume = name.strip_prefix(&group).and_then(|rest| rest.strip_prefix('-'));
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
    #[case("Both:LVM-a:vg0-v", Some(Prepared::Loaded("vg0-v".to_owned())))]
    #[case("Inactive:LVM-a:vg0-pvmove0", Some(Prepared::Empty("vg0-pvmove0".to_owned())))]
    #[case("None:LVM-a-tdata:vg0-pool_tdata", Some(Prepared::Empty("vg0-pool_tdata".to_owned())))]
    #[case("Live:LVM-a:vg0-v", None)]
    #[case("Both:CRYPT-a:vg0-v", None)]
    #[case("Both::vg0-v", None)]
    #[case("Both:LVM-a:vg0--x-v", None)]
    #[case("Both:LVM-a:vg1-v", None)]
    #[case("No devices found", None)]
    fn devices_of_the_group(#[case] line: &str, #[case] want: Option<Prepared>) {
        let found = read(line.as_bytes(), &"vg0".parse().unwrap()).unwrap();
        assert_eq!(found, Vec::from_iter(want));
    }

    #[test]
    fn where_the_locks_are() {
        let said = directory(b"locking_dir=\"/run/lock/lvm\"\n").unwrap();
        assert_eq!(said, Path::new("/run/lock/lvm"));
        assert!(directory(b"").is_err());
    }

    #[test]
    fn hyphens_are_doubled() {
        let found = read(b"Both:LVM-a:a--b-v\nBoth:LVM-a:a-v\n", &"a-b".parse().unwrap()).unwrap();
        assert_eq!(found, [Prepared::Loaded("a--b-v".to_owned())]);
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
