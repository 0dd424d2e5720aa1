//! What each account may do, tried with its own tokens.

use crate::{
    driver::Driver,
    kubectl::{checkout, run},
};

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_node_may_write_only_what_is_its_own() {
    let _driver = Driver::installed();
    println!("{}", run(checkout().join("tests/chart/rights"), &[]));
}
