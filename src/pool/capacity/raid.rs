//! How much room there is for RAID volumes, each of whose legs has a disk of its own.

use std::{cmp::Reverse, path::PathBuf};

use super::Stock;
use crate::{
    lvm::{LEG_METADATA, Layout, Legs, PhysicalVolume, Raid, Stretch, disks_for, is_whole},
    units::Bytes,
    volume::Capacity,
};

/// The room for volumes of this kind, of `usable` extents on all disks together.
///
/// The largest is limited by the disk with the least room among as many as there are legs. What is
/// available is what several volumes could hold, none of whose legs share a disk.
pub(super) fn room(stock: &Stock, usable: u64, raid: &Raid) -> Capacity {
    let (legs, stripes) = (u64::from(raid.legs().max(1)), u64::from(raid.stripes));
    let bytes = |each: u64| {
        let rows = each.min(usable / legs).saturating_sub(LEG_METADATA);
        Bytes(rows.saturating_mul(stripes).saturating_mul(stock.extent.0))
    };
    let free = free(&stock.physical);
    Capacity { available: bytes(together(&free, legs)), largest: bytes(least(&free, raid)) }
}

/// The size, in extents, of the largest new volume of this kind that `lvcreate` accepts now; one row
/// more is refused. Every smaller one fits, too.
pub(super) fn largest(disks: &[PhysicalVolume], raid: &Raid) -> u64 {
    let rows = least(&free(disks), raid).saturating_sub(LEG_METADATA);
    rows.saturating_mul(u64::from(raid.stripes))
}

/// By how many extents a volume with these legs can grow, of `usable` ones on all disks together.
pub(super) fn growth(stock: &Stock, usable: u64, legs: &Legs) -> u64 {
    if !is_whole(&stock.physical) {
        return 0;
    }
    let disk = |device: &PathBuf| {
        let mut disks = stock.physical.iter().filter(|pv| pv.allocatable);
        disks.find(|pv| pv.device == *device).map_or(0, PhysicalVolume::free)
    };
    let least = legs.disks.iter().map(disk).min().unwrap_or(0);
    let rows = least.min(usable.checked_div(legs.disks.len() as u64).unwrap_or(0));
    rows.saturating_mul(legs.stripes)
}

/// The free extents of each disk that may be used, most first; of none while one is missing, as LVM
/// then refuses every change of the group.
fn free(disks: &[PhysicalVolume]) -> Vec<u64> {
    if !is_whole(disks) {
        return Vec::new();
    }
    let usable = disks.iter().filter(|pv| pv.takes_legs());
    let mut free: Vec<u64> = usable.map(PhysicalVolume::free).collect();
    free.sort_unstable_by(|a, b| b.cmp(a));
    free
}

/// What the fullest of the disks has of which there is one for each leg.
fn least(free: &[u64], raid: &Raid) -> u64 {
    let last = (raid.legs() as usize).checked_sub(1);
    last.and_then(|last| free.get(last)).copied().unwrap_or(0)
}

/// How many rows of `legs` extents fit, each row on different disks: no disk can have more of them
/// than there are rows.
fn together(free: &[u64], legs: u64) -> u64 {
    let fits = |rows: u64| {
        let sum = free.iter().fold(0, |sum: u64, it| sum.saturating_add((*it).min(rows)));
        sum >= rows.saturating_mul(legs)
    };
    let (mut most, mut refused) = (0, free.iter().sum::<u64>() / legs.max(1) + 1);
    while refused - most > 1 {
        let rows = most.midpoint(refused);
        if fits(rows) { most = rows } else { refused = rows }
    }
    most
}

/// What a volume will take of a group: so many extents on each of so many disks, which are one for
/// what may lie anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    legs: u32,
    each: u64,
}

impl Draw {
    /// What a new volume of this layout takes.
    pub fn of_new(layout: Layout, size: Bytes, extent: Bytes) -> Self {
        let extents = size.0.div_ceil(extent.0.max(1));
        match layout {
            Layout::Linear | Layout::Striped { .. } => Self { legs: 1, each: extents },
            Layout::Raid(raid) => Self { legs: raid.legs(), each: raid.extents_of_leg(extents) },
        }
    }

    /// What a volume of this layout takes to grow by `more`.
    pub fn of_growth(layout: Layout, more: Bytes, extent: Bytes) -> Self {
        let new = Self::of_new(layout, more, extent);
        match layout {
            Layout::Linear | Layout::Striped { .. } => new,
            Layout::Raid(_) => Self { each: new.each.saturating_sub(LEG_METADATA), ..new },
        }
    }

    /// Extents in all.
    pub fn extents(self) -> u64 {
        self.each.saturating_mul(u64::from(self.legs))
    }
}

