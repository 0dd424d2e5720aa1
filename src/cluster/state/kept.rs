//! Where a new volume goes, and the room that is kept for the claims that its pod has besides. Pure.

use std::time::{Duration, Instant};

use super::{Promise, State, extent_of};
use crate::{
    cluster::{
        objects::{LogicalVolumeSpec, Phase},
        placement::{Share, node_of, roomiest},
        siblings::{Sibling, place_all},
        wish::{Placement, spec_of},
    },
    volume::{Error, NodeId, VolumeId, Wanted},
};

/// How long room is kept for a claim. Its call comes within moments, if it comes.
const KEPT: Duration = Duration::from_secs(60);

/// Room that is kept for a claim whose call is still to come.
#[derive(Debug)]
pub(super) struct Kept {
    node: NodeId,
    promise: Promise,
    until: Instant,
}

impl State {
    /// The spec of the object for a new volume. Where claims of the same pod are to be made on its
    /// node, too, all fit or none is made, and room is kept for them: they are not to find that
    /// somebody else was faster.
    ///
    /// # Errors
    /// [`Error::NotFound`] for its source, and those of [`node_of`], [`Candidate::place`],
    /// [`State::except`] and [`place_all`].
    ///
    /// [`Candidate::place`]: crate::cluster::placement::Candidate::place
    pub(in crate::cluster) fn place(
        &mut self,
        wanted: &Wanted,
        siblings: &[Sibling],
        now: Instant,
    ) -> Result<LogicalVolumeSpec, Error> {
        let is_new = |it: &&Sibling| !self.is_counted(it.id.as_str());
        let siblings: Vec<&Sibling> = siblings.iter().filter(is_new).collect();
        // What was kept for them is what is given out or kept anew here.
        self.kept.remove(VolumeId::of(&wanted.name).as_str());
        siblings.iter().for_each(|it| drop(self.kept.remove(it.id.as_str())));
        let origin = wanted.source.as_ref().map(|source| self.origin(source)).transpose()?;
        let mut chosen = match node_of(wanted, origin.as_ref())? {
            Some(node) => self.open_node(node, now)?,
            None => roomiest(wanted, self.open(now))?,
        };
        let wish = (wanted.purpose, &wanted.parameters);
        let place = chosen.place(wanted.size, wish, origin.as_ref())?;
        let except = self.except(&place)?;
        let others = place_all(&mut chosen, wanted, &place, &siblings)?;
        for (id, place) in &others {
            self.keep(id, place, now);
        }
        Ok(LogicalVolumeSpec { except, ..spec_of(wanted, &place) })
    }

    /// Whether the room of a volume is taken off what its node has: by its object, by the promise
    /// to the call that is writing it, or on the disks.
    fn is_counted(&self, id: &str) -> bool {
        let is_over = |phase| matches!(phase, Some(Phase::Failed | Phase::Deleted));
        self.entry(id).is_some_and(|entry| !is_over(entry.phase))
            || self.nodes.values().any(|node| node.unsettled.contains_key(id))
            || self.finder(id).is_some()
    }

    fn keep(&mut self, id: &VolumeId, place: &Placement, now: Instant) {
        self.kept.retain(|_, kept| kept.until > now);
        let extent = extent_of(self.nodes.get(&place.node), place.pool.as_str());
        let share = Share::of_new(&place.class, place.size, extent);
        let promise = Promise { pool: place.pool.to_string(), share, sequence: None };
        let kept = Kept { node: place.node.clone(), promise, until: now + KEPT };
        self.kept.insert(id.to_string(), kept);
    }

    /// The room that is kept on a node.
    pub(super) fn kept_on(&self, node: &NodeId, now: Instant) -> impl Iterator<Item = &Promise> {
        let there = self.kept.values().filter(move |it| it.node == *node && it.until > now);
        there.map(|it| &it.promise)
    }
}
