//! File systems that are mounted in the directories: which may be volumes, and why the others may not. Pure.

use std::path::{Path, PathBuf};

use crate::{
    fs::{Access, FsKind, Mount},
    units::Bytes,
};

/// What was found where a file system is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// How large it says it is (statvfs(3)).
    pub(super) size: Bytes,
    /// On how many devices it lies.
    pub(super) devices: u64,
    /// Something in it; `None` where it is empty.
    pub(super) holds: Option<PathBuf>,
}

/// The file system that is seen in a mount, all of it.
///
/// # Errors
/// Why the mount can be no volume, whatever is in it.
pub(super) fn of_all(mount: &Mount) -> Result<FsKind, String> {
    let Ok(kind) = mount.fs_type.parse::<FsKind>() else {
        let kind = &mount.fs_type;
        return Err(match kind.as_str() {
            "tmpfs" | "ramfs" => format!(
                "it is a mount of {kind}, whose files go with a restart; a pool of `memory` has such volumes"
            ),
            _ => format!("it is a mount of {kind}; only ext4, xfs and btrfs are given out"),
        });
    };
    if mount.root != Path::new("/") {
        return Err(format!(
            "it shows only {} of its file system, the room of which others may take; mount all of it there",
            mount.root.display()
        ));
    }
    Ok(kind)
}

/// Why the file system in a mount is not free; nothing where it is. `of_entries` are the places where entries lead to.
pub(super) fn against(
    mount: &Mount,
    mounts: &[Mount],
    of_entries: &[&Path],
    seen: &Result<Seen, String>,
) -> Option<String> {
    if let Some(why) = read_only(mount).or_else(|| in_use(mount, mounts, of_entries)) {
        return Some(why);
    }
    match seen {
        Err(why) => Some(why.clone()),
        Ok(Seen { devices: 2.., .. }) => Some("its file system lies on several devices".to_owned()),
        Ok(Seen { holds: Some(path), .. }) => {
            Some(format!("it is not empty: {} is there", path.display()))
        }
        Ok(Seen { holds: None, .. }) => None,
    }
}

/// That nothing can be written to it, where that is so.
pub(super) fn read_only(mount: &Mount) -> Option<String> {
    (mount.access == Access::ReadOnly).then(|| "it is mounted read-only".to_owned())
}

/// Where else the file system in a mount is used; nothing where it is not.
pub(super) fn in_use(mount: &Mount, mounts: &[Mount], of_entries: &[&Path]) -> Option<String> {
    let is_other = |it: &&Mount| it.device == mount.device && it.at != mount.at;
    if let Some(it) = elsewhere(mounts, is_other, of_entries) {
        return Some(format!("its file system is mounted at {}, too", it.at.display()));
    }
    let it = within(&mount.at, mounts)?;
    Some(format!("something else is mounted within it, at {}", it.at.display()))
}

fn elsewhere<'a>(
    mounts: &'a [Mount],
    is_other: impl FnMut(&&Mount) -> bool,
    of_entries: &[&Path],
) -> Option<&'a Mount> {
    let mut others = mounts.iter().filter(is_other);
    others.find(|it| !of_entries.contains(&it.at.as_path()))
}

/// What is mounted on a directory of the file system that is mounted at `at`.
pub(super) fn within<'a>(at: &Path, mounts: &'a [Mount]) -> Option<&'a Mount> {
    mounts.iter().find(|it| it.at != at && it.at.starts_with(at))
}

#[cfg(test)]
mod tests {
    use nix::mount::MsFlags;
    use rstest::rstest;

    use super::*;
    use crate::fs::DeviceNumber;

    fn mount(minor: u64, root: &str, at: &str, fs_type: &str) -> Mount {
        Mount {
            device: DeviceNumber { major: 8, minor },
            root: root.into(),
            at: at.into(),
            access: Access::ReadWrite,
            flags: MsFlags::empty(),
            fs_type: fs_type.to_owned(),
        }
    }

    #[rstest]
    #[case("/", "ext4", None)]
    #[case("/", "xfs", None)]
    #[case("/", "btrfs", None)]
    #[case("/", "tmpfs", Some("a pool of `memory`"))]
    #[case("/", "overlay", Some("a mount of overlay; only"))]
    #[case("/", "nfs4", Some("a mount of nfs4; only"))]
    #[case("/", "ext3", Some("a mount of ext3; only"))]
    #[case("/data", "ext4", Some("only /data of its file system"))]
    #[case("/@home", "btrfs", Some("only /@home of its file system"))]
    fn which_mounts(#[case] root: &str, #[case] fs_type: &str, #[case] refused: Option<&str>) {
        let found = of_all(&mount(1, root, "/disks/a", fs_type));
        match refused {
            None => assert_eq!(found.unwrap().name(), fs_type),
            Some(why) => assert!(found.as_ref().unwrap_err().contains(why), "{found:?}"),
        }
    }

    #[rstest]
    #[case::free(mount(2, "/", "/x", "ext4"), None, None)]
    #[case::beside(mount(2, "/", "/disks/ab", "ext4"), None, None)]
    #[case::another_entry(mount(1, "/", "/disks/b", "ext4"), None, None)]
    #[case::elsewhere(mount(1, "/", "/x", "ext4"), None, Some("is mounted at /x, too"))]
    #[case::part_elsewhere(mount(1, "/p", "/x", "ext4"), None, Some("is mounted at /x, too"))]
    #[case::within(mount(2, "/", "/disks/a/b", "tmpfs"), None, Some("within it, at /disks/a/b"))]
    #[case::file(mount(2, "/", "/x", "ext4"), Some("/disks/a/f"), Some("/disks/a/f is there"))]
    fn what_speaks_against(
        #[case] other: Mount,
        #[case] holds: Option<&str>,
        #[case] refused: Option<&str>,
    ) {
        let mounts = [mount(1, "/", "/disks/a", "ext4"), other];
        let entries = [Path::new("/disks/a"), Path::new("/disks/b")];
        let seen = Ok(Seen { size: Bytes::GIB, devices: 1, holds: holds.map(PathBuf::from) });
        let found = against(&mounts[0], &mounts, &entries, &seen);
        assert_eq!(found.is_some(), refused.is_some(), "{found:?}");
        assert!(found.unwrap_or_default().contains(refused.unwrap_or_default()));
        let read_only = Mount { access: Access::ReadOnly, ..mounts[0].clone() };
        assert!(against(&read_only, &[], &entries, &seen).unwrap().contains("read-only"));
        let on_two = Ok(Seen { size: Bytes::GIB, devices: 2, holds: None });
        let found = against(&mounts[0], &mounts[..1], &entries, &on_two);
        assert!(found.unwrap().contains("several devices"));
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_free() {
        let it = mount(1, "/", "/disks/a", "ext4");
        let found = against(&it, &[], &[], &Err("it cannot be read".to_owned()));
        assert_eq!(found.as_deref(), Some("it cannot be read"));
    }
}
