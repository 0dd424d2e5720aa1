//! What there is, with everything that its tags say of it: enough to ask for it again.

use super::{Host, class::provisioning_of, is_finished, record::Record};
use crate::{
    lvm::LogicalVolume,
    pool::Kept,
    volume::{Error, PoolName, SnapshotId, Source, VolumeId, chain},
};

impl Host {
    /// The finished volumes and snapshots whose ids are `wanted`, in no order. One whose id is not
    /// that of its recorded name, as after a renaming by hand, is passed over.
    pub fn kept(&self, wanted: impl Fn(&str) -> bool) -> Vec<Kept> {
        let mut all = Vec::new();
        for pool in &self.pools().served {
            pool.read(|ledger| {
                let names = ["v-", "s-"].into_iter();
                let found = names.flat_map(|prefix| ledger.records(prefix, None));
                let found = found
                    .filter(|(lv, record)| wanted(lv.name.as_str()) && is_finished(lv, record));
                all.extend(found.filter_map(|(lv, record)| kept(&pool.name, lv, record)));
            });
        }
        all
    }

    /// Looks for a volume that is not known: somebody may have adopted it a moment ago. One look serves all who
    /// wait for their turn meanwhile.
    pub fn look_for(&self, id: &VolumeId) {
        for pool in &self.pools().served {
            let change = pool.change();
            if self.volume(id).is_some() {
                return;
            }
            if let Err(err) = change.refresh(&*self.tools.lvm) {
                tracing::warn!(pool = %pool.name, error = chain(&err), "no report");
            }
        }
    }

    /// Has LVM report the group of a pool of that name again: somebody may have removed something by hand a
    /// moment ago.
    ///
    /// # Errors
    /// Those of a report that cannot be read.
    pub fn look_again(&self, pool: &str) -> Result<(), Error> {
        let pools = self.pools();
        let named = pools.served.iter().find(|it| it.name.as_str() == pool);
        named.map_or(Ok(()), |pool| pool.refresh(&*self.tools.lvm))
    }
}

fn kept(pool: &PoolName, lv: &LogicalVolume, record: Record) -> Option<Kept> {
    let id = lv.name.as_str();
    let is_volume = VolumeId::of(&record.name).as_str() == id;
    let (source, snapshot_of) = match record.source {
        source if is_volume => (source, None),
        Some(Source::Volume(of)) if SnapshotId::of(&record.name).as_str() == id => (None, Some(of)),
        Some(_) | None => return None,
    };
    Some(Kept {
        id: id.to_owned(),
        name: record.name,
        pool: pool.clone(),
        size: lv.size,
        purpose: record.purpose,
        provisioning: provisioning_of(&lv.kind),
        layout: record.layout,
        wipe: record.wipe,
        mkfs: record.mkfs,
        after_restart: None,
        entry: None,
        source,
        snapshot_of,
        created: record.created,
    })
}
