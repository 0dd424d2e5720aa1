//! Where thin pools lie, and how they grow, on drawn disks and in tables.

use std::{collections::BTreeMap, path::PathBuf};

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::lvm::{Legs, Stretch};

const EXTENT: Bytes = Bytes::mib(4);

fn disk(at: usize, free: &[(u64, u64)]) -> PhysicalVolume {
    PhysicalVolume {
        device: format!("/dev/{at}").into(),
        uuid: at.to_string(),
        missing: false,
        allocatable: true,
        erring: false,
        extents: 4000,
        free_runs: free
            .iter()
            .map(|(start, length)| Stretch { start: *start, length: *length })
            .collect(),
    }
}

fn group(disks: Vec<PhysicalVolume>) -> Group {
    Group {
        name: "vg".parse().unwrap(),
        uuid: String::new(),
        extent: EXTENT,
        extents: 4000 * disks.len() as u64,
        free: disks.iter().map(PhysicalVolume::free).sum(),
        tags: Vec::new(),
        physical: disks,
        logical: Vec::new(),
        layers: Vec::new(),
        legs: Vec::new(),
        moving: BTreeMap::new(),
    }
}

/// Disks with so many free extents each, in one run.
fn open(free: &[u64]) -> Group {
    group(free.iter().enumerate().map(|(at, free)| disk(at, &[(10, *free)])).collect())
}

fn raid(level: RaidLevel, stripes: u32, mirrors: u32) -> Raid {
    Raid { level, stripes, mirrors, stripe_size: None }
}

fn extents(count: u64) -> Bytes {
    Bytes(count * EXTENT.0)
}

fn volume(name: &str, count: u64, kind: Kind, legs: Option<Legs>) -> LogicalVolume {
    LogicalVolume { legs, ..LogicalVolume::new(name.parse().unwrap(), extents(count), kind) }
}

/// A thin pool of so many extents on the first disks, as full as this.
fn with_pool(
    mut group: Group,
    data: &Raid,
    count: u64,
    full: (f64, f64),
) -> (Group, LogicalVolume) {
    let legs = |raid: &Raid| {
        let disks = group.physical.iter().take(raid.legs() as usize);
        Legs::whole(disks.map(|it| it.device.clone()).collect(), u64::from(raid.stripes))
    };
    let layers = vec![
        volume("p_tdata", count, Kind::Thick, Some(legs(data))),
        volume("p_tmeta", 1, Kind::Thick, Some(legs(&mirrored(data)))),
    ];
    let kind = Kind::ThinPool { data_percent: Some(full.0), metadata_percent: Some(full.1) };
    let pool = volume("p", count, kind, None);
    group.layers = layers;
    group.logical = vec![pool.clone()];
    (group, pool)
}

const GROW: Autoextend = Autoextend { threshold: 80, percent: 20 };

#[rstest]
#[case::mirror(raid(RaidLevel::Raid1, 1, 1), 2)]
#[case::two_copies(raid(RaidLevel::Raid1, 1, 2), 3)]
#[case::parity(raid(RaidLevel::Raid5, 3, 0), 2)]
#[case::two_parities(raid(RaidLevel::Raid6, 3, 0), 3)]
#[case::mirrored_stripes(raid(RaidLevel::Raid10, 2, 1), 2)]
fn the_metadata_bear_as_many_losses_as_the_data(#[case] data: Raid, #[case] copies: usize) {
    let parts = parts(&open(&[300; 6]), &data, extents(120)).unwrap();
    assert_eq!(parts.data.on.len(), data.legs() as usize);
    assert_eq!(parts.metadata.on.len(), copies);
    assert_eq!(parts.metadata.raid.losses(), data.losses());
    assert_eq!((parts.metadata.size, parts.chunk), (extents(1), Bytes(64 << 10)));
}

#[rstest]
#[case::an_extent(1, 1)]
#[case::all_of_one(1024, 1)]
#[case::one_more(1025, 2)]
fn room_for_metadata(#[case] data: u64, #[case] metadata: u64) {
    assert_eq!(metadata_for(extents(data), EXTENT), extents(metadata));
}

#[test]
fn large_pools_have_large_chunks_and_no_more_metadata_than_lvm_takes() {
    let mirror = raid(RaidLevel::Raid1, 1, 1);
    let mut large = open(&[0; 2]);
    for disk in &mut large.physical {
        disk.free_runs = vec![Stretch { start: 0, length: 1 << 40 }];
    }
    let chunk = |tib: u64| parts(&large, &mirror, Bytes(tib << 40)).unwrap().chunk.0 >> 10;
    assert_eq!([1, 4, 5, 8, 9].map(chunk), [64, 64, 128, 128, 256]);
    assert_eq!(metadata_for(Bytes(100 << 40), EXTENT), MOST_METADATA);
}

