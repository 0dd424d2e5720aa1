//! Volumes in the memory of nodes, and in directories with quotas.

use crate::{
    claims::{claim, pod},
    driver::{Driver, NODES, await_let_go, no_object_is_left, pools_of},
    kubectl::{apply, await_that, checkout, kubectl, kubectl_can, on_node, run},
};

/// A pool and its class of the examples, until this is dropped.
struct Pool {
    name: &'static str,
    file: String,
}

impl Pool {
    fn of_example(file: &str, name: &'static str) -> Self {
        let file = checkout().join("deploy/examples/pools").join(file);
        let file = file.to_str().unwrap().to_owned();
        run("kubectl", &["apply", "-f", &file]);
        for node in NODES {
            await_that("the pool is not served", || match pools_of(node) {
                pools if pools.contains(name) => Ok(()),
                pools => Err(format!("{node}: {pools}")),
            });
        }
        Self { name, file }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        no_object_is_left();
        run("kubectl", &["delete", "-f", &self.file]);
        for node in NODES {
            await_let_go(self.name, node);
            assert_eq!(mounts_on(node), "", "{node}");
        }
    }
}

/// The volumes in memory that are mounted on a node.
fn mounts_on(node: &str) -> String {
    on_node(node, "findmnt --list --noheadings -o TARGET -t tmpfs | grep local.tarn.dev || true")
}

/// A shell line in the pod `cache`.
pub(crate) fn in_pod(line: &str) -> String {
    run("kubectl", &["exec", "cache", "--", "sh", "-c", line])
}

fn grow_to_48() {
    kubectl("patch pvc cache -p {\"spec\":{\"resources\":{\"requests\":{\"storage\":\"48Mi\"}}}}");
    await_that("the volume has not grown", || match in_pod("df -m /cache") {
        said if said.contains(" 48 ") => Ok(()),
        said => Err(said),
    });
}

