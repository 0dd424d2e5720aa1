//! How much memory a process has.

use std::fs;

/// What the kernel says of a process (proc_pid_status(5)), in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What is resident now.
    pub(crate) resident: u64,
    /// The most that ever was.
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn of(process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Self { resident: field("VmRSS:"), peak: field("VmHWM:") }
    }
}

/// As people read it.
pub(crate) fn mebibytes(kib: u64) -> String {
    format!("{}.{} MiB", kib >> 10, ((kib & 1023) * 10) >> 10)
}
