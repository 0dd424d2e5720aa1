//! Volumes that are whole devices of a node.

use serde_json::Value;

use crate::{
    claims::{claim, pod},
    driver::{Driver, await_let_go, no_object_is_left},
    folders::{in_pod, restart_driver},
    kubectl::{apply, await_that, kubectl, on_node},
};

/// A pool and its class on node-a alone: one empty device, one with a file system, and what is no device.
struct Yard;

impl Yard {
    const NODE: &str = "node-a";

    const OBJECTS: &str = "
apiVersion: tarn.dev/v1alpha1
kind: StoragePool
metadata: {name: whole}
spec:
  nodeSelector: {kubernetes.io/hostname: node-a}
  wholeDevices: {directories: [/srv/tarn/disks]}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: whole}
provisioner: local.tarn.dev
volumeBindingMode: WaitForFirstConsumer
parameters: {pool: whole, csi.storage.k8s.io/fstype: ext4}
";

    fn new() -> Self {
        on_node(
            Self::NODE,
            "mkdir -p /srv/tarn/disks/folder && cd /srv/tarn && truncate -s 96M new.img old.img && \
             mkfs.ext4 -q -L backup old.img && for it in new old; do \
             ln -s $(losetup --find --show $it.img) disks/$it || exit 1; done",
        );
        apply(Self::OBJECTS);
        Self
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        no_object_is_left();
        kubectl("delete storagepool/whole storageclass/whole");
        await_let_go("whole", Self::NODE);
        on_node(
            Self::NODE,
            "cd /srv/tarn && losetup -d $(readlink disks/new disks/old) && rm -r disks new.img old.img",
        );
    }
}

/// The entries, as the node tells them: name, state, and the volume or why it is none.
fn entries() -> Vec<[String; 3]> {
    let report = kubectl(&format!("get nls {} -o json", Yard::NODE));
    let report: Value = serde_json::from_str(&report).unwrap();
    let pools = report["status"]["pools"].as_array().unwrap();
    let pool = pools.iter().find(|pool| pool["name"] == "whole");
    let entries = pool.and_then(|pool| pool["entries"].as_array());
    let entry = |it: &Value| {
        let text = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
        let name = text("path").replace("/srv/tarn/disks/", "");
        [name, text("state"), text("volume") + &text("message")]
    };
    entries.into_iter().flatten().map(entry).collect()
}

fn await_entries(wanted: &[[&str; 3]]) {
    await_that("the node tells other entries", || match entries() {
        found if found == wanted => Ok(()),
        found => Err(format!("{found:?}")),
    });
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_whole_device_is_one_claim_s_until_it_goes() {
    let _driver = Driver::installed();
    let _yard = Yard::new();
    let folder = ["folder", "Refused", "it is a directory, and not a mount point"];
    let old = ["old", "Refused", "it has an ext4 file system labelled \"backup\""];
    await_entries(&[folder, ["new", "Free", ""], old]);

    apply(&(claim("name: cache", 32, "whole") + &pod("name: cache", "", &["cache"])));
    kubectl("wait --for=condition=Ready pod/cache --timeout=4m");
    assert_eq!(kubectl("get pod cache -o jsonpath={.spec.nodeName}"), Yard::NODE);
    let size = kubectl("get pvc cache -o jsonpath={.status.capacity.storage}");
    assert_eq!(size, "96Mi", "all of the device");
    in_pod("echo kept >/cache/note");
    let volume = kubectl("get lvol -o jsonpath={.items[*].metadata.name}");
    await_entries(&[folder, ["new", "Used", &volume], old]);

    restart_driver(Yard::NODE);
    assert_eq!(in_pod("cat /cache/note").trim(), "kept");
    kubectl("delete pod/cache");
    apply(&pod("name: cache", "", &["cache"]));
    kubectl("wait --for=condition=Ready pod/cache --timeout=2m");
    assert_eq!(in_pod("cat /cache/note").trim(), "kept", "the next pod has it");

    apply(&(claim("name: other", 32, "whole") + &pod("name: other", "", &["other"])));
    await_that("the scheduler does not say why", || {
        let said = kubectl("get pod other -o jsonpath={.status.conditions[*].message}");
        if said.contains("did not have enough free storage") { Ok(()) } else { Err(said) }
    });
    kubectl("delete pod/other pvc/other");

    kubectl("delete pod/cache pvc/cache");
    no_object_is_left();
    await_that("PersistentVolumes are left", || match kubectl("get pv -o name").trim() {
        "" => Ok(()),
        left => Err(left.to_owned()),
    });
    await_entries(&[folder, ["new", "Free", ""], old]);
    on_node(Yard::NODE, "cmp -n $((96 << 20)) /srv/tarn/new.img /dev/zero");
    on_node(Yard::NODE, "e2fsck -fn /srv/tarn/old.img");
}
