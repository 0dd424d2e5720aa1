//! The program as somebody types it: what it prints where, and with which code it ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{fs, process::Output};

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn tarn(args: &[&str]) -> Said {
    #[expect(clippy::disallowed_methods, reason = "runs the program itself")]
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tarn")).args(args).output();
    let Output { status, stdout, stderr } = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

fn check(pools: &str) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pools.yaml");
    fs::write(&file, pools).unwrap();
    tarn(&["check", "--pools", file.to_str().unwrap()])
}

#[test]
fn a_good_pools_file_is_explained() {
    let said = check("pools: [{name: fast, volumeGroup: vg0}]\n");
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(said.stdout, @"fast: volume group vg0; thick volumes, linear; wipe Zero; 0 reserved");
}

#[test]
fn every_mistake_of_a_pools_file_goes_to_stderr() {
    let said = check("pools:\n  - name: fast\n    stripes: 1\n  - volumeGroup: vg0\n");
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
    let lines: Vec<&str> = said.stderr.lines().skip(1).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    line 2: volumeGroup: give `volumeGroup`, `loopFile`, `devices`, `directory`, `memory` or `wholeDevices`
    line 3: stripes: 1 is not in 2 to 128
    line 4: name: missing: a StorageClass names the pool by it
    "#);
}

#[test]
fn a_pools_file_that_is_not_there_is_named_with_the_reason() {
    let said = tarn(&["check", "--pools", "/nonexistent/pools.yaml"]);
    assert_eq!(said.code, Some(1));
    let want =
        "tarn: cannot read the pools file /nonexistent/pools.yaml: No such file or directory";
    assert!(said.stderr.starts_with(want), "{}", said.stderr);
    assert_eq!(said.stderr.lines().count(), 1);
}

#[test]
fn a_mistake_in_the_command_line_ends_with_code_2() {
    let said = tarn(&["standalone", "--pools", "p", "--endpoint", "tcp://localhost:1"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
    assert!(said.stderr.contains("unix:///run/tarn/csi.sock"), "{}", said.stderr);
}

#[test]
fn help_teaches_by_example() {
    for command in
        [&["standalone"][..], &["check"], &["pools", "plan"], &["adopt"], &["release"], &["schema"]]
    {
        let said = tarn(&[command, &["--help"]].concat());
        assert_eq!(said.code, Some(0));
        assert!(said.stdout.contains("\nExample:\n"), "{}", said.stdout);
        assert!(said.stdout.lines().all(|line| line.len() <= 110), "{}", said.stdout);
    }
}

#[test]
fn the_schema_says_all_that_a_pool_may_have() {
    let said = tarn(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let pool = &schema["$defs"]["PoolEntry"];
    assert_eq!(pool["additionalProperties"], false);
    let fields: Vec<&str> =
        pool["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    insta::assert_snapshot!(fields.join(" "), @r#"devices directory layout layouts loopFile memory mirrors name provisioning reserve stripes thinPool volumeGroup wholeDevices wipe"#);
}
