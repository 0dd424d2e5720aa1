//! Programs that run beside, and what they say.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tokio::sync::mpsc;

use crate::process::Process;

/// A program that runs until this is dropped.
pub(crate) struct Program {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Program {
    pub(crate) fn start(program: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let (to, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            said.lines().map_while(Result::ok).try_for_each(|line| to.send(line))
        });
        Self { child, lines }
    }

    /// Waits until it says this.
    pub(crate) async fn says(&mut self, what: &str) {
        while self.lines.recv().await.expect("it has ended") != what {}
    }

    /// What it says in such a time.
    pub(crate) async fn says_within(&mut self, time: Duration) -> Vec<String> {
        while self.lines.try_recv().is_ok() {}
        tokio::time::sleep(time).await;
        std::iter::from_fn(|| self.lines.try_recv().ok()).collect()
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.child.id())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
