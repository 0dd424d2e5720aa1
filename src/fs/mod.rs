//! How a file system is found, made, checked, grown and mounted.
//!
//! [`Filesystems`] is the seam: [`tools::FsTools`] asks the kernel and the real programs,
//! [`fake::FakeFs`] keeps their rules in memory; `contract.rs` holds what both must do.

pub mod contents;
#[cfg(test)]
mod contract;
pub mod durable;
pub mod fake;
mod growing;
mod identity;
mod kind;
mod looking;
mod making;
mod marks;
mod memory;
mod mountinfo;
mod mounting;
mod options;
pub mod paths;
mod probe;
mod quota;
pub mod records;
mod reflinks;
mod superblock;
pub mod tools;
mod trimming;

pub use kind::{BadKind, FsKind};
pub use options::{BadOption, MkfsOptions, MountOptions};

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};

use nix::mount::MsFlags;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{process::Failure, units::Bytes};

/// A block device's number, as the kernel shows it: `major:minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u64,
    /// The device of that driver.
    pub minor: u64,
}

/// By what a file system is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its UUID, as blkid writes it.
    pub uuid: String,
    /// On how many devices it lies: a btrfs may have several.
    pub devices: u64,
}

/// What Tarn needs from file systems and mounts. Calls block.
pub trait Filesystems: Send + Sync {
    /// What is on a device, by a low-level probe (`blkid -p`, never its cache) and by the
    /// superblock itself.
    ///
    /// # Errors
    /// A device that cannot be read is an error, never [`Content::Nothing`].
    fn probe(&self, device: &Path) -> Result<Content, Error>;

    /// What is at the edges of a device, whatever it is: enough to say that a whole disk is empty.
    ///
    /// # Errors
    /// A device that cannot be read is an error, never [`Edges::Zero`].
    fn look(&self, device: &Path) -> Result<Look, Error>;

    /// By what the file system on a device is known again, mounted or not.
    ///
    /// # Errors
    /// A device that cannot be read, or has no file system of that kind.
    fn identity(&self, device: &Path, kind: FsKind) -> Result<Identity, Error>;

    /// Makes a file system. The device must have been found empty or [`Content::Unfinished`];
    /// nothing is ever forced.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] when something else is there by now.
    /// [`Error::Busy`] while another process, perhaps left by an earlier life of ours, works on the
    /// device (it holds a `flock(2)` on it).
    fn make(&self, device: &Path, kind: FsKind, options: &MkfsOptions) -> Result<(), Error>;

    /// Checks, and repairs what is safe to repair, before the first mount since boot or crash:
    /// `e2fsck -p` for ext4; xfs and btrfs replay their logs when mounted.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a person has to decide, [`Error::InUse`] where a check is needed and the
    /// device is mounted or held.
    fn check(&self, device: &Path, kind: FsKind) -> Result<(), Error>;

    /// Gives an unmounted copy of a btrfs an identity of its own, without which the kernel takes it
    /// for its origin. Others need none: xfs copies are mounted `nouuid`.
    fn part_from_origin(&self, device: &Path, kind: FsKind) -> Result<(), Error>;

    /// Mounts a device.
    fn mount(&self, device: &Path, at: &Path, how: &MountHow) -> Result<(), Error>;

    /// Mounts a new, empty file system in memory (tmpfs(5)), which is gone when its last mount is. `name` is what
    /// the list of mounts shows as its device.
    fn mount_memory(&self, name: &str, at: &Path, how: &MemoryHow) -> Result<(), Error>;

    /// Gives the file system in memory that is mounted at `at` another size and number of inodes; what is in it
    /// stays, and how else it was mounted.
    ///
    /// # Errors
    /// One that holds more than that.
    fn resize_memory(&self, at: &Path, how: &MemoryHow) -> Result<(), Error>;

    /// Why this kernel has not got something for file systems in memory, in words for people; `None` where it has.
    /// Mounting one with it then fails, or has no effect.
    fn lacks_in_memory(&self, option: MemoryOption) -> Result<Option<String>, Error>;

    /// How much memory the machine has (sysinfo(2)).
    fn memory(&self) -> Result<Bytes, Error>;

    /// Whether the file system around `at` keeps project quotas.
    fn quota_at(&self, at: &Path) -> Result<Quota, Error>;

    /// Gives a directory, and all that will be made in it, to a project.
    fn set_project(&self, at: &Path, project: u32) -> Result<(), Error>;

    /// How much a project may have in the file system that is mounted at `mount`; all zero lets it have anything.
    fn limit_project(&self, mount: &Path, project: u32, limit: ProjectLimit) -> Result<(), Error>;

    /// The projects that have anything in the file system that is mounted at `mount`, or a limit.
    fn used_projects(&self, mount: &Path) -> Result<BTreeSet<u32>, Error>;

