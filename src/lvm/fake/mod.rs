//! An LVM in memory that keeps LVM's rules: extents, names, snapshots, activation. For tests only;
//! the program never uses it.
//!
//! ```
//! use tarn::{lvm::{Lvm, fake::FakeLvm}, units::Bytes};
//! let lvm = FakeLvm::default().with_group("vg0", Bytes::mib(4), &[256, 256]);
//! assert_eq!(lvm.report(&"vg0".parse()?)?.free, 512);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod disks;
mod group;
mod hooks;
mod missing;
mod thin;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::{
    Belonging, ConvertToThinPool, CreateGroup, CreatePhysicalVolume, CreateSnapshot,
    CreateThinPool, CreateVolume, Error, Group, Kind, Layout, LvName, Lvm, MoveExtents, Place,
    RepairRaid, SeenPhysicalVolume, Tag, VgName,
};
use crate::{
    process::{Cause, Failure},
    units::Bytes,
};
use disks::Disk;
use group::FakeGroup;
pub use hooks::{FailAt, Gate};

/// Bytes in an extent of a group that [`Lvm::create_group`] makes; LVM's default.
const EXTENT: Bytes = Bytes::mib(4);

/// Volume groups in memory.
#[derive(Debug, Default)]
pub struct FakeLvm {
    state: Mutex<State>,
    hooks: Mutex<hooks::Hooks>,
    pace: Duration,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<VgName, FakeGroup>,
    /// Block devices that are not physical volumes yet, or have grown since.
    devices: BTreeMap<PathBuf, Bytes>,
    /// Physical volumes that are in no group, with their UUID and the size of their metadata area.
    loose: BTreeMap<PathBuf, (String, Bytes)>,
    /// How many physical volumes were made.
    made: u64,
}

impl FakeLvm {
    /// Adds a group with one physical volume per number, of so many extents each.
    ///
    /// # Panics
    /// When `vg` is not a name for LVM.
    #[must_use]
    pub fn with_group(self, vg: &str, extent: Bytes, disks: &[usize]) -> Self {
        let disks = disks.iter().enumerate();
        let disks = disks.map(|(at, extents)| Disk::new(device(vg, at), *extents)).collect();
        let name: VgName = name(vg);
        self.state().groups.insert(name.clone(), FakeGroup::new(name, extent, Vec::new(), disks));
        self
    }

