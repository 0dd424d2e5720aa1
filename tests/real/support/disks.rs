//! The guest's scratch disks as whole disks: empty, or as somebody else has left them.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, symlink},
    path::{Path, PathBuf},
};

use super::{
    driver::Driver,
    ground::Ground,
    machine::{attempt, run, wait_until},
    scene::Scene,
};

/// As much as Tarn reads at either end of a disk, and more.
const EDGE: u64 = 8 << 20;

/// Empty disks, `/dev/ubda` and those after it, and a directory; all is as before when it is dropped.
pub(crate) struct Disks {
    pub(crate) ground: Ground,
    _emptied: Emptied,
}

/// Disks that are emptied when this is dropped, after whatever was made of them.
pub(crate) struct Emptied(Vec<String>);

/// The scratch disk of this number.
pub(crate) fn disk(number: usize) -> String {
    format!("/dev/ubd{}", char::from(b"abcdef"[number]))
}

impl Disks {
    /// So many, all empty, with names below /dev/disk/by-id as udev gives them.
    pub(crate) fn new(count: usize) -> Self {
        let ground = Ground::new(&[]);
        let disks: Vec<String> = (0..count).map(disk).collect();
        disks.iter().for_each(|it| empty(it));
        fs::create_dir_all("/dev/disk/by-id").unwrap();
        for disk in &disks {
            let name = Path::new(disk).file_name().unwrap().to_str().unwrap();
            symlink(format!("../../{name}"), by_id(name)).unwrap();
        }
        Self { ground, _emptied: Emptied(disks) }
    }

    /// Writes the pools file: one pool, `pool`, of the disks that `devices` says.
    pub(crate) fn pools(&self, devices: &str) {
        let text = format!("pools: [{{name: pool, wipe: None, devices: {devices}}}]\n");
        fs::write(self.ground.home.join("pools.yaml"), text).unwrap();
    }

    /// The driver over that file.
    #[track_caller]
    pub(crate) fn start(&self) -> Driver {
        Driver::start(&self.ground.home, &[])
    }

    /// The driver over one pool, `pool`, of the disks that `devices` says; `more` is the rest of the
    /// pool's entry. What is given first must be dropped last.
    #[track_caller]
    pub(crate) fn scene(self, devices: &str, more: &str, args: &[&str]) -> (Emptied, Scene) {
        let pools = format!("pools: [{{name: pool, devices: {devices}{more}}}]\n");
        (self._emptied, Scene::on(self.ground, &pools, args))
    }

    /// The ground alone. What is given first must be dropped last.
    pub(crate) fn apart(self) -> (Emptied, Ground) {
        (self._emptied, self.ground)
    }

    /// What `tarn pools plan` prints.
    #[track_caller]
    pub(crate) fn plan(&self) -> String {
        let pools = self.ground.home.join("pools.yaml");
        let pools = pools.to_str().unwrap();
        let args = ["pools", "plan", "--node-id", "guest", "--pools", pools];
        run(env!("CARGO_BIN_EXE_tarn"), &args)
    }

    /// See [`Ground::wrap`].
    pub(crate) fn wrap(&self, program: &str, script: &str) {
        self.ground.wrap(program, script);
    }

    /// Takes such a program away.
    pub(crate) fn unwrap_program(&self, program: &str) {
        fs::remove_file(self.ground.home.join("bin").join(program)).unwrap();
    }
}

/// A SCSI disk of 256 MiB in memory, which has a serial number, and can be pulled.
pub(crate) struct Scsi {
    pub(crate) path: String,
}

impl Scsi {
    pub(crate) fn new() -> Self {
        run("modprobe", &["sd_mod"]);
        run("modprobe", &["scsi_debug", "dev_size_mb=256", "delay=0"]);
        Self { path: scsi_disk() }
    }

