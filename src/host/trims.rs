//! Thin volumes in use give back to their pool what their file systems do not use any more: each at a moment of its
//! own, and one at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Found, Host};
use crate::{
    fs::{Access, FsKind, Stretch},
    lvm::Kind,
    mounts::fs_failed,
    pool::Trimmed,
    units::Bytes,
    volume::{Error, PoolName, Purpose, Turns, VolumeId, chain},
};

/// How often it is looked whose moment has come.
const LOOK: Duration = Duration::from_secs(15);
/// So much of a file system that can be trimmed in pieces is trimmed in one turn: a call waits for no more than that.
const PIECE: Bytes = Bytes::gib(8);
/// Between two pieces whoever waits for the volume goes first.
const BREATH: Duration = Duration::from_millis(200);

/// How trimming went since the start, by pool.
#[derive(Default)]
pub(super) struct Trims(Mutex<BTreeMap<PoolName, Trimmed>>);

impl Trims {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PoolName, Trimmed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, pool: &PoolName) -> Trimmed {
        self.lock().get(pool).copied().unwrap_or_default()
    }
}

/// What became of a volume whose moment had come.
enum Outcome {
    /// So many bytes are of no use to its file system.
    Trimmed(Bytes),
    /// It is not in use, or has no file system.
    Unused,
    /// A call has it in hand.
    InHand,
    /// The driver stops.
    Stopped,
}

impl Host {
    /// Trims volumes when their moments come, until [`Host::stop`].
    pub(super) fn trim_now_and_then(&self, turns: &Turns) {
        let mut last = (self.tools.clock)();
        let mut due = BTreeSet::new();
        loop {
            self.chores.rest(LOOK);
            if self.chores.is_stopping() {
                return;
            }
            let now = (self.tools.clock)();
            due.extend(self.due_between(last, now));
            due = self.trim(turns, due);
            last = now;
        }
    }

    /// The volumes whose moment was after `last` and is not after `now`, in seconds since 1970.
    pub fn due_between(&self, last: i64, now: i64) -> BTreeSet<VolumeId> {
        let mut due = BTreeSet::new();
        for pool in &self.pools().served {
            let Some(thin) = &pool.spec.thin_pool else { continue };
            pool.read(|ledger| {
                let volumes = ledger.records("v-", None).map(|(lv, _)| lv);
                let volumes = volumes.filter(|lv| matches!(lv.kind, Kind::Thin { .. }));
                let names = volumes.map(|lv| lv.name.as_str());
                let names = names.filter(|name| thin.trim.is_due(name, last, now));
                due.extend(names.filter_map(|name| name.parse::<VolumeId>().ok()));
            });
        }
        due
    }

    /// Trims these volumes where they are mounted; gives back those that calls have in hand, which are to be tried
    /// again. A failure is over with its entry in the log, until the volume's next moment.
    pub fn trim(&self, turns: &Turns, due: BTreeSet<VolumeId>) -> BTreeSet<VolumeId> {
        let mut in_hand = BTreeSet::new();
        for id in due {
            let Some(pool) = self.volume(&id).map(|found| found.pool) else { continue };
            let note = |note: fn(&mut Trimmed)| {
                note(self.trims.lock().entry(pool.name.clone()).or_default())
            };
            match self.trim_one(turns, &id) {
                Ok(Outcome::Trimmed(bytes)) => {
                    tracing::info!(pool = %pool.name, volume = %id, unused = %bytes, "trimmed");
                    note(|it| it.succeeded += 1);
                    // How full the thin pool is now, a report says.
                    self.chores.report_soon(&pool.name);
                }
                Ok(Outcome::Unused) => (),
                Ok(Outcome::InHand) => drop(in_hand.insert(id)),
                Ok(Outcome::Stopped) => break,
                Err(err) => {
                    let error = chain(&err);
                    tracing::warn!(pool = %pool.name, volume = %id, error, "not trimmed");
                    note(|it| it.failed += 1);
                }
            }
        }
        in_hand
    }

    fn trim_one(&self, turns: &Turns, id: &VolumeId) -> Result<Outcome, Error> {
        let (mut from, mut unused) = (Bytes::ZERO, Bytes::ZERO);
        loop {
            if self.chores.is_stopping() {
                return Ok(Outcome::Stopped);
            }
            let Some(kind) = self.filesystem(id) else { return Ok(Outcome::Unused) };
            let turn = match comes_in_pieces(kind) {
                true => turns.take_in_background(id.as_str()),
                // It may take long: a call had better come again.
                false => turns.take(id.as_str()),
            };
            let Ok(turn) = turn else { return Ok(Outcome::InHand) };
            // Before each piece anything may have happened to it.
            let Some(found) = self.volume(id) else { return Ok(Outcome::Unused) };
            let Some(at) = self.mounted_for_writing(&found)? else { return Ok(Outcome::Unused) };
            let failed = |err| fs_failed(format!("trimming {id}"), err);
            let size = Bytes(self.tools.fs.usage(&at).map_err(failed)?.bytes.total);
            let piece = piece(kind, size, from);
            let bytes = self.tools.fs.trim(&at, piece).map_err(failed)?;
            unused = Bytes(unused.0.saturating_add(bytes.0));
            let Some(length) = piece.length else { return Ok(Outcome::Trimmed(unused)) };
            from = Bytes(from.0.saturating_add(length.0));
            drop(turn);
            self.chores.rest(BREATH);
        }
    }

    fn filesystem(&self, id: &VolumeId) -> Option<FsKind> {
        match self.volume(id)?.record.purpose {
            Purpose::Filesystem(kind) => Some(kind),
            Purpose::Block => None,
        }
    }

    /// Where all of a volume's file system can be seen, and written to.
    fn mounted_for_writing(&self, found: &Found) -> Result<Option<PathBuf>, Error> {
        let mounts = self.mounts_of(found)?;
        let mut suited = mounts.of_volume.iter().filter(|it| {
            let is_whole = it.root == Path::new("/") && it.access == Access::ReadWrite;
            is_whole && mounts.at(&it.at) == Some(it)
        });
        Ok(suited.next().map(|it| it.at.clone()))
    }
}

/// Whether a file system keeps to a [`Stretch`].
fn comes_in_pieces(kind: FsKind) -> bool {
    match kind {
        FsKind::Ext4 => true,
        FsKind::Xfs | FsKind::Btrfs => false,
    }
}

/// The next piece of a file system; the last has no end.
fn piece(kind: FsKind, size: Bytes, from: Bytes) -> Stretch {
    let end = Bytes(from.0.saturating_add(PIECE.0));
    let is_last = !comes_in_pieces(kind) || end >= size;
    Stretch { from, length: (!is_last).then_some(PIECE) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::small(FsKind::Ext4, 1, 0, None)]
    #[case::the_first_of_several(FsKind::Ext4, 20, 0, Some(8))]
    #[case::the_second(FsKind::Ext4, 20, 8, Some(8))]
    #[case::the_last(FsKind::Ext4, 20, 16, None)]
    #[case::exactly(FsKind::Ext4, 16, 8, None)]
    #[case::xfs(FsKind::Xfs, 20, 0, None)]
    #[case::btrfs(FsKind::Btrfs, 20, 0, None)]
    fn piece_by_piece(
        #[case] kind: FsKind,
        #[case] size: u64,
        #[case] from: u64,
        #[case] length: Option<u64>,
    ) {
        let (size, from) = (Bytes::gib(size), Bytes::gib(from));
        assert_eq!(piece(kind, size, from), Stretch { from, length: length.map(Bytes::gib) });
    }
}
