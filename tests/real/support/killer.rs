//! Kills one of LVM's programs before a step of its that changes something in the kernel.

use std::{fs, path::PathBuf, time::UNIX_EPOCH};

use super::Scene;

/// What the device mapper is asked that changes something.
const CHANGES: [&str; 7] = [
    "DM_DEV_CREATE",
    "DM_DEV_REMOVE",
    "DM_DEV_RENAME",
    "DM_DEV_SUSPEND",
    "DM_TABLE_LOAD",
    "DM_TABLE_CLEAR",
    "DM_TARGET_MSG",
];

/// Stands before one of LVM's programs, and traces or kills its next run.
pub(crate) struct Killer {
    bin: PathBuf,
}

impl Killer {
    pub(crate) fn new(scene: &Scene, program: &str) -> Self {
        let script = "cd \"$(dirname \"$0\")\"\n\
             mv next now 2>/dev/null || exec \"$real\" \"$@\"\n\
             exec strace -q -o trace -e trace=ioctl $(cat now) \"$real\" \"$@\"";
        scene.ground.wrap(program, script);
        Self { bin: scene.home().join("bin") }
    }

    /// The next run is traced, and killed before its ioctl of that number, if one is given.
    pub(crate) fn arm(&self, step: Option<usize>) {
        drop(fs::remove_file(self.bin.join("trace")));
        let option = step.map(|it| format!("-e inject=ioctl:signal=KILL:when={it}"));
        fs::write(self.bin.join("arming"), option.unwrap_or_default()).unwrap();
        fs::rename(self.bin.join("arming"), self.bin.join("next")).unwrap();
    }

    pub(crate) fn trace(&self) -> String {
        fs::read_to_string(self.bin.join("trace")).unwrap_or_default()
    }

    /// Whether the run that was armed is over.
    pub(crate) fn is_over(&self) -> bool {
        let trace = self.trace();
        trace.ends_with(" +++\n")
    }

    /// The numbers of the ioctls that change something, and of the one after each: LVM writes metadata between them.
    pub(crate) fn steps(&self) -> Vec<usize> {
        let trace = self.trace();
        let ioctls = trace.lines().filter(|line| line.starts_with("ioctl(")).enumerate();
        let changes = ioctls.filter(|(_, line)| CHANGES.iter().any(|it| line.contains(it)));
        let mut steps: Vec<usize> = changes.flat_map(|(at, _)| [at + 1, at + 2]).collect();
        steps.dedup();
        steps
    }
}

/// Steps at which LVM is killed, and whether the driver is, too: all both ways where that is no more than
/// [`most`], else so many of them, in other runs others.
pub(crate) fn tried(steps: &[usize]) -> Vec<(usize, bool)> {
    if 2 * steps.len() <= most() {
        return steps.iter().flat_map(|step| [(*step, false), (*step, true)]).collect();
    }
    let first = any_number() % 2;
    some_of(steps).enumerate().map(|(nth, step)| (*step, (nth + first) % 2 == 1)).collect()
}

/// All of them, or where they are many so many as [`most`] says, in other runs others.
pub(crate) fn some_of<T>(all: &[T]) -> impl Iterator<Item = &T> {
    let stride = all.len().div_ceil(most()).max(1);
    all.iter().skip(any_number() % stride).step_by(stride)
}

/// How many steps are tried of one command: `TARN_KILLED_STEPS` (16).
fn most() -> usize {
    std::env::var("TARN_KILLED_STEPS").map_or(16, |it| it.parse().unwrap())
}

fn any_number() -> usize {
    UNIX_EPOCH.elapsed().unwrap().subsec_micros() as usize
}

impl Drop for Killer {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.bin));
    }
}
