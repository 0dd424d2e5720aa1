//! Mounts, bind mounts, and what is mounted (mount(2), umount2(2)).

use std::{
    fs, io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount as mount2, umount2},
    sys::stat,
};

use super::{
    Access, DeviceNumber, Error, FsKind, Mount, MountHow, marks, mountinfo,
    paths::{ensure_directory, ensure_file},
};
use crate::process::held;

/// What mount(2) wants for an argument that it does not look at.
const NONE: Option<&str> = None;

/// See [`super::Filesystems::mount`].
pub(super) fn mount(device: &Path, at: &Path, how: &MountHow) -> Result<(), Error> {
    let (flags, text) = request(how);
    let text = (!text.is_empty()).then_some(text.as_str());
    let real = at.canonicalize().unwrap_or_else(|_| at.to_owned());
    // Whoever dies before the new note is written must not leave an old one.
    marks::forget(&real);
    let mounting = || Ok(mount2(Some(device), at, Some(how.kind.name()), flags, text)?);
    held::once_free(mounting).map_err(|source| Error::Mount {
        device: device.to_owned(),
        at: at.to_owned(),
        kind: how.kind,
        hint: hint(&source, how.kind).to_owned(),
        source,
    })?;
    marks::note(device_at(device)?, &real, &how.options.mark());
    Ok(())
}

/// A snapshot or clone of an xfs has the UUID of its origin, which the kernel mounts once only
/// unless told not to care (xfs(5), `nouuid`). It is always told: an origin may be mounted after
/// its copy.
fn request(how: &MountHow) -> (MsFlags, String) {
    let (mut flags, mut text) = how.options.for_kernel();
    if how.access == Access::ReadOnly {
        flags |= MsFlags::MS_RDONLY;
    }
    if how.kind == FsKind::Xfs && !text.split(',').any(|option| option == "nouuid") {
        let comma = if text.is_empty() { "" } else { "," };
        text.push_str(comma);
        text.push_str("nouuid");
    }
    (flags, text)
}

/// mount(2), ERRORS, and what each has meant for these three file systems.
#[expect(clippy::wildcard_enum_match_arm, reason = "there are more than a hundred")]
fn hint(err: &io::Error, kind: FsKind) -> &'static str {
    match Errno::from_raw(err.raw_os_error().unwrap_or_default()) {
        Errno::EINVAL => {
            "the kernel does not accept one of the mount options, or a feature of the file system; its log says which"
        }
        Errno::EBUSY => "it is mounted already, perhaps elsewhere with other options",
        Errno::EEXIST if kind == FsKind::Btrfs => {
            "another btrfs with the same identity is mounted: one is a copy of the other"
        }
        Errno::ENODEV => "this kernel does not know the file system; its module may be missing",
        Errno::ENOENT | Errno::ENOTDIR => "the device or the directory to mount it on is missing",
        Errno::EROFS | Errno::EACCES => "the device may only be read",
        Errno::EUCLEAN | Errno::EBADMSG => "the file system is damaged; check it by hand",
        Errno::EIO => "the device cannot be read",
        Errno::EPERM => "mounting needs the capability CAP_SYS_ADMIN",
        _ => "the kernel's log may say more",
    }
}

/// Where read-only bind mounts are prepared before they appear at their targets: at a path named
/// after the process that does it.
const PASSAGES: &str = "/run/tarn/read-only";
/// One at a time prepares its mount there.
static PASSING: Mutex<()> = Mutex::new(());

/// See [`super::Filesystems::bind`].
pub(super) fn bind(from: &Path, at: &Path, access: Access) -> Result<(), Error> {
    if access == Access::ReadWrite {
        return bind_as_it_is(from, at);
    }
    // A bind mount is made writable and turned read-only by a second call. Whoever dies in between
    // leaves a writable one, which nothing tells from one that was wanted so. A bind mount of a
    // read-only mount is read-only at once (mount_namespaces(7): it copies the mount's flags).
    let passing = PASSING.lock().unwrap_or_else(PoisonError::into_inner);
    let passage = Path::new(PASSAGES).join(std::process::id().to_string());
    clear(&passage);
    let made = if from.is_dir() { ensure_directory(&passage) } else { ensure_file(&passage) };
    made?;
    let bound = bind_as_it_is(from, &passage)
        .and_then(|()| make_read_only(&passage))
        .and_then(|()| bind_as_it_is(&passage, at));
    clear(&passage);
    drop(passing);
    bound
}

fn bind_as_it_is(from: &Path, at: &Path) -> Result<(), Error> {
    mount2(Some(from), at, NONE, MsFlags::MS_BIND, NONE).map_err(failed("bind to", at))
}

/// Takes away what killed drivers left where read-only mounts are prepared. It would keep their
/// volumes in use.
pub fn clear_passages() {
    let passages = fs::read_dir(PASSAGES).into_iter().flatten().flatten();
    for passage in passages.map(|entry| entry.path()) {
        let process = passage.file_name().map(|name| Path::new("/proc").join(name));
        let alive = process.is_some_and(|it| it.is_dir());
        let ours = passage.ends_with(std::process::id().to_string());
        if ours || !alive {
            clear(&passage);
        }
    }
}

fn clear(passage: &Path) {
    while umount2(passage, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
    let removed = if passage.is_dir() { fs::remove_dir(passage) } else { fs::remove_file(passage) };
    if let Err(err) = removed.or_else(absent) {
        tracing::warn!(at = %passage.display(), %err, "what prepared a read-only mount stays");
    }
    // Another process may be at work in it; then it is not empty.
    drop(fs::remove_dir(PASSAGES));
}

fn absent(err: io::Error) -> io::Result<()> {
    if err.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(err) }
}

