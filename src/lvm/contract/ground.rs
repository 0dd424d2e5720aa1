//! The groups that the contract runs on, and short ways to say what its rules say often.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
    sync::Mutex,
};

use super::EXTENT;
use crate::{
    lvm::{
        Backing, CreateGroup, CreatePhysicalVolume, CreateSnapshot, CreateThinPool, CreateVolume,
        Error, Group, Layout, LogicalVolume, LvName, Lvm, PhysicalVolume, Place, PvMark, Raid,
        RaidLevel, SnapshotKind, Stretch, Tag, VgName, disks_for,
        fake::FakeLvm,
        places,
        tools::{Exec, LvmTools},
    },
    units::Bytes,
};

/// A group under test, with short ways to say what tests say often.
pub(crate) struct Ground<'a> {
    pub(crate) lvm: &'a dyn Lvm,
    pub(crate) vg: VgName,
    pub(crate) fate: &'a dyn Fate,
}

/// What happens to volumes without Tarn's doing.
pub(crate) trait Fate {
    /// Something opens the volume, or lets go of it.
    fn set_open(&self, lv: &str, open: bool);
    /// An interrupted command leaves it suspended.
    fn suspend(&self, lv: &str);
    /// An interrupted command leaves a table of it that leads nowhere, loaded beside the one in force.
    fn prepare(&self, lv: &str);
    /// Whether the table of it that is in force is the right one.
    fn is_led_well(&self, lv: &str) -> bool;
    /// An interrupted command leaves a thin volume in the group but not in its pool.
    fn lose_in_pool(&self, lv: &str);
    /// The disk of that number goes away from the group, or comes back.
    fn set_missing(&self, disk: usize, missing: bool);
    /// The disk of that number, which was missing and is forgotten, is there again, and empty.
    fn empty(&self, disk: usize);
    /// The data of a thin pool cannot be written for a while, in which something is written to `lv` of it.
    fn give_up(&self, pool: &str, lv: &str);
    /// An interrupted activation leaves a RAID volume's legs active, and it is not.
    fn cut_activation(&self, lv: &str);
    /// Waits until the legs of a RAID volume are the same: before that none may be missing.
    fn wait_for_sync(&self, lv: &str);
}

pub(super) fn lv(name: &str) -> LvName {
    name.parse().unwrap()
}

pub(super) fn tags(tags: &[&str]) -> Vec<Tag> {
    tags.iter().map(|tag| tag.parse().unwrap()).collect()
}

pub(crate) fn extents(count: u64) -> Bytes {
    Bytes(count * EXTENT.0)
}

pub(crate) fn striped(stripes: u32) -> Layout {
    Layout::Striped { stripes, stripe_size: None }
}

pub(crate) fn raid(level: RaidLevel, stripes: u32) -> Raid {
    let mirrors = level.mirrors().map_or(0, |it| *it.start());
    Raid { level, stripes, mirrors, stripe_size: None }
}

