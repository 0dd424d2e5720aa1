//! What is to be done about the devices of classes with `mode: Static`: which become volumes, and which of these are offered,
//! withdrawn and let go. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use k8s_openapi::api::core::v1::PersistentVolume;

use super::{
    class::{StaticClass, name_of},
    published::{Published, offer},
    told::Refusal,
};
use crate::{
    cluster::{
        objects::{EntryReport, LogicalVolumeSpec},
        state::{Entry, Shelf, State},
        wish::purpose_of,
    },
    pool::EntryState,
    volume::{Driver, Error, NodeId, VolumeId, VolumeName},
};

/// What is known of classes and PersistentVolumes.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By their names, also those with a mistake; `None` until all are known.
    pub(super) classes: Option<BTreeMap<String, Result<StaticClass, Refusal>>>,
    /// By their names; `None` until all are known.
    pub(super) published: Option<BTreeMap<String, Published>>,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// The device of a free entry becomes a volume.
    Claim { id: VolumeId, spec: Box<LogicalVolumeSpec> },
    /// A volume is offered to claims.
    Offer { id: VolumeId, volume: Box<PersistentVolume> },
    /// A PersistentVolume that has no claim is deleted.
    Withdraw { volume: Published, why: &'static str },
    /// A volume that a claim has, and that may hold data soon, is never to be offered again.
    Keep { id: String },
    /// A PersistentVolume that was deleted goes.
    LetGo { volume: Published },
    /// The device of a volume with a claim is missing.
    Warn { volume: Published, node: NodeId },
}

impl Step {
    /// The volume or PersistentVolume that it changes.
    pub(super) fn about(&self) -> &str {
        match self {
            Self::Claim { id, .. } | Self::Offer { id, .. } => id.as_str(),
            Self::Keep { id } => id,
            Self::Withdraw { volume, .. } | Self::LetGo { volume } | Self::Warn { volume, .. } => {
                &volume.name
            }
        }
    }