impl Stock {
    /// Takes off what a volume will take, from where Tarn would put it, or LVM: a RAID on the disks
    /// with the most room, anything else in the longest free runs.
    pub fn draw(&mut self, draw: Draw) {
        self.free = self.free.saturating_sub(draw.extents());
        if draw.legs == 1 {
            take_longest(self.physical.iter_mut().flat_map(|pv| &mut pv.free_runs), draw.each);
            return;
        }
        // Where it does not fit, as its growth may not, as much as there is.
        let disks = disks_for(&self.physical, draw.legs, draw.each);
        let disks = disks.or_else(|| disks_for(&self.physical, draw.legs, 0)).unwrap_or_default();
        for at in disks {
            let runs = self.physical.get_mut(at).map(|pv| &mut pv.free_runs);
            take_longest(runs.into_iter().flatten(), draw.each);
        }
    }
}

/// Takes so many extents of these free runs, the longest first.
pub fn take_longest<'a>(runs: impl Iterator<Item = &'a mut Stretch>, mut count: u64) {
    let mut runs: Vec<&mut Stretch> = runs.collect();
    runs.sort_by_key(|run| Reverse(run.length));
    for run in runs {
        let taken = count.min(run.length);
        run.start += taken;
        run.length -= taken;
        count -= taken;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;
    use crate::lvm::RaidLevel;

    fn stock(free: &[u64]) -> Stock {
        let disk = |free: &u64| PhysicalVolume {
            device: format!("/dev/{free}").into(),
            uuid: String::new(),
            missing: false,
            allocatable: true,
            erring: false,
            extents: 100,
            free_runs: vec![
                Stretch { start: 0, length: free / 2 },
                Stretch { start: 90, length: free - free / 2 },
            ],
        };
        Stock {
            extent: Bytes::MIB,
            extents: 100 * free.len() as u64,
            free: free.iter().sum(),
            physical: free.iter().map(disk).collect(),
            thin: None,
            mounted: BTreeMap::new(),
        }
    }

    fn raid(level: RaidLevel, stripes: u32) -> Raid {
        let mirrors = level.mirrors().map_or(0, |it| *it.start());
        Raid { level, stripes, mirrors, stripe_size: None }
    }

    #[rstest]
    #[case::two_disks(&[10, 20], raid(RaidLevel::Raid1, 1), 9, 9)]
    #[case::the_emptiest_two(&[10, 20, 30], raid(RaidLevel::Raid1, 1), 19, 29)]
    #[case::one_large_disk(&[10, 20, 90], raid(RaidLevel::Raid1, 1), 19, 29)]
    #[case::too_few(&[10], raid(RaidLevel::Raid1, 1), 0, 0)]
    #[case::only_metadata(&[10, 1], raid(RaidLevel::Raid1, 1), 0, 0)]
    #[case::parity(&[10, 20, 30], raid(RaidLevel::Raid5, 2), 18, 18)]
    #[case::two_parities(&[10, 10, 10, 10, 8], raid(RaidLevel::Raid6, 3), 21, 21)]
    #[case::mirrored_stripes(&[10, 10, 10, 9], raid(RaidLevel::Raid10, 2), 16, 16)]
    fn rooms(#[case] free: &[u64], #[case] raid: Raid, #[case] most: u64, #[case] available: u64) {
        let stock = stock(free);
        let want = Capacity { available: Bytes::mib(available), largest: Bytes::mib(most) };
        assert_eq!(room(&stock, stock.free, &raid), want);
        assert_eq!(largest(&stock.physical, &raid), most);
    }

    #[test]
    fn what_is_kept_back_counts_for_every_leg() {
        let stock = stock(&[10, 20]);
        let room = room(&stock, 13, &raid(RaidLevel::Raid1, 1));
        assert_eq!((room.largest, room.available), (Bytes::mib(5), Bytes::mib(5)));
    }

    #[test]
    fn what_errs_has_no_room_for_legs() {
        let mut stock = stock(&[10, 20, 30]);
        stock.physical[2].erring = true;
        let room = room(&stock, stock.free, &raid(RaidLevel::Raid1, 1));
        assert_eq!((room.largest, room.available), (Bytes::mib(9), Bytes::mib(9)));
    }

    #[test]
    fn a_volume_grows_where_it_is() {
        let mut stock = stock(&[10, 20, 30]);
        let disks = vec!["/dev/10".into(), "/dev/30".into()];
        let legs = Legs::whole(disks, 1);
        assert_eq!((growth(&stock, 60, &legs), growth(&stock, 5, &legs)), (10, 2));
        stock.physical[1].missing = true;
        assert_eq!(growth(&stock, 60, &legs), 0);
    }

    #[test]
    fn what_is_promised_is_taken_off_where_it_will_be() {
        let mirror = Layout::Raid(raid(RaidLevel::Raid1, 1));
        let mut stock = stock(&[10, 20, 30]);
        stock.draw(Draw::of_new(mirror, Bytes::mib(14), Bytes::MIB));
        let free: Vec<u64> = stock.physical.iter().map(PhysicalVolume::free).collect();
        assert_eq!((free, stock.free), (vec![10, 5, 15], 30));
        stock.draw(Draw::of_growth(mirror, Bytes::mib(3), Bytes::MIB));
        stock.draw(Draw::of_new(Layout::Linear, Bytes::mib(8), Bytes::MIB));
        let free: Vec<u64> = stock.physical.iter().map(PhysicalVolume::free).collect();
        assert_eq!((free.iter().sum::<u64>(), stock.free), (16, 16));
    }
}
