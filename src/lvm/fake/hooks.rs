//! What a test can make the fake do, and ask it afterwards.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{FakeLvm, State, name};
use crate::{
    lvm::{
        Backing, CreateVolume, Group, Kind, Layout, LogicalVolume, LvName, VgName,
        fake::group::FakeVolume,
    },
    units::Bytes,
};

/// When a call that shall fail does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailAt {
    /// Nothing has changed.
    Before,
    /// The change is made; only the answer is lost.
    After,
}

#[derive(Debug, Default)]
pub(super) struct Hooks {
    calls: Vec<&'static str>,
    failures: Vec<(&'static str, FailAt)>,
    later: Option<(usize, FailAt)>,
    gates: Vec<(&'static str, Arc<Passage>)>,
}

#[derive(Debug, Default)]
struct Passage {
    state: Mutex<Standing>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Standing {
    reached: bool,
    open: bool,
}

/// Holds back one call until it is [released](Gate::release) or dropped.
#[derive(Debug)]
pub struct Gate(Arc<Passage>);

impl Gate {
    /// Waits until the call stands at the gate.
    pub fn wait_until_reached(&self) {
        let standing = self.0.lock();
        drop(self.0.moved.wait_while(standing, |it| !it.reached));
    }

    /// Lets the call go on.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.lock().open = true;
        self.0.moved.notify_all();
    }
}

impl Passage {
    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self) {
        let mut standing = self.lock();
        standing.reached = true;
        self.moved.notify_all();
        drop(self.moved.wait_while(standing, |it| !it.open));
    }
}

impl FakeLvm {
    /// The names of the trait's methods that were called, in order.
    pub fn commands(&self) -> Vec<&'static str> {
        self.hooks().calls.clone()
    }

    /// How often the method `verb` was called.
    pub fn count(&self, verb: &str) -> usize {
        self.hooks().calls.iter().filter(|it| **it == verb).count()
    }

    /// What a report would say, without being counted as one.
    ///
    /// # Panics
    /// When there is no such group.
    #[expect(clippy::expect_used, reason = "a test that asks for what is not there shall stop")]
    pub fn peek(&self, vg: &str) -> Group {
        self.state().groups.get(&name(vg)).expect("a group of that name").reported()
    }

    /// The volumes that a report would show, but for the order; none for an unknown group.
    pub fn peek_volumes(&self, vg: &str) -> Vec<LogicalVolume> {
        let state = self.state();
        let Some(group) = state.groups.get(&name(vg)) else { return Vec::new() };
        group.volumes.iter().filter(|it| !it.hidden).map(|it| group.shown(it)).collect()
    }

    /// The volume as a report would show it, if it is there.
    pub fn peek_at(&self, vg: &str, lv: &str) -> Option<LogicalVolume> {
        let (vg, lv) = (vg.parse().ok()?, lv.parse::<LvName>().ok()?);
        let state = self.state();
        let group = state.groups.get(&vg)?;
        group.volumes.iter().find(|it| it.seen.name == lv).map(|it| group.shown(it))
    }

    /// Makes the next call of `verb` fail with [`Error::Tool`](crate::lvm::Error::Tool).
    pub fn fail_once(&self, verb: &'static str, at: FailAt) {
        self.hooks().failures.push((verb, at));
    }

    /// Makes a later call fail in that way, whichever it is: after so many others.
    pub fn fail_later(&self, others: usize, at: FailAt) {
        self.hooks().later = Some((others, at));
    }

    /// Holds back the next call of `verb`, before it does anything.
    #[must_use]
    pub fn gate(&self, verb: &'static str) -> Gate {
        let passage = Arc::new(Passage::default());
        self.hooks().gates.push((verb, Arc::clone(&passage)));
        Gate(passage)
    }

    /// Says whether something holds a volume open.
    ///
    /// # Panics
    /// As the other hooks, when there is no such volume.
    pub fn set_open(&self, vg: &str, lv: &str, open: bool) {
        self.with_volume(vg, lv, |volume| volume.open = open);
    }

    /// Leaves a volume suspended, as an interrupted command does.
    pub fn suspend(&self, vg: &str, lv: &str) {
        self.with_volume(vg, lv, |volume| volume.seen.suspended = true);
    }

    /// Loads a table beside the one that is in force, as a command does that is then killed.
    pub fn prepare(&self, vg: &str, lv: &str) {
        self.with_volume(vg, lv, |volume| volume.prepared = true);
    }

    /// Whether the table of a volume that is in force is the right one.
    pub fn is_led_well(&self, vg: &str, lv: &str) -> bool {
        let mut well = false;
        self.with_volume(vg, lv, |volume| well = !volume.astray);
        well
    }

    /// Makes the thin pool forget a thin volume that the group still has.
    pub fn lose_in_pool(&self, vg: &str, lv: &str) {
        self.with_volume(vg, lv, |volume| {
            volume.lost_in_pool = true;
            volume.seen.active = false;
        });
    }

    /// Leaves a RAID volume as a command does that is cut short while it makes it.
    pub fn half_make(&self, vg: &str, lv: &str) {
        self.with_volume(vg, lv, |volume| {
            volume.seen.kind = Kind::HalfMade;
            volume.seen.active = false;
        });
    }

