//! How much room there is where each device is one volume, whole.

use super::Stock;
use crate::{
    fs::FsKind,
    lvm::PhysicalVolume,
    units::Bytes,
    volume::{Capacity, Parameters, PoolName, Purpose, SizeRange},
};

/// What is an extent where a volume is a whole device: the size of each is a whole number of them.
pub const SECTOR: Bytes = Bytes(512);

/// Whether a device is given out next: nothing of it is taken.
fn is_free(device: &PhysicalVolume) -> bool {
    device.is_open() && device.extents > 0 && device.free() == device.extents
}

/// Why a wish cannot have a file system that is there already, mounted; it names the field.
pub fn unfit(kind: FsKind, purpose: Purpose, parameters: &Parameters) -> Option<String> {
    let other = match purpose {
        Purpose::Block => {
            return Some("volume_capability.block: a mount is never given as raw block".to_owned());
        }
        Purpose::Filesystem(it) => (it != kind).then_some(it),
    };
    let has_options = parameters.mkfs.as_ref().is_some_and(|it| !it.trim().is_empty());
    match (other, has_options, parameters.wipe) {
        (Some(it), _, _) => {
            Some(format!("volume_capability.mount.fs_type: {it} is wanted, and it has {kind}"))
        }
        (None, true, _) => Some(
            "parameters[mkfsOptions]: the file system of a mount was made by others".to_owned(),
        ),
        (None, false, Some(_)) => Some(
            "parameters[wipe]: what is in a mount is removed, and no class says otherwise"
                .to_owned(),
        ),
        (None, false, None) => None,
    }
}

impl Stock {
    /// What of it suits a wish: not every mount does.
    pub fn fit_for(mut self, purpose: Purpose, parameters: &Parameters) -> Self {
        let mounted = &self.mounted;
        let suits = |it: &PhysicalVolume| {
            mounted.get(&it.device).is_none_or(|kind| unfit(*kind, purpose, parameters).is_none())
        };
        self.physical.retain(suits);
        self
    }
}

/// All devices that are free, and the largest of them.
pub(super) fn room(stock: &Stock) -> Capacity {
    let free = stock.physical.iter().filter(|it| is_free(it));
    let room = |device: &PhysicalVolume| {
        let size = Bytes(device.extents.saturating_mul(stock.extent.0));
        Capacity { available: size, largest: size }
    };
    free.map(room).sum()
}

/// The size of the volume that a wish for this one gets: that of the smallest free device in its range.
pub fn fitting(stock: &Stock, size: SizeRange) -> Option<Bytes> {
    let free = stock.physical.iter().filter(|it| is_free(it));
    let sizes = free.map(|it| Bytes(it.extents.saturating_mul(stock.extent.0)));
    sizes.filter(|it| *it >= size.least() && size.allows(*it)).min()
}

/// Why there is no device for a volume of a size in this range.
pub fn no_device(pool: &PoolName, size: SizeRange, largest: Bytes) -> String {
    let most = size.most().map(|it| format!(" to {it}")).unwrap_or_default();
    let least = size.least();
    match largest {
        Bytes::ZERO => format!("pool {pool} has no free device"),
        largest => format!(
            "pool {pool} has no free device of {least}{most}; the largest free one has {largest}"
        ),
    }
}

