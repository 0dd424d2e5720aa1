//! csi-sanity through objects: the suite of `./run sanity`, against the controller's pod and the agent's.

use rstest::rstest;

use crate::{
    driver::Driver,
    kubectl::{run, scripts},
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
    let said = run(scripts().join("in-node"), &["node-a", script.to_str().unwrap(), &suite, what]);
    println!("{said}");
    assert!(said.contains(" 0 Failed"), "{said}");
}
