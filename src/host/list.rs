//! ListVolumes and ListSnapshots, from memory, in the order of ids so that a page can begin after
//! any id, also one that has been deleted meanwhile.

use super::{Host, is_finished, snapshot::as_snapshot};
use crate::volume::{Snapshot, SnapshotFilter, SnapshotId, Volume, VolumeId};

impl Host {
    /// Finished volumes after `after`, at most `most`.
    pub fn volumes(&self, after: Option<&VolumeId>, most: usize) -> Vec<Volume> {
        let after = after.map(VolumeId::as_str);
        let mut all: Vec<Volume> = Vec::new();
        for pool in &self.pools().served {
            pool.read(|ledger| {
                let finished = ledger
                    .records("v-", after)
                    .filter(|(lv, record)| is_finished(lv, record))
                    .filter_map(|(lv, record)| {
                        Some(self.as_volume(lv.name.as_str().parse().ok()?, lv, &record))
                    });
                all.extend(finished.take(most));
            });
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.truncate(most);
        all
    }

    /// Snapshots after `after` that pass the filter, at most `most`.
    pub fn snapshots(
        &self,
        filter: &SnapshotFilter,
        after: Option<&SnapshotId>,
        most: usize,
    ) -> Vec<Snapshot> {
        let after = after.map(SnapshotId::as_str);
        let mut all: Vec<Snapshot> = Vec::new();
        for pool in &self.pools().served {
            pool.read(|ledger| {
                let matching = ledger
                    .records("s-", after)
                    .filter_map(|(lv, record)| {
                        as_snapshot(&lv.name.as_str().parse().ok()?, lv, &record)
                    })
                    .filter(|it| filter.passes(it));
                all.extend(matching.take(most));
            });
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.truncate(most);
        all
    }

    /// The volume, if it is there and finished.
    pub fn find(&self, id: &VolumeId) -> Option<Volume> {
        let found = self.volume(id)?;
        found.is_finished().then(|| self.as_volume(id.clone(), &found.lv, &found.record))
    }
}
