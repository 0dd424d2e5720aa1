//! Disks that are plugged into nodes which are running, and the claims that wait for them.

use crate::{
    claims::{claim, pod},
    driver::{Driver, NODES, await_let_go, no_object_is_left},
    kubectl::{apply, await_that, kubectl, on_node, run, scripts},
};

/// A pool of disks that nodes are given later, and its class of the same name, until this is dropped; its disks are
/// empty then.
pub(crate) struct Late {
    pool: &'static str,
    objects: String,
    disks: Vec<(&'static str, &'static str)>,
}

impl Late {
    /// With this spec, in braces.
    pub(crate) fn new(pool: &'static str, spec: &str) -> Self {
        let objects = format!(
            "
apiVersion: tarn.dev/v1alpha1
kind: StoragePool
metadata: {{name: {pool}}}
spec: {spec}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: {pool}}}
provisioner: local.tarn.dev
volumeBindingMode: WaitForFirstConsumer
parameters: {{pool: {pool}, csi.storage.k8s.io/fstype: ext4}}
"
        );
        apply(&objects);
        Self { pool, objects, disks: Vec::new() }
    }

    /// Of every disk that is plugged in.
    fn of_all() -> Self {
        Self::new("late", "{devices: {paths: [/dev/ubdc, /dev/ubdd, /dev/ubde, /dev/sda]}}")
    }

    pub(crate) fn plug(&mut self, node: &'static str, slot: &'static str, size: &str) {
        run(scripts().join("plug-disk"), &[node, slot, size]);
        self.disks.push((node, slot));
    }
}

/// A spec that goes takes no group away, so that it is done by hand here.
impl Drop for Late {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        no_object_is_left();
        let pool = self.pool;
        kubectl(&format!("delete storagepool/{pool} storageclass/{pool}"));
        for node in NODES {
            await_let_go(pool, node);
            on_node(node, &format!("! vgs tarn-{pool} || vgremove -qq -y tarn-{pool}"));
        }
        for (node, slot) in &self.disks {
            on_node(node, &format!("pvremove -qq -y /dev/ubd{slot}"));
        }
    }
}

fn node_of(pod: &str) -> String {
    kubectl(&format!("get pod {pod} -o jsonpath={{.spec.nodeName}}"))
}

fn waiting(name: &str, mebibytes: u64) -> String {
    let metadata = format!("name: {name}");
    claim(&metadata, mebibytes, "late") + &pod(&metadata, "", &[name])
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_pod_that_waits_for_room_runs_when_a_disk_is_plugged_in() {
    let _driver = Driver::installed();
    let mut late = Late::of_all();
    apply(&waiting("patient", 600));
    await_that("the scheduler does not say why", || {
        let said = kubectl("get pod patient -o jsonpath={.status.conditions[*].message}");
        if said.contains("did not have enough free storage") { Ok(()) } else { Err(said) }
    });
    // Too small a disk for it on one node, and one that is large enough on the other.
    late.plug("node-a", "c", "512M");
    late.plug("node-b", "c", "1G");
    kubectl("wait --for=condition=Ready pod/patient --timeout=4m");
    assert_eq!(node_of("patient"), "node-b");
    // node-b has no room for another of these; with a second disk node-a has.
    apply(&waiting("second", 600));
    late.plug("node-a", "d", "512M");
    kubectl("wait --for=condition=Ready pod/second --timeout=4m");
    assert_eq!(node_of("second"), "node-a");

    // Without their pool the volumes cannot be deleted, and say so; with it they are.
    kubectl("delete pod/patient pod/second");
    kubectl("delete storagepool/late");
    kubectl("delete pvc/patient pvc/second --wait=false");
    await_that("the volumes do not say what they wait for", || {
        let said = kubectl("get lvol -o jsonpath={.items[*].status.conditions[*].message}");
        match said.matches("does not serve pool late").count() {
            2 => Ok(()),
            _ => Err(said),
        }
    });
    apply(&late.objects);
}

/// A disk with a serial, which those that are plugged in have not: of 256 MiB, /dev/sda, until this is dropped.
struct Scsi;

impl Scsi {
    const SERIAL: &str = "2000";

    fn plugged_into_node_a() -> Self {
        on_node("node-a", "modprobe sd_mod && modprobe scsi_debug dev_size_mb=256 delay=0");
        Self
    }
}

impl Drop for Scsi {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            on_node("node-a", "modprobe -r scsi_debug");
        }
    }
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_disk_leaves_its_pool_when_its_node_is_annotated() {
    let _driver = Driver::installed();
    let _scsi = Scsi::plugged_into_node_a();
    let mut late = Late::of_all();
    late.plug("node-a", "e", "512M");
    let await_members = |count: &str| {
        await_that("the group has other disks", || {
            let found =
                on_node("node-a", "! vgs tarn-late || vgs --noheadings -o pv_count tarn-late");
            if found.split_whitespace().last() == Some(count) { Ok(()) } else { Err(found) }
        });
    };
    await_members("2");
    kubectl(&format!("annotate node node-a tarn.dev/retire-disks={},none", Scsi::SERIAL));
    await_members("1");
    let said =
        "get nls node-a -o jsonpath={.status.devices[?(@.path==\"/dev/sda\")]['state','message']}";
    await_that("the disk does not say that it has left", || match kubectl(said) {
        told if told.starts_with("Unselected") && told.contains("retire") => Ok(()),
        told => Err(told),
    });
    await_that("nobody is told of the serial that no disk has", || {
        let events = kubectl(
            "get events --field-selector reason=UnknownDisk -o jsonpath={.items[*].note}{.items[*].message}",
        );
        if events.contains("`none`") { Ok(()) } else { Err(events) }
    });
    kubectl("annotate node node-a tarn.dev/retire-disks-");
}
