//! What there is, with everything that its tags say of it: enough to ask for it again.

use super::{Host, class::provisioning_of, is_finished, record::Record};
use crate::{
    device::Wipe,
    lvm::{Layout, LogicalVolume},
    units::Bytes,
    volume::{Error, PoolName, Provisioning, Purpose, SnapshotId, Source, VolumeId, VolumeName},
};

/// A finished volume or snapshot of a pool that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The id of the volume or snapshot.
    pub id: String,
    /// The name by which it was asked for.
    pub name: VolumeName,
    /// The pool that it is in.
    pub pool: PoolName,
    /// How large it is.
    pub size: Bytes,
    /// What it is for.
    pub purpose: Purpose,
    /// Thin or thick.
    pub provisioning: Provisioning,
    /// How it lies on the disks; linear for a thin one.
    pub layout: Layout,
    /// What is done to its bytes when it is deleted.
    pub wipe: Wipe,
    /// Options for mkfs, as one text.
    pub mkfs: String,
    /// What it was copied from; nothing for a snapshot.
    pub source: Option<Source>,
    /// Of which volume it is a snapshot.
    pub snapshot_of: Option<VolumeId>,
    /// When it was made, in seconds since 1970 UTC.
    pub created: i64,
}

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

    /// The finished volume or snapshot of this id in this pool, as LVM reports it now: somebody may
    /// have removed it by hand a moment ago.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of a report that cannot be read.
    pub fn kept_now(&self, pool: &str, id: &str) -> Result<Kept, Error> {
        let pools = self.pools();
        if let Some(pool) = pools.served.iter().find(|it| it.name.as_str() == pool) {
            pool.refresh(&*self.tools.lvm)?;
        }
        let gone = || Error::NotFound(format!("{id}, which was found on the node before,"));
        self.kept(|it| it == id).pop().ok_or_else(gone)
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
        source,
        snapshot_of,
        created: record.created,
    })
}
