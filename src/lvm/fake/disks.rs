//! Which extents of the fake's disks belong to whom.

use std::path::PathBuf;

use crate::lvm::{Layout, PhysicalVolume};

/// Who an extent belongs to.
pub(super) type Owner = u64;

/// The owner of the spare metadata volume that LVM keeps beside thin pools.
pub(super) const SPARE: Owner = 0;

/// One physical volume.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) device: PathBuf,
    pub(super) missing: bool,
    pub(super) allocatable: bool,
    extents: Vec<Option<Owner>>,
}

/// A contiguous run of free extents.
#[derive(Clone, Copy)]
struct Run {
    disk: usize,
    start: usize,
    length: usize,
}

impl Disk {
    pub(super) fn new(device: PathBuf, extents: usize) -> Self {
        Self { device, missing: false, allocatable: true, extents: vec![None; extents] }
    }

    pub(super) fn grow(&mut self, extents: usize) {
        self.extents.resize(extents.max(self.extents.len()), None);
    }

    pub(super) fn extents(&self) -> usize {
        self.extents.len()
    }

    pub(super) fn free(&self) -> usize {
        self.extents.iter().filter(|owner| owner.is_none()).count()
    }

    pub(super) fn reported(&self) -> PhysicalVolume {
        PhysicalVolume {
            device: self.device.clone(),
            missing: self.missing,
            allocatable: self.allocatable,
            extents: self.extents.len() as u64,
            free_runs: self.free_runs().into_iter().map(|(_, length)| length as u64).collect(),
        }
    }

    fn free_runs(&self) -> Vec<(usize, usize)> {
        let mut runs = Vec::new();
        let mut start = 0;
        for run in self.extents.chunk_by(|a, b| a.is_none() == b.is_none()) {
            if run.first().is_some_and(Option::is_none) {
                runs.push((start, run.len()));
            }
            start += run.len();
        }
        runs
    }

    fn longest_run(&self, disk: usize) -> Option<Run> {
        let (start, length) = self.free_runs().into_iter().max_by_key(|(_, length)| *length)?;
        (self.allocatable && !self.missing).then_some(Run { disk, start, length })
    }

    fn take(&mut self, start: usize, length: usize, owner: Owner) {
        self.extents.iter_mut().skip(start).take(length).for_each(|it| *it = Some(owner));
    }

    fn give_back(&mut self, owner: Owner) {
        self.extents.iter_mut().filter(|it| **it == Some(owner)).for_each(|it| *it = None);
    }
}

/// Takes `extents` for `owner`, as LVM's policy `normal` does: again and again the longest free
/// run of each of the emptiest disks, one disk per stripe. Takes nothing when there is too little.
#[must_use]
pub(super) fn take(disks: &mut [Disk], owner: Owner, extents: u64, layout: Layout) -> bool {
    let stripes = match layout {
        Layout::Linear => 1,
        Layout::Striped { stripes, .. } => stripes as usize,
    };
    let Ok(extents) = usize::try_from(extents) else { return false };
    let mut rows = extents.div_ceil(stripes.max(1));
    let mut taken: Vec<Run> = Vec::new();
    while rows > 0 {
        let mut runs: Vec<Run> =
            disks.iter().enumerate().filter_map(|(at, disk)| disk.longest_run(at)).collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.length));
        runs.truncate(stripes);
        let length = runs.last().map_or(0, |run| run.length.min(rows));
        if runs.len() < stripes || length == 0 {
            taken.iter().for_each(|run| free(disks, run));
            return false;
        }
        for mut run in runs {
            run.length = length;
            if let Some(disk) = disks.get_mut(run.disk) {
                disk.take(run.start, length, owner);
            }
            taken.push(run);
        }
        rows -= length;
    }
    true
}

fn free(disks: &mut [Disk], run: &Run) {
    if let Some(disk) = disks.get_mut(run.disk) {
        disk.extents.iter_mut().skip(run.start).take(run.length).for_each(|it| *it = None);
    }
}

/// Frees all that `owner` has.
pub(super) fn give_back(disks: &mut [Disk], owner: Owner) {
    disks.iter_mut().for_each(|disk| disk.give_back(owner));
}

/// How many extents `owner` has.
pub(super) fn owned(disks: &[Disk], owner: Owner) -> u64 {
    disks.iter().flat_map(|disk| &disk.extents).filter(|it| **it == Some(owner)).count() as u64
}
