//! Pods that are killed, plugs that are pulled: what was written is there afterwards.

use std::time::Duration;

use crate::{
    claims::{await_granted, claims},
    driver::{Driver, allow_deletions},
    kubectl::{apply, await_that, kubectl, kubectl_can, on_node, run, scripts},
};

fn writer(node: &str) -> String {
    format!(
        "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: survivor}}
spec:
  storageClassName: local
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 64Mi}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: survivor}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  terminationGracePeriodSeconds: 0
  containers:
  - name: box
    image: registry.k8s.io/e2e-test-images/busybox:1.37.0-1
    command: [sh, -c, 'test -e /data/said || {{ echo acknowledged > /data/said && sync; }}; exec sleep 1000000']
    readinessProbe:
      exec: {{command: [grep, -q, acknowledged, /data/said]}}
      periodSeconds: 1
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: survivor}}}}]
"
    )
}

/// A pod that has written to its volume, or that finds what an earlier one has written.
pub(crate) fn start_writer(node: &str) {
    apply(&writer(node));
    ready();
}

fn ready() {
    kubectl("wait --for=condition=Ready pod/survivor --timeout=2m");
}

pub(crate) fn clean_up() {
    kubectl("delete pod/survivor pvc/survivor");
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn an_agent_that_is_restarted_leaves_pods_alone() {
    let _driver = Driver::installed();
    start_writer("node-a");
    kubectl("delete pods -n tarn-system -l app.kubernetes.io/component=node");
    kubectl("rollout status -n tarn-system daemonset/tarn-node --timeout=2m");
    assert!(kubectl_can("exec survivor -- grep -q acknowledged /data/said"));
    clean_up();
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_node_whose_plug_is_pulled_has_its_volumes_again() {
    let _driver = Driver::installed();
    start_writer("node-b");
    run(scripts().join("cut-power"), &["node-b"]);
    run(scripts().join("boot-node"), &["node-b"]);
    await_that("the pod does not come back", || {
        match kubectl_can("exec survivor -- grep -q acknowledged /data/said") {
            true => Ok(()),
            false => Err(kubectl("get pods -A -o wide")),
        }
    });
    kubectl("rollout status -n tarn-system daemonset/tarn-node --timeout=2m");
    clean_up();
}

/// The name and uid of the only object there is.
pub(crate) fn only_object() -> (String, String) {
    let told = kubectl("get lvol -o jsonpath={.items[*].metadata.name}:{.items[*].metadata.uid}");
    let (name, uid) = told.split_once(':').unwrap();
    (name.to_owned(), uid.to_owned())
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn an_object_that_was_lost_is_made_again() {
    let _driver = Driver::installed();
    start_writer("node-a");
    let (name, lost) = only_object();
    kubectl(&format!(
        r#"patch lvol {name} --type merge --patch {{"metadata":{{"finalizers":null}}}}"#
    ));
    kubectl(&format!("delete lvol {name}"));
    await_that("the object does not come back", || {
        let phase =
            kubectl(&format!("get lvol {name} --ignore-not-found -o jsonpath={{.status.phase}}"));
        if phase == "Ready" { Ok(()) } else { Err(kubectl("get lvol,nls -o yaml")) }
    });
    assert_ne!(only_object().1, lost);
    assert!(kubectl_can("exec survivor -- grep -q acknowledged /data/said"));
    clean_up();
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_node_that_is_given_up_does_not_hold_claims_back() {
    let _driver = Driver::installed();
    start_writer("node-b");
    let (name, _) = only_object();
    run(scripts().join("cut-power"), &["node-b"]);
    kubectl("delete pod survivor --force --grace-period=0");
    kubectl("delete pvc survivor --wait=false");
    kubectl("annotate nls node-b tarn.dev/release-volumes=true");
    await_that("the volume is not released", || {
        if kubectl_can(&format!("get lvol {name}")) { Err(name.clone()) } else { Ok(()) }
    });
    // It was not gone for good after all. What is on its disk is reported and left alone.
    run(scripts().join("boot-node"), &["node-b"]);
    await_that("the volume is not reported", || {
        let strays = kubectl("get nls node-b -o jsonpath={.status.strays[*].name}");
        if strays == name { Ok(()) } else { Err(strays) }
    });
    on_node("node-b", &format!("lvremove -qq -y tarn/{name}"));
    // What others change is seen within a minute. Before that, it would be taken for a volume again.
    await_that("the volume is reported still", || {
        let strays = kubectl("get nls node-b -o jsonpath={.status.strays[*].name}");
        if strays.is_empty() { Ok(()) } else { Err(strays) }
    });
    kubectl("annotate nls node-b tarn.dev/release-volumes-");
}

/// The page of metrics of a node's agent.
fn agent_metrics(node: &str) -> String {
    let pod = kubectl(&format!(
        "get pods -n tarn-system -l app.kubernetes.io/component=node --field-selector spec.nodeName={node} -o name"
    ));
    let pod = pod.trim().trim_start_matches("pod/");
    kubectl(&format!("get --raw /api/v1/namespaces/tarn-system/pods/{pod}:9810/proxy/metrics"))
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_backup_of_etcd_that_is_restored_loses_no_volume_made_since() {
    let _driver = Driver::installed();
    apply(&claims(2, "node-b", 16, "local"));
    await_granted(2);
    let backup = std::env::temp_dir().join("tarn-etcd-backup");
    run(scripts().join("store"), &["save", backup.to_str().unwrap()]);
    start_writer("node-a");
    let since = kubectl("get lvol --field-selector spec.nodeName=node-a -o name");
    let name = since.trim().rsplit('/').next().unwrap();
    run(scripts().join("store"), &["restore", backup.to_str().unwrap()]);
    std::fs::remove_file(backup).unwrap();
    assert!(!kubectl_can(&format!("get lvol {name}")), "the backup is from before");
    await_that("the volume is not found again", || {
        let told = format!(
            "get lvol {name} --ignore-not-found -o jsonpath={{.status.phase}}:{{.metadata.annotations}}"
        );
        match kubectl(&told) {
            told if told.starts_with("Ready:") && told.contains("tarn.dev/found") => Ok(()),
            told => Err(told),
        }
    });
    let events =
        kubectl("get events -n default --field-selector reason=VolumeWithoutObject -o json");
    assert!(events.contains(name), "{events}");
    await_granted(2);
    // Its claim and pod are not in the backup: nobody but the admin can want it now.
    kubectl(&format!("delete lvol {name}"));
    kubectl("delete pvc -l test=crowd");
}

/// While this lives the API server answers nobody.
struct ApiAway(String);

impl ApiAway {
    fn begin() -> Self {
        let directory = std::env::var("TARN_CLUSTER_DIR").unwrap();
        let pid = std::fs::read_to_string(format!("{directory}/log/kube-apiserver.pid")).unwrap();
        let pid = pid.trim().to_owned();
        run("kill", &["-STOP", &pid]);
        Self(pid)
    }
}

impl Drop for ApiAway {
    fn drop(&mut self) {
        run("kill", &["-CONT", &self.0]);
    }
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_node_mounts_and_unmounts_while_the_api_is_away() {
    let _driver = Driver::installed();
    apply(&claims(1, "node-a", 64, "local"));
    await_granted(1);
    let (volume, _) = only_object();
    let client = std::env::var("TARN_CSI_CLIENT").unwrap();
    // Below the kubelet's directory, since the driver's container sees that of the node.
    let kubelet = "/var/lib/kubelet";
    let (staging, target) =
        (format!("{kubelet}/api-away/stage"), format!("{kubelet}/api-away/pod"));
    let call = |words: &str| {
        let socket = format!("{kubelet}/plugins/local.tarn.dev/csi.sock");
        on_node("node-a", &format!("{client} {socket} {words} volume={volume}"));
    };
    let away = ApiAway::begin();
    call(&format!("NodeStageVolume staging={staging} fs=ext4"));
    call(&format!("NodePublishVolume staging={staging} target={target} fs=ext4"));
    on_node(
        "node-a",
        &format!("echo here > {target}/said && grep -q {target} /proc/self/mountinfo"),
    );
    call(&format!("NodeUnpublishVolume target={target}"));
    call(&format!("NodeUnstageVolume staging={staging}"));
    drop(away);
    on_node("node-a", &format!("rmdir {kubelet}/api-away/* || true; rmdir {kubelet}/api-away"));
    kubectl("delete pvc -l test=crowd");
}

/// How many objects there are, and how many of them are a mass deletion that waits.
fn left_and_held() -> (usize, usize) {
    let all = kubectl("get lvol -o json");
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    let all = all["items"].as_array().unwrap();
    let is_held = |it: &&serde_json::Value| {
        it["metadata"]["deletionTimestamp"].is_string()
            && it["status"]["conditions"][0]["reason"] == "MassDeletion"
    };
    (all.len(), all.iter().filter(is_held).count())
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_mass_deletion_waits_until_it_is_allowed() {
    let _driver = Driver::installed();
    kubectl("annotate nls node-a tarn.dev/allow-deletions-");
    apply(&claims(24, "node-a", 16, "local"));
    await_granted(24);
    // What is younger than a minute is nothing to ask about.
    std::thread::sleep(Duration::from_secs(65));
    kubectl("delete pvc -l test=crowd --wait=false");
    await_that("the deletions do not wait", || match left_and_held() {
        (left, held) if left > 0 && left == held => Ok(()),
        other => Err(format!("{other:?}")),
    });
    std::thread::sleep(Duration::from_secs(10));
    let (left, held) = left_and_held();
    assert!(left == held && left >= 12, "{left} are left, {held} wait");
    let on_a = on_node("node-a", "lvs --noheadings -o lv_name tarn | grep -c ' v-'");
    assert_eq!(on_a.trim(), left.to_string());
    let told = format!("tarn_deletions_held{{}} {held}");
    await_that("the metric does not tell", || match agent_metrics("node-a") {
        page if page.contains(&told) => Ok(()),
        page => Err(page),
    });
    let events = kubectl("get events -n default --field-selector reason=MassDeletion -o json");
    assert!(events.contains("NodeLocalStorage"), "{events}");
    // All of it goes now; what the driver's end looks at.
    allow_deletions("node-a");
}
