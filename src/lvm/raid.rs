//! RAID: of how many legs a volume is made, and on which disks Tarn puts them.
//!
//! LVM keeps the legs of a RAID apart only row by row (lvm2, `lib/metadata/lv_manip.c`): it gives the
//! longest free run it finds to the first leg, the next to the second. Where free runs are of different
//! lengths the legs change disks in their middle, even if there are just as many disks as legs, and
//! then a disk that fails takes several legs with it (2.03.16 did so). Where it finds runs of the same
//! length on every disk it keeps to the order in which the disks are named. So each leg gets a disk of
//! its own, and the extents are named, on each disk in stretches of the same lengths.

use std::{cmp::Reverse, collections::BTreeSet, ops::RangeInclusive, path::PathBuf};

use super::{LogicalVolume, LvName, PhysicalVolume};
use crate::units::Bytes;

/// Extents of each leg that hold no data, but what the kernel notes of the RAID: LVM gives it one,
/// beside the image (lvm2, `RAID_METADATA_AREA_LEN`).
pub const LEG_METADATA: u64 = 1;
/// How many legs LVM makes at most (lvm2, `DEFAULT_RAID_MAX_IMAGES`).
const MOST_LEGS: u32 = 64;

/// Which RAID (lvmraid(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaidLevel {
    /// Every leg has all data.
    Raid1,
    /// Stripes, and as much as one of them for parity: any leg may be lost.
    Raid5,
    /// Stripes, and as much as two of them for parity: any two legs may be lost.
    Raid6,
    /// Stripes, each of them mirrored.
    Raid10,
}

impl RaidLevel {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Raid1, Self::Raid5, Self::Raid6, Self::Raid10];

    /// What LVM calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raid1 => "raid1",
            Self::Raid5 => "raid5",
            Self::Raid6 => "raid6",
            Self::Raid10 => "raid10",
        }
    }

    /// Whether a volume works whose legs are missing where this says so. Those of RAID 10 are mirrored
    /// in pairs (lvm2 makes its layout `near`).
    pub fn works_without(self, is_missing: &[bool]) -> bool {
        let count = is_missing.iter().filter(|it| **it).count();
        match self {
            Self::Raid1 => count < is_missing.len(),
            Self::Raid5 => count <= 1,
            Self::Raid6 => count <= 2,
            Self::Raid10 => is_missing.chunks(2).all(|pair| pair.contains(&false)),
        }
    }

    /// How many stripes of data it may have; `None` where there are none.
    pub fn stripes(self) -> Option<RangeInclusive<u32>> {
        match self {
            Self::Raid1 => None,
            Self::Raid5 => Some(2..=MOST_LEGS - 1),
            Self::Raid6 => Some(3..=MOST_LEGS - 2),
            Self::Raid10 => Some(2..=MOST_LEGS / 2),
        }
    }

    /// How many copies of the data it may have beside the first; `None` where there are none.
    pub fn mirrors(self) -> Option<RangeInclusive<u32>> {
        match self {
            Self::Raid1 => Some(1..=9),
            // LVM makes no other (lvmraid(7)).
            Self::Raid10 => Some(1..=1),
            Self::Raid5 | Self::Raid6 => None,
        }
    }
}

/// How a RAID volume is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raid {
    /// Which RAID.
    pub level: RaidLevel,
    /// Over how many legs the data are spread, parity not counted; 1 for RAID 1.
    pub stripes: u32,
    /// How many copies of the data there are beside the first; 0 for RAID 5 and 6.
    pub mirrors: u32,
    /// Bytes written to one leg before the next. `None` is LVM's default, or that there are no stripes.
    pub stripe_size: Option<Bytes>,
}

impl Raid {
    /// Of how many legs it is made, each on a disk of its own.
    pub fn legs(&self) -> u32 {
        match self.level {
            RaidLevel::Raid1 => self.mirrors.saturating_add(1),
            RaidLevel::Raid5 => self.stripes.saturating_add(1),
            RaidLevel::Raid6 => self.stripes.saturating_add(2),
            RaidLevel::Raid10 => self.stripes.saturating_mul(self.mirrors.saturating_add(1)),
        }
    }

    /// How many legs it can lose, whichever they are.
    pub fn losses(&self) -> u32 {
        match self.level {
            RaidLevel::Raid1 | RaidLevel::Raid10 => self.mirrors,
            RaidLevel::Raid5 => 1,
            RaidLevel::Raid6 => 2,
        }
    }

    /// What each leg takes for a volume of so many extents, which are whole rows of its stripes.
    pub fn extents_of_leg(&self, extents: u64) -> u64 {
        extents.div_ceil(u64::from(self.stripes.max(1))).saturating_add(LEG_METADATA)
    }
}

