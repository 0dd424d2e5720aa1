//! What one worker has been told exists, and what it may do next. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dice::Dice;

const MIB: u64 = 1 << 20;
/// At most this many volumes, and half as many snapshots, a worker.
const MOST: usize = 4;
/// How many places of a volume are written to.
const SLOTS: u64 = 8;
/// How large each of them is, in bytes.
pub(crate) const SLOT: usize = 64 << 10;

/// What a volume is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Use {
    Block,
    Ext4,
    Xfs,
    Btrfs,
}

/// What was written: a seed for each place.
pub(crate) type Content = BTreeMap<u64, u64>;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) size: u64,
    pub(crate) usage: Use,
    pub(crate) thin: bool,
    pub(crate) content: Content,
    pub(crate) staged: bool,
    /// Whether it is published, and then whether read-only.
    pub(crate) published: Option<bool>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) of: String,
    pub(crate) size: u64,
    pub(crate) usage: Use,
    pub(crate) thin: bool,
    pub(crate) content: Content,
}

/// Where a new volume's content comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Origin {
    Volume(String),
    Snapshot(String),
}

/// One step of a worker. Volumes and snapshots go by the names that the worker gave them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    Create { name: String, size: u64, usage: Use, thin: bool, from: Option<Origin> },
    Delete { name: String },
    Snapshot { name: String, of: String },
    DeleteSnapshot { name: String },
    Expand { name: String, size: u64 },
    Stage { name: String },
    Unstage { name: String },
    Publish { name: String, read_only: bool },
    Unpublish { name: String },
    Write { name: String, slot: u64, seed: u64 },
    Read { name: String },
}

/// How a step ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done,
    /// Something with this id and size is there.
    Made {
        id: String,
        size: u64,
    },
    /// There was no room, and nothing has changed.
    Full,
}

/// These take long to copy and to wipe.
fn is_large(usage: Use) -> bool {
    matches!(usage, Use::Xfs | Use::Btrfs)
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    prefix: String,
    count: u32,
    forgotten: Option<String>,
    /// Nothing is made for which LVM needs a copy-on-write snapshot: such a one keeps disks from leaving.
    no_thick_copies: bool,
    /// Only what is no device of its own.
    only_directories: bool,
    /// A power cut takes all contents.
    in_memory: bool,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
}

impl Model {
    /// Nothing exists yet; new names begin with `prefix`, which no other model may have.
    pub(crate) fn new(prefix: String) -> Self {
        Self { prefix, ..Self::default() }
    }

    /// Thick volumes are neither copied nor snapshotted.
    pub(crate) fn without_thick_copies(self) -> Self {
        Self { no_thick_copies: true, ..self }
    }

    /// Only what pools can make whose volumes are directories.
    pub(crate) fn of_directories(prefix: String) -> Self {
        Self { only_directories: true, ..Self::new(prefix).without_thick_copies() }
    }

    /// The same, and what is in them is gone with a power cut.
    pub(crate) fn of_memory(prefix: String) -> Self {
        Self { in_memory: true, ..Self::of_directories(prefix) }
    }

