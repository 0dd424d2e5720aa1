//! Starts programs and waits for them. No other room may.

pub mod held;

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Whether a program of that name is in `PATH`.
pub fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

/// How much of a program's complaint an error keeps.
const COMPLAINT: usize = 4096;
/// How often a program that has closed neither pipe is asked whether it is still there.
const GLANCE: Duration = Duration::from_millis(250);

/// Whether stopping a program half-way can hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Only looks: killed at the deadline.
    Reads,
    /// Changes the machine: never killed, only reported as late.
    Changes,
}

/// One command line, ready to run. It shows itself as a person would type it.
#[derive(Debug)]
pub struct Invocation {
    program: &'static str,
    args: Vec<OsString>,
    effect: Effect,
    deadline: Duration,
    held: Option<File>,
}

impl Invocation {
    /// A program that only looks. It is killed after 30 seconds.
    pub fn reads(program: &'static str) -> Self {
        Self::new(program, Effect::Reads, Duration::from_secs(30))
    }

    /// A program that changes something. It is never killed; after 120 seconds the log says so.
    pub fn changes(program: &'static str) -> Self {
        Self::new(program, Effect::Changes, Duration::from_secs(120))
    }

    fn new(program: &'static str, effect: Effect, deadline: Duration) -> Self {
        Self { program, args: Vec::new(), effect, deadline, held: None }
    }

    /// Adds one argument, passed as it is: no shell reads it.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Waits this long before killing (a look) or warning (a change).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Hands the program an open file as its standard input, so that a `flock(2)` on it lives for
    /// as long as the program does, even when it outlives this process.
    #[must_use]
    pub fn holding(mut self, file: File) -> Self {
        self.held = Some(file);
        self
    }

    /// What is done, for counting: the program, and for `lvm` its verb.
    pub fn verb(&self) -> String {
        match self.args.first().filter(|_| self.program == "lvm") {
            Some(verb) => verb.to_string_lossy().into_owned(),
            None => self.program.to_owned(),
        }
    }

    /// Runs to the end and returns what was printed.
    ///
    /// # Errors
    /// [`Failure`] says which command failed; an exit code comes with the end of its stderr.
    pub fn run(self) -> Result<Vec<u8>, Failure> {
        let command = self.to_string();
        let fail = |cause| Failure { command: command.clone(), cause };
        let mut child = self.spawn().map_err(|source| fail(Cause::Start(source)))?;
        let (out, err) = self.attend(&mut child, &command).map_err(fail)?;
        let status = child.wait().map_err(|source| fail(Cause::Wait(source)))?;
        tracing::debug!(%command, %status, "program ended");
        if status.success() { Ok(out) } else { Err(fail(Cause::exit(status, &err))) }
    }

    fn spawn(&self) -> io::Result<Child> {
        let stdin = match &self.held {
            Some(file) => Stdio::from(file.try_clone()?),
            None => Stdio::null(),
        };
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        std::process::Command::new(self.program)
            .args(&self.args)
            .env("LC_ALL", "C")
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// Reads both pipes until they close, or until the program is gone although something it left
    /// behind (a daemon it started) still holds them.
    fn attend(&self, child: &mut Child, command: &str) -> Result<(Vec<u8>, Vec<u8>), Cause> {
        let (mut out, mut err) = (Pipe::new(child.stdout.take()), Pipe::new(child.stderr.take()));
        let started = Instant::now();
        let mut warned = false;
        while out.is_open() || err.is_open() {
            let quiet = wait_for(&mut out, &mut err, GLANCE).map_err(Cause::Wait)?;
            if quiet && child.try_wait().map_err(Cause::Wait)?.is_some() {
                take_rest(&mut out, &mut err).map_err(Cause::Wait)?;
                break;
            }
            if started.elapsed() < self.deadline || warned {
                continue;
            }
            match self.effect {
                Effect::Reads => {
                    child.kill().map_err(Cause::Wait)?;
                    child.wait().map_err(Cause::Wait)?;
                    return Err(Cause::Late(self.deadline));
                }
                Effect::Changes => {
                    tracing::warn!(command, "still running after its deadline; waiting on");
                    warned = true;
                }
            }
        }
        Ok((out.text, err.text))
    }
}

/// Reads what a program that has ended wrote since it was looked last, and waits for nothing.
fn take_rest<A: Read + AsFd, B: Read + AsFd>(
    out: &mut Pipe<A>,
    err: &mut Pipe<B>,
) -> io::Result<()> {
    while (out.is_open() || err.is_open()) && !wait_for(out, err, Duration::ZERO)? {}
    Ok(())
}

/// Waits for either pipe and reads what is there; true when nothing came for `patience`.
fn wait_for<A: Read + AsFd, B: Read + AsFd>(
    out: &mut Pipe<A>,
    err: &mut Pipe<B>,
    patience: Duration,
) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    let interest = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(2);
    fds.extend(out.from.as_ref().map(|it| interest(it.as_fd())));
    fds.extend(err.from.as_ref().map(|it| interest(it.as_fd())));
    match poll(&mut fds, timeout) {
        Ok(0) => return Ok(true),
        Ok(_) => (),
        Err(nix::errno::Errno::EINTR) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
    let mut ready = ready.into_iter();
    if out.is_open() && ready.next().unwrap_or(false) {
        out.read()?;
    }
    if err.is_open() && ready.next().unwrap_or(false) {
        err.read()?;
    }
    Ok(false)
}

struct Pipe<R> {
    from: Option<R>,
    text: Vec<u8>,
}

impl<R: Read> Pipe<R> {
    fn new(from: Option<R>) -> Self {
        Self { from, text: Vec::new() }
    }

