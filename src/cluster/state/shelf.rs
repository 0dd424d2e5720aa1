//! What nodes tell of the directories of whole devices. Pure.

use super::State;
use crate::{
    cluster::{
        objects::{EntryReport, MOST_ENTRIES, PoolReport},
        placement::PoolView,
    },
    volume::{NodeId, PoolName},
};

/// A pool of whole devices of one node.
#[derive(Debug)]
pub(in crate::cluster) struct Shelf {
    pub(in crate::cluster) pool: PoolName,
    pub(in crate::cluster) entries: Vec<EntryReport>,
    /// The volumes whose devices are missing.
    lost: Vec<String>,
}

impl Shelf {
    pub(super) fn of(report: &PoolReport) -> Option<Self> {
        report.spec.is_of_whole_devices().then_some(())?;
        Some(Self {
            pool: report.name.parse().ok()?,
            entries: report.entries.clone(),
            lost: report.lost.clone(),
        })
    }

    /// Whether the device of a volume that was there is there no more, or it has no entry any more. Of more entries than
    /// are told nothing follows from what is not told.
    pub(in crate::cluster) fn misses(&self, id: &str) -> bool {
        let is_told = || self.entries.iter().any(|it| it.volume.as_deref() == Some(id));
        self.has_lost(id) || (self.entries.len() < MOST_ENTRIES && !is_told())
    }

    /// Whether the device of a volume is there no more; it may be there without an entry.
    pub(in crate::cluster) fn has_lost(&self, id: &str) -> bool {
        self.lost.iter().any(|it| it == id)
    }
}

impl State {
    /// The pools of whole devices of all nodes.
    pub(in crate::cluster) fn shelves(&self) -> impl Iterator<Item = (&NodeId, &Shelf)> {
        let told =
            self.nodes.iter().filter_map(|(name, node)| Some((name, node.shelves.as_ref()?)));
        told.flat_map(|(name, all)| all.iter().map(move |shelf| (name, shelf)))
    }

    /// The pools of whole devices of a node, if it has said which there are.
    pub(in crate::cluster) fn shelves_of(&self, node: &NodeId) -> Option<&[Shelf]> {
        self.nodes.get(node)?.shelves.as_deref()
    }

    /// A pool of a node.
    pub(in crate::cluster) fn pool_of(&self, node: &NodeId, pool: &PoolName) -> Option<&PoolView> {
        self.nodes.get(node)?.pool(pool.as_str())
    }
}
