//! Which of the driver's programs run at the moment when it dies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{dice::Dice, ground::run};

/// The programs with which disks join a pool, grow and leave it.
const PROGRAMS: [&str; 8] =
    ["pvcreate", "vgcreate", "vgextend", "pvresize", "pvchange", "pvmove", "vgreduce", "pvremove"];
/// In which the driver must have been killed at least once.
const NEEDED: [&str; 2] = ["pvmove", "vgextend"];
/// How long the driver goes on when it has nothing to do about the disks, at most.
const IDLE: Duration = Duration::from_secs(2);
/// How long a program may run that has not come to its end yet.
const UNKNOWN: Duration = Duration::from_millis(40);
/// At which of the programs that it starts from now on it is killed, at most.
const LATEST: u64 = 5;

/// Hears of the programs that begin and end, and how often the driver was killed during which.
pub(crate) struct Moments {
    heard: Arc<Heard>,
    hits: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
struct Heard {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Those that have begun and not ended, and when, by the process that stands before them.
    running: BTreeMap<String, (&'static str, Instant)>,
    /// How long each lasted the last time that it came to its end.
    lasted: BTreeMap<&'static str, Duration>,
    /// All that ever began.
    begun: Vec<&'static str>,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, line: &str) {
        let Some((what, process)) = line.split_once(' ') else { return };
        let Some(program) = PROGRAMS.into_iter().find(|it| what.get(1..) == Some(it)) else {
            return;
        };
        let mut state = self.lock();
        if what.starts_with('+') {
            state.running.insert(process.to_owned(), (program, Instant::now()));
            state.begun.push(program);
        } else if let Some((_, since)) = state.running.remove(process) {
            state.lasted.insert(program, since.elapsed());
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl Moments {
    /// From now on, of all that the drivers of a folder start.
    pub(crate) fn hear(folder: &Path) -> Result<Self, String> {
        let pipe = folder.join("moments");
        run("mkfifo", &[&pipe.display().to_string()])?;
        announce_in(folder, &pipe)?;
        // For writing, too: so it has no end when nobody writes.
        let file = OpenOptions::new().read(true).write(true).open(&pipe);
        let lines = BufReader::new(file.map_err(|err| err.to_string())?).lines();
        let heard = Arc::new(Heard::default());
        let hears = Arc::clone(&heard);
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| hears.hear(&line)));
        Ok(Self { heard, hits: BTreeMap::new() })
    }

    /// Waits for a random moment in one of the programs that come; in one that is needed as long as the driver
    /// was not killed in it. Where none begins for as long as `most`, the moment is then.
    pub(crate) fn wait(&self, comes: &[&'static str], most: Duration, dice: &mut Dice) {
        if comes.is_empty() {
            return sleep_at_most(IDLE, dice);
        }
        let lacks = self.lacks().into_iter().find(|it| comes.contains(it));
        let mut skipped = if lacks.is_some() { 0 } else { dice.below(LATEST) };
        let mut seen = self.heard.lock().begun.len();
        loop {
            let state = self.heard.lock();
            let silent = |state: &mut State| state.begun.len() <= seen;
            let woken = self.heard.changed.wait_timeout_while(state, most, silent);
            let (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
            let Some(begun) = state.begun.get(seen).copied() else {
                println!("nothing began for {most:?}, not even one of {comes:?}");
                return;
            };
            let lasts = state.lasted.get(begun).copied().unwrap_or(UNKNOWN);
            drop(state);
            seen += 1;
            match lacks {
                Some(lacks) if lacks != begun => (),
                None if skipped > 0 => skipped -= 1,
                _ => return sleep_at_most(lasts, dice),
            }
        }
    }

    /// Enters what runs now.
    pub(crate) fn note(&mut self) {
        let mut state = self.heard.lock();
        // Those that were killed did not say so.
        state.running.retain(|process, _| Path::new("/proc").join(process).is_dir());
        let running: BTreeSet<_> = state.running.values().map(|(program, _)| *program).collect();
        drop(state);
        let none = running.is_empty().then_some("none of them");
        for program in running.into_iter().chain(none) {
            *self.hits.entry(program).or_default() += 1;
        }
    }

    /// During which needed programs the driver was not killed yet.
    pub(crate) fn lacks(&self) -> Vec<&'static str> {
        NEEDED.into_iter().filter(|it| !self.hits.contains_key(it)).collect()
    }

    pub(crate) fn summary(&self) -> String {
        let parts: Vec<String> =
            self.hits.iter().map(|(it, count)| format!("{count} {it}")).collect();
        format!("killed during {}", parts.join(", "))
    }
}

fn sleep_at_most(most: Duration, dice: &mut Dice) {
    let parts = u32::try_from(dice.below(1000)).unwrap_or_default();
    thread::sleep(most * parts / 1000);
}

/// Puts before each of the programs, for the drivers of a folder, one that writes its begin and its end to
/// `notes`.
pub(crate) fn announce_in(folder: &Path, notes: &Path) -> Result<(), String> {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).map_err(|err| err.to_string())?;
    let notes = notes.display();
    for program in PROGRAMS {
        let (real, path) = (run("which", &[program])?, bin.join(program));
        let text = format!(
            "#!/bin/sh\necho +{program} $$ >>{notes}\n{real} \"$@\"\ncode=$?\necho -{program} $$ \
             >>{notes}\nexit $code\n"
        );
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(|err| format!("{}: {err}", path.display()))?;
    }
    Ok(())
}
