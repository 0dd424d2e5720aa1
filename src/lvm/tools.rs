//! LVM's own programs behind [`Lvm`].

mod unfinished;

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use super::{
    Backing, Belonging, ConvertToThinPool, CreateGroup, CreatePhysicalVolume, CreateSnapshot,
    CreateThinPool, CreateVolume, Error, Group, Layout, LvName, Lvm, MoveExtents, Place,
    RepairRaid, SeenPhysicalVolume, SnapshotKind, Tag, VgName,
    complaints::{About, device_in_the_way, layer_in_the_way, understand},
    lines, physical, prepared,
    report::{self, Dependents},
    strays,
};
use crate::{
    process::{Cause, Failure, Invocation},
    units::Bytes,
};

/// The programs that are started, each with its Debian package.
pub const PROGRAMS: &[(&str, &str)] =
    &[("lvm", "lvm2"), ("lvcreate", "lvm2"), ("pvcreate", "lvm2"), ("thin_check", THIN_TOOLS)];
/// LVM starts these itself when a thin pool is activated.
const THIN_TOOLS: &str = "thin-provisioning-tools";

/// Takes one command to LVM and brings its output back.
pub trait Courier: Send + Sync {
    /// Runs `command` to its end.
    ///
    /// # Errors
    /// The command's own failure.
    fn carry(&self, command: Invocation) -> Result<Vec<u8>, Failure>;
}

/// Runs each command as a program of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exec;

impl Courier for Exec {
    fn carry(&self, command: Invocation) -> Result<Vec<u8>, Failure> {
        command.run()
    }
}

/// The LVM of this machine.
///
/// A command that LVM itself ends with a failure leaves nothing new behind: it allocates before it
/// writes metadata, and takes a volume back that it could not activate. The one exception seen: a
/// thin pool that cannot grow may have grown its metadata.
pub struct LvmTools {
    courier: Box<dyn Courier>,
}

impl LvmTools {
    /// LVM, reached through `courier`.
    pub fn new(courier: Box<dyn Courier>) -> Self {
        Self { courier }
    }

    fn run(&self, command: Invocation, about: About<'_>) -> Result<Vec<u8>, Error> {
        self.courier.carry(command).map_err(|failure| understand(failure, about))
    }

    fn change(&self, command: Invocation, about: About<'_>) -> Result<(), Error> {
        self.carry(command, about.vg).map(drop).map_err(|failure| understand(failure, about))
    }

    /// Has a change of a group carried out. One that was killed may have prepared what must not come into force.
    fn carry(&self, command: Invocation, vg: &VgName) -> Result<Vec<u8>, Failure> {
        let done = self.courier.carry(command);
        if done.as_ref().is_err_and(Failure::was_killed) {
            self.forget_logged(vg);
        }
        done
    }

    /// Carries out an activation. One that was killed may have left layers of a thin pool or of a RAID
    /// active alone, which forbids every other; each attempt names one such layer.
    fn activation(&self, command: impl Fn() -> Invocation, about: About<'_>) -> Result<(), Error> {
        let mut taken_down = BTreeSet::new();
        loop {
            let Err(failure) = self.carry(command(), about.vg) else { return Ok(()) };
            let layer = layer_in_the_way(&failure, about.vg);
            let Some(layer) = layer.filter(|layer| taken_down.insert(layer.clone())) else {
                return Err(understand(failure, about));
            };
            tracing::warn!(vg = %about.vg, %layer, "was left active alone by an interrupted activation");
            self.deactivate(about.vg, &layer)?;
        }
    }
}

impl fmt::Debug for LvmTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LvmTools")
    }
}

impl Lvm for LvmTools {
    fn version(&self) -> Result<(u32, u32, u32), Error> {
        let text = self.courier.carry(lines::version()).map_err(Error::Tool)?;
        report::version(&text)
    }

    fn report(&self, vg: &VgName) -> Result<Group, Error> {
        report::read(&self.run(lines::report(vg), group(vg))?)
    }

    fn layout(&self, vg: &VgName, lv: &LvName) -> Result<Option<Layout>, Error> {
        report::layout(&self.run(lines::layout(vg, lv), volume(vg, lv))?)
    }

    fn physical_volumes(&self) -> Result<Vec<SeenPhysicalVolume>, Error> {
        physical::read(&self.courier.carry(lines::physical_volumes()).map_err(Error::Tool)?)
    }

    fn create_physical_volume(&self, wanted: &CreatePhysicalVolume) -> Result<(), Error> {
        let no_random = |source| Failure {
            command: format!("pvcreate {}", wanted.device.display()),
            cause: Cause::Start(source),
        };
        let uuid = wanted.mark.new_uuid().map_err(no_random).map_err(Error::Tool)?;
        let command = lines::create_physical_volume(wanted, &uuid);
        self.courier.carry(command).map(drop).map_err(Error::Tool)
    }