#[rstest]
#[case::too_few_disks(&[300], 100, "raid1 needs 2 disks that have 404Mi free each, and there are not so many")]
#[case::too_little_room(&[300, 100], 100, "raid1 needs 2 disks that have 404Mi free each, and there are not so many")]
#[case::none_for_metadata(
    &[101, 101], 100,
    "raid1 needs 2 disks that have 8Mi free each, and there are not so many, beside its data, for its metadata"
)]
fn what_does_not_fit_says_so(#[case] free: &[u64], #[case] size: u64, #[case] want: &str) {
    let why = parts(&open(free), &raid(RaidLevel::Raid1, 1, 1), extents(size)).unwrap_err();
    assert_eq!(why, want);
}

#[test]
fn it_fits_to_the_last_extent() {
    let mirror = raid(RaidLevel::Raid1, 1, 1);
    assert!(parts(&open(&[103, 103]), &mirror, extents(100)).is_ok());
    assert!(parts(&open(&[103, 103]), &mirror, extents(101)).is_err());
}

#[test]
fn what_lies_otherwise_is_seen() {
    let mirror = raid(RaidLevel::Raid1, 1, 1);
    let (mut group, pool) = with_pool(open(&[300; 3]), &mirror, 100, (0.0, 0.0));
    let lies = |group: &Group, raid: &Raid| lies_on(group, &pool.name, raid);
    assert!(lies(&group, &mirror));
    assert!(!lies(&group, &raid(RaidLevel::Raid1, 1, 2)));
    assert!(!lies(&group, &raid(RaidLevel::Raid5, 2, 0)));
    group.layers.pop();
    assert!(!lies(&group, &mirror), "the metadata lie on one disk");
}

#[test]
fn it_bears_a_loss_only_where_both_raids_do() {
    let (mut group, pool) =
        with_pool(open(&[300; 3]), &raid(RaidLevel::Raid1, 1, 1), 100, (0.0, 0.0));
    let thin = volume("v", 100, Kind::Thin(pool.name.clone()), None);
    assert!(bears_loss(&group, &pool) && bears_loss(&group, &thin));
    assert!(!bears_loss(&group, &volume("t", 9, Kind::Thick, None)));
    group.layers[1].legs.as_mut().unwrap().works = false;
    assert!(!bears_loss(&group, &pool) && !bears_loss(&group, &thin));
    group.layers.pop();
    assert!(!bears_loss(&group, &thin), "metadata without a copy");
}

fn sizes(growth: &[Growth]) -> Vec<(&str, u64)> {
    growth.iter().map(|it| (it.layer.as_str(), it.size.whole(EXTENT))).collect()
}

#[test]
fn the_metadata_grow_before_the_data_do() {
    let (group, pool) =
        with_pool(open(&[3000; 2]), &raid(RaidLevel::Raid1, 1, 1), 1000, (0.0, 0.0));
    let to = |count| growth(&group, &pool.name, extents(count)).map(|it| sizes(&it).len());
    assert_eq!((to(1000), to(1024)), (Ok(0), Ok(1)));
    let large = growth(&group, &pool.name, extents(2049)).unwrap();
    assert_eq!(sizes(&large), [("p_tmeta", 3), ("p_tdata", 2049)]);
    assert!(growth(&group, &pool.name, extents(1000 + 2998)).is_err(), "not with two of metadata");
    let alone = LogicalVolume { name: "q".parse().unwrap(), ..pool };
    let linear = growth(&group, &alone.name, extents(5000)).unwrap();
    assert_eq!(sizes(&linear), [("q", 5000)]);
}

#[rstest]
#[case::not_yet((79.9, 10.0), 0, &[])]
#[case::data((80.0, 10.0), 0, &[("p_tdata", 120)])]
#[case::metadata((10.0, 85.0), 0, &[("p_tmeta", 2)])]
#[case::both((90.0, 90.0), 0, &[("p_tmeta", 2), ("p_tdata", 120)])]
#[case::into_the_reserve_never((90.0, 0.0), 480, &[("p_tdata", 110)])]
#[case::metadata_first((90.0, 90.0), 497, &[("p_tmeta", 2)])]
#[case::no_room((90.0, 90.0), 499, &[])]
fn it_grows_by_itself(
    #[case] full: (f64, f64),
    #[case] reserve: u64,
    #[case] want: &[(&str, u64)],
) {
    let (group, pool) = with_pool(open(&[250; 2]), &raid(RaidLevel::Raid1, 1, 1), 100, full);
    assert_eq!(sizes(&extension(&group, &pool, GROW, extents(reserve))), want);
}