    /// Why files of the file system around `at` cannot share their blocks (ioctl_ficlone(2)), in words for people;
    /// `None` where they can.
    fn lacks_reflinks(&self, at: &Path) -> Result<Option<String>, Error>;

    /// Copies all that is in a directory into another, which is empty and on the same file system, so that files share
    /// their blocks; durable at its end. Nobody may change either meanwhile. `goes_on` is told after each file how many
    /// bytes the copy holds, as a quota counts them; what they are at the end is given back, or `None` where it said no.
    ///
    /// # Errors
    /// Nothing is followed out of the directory, and nothing left out.
    fn clone_tree(
        &self,
        from: &Path,
        to: &Path,
        goes_on: &mut dyn FnMut(Bytes) -> bool,
    ) -> Result<Option<Bytes>, Error>;

    /// Makes a mount or a device file appear at `at` too (`mount --bind`), read-only if asked: the
    /// bind call itself ignores that, so a remount follows and is verified.
    fn bind(&self, from: &Path, at: &Path, access: Access) -> Result<(), Error>;

    /// Takes the topmost mount off `at`; no mount there is fine. Never lazy, never forced.
    ///
    /// # Errors
    /// [`Error::InUse`] while something holds it.
    fn unmount(&self, at: &Path) -> Result<(), Error>;

    /// Opens the root directory of what is mounted there.
    ///
    /// # Errors
    /// Where something else is seen there by now.
    fn root(&self, mount: &Mount) -> Result<contents::Root, Error>;

    /// All mounts that this process sees, oldest first (`/proc/self/mountinfo`).
    fn mounts(&self) -> Result<Vec<Mount>, Error>;

    /// The [`MountOptions::mark`] with which [`Filesystems::mount`] made a mount, in this life of
    /// the program or an earlier one since boot; `None` when that is not known.
    fn mark_of(&self, mount: &Mount) -> Option<String>;

    /// The device number of the block special file at `path`; `None` when it is something else or
    /// nothing.
    fn device_at(&self, path: &Path) -> Result<Option<DeviceNumber>, Error>;

    /// Grows a mounted file system to the size of its device; one that fills it is left as it is.
    fn grow(&self, device: &Path, at: &Path, kind: FsKind) -> Result<(), Error>;

    /// How full a mounted file system is (statvfs(3)).
    fn usage(&self, at: &Path) -> Result<Usage, Error>;

    /// Tells the device below a file system that is mounted at `at` which bytes of a stretch are of no use (FITRIM,
    /// ioctl_fitrim); says how many those are. ext4 tells of each only once while it is mounted, xfs every time.
    ///
    /// # Errors
    /// A device that does not take it is one, and so is a stretch beyond the end.
    fn trim(&self, at: &Path, stretch: Stretch) -> Result<Bytes, Error>;
}

/// A part of a file system, by its own addresses. Only ext4 keeps to it: the addresses of btrfs are not those of its
/// device, and xfs takes all of each free extent that begins or ends in it (fs/xfs/xfs_discard.c of Linux 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins.
    pub from: Bytes,
    /// How long it is; up to the end when that is not said.
    pub length: Option<Bytes>,
}

impl Stretch {
    /// All of a file system.
    pub const ALL: Self = Self { from: Bytes::ZERO, length: None };
}

/// What a probe found on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// No signature of anything known.
    Nothing,
    /// A file system of ours.
    Filesystem {
        /// Which.
        kind: FsKind,
        /// The size it has given itself.
        size: Bytes,
    },
    /// What a mkfs that was stopped half-way left: never a file system that could be mounted, so
    /// [`Filesystems::make`] may begin again.
    Unfinished(FsKind),
    /// Something that is not ours to touch, in blkid's words: `crypto_LUKS`, `LVM2_member`,
    /// `swap`, `gpt partition table`, `vfat`, `several signatures` and so on.
    Foreign(String),
}

/// What is at the edges of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What blkid knows of it; nothing where it knows nothing, or several that exclude each other.
    pub signature: Option<Signature>,
    /// The bytes themselves.
    pub edges: Edges,
}

impl Look {
    /// Whether there is nothing at all.
    pub fn is_nothing(&self) -> bool {
        self.signature.is_none() && self.edges == Edges::Zero
    }
}

/// The first and the last mebibyte of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edges {
    /// All zeroes.
    Zero,
    /// LVM's label, and no trace of a logical volume: `pvcreate` was stopped, or nothing was done
    /// after it.
    OnlyLabel,
    /// Something else.
    Written,
}

/// A signature, in blkid's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What it is: `ext4`, `crypto_LUKS`, `gpt` and so on.
    pub name: String,
    /// What that is one of.
    pub family: Family,
    /// The name that somebody gave it.
    pub label: Option<String>,
}

