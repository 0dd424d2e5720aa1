//! What block devices there are, and their bytes: names and kinds, loop files, open counts, wiping
//! and copying.
//!
//! [`Devices`] is the seam: [`host::HostDevices`] asks the kernel, [`fake::FakeDevices`] keeps its
//! rules in memory; `contract.rs` holds what both must do.

mod block;
#[cfg(test)]
mod contract;
mod copying;
pub mod fake;
pub mod host;
mod parts;
mod sysfs;
mod uevents;

#[cfg(test)]
pub(crate) use block::example;
pub use block::{BlockDevice, DeviceType, Transport};
pub use parts::{ends_last, parts};
pub use uevents::{Bell, Uevents};

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    str::FromStr,
};

use nix::fcntl::Flock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{process::Failure, units::Bytes};

/// What Tarn needs from block devices. Calls block.
pub trait Devices: Send + Sync {
    /// The size of the block device at `path`; `None` when there is nothing.
    ///
    /// # Errors
    /// When something is there that is no block device, or it cannot be read.
    fn size(&self, path: &Path) -> Result<Option<Bytes>, Error>;

    /// How many hold the device-mapper device open: mounts, loop devices, programs. Nobody has one of which only its node
    /// is left.
    fn open_count(&self, path: &Path) -> Result<u32, Error>;

    /// Whether the device-mapper device, or one that it is made of, leads to a disk that is gone, also where
    /// that disk is there again as another device.
    fn leads_nowhere(&self, path: &Path) -> Result<bool, Error>;

    /// Makes the file if there is none, grows it if it is smaller than `size` (never shrinks it),
    /// attaches it to a loop device if none is, and returns that device, as large as the file. Of several
    /// it is one that somebody uses.
    fn ensure_loop(&self, file: &Path, size: Bytes) -> Result<PathBuf, Error>;

    /// Overwrites a part of a device so that nothing of it can be read again, and waits until that
    /// is durable. To shred it is to write random bytes over it, once.
    fn wipe(&self, device: &Path, part: Part, how: Wipe) -> Result<(), Error>;

    /// Copies a part of one device to the same place of another.
    fn copy(&self, from: &Path, to: &Path, part: Part) -> Result<(), Error>;

    /// Has the kernel look for partitions anew, after a table of them was overwritten.
    fn forget_partitions(&self, device: &Path) -> Result<(), Error>;

    /// Waits until all that was copied to the device is durable (fsync(2)).
    fn flush(&self, device: &Path) -> Result<(), Error>;

    /// Every block device with a size, its partitions among them, in the order of their names. None
    /// of them is read from.
    fn list(&self) -> Result<Vec<BlockDevice>, Error>;

    /// Holds a device for as long as the answer lives, so that nobody can mount it or use it below
    /// another device (open(2), `O_EXCL` without `O_CREAT`), and whoever keeps to systemd.io's
    /// BLOCK_DEVICE_LOCKING leaves it alone. Nothing is written, and no signature changes.
    ///
    /// # Errors
    /// [`Error::Held`] when somebody else holds it already, [`Error::Path`] when there is no node of
    /// this device.
    fn hold(&self, device: &BlockDevice) -> Result<Hold, Error>;

    /// Listens for block devices that come, go or change.
    fn watch(&self) -> Result<Uevents, Error>;
}

/// A device that is held, until this is dropped.
#[derive(Debug)]
pub struct Hold {
    /// The fake has none.
    _exclusive: Option<Flock<File>>,
}

/// A contiguous part of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub offset: Bytes,
    /// How long it is.
    pub length: Bytes,
}

/// What is done to the bytes of a deleted volume before its extents can be another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Wipe {
    /// Written over with zeroes. Always works.
    #[default]
    Zero,
    /// Unmapped where the device promises zeroes afterwards, else written over with zeroes.
    Discard,
    /// Left as they are: the next owner of the extents can read them.
    None,
    /// Of a whole device: only both of its ends, where all signatures are, with zeroes. The next owner can read
    /// the rest.
    QuickReset,
    /// Of a whole device: written over with random bytes, as often as its pool says, and then with zeroes.
    Shred,
}

impl Wipe {
    /// As tags say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Discard => "discard",
            Self::None => "none",
            Self::QuickReset => "quickreset",
            Self::Shred => "shred",
        }
    }
}

/// In large letters or small ones.
impl FromStr for Wipe {
    type Err = BadWipe;

    fn from_str(text: &str) -> Result<Self, BadWipe> {
        let all = [Self::Zero, Self::Discard, Self::None, Self::QuickReset, Self::Shred];
        all.into_iter().find(|wipe| text.eq_ignore_ascii_case(wipe.word())).ok_or(BadWipe)
    }
}

/// Why a text does not say what is done to the bytes of a deleted volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use Zero, Discard, None, QuickReset or Shred")]
pub struct BadWipe;

/// Why it did not work. Each names the device or file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something else than a block device is there.
    #[error("{} is not a block device", .0.display())]
    NotBlock(PathBuf),
    /// Somebody uses the device: it is mounted, is swap, or is below another device.
    #[error("{} is in use", .0.display())]
    Held(PathBuf),
    /// A call failed.
    #[error("cannot {action} {}", .path.display())]
    Path {
        /// What was tried.
        action: &'static str,
        /// The device or file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("cannot {action} {}", .path.display())]
    Tool {
        /// What was tried.
        action: &'static str,
        /// The device or file.
        path: PathBuf,
        /// The program's words.
        #[source]
        source: Failure,
    },
}
