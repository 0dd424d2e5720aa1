//! How the tests speak to the cluster and its nodes: kubectl, helm and a shell on a node.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Where this checkout is.
pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program that must succeed; its output.
pub(crate) fn run(program: impl AsRef<Path>, arguments: &[&str]) -> String {
    let output = Command::new(program.as_ref()).args(arguments).output().unwrap();
    said(&format!("{} {}", program.as_ref().display(), arguments.join(" ")), &output)
}

fn said(what: &str, output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// kubectl with these words, which hold no blanks themselves.
pub(crate) fn kubectl(words: &str) -> String {
    run("kubectl", &words.split_whitespace().collect::<Vec<_>>())
}

/// Whether kubectl succeeds.
pub(crate) fn kubectl_can(words: &str) -> bool {
    let mut command = Command::new("kubectl");
    let output = command.args(words.split_whitespace()).output().unwrap();
    output.status.success()
}

/// `kubectl apply` of a text.
pub(crate) fn apply(yaml: &str) {
    let mut child = Command::new("kubectl")
        .args(["apply", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    said("kubectl apply", &child.wait_with_output().unwrap());
}

/// A command in the shell of a node.
pub(crate) fn on_node(node: &str, command: &str) -> String {
    run(scripts().join("in-node"), &[node, "sh", "-c", command])
}

/// The scripts of the cluster.
pub(crate) fn scripts() -> PathBuf {
    checkout().join("tests/cluster")
}

/// Looks until it is so, for at most four minutes; what was seen last otherwise.
pub(crate) fn await_that(what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let until = Instant::now() + Duration::from_secs(240);
    loop {
        match look() {
            Ok(()) => return,
            Err(seen) if Instant::now() > until => panic!("{what}: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
