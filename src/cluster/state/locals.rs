//! What PersistentVolumes of the kind `local` have of the nodes. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
};

use super::State;
use crate::{
    cluster::{objects::EntryReport, wish::Placement},
    volume::{Error, NodeId, PoolName},
};

/// Where such a volume is: nodes, and the path there.
pub(in crate::cluster) type Places = BTreeSet<(NodeId, String)>;

/// All such volumes.
#[derive(Debug, Default)]
pub(super) struct Locals {
    /// By their names.
    volumes: HashMap<String, Places>,
    /// The paths on each node, and how many volumes have each.
    paths: HashMap<NodeId, BTreeMap<String, usize>>,
}

impl Locals {
    /// Takes note of one, which may be nowhere any more, and tells whether that is news.
    fn enter(&mut self, name: &str, places: Places) -> bool {
        let old = self.volumes.remove(name).unwrap_or_default();
        let is_news = old != places;
        for (node, path) in old {
            let paths = self.paths.entry(node).or_default();
            if let Some(count) = paths.get_mut(&path) {
                *count -= 1;
            }
            paths.retain(|_, count| *count > 0);
        }
        for (node, path) in places.clone() {
            *self.paths.entry(node).or_default().entry(path).or_default() += 1;
        }
        if !places.is_empty() {
            self.volumes.insert(name.to_owned(), places);
        }
        is_news
    }

    fn is_at(&self, node: &NodeId, path: &str) -> bool {
        self.paths.get(node).is_some_and(|paths| paths.contains_key(path))
    }

    fn has(&self, node: &NodeId, entry: &EntryReport) -> bool {
        let Some(paths) = self.paths.get(node) else { return false };
        let mut of_entry = [Some(&entry.path), entry.device.as_ref()].into_iter().flatten();
        of_entry.any(|path| paths.contains_key(path))
    }
}

impl State {
    /// Takes note of all that there are.
    pub(in crate::cluster) fn set_locals(&mut self, all: BTreeMap<String, Places>) {
        let mut locals = Locals::default();
        for (name, places) in all {
            locals.enter(&name, places);
        }
        self.locals = Some(locals);
    }

    /// Takes note of one, once all are known; it may be nowhere any more. Tells whether that is news.
    pub(in crate::cluster) fn enter_local(&mut self, name: &str, places: Places) -> bool {
        self.locals.as_mut().is_some_and(|it| it.enter(name, places))
    }

    /// Whether all are known.
    pub(in crate::cluster) fn knows_locals(&self) -> bool {
        self.locals.is_some()
    }

    /// Whether one of them has the device of an entry.
    pub(in crate::cluster) fn is_local(&self, node: &NodeId, entry: &EntryReport) -> bool {
        self.locals.as_ref().is_some_and(|it| it.has(node, entry))
    }

    /// Whether one of them is known to have this very path.
    pub(in crate::cluster) fn is_local_at(&self, node: &NodeId, path: &str) -> bool {
        self.locals.as_ref().is_some_and(|it| it.is_at(node, path))
    }

    /// The devices of a pool that they have, as far as its node tells of them.
    pub(super) fn local_devices(&self, node: &NodeId, pool: &PoolName) -> Vec<PathBuf> {
        let shelves = self.shelves_of(node).into_iter().flatten();
        let entries = shelves.filter(|it| it.pool == *pool).flat_map(|it| &it.entries);
        let theirs = entries.filter(|it| self.is_local(node, it));
        theirs.filter_map(|it| it.device.as_ref().map(PathBuf::from)).collect()
    }

