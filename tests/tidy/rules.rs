//! The rules, each a function from a file to what is wrong with it.

use std::path::Path;

use super::source::Source;

/// Which room may name which others. Nothing points up, and the three families of tools do not see
/// each other.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["cluster", "device", "pool", "serve", "telemetry", "volume"]),
    (
        "serve",
        &[
            "cluster",
            "csi",
            "device",
            "fs",
            "host",
            "lvm",
            "machine",
            "pool",
            "process",
            "telemetry",
            "volume",
        ],
    ),
    ("cluster", &["device", "fs", "host", "lvm", "machine", "pool", "units", "volume"]),
    ("csi", &["fs", "machine", "telemetry", "units", "volume"]),
    ("machine", &["folder", "host", "pool", "units", "volume", "whole"]),
    ("whole", &["device", "fs", "lvm", "mounts", "pool", "units", "volume"]),
    ("folder", &["device", "fs", "lvm", "mounts", "pool", "units", "volume"]),
    ("host", &["device", "fs", "lvm", "mounts", "pool", "units", "volume"]),
    ("mounts", &["fs", "volume"]),
    ("pool", &["device", "fs", "lvm", "units", "volume"]),
    ("volume", &["device", "fs", "lvm", "units"]),
    ("lvm", &["process", "units"]),
    ("fs", &["process", "units"]),
    ("device", &["process", "units"]),
    ("telemetry", &["units"]),
    ("process", &[]),
    ("units", &[]),
    // Declares the others.
    ("lib", &[]),
];

/// Rooms, and files of other rooms, where code may be asynchronous.
const EDGES: &[&str] = &["cluster", "csi", "serve", "telemetry", "machine/local"];

/// Files of other rooms that decide and do nothing.
const DECISIONS: &[&str] = &[
    "cluster/fate",
    "cluster/state",
    "cluster/state/kept",
    "cluster/state/loose",
    "cluster/placement",
    "cluster/siblings",
    "cluster/wish",
    "cluster/agent/step",
    "cluster/agent/brake",
    "cluster/agent/consent",
    "cluster/agent/written",
    "cluster/adopted",
    "cluster/adoptions/said",
    "host/adopt/judge",
];

/// The traits of the three families of tools.
const TOOLS: &[&str] = &["Lvm", "Filesystems", "Devices"];

/// Names that say nothing about what is inside.
const VAGUE: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager"];

/// Lines of code that a file may have.
const LINES: usize = 500;

/// Imports follow [`MAY_NAME`].
pub(crate) fn imports_point_down(source: &Source) -> Vec<String> {
    let room = source.room();
    let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{}: the room {room} is not in tests/tidy/rules.rs", source.path)];
    };
    let mut wrong = Vec::new();
    for path in source.paths() {
        if path[0] == "super" {
            let up = path.iter().take_while(|it| *it == "super").count();
            if up >= source.depth() {
                wrong.push(format!("{}: write {} from `crate` on", source.path, path.join("::")));
            }
        }
        let is_ours = path[0] == "crate" || path[0] == "tarn";
        let Some(named) = path.get(1).filter(|_| is_ours) else { continue };
        if named != room && !allowed.contains(&named.as_str()) {
            wrong.push(format!("{}: {room} must not name {named}", source.path));
        }
    }
    wrong
}

/// Only `csi` knows tonic; `serve` may build the server.
pub(crate) fn grpc_stays_at_the_door(source: &Source) -> Vec<String> {
    let grpc = ["tonic", "prost", "prost_types", "tonic_prost"];
    let is_wrong = |path: &&Vec<String>| match source.room() {
        "csi" => false,
        "serve" if path[0] == "tonic" => path.get(1).is_none_or(|it| it != "transport"),
        _ => grpc.contains(&path[0].as_str()),
    };
    said(source, is_wrong, "only csi knows gRPC")
}

/// Only `cluster` knows the Kubernetes API.
pub(crate) fn kubernetes_stays_in_the_cluster(source: &Source) -> Vec<String> {
    if source.room() == "cluster" {
        return Vec::new();
    }
    let is_wrong = |path: &&Vec<String>| ["kube", "k8s_openapi"].contains(&path[0].as_str());
    said(source, is_wrong, "only cluster knows Kubernetes")
}

