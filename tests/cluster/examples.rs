//! Every example of `deploy/examples`, typed as its first lines say.

use std::{fs, process::Command};

use rstest::rstest;

use crate::{driver::Driver, kubectl::checkout};

#[rstest]
#[case::claim_and_pod("claim-and-pod.yaml")]
#[case::several_classes("several-classes.yaml")]
#[case::stateful_set("stateful-set.yaml")]
#[case::raw_block("raw-block.yaml")]
#[case::snapshot_and_restore("snapshot-and-restore.yaml")]
#[case::clone("clone.yaml")]
#[case::expansion("expansion.yaml")]
#[case::one_pod_alone("one-pod-alone.yaml")]
#[case::ephemeral("ephemeral.yaml")]
#[case::immediate("immediate.yaml")]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn example(#[case] file: &str) {
    let _driver = Driver::installed();
    let folder = checkout().join("deploy/examples");
    let text = fs::read_to_string(folder.join(file)).unwrap();
    let typed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#   $ ")).collect();
    assert!(typed.len() > 1, "{file} does not say what to type");
    for line in typed {
        println!("$ {line}");
        let output = Command::new("bash").args(["-c", line]).current_dir(&folder).output().unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        println!("{said}");
        assert!(output.status.success(), "{file}: `{line}`: {said}");
    }
}