    /// The paths of which a new volume gets none: it may be that the node alone sees where they lead.
    ///
    /// # Errors
    /// [`Error::Busy`] until they are known, where they may matter.
    pub(super) fn except(&self, place: &Placement) -> Result<Vec<String>, Error> {
        let pool = self.pool_of(&place.node, &place.pool);
        if !pool.is_some_and(|it| it.spec.is_of_whole_devices()) {
            return Ok(Vec::new());
        }
        let unknown =
            "it is not known yet which devices have PersistentVolumes of the kind `local`";
        let known = self.locals.as_ref().ok_or_else(|| Error::Busy(unknown.to_owned()))?;
        Ok(known.paths.get(&place.node).into_iter().flat_map(BTreeMap::keys).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        cluster::objects::NodeLocalStorageStatus,
        pool::capacity::SECTOR,
        units::Bytes,
        volume::{Parameters, Purpose, SizeRange, Wanted},
    };

    fn node() -> NodeId {
        "n1".parse().unwrap()
    }

    /// A node with devices of 10 and 20 GiB, both free.
    fn state() -> (State, std::time::Instant) {
        let (mut state, now) = (State::default(), std::time::Instant::now());
        let sizes = [Bytes::gib(10), Bytes::gib(20)];
        let extents = sizes.map(|it| it.0 / SECTOR.0);
        let disk = |device: &str, length: u64| {
            let free = [length];
            json!({ "device": device, "allocatable": true, "extents": length, "freeRuns": free })
        };
        let status: NodeLocalStorageStatus = serde_json::from_value(json!({
            "sequence": 7,
            "pools": [{
                "name": "whole", "size": "30Gi", "free": "30Gi", "volumes": 0, "snapshots": 0, "wiping": "0",
                "spec": { "wholeDevices": { "directories": ["/mnt/disks"] } },
                "extentSize": "512", "extents": extents[0] + extents[1], "freeExtents": extents[0] + extents[1],
                "disks": [disk("/dev/sda", extents[0]), disk("/dev/sdb", extents[1])],
                "entries": [
                    { "path": "/mnt/disks/a", "device": "/dev/sda", "size": "10Gi", "state": "Free" },
                    { "path": "/mnt/disks/b", "device": "/dev/sdb", "size": "20Gi", "state": "Free" },
                ],
            }],
        }))
        .unwrap();
        state.heard_of(&node(), now);
        state.report(&node(), &status);
        (state, now)
    }

    fn at(path: &str) -> Places {
        [(node(), path.to_owned())].into()
    }

    fn wanted() -> Wanted {
        Wanted {
            name: "pvc-1".parse().unwrap(),
            size: SizeRange::at_least(Bytes::GIB),
            purpose: Purpose::Block,
            parameters: Parameters::default(),
            source: None,
            nodes: Some(vec![node()]),
            claim: None,
        }
    }

    #[test]
    fn a_device_of_a_local_volume_is_promised_to_nobody() {
        let (mut state, now) = state();
        let free =
            |state: &State| state.capacity(&Parameters::default(), Some(&node()), now).available;
        assert_eq!(free(&state), Bytes::gib(30));
        let early = state.place(&wanted(), &[], now).unwrap_err();
        assert!(matches!(early, Error::Busy(_)), "{early}");

        state.set_locals([("one".to_owned(), at("/mnt/disks/a"))].into());
        assert_eq!(free(&state), Bytes::gib(20));
        let spec = state.place(&wanted(), &[], now).unwrap();
        assert_eq!((&*spec.size, spec.except), ("20Gi", vec!["/mnt/disks/a".to_owned()]));

        assert!(state.enter_local("two", at("/dev/sdb")));
        assert!(matches!(state.place(&wanted(), &[], now), Err(Error::NoRoom(_))));
        assert_eq!(free(&state), Bytes::ZERO);

        assert!(state.enter_local("one", at("/elsewhere")));
        let spec = state.place(&wanted(), &[], now).unwrap();
        assert_eq!((&*spec.size, spec.except.len()), ("10Gi", 2));
        assert!(state.enter_local("two", Places::new()));
        assert_eq!(free(&state), Bytes::gib(30));
    }

    #[test]
    fn a_path_of_two_volumes_is_free_when_both_are_gone() {
        let mut locals = Locals::default();
        let entry = json!({ "path": "/mnt/disks/a", "state": "Free" });
        let entry: EntryReport = serde_json::from_value(entry).unwrap();
        let other: NodeId = "n2".parse().unwrap();
        assert!(locals.enter("one", at("/mnt/disks/a")) && locals.enter("two", at("/mnt/disks/a")));
        assert!(!locals.enter("two", at("/mnt/disks/a")), "no news");
        assert!(locals.enter("one", Places::new()) && locals.has(&node(), &entry));
        assert!(!locals.has(&other, &entry));
        assert!(locals.enter("two", Places::new()) && !locals.has(&node(), &entry));
    }
}
