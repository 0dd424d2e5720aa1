//! csi-sanity through objects: the suite of `./run sanity`, against the controller's pod and the agent's.

use rstest::rstest;

use crate::{
    driver::Driver,
    kubectl::{await_that, kubectl, run, scripts},
};

#[rstest]
#[case::thick("ext4-thick")]
#[case::thin("xfs-thin")]
#[case::block("block-thick")]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn the_official_suite_passes(#[case] what: &str) {
    let _driver = Driver::installed();
    let suite = std::env::var("TARN_SANITY").unwrap();
    let script = scripts().join("guest/sanity");
    // The suite asks for volumes on any node, and stages them on the one where it is.
    let _only_there = OnlyNodeA::begin();
    let said = run(scripts().join("in-node"), &["node-a", script.to_str().unwrap(), &suite, what]);
    println!("{said}");
    assert!(said.contains(" 0 Failed"), "{said}");
}

/// As long as it lives, only node-a has the pool; also when the suite fails, since other tests follow.
struct OnlyNodeA;

impl OnlyNodeA {
    fn begin() -> Self {
        only_node_a(r#"{"spec":{"nodeSelector":{"kubernetes.io/hostname":"node-a"}}}"#, "");
        Self
    }
}

impl Drop for OnlyNodeA {
    fn drop(&mut self) {
        only_node_a(r#"{"spec":{"nodeSelector":null}}"#, "local");
    }
}

/// Says which nodes have the pool, and waits until node-b has or has it no more.
fn only_node_a(patch: &str, of_b: &str) {
    kubectl(&format!("patch storagepool local --type merge --patch {patch}"));
    await_that("node-b does not follow", || {
        let pools = kubectl("get nls node-b -o jsonpath={.status.pools[*].name}");
        if pools == of_b { Ok(()) } else { Err(pools) }
    });
}
