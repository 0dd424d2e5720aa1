//! The plain tools, run as a person would.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Runs a command line and says how long it took.
pub(crate) fn run(line: &str) -> Duration {
    let words: Vec<&str> = line.split_whitespace().collect();
    let began = Instant::now();
    let out = Command::new(words[0])
        .args(&words[1..])
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let took = began.elapsed();
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    took
}

/// Keeps LVM from the disks themselves, below which it would find the same groups once more
/// (lvm.conf(5), `global_filter`).
pub(crate) fn hide_from_lvm(disks: &[&str]) {
    let rejects: Vec<String> = disks.iter().map(|disk| format!("\"r|^{disk}$|\"")).collect();
    let text = format!("devices {{ global_filter = [ {} ] }}\n", rejects.join(", "));
    fs::write("/etc/lvm/lvmlocal.conf", text).unwrap();
}

/// A volume group on a disk, with room for the records of thousands of volumes. Its writes take no
/// time until [`set_delay`] says so.
pub(crate) fn make_group(group: &str, disk: &str) {
    pipe("dmsetup", &["create", group], &delayed(disk, 0));
    let disk = format!("/dev/mapper/{group}");
    run(&format!("pvcreate -qq --yes --metadatasize 32m {disk}"));
    run(&format!("vgcreate -qq {group} {disk}"));
}

/// Has every write to the disk of a group take so long, in milliseconds.
pub(crate) fn set_delay(group: &str, disk: &str, delay: u32) {
    pipe("dmsetup", &["reload", group], &delayed(disk, delay));
    run(&format!("dmsetup suspend {group}"));
    run(&format!("dmsetup resume {group}"));
}

/// The table of a device that delays writes (Documentation/admin-guide/device-mapper/delay.rst).
fn delayed(disk: &str, delay: u32) -> String {
    let name = disk.trim_start_matches("/dev/");
    let sectors = fs::read_to_string(format!("/sys/class/block/{name}/size")).unwrap();
    format!("0 {} delay {disk} 0 0 {disk} 0 {delay}\n", sectors.trim())
}

/// Runs a program that reads `input`.
fn pipe(program: &str, args: &[&str], input: &str) {
    let mut child = Command::new(program).args(args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program} {args:?}");
}

/// Fills a group with inactive volumes of one extent, in one program, until it has `count`.
pub(crate) fn fill(group: &str, have: usize, count: usize) {
    let mut lvm = Command::new("lvm")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = lvm.stdin.take().unwrap();
    for at in have..count {
        writeln!(lines, "lvcreate -qq -y -an -Wn -Zn -l 1 -n filler{at} {group}").unwrap();
    }
    drop(lines);
    lvm.wait().unwrap();
}
