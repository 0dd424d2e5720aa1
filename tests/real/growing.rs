//! Pools whose disks become larger.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::support::{
    calls::Csi,
    disks::Disks,
    driver::socket,
    machine::{run, wait_until},
    mib,
    wish::Wish,
};

/// By when a pool is larger, also on a busy machine: long before the look that comes without a change.
const SOON: Duration = Duration::from_secs(60);

/// A file that stands in for a disk which can grow.
struct Growing {
    file: PathBuf,
    device: String,
}

impl Growing {
    fn new(home: &Path, size: u64) -> Self {
        let file = home.join("disk.img");
        set_size(&file, size);
        let device = run("losetup", &["--find", "--show", file.to_str().unwrap()]);
        Self { file, device: device.trim().to_owned() }
    }

    /// Makes it larger; the kernel tells of it, as of every disk that has grown.
    fn grow(&self, size: u64) {
        set_size(&self.file, size);
        run("losetup", &["-c", &self.device]);
    }

    /// How many extents it has.
    fn extents(&self) -> u64 {
        let count = run("pvs", &["--noheadings", "-o", "pv_pe_count", &self.device]);
        count.trim().parse().unwrap()
    }
}

fn set_size(file: &Path, size: u64) {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(file).unwrap();
    file.set_len(size).unwrap();
}

/// A pool of a disk that can grow, which is driven by nobody yet.
fn pool_of_one(size: u64) -> (Disks, Growing) {
    let disks = Disks::new(0);
    let disk = Growing::new(&disks.ground.home, size);
    disks.pools(r#"{paths: ["/dev/loop*"], types: [Loop]}"#);
    (disks, disk)
}

#[test]
#[ignore = "guest: attaches loop devices"]
fn a_disk_that_grows_gives_its_pool_what_is_new() {
    let (disks, disk) = pool_of_one(mib(200));
    let driver = disks.start();
    let csi = Csi::connect(&socket(&disks.ground.home));
    csi.create_volume(Wish::new("v", "block", mib(100)).request()).unwrap();
    let room = || csi.get_capacity(Default::default()).unwrap().available_capacity;
    let before = room();
    csi.create_volume(Wish::new("w", "block", mib(150)).request()).unwrap_err();
    let began = Instant::now();
    disk.grow(mib(300));
    wait_until("the pool is larger", || room() > before);
    eprintln!("the pool was larger after {:?}", began.elapsed());
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!((room() - before).unsigned_abs(), mib(100));
    csi.create_volume(Wish::new("w", "block", mib(150)).request()).unwrap();
    driver.stop();
    // One that has grown while nobody looked.
    disk.grow(mib(400));
    assert!(disks.plan().contains(&format!("pvresize {}", disk.device)), "{}", disks.plan());
    disks.start().stop();
    assert!(disks.plan().contains("nothing to do"), "{}", disks.plan());
}

/// What is planned is what `pvresize` does: otherwise it would be done again and again.
#[test]
#[ignore = "guest: attaches loop devices"]
fn growth_is_planned_exactly_when_lvm_has_an_extent_more() {
    let size = mib(200);
    let (disks, disk) = pool_of_one(size);
    disks.start().stop();
    let mut grown = 0;
    for more in [512, 4096, mib(1) - 512, mib(1), mib(3), mib(4), mib(5) - 512, mib(7), mib(21)] {
        disk.grow(size + more);
        let is_planned = disks.plan().contains("pvresize");
        let before = disk.extents();
        run("pvresize", &["-qq", &disk.device]);
        assert_eq!(disk.extents() > before, is_planned, "{more}");
        assert!(disks.plan().contains("nothing to do"), "{more}: {}", disks.plan());
        grown += u32::from(is_planned);
    }
    assert!((3..9).contains(&grown), "{grown} of 9 sizes gave an extent");
}
