//! A plan in words, as `tarn pools plan` prints it and as objects have it.

use std::fmt;

use super::{DiskPlan, GroupState, Plan, PoolPlan, Refusal, Standing, Step, sentence, words_for};
use crate::{pool::survey::Disk, units::Bytes, volume::PoolName};

/// The plan for people: for each pool what it has, gets and does not get, then the other disks, then
/// what will be done.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pool in &self.pools {
            writeln!(f, "{pool}")?;
            let mut none = true;
            for disk in &self.disks {
                if let Some(line) = disk.line_for(&pool.name) {
                    writeln!(f, "  {line}")?;
                    none = false;
                }
            }
            if none {
                writeln!(f, "  none of this machine's disks is selected")?;
            }
        }
        let others = self.disks.iter().filter(|it| matches!(it.standing, Standing::Unselected(_)));
        let others: Vec<&DiskPlan> = others.collect();
        if !others.is_empty() {
            writeln!(f, "no pool selects:")?;
        }
        for disk in others {
            writeln!(f, "  {}: {}", described(&disk.disk), disk.message())?;
        }
        self.arrivals.iter().try_for_each(|it| writeln!(f, "{it}"))?;
        writeln!(f, "{}", if self.steps.is_empty() { "nothing to do" } else { "to do:" })?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

impl Plan {
    /// What the text says beside the disks: a line for each pool, for each group from another node, and for
    /// each thing to be done.
    pub fn headlines(&self) -> Vec<String> {
        let pools = self.pools.iter().map(ToString::to_string);
        let arrivals = self.arrivals.iter().map(ToString::to_string);
        pools
            .chain(arrivals)
            .chain(self.steps.iter().map(|step| format!("to do: {step}")))
            .collect()
    }
}

impl fmt::Display for PoolPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {}: volume group {}", self.name, self.group)?;
        match &self.state {
            GroupState::Absent => f.write_str(", not there yet"),
            GroupState::There => Ok(()),
            GroupState::Waiting(why) | GroupState::Replacing(why) | GroupState::Barred(why) => {
                write!(f, "; {why}")
            }
        }
    }
}

/// As somebody would type it, but for the UUID of a physical volume.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MakePhysical { wanted, .. } => {
                let device = wanted.device.display();
                write!(f, "pvcreate --metadatasize {} {device}", wanted.metadata)
            }
            Self::MakeGroup { wanted, .. } => {
                write!(f, "vgcreate")?;
                wanted.tags.iter().try_for_each(|tag| write!(f, " --addtag {tag}"))?;
                write!(f, " {}", wanted.vg)?;
                wanted.devices.iter().try_for_each(|it| write!(f, " {}", it.display()))
            }
            Self::Wipe { disk, found, .. } => {
                write!(f, "overwrite all of {}: {}", disk.path.display(), words_for(found))
            }
            Self::Grow { device, .. } => write!(f, "pvresize {}", device.display()),
            Self::Close { device, .. } => {
                write!(f, "pvchange --allocatable n {}", device.display())
            }
            Self::Reopen { vg, device, joins, .. } => {
                let device = device.display();
                if *joins {
                    write!(f, "vgextend {vg} {device}; ")?;
                }
                write!(f, "pvchange --allocatable y {device}, and wipe what was moved away from it")
            }
            Self::Move { device, .. } => write!(f, "pvmove {}", device.display()),
            Self::Leave { vg, device, .. } => write!(f, "vgreduce {vg} {}", device.display()),
            Self::Forget { device, .. } => write!(f, "pvremove {}", device.display()),
            Self::GiveUp { vg, uuid, .. } => {
                write!(f, "give up the missing physical volume {uuid} of {vg}")
            }
            Self::ExtendGroup { vg, devices, .. } => {
                write!(f, "vgextend {vg}")?;
                devices.iter().try_for_each(|it| write!(f, " {}", it.display()))
            }
        }
    }
}

