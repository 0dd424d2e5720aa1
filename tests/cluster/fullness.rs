//! A thin pool that a pod fills up, told in Events and a condition, until what the Events advise is done.

use crate::{
    claims::{await_granted, claim, claims, pod},
    disks::Late,
    driver::Driver,
    kubectl::{apply, await_that, kubectl, on_node, run},
};

/// How much of the thin pool's data is in use, in percent.
fn used() -> f64 {
    on_node("node-a", "lvs --noheadings -o data_percent tarn-brim/tarn-thin")
        .trim()
        .parse()
        .unwrap()
}

/// The pod writes a few MiB at a time, until so much is in use.
fn fill_to(percent: f64) {
    while used() < percent {
        let write = "dd if=/dev/urandom of=$(mktemp -p /brim) bs=1M count=8 conv=fsync";
        run("kubectl", &["exec", "brim", "--", "sh", "-c", write]);
    }
}

/// Waits until an Event and the condition say this of the pool; gives back the Event's words.
fn told(reason: &str, is_roomy: &str) -> String {
    let mut words = String::new();
    await_that("it is not told", || {
        let events = format!("get events --field-selector reason={reason}");
        let condition = r#"{.status.conditions[?(@.type=="ThinPoolsRoomy")]['status','reason']}"#;
        words = kubectl(&format!("{events} -o jsonpath={{.items[*].note}}{{.items[*].message}}"));
        let told = kubectl(&format!("get nls node-a -o jsonpath={condition}"));
        let is_told = words.contains("pool brim: ") && told == format!("{is_roomy} {reason}");
        if is_told { Ok(()) } else { Err(format!("{reason}: {words:?}, {told:?}")) }
    });
    words
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_thin_pool_that_fills_up_is_told_until_what_is_advised_is_done() {
    let _driver = Driver::installed();
    let spec = "{devices: {paths: [/dev/ubdf]}, provisioning: Thin, thinPool: {size: 192Mi, overprovision: 200}}";
    let mut late = Late::new("brim", spec);
    late.plug("node-a", "f", "512M");
    let metadata = "name: brim";
    apply(&(claim(metadata, 300, "brim") + &pod(metadata, "", &["brim"])));
    kubectl("wait --for=condition=Ready pod/brim --timeout=4m");

    fill_to(86.0);
    // A report follows every change; otherwise it would have to be waited for, for a minute.
    apply(&claims(2, "node-a", 16, "brim"));
    await_granted(2);
    assert!(told("ThinPoolFillsUp", "False").contains("from 95 % on nothing is made in it"));
    fill_to(95.5);
    kubectl("delete pvc/crowd-0");
    assert!(told("ThinPoolAlmostFull", "False").contains("run fstrim where they are mounted"));

    run("kubectl", &["exec", "brim", "--", "sh", "-c", "rm /brim/tmp.* && sync"]);
    let of_node_a = "-l app.kubernetes.io/component=node --field-selector spec.nodeName=node-a";
    let agent = kubectl(&format!("get pods -n tarn-system {of_node_a} -o name"));
    let trim = "fstrim /var/lib/kubelet/plugins/kubernetes.io/csi/local.tarn.dev/*/globalmount";
    run("kubectl", &["exec", "-n", "tarn-system", agent.trim(), "--", "sh", "-c", trim]);
    kubectl("delete pvc/crowd-1");
    told("ThinPoolRoomy", "True");
    kubectl("delete pod/brim pvc/brim");
}