    fn create_group(&self, wanted: &CreateGroup) -> Result<(), Error> {
        self.change(lines::create_group(wanted), group(&wanted.vg))
    }

    fn extend_group(&self, vg: &VgName, devices: &[PathBuf]) -> Result<(), Error> {
        self.change(lines::extend_group(vg, devices), group(vg))
    }

    fn take_back(&self, vg: &VgName, device: &Path) -> Result<(), Error> {
        self.change(lines::take_back(vg, device), group(vg))
    }

    fn set_belonging(&self, device: &Path, belonging: Belonging) -> Result<(), Error> {
        let command = lines::set_belonging(device, belonging);
        self.courier.carry(command).map(drop).map_err(Error::Tool)
    }

    fn move_extents(&self, wanted: &MoveExtents) -> Result<(), Error> {
        match self.carry(lines::move_extents(wanted), &wanted.vg) {
            Ok(_) => Ok(()),
            Err(failure) if failure.says("No data to move") => Ok(()),
            Err(failure) => Err(understand(failure, group(&wanted.vg))),
        }
    }

    fn abort_move(&self, vg: &VgName, device: &Path) -> Result<(), Error> {
        self.change(lines::abort_move(device), group(vg))
    }

    fn reduce_group(&self, vg: &VgName, device: &Path) -> Result<(), Error> {
        self.change(lines::reduce_group(vg, device), group(vg))
    }

    fn tag_group(&self, vg: &VgName, add: &[Tag], remove: &[Tag]) -> Result<(), Error> {
        self.change(lines::tag_group(vg, add, remove), group(vg))
    }

    /// A call that was killed may have left devices of new legs, of which the group knows nothing, and whose
    /// names LVM chooses again. Each attempt names one. They are removed only while nobody has them open.
    fn repair(&self, wanted: &RepairRaid) -> Result<(), Error> {
        let about = volume(&wanted.vg, &wanted.lv);
        let mut removed = BTreeSet::new();
        loop {
            let failure = match self.carry(lines::repair(wanted), &wanted.vg) {
                Ok(_) => return Ok(()),
                Err(failure) if failure.says("does not contain devices specified") => return Ok(()),
                Err(failure) => failure,
            };
            let device = device_in_the_way(&failure, about);
            let Some(device) = device.filter(|device| removed.insert(device.clone())) else {
                return Err(understand(failure, about));
            };
            tracing::warn!(vg = %about.vg, %device, "was left by an interrupted repair");
            self.change(lines::remove_device(&device), about)?;
        }
    }

    fn discard_leg(&self, vg: &VgName, layer: &LvName) -> Result<(), Error> {
        match self.change(lines::remove(vg, layer), volume(vg, layer)) {
            Err(Error::NoVolume { .. }) => Ok(()),
            answer => answer,
        }
    }

    fn forget_missing(&self, vg: &VgName) -> Result<(), Error> {
        match self.carry(lines::forget_missing(vg), vg) {
            Ok(_) => Ok(()),
            // It is done for the empty ones nevertheless.
            Err(failure) if failure.says("There are still partial LVs") => Ok(()),
            Err(failure) => Err(understand(failure, group(vg))),
        }
    }

    fn remove_physical_volume(&self, device: &Path) -> Result<(), Error> {
        let command = lines::remove_physical_volume(device);
        self.courier.carry(command).map(drop).map_err(Error::Tool)
    }

    fn resize_physical_volume(&self, device: &Path) -> Result<(), Error> {
        let command = lines::resize_physical_volume(device);
        self.courier.carry(command).map(drop).map_err(Error::Tool)
    }

    fn activate_group(&self, vg: &VgName) -> Result<(), Error> {
        self.activation(|| lines::activate_group(vg), group(vg))
    }

    fn create_thin_pool(&self, wanted: &CreateThinPool) -> Result<(), Error> {
        let about = About { new: Some(&wanted.name), ..group(&wanted.vg) };
        self.change(lines::create_thin_pool(wanted), about)
    }

    fn convert_to_thin_pool(&self, wanted: &ConvertToThinPool) -> Result<(), Error> {
        let about = volume(&wanted.vg, &wanted.data);
        self.change(lines::convert_to_thin_pool(wanted), about)
    }

    fn create_volume(&self, wanted: &CreateVolume) -> Result<(), Error> {
        let old = match &wanted.backing {
            Backing::Thick(_) => None,
            Backing::Thin(pool) => Some(pool),
        };
        let about = About { vg: &wanted.vg, new: Some(&wanted.name), old };
        match wanted.backing {
            Backing::Thick(_) => self.change(lines::create_volume(wanted), about),
            Backing::Thin(_) => self.make_empty_thin(wanted, about),
        }
    }

