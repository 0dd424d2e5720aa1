//! What commands that were killed or failed have left in the kernel, dropped while LVM's own lock of the group is held.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
};

use nix::fcntl::Flock;

use super::{About, LvmTools, group, lines, prepared, strays};
use crate::{
    lvm::{
        CreateVolume, Error, LvName, Lvm, VgName,
        moves::{self, Ended},
        names::mapped,
        prepared::{Device, Step},
        strays::Stray,
    },
    process::{Cause, Failure, Invocation},
};

/// How often mapped devices are listed that come and go.
const LISTINGS: u32 = 20;

impl LvmTools {
    /// Takes LVM's own lock of a group, drops what is left, and lets go of it.
    pub(super) fn forget(&self, vg: &VgName) -> Result<(), Error> {
        let lock = self.lock(vg)?;
        let devices = self.mapped(vg)?;
        self.put_to_rest(vg, &devices)?;
        self.forget_strays(vg, &devices)?;
        drop(lock);
        // The metadata may say more than the tables that are in force.
        let all: BTreeSet<_> = devices.iter().filter_map(|it| it.to_refresh(vg)).collect();
        let refreshed: Vec<_> = all.iter().map(|it| self.refresh(vg, it)).collect();
        self.remove_ended_moves(vg, &devices)?;
        refreshed.into_iter().collect()
    }

    /// Removes what is left of moves that have moved all they had, be it in LVM's metadata alone. LVM does not, and it may
    /// hold a disk.
    fn remove_ended_moves(&self, vg: &VgName, devices: &[Device]) -> Result<(), Error> {
        let json = match self.run(lines::lies_on(vg), group(vg)) {
            // It is still to be made.
            Err(Error::NoGroup { .. }) => return Ok(()),
            json => json?,
        };
        let Ended { spares, volumes, devices } = moves::ended(&json, devices, vg)?;
        let remove = |device: &String| {
            tracing::warn!(%vg, device, "an interrupted command has left it of a move that has ended; removing it");
            self.courier.carry(lines::remove_device(device)).map_err(Error::Tool).map(drop)
        };
        spares.iter().try_for_each(remove)?;
        for volume in &volumes {
            tracing::warn!(%vg, %volume, "an interrupted command has left a move that has ended; removing it");
            let about = About { old: Some(volume), ..group(vg) };
            self.run(lines::remove(vg, volume), about)?;
        }
        devices.iter().try_for_each(remove)
    }

    fn lock(&self, vg: &VgName) -> Result<Flock<File>, Error> {
        let said = self.courier.carry(lines::locking_directory()).map_err(Error::Tool)?;
        let directory = prepared::directory(&said)?;
        prepared::lock(&directory, vg).map_err(|source| {
            let command = format!("flock {}/V_{vg}", directory.display());
            Error::Tool(Failure { command, cause: Cause::Start(source) })
        })
    }

    /// The mapped devices of a group. One of any group that goes away while they are listed makes `dmsetup` fail; then
    /// they are listed again.
    fn mapped(&self, vg: &VgName) -> Result<Vec<Device>, Error> {
        for _ in 0..LISTINGS {
            match self.courier.carry(lines::mapped_devices()) {
                Err(failure) if failure.says("does not exist") => {}
                answer => return prepared::read(&answer.map_err(Error::Tool)?, vg),
            }
        }
        prepared::read(&self.run(lines::mapped_devices(), group(vg))?, vg)
    }

