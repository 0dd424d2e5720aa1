//! The file systems that Tarn makes.

use std::{fmt, str::FromStr};

use crate::units::Bytes;

/// A file system that Tarn makes, checks and grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FsKind {
    /// The default.
    Ext4,
    /// At least 300 MiB.
    Xfs,
    /// At least 256 MiB.
    Btrfs,
}

/// Why a text is not a file system of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a file system that Tarn makes: use ext4, xfs or btrfs")]
pub struct BadKind(pub String);

impl FsKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// The smallest device that it is made on: for xfs the smallest that its mkfs accepts with our
    /// flags (mkfs.xfs(8) since 5.19), for ext4 the smallest that gets a journal whatever its block
    /// size is. The kernel does not resize a btrfs to less than 256 MiB (fs/btrfs/ioctl.c,
    /// `btrfs_ioctl_resize`), so a smaller one could not grow.
    pub fn smallest(self) -> Bytes {
        match self {
            Self::Ext4 => Bytes::mib(8),
            Self::Xfs => Bytes::mib(300),
            Self::Btrfs => Bytes::mib(256),
        }
    }

    /// As mount(8) and blkid(8) spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

impl fmt::Display for FsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FsKind {
    type Err = BadKind;

    fn from_str(text: &str) -> Result<Self, BadKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| BadKind(text.into()))
    }
}