/// How a RAID volume lies on the disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Legs {
    /// The device of each leg's disk, in the order of the legs. A leg that somebody has spread over
    /// several disks counts as on the one that has the most of it.
    pub disks: Vec<PathBuf>,
    /// Further disks that have something of it, such as the metadata of a leg whose data lie elsewhere. LVM
    /// puts no new leg there.
    pub beside: Vec<PathBuf>,
    /// How many of the legs' sizes the volume's size is.
    pub stripes: u64,
    /// Whether it works: it has lost no more legs with disks that are missing than it can.
    pub works: bool,
    /// The legs that it has lost.
    pub lost: Vec<LostLeg>,
    /// The devices of disks that are there, and whose legs the kernel has shut out after an error: it goes on
    /// without them until the volume is refreshed (lvmraid(7), "refresh needed").
    pub shut_out: Vec<PathBuf>,
}

/// A leg that lies on a disk which is missing, if only in part. One that lies on several is told several
/// times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostLeg {
    /// Its place among the legs.
    pub leg: usize,
    /// LVM's own identity of the disk's physical volume.
    pub disk: String,
}

impl Legs {
    /// Those of a volume that has lost none, each on a disk of its own.
    pub fn whole(disks: Vec<PathBuf>, stripes: u64) -> Self {
        let (beside, lost, shut_out) = (Vec::new(), Vec::new(), Vec::new());
        Self { disks, beside, stripes, works: true, lost, shut_out }
    }

    /// What each leg has of a volume of so many extents.
    pub fn extents_of_leg(&self, extents: u64) -> u64 {
        self.growth_of_leg(extents).saturating_add(LEG_METADATA)
    }

    /// What each leg takes when the volume grows by so many extents.
    pub fn growth_of_leg(&self, extents: u64) -> u64 {
        extents.div_ceil(self.stripes.max(1))
    }
}

/// What lies of a RAID volume's leg at one place, be it data or the leg's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegStretch {
    /// The volume.
    pub volume: LvName,
    /// The number that LVM gives the leg.
    pub leg: u32,
    /// LVM's own identity of the disk's physical volume.
    pub disk: String,
    /// Its extents.
    pub stretch: Stretch,
}

/// Extents beside each other on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The first.
    pub start: u64,
    /// How many.
    pub length: u64,
}

/// Where a leg lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The device of its disk.
    pub device: PathBuf,
    /// Its extents.
    pub stretches: Vec<Stretch>,
}

/// Notes which disks of a group err, from the legs of its volumes and of what its thin pools lie on.
pub(super) fn note_erring<'a>(
    physical: &mut [PhysicalVolume],
    raids: impl Iterator<Item = &'a LogicalVolume>,
) {
    let legs = raids.filter_map(|lv| lv.legs.as_ref());
    let shut_out: BTreeSet<&PathBuf> = legs.flat_map(|legs| &legs.shut_out).collect();
    for pv in physical {
        pv.erring = shut_out.contains(&pv.device);
    }
}

/// On which disks, by their places in the group, a new volume lies whose `legs` take `each` extents:
/// on those with the most free extents, so that what is left is as even as can be. `None` where they
/// have not so many.
pub fn disks_for(physical: &[PhysicalVolume], legs: u32, each: u64) -> Option<Vec<usize>> {
    let usable = physical.iter().enumerate().filter(|(_, pv)| pv.takes_legs());
    let mut disks: Vec<(usize, u64)> = usable.map(|(at, pv)| (at, pv.free())).collect();
    // Stable: equal ones stay in the order of the group.
    disks.sort_by_key(|(_, free)| Reverse(*free));
    disks.retain(|(_, free)| *free >= each);
    disks.truncate(legs as usize);
    (disks.len() == legs as usize).then(|| disks.into_iter().map(|(at, _)| at).collect())
}

/// Where new legs lie that take `each` extents, every one on a disk of its own, as [`disks_for`] chooses.
pub fn places_apart(physical: &[PhysicalVolume], legs: u32, each: u64) -> Option<Vec<Place>> {
    let disks = disks_for(physical, legs, each)?;
    let disks: Option<Vec<_>> = disks.iter().map(|at| physical.get(*at)).collect();
    places(&disks?, each)
}

/// Where what the legs of a RAID grow by lies, `each` extents on the disk of each.
pub fn places_to_grow(physical: &[PhysicalVolume], legs: &Legs, each: u64) -> Option<Vec<Place>> {
    let disk = |device: &PathBuf| physical.iter().find(|pv| pv.is_open() && pv.device == *device);
    let disks: Option<Vec<_>> = legs.disks.iter().map(disk).collect();
    places(&disks?, each)
}