    fn is_open(&self) -> bool {
        self.from.is_some()
    }

    fn read(&mut self) -> io::Result<()> {
        let Some(from) = &mut self.from else { return Ok(()) };
        let mut chunk = [0; 16 << 10];
        match from.read(&mut chunk) {
            Ok(0) => self.from = None,
            Ok(count) => self.text.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => (),
            Err(err) => return Err(err),
        }
        Ok(())
    }
}

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program)?;
        for arg in &self.args {
            let arg = arg.to_string_lossy();
            let plain = !arg.is_empty() && !arg.contains(|c: char| c.is_whitespace() || c == '\'');
            if plain { write!(f, " {arg}")? } else { write!(f, " {arg:?}")? }
        }
        Ok(())
    }
}

/// A program that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("`{command}` failed")]
pub struct Failure {
    /// The command line.
    pub command: String,
    /// What went wrong.
    #[source]
    pub cause: Cause,
}

/// Why a program failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It could not be started.
    #[error("cannot start it")]
    Start(#[source] io::Error),
    /// Its end could not be awaited.
    #[error("cannot wait for it")]
    Wait(#[source] io::Error),
    /// A look took too long and was stopped.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// It ended with a code other than zero.
    #[error("exit code {code}: {stderr}")]
    Exit {
        /// The exit code; 128 + the signal's number when a signal ended it.
        code: i32,
        /// The end of what it wrote to stderr, on one line.
        stderr: String,
    },
}

impl Cause {
    fn exit(status: ExitStatus, stderr: &[u8]) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        let tail = stderr.get(stderr.len().saturating_sub(COMPLAINT)..).unwrap_or_default();
        let text = String::from_utf8_lossy(tail);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
        Self::Exit { code, stderr: lines.join("; ") }
    }
}

impl Failure {
    /// The exit code, when it ran to an end of its own.
    pub fn exit_code(&self) -> Option<i32> {
        match &self.cause {
            Cause::Exit { code, .. } => Some(*code),
            Cause::Start(_) | Cause::Wait(_) | Cause::Late(_) => None,
        }
    }

    /// Whether a signal ended it.
    pub fn was_killed(&self) -> bool {
        self.exit_code().is_some_and(|code| code > 128)
    }

    /// What it complained about, when it ran to an end of its own.
    pub fn complaint(&self) -> Option<&str> {
        match &self.cause {
            Cause::Exit { stderr, .. } => Some(stderr),
            Cause::Start(_) | Cause::Wait(_) | Cause::Late(_) => None,
        }
    }

    /// Whether it ended with a code other than zero and its complaint contains `words`.
    pub fn says(&self, words: &str) -> bool {
        self.complaint().is_some_and(|said| said.contains(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(effect: fn(&'static str) -> Invocation, script: &str) -> Invocation {
        effect("sh").args(["-c", script])
    }

    #[test]
    fn output_comes_back_whole() {
        let out = shell(Invocation::reads, "seq 100000").run().unwrap();
        assert_eq!(out.len(), 588_895);
    }

    #[test]
    fn a_failure_carries_code_and_complaint() {
        let failure = shell(Invocation::reads, "echo no room >&2; exit 5").run().unwrap_err();
        assert_eq!(failure.exit_code(), Some(5));
        assert!(failure.says("no room"));
    }

    #[test]
    fn the_last_words_are_read_though_something_left_behind_holds_the_output() {
        let script = "sleep 5 & echo word; echo complaint >&2";
        let mut child = shell(Invocation::reads, script).spawn().unwrap();
        let (mut out, mut err) = (Pipe::new(child.stdout.take()), Pipe::new(child.stderr.take()));
        child.wait().unwrap();
        take_rest(&mut out, &mut err).unwrap();
        assert!(out.is_open() && err.is_open());
        assert_eq!((out.text, err.text), (b"word\n".to_vec(), b"complaint\n".to_vec()));
    }

    #[test]
    fn a_slow_look_is_stopped() {
        let slow = shell(Invocation::reads, "sleep 60").deadline(Duration::from_millis(20));
        assert!(matches!(slow.run().unwrap_err().cause, Cause::Late(_)));
    }

    #[test]
    fn a_slow_change_is_left_to_finish() {
        let slow =
            shell(Invocation::changes, "sleep 0.3; echo done").deadline(Duration::from_millis(20));
        assert_eq!(slow.run().unwrap(), b"done\n");
    }

    #[test]
    fn a_daemon_left_behind_does_not_hold_us() {
        let started = Instant::now();
        let out = shell(Invocation::changes, "sleep 20 & echo up").run().unwrap();
        assert_eq!(out, b"up\n");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_missing_program_is_named() {
        let failure = Invocation::reads("tarn-no-such-program").arg("-x").run().unwrap_err();
        assert_eq!(failure.to_string(), "`tarn-no-such-program -x` failed");
        assert!(matches!(failure.cause, Cause::Start(_)));
    }
}
