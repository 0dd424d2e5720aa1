//! Which extents LVM gives to a new volume: its allocation policy `normal`, step by step
//! (lvm2, `lib/metadata/lv_manip.c`, with `allocation/maximise_cling=1`).
//!
//! The policy is greedy and clings to disks that it has begun with, so that a striped volume may be
//! refused although its rows could be laid out. Capacity must say what LVM does, not what could be.

use std::cmp::Reverse;

/// A contiguous run of extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The disk's place in the volume group.
    pub disk: usize,
    /// Its first extent.
    pub start: u64,
    /// How many extents.
    pub length: u64,
}

/// Lays out `rows` rows of one extent on each of `stripes` disks (one for a linear volume) in the
/// `free` runs. `None` when LVM refuses.
pub fn allocate(free: &[Run], stripes: usize, rows: u64) -> Option<Vec<Run>> {
    let mut allocator = Allocator::new(free, stripes, rows);
    allocator.run();
    (allocator.rows == 0).then_some(allocator.taken)
}

/// Whether a step looks only at disks that the volume has already begun to use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cling {
    Free,
    ToTaken,
}

/// One free run, with what of it the current step has not set aside.
#[derive(Clone, Copy)]
struct Area {
    start: u64,
    length: u64,
    left: u64,
}

struct Allocator {
    /// For each disk its free runs, longest first.
    disks: Vec<Vec<Area>>,
    stripes: usize,
    /// Rows still to be laid out.
    rows: u64,
    taken: Vec<Run>,
}

impl Allocator {
    fn new(free: &[Run], stripes: usize, rows: u64) -> Self {
        let count = free.iter().map(|run| run.disk + 1).max().unwrap_or(0);
        let mut disks = vec![Vec::new(); count];
        for run in free.iter().filter(|run| run.length > 0) {
            if let Some(disk) = disks.get_mut(run.disk) {
                disk.push(Area { start: run.start, length: run.length, left: run.length });
            }
        }
        Self { disks, stripes: stripes.max(1), rows, taken: Vec::new() }
    }

    /// LVM's policies in their order: `contiguous` takes one step, `cling` goes on with the same
    /// disks, `normal` prefers disks in use and takes any when that does not help.
    fn run(&mut self) {
        self.step(Cling::Free);
        while self.rows > 0 && self.step_on_first_disks() {}
        let mut cling = Cling::ToTaken;
        while self.rows > 0 {
            cling = match (self.step(cling), cling) {
                (true, _) => Cling::ToTaken,
                (false, Cling::ToTaken) => Cling::Free,
                (false, Cling::Free) => return,
            };
        }
    }

    /// Takes one segment, as long as the shortest of the areas found; false when too few disks
    /// have one.
    fn step(&mut self, cling: Cling) -> bool {
        self.forget_what_is_set_aside();
        let mut found: Vec<Run> =
            (0..self.disks.len()).filter_map(|disk| self.candidate(disk, cling)).collect();
        // Stable, as glibc's qsort is: equal ones stay in the order of the disks.
        found.sort_by_key(|run| Reverse(run.length));
        found.truncate(self.stripes);
        self.take(&found)
    }

    /// Takes one segment from the longest run of each disk that the first segment is on.
    fn step_on_first_disks(&mut self) -> bool {
        self.forget_what_is_set_aside();
        let first = self.taken.iter().take(self.stripes);
        let found: Vec<Run> = first
            .filter_map(|run| {
                let area = self.disks.get(run.disk)?.first()?;
                Some(Run { disk: run.disk, start: area.start, length: area.length })
            })
            .collect();
        self.take(&found)
    }

    fn take(&mut self, found: &[Run]) -> bool {
        let length = found.iter().map(|run| run.length).min().unwrap_or(0).min(self.rows);
        if found.len() < self.stripes || length == 0 {
            return false;
        }
        for run in found {
            self.consume(run.disk, run.start, length);
            self.taken.push(Run { length, ..*run });
        }
        self.rows -= length;
        true
    }

    /// What a disk offers: its longest run or, where several are long enough, a shorter one of them.
    /// When it clings, LVM goes through to the last.
    fn candidate(&mut self, disk: usize, cling: Cling) -> Option<Run> {
        if cling == Cling::ToTaken && !self.taken.iter().any(|run| run.disk == disk) {
            return None;
        }
        let need = self.rows;
        let areas = self.disks.get_mut(disk)?;
        let mut found = None;
        let mut at = 0;
        while let Some(area) = areas.get_mut(at) {
            if cling == Cling::Free && found.is_some() && area.left < need {
                break;
            }
            if area.left > 0 {
                let length = area.left.min(need);
                area.left -= length;
                found = Some(Run { disk, start: area.start, length });
                if area.left > 0 {
                    let area = areas.remove(at);
                    at = insert(areas, area, area.left);
                }
            }
            at += 1;
        }
        found
    }

    fn consume(&mut self, disk: usize, start: u64, length: u64) {
        let Some(areas) = self.disks.get_mut(disk) else { return };
        let Some(at) = areas.iter().position(|area| area.start == start) else { return };
        let area = areas.remove(at);
        let left = area.length - length;
        if left > 0 {
            insert(areas, Area { start: start + length, length: left, left }, left);
        }
    }

    fn forget_what_is_set_aside(&mut self) {
        for areas in &mut self.disks {
            areas.iter_mut().for_each(|area| area.left = area.length);
            areas.sort_by_key(|area| Reverse(area.length));
        }
    }
}

/// Puts `area` before the first that is shorter than `size`; returns its place.
fn insert(areas: &mut Vec<Area>, area: Area, size: u64) -> usize {
    let at = areas.iter().position(|it| size > it.length).unwrap_or(areas.len());
    areas.insert(at, area);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(free: &[&[u64]], stripes: usize, rows: u64) -> bool {
        let mut runs = Vec::new();
        for (disk, lengths) in free.iter().enumerate() {
            let mut start = 0;
            for length in *lengths {
                runs.push(Run { disk, start, length: *length });
                start += length + 1;
            }
        }
        allocate(&runs, stripes, rows).is_some()
    }

    // LVM 2.03.16 said so.
    #[test]
    fn clinging_may_waste_a_row() {
        let free: &[&[u64]] = &[&[], &[21], &[4], &[18, 1]];
        assert!(!fits(free, 2, 22));
        assert!(fits(free, 2, 21));
    }

    #[test]
    fn a_linear_volume_takes_everything() {
        assert!(fits(&[&[3, 1, 2], &[], &[7]], 1, 13));
        assert!(!fits(&[&[3, 1, 2], &[], &[7]], 1, 14));
    }
}
