//! What a volume group holds, in memory: LVM's last report, brought up to date by each change of
//! ours until the next report. Pure.

use std::collections::BTreeMap;

use super::{
    mend::Gaps,
    record::{DELETED, LEFTOVERS, Record},
};
use crate::{
    lvm::{Group, Kind, LogicalVolume, LvName, PhysicalVolume, Stretch, Tag, cow_size, is_whole},
    pool::capacity::{Stock, ThinStock, take_longest},
    units::Bytes,
    volume::VolumeId,
};

/// One volume group, as last reported and changed since.
#[derive(Debug)]
pub(super) struct Ledger {
    group: Group,
}

impl Ledger {
    pub(super) fn new(mut group: Group) -> Self {
        group.logical.sort_by(|a, b| a.name.cmp(&b.name));
        Self { group }
    }

    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    pub(super) fn find(&self, name: &LvName) -> Option<&LogicalVolume> {
        let at = self.group.logical.binary_search_by(|lv| lv.name.cmp(name)).ok()?;
        self.group.logical.get(at)
    }

    /// The volumes whose names begin with `prefix` and follow `after`, in order, with what their
    /// tags say; volumes that are not ours are passed over.
    pub(super) fn records<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a LogicalVolume, Record)> + 'a {
        let logical = &self.group.logical;
        let begin = logical.partition_point(|lv| match after {
            Some(after) => lv.name.as_str() <= after,
            None => lv.name.as_str() < prefix,
        });
        logical
            .iter()
            .skip(begin)
            .take_while(move |lv| lv.name.as_str().starts_with(prefix))
            .filter(|lv| !is_deleted(lv))
            .filter_map(|lv| Some((lv, Record::read(&lv.tags)?)))
    }

    /// The copy-on-write snapshots of `origin`.
    pub(super) fn dependents<'a>(
        &'a self,
        origin: &'a LvName,
    ) -> impl Iterator<Item = &'a LogicalVolume> + 'a {
        let of_it = move |lv: &&LogicalVolume| {
            lv.kind == Kind::CopyOnWrite && lv.origin.as_ref() == Some(origin)
        };
        self.group.logical.iter().filter(of_it)
    }

    /// Whether none of its disks is missing.
    pub(super) fn is_whole(&self) -> bool {
        is_whole(&self.group.physical)
    }

    /// Its disks that are missing, or marked so.
    pub(super) fn missing(&self) -> impl Iterator<Item = &PhysicalVolume> {
        self.group.physical.iter().filter(|pv| pv.missing)
    }

    /// The volumes of ours that lie on those, and the thin pool where it does; also where that has given
    /// up.
    pub(super) fn lost(&self) -> impl Iterator<Item = &LvName> {
        self.ours().filter(|lv| lv.lost || lv.failed).map(|lv| &lv.name)
    }

    /// The volumes of ours, and thin pools.
    pub(super) fn ours(&self) -> impl Iterator<Item = &LogicalVolume> {
        let is_ours = |lv: &&LogicalVolume| {
            Record::read(&lv.tags).is_some() || matches!(lv.kind, Kind::ThinPool { .. })
        };
        self.group.logical.iter().filter(is_ours)
    }

    /// The RAIDs of ours: volumes that are one, and those that thin pools lie on.
    pub(super) fn raids(&self) -> impl Iterator<Item = &LogicalVolume> {
        self.ours().filter(|lv| lv.legs.is_some()).chain(&self.group.layers)
    }

    /// What goes on with a RAID: the volume that it is, or what is in the thin pool that lies on it.
    pub(super) fn above<'a>(
        &'a self,
        raid: &'a LogicalVolume,
    ) -> impl Iterator<Item = &'a LogicalVolume> + 'a {
        self.ours().filter(move |lv| {
            let lies_on =
                |pool: &LvName| [pool.thin_data(), pool.thin_metadata()].contains(&raid.name);
            lv.name == raid.name || lv.thin_pool().is_some_and(lies_on)
        })
    }

    /// How many of its disks are marked as missing, and how many of those are away.
    pub(super) fn gaps(&self) -> Gaps {
        let away = self.missing().filter(|pv| !pv.is_there()).count();
        (self.missing().count() as u64, away as u64)
    }

    /// What the group has to give, with the thin pool `thin`.
    pub(super) fn stock(&self, thin: &LvName) -> Stock {
        let in_it = |lv: &&LogicalVolume| matches!(&lv.kind, Kind::Thin(of) if of == thin);
        let promised = || self.group.logical.iter().filter(in_it).map(|lv| lv.size.0);
        let thin = self.find(thin).filter(|lv| !lv.failed).and_then(|lv| match lv.kind {
            Kind::ThinPool { data_percent, metadata_percent } => Some(ThinStock {
                size: lv.size,
                promised: Bytes(promised().fold(0, u64::saturating_add)),
                data_percent,
                metadata_percent,
            }),
            Kind::Thick | Kind::Thin(_) | Kind::CopyOnWrite | Kind::HalfMade | Kind::Other(_) => {
                None
            }
        });
        Stock {
            extent: self.group.extent,
            extents: self.group.extents,
            free: self.group.free,
            physical: self.group.physical.clone(),
            thin,
            mounted: BTreeMap::new(),
        }
    }

    /// Enters a new volume, or one that has changed.
    pub(super) fn put(&mut self, lv: LogicalVolume) {
        self.take_out(&lv.name.clone());
        self.take_extents(&lv);
        let at = self.group.logical.partition_point(|it| it.name < lv.name);
        self.group.logical.insert(at, lv);
    }

    /// Strikes out a volume; its extents are free.
    pub(super) fn take_out(&mut self, name: &LvName) -> Option<LogicalVolume> {
        let at = self.group.logical.binary_search_by(|lv| lv.name.cmp(name)).ok()?;
        let gone = self.group.logical.remove(at);
        self.free_extents(&gone);
        Some(gone)
    }

    /// A copy-on-write snapshot has become a plain volume that holds its changed blocks.
    pub(super) fn split_off(&mut self, name: &LvName) {
        let extent = self.group.extent;
        self.change(name, |lv| {
            lv.size = cow_size(lv.size, extent).unwrap_or(lv.size);
            lv.kind = Kind::Thick;
            lv.origin = None;
        });
    }

    /// Changes a volume's name, tags or size in place.
    pub(super) fn change(&mut self, name: &LvName, change: impl FnOnce(&mut LogicalVolume)) {
        if let Some(mut lv) = self.take_out(name) {
            change(&mut lv);
            self.put(lv);
        }
    }

    /// Adds and removes tags of a volume.
    pub(super) fn retag(&mut self, name: &LvName, add: &[Tag], remove: &[Tag]) {
        self.change(name, |lv| {
            lv.tags.retain(|tag| !remove.contains(tag));
            lv.tags.extend(add.iter().cloned());
        });
    }

    /// Extents in which its content is; those that a RAID has besides are counted with its legs.
    fn extents_of(&self, lv: &LogicalVolume) -> u64 {
        let bytes = match &lv.kind {
            Kind::Thick | Kind::ThinPool { .. } | Kind::HalfMade | Kind::Other(_) => lv.size,
            Kind::CopyOnWrite => cow_size(lv.size, self.group.extent).unwrap_or(lv.size),
            Kind::Thin(_) => Bytes::ZERO,
        };
        bytes.whole(self.group.extent)
    }

    /// LVM takes the largest free runs first; which, the next report says. Of a RAID it is known how
    /// many each disk loses.
    fn take_extents(&mut self, lv: &LogicalVolume) {
        let count = self.extents_of(lv);
        let physical = &mut self.group.physical;
        let Some(legs) = &lv.legs else {
            self.group.free = self.group.free.saturating_sub(count);
            take_longest(physical.iter_mut().flat_map(|pv| &mut pv.free_runs), count);
            return;
        };
        let each = legs.extents_of_leg(count);
        for disk in &legs.disks {
            self.group.free = self.group.free.saturating_sub(each);
            let its = physical.iter_mut().filter(|pv| pv.device == *disk);
            take_longest(its.flat_map(|pv| &mut pv.free_runs), each);
        }
    }

    fn free_extents(&mut self, lv: &LogicalVolume) {
        let count = self.extents_of(lv);
        let physical = &mut self.group.physical;
        let Some(legs) = lv.legs.as_ref().filter(|_| count > 0) else {
            let usable = physical.iter_mut().find(|pv| pv.is_open());
            if let Some(pv) = usable.filter(|_| count > 0) {
                pv.free_runs.push(somewhere(count));
            }
            self.group.free += count;
            return;
        };
        let each = legs.extents_of_leg(count);
        for disk in &legs.disks {
            self.group.free += each;
            if let Some(pv) = physical.iter_mut().find(|pv| pv.device == *disk) {
                pv.free_runs.push(somewhere(each));
            }
        }
    }
}

