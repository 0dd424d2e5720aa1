//! The driver in the cluster: installed once, and looked at after every test.

use std::sync::OnceLock;

use crate::kubectl::{await_that, checkout, kubectl, on_node, run};

/// The nodes.
pub(crate) const NODES: [&str; 2] = ["node-a", "node-b"];

/// The pool that all tests use: the volume group that each node has.
const POOL: &str = "
apiVersion: tarn.dev/v1alpha1
kind: StoragePool
metadata: {name: local}
spec:
  volumeGroup: tarn
  provisioning: ThickAndThin
  thinPool: {size: 4Gi, overprovision: 300}
";

/// The driver, which every test begins with: it is installed when it is not there yet.
pub(crate) struct Driver {
    _private: (),
}

impl Driver {
    pub(crate) fn installed() -> Self {
        static ONCE: OnceLock<()> = OnceLock::new();
        ONCE.get_or_init(install);
        Self { _private: () }
    }
}

/// After a test nothing is left: no object, no volume on any disk.
impl Drop for Driver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        no_object_is_left();
        for node in NODES {
            await_that("volumes are left", || {
                let left = on_node(node, "lvs --noheadings -o lv_name tarn");
                let left: Vec<&str> =
                    left.split_whitespace().filter(|name| *name != "tarn-thin").collect();
                if left.is_empty() { Ok(()) } else { Err(format!("{node}: {left:?}")) }
            });
        }
    }
}

/// The pools that a node serves.
pub(crate) fn pools_of(node: &str) -> String {
    kubectl(&format!("get nls {node} -o jsonpath={{.status.pools[*].name}}"))
}

/// Waits until a node has let go of a pool.
pub(crate) fn await_let_go(pool: &str, node: &str) {
    await_that("the pool is still served", || match pools_of(node) {
        pools if pools.contains(pool) => Err(pools),
        _ => Ok(()),
    });
}

/// Waits until every volume that was deleted is gone.
pub(crate) fn no_object_is_left() {
    await_that("objects are left", || match kubectl("get lvol -o name").trim() {
        "" => Ok(()),
        left => Err(left.to_owned()),
    });
}

fn install() {
    let (chart, examples) = (checkout().join("deploy/chart"), checkout().join("deploy/examples"));
    let chart = chart.to_str().unwrap();
    let wait = ["--wait", "--timeout", "3m"];
    let place = ["--namespace", "tarn-system", "--create-namespace"];
    // With one thread a new class always has its capacity on node-a first, and the pods that wait for
    // it all go there.
    let values = [
        "--set",
        "capacity.pollInterval=5s",
        "--set",
        "provisioner.extraArgs={--capacity-threads=4}",
        "--set",
        "node.directories={/srv/tarn,/srv/disks}",
    ];
    run("helm", &[&["upgrade", "--install", "tarn", chart][..], &place, &values, &wait].concat());
    crate::kubectl::apply(POOL);
    run("kubectl", &["apply", "-f", examples.join("classes.yaml").to_str().unwrap()]);
    for node in NODES {
        await_that("the pool is not served", || {
            let pools = "-o jsonpath={.status.pools[*].name}";
            match kubectl(&format!("get nls {node} --ignore-not-found {pools}")).trim() {
                "local" => Ok(()),
                other => Err(format!("{node}: {other}")),
            }
        });
        allow_deletions(node);
    }
}

/// Lets a node delete as much at once as the tests like.
pub(crate) fn allow_deletions(node: &str) {
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    kubectl(&format!("annotate --overwrite nls {node} tarn.dev/allow-deletions={until}"));
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn the_driver_says_what_each_node_has() {
    let _driver = Driver::installed();
    for node in NODES {
        let drivers = kubectl(&format!("get csinode {node} -o jsonpath={{.spec.drivers[*].name}}"));
        assert_eq!(drivers, "local.tarn.dev");
        let group = on_node(node, "vgs --noheadings --units b --nosuffix -o vg_size tarn");
        let told = kubectl(&format!("get nls {node} -o jsonpath={{.status.pools[0].extents}}"));
        let extents: u64 = told.parse().unwrap();
        assert_eq!(extents * (4 << 20), group.trim().parse::<u64>().unwrap());
        let ready = "-o jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        assert_eq!(kubectl(&format!("get nls {node} {ready}")), "True");
    }
    println!("{}", kubectl("get storagepools,nls,csistoragecapacities -A"));
}
