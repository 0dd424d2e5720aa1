//! What volumes that are directories are made of: the part in which the kinds of pool differ.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::record::{Id, Record};
use crate::{
    fs::{DeviceNumber, Mount},
    units::Bytes,
    volume::Error,
};

/// In what unit volumes are made: whole pages and blocks on every machine.
pub(super) const UNIT: Bytes = Bytes(64 << 10);
/// The fewest files and directories that a volume may have.
const LEAST_INODES: u64 = 64;

/// How many files and directories a volume may have, at one for so many bytes.
pub(super) fn inodes(size: Bytes, bytes_per_inode: Bytes) -> u64 {
    size.0.div_ceil(bytes_per_inode.0.max(1)).max(LEAST_INODES)
}

/// How much there is for volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// How large all volumes together may be.
    pub(super) size: Bytes,
    /// How much of that can be given to new ones.
    pub(super) free: Bytes,
}

/// A volume or snapshot, and the directory that is its own.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) id: &'a Id,
    pub(super) at: &'a Path,
}

/// What the volumes of a pool are made of. Calls block, and may be repeated.
pub(super) trait Ground: Send + Sync {
    /// What it is, for messages: `in memory`.
    fn words(&self) -> &'static str;

    /// How much there is, where these volumes have been made.
    fn room(&self, volumes: &[(Place<'_>, &Record)]) -> Result<Room, Error>;

    /// The project id of a new volume beside those with `taken`, where volumes have such.
    fn project(&self, id: &Id, taken: &BTreeSet<u32>) -> Result<Option<u32>, Error>;

    /// Gives a volume its directory, empty; nothing is there.
    fn fill(&self, place: Place<'_>, record: &Record) -> Result<(), Error>;

    /// What copies volumes, where they are of a kind that can be copied.
    fn copier(&self) -> Option<&dyn Copier>;

    /// Whether its contents are there.
    fn is_filled(&self, place: Place<'_>) -> Result<bool, Error>;

    /// Has it be as large as its record promises.
    fn fit(&self, place: Place<'_>, record: &Record) -> Result<(), Error>;

    /// Whether to scrap a volume takes no time, so that it is done at once.
    fn scraps_at_once(&self) -> bool;

    /// Takes its directory out of sight, at once.
    fn hide(&self, place: Place<'_>) -> Result<(), Error>;

    /// Takes away what it holds once it is hidden, as long as `goes_on`.
    ///
    /// # Errors
    /// [`Error::Busy`] when it was to stop.
    fn scrap(
        &self,
        place: Place<'_>,
        record: &Record,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<(), Error>;

    /// Takes away, at once, the directory of a volume that was never made to its end; there may be none.
    fn clear(&self, place: Place<'_>) -> Result<(), Error>;

    /// Does what was left for later, as long as `goes_on`.
    fn tidy(&self, goes_on: &dyn Fn() -> bool) -> Result<(), Error>;

    /// What of its directory is bound where it is staged.
    fn body(&self, at: &Path) -> PathBuf;

    /// What mounts of it show: the device, and the path in it.
    fn face(&self, at: &Path, mounts: &[Mount]) -> Option<(DeviceNumber, PathBuf)>;
}

/// How volumes and snapshots are copied. Calls block, and may be repeated.
pub(super) trait Copier {
    /// Why nothing can be copied here, in words for people; `None` where it can.
    fn lacks(&self) -> Result<Option<String>, Error>;

    /// How many bytes a volume or snapshot has in use.
    fn holds(&self, place: Place<'_>) -> Result<Bytes, Error>;

    /// Gives a volume or snapshot its directory, with all that is in another, where nobody may write; nothing is
    /// there. `goes_on` is told how many bytes are copied. What the copy has is given back, or `None` where it was to
    /// stop.
    fn copy(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        record: &Record,
        goes_on: &mut dyn FnMut(Bytes) -> bool,
    ) -> Result<Option<Bytes>, Error>;
}
