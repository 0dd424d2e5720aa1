//! The real thing: the kernel, blkid, and the programs of e2fsprogs, xfsprogs and btrfs-progs.

use std::path::Path;

use super::{
    Access, Content, DeviceNumber, Error, Filesystems, FsKind, Look, MkfsOptions, Mount, MountHow,
    Usage, growing, looking, making, marks, mounting, probe,
};

pub use super::mounting::clear_passages;

/// The programs that are started, each with its Debian package.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("blkid", "util-linux"),
    ("mkfs.ext4", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("resize2fs", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_growfs", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("btrfs", "btrfs-progs"),
];

/// Asks the kernel and the real programs. It remembers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct FsTools;

impl Filesystems for FsTools {
    fn probe(&self, device: &Path) -> Result<Content, Error> {
        probe::probe(device)
    }

    fn look(&self, device: &Path) -> Result<Look, Error> {
        looking::look(device)
    }

    fn make(&self, device: &Path, kind: FsKind, options: &MkfsOptions) -> Result<(), Error> {
        making::make(device, kind, options)
    }

    fn check(&self, device: &Path, kind: FsKind) -> Result<(), Error> {
        making::check(device, kind)
    }

    fn part_from_origin(&self, device: &Path, kind: FsKind) -> Result<(), Error> {
        making::part_from_origin(device, kind)
    }

    fn mount(&self, device: &Path, at: &Path, how: &MountHow) -> Result<(), Error> {
        mounting::mount(device, at, how)
    }

    fn bind(&self, from: &Path, at: &Path, access: Access) -> Result<(), Error> {
        mounting::bind(from, at, access)
    }

    fn unmount(&self, at: &Path) -> Result<(), Error> {
        mounting::unmount(at)
    }

    fn mounts(&self) -> Result<Vec<Mount>, Error> {
        mounting::mounts()
    }

    fn mark_of(&self, mount: &Mount) -> Option<String> {
        marks::read(mount.device, &mount.at)
    }

    fn device_at(&self, path: &Path) -> Result<Option<DeviceNumber>, Error> {
        mounting::device_at(path)
    }

    fn grow(&self, device: &Path, at: &Path, kind: FsKind) -> Result<(), Error> {
        growing::grow(device, at, kind)
    }

    fn usage(&self, at: &Path) -> Result<Usage, Error> {
        growing::usage(at)
    }
}
