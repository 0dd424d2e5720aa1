//! Disks that leave their pools: what lies on them is moved to the others, piece by piece, by a thread for
//! each. It may be stopped between two pieces, and killed in one: the next takes that back first.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{ledger::Ledger, pool::Pool};
use crate::{
    lvm::{self, Kind, Lvm, MoveExtents, Stretch},
    pool::{
        departure::{Piece, next_piece},
        plan::{Plan, Step},
    },
    volume::chain,
};

/// So many extents are moved by one command, during which the group is not changed otherwise: 128 MiB of the
/// size that Tarn makes them.
const PIECE: u64 = 32;
/// A move that failed is not begun again before.
const AGAIN: Duration = Duration::from_secs(60);
/// Why nothing is moved.
const SNAPSHOTS: &str = "its volume group has copy-on-write snapshots, with which LVM does not move \
                         reliably; delete them, and it goes on";
/// How often the progress is told.
const TELL: Duration = Duration::from_secs(5);

/// The disks whose extents are being moved, by their paths, and those that could not be moved.
#[derive(Clone, Default)]
pub(super) struct Moves {
    begun: Arc<Mutex<BTreeMap<PathBuf, Move>>>,
    stopping: Arc<AtomicBool>,
}

/// A disk that is to be emptied.
#[derive(Clone)]
pub(super) struct Leaving {
    /// Where it is.
    pub(super) device: PathBuf,
    /// LVM's own identity of its physical volume.
    pub(super) uuid: String,
}

/// One of them.
struct Move {
    stopping: Arc<AtomicBool>,
    failed: Option<(Instant, String)>,
}

impl Moves {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Move>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the move from this disk failed a moment ago.
    pub(super) fn failure(&self, device: &Path) -> Option<String> {
        let begun = self.lock();
        let (at, why) = begun.get(device)?.failed.as_ref()?;
        (at.elapsed() < AGAIN).then(|| why.clone())
    }

    /// Stops all of them.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Stops those that are not in the plan any more.
    pub(super) fn keep(&self, plan: &Plan) {
        let is_planned = |path: &Path| {
            plan.steps.iter().any(|it| matches!(it, Step::Move { device, .. } if device == path))
        };
        for (path, it) in self.lock().iter().filter(|(path, _)| !is_planned(path)) {
            tracing::debug!(disk = %path.display(), "is not to be emptied any more");
            it.stopping.store(true, Ordering::Relaxed);
        }
    }

    /// Begins unless it is on. `told` is called now and then, and at the end unless it failed.
    pub(super) fn begin(
        &self,
        lvm: &Arc<dyn Lvm>,
        pool: &Arc<Pool>,
        disk: Leaving,
        told: impl Fn() + Send + 'static,
    ) {
        let stopping = Arc::new(AtomicBool::default());
        {
            let mut begun = self.lock();
            if begun.get(&disk.device).is_some_and(|it| it.failed.is_none()) {
                return;
            }
            let it = Move { stopping: Arc::clone(&stopping), failed: None };
            begun.insert(disk.device.clone(), it);
        }
        let path = disk.device.clone();
        let (moves, lvm, pool) = (self.clone(), Arc::clone(lvm), Arc::clone(pool));
        let work = move || {
            let path = &disk.device;
            tracing::info!(pool = %pool.name, disk = %path.display(), "is to leave; moving what lies on it");
            let is_stopping =
                || stopping.load(Ordering::Relaxed) || moves.stopping.load(Ordering::Relaxed);
            let emptied = empty(&*lvm, &pool, &disk, &is_stopping, &told);
            match emptied {
                Err(why) if !is_stopping() => {
                    tracing::warn!(pool = %pool.name, disk = %path.display(), why, "not emptied");
                    if let Some(it) = moves.lock().get_mut(path) {
                        it.failed = Some((Instant::now(), why));
                    }
                }
                // One that was stopped may be wished again by now.
                Ok(()) | Err(_) => {
                    moves.lock().remove(path);
                    told();
                }
            }
        };
        let begun = thread::Builder::new().name("move".to_owned()).spawn(work);
        if let (Err(err), Some(it)) = (begun, self.lock().get_mut(&path)) {
            it.failed = Some((Instant::now(), format!("no thread for it: {err}")));
        }
    }
}

/// Moves everything from a disk, unless it is stopped.
fn empty(
    lvm: &dyn Lvm,
    pool: &Pool,
    disk: &Leaving,
    is_stopping: &dyn Fn() -> bool,
    told: &dyn Fn(),
) -> Result<(), String> {
    let left = || pool.read(|ledger| left_on(ledger, &disk.uuid));
    let mut last = Instant::now();
    let mut most = PIECE;
    loop {
        if is_stopping() {
            return Err("it was stopped half-way".to_owned());
        }
        let change = pool.change();
        // While this waited for its turn, the disk may have been opened again.
        if is_stopping() {
            continue;
        }
        change.settle(lvm).map_err(|err| chain(&err))?;
        // After the origin of one has moved, LVM 2.03.16 may fail further moves with an internal error.
        if change.read(|it| it.group().logical.iter().any(|lv| lv.kind == Kind::CopyOnWrite)) {
            return Err(SNAPSHOTS.to_owned());
        }
        if change.read(|it| it.group().moving.contains_key(&disk.uuid)) {
            let aborted = lvm.abort_move(&pool.vg, &disk.device);
            change.refresh(lvm).map_err(|err| chain(&err))?;
            aborted.map_err(|err| chain(&err))?;
        }
        let before = left();
        let next = change.read(|it| next_piece(it.group(), &disk.uuid, most))?;
        let Some(Piece { from: Stretch { start, length }, on }) = next else { return Ok(()) };
        let (vg, device) = (pool.vg.clone(), disk.device.clone());
        let moved = lvm.move_extents(&MoveExtents { vg, device, first: start, count: length, on });
        let refreshed = change.refresh(lvm).map_err(|err| chain(&err));
        drop(change);
        match moved {
            Ok(()) => most = PIECE.min(most * 2),
            // LVM 2.03.16 does not move a thin pool's spare room together with its data (an internal error,
            // after which nothing has changed), but each of them alone.
            Err(lvm::Error::Tool(_)) if length > 1 => {
                most = length / 2;
                continue;
            }
            Err(err) => return Err(chain(&err)),
        }
        refreshed?;
        if left() >= before {
            return Err("LVM moves nothing of what lies on it".to_owned());
        }
        if last.elapsed() >= TELL {
            last = Instant::now();
            told();
        }
    }
}

/// How many extents of a disk volumes have; `None` where the group does not have it.
fn left_on(ledger: &Ledger, uuid: &str) -> Option<u64> {
    let disk = ledger.group().physical.iter().find(|it| it.uuid == uuid)?;
    Some(disk.extents.saturating_sub(disk.free()))
}