/// A free run of which only the next report says where it is.
fn somewhere(length: u64) -> Stretch {
    Stretch { start: 0, length }
}

/// Whether this is what a deleted copy-on-write snapshot leaves, to be wiped: a snapshot by name,
/// but a plain volume of changed blocks.
pub(super) fn is_split_off(lv: &LogicalVolume) -> bool {
    let name = lv.name.as_str();
    lv.kind == Kind::Thick && (has_id(name, "s-") || has_id(name, "c-"))
}

/// Whether this was deleted and waits to be wiped.
pub(super) fn is_deleted(lv: &LogicalVolume) -> bool {
    is_split_off(lv) || is_renamed_away(lv) || is_tagged_away(lv) || is_left_over(lv)
}

/// The name of what is wiped on a disk that was to leave, by LVM's identity of that: `x-p-`, this, and a number.
pub(super) fn leftovers_name(disk: &str, number: u32) -> Option<LvName> {
    format!("x-p-{disk}-{number}").parse().ok()
}

/// Whether this is what is wiped on a disk that was to leave.
fn is_left_over(lv: &LogicalVolume) -> bool {
    lv.name.as_str().starts_with("x-p-") && lv.tags.iter().any(|tag| tag.as_str() == LEFTOVERS)
}

/// Whether a volume of ours was deleted while LVM renamed nothing.
fn is_tagged_away(lv: &LogicalVolume) -> bool {
    let is_tagged = lv.tags.iter().any(|tag| tag.as_str() == DELETED);
    is_tagged && ["v-", "s-", "c-"].iter().any(|prefix| has_id(lv.name.as_str(), prefix))
}