#[test]
fn a_pool_on_no_raids_grows_where_lvm_likes() {
    let (mut group, pool) =
        with_pool(open(&[10, 5]), &raid(RaidLevel::Raid1, 1, 1), 100, (85.0, 85.0));
    group.layers.clear();
    assert_eq!(sizes(&extension(&group, &pool, GROW, extents(3))), [("p", 112)]);
    assert_eq!(sizes(&extension(&group, &pool, GROW, extents(15))), []);
}

fn any_raid() -> impl Strategy<Value = Raid> {
    prop_oneof![
        (1..3u32).prop_map(|mirrors| raid(RaidLevel::Raid1, 1, mirrors)),
        (2..4u32).prop_map(|stripes| raid(RaidLevel::Raid5, stripes, 0)),
        (3..5u32).prop_map(|stripes| raid(RaidLevel::Raid6, stripes, 0)),
        (2..4u32).prop_map(|stripes| raid(RaidLevel::Raid10, stripes, 1)),
    ]
}

fn any_disks() -> impl Strategy<Value = Vec<Vec<(u64, u64)>>> {
    let runs = prop::collection::vec((1..5u64, 1..60u64), 0..4).prop_map(|gaps| {
        let mut end = 0;
        let run = |(gap, length): (u64, u64)| {
            let start = end + gap;
            end = start + length;
            (start, length)
        };
        gaps.into_iter().map(run).collect()
    });
    prop::collection::vec(runs, 1..8)
}

/// Nothing is taken twice, nor anything that is not free.
fn assert_free(group: &Group, on: &[&Place]) {
    let mut taken: Vec<(PathBuf, u64)> = Vec::new();
    for place in on {
        let disk = group.physical.iter().find(|it| it.device == place.device).unwrap();
        let numbers = place.stretches.iter().flat_map(|it| it.start..it.start + it.length);
        for number in numbers {
            let is_in = |run: &Stretch| (run.start..run.start + run.length).contains(&number);
            assert!(disk.free_runs.iter().any(is_in), "{number} is not free");
            let extent = (place.device.clone(), number);
            assert!(!taken.contains(&extent), "{number} is taken twice");
            taken.push(extent);
        }
    }
}

proptest! {
    #[test]
    fn legs_never_share_a_disk_nor_parts_an_extent(
        disks in any_disks(), data in any_raid(), size in 1..80u64,
    ) {
        let disks = disks.iter().enumerate().map(|(at, runs)| disk(at, runs)).collect();
        let group = group(disks);
        if let Ok(parts) = parts(&group, &data, extents(size)) {
            prop_assert!(parts.data.size >= extents(size));
            for part in [&parts.data, &parts.metadata] {
                let mut devices: Vec<_> = part.on.iter().map(|it| &it.device).collect();
                devices.sort();
                devices.dedup();
                prop_assert_eq!(devices.len(), part.raid.legs() as usize);
                let each = part.raid.extents_of_leg(part.size.whole(EXTENT));
                for place in &part.on {
                    let has: u64 = place.stretches.iter().map(|it| it.length).sum();
                    prop_assert_eq!(has, each);
                }
            }
            assert_free(&group, &parts.data.on.iter().chain(&parts.metadata.on).collect::<Vec<_>>());
        }
    }

    #[test]
    fn it_grows_as_far_as_it_may_and_not_further(
        disks in any_disks(), data in any_raid(), size in 1..80u64, reserve in 0..100u64,
        full in (0.0..100.0f64, 0.0..100.0f64), percent in 1..100u32,
    ) {
        prop_assume!(disks.len() >= data.legs() as usize);
        let disks = disks.iter().enumerate().map(|(at, runs)| disk(at, runs)).collect();
        let row = u64::from(data.stripes);
        let (group, pool) = with_pool(group(disks), &data, size * row, full);
        let grow = Autoextend { threshold: 50, percent };
        let grown = extension(&group, &pool, grow, extents(reserve));
        assert_free(&group, &grown.iter().flat_map(|it| &it.on).collect::<Vec<_>>());
        let taken = taken_by(&group, &pool, &grown);
        prop_assert!(taken == 0 || taken + reserve <= group.free);
        let wanted = pool.size.percent(u64::from(percent)).0.div_ceil(row * EXTENT.0);
        let data_grows = grown.iter().find(|it| it.layer.as_str() == "p_tdata");
        let rows = data_grows.map_or(0, |it| (it.size.whole(EXTENT) - size * row) / row);
        prop_assert!(rows <= wanted && (rows == 0 || full.0 >= 50.0));
        if full.0 >= 50.0 && full.1 < 50.0 && rows < wanted {
            // One row more fits on no account.
            let more = growth(&group, &pool.name, extents(size * row + (rows + 1) * row));
            let fits = more.is_ok_and(|it| taken_by(&group, &pool, &it) + reserve <= group.free);
            prop_assert!(!fits);
        }
    }
}