    /// The moves that suspended layers are to go through, and do not yet, by the layers' devices.
    fn moves_ahead(
        &self,
        vg: &VgName,
        devices: &[Device],
    ) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
        let mut ahead = BTreeMap::new();
        let concerned: Vec<_> = devices.iter().filter(|it| it.may_lead_to_a_move()).collect();
        if !concerned.is_empty() {
            ahead = moves::on_moves(&self.run(lines::lies_on(vg), group(vg))?, vg)?;
        }
        for Device { name, .. } in concerned {
            if let Some(on) = ahead.get_mut(name) {
                let now = self.courier.carry(lines::leads_to(name)).map_err(Error::Tool)?;
                on.retain(|it| !moves::leads_to(&now, it));
            }
        }
        Ok(ahead)
    }

    fn put_to_rest(&self, vg: &VgName, devices: &[Device]) -> Result<(), Error> {
        let moves = self.moves_ahead(vg, devices)?;
        for step in prepared::to_rest(devices, &moves) {
            let (why, command) = match step {
                Step::Drop(name) => ("has left a table; dropping it", lines::clear_device(name)),
                Step::Resume(name) => {
                    ("has left it suspended; resuming it", lines::resume_device(name))
                }
                Step::Remove(name) => {
                    ("has left it without a table; removing it", lines::remove_device(name))
                }
            };
            let (Step::Drop(device) | Step::Resume(device) | Step::Remove(device)) = step;
            tracing::warn!(%vg, device, "an interrupted command {why}");
            match (self.courier.carry(command), step) {
                (Ok(_), _) => {}
                // Something leads to it all the same.
                (Err(failure), Step::Remove(_)) => {
                    tracing::warn!(%vg, device, error = %failure, "not removed")
                }
                (Err(failure), _) => return Err(Error::Tool(failure)),
            }
        }
        Ok(())
    }

    fn forget_strays(&self, vg: &VgName, devices: &[Device]) -> Result<(), Error> {
        let mut kernel = BTreeMap::new();
        for Device { name, .. } in devices.iter().filter(|it| it.is_thin_pool()) {
            let status = self.courier.carry(lines::status(name)).map_err(Error::Tool)?;
            kernel.extend(strays::transaction(&status).map(|it| (name.clone(), it)));
        }
        if kernel.is_empty() {
            return Ok(());
        }
        let noted = self.run(lines::thin_numbers(vg), group(vg))?;
        strays::read(&noted, vg, &kernel)?.iter().try_for_each(|stray| self.forget_stray(stray))
    }

    /// One that is active is whole: the kernel made it, and an activation of its group found it. What its maker had
    /// left to do is done then.
    fn forget_stray(&self, Stray { pool, id, unfinished }: &Stray) -> Result<(), Error> {
        match (self.courier.carry(lines::delete_thin(pool, *id)), unfinished) {
            (Ok(_), _) => {
                tracing::warn!(
                    pool,
                    id,
                    "an unfinished command has left a thin device; deleted it"
                );
                Ok(())
            }
            (Err(failure), _) if failure.says("No data available") => Ok(()),
            (Err(failure), Some((now, next))) if failure.says("Device or resource busy") => {
                tracing::warn!(
                    pool,
                    id,
                    "an unfinished command has left a thin device that is active; finishing it"
                );
                let message = lines::count_up_thin(pool, *now, *next);
                self.courier.carry(message).map(drop).map_err(Error::Tool)
            }
            (Err(failure), _) => Err(Error::Tool(failure)),
        }
    }

    /// Makes a thin volume. One that LVM fails to make may have left its device, and the next that failed before is
    /// made after that is gone.
    pub(super) fn make_thin(
        &self,
        command: impl Fn() -> Invocation,
        about: About<'_>,
    ) -> Result<(), Error> {
        let Err(failure) = self.carry(command(), about.vg) else { return Ok(()) };
        let was_in_the_way = failure.says("already contain thin device");
        let err = super::understand(failure, about);
        if matches!(err, Error::Tool(_)) {
            self.forget_logged(about.vg);
        }
        match was_in_the_way {
            true => self.change(command(), about),
            false => Err(err),
        }
    }

    /// Makes a thin volume without content, and makes sure that it has none: LVM takes a device that is there already
    /// for the new one.
    pub(super) fn make_empty_thin(
        &self,
        wanted: &CreateVolume,
        about: About<'_>,
    ) -> Result<(), Error> {
        for _ in 0..2 {
            self.make_thin(|| lines::create_volume(wanted), about)?;
            if !self.has_blocks(&wanted.vg, &wanted.name)? {
                return Ok(());
            }
            tracing::error!(vg = %wanted.vg, lv = %wanted.name, "was given the blocks of another; removing it");
            self.change(lines::remove(&wanted.vg, &wanted.name), about)?;
            self.forget(&wanted.vg)?;
        }
        Err(Error::Report(format!("{} is new and has blocks", wanted.name)))
    }

    fn has_blocks(&self, vg: &VgName, lv: &LvName) -> Result<bool, Error> {
        strays::has_blocks(&self.run(lines::status(&mapped(vg, lv)), group(vg))?)
    }

    /// Drops what is left, and logs why it could not.
    pub(super) fn forget_logged(&self, vg: &VgName) {
        if let Err(err) = self.forget(vg) {
            tracing::error!(%vg, %err, "what an unfinished command has left is still there");
        }
    }
}