/// What a signature is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A file system.
    FileSystem,
    /// A table of partitions.
    PartitionTable,
    /// A member of a RAID.
    Raid,
    /// LUKS and the like.
    Encryption,
    /// A physical volume of LVM's.
    PhysicalVolume,
    /// A member of a ZFS pool.
    Zfs,
    /// A cache or backing device of bcache.
    Bcache,
    /// A disk of Ceph's.
    Ceph,
    /// Swap, or a memory image.
    Swap,
    /// Something else.
    Other,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Filesystem { kind, size } => write!(f, "{kind} of {size}"),
            Self::Unfinished(kind) => write!(f, "an unfinished {kind}"),
            Self::Foreign(what) => f.write_str(what),
        }
    }
}

/// How to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountHow {
    /// The file system on the device.
    pub kind: FsKind,
    /// What the StorageClass or the caller asked for.
    pub options: MountOptions,
    /// Reading, or writing too.
    pub access: Access,
}

/// How a file system in memory is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryHow {
    /// How much its files may hold together.
    pub size: Bytes,
    /// How many files and directories it may have.
    pub inodes: u64,
    /// The permissions of its root directory.
    pub mode: u32,
    /// Whether its files have huge pages.
    pub huge_pages: HugePages,
    /// Whether its pages may be swapped out.
    pub swap: bool,
}

/// When files of a file system in memory have huge pages (tmpfs(5), `huge`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HugePages {
    /// Never.
    #[default]
    Never,
    /// Whenever one can be had.
    Always,
    /// Where a whole one is within the file's size.
    WithinSize,
    /// Where a program asks for them (madvise(2)).
    Advise,
}

/// What not every kernel has for file systems in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryOption {
    /// Huge pages: needs CONFIG_TRANSPARENT_HUGEPAGE, and a processor that has them.
    Huge(HugePages),
    /// No swapping: Linux 6.4.
    NoSwap,
}

impl HugePages {
    /// The kernel's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Always => "always",
            Self::WithinSize => "within_size",
            Self::Advise => "advise",
        }
    }
}

/// Whether a file system keeps project quotas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quota {
    /// It does.
    Enforced {
        /// Where it is mounted.
        mount: PathBuf,
    },
    /// It does not: why, and what to do, in words for people.
    Off(String),
}

/// How much a project may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectLimit {
    /// In all its files together.
    pub bytes: Bytes,
    /// How many files and directories.
    pub inodes: u64,
}

/// Whether a mount may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading and writing.
    ReadWrite,
    /// Reading only.
    ReadOnly,
}

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The device below. For btrfs, whose mountinfo shows a number of no device, that of the source.
    pub device: DeviceNumber,
    /// What of that file system is seen here: `/` or a path in it.
    pub root: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
    /// Whether this mount (not the file system below) may be written to.
    pub access: Access,
    /// The flags of this mount, such as `nosuid` and `noatime`.
    pub flags: MsFlags,
    /// The type, such as `ext4` or `devtmpfs`.
    pub fs_type: String,
}

impl Mount {
    /// The topmost of these mounts that a path is in; `mounts` are oldest first.
    pub fn around<'a>(path: &Path, mounts: &'a [Self]) -> Option<&'a Self> {
        let inside = mounts.iter().filter(|mount| path.starts_with(&mount.at));
        // Of equals the last, which is the topmost.
        inside.max_by_key(|mount| mount.at.components().count())
    }
}

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Its bytes.
    pub bytes: Share,
    /// Its inodes; all zero where the file system (btrfs) does not count them.
    pub inodes: Share,
}

/// A whole and its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// All of it.
    pub total: u64,
    /// What is taken.
    pub used: u64,
    /// What a user without privileges may still take.
    pub available: u64,
}

/// Why it did not work. Each names the device or path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process works on the device.
    #[error("{} is busy: another process is working on it", .0.display())]
    Busy(PathBuf),
    /// There is something on a device that was to get a file system.
    #[error("{} is not empty: it holds {found}", .device.display())]
    NotEmpty {
        /// The device.
        device: PathBuf,
        /// What is on it.
        found: Content,
    },
    /// A mount, or the device of one, is still held by somebody.
    #[error("{} is in use", .0.display())]
    InUse(PathBuf),
    /// A check found damage that it must not mend by itself.
    #[error("the {kind} file system on {} is damaged; repair it by hand: {report}", .device.display())]
    Damaged {
        /// The device.
        device: PathBuf,
        /// The file system.
        kind: FsKind,
        /// What the checker said.
        report: String,
    },
    /// The kernel refused a mount.
    #[error("cannot mount {} at {} as {kind}: {hint}", .device.display(), .at.display())]
    Mount {
        /// The device.
        device: PathBuf,
        /// Where.
        at: PathBuf,
        /// As what.
        kind: FsKind,
        /// What that errno usually means here.
        hint: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A call on a path failed.
    #[error("cannot {action} {}", .path.display())]
    Path {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("cannot {action} {}", .device.display())]
    Tool {
        /// What was tried.
        action: &'static str,
        /// On which device or mount.
        device: PathBuf,
        /// The program's words.
        #[source]
        source: Failure,
    },
}
