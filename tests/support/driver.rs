//! A `tarn standalone` for tests: started, awaited, killed, stopped.

use std::{
    fs::{self, OpenOptions},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::client::Clients;

/// What dies with the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Nothing: LVM and mkfs that it has started run on, as after a crash of a service.
    Alone,
    /// The programs that it has started, too, as when a container is killed.
    WithItsPrograms,
}

/// A running driver. Its folder holds `pools.yaml`, the socket and the log.
pub(crate) struct Driver {
    child: Child,
    folder: PathBuf,
}

impl Driver {
    /// Starts the driver in a folder that holds `pools.yaml`, and waits until it serves.
    pub(crate) fn start(folder: &Path) -> Result<Self, String> {
        let mut driver = Self::launch(folder)?;
        driver.await_ready()?;
        Ok(driver)
    }

    /// Starts the driver, which need not serve yet.
    pub(crate) fn launch(folder: &Path) -> Result<Self, String> {
        let log = OpenOptions::new().create(true).append(true).open(folder.join("driver.log"));
        let log = log.map_err(|err| format!("no log: {err}"))?;
        // Some tests put programs before those of the machine.
        let paths =
            [folder.join("bin").display().to_string(), std::env::var("PATH").unwrap_or_default()];
        #[expect(clippy::disallowed_methods, reason = "runs the program itself")]
        let child = std::process::Command::new(env!("CARGO_BIN_EXE_tarn"))
            .arg("standalone")
            .arg("--pools")
            .arg(folder.join("pools.yaml"))
            .arg("--endpoint")
            .arg(socket(folder))
            .args(["--node-id", "guest"])
            .arg("--volumes-dir")
            .arg(folder.join("volumes"))
            .env("PATH", paths.join(":"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|err| format!("tarn does not start: {err}"))?;
        Ok(Self { child, folder: folder.to_owned() })
    }

    /// Waits until the driver answers.
    pub(crate) fn await_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(180);
        let mut clients = Clients::new(&self.folder);
        loop {
            if clients.is_served() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!(
                    "the driver ended at its start: {status}{}",
                    self.last_words()
                ));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "the driver does not answer after three minutes{}",
                    self.last_words()
                ));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the driver with SIGKILL and waits until it, and what dies with it, is gone.
    pub(crate) fn kill(&mut self, death: Death) -> Result<(), String> {
        let group = Pid::from_raw(-i32::try_from(self.child.id()).map_err(|err| err.to_string())?);
        match death {
            Death::Alone => self.child.kill().map_err(|err| err.to_string())?,
            Death::WithItsPrograms => {
                kill(group, Signal::SIGKILL).map_err(|err| err.to_string())?;
            }
        }
        self.child.wait().map_err(|err| err.to_string())?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while death == Death::WithItsPrograms && kill(group, None).is_ok() {
            if Instant::now() > deadline {
                // Asleep in the kernel, where no signal reaches them; the next driver has to cope.
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends the driver with SIGTERM.
    pub(crate) fn stop(mut self) -> Result<ExitStatus, String> {
        let pid = i32::try_from(self.child.id()).map_err(|err| err.to_string())?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|err| err.to_string())?;
        self.child.wait().map_err(|err| err.to_string())
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        last_words(&self.folder)
    }
}

/// Nothing survives a test that fails.
impl Drop for Driver {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.kill(Death::WithItsPrograms));
        }
    }
}

/// Where the driver of a folder listens.
pub(crate) fn socket(folder: &Path) -> PathBuf {
    folder.join("csi.sock")
}

/// The end of the log in a folder.
pub(crate) fn last_words(folder: &Path) -> String {
    let log = fs::read_to_string(folder.join("driver.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(60);
    format!("\nthe driver's last words:\n{}", lines.get(from..).unwrap_or_default().join("\n"))
}
