//! Grows mounted file systems, and says how full they are.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    path::Path,
};

use nix::sys::statvfs::{Statvfs, statvfs};

use super::{Error, FsKind, Share, Usage, probe::superblock, superblock::Superblock};
use crate::{process::Invocation, units::Bytes};

/// See [`super::Filesystems::grow`].
pub(super) fn grow(device: &Path, at: &Path, kind: FsKind) -> Result<(), Error> {
    let superblock = superblock(device, kind)?;
    let fills = fills(&superblock, &look(at)?, size(device)?);
    if fills {
        return Ok(());
    }
    let run = match kind {
        FsKind::Ext4 => Invocation::changes("resize2fs").arg(device),
        FsKind::Xfs => Invocation::changes("xfs_growfs").arg("-d").arg(at),
        FsKind::Btrfs => Invocation::changes("btrfs").args(["filesystem", "resize", "max"]).arg(at),
    };
    let fail = |source| Error::Tool { action: "grow", device: device.to_owned(), source };
    run.run().map(|_| ()).map_err(fail)
}

/// Whether the file system has all of the device that it can use. While it is mounted, only ext4 and
/// btrfs keep their superblock on the device up to date at once; xfs tells its size by statvfs(3),
/// without its log.
fn fills(superblock: &Superblock, live: &Statvfs, device: Bytes) -> bool {
    let has = match superblock.kind {
        FsKind::Xfs => {
            let data = live.blocks().saturating_mul(live.fragment_size());
            Bytes(data.saturating_add(superblock.log.0))
        }
        FsKind::Ext4 | FsKind::Btrfs => superblock.size,
    };
    device.saturating_sub(has) < least_growth(superblock)
}

/// What is less than this cannot be used: ext4 takes whole blocks; xfs leaves an allocation group of
/// less than 64 blocks away and its growth to that fails (fs/xfs/xfs_fsops.c); btrfs takes whole
/// sectors, which have at most 64 KiB.
fn least_growth(superblock: &Superblock) -> Bytes {
    match superblock.kind {
        FsKind::Ext4 => superblock.block,
        FsKind::Xfs => Bytes(superblock.block.0.saturating_mul(64)),
        FsKind::Btrfs => Bytes(64 << 10),
    }
}

fn size(device: &Path) -> Result<Bytes, Error> {
    let end = File::open(device).and_then(|mut file| file.seek(SeekFrom::End(0)));
    end.map(Bytes).map_err(failed("read", device))
}

/// See [`super::Filesystems::usage`].
pub(super) fn usage(at: &Path) -> Result<Usage, Error> {
    let live = look(at)?;
    let bytes = |blocks: u64| blocks.saturating_mul(live.fragment_size());
    Ok(Usage {
        bytes: Share {
            total: bytes(live.blocks()),
            used: bytes(live.blocks().saturating_sub(live.blocks_free())),
            available: bytes(live.blocks_available()),
        },
        inodes: Share {
            total: live.files(),
            used: live.files().saturating_sub(live.files_free()),
            available: live.files_available(),
        },
    })
}

fn look(at: &Path) -> Result<Statvfs, Error> {
    statvfs(at).map_err(|errno| failed("look at", at)(errno.into()))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Path { action, path, source }
}