pub(crate) fn restart_driver(node: &str) {
    let of_node = format!("--field-selector=spec.nodeName={node}");
    kubectl(&format!("-n tarn-system delete pod -l app.kubernetes.io/component=node {of_node}"));
    kubectl("-n tarn-system rollout status daemonset/tarn-node --timeout=2m");
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn contents_live_as_long_as_the_node_runs() {
    let _driver = Driver::installed();
    let _pool = Pool::of_example("memory.yaml", "memory");
    let on_a = "nodeSelector: {kubernetes.io/hostname: node-a}";
    let cache = || pod("name: cache", on_a, &["cache"]);
    apply(&(claim("name: cache", 32, "memory") + &cache()));
    kubectl("wait --for=condition=Ready pod/cache --timeout=2m");
    in_pod("echo kept >/cache/note && ! dd if=/dev/zero of=/cache/big bs=1M count=64 2>/dev/null");
    assert!(in_pod("df -m /cache").contains(" 32 "), "{}", in_pod("df -m /cache"));
    in_pod("rm /cache/big");

    restart_driver("node-a");
    assert_eq!(in_pod("cat /cache/note").trim(), "kept");
    grow_to_48();
    kubectl("delete pod cache");
    apply(&cache());
    kubectl("wait --for=condition=Ready pod/cache --timeout=2m");
    assert_eq!(in_pod("cat /cache/note").trim(), "kept", "the next pod has it");
    kubectl("delete pod cache");

    // As after a restart of the node.
    await_that("the volume is still staged", || match mounts_on("node-a") {
        mounts if mounts.contains("globalmount") => Err(mounts),
        _ => Ok(()),
    });
    // It is seen at two paths there, and goes from both.
    let mounts = mounts_on("node-a");
    let own = mounts.lines().find(|it| it.starts_with("/var/lib/kubelet")).unwrap();
    on_node("node-a", &format!("umount {own}"));
    assert_eq!(mounts_on("node-a"), "");
    restart_driver("node-a");
    let lvol = kubectl("get lvol -o name");
    let intact = "-o jsonpath={.status.conditions[?(@.type==\"Intact\")].reason}";
    await_that("nothing is said of what is lost", || {
        match kubectl(&format!("get {} {intact}", lvol.trim())).as_str() {
            "ContentsLost" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    await_that("there is no Event", || {
        match kubectl("get events -A --field-selector=reason=ContentsLost -o name").as_str() {
            "" => Err("none".to_owned()),
            _ => Ok(()),
        }
    });
    apply(&cache());
    await_that("the pod does not say why it waits", || {
        let said = kubectl("get events --field-selector=involvedObject.name=cache");
        if said.contains("went with a restart of the machine") { Ok(()) } else { Err(said) }
    });
    assert!(!kubectl_can("wait --for=condition=Ready pod/cache --timeout=1s"));
    kubectl("delete pod/cache pvc/cache");
}

/// An xfs with project quotas at /srv/tarn of every node, until this is dropped.
struct Shelves;

impl Shelves {
    fn new() -> Self {
        for node in NODES {
            on_node(
                node,
                "truncate -s 512M /srv/tarn.img && mkfs.xfs -q /srv/tarn.img && mkdir -p /srv/tarn && \
                 mount -o loop,prjquota /srv/tarn.img /srv/tarn",
            );
        }
        Self
    }
}

impl Drop for Shelves {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for node in NODES {
                assert_eq!(on_node(node, "ls -A /srv/tarn/shelf"), "", "{node}");
                on_node(node, "umount /srv/tarn && rm /srv/tarn.img");
            }
        }
    }
}

/// The file system is mounted in each container of the driver anew, and seen nowhere else.
#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_directory_in_a_file_outlives_the_driver() {
    let _driver = Driver::installed();
    let _pool = Pool::of_example("directory-loop-file.yaml", "drawer");
    apply(&(claim("name: cache", 32, "drawer") + &pod("name: cache", "", &["cache"])));
    kubectl("wait --for=condition=Ready pod/cache --timeout=2m");
    in_pod("echo kept >/cache/note && ! dd if=/dev/zero of=/cache/big bs=1M count=64 2>/dev/null");
    assert!(in_pod("df -m /cache").contains(" 32 "), "{}", in_pod("df -m /cache"));
    let node = kubectl("get pod cache -o jsonpath={.spec.nodeName}");
    let seen = on_node(&node, "findmnt --list --noheadings -o TARGET -t xfs | grep drawer || true");
    assert_eq!(seen, "", "on the node only volumes are mounted");

    restart_driver(&node);
    grow_to_48();
    in_pod("dd if=/dev/zero of=/cache/big bs=1M count=40 2>/dev/null");
    assert_eq!(in_pod("cat /cache/note").trim(), "kept");
    let attached = on_node(&node, "losetup --noheadings --list -O BACK-FILE | grep -c drawer.img");
    assert_eq!(attached.trim(), "1", "attached once");

    // Nothing holds it now but the driver, and then nothing at all.
    kubectl("delete pod/cache");
    restart_driver(&node);
    apply(&pod("name: cache", "", &["cache"]));
    kubectl("wait --for=condition=Ready pod/cache --timeout=2m");
    assert_eq!(in_pod("cat /cache/note").trim(), "kept", "the next pod has it");
    kubectl("delete pod/cache pvc/cache");
}

/// The file system is mounted while the driver runs, as an admin would.
#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_directory_with_quotas_holds_pods_to_what_they_claimed() {
    let _driver = Driver::installed();
    let _shelves = Shelves::new();
    let _pool = Pool::of_example("directory.yaml", "shelf");
    apply(&(claim("name: cache", 32, "shelf") + &pod("name: cache", "", &["cache"])));
    kubectl("wait --for=condition=Ready pod/cache --timeout=2m");
    in_pod("echo kept >/cache/note && ! dd if=/dev/zero of=/cache/big bs=1M count=64 2>/dev/null");
    assert!(in_pod("df -m /cache").contains(" 32 "), "{}", in_pod("df -m /cache"));
    grow_to_48();
    in_pod("dd if=/dev/zero of=/cache/big bs=1M count=40 2>/dev/null");
    let node = kubectl("get pod cache -o jsonpath={.spec.nodeName}");
    restart_driver(&node);
    assert_eq!(in_pod("cat /cache/note").trim(), "kept");
    kubectl("delete pod/cache pvc/cache");
    no_object_is_left();
    await_that("files are left", || match on_node(&node, "ls -A /srv/tarn/shelf").as_str() {
        "" => Ok(()),
        left => Err(left.to_owned()),
    });
}
