//! Claims and where their volumes go. A claim that names its node is what the scheduler makes of one
//! with a pod; without the pod a test says itself which node was chosen.

use std::fmt::Write as _;

use crate::{
    driver::Driver,
    kubectl::{apply, await_that, kubectl, on_node},
};

const CHOSEN: &str = "volume.kubernetes.io/selected-node";

fn claims(count: u32, node: &str, mebibytes: u64, class: &str) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        write!(
            text,
            "---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: crowd-{number}
  labels: {{test: crowd}}
  annotations: {{{CHOSEN}: {node}}}
spec:
  storageClassName: {class}
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: {mebibytes}Mi}}}}
"
        )
        .unwrap();
        text
    })
}

/// How many claims are bound, and how many have been sent back to the scheduler.
fn counted() -> (usize, usize) {
    let all = kubectl("get pvc -l test=crowd -o json");
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    let all = all["items"].as_array().unwrap();
    let bound = |it: &&serde_json::Value| it["status"]["phase"] == "Bound";
    let sent_back = |it: &&serde_json::Value| it["metadata"]["annotations"][CHOSEN].is_null();
    (all.iter().filter(bound).count(), all.iter().filter(sent_back).count())
}

fn extents_free(node: &str) -> u64 {
    kubectl(&format!("get nls {node} -o jsonpath={{.status.pools[0].freeExtents}}"))
        .parse()
        .unwrap()
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn of_fifty_claims_at_once_exactly_those_are_granted_for_which_there_is_room() {
    let _driver = Driver::installed();
    // Thirty fit, and not one more.
    let extents = extents_free("node-a") / 30;
    apply(&claims(50, "node-a", extents * 4, "local"));
    await_that("not all claims are answered", || match counted() {
        (30, 20) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let on_a = on_node("node-a", "lvs --noheadings -o lv_name tarn | grep -c ' v-'");
    assert_eq!(on_a.trim(), "30");
    kubectl("delete pvc -l test=crowd");
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_group_filled_behind_our_back_sends_the_claim_back() {
    let _driver = Driver::installed();
    on_node("node-a", "lvcreate -qq -y -an -Zn -l 95%FREE -n intruder tarn");
    apply(&claims(1, "node-a", 2048, "local"));
    await_that("the claim is not sent back", || match counted() {
        (0, 1) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let said = kubectl("get events --field-selector involvedObject.name=crowd-0 -o json");
    assert!(said.contains("has no room") || said.contains("too little free space"), "{said}");
    on_node("node-a", "lvremove -qq -y tarn/intruder");
    // Chosen again, as the scheduler does once the node's report says that there is room.
    await_that("the claim is not granted", || {
        kubectl(&format!("annotate --overwrite pvc crowd-0 {CHOSEN}=node-a"));
        match counted() {
            (1, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    kubectl("delete pvc -l test=crowd");
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_controller_that_restarts_amid_claims_loses_none_and_doubles_none() {
    let _driver = Driver::installed();
    apply(&claims(20, "node-b", 16, "local"));
    await_that("nothing begins", || match counted() {
        (0, _) => Err("none".to_owned()),
        _ => Ok(()),
    });
    kubectl("delete pods -n tarn-system -l app.kubernetes.io/component=controller --wait=false");
    await_that("not all claims are granted", || match counted() {
        (20, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let on_b = on_node("node-b", "lvs --noheadings -o lv_name tarn | grep -c ' v-'");
    assert_eq!(on_b.trim(), "20");
    kubectl("delete pvc -l test=crowd");
}
