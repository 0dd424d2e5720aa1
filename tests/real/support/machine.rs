//! The machine: programs, and a list of everything that could leak.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(240);

/// Runs a program that must succeed, and gives what it printed.
#[track_caller]
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = attempt(program, args);
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program that may fail.
#[track_caller]
pub(crate) fn attempt(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).env("LC_ALL", "C").env("LVM_SUPPRESS_FD_WARNINGS", "1");
    command.stdin(Stdio::null()).output().unwrap_or_else(|err| panic!("{program}: {err}"))
}

/// Waits until something is so, for a minute at the most.
#[track_caller]
pub(crate) fn wait_until(what: &str, so: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, so);
}

/// Waits until something is so, at the most for so long.
#[track_caller]
pub(crate) fn wait_within(patience: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < patience, "not within {patience:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Everything that could leak, one line each. A thin pool and its parts stay, and are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inventory(BTreeSet<String>);

impl Inventory {
    /// What there is now; of files, those below `home`.
    pub(crate) fn take(home: &Path) -> Self {
        let mut lines = BTreeSet::new();
        let mut list = |what: &str, text: &str, passed_over: &[&str]| {
            let lasting = |line: &&str| !passed_over.iter().any(|it| line.contains(it));
            let named = |line: &str| format!("{what} {}", line.trim());
            lines.extend(text.lines().filter(lasting).map(named));
        };
        let volumes = run("lvs", &["-a", "--noheadings", "-o", "vg_name,lv_name"]);
        list("volume", &volumes, &["tarn-thin", "pmspare"]);
        // LVM leaves the spare room active that it has moved.
        let of_lvm = ["tarn--thin", "pmspare", "No devices"];
        list("device", &run("dmsetup", &["ls"]), &of_lvm);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts: Vec<&str> = mounts.lines().filter_map(mounted_at).collect();
        list("mount", &mounts.join("\n"), &[]);
        list("loop", &run("losetup", &["--noheadings", "-O", "NAME,BACK-FILE"]), &[]);
        let files = run("find", &[home.to_str().unwrap(), "-mindepth", "1"]);
        list("file", &files, &[".log", "csi.sock"]);
        Self(lines)
    }

    /// What is there and was not, and the other way round.
    pub(crate) fn since(&self, before: &Self) -> Vec<String> {
        let more = self.0.difference(&before.0).map(|line| format!("+ {line}"));
        more.chain(before.0.difference(&self.0).map(|line| format!("- {line}"))).collect()
    }
}

/// The mount point in a line of mountinfo (proc_pid_mountinfo(5)).
fn mounted_at(line: &str) -> Option<&str> {
    line.split(' ').nth(4)
}

/// The mount points below `home`, the newest first.
pub(crate) fn mounts_below(home: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let below = |at: &&str| Path::new(at).starts_with(home);
    table.lines().rev().filter_map(mounted_at).filter(below).map(str::to_owned).collect()
}

/// The options of the topmost mount at a path, both the mount's and the file system's.
pub(crate) fn mount_options(at: &Path) -> String {
    let table = fs::read_to_string("/proc/mounts").unwrap();
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut lines = table.lines().map(fields).filter(|fields| Path::new(&fields[1]) == at);
    lines.next_back().map(|fields| fields[3].clone()).unwrap_or_default()
}
