//! The driver as a program of its own, as its users run it.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::machine::wait_until;

/// A running driver; killed when it is dropped.
pub(crate) struct Driver {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

/// `tarn standalone` over the pools file and the socket in `home`, not started yet.
pub(crate) fn standalone(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarn"));
    command.arg("standalone").args(["--node-id", "guest"]);
    command.arg("--pools").arg(home.join("pools.yaml"));
    command.arg("--endpoint").arg(socket(home));
    command.arg("--volumes-dir").arg(home.join("volumes"));
    // A test may put programs of its own before the real ones.
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", home.join("bin").display()));
    command
}

/// Where the driver listens.
pub(crate) fn socket(home: &Path) -> PathBuf {
    home.join("csi.sock")
}

impl Driver {
    /// Starts it and waits until it answers.
    #[track_caller]
    pub(crate) fn start(home: &Path, args: &[String]) -> Self {
        let mut driver = Self::launch(home, args);
        driver.await_answer();
        driver
    }

    /// Starts it, and does not wait: it may be killed before it answers.
    pub(crate) fn launch(home: &Path, args: &[String]) -> Self {
        let log = home.join("driver.log");
        let file: File = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = standalone(home);
        command.args(args).stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap();
        Self { child, socket: socket(home), log }
    }

    /// Waits until it answers.
    #[track_caller]
    pub(crate) fn await_answer(&mut self) {
        wait_until("the driver's socket answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the driver ended at once: {status}\n{}", self.last_words());
            }
            UnixStream::connect(&self.socket).is_ok()
        });
    }

    /// Waits until it answers or has ended; gives back whether it answers.
    #[track_caller]
    pub(crate) fn comes_up(&mut self) -> bool {
        let (mut answers, mut ended) = (false, false);
        wait_until("the driver answers or ends", || {
            answers = UnixStream::connect(&self.socket).is_ok();
            ended = self.child.try_wait().unwrap().is_some();
            answers || ended
        });
        answers
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the driver has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Asks it to stop, which it must do with code 0.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.ended();
        assert_eq!(status.code(), Some(0), "{}", self.last_words());
    }

    /// Kills it and waits until it and its socket are gone: the kernel closes the files of a killed
    /// program a moment after its parent is told.
    #[track_caller]
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        wait_until("nobody listens", || UnixStream::connect(&self.socket).is_err());
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Both fail when it has ended, and that is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