/// Whether this has the name of a deleted volume: `x-`, the name it had, and a number.
fn is_renamed_away(lv: &LogicalVolume) -> bool {
    let old = lv.name.as_str().strip_prefix("x-").and_then(|name| name.rsplit_once('-'));
    old.is_some_and(|(name, number)| {
        let is_ours = ["v-", "s-", "c-"].iter().any(|prefix| has_id(name, prefix));
        is_ours && number.parse::<u32>().is_ok()
    })
}

/// Whether a name is `prefix` and an id, and so one that Tarn gave. The group may have volumes of
/// others, whose names may begin in the same way.
fn has_id(name: &str, prefix: &str) -> bool {
    let stem = name.strip_prefix(prefix);
    stem.is_some_and(|stem| format!("v-{stem}").parse::<VolumeId>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::{super::record::wipe_tags, *};
    use crate::{device::Wipe, lvm::Legs};

    fn lv(name: &str, mib: u64, kind: Kind) -> LogicalVolume {
        LogicalVolume::new(name.parse().unwrap(), Bytes::mib(mib), kind)
    }

    fn ledger() -> Ledger {
        let disk = |name: &str| PhysicalVolume {
            device: name.into(),
            uuid: name.to_owned(),
            missing: false,
            allocatable: true,
            erring: false,
            extents: 64,
            free_runs: vec![somewhere(64)],
        };
        Ledger::new(Group {
            name: "vg".parse().unwrap(),
            uuid: String::new(),
            extent: Bytes::mib(4),
            extents: 128,
            free: 128,
            tags: Vec::new(),
            physical: vec![disk("/dev/a"), disk("/dev/b")],
            logical: Vec::new(),
            layers: Vec::new(),
            legs: Vec::new(),
            moving: BTreeMap::new(),
        })
    }

    #[test]
    fn changes_keep_the_free_extents_exact() {
        let mut ledger = ledger();
        ledger.put(lv("v-b", 400, Kind::Thick));
        assert_eq!(ledger.group().free, 28);
        let name = "v-b".parse().unwrap();
        ledger.change(&name, |lv| lv.size = Bytes::mib(404));
        assert_eq!(ledger.group().free, 27);
        ledger.put(lv("s-b", 8, Kind::CopyOnWrite));
        assert_eq!(ledger.group().free, 24, "two extents and one for the tables");
        ledger.put(lv("v-a", 4000, Kind::Thin("pool".parse().unwrap())));
        assert_eq!(ledger.group().free, 24);
        assert!(ledger.take_out(&name).is_some() && ledger.find(&name).is_none());
        assert_eq!(ledger.group().free, 125);
        let runs: u64 = ledger.group().physical.iter().map(PhysicalVolume::free).sum();
        assert_eq!(runs, 125);
    }

    #[test]
    fn a_raid_takes_of_the_disks_of_its_legs() {
        let mut ledger = ledger();
        let disks = vec!["/dev/a".into(), "/dev/b".into()];
        let legs = Legs::whole(disks, 1);
        ledger.put(LogicalVolume { legs: Some(legs), ..lv("v-b", 40, Kind::Thick) });
        let free = |ledger: &Ledger| {
            let group = ledger.group();
            let disks: Vec<u64> = group.physical.iter().map(PhysicalVolume::free).collect();
            (group.free, disks)
        };
        assert_eq!(free(&ledger), (106, vec![53, 53]), "ten extents and one for metadata each");
        let name = "v-b".parse().unwrap();
        ledger.change(&name, |lv| lv.size = Bytes::mib(48));
        assert_eq!(free(&ledger), (102, vec![51, 51]));
        assert!(ledger.take_out(&name).is_some());
        assert_eq!(free(&ledger), (128, vec![64, 64]));
    }

    #[test]
    fn names_stay_in_order() {
        let mut ledger = ledger();
        for name in ["v-c", "v-a", "x-1", "v-b"] {
            ledger.put(lv(name, 4, Kind::Thick));
        }
        ledger.change(&"v-a".parse().unwrap(), |lv| lv.name = "x-0".parse().unwrap());
        let names: Vec<&str> = ledger.group().logical.iter().map(|lv| lv.name.as_str()).collect();
        assert_eq!(names, ["v-b", "v-c", "x-0", "x-1"]);
    }

    #[test]
    fn volumes_of_others_are_never_thrown_away() {
        let id = "bosvqbfhjy44r5ujhxuvei3iyh";
        let thick = |name: &str| lv(name, 4, Kind::Thick);
        for prefix in ["v-", "s-", "c-"] {
            assert!(is_deleted(&thick(&format!("x-{prefix}{id}-0"))), "{prefix}");
        }
        assert!(is_split_off(&thick(&format!("s-{id}"))));
        assert!(is_split_off(&thick(&format!("c-{id}"))));
        let tags = vec![DELETED.parse().unwrap()];
        assert!(is_deleted(&LogicalVolume { tags: tags.clone(), ..thick(&format!("v-{id}")) }));
        assert!(!is_deleted(&LogicalVolume { tags, ..thick("theirs") }));
        let name = leftovers_name("rat75q-fyw6-yr3g-c222-f66d-b1d1-df461b", 0).unwrap();
        let tags = wipe_tags(Wipe::Zero, "tarn");
        assert!(is_deleted(&LogicalVolume { tags, ..thick(name.as_str()) }));
        assert!(!is_deleted(&thick(name.as_str())));
        for name in ["x-files", "x-p-1", "x-ray-1", "x-v-old-0", "s-data", "c-drive"] {
            assert!(!is_deleted(&thick(name)), "{name}");
        }
    }
}
