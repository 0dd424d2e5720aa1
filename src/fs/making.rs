//! Makes file systems, checks them, and parts copies from their origin.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use nix::{fcntl::Flock, libc};

use super::{
    Content, Error, FsKind, MkfsOptions, identity,
    probe::{probe, superblock},
    superblock::State,
};
use crate::process::{Failure, Invocation, held};

/// What is cleared of an xfs that was never finished: the sector with its superblock, and the rest
/// of the page it is in.
const XFS_START: [u8; 4096] = [0; 4096];

/// See [`super::Filesystems::make`].
pub(super) fn make(device: &Path, kind: FsKind, options: &MkfsOptions) -> Result<(), Error> {
    let lock = lock(device)?;
    match probe(device)? {
        Content::Nothing => (),
        Content::Unfinished(FsKind::Xfs) => clear_unfinished_xfs(device)?,
        found @ (Content::Filesystem { .. } | Content::Unfinished(_) | Content::Foreign(_)) => {
            return Err(Error::NotEmpty { device: device.to_owned(), found });
        }
    }
    let fail = |source| failed("make a file system on", device)(source);
    mkfs(device, kind, options)
        .holding(lock.try_clone().map_err(fail)?)
        .run()
        .map_err(tool("make a file system on", device))?;
    lock.sync_all().map_err(fail)
}