/// Where `each` extents lie on every one of these disks: in their longest free runs, in stretches that
/// are as long on one disk as on the other. `None` where one of them has not so many.
pub fn places(disks: &[&PhysicalVolume], each: u64) -> Option<Vec<Place>> {
    let mut free: Vec<Vec<Stretch>> = disks.iter().map(|pv| shortest_first(pv)).collect();
    let named = disks.iter().map(|pv| Place { device: pv.device.clone(), stretches: Vec::new() });
    let mut places: Vec<Place> = named.collect();
    let mut left = each;
    while left > 0 {
        let lengths = free.iter().map(|runs| runs.last().map_or(0, |run| run.length));
        let length = lengths.min().unwrap_or(0).min(left);
        if length == 0 {
            return None;
        }
        for (runs, place) in free.iter_mut().zip(&mut places) {
            let Stretch { start, length: all } = runs.pop()?;
            place.stretches.push(Stretch { start, length });
            if all > length {
                runs.push(Stretch { start: start + length, length: all - length });
            }
        }
        left -= length;
    }
    Some(places)
}

fn shortest_first(disk: &PhysicalVolume) -> Vec<Stretch> {
    let mut runs: Vec<Stretch> =
        disk.free_runs.iter().filter(|it| it.length > 0).copied().collect();
    runs.sort_by_key(|run| (run.length, Reverse(run.start)));
    runs
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn raid(level: RaidLevel, stripes: u32, mirrors: u32) -> Raid {
        Raid { level, stripes, mirrors, stripe_size: None }
    }

    #[rstest]
    #[case::mirror(raid(RaidLevel::Raid1, 1, 1), 2, 12)]
    #[case::two_copies(raid(RaidLevel::Raid1, 1, 2), 3, 12)]
    #[case::one_parity(raid(RaidLevel::Raid5, 3, 0), 4, 4)]
    #[case::two_parities(raid(RaidLevel::Raid6, 3, 0), 5, 4)]
    #[case::mirrored_stripes(raid(RaidLevel::Raid10, 2, 1), 4, 6)]
    #[case::mirrored_three_stripes(raid(RaidLevel::Raid10, 3, 1), 6, 4)]
    fn how_many_legs(#[case] raid: Raid, #[case] count: u32, #[case] rows: u64) {
        assert_eq!((raid.legs(), raid.extents_of_leg(12)), (count, rows + 1));
        let stripes = raid.stripes.into();
        let there = Legs::whole(Vec::new(), stripes);
        assert_eq!((there.extents_of_leg(12), there.growth_of_leg(12)), (rows + 1, rows));
    }

    #[rstest]
    #[case(RaidLevel::Raid1, "x.x", true)]
    #[case(RaidLevel::Raid1, "xx", false)]
    #[case(RaidLevel::Raid5, ".x.", true)]
    #[case(RaidLevel::Raid5, "xx.", false)]
    #[case(RaidLevel::Raid6, "xx...", true)]
    #[case(RaidLevel::Raid6, "xxx..", false)]
    #[case(RaidLevel::Raid10, "x..x", true)]
    #[case(RaidLevel::Raid10, "..xx", false)]
    fn what_may_be_missing(#[case] level: RaidLevel, #[case] legs: &str, #[case] works: bool) {
        let is_missing: Vec<bool> = legs.chars().map(|leg| leg == 'x').collect();
        assert_eq!(level.works_without(&is_missing), works);
    }

    /// A disk with free runs of these lengths, each ten extents behind the start of the one before.
    fn disk(free: &[u64]) -> PhysicalVolume {
        let run = |(at, length): (u64, &u64)| Stretch { start: 10 * at, length: *length };
        PhysicalVolume {
            device: "/dev/a".into(),
            uuid: String::new(),
            missing: false,
            allocatable: true,
            erring: false,
            extents: 64,
            free_runs: (0..).zip(free).map(run).collect(),
        }
    }

    #[test]
    fn stretches_are_as_long_on_each_disk() {
        let (one, other) = (disk(&[2, 5, 3]), disk(&[4, 1, 4]));
        let stretches = |each| -> Option<Vec<Vec<(u64, u64)>>> {
            let pair = |it: &Stretch| (it.start, it.length);
            let places = places(&[&one, &other], each)?;
            Some(places.iter().map(|it| it.stretches.iter().map(pair).collect()).collect())
        };
        let want = vec![vec![(10, 4), (14, 1), (20, 2)], vec![(0, 4), (20, 1), (21, 2)]];
        assert_eq!(stretches(7), Some(want));
        assert!(stretches(9).is_some());
        assert_eq!(stretches(10), None);
        assert_eq!(stretches(0), Some(vec![vec![], vec![]]));
    }

    #[test]
    fn the_emptiest_disks_are_taken() {
        let mut disks = vec![disk(&[4]), disk(&[3, 3]), disk(&[5]), disk(&[5])];
        assert_eq!(disks_for(&disks, 2, 5), Some(vec![1, 2]));
        assert_eq!(disks_for(&disks, 3, 5), Some(vec![1, 2, 3]));
        assert_eq!(disks_for(&disks, 4, 5), None);
        disks[1].allocatable = false;
        disks[2].missing = true;
        assert_eq!(disks_for(&disks, 2, 1), Some(vec![3, 0]));
    }
}
