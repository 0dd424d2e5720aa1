//! The architecture as tests: which room may name which, what each must not contain, that files
//! stay small and documented, and that what is generated or lists something is current.
//!
//! `ARCHITECTURE.md` says why. The rules are in `tidy/rules.rs`, each tried on planted violations.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use source::Source;
use tarn::{fs::FsKind, pool::PoolsFile, volume::Parameters};

/// Every file of the checkout that somebody wrote, relative to its root.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(Path::new("."), &mut found);
    found.sort();
    found
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true if name == "target" || name == ".git" => (),
            true => walk(&path, found),
            false => found.push(path.strip_prefix(".").unwrap().to_path_buf()),
        }
    }
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

fn with_ending(ending: &str) -> Vec<PathBuf> {
    files().into_iter().filter(|path| path.extension().is_some_and(|it| it == ending)).collect()
}

/// What is built: the files below src/, without those that are only compiled for tests.
fn built() -> Vec<Source> {
    let all: Vec<Source> = with_ending("rs")
        .into_iter()
        .filter(|path| path.starts_with("src"))
        .map(|path| Source::new(path.to_str().unwrap(), &read(&path)))
        .collect();
    let for_tests: Vec<String> = all.iter().flat_map(Source::test_modules).collect();
    let is_built = |source: &Source| {
        let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        !for_tests.iter().any(|it| stem == it || stem.starts_with(&format!("{it}/")))
    };
    all.into_iter().filter(is_built).collect()
}

fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n  {}\n", wrong.join("\n  "));
}

fn none_in_code(rule: impl Fn(&Source) -> Vec<String>) {
    none(built().iter().flat_map(rule).collect());
}

#[test]
fn imports_point_down() {
    none_in_code(rules::imports_point_down);
}

#[test]
fn only_the_front_door_knows_grpc() {
    none_in_code(rules::grpc_stays_at_the_door);
}

#[test]
fn only_the_cluster_knows_kubernetes() {
    none_in_code(rules::kubernetes_stays_in_the_cluster);
}

#[test]
fn the_core_is_blocking() {
    none_in_code(rules::async_stays_at_the_edges);
}

#[test]
fn programs_start_in_one_place() {
    none_in_code(rules::programs_start_in_process);
}

#[test]
fn decisions_are_apart_from_doing() {
    none_in_code(rules::decisions_do_no_io);
}

#[test]
fn every_file_is_small_and_says_what_it_is() {
    let rust = with_ending("rs");
    assert!(rust.len() > 80, "only {} files found", rust.len());
    none(rust.iter().flat_map(|path| rules::small_and_documented(&read(path), path)).collect());
}

#[test]
fn names_say_what_is_inside() {
    none(files().iter().filter_map(|path| rules::vague_name(path)).collect());
}

#[test]
fn every_room_is_on_the_map() {
    let map = read("ARCHITECTURE.md");
    let rooms: Vec<_> = built().iter().map(|source| source.room().to_owned()).collect();
    let missing =
        |room: &&String| !map.contains(&format!("{room}/")) && !map.contains(&format!("{room}.rs"));
    none(
        rooms.iter().filter(missing).map(|room| format!("ARCHITECTURE.md lacks {room}")).collect(),
    );
}

#[test]
fn the_definitions_are_current() {
    let current = tarn::cluster::objects::definitions_text().unwrap();
    let kept = read("deploy/chart/crds/tarn.dev.yaml");
    let run = "run: cargo run -- schema crds > deploy/chart/crds/tarn.dev.yaml";
    assert!(kept == current, "{run}");
}

#[test]
fn the_schema_is_current() {
    let schema = schemars::schema_for!(PoolsFile);
    let current = format!("{:#}\n", schema.as_value());
    let kept = read("deploy/pools.schema.json");
    assert!(kept == current, "run: cargo run -- schema > deploy/pools.schema.json");
}

/// The words that a page must have, each between backticks.
fn listed(page: &str, words: impl IntoIterator<Item = String>) {
    let text = read(page);
    let words: Vec<String> = words.into_iter().collect();
    assert!(words.len() > 2, "nothing to look for in {page}");
    let lacks = |word: &&String| !text.contains(&format!("`{word}`"));
    none(words.iter().filter(lacks).map(|word| format!("{page} lacks `{word}`")).collect());
}

#[test]
fn every_field_of_the_pools_file_is_explained() {
    let schema = schemars::schema_for!(PoolsFile);
    let mut fields = Vec::new();
    fields_of(schema.as_value(), &mut fields);
    listed("docs/pools.md", fields);
}

fn fields_of(schema: &serde_json::Value, found: &mut Vec<String>) {
    if let Some(properties) = schema.get("properties").and_then(|it| it.as_object()) {
        found.extend(properties.keys().cloned());
    }
    let inner = schema.as_object().into_iter().flat_map(|it| it.values());
    inner.chain(schema.as_array().into_iter().flatten()).for_each(|it| fields_of(it, found));
}

#[test]
fn every_parameter_is_explained() {
    let unknown = BTreeMap::from([("no-such-key".to_owned(), String::new())]);
    let refusal = Parameters::parse(&unknown).unwrap_err().to_string();
    let keys = refusal.split_once("which are ").unwrap().1;
    listed("docs/parameters.md", keys.split(", ").map(str::to_owned));
}

#[test]
fn every_option_of_mkfs_is_listed() {
    for kind in FsKind::ALL {
        let refusal = tarn::fs::MkfsOptions::parse(kind, "--no-such").unwrap_err().to_string();
        let options = refusal.split(|c: char| c.is_whitespace() || ",;`".contains(c));
        let options = options.filter(|it| it.starts_with('-') && *it != "--no-such");
        listed("docs/parameters.md", options.map(str::to_owned));
    }
}

#[test]
fn every_metric_is_explained() {
    let code = read("src/telemetry/metrics.rs");
    let names = code.split(".register(\"").skip(1).filter_map(|it| it.split_once('"'));
    listed("docs/metrics.md", names.map(|(name, _)| format!("tarn_{name}")));
}

#[test]
fn the_first_page_shows_the_two_commands() {
    let first = read("README.md").lines().take(40).collect::<Vec<_>>().join("\n");
    for command in ["./run demo", "./run test"] {
        assert!(first.contains(command), "README.md does not begin with {command}");
    }
}

#[test]
fn links_lead_somewhere() {
    let broken = |page: PathBuf| {
        let folder = page.parent().unwrap().to_path_buf();
        let text = read(&page);
        let targets: Vec<String> = rules::links(&text).map(str::to_owned).collect();
        let lost = targets.into_iter().filter(move |to| !folder.join(to).try_exists().unwrap());
        lost.map(move |to| format!("{}: {to} is not there", page.display())).collect::<Vec<_>>()
    };
    none(with_ending("md").into_iter().flat_map(broken).collect());
}