/// A size that a person can compare with a label: rounded down to a tenth.
fn rounded(size: Bytes) -> String {
    let units = [(1u64 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi")];
    let Some((unit, name)) = units.into_iter().find(|(unit, _)| size.0 >= *unit) else {
        return size.to_string();
    };
    match size.0 % unit * 10 / unit {
        0 => format!("{}{name}", size.0 / unit),
        tenths => format!("{}.{tenths}{name}", size.0 / unit),
    }
}

/// A disk with what tells it from others.
pub fn described(disk: &Disk) -> String {
    let device = &disk.device;
    let mut parts = vec![rounded(device.size)];
    parts.extend(device.model.clone());
    parts.extend(device.serial.as_ref().map(|it| format!("serial {it}")));
    format!("{} ({})", device.path.display(), parts.join(", "))
}

impl DiskPlan {
    fn line_for(&self, pool: &PoolName) -> Option<String> {
        let disk = described(&self.disk);
        match &self.standing {
            Standing::Member(of) if of == pool => Some(format!("has     {disk}")),
            Standing::Leaving { pool: of, .. } if of == pool => {
                Some(format!("retires {disk}: {}", self.message()))
            }
            Standing::Taken(of) if of == pool => Some(format!("takes   {disk}")),
            Standing::Wiped(of) if of == pool => {
                Some(format!("wipes   {disk}: {}", self.contents()))
            }
            Standing::Refused { pools, .. } if pools.contains(pool) => {
                Some(format!("refuses {disk}: {}", self.message()))
            }
            Standing::Member(_)
            | Standing::Leaving { .. }
            | Standing::Taken(_)
            | Standing::Wiped(_)
            | Standing::Refused { .. }
            | Standing::Unselected(_) => None,
        }
    }

    /// How it stands, in one word.
    pub fn state(&self) -> &'static str {
        match &self.standing {
            Standing::Member(_) => "Member",
            Standing::Leaving { .. } => "Leaving",
            Standing::Taken(_) => "Taken",
            Standing::Wiped(_) => "Wiped",
            Standing::Refused { .. } => "Refused",
            Standing::Unselected(_) => "Unselected",
        }
    }

    /// Why it is not taken, in one word.
    pub fn reason(&self) -> Option<&'static str> {
        match &self.standing {
            Standing::Refused { why, .. } => why.first().map(Refusal::reason),
            Standing::Leaving { why: Some(_), .. } => Some("CannotLeave"),
            Standing::Member(_)
            | Standing::Leaving { .. }
            | Standing::Taken(_)
            | Standing::Wiped(_)
            | Standing::Unselected(_) => None,
        }
    }

    fn contents(&self) -> String {
        let look = self.disk.look.as_ref().and_then(|it| it.as_ref().ok());
        look.map_or_else(String::new, words_for)
    }

    /// Why it stands as it does, in words.
    pub fn message(&self) -> String {
        match &self.standing {
            Standing::Member(pool) => match &self.disk.failed {
                None => format!("in the volume group of pool {pool}"),
                Some(why) => format!("in the volume group of pool {pool}; a step failed: {why}"),
            },
            Standing::Leaving { pool, left, why } => {
                let left = rounded(*left);
                let size = rounded(self.disk.device.size);
                match why {
                    None => {
                        format!("leaving pool {pool}: {left} of its {size} are still to be moved")
                    }
                    Some(why) => format!("cannot leave pool {pool}: {why}"),
                }
            }
            Standing::Taken(pool) => format!("to be taken for pool {pool}"),
            Standing::Wiped(pool) => {
                format!(
                    "being wiped for pool {pool}, as its `devices.wipe` says: {}",
                    self.contents()
                )
            }
            Standing::Refused { why, .. } => sentence(why),
            Standing::Unselected(misses) if misses.is_empty() => {
                "no pool of this node is made of disks".to_owned()
            }
            Standing::Unselected(misses) => {
                let said = misses.iter().map(|(pool, miss)| format!("pool {pool}: {miss}"));
                said.collect::<Vec<_>>().join("; ")
            }
        }
    }
}