    /// Writes the pools file: one pool of it and the first scratch disk, of which the file says `more`, and whether it is
    /// to leave. The driver reads it at its start. Its serial is always the same.
    pub(crate) fn is_to_leave(scene: &Scene, more: &str, leaving: bool) {
        let retire = if leaving { ", retire: [\"2000\"]" } else { "" };
        let devices = format!(r#"{{paths: ["/dev/ubda", "/dev/sd*"]{retire}}}"#);
        let text = format!("pools: [{{name: pool, devices: {devices}{more}}}]\n");
        fs::write(scene.home().join("pools.yaml"), text).unwrap();
    }

    /// It is gone, whoever uses it.
    pub(crate) fn pull(&self) {
        let name = self.path.trim_start_matches("/dev/");
        fs::write(format!("/sys/block/{name}/device/delete"), "1").unwrap();
    }

    /// It is there again, with what was on it: a new device to the kernel.
    pub(crate) fn plug_in(&mut self) {
        let host = glob::glob("/sys/class/scsi_host/host*/scan").unwrap().flatten().next().unwrap();
        fs::write(host, "- - -").unwrap();
        self.path = scsi_disk();
    }
}

/// The SCSI disk, once it is there.
fn scsi_disk() -> String {
    let mut found = None;
    wait_until("the SCSI disk is there", || {
        let blocks = "/sys/devices/pseudo_*/adapter*/host*/target*/*/block/*";
        found = glob::glob(blocks).unwrap().flatten().next();
        found.is_some()
    });
    format!("/dev/{}", found.unwrap().file_name().unwrap().to_str().unwrap())
}

impl Drop for Scsi {
    fn drop(&mut self) {
        attempt("modprobe", &["-r", "scsi_debug"]);
    }
}

fn by_id(name: &str) -> PathBuf {
    format!("/dev/disk/by-id/scratch-{name}").into()
}

impl Drop for Emptied {
    fn drop(&mut self) {
        for disk in &self.0 {
            attempt("blockdev", &["--setrw", disk]);
            empty(disk);
            let name = Path::new(disk).file_name().unwrap().to_str().unwrap();
            drop(fs::remove_file(by_id(name)));
        }
    }
}

fn size(disk: &str) -> u64 {
    File::open(disk).unwrap().seek(SeekFrom::End(0)).unwrap()
}

/// Zeroes both ends of a disk, and has the kernel forget its partitions.
pub(crate) fn empty(disk: &str) {
    let zeroes = vec![0; usize::try_from(EDGE).unwrap()];
    let file = OpenOptions::new().write(true).open(disk).unwrap();
    for at in [0, size(disk) - EDGE] {
        file.write_all_at(&zeroes, at).unwrap();
    }
    file.sync_all().unwrap();
    drop(file);
    attempt("blockdev", &["--rereadpt", disk]);
}

/// Writes bytes to a disk; from its end on where `at` is negative.
pub(crate) fn scribble(disk: &str, at: i64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(disk).unwrap();
    let at = if at < 0 { SeekFrom::End(at) } else { SeekFrom::Start(at.unsigned_abs()) };
    file.seek(at).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
}

/// A sum of both ends of a disk.
pub(crate) fn sum(disk: &str) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    let mut file = File::open(disk).unwrap();
    let mut bytes = vec![0; usize::try_from(EDGE).unwrap()];
    for at in [0, size(disk) - EDGE] {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        hasher.write(&bytes);
    }
    hasher.finish()
}

/// The disks of a volume group, sorted.
pub(crate) fn members(vg: &str) -> Vec<String> {
    let out = attempt("pvs", &["--noheadings", "-o", "pv_name,vg_name"]).stdout;
    let out = String::from_utf8_lossy(&out).into_owned();
    let pairs = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found: Vec<String> =
        pairs.filter(|it| it.get(1) == Some(&vg)).map(|it| it[0].to_owned()).collect();
    found.sort();
    found
}

/// Tells whoever listens that a disk has changed, as the kernel does when its medium has.
pub(crate) fn tell_change(disk: &str) {
    let name = Path::new(disk).file_name().unwrap().to_str().unwrap();
    fs::write(format!("/sys/class/block/{name}/uevent"), "change").unwrap();
}
