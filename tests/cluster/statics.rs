//! Devices that are offered to claims before there are any.

use serde_json::Value;

use crate::{
    claims::{claim, pod},
    driver::{Driver, await_let_go, no_object_is_left},
    folders::in_pod,
    kubectl::{apply, await_that, kubectl, on_node},
};

const NODE: &str = "node-a";

/// A pool and its class on node-a alone, with two empty devices, one of which another provisioner has published.
struct Yard;

impl Yard {
    const POOL: &str = "
apiVersion: tarn.dev/v1alpha1
kind: StoragePool
metadata: {name: shelf}
spec:
  nodeSelector: {kubernetes.io/hostname: node-a}
  wholeDevices: {directories: [/srv/tarn/shelf], namePattern: 'our?,the*'}
";

    /// As sig-storage-local-static-provisioner makes it for a raw block device.
    const THEIRS: &str = "
apiVersion: v1
kind: PersistentVolume
metadata:
  name: local-pv-5a1c7e3d
  annotations:
    pv.kubernetes.io/provisioned-by: local-volume-provisioner-node-a-6ba7b810-9dad-11d1-80b4-00c04fd430c8
spec:
  accessModes: [ReadWriteOnce]
  capacity: {storage: 96Mi}
  local: {path: /srv/tarn/shelf/theirs}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions:
        - {key: kubernetes.io/hostname, operator: In, values: [node-a]}
  persistentVolumeReclaimPolicy: Delete
  storageClassName: local-storage
  volumeMode: Block
";

    fn new() -> Self {
        on_node(
            NODE,
            "mkdir -p /srv/tarn/shelf && cd /srv/tarn && truncate -s 96M ours.img theirs.img && \
             for it in ours theirs; do ln -s $(losetup --find --show $it.img) shelf/$it || exit 1; done && \
             cp -P shelf/ours shelf/another",
        );
        apply(Self::THEIRS);
        apply(&(Self::POOL.to_owned() + &class("shelf", "WaitForFirstConsumer")));
        Self
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        kubectl("delete storageclass/shelf");
        await_offered("a class that is gone offers volumes", 0);
        kubectl("delete lvol --all");
        no_object_is_left();
        kubectl("delete storagepool/shelf");
        await_let_go("shelf", NODE);
        on_node(
            NODE,
            "cd /srv/tarn && losetup -d $(readlink shelf/ours shelf/theirs) && rm -r shelf ours.img theirs.img",
        );
    }
}

fn class(name: &str, binding: &str) -> String {
    format!(
        "---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: {name}}}
provisioner: local.tarn.dev
volumeBindingMode: {binding}
parameters: {{mode: Static, pool: shelf, csi.storage.k8s.io/fstype: ext4}}
"
    )
}

/// The PersistentVolumes that were published: uid, phase, capacity and claim of each.
fn published() -> Vec<[String; 4]> {
    let all = kubectl("get pv -l tarn.dev/static -o json");
    let all: Value = serde_json::from_str(&all).unwrap();
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let volume = |it: &Value| {
        assert_eq!(it["spec"]["storageClassName"], "shelf");
        let size = text(&it["spec"]["capacity"]["storage"]);
        let claim = text(&it["spec"]["claimRef"]["name"]);
        [text(&it["metadata"]["uid"]), text(&it["status"]["phase"]), size, claim]
    };
    all["items"].as_array().unwrap().iter().map(volume).collect()
}

/// Waits until so many volumes, and no others, are offered; their uids.
fn await_offered(what: &str, count: usize) -> Vec<String> {
    let mut uids = Vec::new();
    await_that(what, || {
        let all = published();
        let is_offered = |[_, phase, size, claim]: &[String; 4]| {
            phase == "Available" && size == "96Mi" && claim.is_empty()
        };
        if all.len() != count || !all.iter().all(is_offered) {
            return Err(format!("{all:?}, {}", kubectl("get lvol,nls -o yaml")));
        }
        uids = all.into_iter().map(|[uid, ..]| uid).collect();
        Ok(())
    });
    uids
}

/// Takes the entry of the device away for a while.
fn without_entry<T>(look: impl FnOnce() -> T) -> T {
    on_node(NODE, "mv /srv/tarn/shelf/ours /srv/tarn/aside");
    let seen = look();
    on_node(NODE, "mv /srv/tarn/aside /srv/tarn/shelf/ours");
    seen
}

