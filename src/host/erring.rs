//! Disks that are there and answer with errors. The kernel shuts a RAID volume's leg out with the first write that
//! fails on it, and goes on with the others, for good: a cable that was loose for a second leaves the volume without
//! its copy. So it is asked to take the leg again, with longer and longer pauses while the disk errs on.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Host,
    ledger::Ledger,
    mend::Sightings,
    pool::{Change, Pool},
};
use crate::{
    lvm::{Kind, LogicalVolume, LvName, VgName},
    pool::health,
    volume::chain,
};

/// The pause after the first try; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// When volumes whose legs are shut out are tried again.
#[derive(Default)]
pub(super) struct Tries(Mutex<BTreeMap<(VgName, LvName), (Instant, Duration)>>);

impl Tries {
    /// Which of these volumes of a group are due, which are all there whose legs are shut out; notes that they
    /// are tried now.
    fn due(&self, vg: &VgName, shut_out: Vec<LvName>, now: Instant) -> Vec<LvName> {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tries.retain(|(of, lv), _| of != vg || shut_out.contains(lv));
        let mut due = shut_out;
        due.retain(|lv| {
            let key = (vg.clone(), lv.clone());
            let pause = match tries.get(&key) {
                None => FIRST_PAUSE,
                Some((next, _)) if now < *next => return false,
                Some((_, pause)) => pause.saturating_mul(2).min(LONGEST_PAUSE),
            };
            tries.insert(key, (now + pause, pause));
            true
        });
        due
    }
}

#[cfg(test)]
impl Tries {
    /// Has every volume be due.
    pub(super) fn lose_patience(&self) {
        let mut tries = self.0.lock().unwrap();
        tries.values_mut().for_each(|(next, _)| *next = Instant::now());
    }
}

/// The devices of disks which a volume of ours goes on without.
fn shut_out(lv: &LogicalVolume) -> &[PathBuf] {
    lv.legs.as_ref().map_or(&[], |legs| &legs.shut_out)
}

/// The disks of a group that have answered RAID volumes of ours with errors.
pub(super) fn erring(ledger: &Ledger, sightings: &Sightings) -> Vec<health::Erring> {
    let disks: BTreeSet<&Path> = ledger.raids().flat_map(shut_out).map(PathBuf::as_path).collect();
    let told = disks.into_iter().map(|disk| {
        let physical = ledger.group().physical.iter().find(|pv| pv.device == disk);
        let known = physical.map(|pv| sightings.face(&pv.uuid));
        let hurt = ledger.raids().filter(|lv| shut_out(lv).iter().any(|it| it == disk));
        let hurt: BTreeSet<&LvName> =
            hurt.flat_map(|raid| ledger.above(raid)).map(|lv| &lv.name).collect();
        health::Erring {
            disk: known.unwrap_or_else(|| disk.display().to_string()),
            volumes: hurt.into_iter().map(LvName::to_string).collect(),
        }
    });
    told.collect()
}

impl Host {
    /// Has the volumes of a pool whose legs are shut out try them again, those that are due; true when there was
    /// one.
    pub(super) fn readmit(&self, change: &Change<'_>, pool: &Pool) -> bool {
        let hurt = change.read(|ledger| {
            let hurt = ledger.raids().filter(|it| !it.lost && !shut_out(it).is_empty());
            // LVM lets nobody touch what a thin pool lies on: with the pool that is refreshed, too.
            let of_its_own = |lv: &&LogicalVolume| !matches!(lv.kind, Kind::Thin(_)) && lv.active;
            let hurt = hurt.flat_map(|raid| ledger.above(raid)).filter(of_its_own);
            let hurt: BTreeSet<LvName> = hurt.map(|lv| lv.name.clone()).collect();
            hurt.into_iter().collect()
        });
        let due = self.disks.tries.due(&pool.vg, hurt, Instant::now());
        for lv in &due {
            match self.tools.lvm.refresh(&pool.vg, lv) {
                Ok(()) => tracing::info!(volume = %lv, "tries the leg again that was shut out"),
                Err(err) => {
                    tracing::error!(volume = %lv, error = chain(&err), "its leg is not tried again");
                }
            }
        }
        !due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_longer_until_the_leg_is_there_again() {
        let (tries, vg, lv): (_, VgName, LvName) =
            (Tries::default(), "vg".parse().unwrap(), "v".parse().unwrap());
        let begin = Instant::now();
        let due = |seconds| {
            !tries.due(&vg, vec![lv.clone()], begin + Duration::from_secs(seconds)).is_empty()
        };
        assert_eq!(
            [0, 40, 50, 100, 149, 150, 340, 350].map(due),
            [true, false, true, false, false, true, false, true]
        );
        let other: VgName = "other".parse().unwrap();
        assert!(tries.due(&other, Vec::new(), begin).is_empty());
        assert!(!due(351), "another group changes nothing");
        assert!(tries.due(&vg, Vec::new(), begin).is_empty());
        assert!(due(352), "it is there again, and errs again");
    }
}