/// The bind call takes no flags; a remount does, and takes away all that it does not repeat
/// (mount(2), "Remounting an existing mount").
fn make_read_only(at: &Path) -> Result<(), Error> {
    let real = at.canonicalize().map_err(failed("look at", at))?;
    let flags = topmost(&real, at)?.mount.flags;
    let remount = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount2(NONE, at, NONE, remount | flags, NONE).map_err(failed("make read-only", at))?;
    match topmost(&real, at)?.mount.access {
        Access::ReadOnly => Ok(()),
        Access::ReadWrite => {
            Err(failed("make read-only", at)(io::Error::other("the kernel ignored it")))
        }
    }
}

fn topmost(real: &Path, at: &Path) -> Result<mountinfo::Entry, Error> {
    let entries = entries()?;
    let missing = || failed("find the mount at", at)(io::Error::from(Errno::ENOENT));
    mountinfo::topmost(&entries, real).cloned().ok_or_else(missing)
}

/// See [`super::Filesystems::unmount`].
pub(super) fn unmount(at: &Path) -> Result<(), Error> {
    let real = at.canonicalize().unwrap_or_else(|_| at.to_owned());
    match umount2(at, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => {
            marks::forget(&real);
            Ok(())
        }
        // EINVAL: nothing is mounted there.
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(Errno::EBUSY) => Err(Error::InUse(at.to_owned())),
        Err(errno) => Err(failed("unmount", at)(errno)),
    }
}

/// See [`super::Filesystems::mounts`].
pub(super) fn mounts() -> Result<Vec<Mount>, Error> {
    Ok(entries()?.into_iter().map(seen).collect())
}

/// The mount through which a file was opened; none once it is unmounted, if only lazily.
pub(super) fn mount_of(file: &fs::File) -> Result<Option<Mount>, Error> {
    let path = PathBuf::from(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
    let fail = |source| Error::Path { action: "read", path: path.clone(), source };
    let told = fs::read_to_string(&path).map_err(fail)?;
    let id = told.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    let Some(id): Option<u64> = id else { return Ok(None) };
    Ok(entries()?.into_iter().find(|it| it.id == id).map(seen))
}

fn seen(entry: mountinfo::Entry) -> Mount {
    let mut mount = entry.mount;
    if mount.fs_type == FsKind::Btrfs.name() {
        // One that does not answer keeps the number of no device, and so belongs to no volume.
        if let Ok(Some(device)) = device_at(&entry.source) {
            mount.device = device;
        }
    }
    mount
}

pub(super) fn entries() -> Result<Vec<mountinfo::Entry>, Error> {
    const TABLE: &str = "/proc/self/mountinfo";
    let read = fs::read(TABLE);
    let table =
        read.map_err(|source| Error::Path { action: "read", path: PathBuf::from(TABLE), source })?;
    Ok(mountinfo::parse(&table))
}

/// See [`super::Filesystems::device_at`].
pub(super) fn device_at(path: &Path) -> Result<Option<DeviceNumber>, Error> {
    use nix::libc::{ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR};
    match fs::metadata(path) {
        Ok(data) if data.file_type().is_block_device() => {
            let number = data.rdev();
            Ok(Some(DeviceNumber { major: stat::major(number), minor: stat::minor(number) }))
        }
        Ok(_) => Ok(None),
        // There can be nothing at such a path.
        Err(err) if matches!(err.raw_os_error(), Some(ENOENT | ENOTDIR | ELOOP | ENAMETOOLONG)) => {
            Ok(None)
        }
        // A zero byte.
        Err(err) if err.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(source) => Err(Error::Path { action: "look at", path: path.to_owned(), source }),
    }
}

fn failed<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |source| Error::Path { action, path, source: source.into() }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::fs::MountOptions;

    #[test]
    fn there_is_no_device_where_nothing_can_be() {
        let long = format!("/{}", "deep/".repeat(2000));
        for path in ["/nowhere/at/all", "/proc/self/status/below", &long, "relative", "/a\0b"] {
            assert_eq!(device_at(Path::new(path)).unwrap(), None, "{path}");
        }
    }

    #[rstest]
    #[case::plain(FsKind::Ext4, "", Access::ReadWrite, MsFlags::empty(), "")]
    #[case::read_only(FsKind::Ext4, "noatime", Access::ReadOnly,
        MsFlags::MS_NOATIME.union(MsFlags::MS_RDONLY), "")]
    #[case::copies(FsKind::Xfs, "", Access::ReadWrite, MsFlags::empty(), "nouuid")]
    #[case::once(
        FsKind::Xfs,
        "nouuid,discard",
        Access::ReadWrite,
        MsFlags::empty(),
        "nouuid,discard"
    )]
    #[case::after(FsKind::Xfs, "discard", Access::ReadWrite, MsFlags::empty(), "discard,nouuid")]
    fn what_the_kernel_is_asked(
        #[case] kind: FsKind,
        #[case] options: &str,
        #[case] access: Access,
        #[case] flags: MsFlags,
        #[case] text: &str,
    ) {
        let options = MountOptions::parse(&[options.to_owned()]).unwrap();
        let how = MountHow { kind, options, access };
        assert_eq!(request(&how), (flags, text.to_owned()));
    }
}