/// Blocking Rust below the edges.
pub(crate) fn async_stays_at_the_edges(source: &Source) -> Vec<String> {
    let inside = source.path.trim_start_matches("src/").trim_end_matches(".rs");
    if EDGES.contains(&source.room()) || EDGES.contains(&inside) {
        return Vec::new();
    }
    let mut wrong = said(source, |path| path[0] == "tokio", "blocking code does not name tokio");
    if source.says("async") || source.says("await") {
        wrong.push(format!("{}: `async` belongs to {}", source.path, EDGES.join(", ")));
    }
    wrong
}

/// Only `process` starts programs.
pub(crate) fn programs_start_in_process(source: &Source) -> Vec<String> {
    if source.room() == "process" {
        return Vec::new();
    }
    let is_command = |path: &&Vec<String>| {
        path.windows(2)
            .any(|it| it[0] == "process" && ["Command", "exit"].contains(&it[1].as_str()))
    };
    said(source, is_command, "programs start in process, and only main ends")
}

/// `volume`, `pool` and [`DECISIONS`] decide: they use the words of the tools, and touch nothing.
pub(crate) fn decisions_do_no_io(source: &Source) -> Vec<String> {
    let inside = source.path.trim_start_matches("src/").trim_end_matches(".rs");
    if !["volume", "pool"].contains(&source.room()) && !DECISIONS.contains(&inside) {
        return Vec::new();
    }
    let does = |path: &&Vec<String>| {
        let io = path[0] == "std" && path.get(1).is_some_and(|it| it == "fs" || it == "process");
        let edge = path[0] == "nix" || path[0] == "kube" || path[0] == "tokio";
        io || edge || path.iter().any(|it| TOOLS.contains(&it.as_str()))
    };
    said(source, does, "what decides does nothing")
}

fn said(source: &Source, is_wrong: impl Fn(&&Vec<String>) -> bool, why: &str) -> Vec<String> {
    let paths = source.paths();
    let wrong = paths.iter().filter(is_wrong);
    wrong.map(|path| format!("{}: {}: {why}", source.path, path.join("::"))).collect()
}

/// At most [`LINES`] lines of code, and a first line that says what the file is.
pub(crate) fn small_and_documented(text: &str, path: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let lines = text.lines().filter(is_code).count();
    if lines > LINES {
        wrong.push(format!("{}: {lines} lines of code; split it by noun", path.display()));
    }
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("//! ") || first.len() < 20 {
        wrong.push(format!("{}: begin with `//!` and what it is", path.display()));
    }
    wrong
}

/// A file name with a word that could mean anything.
pub(crate) fn vague_name(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?.to_ascii_lowercase();
    let vague = stem.split(['-', '_', '.']).find(|word| VAGUE.contains(word))?;
    Some(format!("{}: `{vague}` says nothing; name the noun", path.display()))
}

/// The files that a page of Markdown links to, without what is on the web or on the same page.
pub(crate) fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|it| it.split([')', '#']).next());
    targets.filter(|to| !to.is_empty() && !to.contains("://") && !to.contains(char::is_whitespace))
}

// What the rules must catch.

fn planted(path: &str, code: &str) -> Source {
    Source::new(path, code)
}

#[test]
fn an_import_that_points_up_is_caught() {
    for (path, code) in [
        ("src/lvm/tools.rs", "use crate::host::Host;"),
        ("src/lvm/tools.rs", "use crate::{process, fs::FsKind};"),
        ("src/fs/probe.rs", "fn f() { let x = crate::{device::Part}; }"),
        ("src/volume/mod.rs", "use crate::{units::{self, Bytes}, host::{Host, Stage}};"),
        ("src/units.rs", "use crate::volume::Error;"),
        ("src/host/stage.rs", "use crate::csi::proto;"),
        ("src/host/stage.rs", "use super::super::csi::proto;"),
        ("src/main.rs", "fn main() { tarn::serve::standalone() }"),
        ("src/cluster/agent/mod.rs", "use crate::csi::IdentityService;"),
    ] {
        assert!(!imports_point_down(&planted(path, code)).is_empty(), "{path}: {code}");
    }
}

