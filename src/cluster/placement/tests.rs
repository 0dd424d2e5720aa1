//! Where volumes go that are whole devices.

use std::collections::BTreeMap;

use super::*;
use crate::{
    fs::FsKind,
    lvm::{PhysicalVolume, Stretch},
    pool::capacity::SECTOR,
};

const EXT4: Purpose = Purpose::Filesystem(FsKind::Ext4);

fn view(gib: &[u64]) -> PoolView {
    let device = |gib: &u64| {
        let length = Bytes::gib(*gib).0 / SECTOR.0;
        PhysicalVolume {
            device: format!("/dev/{gib}").into(),
            uuid: String::new(),
            missing: false,
            allocatable: true,
            erring: false,
            extents: length,
            free_runs: vec![Stretch { start: 0, length }],
        }
    };
    let physical: Vec<_> = gib.iter().map(device).collect();
    let extents = physical.iter().map(|it| it.extents).sum();
    let spec = r#"{"wholeDevices": {"directories": ["/mnt/disks"]}}"#;
    PoolView {
        name: "whole".parse().unwrap(),
        spec: serde_json::from_str(spec).unwrap(),
        stock: Stock {
            extent: SECTOR,
            extents,
            free: extents,
            physical,
            thin: None,
            mounted: BTreeMap::new(),
        },
    }
}

#[test]
fn each_gets_the_smallest_device_that_fits_and_all_of_it() {
    let (node, view) = ("n1".parse().unwrap(), view(&[10, 20, 40]));
    let mut node = Candidate { node: &node, pools: vec![(&view, Promised::default())] };
    let parameters = Parameters::default();
    let mut sizes = Vec::new();
    for least in [1, 15, 15] {
        let size = SizeRange::at_least(Bytes::gib(least));
        let place = node.place(size, (EXT4, &parameters), None).unwrap();
        sizes.push(place.size);
        node.take(&place);
    }
    assert_eq!(sizes, [10, 20, 40].map(Bytes::gib));
    let none = node.place(SizeRange::at_least(Bytes::MIB), (EXT4, &parameters), None).unwrap_err();
    assert!(matches!(none, Error::NoRoom(_)), "{none}");
    assert_eq!(node.capacity(EXT4, &parameters), Capacity::default());
}

#[test]
fn a_device_over_the_limit_is_none() {
    let (node, view) = ("n1".parse().unwrap(), view(&[10, 20]));
    let node = Candidate { node: &node, pools: vec![(&view, Promised::default())] };
    let bytes = |gib| i64::try_from(Bytes::gib(gib).0).unwrap();
    let size = SizeRange::new(bytes(12), bytes(15)).unwrap();
    let said = node.place(size, (EXT4, &Parameters::default()), None).unwrap_err().to_string();
    assert!(
        said.contains("no free device of 12Gi to 15Gi; the largest free one has 20Gi"),
        "{said}"
    );
}

#[test]
fn a_mount_is_promised_only_to_whom_it_suits() {
    let (node, mut view) = ("n1".parse().unwrap(), view(&[10, 20]));
    view.stock.mounted.insert("/dev/20".into(), FsKind::Ext4);
    let mut node = Candidate { node: &node, pools: vec![(&view, Promised::default())] };
    let (parameters, size) = (Parameters::default(), SizeRange::at_least(Bytes::gib(15)));
    for purpose in [Purpose::Block, Purpose::Filesystem(FsKind::Xfs)] {
        assert_eq!(node.capacity(purpose, &parameters).largest, Bytes::gib(10));
        let said = node.place(size, (purpose, &parameters), None).unwrap_err();
        assert!(matches!(said, Error::NoRoom(_)), "{said}");
    }
    assert_eq!(node.capacity(EXT4, &parameters).largest, Bytes::gib(20));
    // What is promised of the mount leaves the device to others.
    let place = node.place(size, (EXT4, &parameters), None).unwrap();
    node.take(&place);
    assert_eq!(node.capacity(Purpose::Block, &parameters).largest, Bytes::gib(10));
    assert_eq!(node.capacity(EXT4, &parameters).largest, Bytes::gib(10));
}
