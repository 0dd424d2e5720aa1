//! PersistentVolumes that sig-storage-local-static-provisioner has made become Tarn's, with their data and the names of
//! their claims, as docs/migrate-from-static-provisioner.md says.

use rstest::rstest;

use crate::{
    adoption::tarn,
    claims::{claim, pod},
    driver::{Driver, await_let_go, no_object_is_left},
    folders::in_pod,
    kubectl::{apply, await_that, kubectl, on_node},
};

const NODE: &str = "node-a";

/// A directory of that provisioner's, with a device that is linked there and a file system that is mounted there; the pool
/// over it, and the class of that provisioner.
struct Yard;

impl Yard {
    const OBJECTS: &str = "
apiVersion: tarn.dev/v1alpha1
kind: StoragePool
metadata: {name: takeover}
spec:
  nodeSelector: {kubernetes.io/hostname: node-a}
  wholeDevices: {directories: [/srv/tarn/takeover]}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local-storage}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
";

    fn new() -> Self {
        on_node(
            NODE,
            "mkdir -p /srv/tarn/takeover/mounted && cd /srv/tarn && truncate -s 96M linked.img mounted.img && \
             mkfs.ext4 -q linked.img && mkfs.ext4 -q mounted.img && \
             ln -s $(losetup --find --show linked.img) takeover/linked && \
             mount $(losetup --find --show mounted.img) takeover/mounted",
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
        kubectl("delete storagepool/takeover storageclass/local-storage");
        await_let_go("takeover", NODE);
        on_node(
            NODE,
            "cd /srv/tarn && umount takeover/mounted && losetup -d $(losetup -n -O NAME -j mounted.img) && \
             losetup -d $(readlink takeover/linked) && rm -r takeover linked.img mounted.img",
        );
    }
}

/// As that provisioner makes it for what is there under this name.
fn theirs(entry: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: PersistentVolume
metadata:
  name: local-pv-6b2d8f4e
  annotations:
    pv.kubernetes.io/provisioned-by: local-volume-provisioner-node-a-6ba7b810-9dad-11d1-80b4-00c04fd430c8
spec:
  accessModes: [ReadWriteOnce]
  capacity: {{storage: 96Mi}}
  local: {{path: /srv/tarn/takeover/{entry}, fsType: ext4}}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions:
        - {{key: kubernetes.io/hostname, operator: In, values: [node-a]}}
  persistentVolumeReclaimPolicy: Delete
  storageClassName: local-storage
  volumeMode: Filesystem
"
    )
}

fn adoption(entry: &str) -> String {
    format!(
        "apiVersion: tarn.dev/v1alpha1\nkind: Adoption\nmetadata: {{name: local-pv-6b2d8f4e}}\nspec: {{nodeName: {NODE}, \
         device: /srv/tarn/takeover/{entry}, storageClassName: local, claim: {{namespace: default, name: cache}}}}\n"
    )
}

fn await_ready() {
    kubectl("wait --for=condition=Ready pod/cache --timeout=4m");
    assert_eq!(kubectl("get pod cache -o jsonpath={.spec.nodeName}"), NODE);
}

/// The only LogicalVolume, once it is there: its name.
fn await_object(entry: &str) -> String {
    let said =
        "-o jsonpath={.items[*].metadata.name},{.items[*].status.phase},{.items[*].spec.device}";
    let mut name = String::new();
    await_that("its object is not made", || {
        let all = kubectl(&format!("get lvol {said}"));
        match all.strip_suffix(&format!(",Ready,/srv/tarn/takeover/{entry}")) {
            Some(it) => {
                it.clone_into(&mut name);
                Ok(())
            }
            None => Err(format!("{all:?}: {}", kubectl("get nls node-a -o yaml"))),
        }
    });
    name
}

#[rstest]
#[case::device("linked")]
#[case::mount_point("mounted")]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_local_volume_with_data_becomes_tarn_s_and_its_claim_keeps_its_name(#[case] entry: &str) {
    let _driver = Driver::installed();
    let _yard = Yard::new();
    let pod = pod("name: cache", "", &["cache"]);
    apply(&(theirs(entry) + &claim("name: cache", 32, "local-storage") + &pod));
    await_ready();
    assert_eq!(kubectl("get pvc cache -o jsonpath={.spec.volumeName}"), "local-pv-6b2d8f4e");
    in_pod("echo from before >/cache/note; sync");

    // While a pod has it, nothing is taken over.
    apply(&adoption(entry));
    let said = "get adoption local-pv-6b2d8f4e -o jsonpath={.status.conditions[*].reason}";
    await_that("the Adoption is not refused", || match kubectl(said).as_str() {
        "InUse" => Ok(()),
        other => Err(format!("{other:?}: {}", kubectl("get adoptions -o yaml"))),
    });
    kubectl("delete adoption/local-pv-6b2d8f4e");

    kubectl(
        "patch pv local-pv-6b2d8f4e -p {\"spec\":{\"persistentVolumeReclaimPolicy\":\"Retain\"}}",
    );
    kubectl("delete pod/cache pvc/cache pv/local-pv-6b2d8f4e");
    apply(&adoption(entry));
    kubectl("wait --for=condition=Published adoption/local-pv-6b2d8f4e --timeout=3m");
    apply(&pod);
    await_ready();
    assert_eq!(in_pod("cat /cache/note").trim(), "from before");
    let driver = kubectl("get pv local-pv-6b2d8f4e -o jsonpath={.spec.csi.driver}");
    assert_eq!(driver, "local.tarn.dev");
    in_pod("echo from the pod >/cache/more; sync");
    let id = await_object(entry);

    // Handed back, its files are where they were.
    kubectl("delete pod/cache pvc/cache pv/local-pv-6b2d8f4e adoption/local-pv-6b2d8f4e");
    kubectl(&format!("delete lvol {id} --wait=false"));
    let mut released = String::new();
    await_that("it is not released", || {
        tarn("release local-pv-6b2d8f4e").map(|said| released = said)
    });
    let want = format!("released volume {id}: it is /srv/tarn/takeover/{entry} again\n");
    assert_eq!(released, want);
    no_object_is_left();
    let files = match entry {
        "mounted" => {
            on_node(NODE, "cat /srv/tarn/takeover/mounted/note /srv/tarn/takeover/mounted/more")
        }
        _ => on_node(
            NODE,
            "mount /srv/tarn/takeover/linked /mnt && cat /mnt/note /mnt/more; code=$?; umount /mnt; exit $code",
        ),
    };
    assert_eq!(files, "from before\nfrom the pod\n");
}
