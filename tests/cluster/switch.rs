//! A node that is served by `tarn standalone` for a while, and then by its agent again.

use crate::{
    driver::Driver,
    kubectl::{await_that, kubectl, kubectl_can, on_node},
    trouble::{clean_up, only_object, start_writer},
};

const SOCKET: &str = "/run/switch/csi.sock";

/// While this lives node-a has no agent, and `tarn standalone` serves its pool.
struct Standalone {
    client: String,
    pid: String,
}

/// Lets the agents run on the nodes that are said, and waits until that is so.
fn agents(selector: &str, count: &str) {
    let template = format!(r#"{{"spec":{{"template":{{"spec":{{"nodeSelector":{selector}}}}}}}}}"#);
    kubectl(&format!("patch daemonset tarn-node -n tarn-system --type merge --patch {template}"));
    kubectl("rollout status -n tarn-system daemonset/tarn-node --timeout=2m");
    await_that("there are other agents", || {
        let running = "get pods -n tarn-system -l app.kubernetes.io/component=node -o name";
        match kubectl(running).lines().count().to_string() {
            found if found == count => Ok(()),
            found => Err(found),
        }
    });
}

impl Standalone {
    fn begin() -> Self {
        agents(r#"{"kubernetes.io/hostname":"node-b"}"#, "1");
        let client = std::env::var("TARN_CSI_CLIENT").unwrap();
        let tarn = std::path::Path::new(&client).ancestors().nth(2).unwrap().join("tarn");
        let pools = "pools: [{name: local, volumeGroup: tarn, provisioning: ThickAndThin, \
                     thinPool: {size: 4Gi, overprovision: 300}}]";
        let start = format!(
            "mkdir -p /run/switch && echo '{pools}' >/run/switch/pools.yaml && \
             {{ nohup {} standalone --pools /run/switch/pools.yaml --endpoint unix://{SOCKET} --node-id node-a \
             </dev/null >/run/switch/log 2>&1 & }} && echo $!",
            tarn.display()
        );
        let pid = on_node("node-a", &start).trim().to_owned();
        await_that("standalone does not serve", || {
            on_node("node-a", &format!("test -S {SOCKET} && echo there || cat /run/switch/log"))
                .contains("there")
                .then_some(())
                .ok_or_else(|| on_node("node-a", "cat /run/switch/log"))
        });
        Self { client, pid }
    }

    fn call(&self, words: &str) -> String {
        on_node("node-a", &format!("{} {SOCKET} {words}", self.client))
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let pid = &self.pid;
        on_node(
            "node-a",
            &format!("kill {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.1; done"),
        );
        agents("null", "2");
    }
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_node_that_is_standalone_for_a_while_keeps_all_its_volumes() {
    let _driver = Driver::installed();
    start_writer("node-a");
    let (volume, _) = only_object();
    kubectl("delete pod survivor");
    await_that("the kubelet has not unstaged the volume", || {
        match on_node("node-a", "grep -c globalmount /proc/self/mountinfo || true").trim() {
            "0" => Ok(()),
            count => Err(count.to_owned()),
        }
    });

    let alone = Standalone::begin();
    let (staging, target) = ("/run/switch/stage", "/run/switch/pod");
    alone.call(&format!("NodeStageVolume volume={volume} staging={staging} fs=ext4"));
    alone.call(&format!(
        "NodePublishVolume volume={volume} staging={staging} target={target} fs=ext4"
    ));
    on_node("node-a", &format!("grep -q acknowledged {target}/said"));
    alone.call(&format!("NodeUnpublishVolume volume={volume} target={target}"));
    alone.call(&format!("NodeUnstageVolume volume={volume} staging={staging}"));
    let made = alone.call("CreateVolume name=made-alone size=64Mi fs=ext4 pool=local");
    let made = made.split_whitespace().find(|it| it.starts_with("v-")).unwrap();
    drop(alone);

    start_writer("node-a");
    assert!(kubectl_can("exec survivor -- grep -q acknowledged /data/said"));
    await_that("what was made without Kubernetes has no object", || {
        match kubectl(&format!("get lvol {made} --ignore-not-found -o jsonpath={{.status.phase}}"))
        {
            phase if phase == "Ready" => Ok(()),
            phase => Err(phase),
        }
    });
    kubectl(&format!("delete lvol {made}"));
    clean_up();
}
