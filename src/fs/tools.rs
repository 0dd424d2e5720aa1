//! The real thing: the kernel, blkid, and the programs of e2fsprogs, xfsprogs and btrfs-progs.

use std::{collections::BTreeSet, path::Path};

use rustix::fs::ioctl_ficlone;

use super::{
    Access, Content, DeviceNumber, Error, Filesystems, FsKind, Identity, Look, MemoryHow,
    MemoryOption, MkfsOptions, Mount, MountHow, ProjectLimit, Quota, Stretch, Usage,
    contents::{self, Root},
    growing, looking, making, marks, memory, mounting, probe, quota, reflinks, trimming,
};
use crate::units::Bytes;

pub use super::mounting::clear_passages;

/// The programs that are started, each with its Debian package.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("blkid", "util-linux"),
    ("fstrim", "util-linux"),
    ("mkfs.ext4", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("resize2fs", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_growfs", "xfsprogs"),
    ("xfs_quota", "xfsprogs"),
    ("chattr", "e2fsprogs"),
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

    fn identity(&self, device: &Path, kind: FsKind) -> Result<Identity, Error> {
        probe::identity(device, kind)
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

    fn mount_memory(&self, name: &str, at: &Path, how: &MemoryHow) -> Result<(), Error> {
        memory::mount(name, at, how)
    }

    fn resize_memory(&self, at: &Path, how: &MemoryHow) -> Result<(), Error> {
        memory::resize(at, how)
    }

    fn lacks_in_memory(&self, option: MemoryOption) -> Result<Option<String>, Error> {
        memory::lacks(option)
    }

    fn memory(&self) -> Result<Bytes, Error> {
        memory::all()
    }

    fn quota_at(&self, at: &Path) -> Result<Quota, Error> {
        quota::at(at)
    }

    fn set_project(&self, at: &Path, project: u32) -> Result<(), Error> {
        quota::set(at, project)
    }

    fn limit_project(&self, mount: &Path, project: u32, limit: ProjectLimit) -> Result<(), Error> {
        quota::limit(mount, project, limit)
    }

    fn used_projects(&self, mount: &Path) -> Result<BTreeSet<u32>, Error> {
        quota::used(mount)
    }

    fn lacks_reflinks(&self, at: &Path) -> Result<Option<String>, Error> {
        reflinks::lacking(at)
    }

    fn clone_tree(
        &self,
        from: &Path,
        to: &Path,
        goes_on: &mut dyn FnMut(Bytes) -> bool,
    ) -> Result<Option<Bytes>, Error> {
        contents::clone_tree(from, to, &|from, to| ioctl_ficlone(to, from), goes_on)
    }

    fn bind(&self, from: &Path, at: &Path, access: Access) -> Result<(), Error> {
        mounting::bind(from, at, access)
    }

    fn unmount(&self, at: &Path) -> Result<(), Error> {
        mounting::unmount(at)
    }

    fn root(&self, mount: &Mount) -> Result<Root, Error> {
        Root::of(mount)
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
    fn trim(&self, at: &Path, stretch: Stretch) -> Result<Bytes, Error> {
        trimming::trim(at, stretch)
    }
}