impl Ground<'_> {
    pub(crate) fn report(&self) -> Group {
        self.lvm.report(&self.vg).unwrap()
    }

    /// Empties what was the first disk of the group, and has it join anew.
    pub(super) fn bring_back_empty(&self, before: &Group) {
        self.fate.empty(0);
        let device = before.physical[0].device.clone();
        let (mark, metadata) = (PvMark::of("a test"), Bytes::mib(4));
        let anew = CreatePhysicalVolume { device: device.clone(), mark, metadata };
        self.lvm.create_physical_volume(&anew).unwrap();
        self.lvm.extend_group(&self.vg, &[device]).unwrap();
    }

    pub(super) fn free(&self) -> u64 {
        self.report().free
    }

    pub(crate) fn seen(&self, name: &str) -> LogicalVolume {
        self.find(name).unwrap_or_else(|| panic!("no volume {name}"))
    }

    pub(crate) fn find(&self, name: &str) -> Option<LogicalVolume> {
        self.report().logical.into_iter().find(|it| it.name.as_str() == name)
    }

    pub(crate) fn create(&self, name: &str, size: Bytes, backing: Backing) -> Result<(), Error> {
        self.create_on(name, size, backing, Vec::new())
    }

    fn create_on(
        &self,
        name: &str,
        size: Bytes,
        backing: Backing,
        on: Vec<Place>,
    ) -> Result<(), Error> {
        let (vg, name, tags) = (self.vg.clone(), lv(name), tags(&["b=2", "a=1"]));
        self.lvm.create_volume(&CreateVolume { vg, name, size, backing, on, tags })
    }

    /// Makes a RAID volume as Tarn does, on the disks with the most free extents. What does not fit
    /// there may lie anywhere on them.
    pub(crate) fn raid(&self, name: &str, count: u64, raid: Raid) -> Result<(), Error> {
        let group = self.report();
        let disks = disks_for(&group.physical, raid.legs(), 0).unwrap_or_default();
        let disks: Vec<_> = disks.into_iter().map(|at| &group.physical[at]).collect();
        let on = places(&disks, raid.extents_of_leg(count)).unwrap_or_else(|| anywhere(&disks));
        self.create_on(name, extents(count), Backing::Thick(Layout::Raid(raid)), on)
    }

    pub(crate) fn thick(&self, name: &str, count: u64) -> Result<(), Error> {
        self.create(name, extents(count), Backing::Thick(Layout::Linear))
    }

    pub(super) fn thin(&self, name: &str, size: Bytes) -> Result<(), Error> {
        self.create(name, size, Backing::Thin(lv("pool")))
    }

    pub(super) fn pool(&self, count: u64, layout: Layout) -> Result<(), Error> {
        let (vg, name) = (self.vg.clone(), lv("pool"));
        self.lvm.create_thin_pool(&CreateThinPool { vg, name, size: extents(count), layout })
    }

    pub(super) fn snapshot(
        &self,
        origin: &str,
        name: &str,
        kind: SnapshotKind,
    ) -> Result<(), Error> {
        let (vg, origin, name) = (self.vg.clone(), lv(origin), lv(name));
        self.lvm.create_snapshot(&CreateSnapshot { vg, origin, name, kind, tags: tags(&["s=1"]) })
    }

    /// Grows a volume, a RAID on the disks of its legs.
    pub(crate) fn extend(&self, name: &str, size: Bytes) -> Result<(), Error> {
        let on = self.lvm.report(&self.vg).ok().and_then(|group| {
            let found = group.logical.iter().find(|it| it.name.as_str() == name)?;
            let legs = found.legs.as_ref()?;
            let disk =
                |device: &PathBuf| group.physical.iter().find(|it| it.device == *device).unwrap();
            let disks: Vec<_> = legs.disks.iter().map(disk).collect();
            let more = legs.growth_of_leg(size.saturating_sub(found.size).whole(EXTENT));
            places(&disks, more).or_else(|| Some(anywhere(&disks)))
        });
        self.lvm.extend(&self.vg, &lv(name), size, &on.unwrap_or_default())
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        self.lvm.remove(&self.vg, &lv(name))
    }
}

/// All of these disks.
fn anywhere(disks: &[&PhysicalVolume]) -> Vec<Place> {
    let all = |pv: &&PhysicalVolume| Place {
        device: pv.device.clone(),
        stretches: vec![Stretch { start: 0, length: pv.extents }],
    };
    disks.iter().map(all).collect()
}

/// The fake's group.
pub(super) const FAKE: &str = "vg0";

impl Fate for FakeLvm {
    fn set_open(&self, lv: &str, open: bool) {
        Self::set_open(self, FAKE, lv, open);
    }

    fn suspend(&self, lv: &str) {
        Self::suspend(self, FAKE, lv);
    }

    fn prepare(&self, lv: &str) {
        Self::prepare(self, FAKE, lv);
    }

    fn is_led_well(&self, lv: &str) -> bool {
        Self::is_led_well(self, FAKE, lv)
    }

    fn lose_in_pool(&self, lv: &str) {
        Self::lose_in_pool(self, FAKE, lv);
    }

    fn set_missing(&self, disk: usize, missing: bool) {
        Self::set_missing(self, FAKE, disk, missing);
    }