/// Nothing is made for a claim, whatever it asks for.
fn nothing_is_made() {
    apply(&(class("shelf-now", "Immediate") + &claim("name: made", 32, "shelf-now")));
    await_that("the claim is not told why it waits", || {
        let about = "involvedObject.name=made,reason=ProvisioningFailed";
        match kubectl(&format!(
            "get events --field-selector={about} -o jsonpath={{.items[*].message}}"
        )) {
            said if said.contains("InvalidArgument") && said.contains("parameters[mode]") => Ok(()),
            said => Err(format!("{said}, {}", kubectl("describe pvc made"))),
        }
    });
    kubectl("delete pvc/made storageclass/shelf-now");
}

/// A class of the same pool whose volumes are made for claims is not given the other provisioner's device either.
fn theirs_is_not_given() {
    let made = class("shelf-made", "Immediate").replace("mode: Static, ", "");
    // Otherwise it is chance of which node it is told why.
    let there = "allowedTopologies: [{matchLabelExpressions: [{key: topology.tarn.dev/node, values: [node-a]}]}]\n";
    apply(&(made + there + &claim("name: given", 32, "shelf-made")));
    await_that("the claim gets a device, or is not told why not", || {
        let about = "involvedObject.name=given,reason=ProvisioningFailed";
        let said = kubectl(&format!(
            "get events --field-selector={about} -o jsonpath={{.items[*].message}}"
        ));
        match said.contains("ResourceExhausted") && said.contains("no free device") {
            true => Ok(()),
            false => Err(format!("{said}, {}", kubectl("describe pvc given"))),
        }
    });
    kubectl("delete pvc/given storageclass/shelf-made");
}

/// A class with a mistake is told of it, once.
fn a_mistake_is_told() {
    apply(&class("shelf-wrong", "Immediate").replace("mode: Static", "mode: Static, wipe: Twice"));
    await_that("nobody tells what is wrong with a class", || {
        let about = "reason=NothingOffered,involvedObject.name=shelf-wrong";
        let said = kubectl(&format!(
            "get events --field-selector={about} -o jsonpath={{.items[*].message}}"
        ));
        match said.matches("parameters[wipe]").count() {
            1 => Ok(()),
            _ => Err(format!("{said}, {}", kubectl("describe storageclass shelf-wrong"))),
        }
    });
    kubectl("delete storageclass/shelf-wrong");
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_device_is_offered_bound_wiped_and_offered_again() {
    let _driver = Driver::installed();
    let _yard = Yard::new();
    let first = await_offered("the empty device, and no other, is not offered", 1);
    nothing_is_made();
    a_mistake_is_told();
    theirs_is_not_given();

    apply(&(claim("name: cache", 32, "shelf") + &pod("name: cache", "", &["cache"])));
    kubectl("wait --for=condition=Ready pod/cache --timeout=4m");
    assert_eq!(kubectl("get pod cache -o jsonpath={.spec.nodeName}"), NODE);
    in_pod("echo a-secret-of-the-first-claim >/cache/note; sync");
    let bound = ["Bound", "96Mi", "cache"].map(str::to_owned);
    let is_bound = || {
        let all = published();
        assert!(all.len() == 1 && all[0][0] == first[0] && all[0][1..] == bound, "{all:?}");
    };
    is_bound();

    kubectl("-n tarn-system rollout restart deployment/tarn-controller");
    kubectl("-n tarn-system rollout status deployment/tarn-controller --timeout=3m");
    without_entry(|| {
        await_that("nobody tells that the device is missing", || {
            let about = format!("reason=DeviceMissing,involvedObject.uid={}", first[0]);
            match kubectl(&format!("get events -A --field-selector={about} -o name")).as_str() {
                "" => Err(kubectl("get pv,nls -o yaml")),
                _ => Ok(()),
            }
        });
        is_bound();
    });
    assert_eq!(in_pod("cat /cache/note").trim(), "a-secret-of-the-first-claim");

    kubectl("delete pod/cache pvc/cache");
    let second = await_offered("the device is not offered again", 1);
    assert_ne!(first, second, "by another PersistentVolume");
    on_node(NODE, "sync; ! grep -q a-secret-of-the-first-claim /srv/tarn/ours.img");

    without_entry(|| await_offered("a device that is missing is offered", 0));
    await_offered("the device is back, and not offered", 1);

    let theirs = kubectl("get pv local-pv-5a1c7e3d -o jsonpath={.status.phase}");
    assert_eq!(theirs, "Available", "the other provisioner's is as it was");
    on_node(NODE, "cmp -n $((96 << 20)) /srv/tarn/theirs.img /dev/zero");
    kubectl("delete pv/local-pv-5a1c7e3d");
    await_offered("the device of a PersistentVolume that is gone is not offered", 2);
}