    /// Somebody else makes a volume of so many extents, `theirs`, in the group.
    ///
    /// # Panics
    /// When there is no such group, or no room.
    #[expect(clippy::expect_used, reason = "a test that asks for too much shall stop")]
    pub fn take_elsewhere(&self, vg: &str, extents: u64) {
        let mut state = self.state();
        let group = state.group(&name(vg)).expect("a group of that name");
        let size = Bytes(extents * group.reported().extent.0);
        let volume = CreateVolume {
            vg: name(vg),
            name: name("theirs"),
            size,
            backing: Backing::Thick(Layout::Linear),
            on: Vec::new(),
            tags: Vec::new(),
        };
        group.create_volume(&volume).expect("room");
    }

    /// Sets how full a thin pool is, in hundredths.
    pub fn fill_pool(&self, vg: &str, pool: &str, data: f64, metadata: f64) {
        self.with_volume(vg, pool, |volume| {
            volume.seen.kind =
                Kind::ThinPool { data_percent: Some(data), metadata_percent: Some(metadata) };
        });
    }

    /// Has a thin pool give up, as after an error of its disks.
    pub fn fail_pool(&self, vg: &str, pool: &str) {
        self.with_volume(vg, pool, |volume| volume.seen.failed = true);
    }

    /// Whether nothing is activated with this volume unless asked for by name.
    pub fn is_skipped(&self, vg: &str, lv: &str) -> bool {
        let mut skipped = false;
        self.with_volume(vg, lv, |volume| skipped = volume.skipped);
        skipped
    }

    /// Deactivates every volume, as a reboot does.
    pub fn reboot(&self) {
        for group in self.state().groups.values_mut() {
            for volume in &mut group.volumes {
                volume.seen.active = false;
                volume.seen.suspended = false;
                volume.open = false;
            }
        }
    }

    /// Says whether the disk of that number is missing; a group without any disk is not found.
    pub fn set_missing(&self, vg: &str, disk: usize, missing: bool) {
        let mut state = self.state();
        if let Some(disk) = state.disk(vg, disk) {
            disk.away = missing;
        }
        // What was on it keeps a table that leads nowhere, also when the disk comes back as another.
        if let Some(group) = state.groups.get_mut(&name::<VgName>(vg)).filter(|_| missing) {
            group.lead_astray();
        }
    }

    /// Says whether the disk of that number answers with errors. Every RAID volume notices when it begins, and
    /// none when it ends.
    pub fn set_erring(&self, vg: &str, disk: usize, erring: bool) {
        let mut state = self.state();
        if let Some(disk) = state.disk(vg, disk) {
            disk.erring = erring;
        }
        if let Some(group) = state.groups.get_mut(&name::<VgName>(vg)).filter(|_| erring) {
            let names: Vec<LvName> = group.volumes.iter().map(|it| it.seen.name.clone()).collect();
            names.iter().for_each(|lv| group.shut_out(lv));
        }
    }

    /// Whether a volume has the table of a time before one of its disks went away.
    pub fn is_astray(&self, vg: &str, lv: &str) -> bool {
        let mut astray = false;
        self.with_volume(vg, lv, |volume| astray = volume.astray);
        astray
    }

    /// Says whether extents of the disk of that number may be taken.
    pub fn set_allocatable(&self, vg: &str, disk: usize, allocatable: bool) {
        if let Some(disk) = self.state().disk(vg, disk) {
            disk.allocatable = allocatable;
        }
    }

    /// Notes a call, waits at its gate, and tells whether it shall fail.
    pub(super) fn begin(&self, verb: &'static str) -> Option<FailAt> {
        let mut hooks = self.hooks();
        hooks.calls.push(verb);
        let gate = hooks.gates.iter().position(|(it, _)| *it == verb);
        let gate = gate.map(|at| hooks.gates.remove(at).1);
        let fail = hooks.failures.iter().position(|(it, _)| *it == verb);
        let fail = fail.map(|at| hooks.failures.remove(at).1).or_else(|| hooks.count_down());
        drop(hooks);
        if let Some(gate) = gate {
            gate.pass();
        }
        fail
    }

    fn hooks(&self) -> MutexGuard<'_, Hooks> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::expect_used, reason = "a test that asks for what is not there shall stop")]
    fn with_volume(&self, vg: &str, lv: &str, act: impl FnOnce(&mut FakeVolume)) {
        let mut state = self.state();
        let group = state.group(&name(vg)).expect("a group of that name");
        act(group.volume(&name::<LvName>(lv)).expect("a volume of that name"));
    }
}

impl Hooks {
    fn count_down(&mut self) -> Option<FailAt> {
        let (others, at) = self.later.take()?;
        self.later = others.checked_sub(1).map(|left| (left, at));
        self.later.is_none().then_some(at)
    }
}

impl State {
    fn disk(&mut self, vg: &str, at: usize) -> Option<&mut super::Disk> {
        self.groups.get_mut(&name(vg))?.disks.get_mut(at)
    }
}
