//! Pods that are killed, plugs that are pulled: what was written is there afterwards.

use crate::{
    driver::Driver,
    kubectl::{apply, await_that, kubectl, kubectl_can, run, scripts},
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

fn ready() {
    kubectl("wait --for=condition=Ready pod/survivor --timeout=2m");
}

fn clean_up() {
    kubectl("delete pod/survivor pvc/survivor");
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn an_agent_that_is_restarted_leaves_pods_alone() {
    let _driver = Driver::installed();
    apply(&writer("node-a"));
    ready();
    kubectl("delete pods -n tarn-system -l app.kubernetes.io/component=node");
    kubectl("rollout status -n tarn-system daemonset/tarn-node --timeout=2m");
    assert!(kubectl_can("exec survivor -- grep -q acknowledged /data/said"));
    clean_up();
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_node_whose_plug_is_pulled_has_its_volumes_again() {
    let _driver = Driver::installed();
    apply(&writer("node-b"));
    ready();
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