    /// The uid of a PersistentVolume of which it is to be told that its device is missing.
    pub(super) fn missing(&self) -> Option<&str> {
        if let Self::Warn { volume, .. } = self { Some(&volume.uid) } else { None }
    }
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Decided {
    pub(super) steps: Vec<Step>,
    /// Whether more is to be done once a node is heard of again, of which nobody tells.
    pub(super) waits: bool,
    /// Of which classes nothing is offered, or nothing of a pool.
    pub(super) refused: BTreeSet<Refusal>,
}

impl Known {
    /// What is to be done as things stand; nothing before all of them are known.
    pub(super) fn decide(&self, state: &State, driver: &Driver, now: Instant) -> Decided {
        let (Some(classes), Some(published)) = (&self.classes, &self.published) else {
            return Decided::default();
        };
        let refused = classes.values().filter_map(|it| it.as_ref().err().cloned()).collect();
        let classes: BTreeMap<&str, &StaticClass> =
            classes.values().flatten().map(|it| (it.name.as_str(), it)).collect();
        let about = published.values().filter_map(|it| about(it, &classes, state, now));
        let mut decided = Decided { steps: about.collect(), waits: false, refused };
        if !state.knows_locals() {
            return decided;
        }
        let mut seen = BTreeSet::new();
        for class in classes.values().copied() {
            for (node, shelf) in state.shelves().filter(|(_, shelf)| class.is_of(&shelf.pool)) {
                for entry in shelf.entries.iter().filter(|it| class.suits(it)) {
                    let Some(name) = name_of(node, &shelf.pool, &entry.path) else { continue };
                    // The device of another class, or published and not gone yet.
                    let is_done = !seen.insert(name.as_str().to_owned())
                        || published.contains_key(name.as_str());
                    if is_done || state.is_local(node, entry) {
                        continue;
                    }
                    let spot = Spot { class, node, shelf, entry, name };
                    decided.waits |= spot.waits(state, now);
                    match spot.step(state, driver, now) {
                        Ok(step) => decided.steps.extend(step),
                        Err(err) => {
                            decided.refused.insert(class.refused_by(&shelf.pool, &err));
                        }
                    }
                }
            }
        }
        decided
    }
}

/// What is to be done about a PersistentVolume that is there.
fn about(
    volume: &Published,
    classes: &BTreeMap<&str, &StaticClass>,
    state: &State,
    now: Instant,
) -> Option<Step> {
    let entry = state.entry(&volume.handle).filter(|it| !it.is_deleting);
    let node = entry.and_then(Entry::node);
    if volume.is_claimed && entry.is_some_and(|it| !it.is_given_out) {
        return Some(Step::Keep { id: volume.handle.clone() });
    }
    if volume.is_deleting {
        return volume.is_kept_by_us_alone.then(|| Step::LetGo { volume: volume.clone() });
    }
    let is_missing =
        entry.zip(node.as_ref()).is_some_and(|(it, node)| is_missing(it, node, volume, state, now));
    if volume.is_claimed {
        let node = node.filter(|_| is_missing)?;
        return Some(Step::Warn { volume: volume.clone(), node });
    }
    let has_class = classes.get(volume.class.as_str()).is_some_and(|it| it.uid == volume.class_uid);
    let why = match (has_class, entry) {
        (false, _) => "its class is gone",
        (true, None) => "its volume is gone",
        (true, Some(_)) if is_missing => "its device is missing",
        (true, Some(_)) if node.is_some_and(|it| state.is_lost(&it, now)) => "its node is given up",
        (true, Some(_)) => return None,
    };
    Some(Step::Withdraw { volume: volume.clone(), why })
}

/// Whether the node of a volume, which is alive, does not have its device, or no entry for it that somebody may claim.
fn is_missing(
    entry: &Entry,
    node: &NodeId,
    volume: &Published,
    state: &State,
    now: Instant,
) -> bool {
    let is_alive = state.alive_until(node, now).is_some();
    let Some(shelves) = state.shelves_of(node).filter(|_| is_alive) else { return false };
    let shelf = shelves.iter().find(|it| it.pool.as_str() == entry.spec.pool);
    shelf.is_none_or(|it| match volume.is_claimed {
        true => it.has_lost(&volume.handle),
        false => it.misses(&volume.handle),
    })
}

/// An entry of which no PersistentVolume is there, and the class that it is for.
struct Spot<'a> {
    class: &'a StaticClass,
    node: &'a NodeId,
    shelf: &'a Shelf,
    entry: &'a EntryReport,
    name: VolumeName,
}

impl Spot<'_> {
    fn is_free(&self) -> bool {
        self.entry.state == EntryState::Free.word()
    }

    /// Whether only its node's silence is in the way.
    fn waits(&self, state: &State, now: Instant) -> bool {
        self.is_free() && state.ensure_open(self.node, now).is_err()
    }

    /// What is to be done with it.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the pool does not allow what the class says.
    fn step(&self, state: &State, driver: &Driver, now: Instant) -> Result<Option<Step>, Error> {
        let id = VolumeId::of(&self.name);
        if let Some(there) = state.entry(id.as_str()) {
            return Ok(self.offered(id, there, driver));
        }
        let is_open = state.ensure_open(self.node, now).is_ok();
        let pool = state.pool_of(self.node, &self.shelf.pool).filter(|_| self.is_free() && is_open);
        let Some((pool, size)) = pool.zip(self.entry.size) else { return Ok(None) };
        let spec = self.class.spec(self.name.clone(), self.node, pool, &self.entry.path, size)?;
        Ok(Some(Step::Claim { id, spec: Box::new(spec) }))
    }

    /// Offers a volume that is whole and new, and what its class says.
    fn offered(&self, id: VolumeId, there: &Entry, driver: &Driver) -> Option<Step> {
        let purpose = self.class.says.purpose;
        let is_new = there.is_static() && !there.is_found && !there.is_given_out;
        let is_told = self.entry.volume.as_deref() == Some(id.as_str());
        let is_fit = there.is_ready() && is_told && !self.shelf.misses(id.as_str());
        let is_its = purpose_of(&there.spec).is_ok_and(|it| it == purpose);
        (is_new && is_fit && is_its).then_some(())?;
        let volume = there.as_volume(id.as_str())?;
        let volume = offer(&self.name, &volume, self.class, driver).ok()?;
        Some(Step::Offer { id, volume: Box::new(volume) })
    }
}

#[cfg(test)]
mod tests;