    /// Makes every change of a group take so long, as starting a program and writing to disks does.
    #[must_use]
    pub fn taking(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Adds a block device that [`Lvm::create_physical_volume`] can use; a second call with another size
    /// makes it grow.
    #[must_use]
    pub fn with_device(self, path: impl Into<PathBuf>, size: Bytes) -> Self {
        self.resize_device(path, size);
        self
    }

    /// Gives a block device another size, which LVM sees at the next
    /// [`Lvm::resize_physical_volume`].
    pub fn resize_device(&self, path: impl Into<PathBuf>, size: Bytes) {
        self.state().devices.insert(path.into(), size);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the call and runs it, with what the test wanted to happen before and after it.
    fn call<T>(
        &self,
        verb: &'static str,
        act: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let fail = self.begin(verb);
        if fail == Some(FailAt::Before) {
            return Err(tool(verb, "failed before the change"));
        }
        let answer = act(&mut self.state());
        if fail == Some(FailAt::After) {
            return Err(tool(verb, "failed after the change"));
        }
        answer
    }

    /// As [`FakeLvm::call`], on one group, and as slow as a change is to be.
    fn on_group(
        &self,
        verb: &'static str,
        vg: &VgName,
        act: impl FnOnce(&mut FakeGroup) -> Result<(), Error>,
    ) -> Result<(), Error> {
        thread::sleep(self.pace);
        self.call(verb, |state| act(state.group(vg)?))
    }

    /// A change that LVM refuses while a disk is missing.
    fn change(
        &self,
        verb: &'static str,
        vg: &VgName,
        act: impl FnOnce(&mut FakeGroup) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.on_group(verb, vg, |group| group.ensure_whole().and_then(|()| act(group)))
    }

    /// A change that LVM makes also while a disk is away.
    fn change_partial(
        &self,
        verb: &'static str,
        vg: &VgName,
        act: impl FnOnce(&mut FakeGroup) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.on_group(verb, vg, |group| act(group).map(|()| group.mark_missing()))
    }
}

impl State {
    fn group(&mut self, vg: &VgName) -> Result<&mut FakeGroup, Error> {
        let group = self.groups.get_mut(vg);
        group
            .filter(|it| it.disks.iter().any(|disk| !disk.away))
            .ok_or_else(|| Error::NoGroup { vg: vg.clone() })
    }

    fn is_in_a_group(&self, device: &Path) -> bool {
        self.groups.values().flat_map(|group| &group.disks).any(|disk| disk.device == device)
    }

    fn create_physical(&mut self, wanted: &CreatePhysicalVolume) -> Result<(), Error> {
        let device = &wanted.device;
        if !self.devices.contains_key(device) || self.is_in_a_group(device) {
            return Err(tool("create_physical_volume", "Cannot use a device."));
        }
        self.made += 1;
        let uuid = wanted.mark.uuid(&format!("{:016}", self.made));
        self.loose.insert(device.clone(), (uuid, wanted.metadata));
        Ok(())
    }

    /// Takes physical volumes that are in no group.
    fn take(&mut self, verb: &str, devices: &[PathBuf]) -> Result<Vec<Disk>, Error> {
        if !devices.iter().all(|it| self.loose.contains_key(it) && self.devices.contains_key(it)) {
            return Err(tool(verb, "Cannot use a device."));
        }
        let mut disks = Vec::new();
        for device in devices {
            let found = self.loose.remove(device).zip(self.devices.get(device));
            disks.extend(found.map(|((uuid, metadata), size)| {
                let mut disk = Disk::new(device.clone(), usable(*size, metadata));
                (disk.uuid, disk.metadata) = (uuid, metadata);
                disk
            }));
        }
        Ok(disks)
    }

    fn create_group(&mut self, wanted: &CreateGroup) -> Result<(), Error> {
        if self.groups.contains_key(&wanted.vg) {
            return Err(tool("create_group", "A volume group of that name already exists."));
        }
        let disks = self.take("create_group", &wanted.devices)?;
        let group = FakeGroup::new(wanted.vg.clone(), EXTENT, wanted.tags.clone(), disks);
        self.groups.insert(wanted.vg.clone(), group);
        Ok(())
    }

    fn extend_group(&mut self, vg: &VgName, devices: &[PathBuf]) -> Result<(), Error> {
        self.group(vg)?;
        let disks = self.take("extend_group", devices)?;
        let group = self.group(vg)?;
        group.disks.extend(disks);
        group.mark_missing();
        Ok(())
    }

    fn physical(&self) -> Vec<SeenPhysicalVolume> {
        let loose = self.loose.iter().map(|(device, (uuid, _))| SeenPhysicalVolume {
            device: device.clone(),
            number: None,
            uuid: uuid.clone(),
            duplicate: false,
            missing: false,
            leaving: false,
            allocatable: true,
            group: None,
            footprint: None,
        });
        let grouped = self.groups.values().flat_map(|it| it.physical(&self.devices));
        grouped.chain(loose).collect()
    }

    /// The group that has a disk, and its place there; the group is whole.
    fn member(&mut self, verb: &str, device: &Path) -> Result<(&mut FakeGroup, usize), Error> {
        let place = |group: &FakeGroup| group.disks.iter().position(|it| it.device == device);
        let found = self.groups.values_mut().find_map(|it| place(it).map(|at| (it, at)));
        let (group, at) = found.ok_or_else(|| tool(verb, "Failed to find physical volume."))?;
        group.ensure_whole()?;
        Ok((group, at))
    }

    fn move_extents(&mut self, wanted: &MoveExtents) -> Result<(), Error> {
        let (group, at) = self.member("move_extents", &wanted.device)?;
        let moved = disks::move_away(&mut group.disks, at, wanted);
        moved.ok_or_else(|| Error::NoSpace { vg: wanted.vg.clone() })?;
        group.follow_legs(&wanted.device, wanted.on.as_ref());
        Ok(())
    }

    fn reduce(&mut self, device: &Path) -> Result<(), Error> {
        let (group, at) = self.member("reduce_group", device)?;
        if group.disks.len() == 1 || group.disks.get(at).is_some_and(|it| it.used() > 0) {
            return Err(tool("reduce_group", "Physical volume still in use, or the last one."));
        }
        let gone = group.disks.remove(at);
        let size = disks::start(gone.metadata).0 + gone.extents() as u64 * EXTENT.0;
        self.devices.entry(gone.device.clone()).or_insert(Bytes(size));
        self.loose.insert(gone.device, (gone.uuid, gone.metadata));
        Ok(())
    }

    fn resize(&mut self, device: &Path) -> Result<(), Error> {
        let verb = "resize_physical_volume";
        let size = self.devices.get(device).copied();
        let size = size.ok_or_else(|| tool(verb, "Failed to find physical volume."))?;
        let (group, at) = self.member(verb, device)?;
        if let Some(disk) = group.disks.get_mut(at) {
            disk.grow(usable(size, disk.metadata));
        }
        Ok(())
    }
}

impl Lvm for FakeLvm {
    fn version(&self) -> Result<(u32, u32, u32), Error> {
        self.call("version", |_| Ok((2, 3, 16)))
    }

    fn report(&self, vg: &VgName) -> Result<Group, Error> {
        self.call("report", |state| state.group(vg).map(|group| group.reported()))
    }

    fn layout(&self, vg: &VgName, lv: &LvName) -> Result<Option<Layout>, Error> {
        self.call("layout", |state| {
            let volume = state.group(vg)?.volume(lv)?;
            Ok((!matches!(volume.seen.kind, Kind::Other(_))).then_some(volume.layout))
        })
    }

    fn physical_volumes(&self) -> Result<Vec<SeenPhysicalVolume>, Error> {
        self.call("physical_volumes", |state| Ok(state.physical()))
    }

    fn create_physical_volume(&self, wanted: &CreatePhysicalVolume) -> Result<(), Error> {
        self.call("create_physical_volume", |state| state.create_physical(wanted))
    }

    fn extend_group(&self, vg: &VgName, devices: &[PathBuf]) -> Result<(), Error> {
        self.call("extend_group", |state| state.extend_group(vg, devices))
    }

    fn take_back(&self, vg: &VgName, device: &Path) -> Result<(), Error> {
        self.change_partial("take_back", vg, |group| group.take_back(device))
    }

    fn set_belonging(&self, device: &Path, belonging: Belonging) -> Result<(), Error> {
        self.call("set_belonging", |state| {
            let (group, at) = state.member("set_belonging", device)?;
            if let Some(disk) = group.disks.get_mut(at) {
                match belonging {
                    Belonging::Leaves => (disk.allocatable, disk.leaving) = (false, true),
                    Belonging::Returns => disk.allocatable = true,
                    Belonging::Stays => disk.leaving = false,
                }
            }
            Ok(())
        })
    }

    fn move_extents(&self, wanted: &MoveExtents) -> Result<(), Error> {
        self.call("move_extents", |state| state.move_extents(wanted))
    }

    /// None is ever cut short.
    fn abort_move(&self, _: &VgName, _: &Path) -> Result<(), Error> {
        self.call("abort_move", |_| Ok(()))
    }

    fn reduce_group(&self, _: &VgName, device: &Path) -> Result<(), Error> {
        self.call("reduce_group", |state| state.reduce(device))
    }

    fn tag_group(&self, vg: &VgName, add: &[Tag], remove: &[Tag]) -> Result<(), Error> {
        self.change_partial("tag_group", vg, |group| {
            group.retag(add, remove);
            Ok(())
        })
    }

    fn repair(&self, wanted: &RepairRaid) -> Result<(), Error> {
        self.change_partial("repair", &wanted.vg, |group| group.repair(wanted))
    }

    fn discard_leg(&self, vg: &VgName, layer: &LvName) -> Result<(), Error> {
        self.change_partial("discard_leg", vg, |group| {
            group.discard(layer);
            Ok(())
        })
    }

    fn forget_missing(&self, vg: &VgName) -> Result<(), Error> {
        self.change_partial("forget_missing", vg, |group| {
            group.forget_missing();
            Ok(())
        })
    }

    fn remove_physical_volume(&self, device: &Path) -> Result<(), Error> {
        self.call("remove_physical_volume", |state| match state.loose.remove(device) {
            Some(_) => Ok(()),
            None => Err(tool("remove_physical_volume", "It is in a group, or none at all.")),
        })
    }

    fn create_group(&self, wanted: &CreateGroup) -> Result<(), Error> {
        self.call("create_group", |state| state.create_group(wanted))
    }

    fn resize_physical_volume(&self, device: &Path) -> Result<(), Error> {
        self.call("resize_physical_volume", |state| state.resize(device))
    }

    fn activate_group(&self, vg: &VgName) -> Result<(), Error> {
        self.call("activate_group", |state| state.group(vg)?.activate_all())
    }

    fn create_thin_pool(&self, wanted: &CreateThinPool) -> Result<(), Error> {
        self.change("create_thin_pool", &wanted.vg, |group| group.create_thin_pool(wanted))
    }

    fn convert_to_thin_pool(&self, wanted: &ConvertToThinPool) -> Result<(), Error> {
        let verb = "convert_to_thin_pool";
        self.change(verb, &wanted.vg, |group| group.convert_to_thin_pool(wanted))
    }

    fn create_volume(&self, wanted: &CreateVolume) -> Result<(), Error> {
        self.change("create_volume", &wanted.vg, |group| group.create_volume(wanted))
    }

    fn create_snapshot(&self, wanted: &CreateSnapshot) -> Result<(), Error> {
        self.change("create_snapshot", &wanted.vg, |group| group.create_snapshot(wanted))
    }

    fn extend(&self, vg: &VgName, lv: &LvName, size: Bytes, on: &[Place]) -> Result<(), Error> {
        self.change("extend", vg, |group| group.extend(lv, size, on))
    }

    fn rename(&self, vg: &VgName, from: &LvName, to: &LvName) -> Result<(), Error> {
        self.change("rename", vg, |group| group.rename(from, to))
    }

    fn remove(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.change_partial("remove", vg, |group| group.remove(lv))
    }

    fn split_snapshot(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.change("split_snapshot", vg, |group| group.split_snapshot(lv))
    }

    fn change_tags(
        &self,
        vg: &VgName,
        lv: &LvName,
        add: &[Tag],
        remove: &[Tag],
    ) -> Result<(), Error> {
        self.change_partial("change_tags", vg, |group| group.change_tags(lv, add, remove))
    }

    fn activate(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.call("activate", |state| state.group(vg)?.activate(lv))
    }

    fn activate_degraded(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.call("activate_degraded", |state| state.group(vg)?.activate_degraded(lv))
    }

    fn activate_anew(&self, vg: &VgName, pool: &LvName) -> Result<(), Error> {
        self.call("activate_anew", |state| {
            let group = state.group(vg)?;
            group.activate(pool)?;
            group.volume(pool)?.seen.failed = false;
            Ok(())
        })
    }

    fn deactivate(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.call("deactivate", |state| state.group(vg)?.deactivate(lv))
    }

    fn refresh(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.call("refresh", |state| state.group(vg)?.refresh(lv))
    }

    fn forget_prepared(&self, vg: &VgName) -> Result<(), Error> {
        self.call("forget_prepared", |state| {
            state.group(vg)?.forget_prepared();
            Ok(())
        })
    }
}

fn device(vg: &str, at: usize) -> PathBuf {
    format!("/dev/fake-{vg}-{at}").into()
}

#[expect(clippy::expect_used, reason = "a test that misnames something shall stop")]
pub(super) fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name for LVM")
}

/// Whole extents on a device of `size` behind the label and the metadata area.
fn usable(size: Bytes, metadata: Bytes) -> usize {
    usize::try_from(size.saturating_sub(disks::start(metadata)).whole(EXTENT)).unwrap_or(0)
}

/// LVM's answer when it just did not work.
fn tool(verb: &str, complaint: &str) -> Error {
    let cause = Cause::Exit { code: 5, stderr: complaint.to_owned() };
    Error::Tool(Failure { command: format!("fake {verb}"), cause })
}
