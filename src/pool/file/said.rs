//! What a pool of a pools file is, for people.

use std::fmt;

use crate::{
    fs::HugePages,
    pool::{DirectorySpec, MemorySpec, PoolEntry, PoolSpec, Provisions, WholeDevicesSpec},
    volume::{AfterRestart, LayoutWish},
};

/// One line for a person: what the pool is and what becomes of volumes that do not say otherwise.
impl fmt::Display for PoolEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, spec } = self;
        write!(f, "{name}: ")?;
        if let Some(memory) = &spec.memory {
            return say_memory(f, memory);
        }
        if let Some(directory) = &spec.directory {
            return say_directory(f, directory);
        }
        if let Some(whole) = &spec.whole_devices {
            say_whole(f, whole)?;
            return write!(f, "; wipe {:?}", spec.wipe);
        }
        write!(f, "volume group {}", self.group())?;
        say_group(f, spec)?;
        write!(f, "; wipe {:?}; {} reserved", spec.wipe, spec.reserve)
    }
}

fn say_memory(f: &mut fmt::Formatter<'_>, memory: &MemorySpec) -> fmt::Result {
    let after = match memory.after_restart {
        AfterRestart::Fail => "fail",
        AfterRestart::Empty => "begin empty",
    };
    let swap = if memory.swap { "" } else { ", never swapped out" };
    let pages = match memory.huge_pages {
        HugePages::Never => "",
        HugePages::Always => ", huge pages always",
        HugePages::WithinSize => ", huge pages within a file's size",
        HugePages::Advise => ", huge pages where a program asks",
    };
    write!(f, "{} of memory{pages}{swap}; after a restart its volumes {after}", memory.size)
}

fn say_directory(f: &mut fmt::Formatter<'_>, directory: &DirectorySpec) -> fmt::Result {
    f.write_str("directories with quotas in ")?;
    if let Some(file) = &directory.loop_file {
        write!(f, "an {} on a file of {} in ", file.fs_type.kind(), file.size)?;
    }
    write!(f, "{}, which promises {}%", directory.path.display(), directory.overprovision)
}

fn say_whole(f: &mut fmt::Formatter<'_>, whole: &WholeDevicesSpec) -> fmt::Result {
    let directories: Vec<_> = whole.directories.iter().map(|it| it.display().to_string()).collect();
    write!(f, "whole devices in {}", directories.join(", "))?;
    match &whole.name_pattern {
        Some(names) => write!(f, " with names like {names}"),
        None => Ok(()),
    }
}

fn say_group(f: &mut fmt::Formatter<'_>, spec: &PoolSpec) -> fmt::Result {
    if let Some(file) = &spec.loop_file {
        write!(f, " on a file of {} in {}", file.size, file.directory.display())?;
    }
    if spec.devices.is_some() {
        f.write_str(" on the disks that `devices` describes")?;
    }
    let volumes = match spec.provisioning {
        Provisions::Thick => "thick",
        Provisions::Thin => "thin",
        Provisions::ThickAndThin => "thick and thin",
    };
    write!(f, "; {volumes} volumes, {}", lies(spec.layout, spec.mirrors, spec.stripes))?;
    if let Some(thin) = &spec.thin_pool {
        let mirrors = thin.mirrors.unwrap_or(spec.mirrors);
        let lies = lies(thin.layout, mirrors, thin.stripes.unwrap_or(spec.stripes));
        let (size, promised) = (thin.size, thin.overprovision);
        write!(f, "; thin pool of {size}, {lies}, that promises {promised}%")?;
        if let Some(grow) = thin.autoextend {
            write!(f, " and grows by {}% at {}%", grow.percent, grow.threshold)?;
        }
    }
    Ok(())
}

/// How something lies on the disks, in words.
fn lies(layout: LayoutWish, mirrors: u32, stripes: u32) -> String {
    match layout {
        LayoutWish::Linear => "linear".to_owned(),
        LayoutWish::Striped => format!("striped over {stripes} disks"),
        LayoutWish::Raid1 => format!("RAID 1 with {} disks", mirrors + 1),
        LayoutWish::Raid5 => format!("RAID 5 over {} disks", stripes + 1),
        LayoutWish::Raid6 => format!("RAID 6 over {} disks", stripes + 2),
        LayoutWish::Raid10 => format!("RAID 10 over {} disks", stripes * 2),
    }
}