/// The command line. Its standard input is the lock, read from its end, so that a question would
/// find no answer and mkfs would stop.
///
/// - ext4: inode tables and the journal are zeroed later by the kernel, and no blocks are held back
///   for root: a volume holds one workload's files.
/// - All: no discard of the whole device, which takes minutes on some. The device is new.
fn mkfs(device: &Path, kind: FsKind, options: &MkfsOptions) -> Invocation {
    let lazy = Some("lazy_itable_init=1,lazy_journal_init=1,nodiscard");
    let (program, defaults): (_, &[(&'static str, Option<&str>)]) = match kind {
        FsKind::Ext4 => ("mkfs.ext4", &[("-q", None), ("-m", Some("0")), ("-E", lazy)]),
        FsKind::Xfs => ("mkfs.xfs", &[("-q", None), ("-K", None)]),
        FsKind::Btrfs => ("mkfs.btrfs", &[("-q", None), ("-K", None)]),
    };
    Invocation::changes(program).args(options.args(defaults)).arg(device)
}

/// mkfs.xfs writes its superblock first, marked as in progress, and takes the mark off at the end;
/// with the mark the kernel refuses to mount it (fs/xfs/libxfs/xfs_sb.c). mkfs.ext4 writes the
/// superblock last, and mkfs.btrfs keeps a magic number of its own in it until the end: blkid finds
/// nothing there, and their mkfs writes over it.
fn clear_unfinished_xfs(device: &Path) -> Result<(), Error> {
    tracing::warn!(device = %device.display(), "a mkfs.xfs was stopped half-way; beginning again");
    let file = alone(device, OpenOptions::new().write(true))?;
    let cleared = file.write_all_at(&XFS_START, 0).and_then(|()| file.sync_all());
    cleared.map_err(failed("clear the unfinished xfs on", device))?;
    match probe(device)? {
        Content::Nothing => Ok(()),
        found @ (Content::Filesystem { .. } | Content::Unfinished(_) | Content::Foreign(_)) => {
            Err(Error::NotEmpty { device: device.to_owned(), found })
        }
    }
}

/// See [`super::Filesystems::check`]. An ext4 whose superblock says that it was unmounted in order
/// and has no error on record needs no check (`s_state`; e2fsck(8) -p decides the same way), so the
/// usual case starts no program.
pub(super) fn check(device: &Path, kind: FsKind) -> Result<(), Error> {
    if kind != FsKind::Ext4 || superblock(device, kind)?.state == State::Clean {
        return Ok(());
    }
    let lock = lock(device)?;
    // e2fsck would say only that it cannot continue.
    drop(alone(device, OpenOptions::new().read(true))?);
    let held = lock.try_clone().map_err(failed("lock", device))?;
    let e2fsck = Invocation::changes("e2fsck").arg("-p").arg(device).holding(held);
    checked(e2fsck.run(), device, kind)
}

/// e2fsck(8), EXIT CODE: 1 and 2 mean that all was repaired, 4 that errors are left; 8 and more that
/// it could not do its work.
fn checked(result: Result<Vec<u8>, Failure>, device: &Path, kind: FsKind) -> Result<(), Error> {
    let Err(failure) = result else { return Ok(()) };
    match failure.exit_code() {
        Some(1..=3) => Ok(()),
        Some(4..=7) => Err(Error::Damaged {
            device: device.to_owned(),
            kind,
            report: failure.cause.to_string(),
        }),
        _ => Err(tool("check", device)(failure)),
    }
}

/// See [`super::Filesystems::part_from_origin`].
pub(super) fn part_from_origin(device: &Path, kind: FsKind) -> Result<(), Error> {
    if kind != FsKind::Btrfs {
        return Ok(());
    }
    let _lock = lock(device)?;
    let mut file = alone(device, OpenOptions::new().read(true).write(true))?;
    let renamed = file.seek(SeekFrom::End(0)).and_then(|size| identity::change(&file, size));
    renamed.map_err(failed("give an identity of its own to the btrfs on", device))
}

fn alone(device: &Path, how: &mut OpenOptions) -> Result<File, Error> {
    how.custom_flags(libc::O_EXCL);
    held::once_free(|| how.open(device)).map_err(|source| match source.raw_os_error() {
        Some(libc::EBUSY) => Error::InUse(device.to_owned()),
        _ => failed("open", device)(source),
    })
}

/// The lock that everybody takes who works on a device, and that its mkfs or e2fsck inherits.
fn lock(device: &Path) -> Result<Flock<File>, Error> {
    let mut file = File::open(device).map_err(failed("open", device))?;
    file.seek(SeekFrom::End(0)).map_err(failed("read", device))?;
    held::lock(file).map_err(|source| match source.kind() == io::ErrorKind::ResourceBusy {
        true => Error::Busy(device.to_owned()),
        false => failed("lock", device)(source),
    })
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Path { action, path, source }
}

fn tool(action: &'static str, device: &Path) -> impl FnOnce(Failure) -> Error {
    let device = device.to_owned();
    move |source| Error::Tool { action, device, source }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::process::Cause;

    #[rstest]
    #[case(
        FsKind::Ext4,
        "",
        "mkfs.ext4 -q -m 0 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard /dev/vg/v"
    )]
    #[case(
        FsKind::Ext4,
        "-i 8192 -m 1 -E discard",
        "mkfs.ext4 -q -m 1 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard,discard -i 8192 /dev/vg/v"
    )]
    #[case(FsKind::Xfs, "-m reflink=0 -K", "mkfs.xfs -q -K -m reflink=0 /dev/vg/v")]
    #[case(FsKind::Btrfs, "-m single", "mkfs.btrfs -q -K -m single /dev/vg/v")]
    fn nothing_is_forced(#[case] kind: FsKind, #[case] options: &str, #[case] want: &str) {
        let options = MkfsOptions::parse(kind, options).unwrap();
        assert_eq!(mkfs(Path::new("/dev/vg/v"), kind, &options).to_string(), want);
    }

    #[rstest]
    #[case(
        FsKind::Ext4,
        "mkfs.ext4 -q -m 0 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard,quotatype=prjquota \
         -O quota,project /dev/loop0"
    )]
    #[case(FsKind::Xfs, "mkfs.xfs -q -K /dev/loop0")]
    fn for_project_quotas(#[case] kind: FsKind, #[case] want: &str) {
        let options = MkfsOptions::with_project_quotas(kind);
        assert_eq!(mkfs(Path::new("/dev/loop0"), kind, &options).to_string(), want);
    }

    #[test]
    fn exit_codes_of_e2fsck() {
        let code = |code| {
            let cause = Cause::Exit { code, stderr: "UNEXPECTED INCONSISTENCY".to_owned() };
            let failure = Failure { command: "e2fsck".to_owned(), cause };
            checked(Err(failure), Path::new("/dev/vg/v"), FsKind::Ext4)
        };
        code(1).unwrap();
        code(2).unwrap();
        let damaged = code(4).unwrap_err();
        assert!(matches!(&damaged, Error::Damaged { .. }));
        assert!(damaged.to_string().contains("UNEXPECTED INCONSISTENCY"));
        assert!(matches!(code(8).unwrap_err(), Error::Tool { .. }));
        assert!(matches!(code(137).unwrap_err(), Error::Tool { .. }));
    }
}