    /// From now on, names begin with `prefix`.
    pub(crate) fn rename(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// Decides on the next step.
    pub(crate) fn choose(&mut self, dice: &mut Dice) -> Op {
        let mut options = self.options(dice);
        let total: u64 = options.iter().map(|(weight, _)| weight).sum();
        let mut at = dice.below(total);
        let chosen = options.iter().position(|(weight, _)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        options.swap_remove(chosen.unwrap_or_default()).1
    }

    fn options(&mut self, dice: &mut Dice) -> Vec<(u64, Op)> {
        let mut options = Vec::new();
        if self.volumes.len() < MOST {
            options.push((6, self.fresh(dice)));
            let sources = self.volumes.keys().cloned().map(Origin::Volume);
            let sources = sources.chain(self.snapshots.keys().cloned().map(Origin::Snapshot));
            for from in sources.collect::<Vec<_>>() {
                options.extend(self.copy(from, dice).map(|op| (2, op)));
            }
        }
        let names: Vec<String> = self.volumes.keys().cloned().collect();
        for name in names {
            self.with_volume(&name, dice, &mut options);
        }
        for (name, snapshot) in &self.snapshots {
            let weight = if snapshot.thin { 1 } else { 3 };
            options.push((weight, Op::DeleteSnapshot { name: name.clone() }));
        }
        options
    }

    fn with_volume(&mut self, name: &str, dice: &mut Dice, options: &mut Vec<(u64, Op)>) {
        let Some(volume) = self.volumes.get(name).cloned() else { return };
        let name = name.to_owned();
        // Thick snapshots hang on their volume: it can neither grow nor be deleted.
        let held = self.snapshots.values().any(|it| it.of == name && !it.thin);
        if self.snapshots.len() < MOST / 2 && (volume.thin || !self.no_thick_copies) {
            let op = Op::Snapshot { name: self.new_name(dice), of: name.clone() };
            options.push((if volume.content.is_empty() { 1 } else { 3 }, op));
        }
        if !held {
            let size = volume.size + (1 + dice.below(2)) * 4 * MIB;
            options.push((1, Op::Expand { name: name.clone(), size }));
        }
        match (volume.staged, volume.published) {
            (false, _) => {
                options.push((5, Op::Stage { name: name.clone() }));
                if !held {
                    options.push((3, Op::Delete { name }));
                }
            }
            (true, None) => {
                let read_only = dice.one_in(5) && volume.usage != Use::Block;
                options.push((8, Op::Publish { name: name.clone(), read_only }));
                options.push((3, Op::Unstage { name }));
            }
            (true, Some(read_only)) => {
                if !read_only {
                    let (slot, seed) = (dice.below(SLOTS), dice.next());
                    options.push((8, Op::Write { name: name.clone(), slot, seed }));
                }
                options.push((2, Op::Read { name: name.clone() }));
                options.push((4, Op::Unpublish { name }));
            }
        }
    }

    fn fresh(&mut self, dice: &mut Dice) -> Op {
        let large = self.volumes.values().any(|it| is_large(it.usage));
        let usage = match dice.below(24) {
            _ if self.only_directories => Use::Ext4,
            0 if !large => Use::Xfs,
            1 if !large => Use::Btrfs,
            2..9 => Use::Block,
            _ => Use::Ext4,
        };
        let size = match usage {
            Use::Xfs => 320 * MIB,
            Use::Btrfs => 128 * MIB,
            Use::Block => (1 + dice.below(4)) * 4 * MIB,
            Use::Ext4 => (3 + dice.below(4)) * 4 * MIB,
        };
        let thin = !self.only_directories && dice.one_in(2);
        Op::Create { name: self.new_name(dice), size, usage, thin, from: None }
    }

    fn copy(&mut self, from: Origin, dice: &mut Dice) -> Option<Op> {
        let (size, usage, thin) = match &from {
            Origin::Volume(name) => {
                let it = self.volumes.get(name)?;
                (it.size, it.usage, it.thin)
            }
            Origin::Snapshot(name) => {
                let it = self.snapshots.get(name)?;
                (it.size, it.usage, it.thin)
            }
        };
        if !thin && (is_large(usage) || self.no_thick_copies) {
            return None;
        }
        let size = if dice.one_in(3) { size + 8 * MIB } else { size };
        Some(Op::Create { name: self.new_name(dice), size, usage, thin, from: Some(from) })
    }

    /// A new name, or now and then that of the volume deleted last, which may not be wiped yet.
    fn new_name(&mut self, dice: &mut Dice) -> String {
        if let Some(name) = self.forgotten.take_if(|_| dice.one_in(6)) {
            return name;
        }
        self.unused_name()
    }

    /// A name that nothing ever had.
    pub(crate) fn unused_name(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.prefix, self.count)
    }

    /// What has to be done until nothing is left; `None` when that is so.
    pub(crate) fn tear_down(&self) -> Option<Op> {
        if let Some(name) = self.snapshots.keys().next() {
            return Some(Op::DeleteSnapshot { name: name.clone() });
        }
        let (name, volume) = self.volumes.iter().next()?;
        let name = name.clone();
        Some(match (volume.staged, volume.published) {
            (_, Some(_)) => Op::Unpublish { name },
            (true, None) => Op::Unstage { name },
            (false, None) => Op::Delete { name },
        })
    }

    /// Enters how a step ended.
    pub(crate) fn enter(&mut self, op: &Op, outcome: &Outcome) {
        match (op, outcome) {
            (_, Outcome::Full) | (Op::Read { .. }, _) => (),
            (Op::Create { name, usage, thin, from, .. }, Outcome::Made { id, size }) => {
                let volume = Volume {
                    id: id.clone(),
                    size: *size,
                    usage: *usage,
                    thin: *thin,
                    content: self.content_of(from.as_ref()),
                    staged: false,
                    published: None,
                };
                self.volumes.insert(name.clone(), volume);
            }
            (Op::Snapshot { name, of }, Outcome::Made { id, size }) => {
                if let Some(volume) = self.volumes.get(of) {
                    let snapshot = Snapshot {
                        id: id.clone(),
                        of: of.clone(),
                        size: *size,
                        usage: volume.usage,
                        thin: volume.thin,
                        content: volume.content.clone(),
                    };
                    self.snapshots.insert(name.clone(), snapshot);
                }
            }
            (Op::Delete { name }, _) => {
                self.volumes.remove(name);
                self.forgotten = Some(name.clone());
            }
            (Op::DeleteSnapshot { name }, _) => drop(self.snapshots.remove(name)),
            (Op::Expand { name, .. }, Outcome::Made { size, .. }) => {
                self.change(name, |volume| volume.size = *size);
            }
            (Op::Stage { name }, _) => self.change(name, |volume| volume.staged = true),
            (Op::Unstage { name }, _) => self.change(name, |volume| volume.staged = false),
            (Op::Publish { name, read_only }, _) => {
                self.change(name, |volume| volume.published = Some(*read_only));
            }
            (Op::Unpublish { name }, _) => self.change(name, |volume| volume.published = None),
            (Op::Write { name, slot, seed }, _) => {
                self.change(name, |volume| {
                    volume.content.insert(*slot, *seed);
                });
            }
            (Op::Create { .. } | Op::Snapshot { .. } | Op::Expand { .. }, Outcome::Done) => (),
        }
    }

    fn content_of(&self, from: Option<&Origin>) -> Content {
        let content = match from {
            None => None,
            Some(Origin::Volume(name)) => self.volumes.get(name).map(|it| &it.content),
            Some(Origin::Snapshot(name)) => self.snapshots.get(name).map(|it| &it.content),
        };
        content.cloned().unwrap_or_default()
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Volume)) {
        if let Some(volume) = self.volumes.get_mut(name) {
            change(volume);
        }
    }

    /// The machine has lost its power, maybe during `cut`: nothing is mounted, and what was being
    /// written may be anything.
    pub(crate) fn power_cut(&mut self, cut: Option<&Op>) {
        if let Some(Op::Write { name, slot, .. }) = cut {
            self.change(name, |volume| {
                volume.content.remove(slot);
            });
        }
        for volume in self.volumes.values_mut() {
            volume.staged = false;
            volume.published = None;
            if self.in_memory {
                volume.content.clear();
            }
        }
    }
}
