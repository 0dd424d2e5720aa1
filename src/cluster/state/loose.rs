//! Loose ends: volumes without an object, and objects that are over. Pure.

use std::time::Instant;

use super::{Entry, Node, State};
use crate::{
    cluster::{
        fate::{Ending, is_released},
        objects::{LogicalVolumeSpec, Phase},
        wish::lost_spec,
    },
    volume::NodeId,
};

impl Entry {
    /// Whether somebody has to take it out of the API sooner or later.
    pub(super) fn is_ending(&self) -> bool {
        self.is_deleting || self.is_refused_for_nobody()
    }

    /// Whether its node has nothing of it, and no call waits to hear that: it was made from what a node had found, or before
    /// there was a claim for it.
    fn is_refused_for_nobody(&self) -> bool {
        (self.is_found || self.is_static())
            && matches!(self.phase, Some(Phase::Failed | Phase::Deleted))
    }
}

impl State {
    /// Whether there is anything that no call may be waiting for.
    pub(in crate::cluster) fn has_loose_ends(&self) -> bool {
        !self.ending.is_empty() || !self.finders.is_empty()
    }

    /// Whether it is in [`State::has_loose_ends`].
    pub(in crate::cluster) fn is_ending(&self, id: &str) -> bool {
        self.ending.contains(id)
    }

    /// Objects that can be taken out now.
    pub(in crate::cluster) fn over(&self, now: Instant) -> Vec<Ending> {
        let is_over = |entry: &Entry| {
            entry.is_refused_for_nobody() || (entry.is_deleting && is_released(self, entry, now))
        };
        let ending = self.ending.iter().filter_map(|id| Some((id, self.volumes.get(id)?)));
        ending
            .filter(|(_, entry)| is_over(entry))
            .map(|(id, entry)| Ending { id: id.clone(), entry: entry.clone() })
            .collect()
    }

    /// The specs of the objects that volumes and snapshots have lost, on nodes that are alive and
    /// not given up.
    pub(in crate::cluster) fn lost_objects(
        &self,
        now: Instant,
    ) -> Vec<(String, LogicalVolumeSpec)> {
        let nodes = self.finding().filter(|(name, _)| self.ensure_open(name, now).is_ok());
        let strays = nodes.flat_map(|(name, node)| node.strays.iter().map(move |it| (name, it)));
        strays
            .filter(|(_, stray)| !self.volumes.contains_key(&stray.name))
            .map(|(name, stray)| (stray.name.clone(), lost_spec(name, stray)))
            .collect()
    }

    /// The node that reports a volume or snapshot of this id without an object; none that is given
    /// up.
    pub(in crate::cluster) fn finder(&self, id: &str) -> Option<&NodeId> {
        if self.volumes.contains_key(id) {
            return None;
        }
        let has = |node: &Node| node.strays.iter().any(|it| it.name == id);
        let mut finders = self.finding().filter(|(_, node)| has(node) && !node.is_lost);
        finders.next().map(|(name, _)| name)
    }

    /// The nodes that report strays.
    fn finding(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.finders.iter().filter_map(|name| self.nodes.get_key_value(name))
    }
}
