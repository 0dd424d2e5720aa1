//! How many volumes a node lets go within a minute before it asks. Pure.
//!
//! A deletion says when it was asked for, by the API's clock, and an object that waits says so in its
//! status. So an agent that was away, or begins anew, decides as one that was there all the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::jiff::Timestamp;

use crate::cluster::{
    ALLOW, FOUND,
    objects::{Condition, LogicalVolume, Phase},
};

/// The reason of the condition and the Events of what waits.
pub(super) const MASS: &str = "MassDeletion";
/// In seconds: what is counted together. What has not lived as long is not counted, and not held back:
/// tests and retries make and delete a lot.
const MINUTE: i64 = 60;
/// As many deletions a minute as a node of any size carries out unasked.
const FEW: usize = 10;

/// A deletion that was asked for and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deletion<'a> {
    uid: &'a str,
    /// When it was asked for, in seconds since 1970.
    at: i64,
    /// Whether it is said to wait until an admin allows it.
    pub(super) is_held: bool,
}

impl<'a> Deletion<'a> {
    /// The deletion of an object; `None` where none was asked for, it is over, or does not count.
    pub(super) fn of(object: &'a LogicalVolume) -> Option<Self> {
        let metadata = &object.metadata;
        let at = metadata.deletion_timestamp.as_ref()?.0.as_second();
        let made = metadata.creation_timestamp.as_ref().map_or(i64::MIN, |it| it.0.as_second());
        // An object that was made again is younger than its volume.
        let is_found = metadata.annotations.as_ref().is_some_and(|it| it.contains_key(FOUND));
        if is_over(object) || (at.saturating_sub(made) < MINUTE && !is_found) {
            return None;
        }
        let conditions = object.status.iter().flat_map(|it| &it.conditions);
        let is_held = conditions.into_iter().any(|it: &Condition| it.reason == MASS);
        Some(Self { uid: metadata.uid.as_deref().unwrap_or_default(), at, is_held })
    }
}

/// Whether the node has nothing of it.
fn is_over(object: &LogicalVolume) -> bool {
    let phase = object.status.as_ref().and_then(|it| it.phase);
    matches!(phase, Some(Phase::Failed | Phase::Deleted))
}

/// What is to be done about a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is carried out.
    Go,
    /// It waits, and that is to be said.
    Hold(Crowd),
    /// It waits, as was said before.
    Held,
}

/// Why a deletion waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowd {
    /// How many deletions were asked for within a minute.
    asked: usize,
    /// Of how many volumes and snapshots.
    volumes: usize,
    /// Whether it is the first that waits.
    pub(super) is_first: bool,
}

impl Crowd {
    /// Why, and what to do about it.
    pub(super) fn message(self, node: &str) -> String {
        let Self { asked, volumes, .. } = self;
        format!(
            "mass deletion: {asked} of the {volumes} volumes of node {node} were to be deleted \
             within a minute, or others wait already; its data is kept until an admin allows the \
             deletions of the node by the annotation {ALLOW}=TIME of NodeLocalStorage {node}, the \
             RFC 3339 time until which they are meant. How to keep the volumes instead: \"Mass \
             deletions\" in docs/kubernetes.md"
        )
    }
}

/// Stops a node's deletions when there are too many at once.
#[derive(Debug)]
pub(super) struct Brake {
    /// Which share of the volumes may go within a minute.
    percent: u8,
    /// What was let go unasked in the last minute: the uids, and when it was asked for.
    let_go: BTreeMap<String, i64>,
    /// Whether it is known that some wait.
    is_told: bool,
}

impl Brake {
    /// A brake that lets this share of the volumes go within a minute; all with 100.
    pub(super) fn new(percent: u8) -> Self {
        Self { percent, let_go: BTreeMap::new(), is_told: false }
    }

    /// What is to be done about a deletion, one of those in `objects`: all of this node.
    ///
    /// As many are let go as may be. With the first that is too many, all that are asked for wait
    /// until they are allowed, and all that are asked for while any waits.
    pub(super) fn decide(
        &mut self,
        own: Deletion<'_>,
        objects: &[Arc<LogicalVolume>],
        is_allowed: bool,
    ) -> Verdict {
        if is_allowed || self.percent >= 100 {
            // What an admin has looked at counts no more.
            self.let_go.clear();
            self.is_told = false;
            return Verdict::Go;
        }
        if own.is_held {
            return Verdict::Held;
        }
        let pending: Vec<Deletion<'_>> =
            objects.iter().filter_map(|it| Deletion::of(it)).filter(|it| *it != own).collect();
        let newest = pending.iter().map(|it| it.at).fold(own.at, i64::max);
        self.let_go.retain(|_, at| at.saturating_add(MINUTE) >= newest);
        let waiting: BTreeSet<&str> = pending.iter().map(|it| it.uid).chain([own.uid]).collect();
        let gone = self.let_go.iter().filter(|(uid, _)| !waiting.contains(uid.as_str()));
        let gone: Vec<i64> = gone.map(|(_, at)| *at).collect();
        let times = pending.iter().map(|it| it.at).chain(gone.iter().copied()).chain([own.at]);
        let asked = most_within_a_minute(times.collect(), own.at);
        let volumes = objects.iter().filter(|it| !is_over(it)).count() + gone.len();
        if asked <= self.limit(volumes) && !pending.iter().any(|it| it.is_held) {
            self.let_go.insert(own.uid.to_owned(), own.at);
            self.is_told = false;
            return Verdict::Go;
        }
        let is_first = !std::mem::replace(&mut self.is_told, true);
        Verdict::Hold(Crowd { asked, volumes, is_first })
    }

    fn limit(&self, volumes: usize) -> usize {
        (volumes.saturating_mul(usize::from(self.percent)) / 100).max(FEW)
    }
}

/// How many of these times are in the fullest minute that has `at` in it.
fn most_within_a_minute(mut times: Vec<i64>, at: i64) -> usize {
    times.sort_unstable();
    let until = |time: i64| times.partition_point(|it| *it <= time);
    let begins = times.iter().enumerate().filter(|(_, it)| (at - MINUTE..=at).contains(*it));
    let counts = begins.map(|(before, begin)| until(begin.saturating_add(MINUTE)) - before);
    counts.max().unwrap_or_default()
}

/// Until when deletions are allowed, by the value of the annotation.
///
/// # Errors
/// A sentence that says what the value should be.
pub(super) fn allowed_until(value: &str) -> Result<Timestamp, String> {
    value.parse().map_err(|_| {
        format!(
            "{ALLOW}: `{value}` is no time; until when are deletions meant? As 2026-01-31T18:00:00Z"
        )
    })
}

#[cfg(test)]
mod tests;
