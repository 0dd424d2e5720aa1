//! Claims and where their volumes go. A claim that names its node is what the scheduler makes of one
//! with a pod; without the pod a test says itself which node was chosen.

use crate::{
    driver::Driver,
    kubectl::{apply, await_that, kubectl, kubectl_can, on_node},
};

const CHOSEN: &str = "volume.kubernetes.io/selected-node";

/// A claim with this metadata, without its braces.
pub(crate) fn claim(metadata: &str, mebibytes: u64, class: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{{metadata}}}
spec:
  storageClassName: {class}
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: {mebibytes}Mi}}}}
"
    )
}

/// A pod with this metadata and these fields of its spec, each without its braces, which sleeps. Its
/// claims are mounted at their names.
pub(crate) fn pod(metadata: &str, spec: &str, claims: &[&str]) -> String {
    let list = |entry: fn(&str) -> String| -> String {
        claims.iter().map(|claim| entry(claim)).collect::<Vec<_>>().join(", ")
    };
    let mounts = list(|claim| format!("{{name: {claim}, mountPath: /{claim}}}"));
    let volumes =
        list(|claim| format!("{{name: {claim}, persistentVolumeClaim: {{claimName: {claim}}}}}"));
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{{metadata}}}
spec:
  {spec}
  terminationGracePeriodSeconds: 0
  containers:
  - name: box
    image: registry.k8s.io/e2e-test-images/busybox:1.37.0-1
    command: [sleep, '1000000']
    volumeMounts: [{mounts}]
  volumes: [{volumes}]
"
    )
}

/// Claims that have chosen their node.
pub(crate) fn claims(count: u32, node: &str, mebibytes: u64, class: &str) -> String {
    let metadata = |number| {
        format!("name: crowd-{number}, labels: {{test: crowd}}, annotations: {{{CHOSEN}: {node}}}")
    };
    (0..count).map(|number| claim(&metadata(number), mebibytes, class)).collect()
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

pub(crate) fn await_granted(count: usize) {
    await_that("not all claims are granted", || match counted() {
        (bound, _) if bound == count => Ok(()),
        other => Err(format!("{other:?}")),
    });
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
    await_granted(20);
    let on_b = on_node("node-b", "lvs --noheadings -o lv_name tarn | grep -c ' v-'");
    assert_eq!(on_b.trim(), "20");
    kubectl("delete pvc -l test=crowd");
}

/// Pods with a claim each, which like node-a best.
fn pods_that_like_node_a(count: u32, mebibytes: u64) -> String {
    let likes_a = "affinity:
    nodeAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-a]}]}";
    let both = |number| {
        let name = format!("crowd-{number}");
        let metadata = format!("name: {name}, labels: {{test: crowd}}");
        claim(&metadata, mebibytes, "local") + &pod(&metadata, likes_a, &[&name])
    };
    (0..count).map(both).collect()
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn pods_without_room_on_the_node_that_they_like_best_run_on_another() {
    let _driver = Driver::installed();
    // Three fit on each node.
    let extents = extents_free("node-a").min(extents_free("node-b")) / 3;
    apply(&pods_that_like_node_a(5, extents * 4));
    kubectl("wait --for=condition=Ready pod -l test=crowd --timeout=4m");
    let nodes = kubectl("get lvol -o jsonpath={.items[*].spec.nodeName}");
    for node in ["node-a", "node-b"] {
        assert!((2..=3).contains(&nodes.matches(node).count()), "{nodes}");
    }
    kubectl("delete pod,pvc -l test=crowd");
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_pod_waits_while_no_node_has_room() {
    let _driver = Driver::installed();
    apply(&pods_that_like_node_a(1, 1 << 20));
    await_that("the scheduler does not say why", || {
        let said = kubectl("get pod crowd-0 -o jsonpath={.status.conditions[*].message}");
        if said.contains("did not have enough free storage") { Ok(()) } else { Err(said) }
    });
    assert_eq!(kubectl("get lvol -o name"), "");
    kubectl("delete pod,pvc -l test=crowd");
}

/// A pod with two claims of this size, which goes where the scheduler wants it.
fn pair(mebibytes: u64) -> String {
    let names = ["pair-data", "pair-logs"];
    let claims = names.map(|name| claim(&format!("name: {name}"), mebibytes, "local"));
    claims.concat() + &pod("name: pair", "", &names)
}

/// A node that the scheduler leaves out until this is dropped.
struct Cordoned(&'static str);

impl Cordoned {
    fn new(node: &'static str) -> Self {
        kubectl(&format!("cordon {node}"));
        Self(node)
    }
}

impl Drop for Cordoned {
    fn drop(&mut self) {
        assert!(kubectl_can(&format!("uncordon {}", self.0)) || std::thread::panicking());
    }
}

/// Whether the claims of the pair have been refused together, each with both names.
fn refused_together() -> Result<(), String> {
    for claim in ["pair-data", "pair-logs"] {
        let said = kubectl(&format!(
            "get events --field-selector involvedObject.name={claim} -o jsonpath={{.items[*].message}}"
        ));
        let names = ["ResourceExhausted", "default/pair-data", "default/pair-logs"];
        if !said.contains("do not fit on node node-a together")
            || !names.iter().all(|it| said.contains(it))
        {
            return Err(format!("{claim}: {said}"));
        }
    }
    Ok(())
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn of_two_claims_that_do_not_fit_together_none_is_made() {
    let _driver = Driver::installed();
    let extents = extents_free("node-a");
    apply(&claims(1, "node-a", extents / 2 * 4, "local"));
    await_that("node-a is not filled", || match counted() {
        (1, 0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // Each takes more than half of what is left there; node-b has room for both.
    let only_a = Cordoned::new("node-b");
    apply(&pair(extents / 10 * 3 * 4));
    await_that("the claims are not refused together", refused_together);
    let made = kubectl("get lvol -o name");
    assert_eq!(made.lines().count(), 1, "{made}");
    drop(only_a);
    let only_b = Cordoned::new("node-a");
    kubectl("wait --for=condition=Ready pod/pair --timeout=4m");
    let nodes = kubectl("get lvol -o jsonpath={.items[*].spec.nodeName}");
    assert_eq!(nodes.matches("node-b").count(), 2, "{nodes}");
    drop(only_b);
    kubectl("delete pod/pair pvc/pair-data pvc/pair-logs");
    kubectl("delete pvc -l test=crowd");
}