    fn empty(&self, disk: usize) {
        self.resize_device(format!("/dev/fake-{FAKE}-{disk}"), extents(257));
    }

    fn give_up(&self, pool: &str, _: &str) {
        self.fail_pool(FAKE, pool);
    }

    fn cut_activation(&self, lv: &str) {
        self.deactivate(&FAKE.parse().unwrap(), &lv.parse().unwrap()).unwrap();
    }

    fn wait_for_sync(&self, _: &str) {}
}

/// A group on the guest's scratch disks; removed when dropped, also after a panic.
pub(crate) struct ScratchGroup {
    lvm: LvmTools,
    vg: VgName,
    devices: Vec<String>,
    opened: Mutex<Option<File>>,
}

impl ScratchGroup {
    /// Makes a group of the first `count` disks that `TARN_TEST_DISKS` lists.
    pub(crate) fn new(count: usize) -> Self {
        let guest = std::env::var_os("TARN_GUEST").is_some();
        assert!(guest, "this test wipes disks: tests/guest/boot runs it");
        let disks = std::env::var("TARN_TEST_DISKS");
        let six = "/dev/ubda:/dev/ubdb:/dev/ubdc:/dev/ubdd:/dev/ubde:/dev/ubdf";
        let disks = disks.unwrap_or_else(|_| six.to_owned());
        let devices: Vec<String> = disks.split(':').take(count).map(str::to_owned).collect();
        assert_eq!(devices.len(), count, "TARN_TEST_DISKS lists too few disks");
        by_hand(
            "wipefs",
            ["--all", "--quiet"].into_iter().chain(devices.iter().map(String::as_str)),
        );
        let lvm = LvmTools::new(Box::new(Exec));
        let vg: VgName = "tarn-test".parse().unwrap();
        let paths: Vec<PathBuf> = devices.iter().map(Into::into).collect();
        for device in &paths {
            let (mark, metadata) = (PvMark::of("a test"), Bytes::mib(4));
            let wanted = CreatePhysicalVolume { device: device.clone(), mark, metadata };
            lvm.create_physical_volume(&wanted).unwrap();
        }
        let wanted = CreateGroup { vg: vg.clone(), devices: paths, tags: Vec::new() };
        lvm.create_group(&wanted).unwrap();
        Self { lvm, vg, devices, opened: Mutex::default() }
    }

    pub(crate) fn ground(&self) -> Ground<'_> {
        Ground { lvm: &self.lvm, vg: self.vg.clone(), fate: self }
    }

    /// The device-mapper name of a volume: hyphens within a name are doubled.
    pub(super) fn mapped(&self, lv: &str) -> String {
        format!("{}-{lv}", self.vg.as_str().replace('-', "--"))
    }

    /// Removes every volume.
    pub(crate) fn clear(&self) {
        by_hand("lvremove", ["--yes", self.vg.as_str()]);
    }
}

impl Fate for ScratchGroup {
    fn set_open(&self, lv: &str, open: bool) {
        let file = open.then(|| File::open(format!("/dev/{}/{lv}", self.vg)).unwrap());
        *self.opened.lock().unwrap() = file;
    }

    fn suspend(&self, lv: &str) {
        by_hand("dmsetup", ["suspend", &self.mapped(lv)]);
    }

    /// It leads to a device that has no table in force, as that of a move that has not begun.
    fn prepare(&self, lv: &str) {
        let (of, left) = (self.mapped(lv), self.mapped("left"));
        let group = by_hand("vgs", ["--noheadings", "--options", "vg_uuid", self.vg.as_str()]);
        let uuid = format!("LVM-{}{}", group.trim().replace('-', ""), "x".repeat(32));
        let table = by_hand("dmsetup", ["table", &of]);
        let size = table.split(' ').nth(1).unwrap();
        // One that LVM has put in force before, and that nothing leads to any more.
        drop(attempt("dmsetup", ["remove", &left]));
        by_hand("dmsetup", ["create", &left, "--notable", "--uuid", &uuid]);
        by_hand("dmsetup", ["load", &left, "--table", &format!("0 {size} zero")]);
        let number = by_hand("dmsetup", ["info", "-c", "--noheadings", "-o", "major,minor", &left]);
        let table = format!("0 {size} linear {} 0", number.trim());
        by_hand("dmsetup", ["load", &of, "--table", &table]);
    }

