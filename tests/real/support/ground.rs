//! A volume group on scratch disks, gone again whatever happens to the test.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::machine::{attempt, mounts_below, run};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The scratch disks that `tests/guest/boot` gives the guest, 4 GiB each.
const DISKS: [&str; 6] =
    ["/dev/ubda", "/dev/ubdb", "/dev/ubdc", "/dev/ubdd", "/dev/ubde", "/dev/ubdf"];

/// A directory of its own and, if wanted, a volume group.
pub(crate) struct Ground {
    pub(crate) vg: String,
    pub(crate) home: PathBuf,
    disks: Vec<&'static str>,
}

impl Ground {
    /// A group with a physical volume of each of these sizes, in MiB (4 less than 4096 at most), in
    /// extents of 4 MiB.
    pub(crate) fn new(sizes: &[u64]) -> Self {
        assert!(std::env::var_os("TARN_GUEST").is_some(), "this makes volume groups: ./run guest");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let vg = format!("ground{}-{number}", std::process::id());
        let home = PathBuf::from(format!("/run/{vg}"));
        fs::create_dir(&home).unwrap();
        let mut ground = Self { vg, home, disks: Vec::new() };
        for (disk, size) in DISKS.into_iter().zip(sizes) {
            run("wipefs", &["-qa", disk]);
            // One extent more, for LVM's own records.
            let size = format!("{}m", size + 4);
            run("pvcreate", &["-qq", "-y", "--setphysicalvolumesize", &size, disk]);
            ground.disks.push(disk);
        }
        if !ground.disks.is_empty() {
            let args = [["-qq", "-y", &ground.vg].as_slice(), &ground.disks].concat();
            run("vgcreate", &args);
        }
        ground
    }

    /// Puts a program before the real one of that name, which is `$real` in the script.
    pub(crate) fn wrap(&self, program: &str, script: &str) {
        let bin = self.home.join("bin");
        fs::create_dir_all(&bin).unwrap();
        let real = run("which", &[program]);
        let path = bin.join(program);
        fs::write(&path, format!("#!/bin/bash\nreal={}\n{script}\n", real.trim())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The disk with this number in the group.
    pub(crate) fn disk(&self, number: usize) -> &'static str {
        self.disks[number]
    }

    /// Takes the next scratch disk, empty and in no group.
    pub(crate) fn take_disk(&mut self) -> &'static str {
        let disk = DISKS[self.disks.len()];
        run("wipefs", &["-qa", disk]);
        self.disks.push(disk);
        disk
    }

    /// Makes a group on the scratch disk after those of this one; it goes with this one.
    pub(crate) fn second_group(&mut self, size: u64) -> String {
        let disk = DISKS[self.disks.len()];
        let vg = format!("{}b", self.vg);
        run("wipefs", &["-qa", disk]);
        let size = format!("{}m", size + 4);
        run("pvcreate", &["-qq", "-y", "--setphysicalvolumesize", &size, disk]);
        run("vgcreate", &["-qq", "-y", &vg, disk]);
        self.disks.push(disk);
        vg
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for at in mounts_below(&self.home) {
            attempt("umount", &[&at]);
        }
        for vg in groups() {
            for device in suspended() {
                attempt("dmsetup", &["resume", &device]);
            }
            let removed = attempt("vgremove", &["-qq", "-ff", "-y", &vg]);
            if !removed.status.success() {
                eprintln!("vgremove {vg}: {}", String::from_utf8_lossy(&removed.stderr));
            }
        }
        for disk in &self.disks {
            attempt("wipefs", &["-qa", disk]);
        }
        for line in attached_below(&self.home) {
            attempt("losetup", &["-d", &line]);
        }
        if let Err(err) = fs::remove_dir_all(&self.home) {
            eprintln!("{}: {err}", self.home.display());
        }
    }
}

fn groups() -> Vec<String> {
    let list = attempt("vgs", &["--noheadings", "-o", "vg_name"]).stdout;
    String::from_utf8_lossy(&list).split_whitespace().map(str::to_owned).collect()
}

fn suspended() -> Vec<String> {
    let columns = ["info", "-c", "--noheadings", "--separator", " ", "-o", "name,suspended"];
    let list = attempt("dmsetup", &columns).stdout;
    let list = String::from_utf8_lossy(&list).into_owned();
    let names = list.lines().filter_map(|line| line.split_once(' '));
    names.filter(|(_, state)| *state == "Suspended").map(|(name, _)| name.to_owned()).collect()
}

/// Loop devices of files below a directory.
pub(crate) fn attached_below(home: &Path) -> Vec<String> {
    let list = run("losetup", &["--noheadings", "-O", "NAME,BACK-FILE"]);
    let pairs = list.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    let below = |file: &str| Path::new(file.trim()).starts_with(home);
    pairs.filter(|(_, file)| below(file)).map(|(name, _)| name.to_owned()).collect()
}