/// Takes the smallest free device that holds a volume of `size`, all of it.
pub fn take_smallest(stock: &mut Stock, size: Bytes) {
    let extents = size.0.div_ceil(stock.extent.0.max(1));
    let fits = stock.physical.iter_mut().filter(|it| is_free(it) && it.extents >= extents);
    if let Some(device) = fits.min_by_key(|it| it.extents) {
        stock.free = stock.free.saturating_sub(device.extents);
        device.free_runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;
    use crate::{device::Wipe, lvm::Stretch};

    /// Devices of so many GiB; those that are not free are taken.
    fn stock(devices: &[(u64, bool)]) -> Stock {
        let device = |&(size, is_free): &(u64, bool)| {
            let length = Bytes::gib(size).0 / SECTOR.0;
            PhysicalVolume {
                device: format!("/dev/{size}").into(),
                uuid: String::new(),
                missing: false,
                allocatable: true,
                erring: false,
                extents: length,
                free_runs: is_free.then_some(Stretch { start: 0, length }).into_iter().collect(),
            }
        };
        let physical: Vec<_> = devices.iter().map(device).collect();
        let free = physical.iter().map(PhysicalVolume::free).sum();
        let extents = physical.iter().map(|it| it.extents).sum();
        Stock { extent: SECTOR, extents, free, physical, thin: None, mounted: BTreeMap::new() }
    }

    fn range(required: u64, limit: u64) -> SizeRange {
        let bytes = |gib: u64| i64::try_from(Bytes::gib(gib).0).unwrap();
        SizeRange::new(bytes(required), bytes(limit)).unwrap()
    }

    #[test]
    fn what_is_free_is_room() {
        let stock = stock(&[(10, true), (40, false), (20, true)]);
        let want = Capacity { available: Bytes::gib(30), largest: Bytes::gib(20) };
        assert_eq!(room(&stock), want);
    }

    #[rstest]
    #[case::exactly(range(10, 0), Some(10))]
    #[case::the_smallest_that_fits(range(11, 0), Some(20))]
    #[case::within_the_limit(range(5, 10), Some(10))]
    #[case::none_within_the_limit(range(11, 19), None)]
    #[case::larger_than_any(range(41, 0), None)]
    #[case::no_wish(range(0, 0), Some(10))]
    #[case::only_a_limit(range(0, 15), Some(10))]
    fn sizes(#[case] wish: SizeRange, #[case] want: Option<u64>) {
        let stock = stock(&[(40, true), (20, true), (10, true), (15, false)]);
        assert_eq!(fitting(&stock, wish), want.map(Bytes::gib));
    }

    #[rstest]
    #[case(Purpose::Filesystem(FsKind::Xfs), "", None, None)]
    #[case(Purpose::Filesystem(FsKind::Ext4), "", None, Some("volume_capability.mount.fs_type: "))]
    #[case(Purpose::Block, "", None, Some("volume_capability.block: "))]
    #[case(Purpose::Filesystem(FsKind::Xfs), "-m crc=1", None, Some("parameters[mkfsOptions]: "))]
    #[case(Purpose::Filesystem(FsKind::Xfs), "", Some(Wipe::Zero), Some("parameters[wipe]: "))]
    fn what_a_mount_cannot_be(
        #[case] purpose: Purpose,
        #[case] mkfs: &str,
        #[case] wipe: Option<Wipe>,
        #[case] refused: Option<&str>,
    ) {
        let parameters = Parameters { wipe, mkfs: Some(mkfs.to_owned()), ..Parameters::default() };
        let found = unfit(FsKind::Xfs, purpose, &parameters);
        assert_eq!(found.is_some(), refused.is_some(), "{found:?}");
        assert!(found.unwrap_or_default().starts_with(refused.unwrap_or_default()));
        // A device serves what the larger mount cannot.
        let mut stock = stock(&[(10, true), (20, true)]);
        stock.mounted.insert("/dev/20".into(), FsKind::Xfs);
        let largest = room(&stock.fit_for(purpose, &parameters)).largest;
        assert_eq!(largest, Bytes::gib(if refused.is_some() { 10 } else { 20 }));
    }

    #[test]
    fn what_is_promised_goes_entirely() {
        let mut stock = stock(&[(10, true), (20, true), (40, true)]);
        take_smallest(&mut stock, Bytes::gib(11));
        assert_eq!(room(&stock).available, Bytes::gib(50));
        take_smallest(&mut stock, Bytes::gib(11));
        assert_eq!(room(&stock), Capacity { available: Bytes::gib(10), largest: Bytes::gib(10) });
        take_smallest(&mut stock, Bytes::gib(11));
        assert_eq!(stock.free, Bytes::gib(10).0 / SECTOR.0);
    }
}
