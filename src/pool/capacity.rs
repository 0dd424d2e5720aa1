//! How large a volume LVM can make in a group now. Pure.

use crate::lvm::{Group, Layout};

/// The largest volume of a layout, in extents.
pub fn largest(group: &Group, layout: Layout) -> u64 {
    let usable = group.physical.iter().filter(|pv| pv.allocatable && !pv.missing);
    let mut runs: Vec<Vec<u64>> = usable.map(|pv| pv.free_runs.clone()).collect();
    let Layout::Striped { stripes, .. } = layout else { return runs.iter().flatten().sum() };
    let stripes = usize::try_from(stripes).unwrap_or(usize::MAX).max(1);
    let mut rows = 0;
    loop {
        // One area per disk, its longest; a segment is as long as the shortest of those it uses.
        runs.iter_mut().for_each(|of_disk| of_disk.sort_unstable());
        runs.sort_by_key(|of_disk| std::cmp::Reverse(of_disk.last().copied().unwrap_or(0)));
        let length = runs.get(stripes - 1).and_then(|it| it.last().copied()).unwrap_or(0);
        if length == 0 {
            return rows * stripes as u64;
        }
        rows += length;
        for area in runs.iter_mut().take(stripes).filter_map(|it| it.last_mut()) {
            *area -= length;
        }
    }
}