#[test]
fn what_points_down_is_fine() {
    for (path, code) in [
        ("src/host/stage.rs", "use super::{Found, record::FRESH}; use crate::{fs::{self, paths}};"),
        ("src/fs/options/mkfs.rs", "use super::super::FsKind;"),
        (
            "src/units.rs",
            "// crate::volume\nconst A: &str = \"crate::volume\"; fn f<'a>(x: &'a u8) {}",
        ),
        (
            "src/units.rs",
            "fn f() -> char { '\"' }\n#[cfg(test)]\nmod tests { use crate::host::Host; }",
        ),
        ("src/units.rs", "const A: &str = r#\"\"crate::host\"#;"),
    ] {
        assert_eq!(imports_point_down(&planted(path, code)), Vec::<String>::new(), "{code}");
    }
}

#[test]
fn grpc_below_the_door_is_caught() {
    let caught = |path, code| grpc_stays_at_the_door(&planted(path, code)).len();
    assert_eq!(caught("src/host/stage.rs", "use tonic::Status;"), 1);
    assert_eq!(caught("src/volume/error.rs", "fn f(code: tonic::Code) {}"), 1);
    assert_eq!(caught("src/serve.rs", "use tonic::{Status, transport::Server};"), 1);
    assert_eq!(caught("src/serve.rs", "use tonic::transport::Server;"), 0);
    assert_eq!(caught("src/csi/status.rs", "use tonic::{Code, Status};"), 0);
}

#[test]
fn async_in_the_core_is_caught() {
    let caught = |path, code| async_stays_at_the_edges(&planted(path, code)).len();
    assert_eq!(caught("src/host/stage.rs", "async fn stage() {}"), 1);
    assert_eq!(caught("src/lvm/tools.rs", "use tokio::sync::Mutex;"), 1);
    assert_eq!(caught("src/fs/options/mount.rs", "const A: &str = \"async\";"), 0);
    assert_eq!(caught("src/machine/local.rs", "async fn create() { tokio::spawn(f()).await }"), 0);
}

#[test]
fn a_program_started_elsewhere_is_caught() {
    let caught = |path, code| programs_start_in_process(&planted(path, code)).len();
    assert_eq!(caught("src/fs/making.rs", "use std::process::Command;"), 1);
    assert_eq!(caught("src/fs/making.rs", "use std::{fs, process::{Command, Stdio}};"), 1);
    assert_eq!(caught("src/lvm/tools.rs", "fn f() { process::Command::new(\"lvs\"); }"), 1);
    assert_eq!(caught("src/cli.rs", "fn f() { std::process::exit(1) }"), 1);
    assert_eq!(caught("src/cli.rs", "enum Command { Check }"), 0);
    assert_eq!(caught("src/process/mod.rs", "use std::process::Command;"), 0);
}

#[test]
fn io_in_a_decision_is_caught() {
    let caught = |path, code| decisions_do_no_io(&planted(path, code)).len();
    assert_eq!(caught("src/volume/id.rs", "use std::{fmt, fs};"), 1);
    assert_eq!(caught("src/pool/spec.rs", "use crate::lvm::{Layout, Lvm};"), 1);
    assert_eq!(caught("src/volume/id.rs", "use crate::fs::FsKind;"), 0);
    assert_eq!(caught("src/host/create.rs", "use crate::lvm::Lvm;"), 0);
}

#[test]
fn a_file_too_large_or_without_its_sentence_is_caught() {
    let path = Path::new("src/units.rs");
    assert_eq!(small_and_documented("//! Sizes with a unit.\n", path), Vec::<String>::new());
    assert_eq!(small_and_documented("use std::fs;\n", path).len(), 1);
    let long = format!("//! Sizes with a unit.\n{}", "let a = 1;\n".repeat(LINES + 1));
    assert_eq!(small_and_documented(&long, path).len(), 1);
}

#[test]
fn a_vague_name_is_caught() {
    for path in ["src/utils.rs", "src/csi/volume_manager.rs", "tests/common", "run-helpers.sh"] {
        assert!(vague_name(Path::new(path)).is_some(), "{path}");
    }
    assert_eq!(vague_name(Path::new("src/fs/mounting.rs")), None);
}

#[test]
fn links_are_found() {
    let page = "[a](docs/a.md) and [b](https://b.org/) and [c](#here) and [d](docs/d.md#part)";
    assert_eq!(links(page).collect::<Vec<_>>(), ["docs/a.md", "docs/d.md"]);
}

#[test]
fn modules_for_tests_are_known() {
    let source = planted("src/lvm/mod.rs", "#[cfg(test)]\npub(crate) mod contract;\nmod names;");
    assert_eq!(source.test_modules(), ["src/lvm/contract"]);
}