    fn create_snapshot(&self, wanted: &CreateSnapshot) -> Result<(), Error> {
        let about = About { vg: &wanted.vg, new: Some(&wanted.name), old: Some(&wanted.origin) };
        let command = || lines::create_snapshot(wanted);
        match wanted.kind {
            SnapshotKind::CopyOnWrite(_) => self.change(command(), about),
            SnapshotKind::ThinFrozen | SnapshotKind::ThinWritable => self.make_thin(command, about),
        }
    }

    fn extend(&self, vg: &VgName, lv: &LvName, size: Bytes, on: &[Place]) -> Result<(), Error> {
        match self.carry(lines::extend(vg, lv, size, on), vg) {
            Ok(_) => Ok(()),
            Err(failure) if failure.says("matches existing size") => Ok(()),
            Err(failure) => Err(understand(failure, volume(vg, lv))),
        }
    }

    fn rename(&self, vg: &VgName, from: &LvName, to: &LvName) -> Result<(), Error> {
        self.change(lines::rename(vg, from, to), About { vg, new: Some(to), old: Some(from) })
    }

    /// Looks first, because LVM would take a thick volume's snapshots and a pool's thin volumes
    /// with it; and it would remove what lies on a disk that is missing, whose bytes come back with that.
    fn remove(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        let about = volume(vg, lv);
        let json = self.run(lines::dependents(vg), about)?;
        match report::dependents(&json, lv)? {
            Dependents::Absent => return Ok(()),
            Dependents::Some => return Err(Error::InUse { vg: vg.clone(), lv: lv.clone() }),
            Dependents::Lost => return Err(Error::NoGroup { vg: vg.clone() }),
            Dependents::Alone => (),
        }
        match self.change(lines::remove(vg, lv), about) {
            Err(Error::NoVolume { .. }) => Ok(()),
            answer => answer,
        }
    }

    fn split_snapshot(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.change(lines::split_snapshot(vg, lv), volume(vg, lv))
    }

    fn change_tags(
        &self,
        vg: &VgName,
        lv: &LvName,
        add: &[Tag],
        remove: &[Tag],
    ) -> Result<(), Error> {
        self.change(lines::change_tags(vg, lv, add, remove), volume(vg, lv))
    }

    fn activate(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.activation(|| lines::activate(vg, lv), volume(vg, lv))
    }

    fn activate_degraded(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.activation(|| lines::activate_degraded(vg, lv), volume(vg, lv))
    }

    fn activate_anew(&self, vg: &VgName, pool: &LvName) -> Result<(), Error> {
        self.activation(|| lines::activate_anew(vg, pool), volume(vg, pool))
    }

    fn deactivate(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.change(lines::deactivate(vg, lv), volume(vg, lv))
    }

    fn refresh(&self, vg: &VgName, lv: &LvName) -> Result<(), Error> {
        self.change(lines::refresh(vg, lv), volume(vg, lv))
    }

    fn forget_prepared(&self, vg: &VgName) -> Result<(), Error> {
        self.forget(vg)
    }
}

fn group(vg: &VgName) -> About<'_> {
    About { vg, new: None, old: None }
}

fn volume<'a>(vg: &'a VgName, lv: &'a LvName) -> About<'a> {
    About { vg, new: None, old: Some(lv) }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Fails as LVM does until both layers are deactivated.
    #[derive(Clone, Default)]
    struct HalfActive(Arc<Mutex<Vec<String>>>);

    impl Courier for HalfActive {
        fn carry(&self, command: Invocation) -> Result<Vec<u8>, Failure> {
            let command = command.to_string();
            let mut seen = self.0.lock().unwrap();
            seen.push(command.clone());
            let layers = ["vg0/pool_tmeta", "vg0/pool_tdata"];
            let active = layers.iter().find(|it| !seen.iter().any(|line| line.ends_with(*it)));
            match active.filter(|_| command.starts_with("vgchange")) {
                None => Ok(Vec::new()),
                Some(layer) => Err(Failure {
                    command,
                    cause: Cause::Exit {
                        code: 5,
                        stderr: format!(
                            "Activation of logical volume vg0/pool is prohibited while logical volume {layer} is active."
                        ),
                    },
                }),
            }
        }
    }

    #[test]
    fn a_pool_whose_activation_was_cut_short_is_activated() {
        let courier = HalfActive::default();
        let lvm = LvmTools::new(Box::new(courier.clone()));
        lvm.activate_group(&"vg0".parse().unwrap()).unwrap();
        let seen = courier.0.lock().unwrap();
        let verbs: Vec<&str> = seen.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(verbs, ["vgchange", "lvchange", "vgchange", "lvchange", "vgchange"]);
    }
}
