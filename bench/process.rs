//! What the kernel says of a process.

use std::{fs, time::Duration};

/// A process, by its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

/// How much memory it has (proc_pid_status(5)), in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What is resident now.
    pub(crate) resident: u64,
    /// The most that ever was.
    pub(crate) peak: u64,
}

impl Process {
    /// The one process of a program.
    pub(crate) fn of(program: &str) -> Self {
        let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap());
        let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let runs_it = |number: &u32| {
            let name = fs::read_to_string(format!("/proc/{number}/comm"));
            name.is_ok_and(|name| name.trim_end() == program)
        };
        let found: Vec<u32> = numbers.filter(runs_it).collect();
        assert_eq!(found.len(), 1, "processes that run {program}");
        Self(found[0])
    }

    pub(crate) fn memory(self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Memory { resident: field("VmRSS:"), peak: field("VmHWM:") }
    }

    /// How long processors have worked for it, in its own code and in the kernel (proc_pid_stat(5)).
    pub(crate) fn worked(self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        // In hundredths of a second.
        let ticks = fields.split_whitespace().skip(11).take(2);
        Duration::from_millis(ticks.map(|it| it.parse::<u64>().unwrap() * 10).sum())
    }
}

/// As people read it.
pub(crate) fn mebibytes(kib: u64) -> String {
    format!("{}.{} MiB", kib >> 10, ((kib & 1023) * 10) >> 10)
}