    fn is_led_well(&self, lv: &str) -> bool {
        let from = format!("if=/dev/{}/{lv}", self.vg);
        attempt("dd", [from.as_str(), "of=/dev/null", "bs=4096", "count=1", "iflag=direct"]).is_ok()
    }

    fn lose_in_pool(&self, lv: &str) {
        let name = format!("{}/{lv}", self.vg);
        let id = by_hand("lvs", ["--noheadings", "--options", "thin_id", &name]);
        by_hand("lvchange", ["--activate", "n", &name]);
        let delete = format!("delete {}", id.trim());
        by_hand("dmsetup", ["message", &self.mapped("pool-tpool"), "0", &delete]);
    }

    /// LVM does not look at the disk any more.
    fn set_missing(&self, disk: usize, missing: bool) {
        let local = "/etc/lvm/lvmlocal.conf";
        let filter = format!("devices {{ filter = [\"r|^{}$|\"] }}\n", self.devices[disk]);
        match missing {
            true => fs::write(local, filter).unwrap(),
            false => fs::remove_file(local).unwrap(),
        }
    }

    fn empty(&self, disk: usize) {
        self.set_missing(disk, false);
        by_hand("wipefs", ["--all", "--quiet", &self.devices[disk]]);
    }

    /// The pool has given a block back, and cannot note it: before that it has its data written, which fails.
    fn give_up(&self, pool: &str, lv: &str) {
        let data = self.mapped(&format!("{pool}_tdata"));
        let reload = |table: &str| {
            by_hand("dmsetup", ["load", &data, "--table", table]);
            by_hand("dmsetup", ["suspend", "--nolockfs", "--noflush", &data]);
            by_hand("dmsetup", ["resume", &data]);
        };
        let device = format!("/dev/{}/{lv}", self.vg);
        let to = format!("of={device}");
        let write = |count| ["if=/dev/zero", &to, "bs=1M", count, "oflag=direct", "conv=fsync"];
        by_hand("dd", write("count=1"));
        let whole = by_hand("dmsetup", ["table", &data]);
        reload(&format!("{} 0 60 1 error_writes", whole.trim().replace("linear", "flakey")));
        by_hand("blkdiscard", ["--length", "1MiB", &device]);
        attempt("dd", write("count=0")).unwrap_err();
        reload(whole.trim());
    }

    fn cut_activation(&self, lv: &str) {
        by_hand("dmsetup", ["remove", &self.mapped(lv)]);
    }

    fn wait_for_sync(&self, lv: &str) {
        let name = format!("{}/{lv}", self.vg);
        let percent = ["--noheadings", "--options", "copy_percent", &name];
        while by_hand("lvs", percent).trim() != "100.00" {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for ScratchGroup {
    fn drop(&mut self) {
        if let Ok(file) = self.opened.get_mut() {
            *file = None;
        }
        let cleared = attempt("vgremove", ["--yes", "--force", self.vg.as_str()])
            .and_then(|_| attempt("pvremove", self.devices.iter().map(String::as_str)));
        // A second panic would end the whole test program.
        assert!(std::thread::panicking() || cleared.is_ok(), "{cleared:?}");
    }
}

/// What tests do behind Tarn's back, and Tarn never does.
pub(super) fn by_hand<'a>(program: &str, args: impl IntoIterator<Item = &'a str>) -> String {
    attempt(program, args).unwrap()
}

pub(super) fn attempt<'a>(
    program: &str,
    args: impl IntoIterator<Item = &'a str>,
) -> Result<String, String> {
    #[expect(clippy::disallowed_methods, reason = "Tarn has no verbs for this")]
    let done = Command::new(program).args(args).output().unwrap();
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    Err(format!("{program} failed: {}", String::from_utf8_lossy(&done.stderr)))
}
