//! The plain tools, run as a person would.

use std::{
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

/// A volume group on a disk, with room for the records of thousands of volumes.
pub(crate) fn make_group(group: &str, disk: &str) {
    run(&format!("pvcreate -qq --yes --metadatasize 32m {disk}"));
    run(&format!("vgcreate -qq {group} {disk}"));
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
