//! A logical volume that is there already becomes the volume of a claim, and is handed back.

use std::process::Command;

use crate::{
    claims::pod,
    driver::{Driver, no_object_is_left},
    folders::in_pod,
    kubectl::{apply, await_that, kubectl, on_node},
};

const NODE: &str = "node-a";

/// Runs the program in the container of the node's driver, as docs/adoption.md says; what it prints, or why not.
pub(crate) fn tarn(words: &str) -> Result<String, String> {
    let of_node = "-l app.kubernetes.io/component=node --field-selector=spec.nodeName=node-a";
    let driver = kubectl(&format!("-n tarn-system get pod {of_node} -o name"));
    let mut command = Command::new("kubectl");
    command.args(["-n", "tarn-system", "exec", driver.trim(), "--", "tarn"]);
    let output = command.args(words.split(' ')).output().unwrap();
    let (said, why) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    if output.status.success() { Ok(said) } else { Err(why) }
}

/// What LVM knows of every volume of the group: its name, size and tags.
fn volumes() -> String {
    let all = on_node(NODE, "lvs --noheadings --units m -o lv_name,lv_size,lv_tags tarn");
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let all = all.lines().map(line).filter(|it| !it.starts_with("tarn-thin"));
    all.collect::<Vec<_>>().join("\n")
}

/// A shell line on the node while the volume is mounted there by hand.
fn by_hand(line: &str) -> String {
    let mounted =
        format!("mkdir -p /mnt/photos && mount /dev/tarn/photos /mnt/photos && {{ {line}; }}");
    on_node(
        NODE,
        &format!("{mounted}; code=$?; umount /mnt/photos && rmdir /mnt/photos; exit $code"),
    )
}

/// How large the file system is that the pod sees, in KiB.
fn size_in_pod() -> u64 {
    in_pod("df -kP /cache | tail -n 1 | awk '{print $2}'").trim().parse().unwrap()
}

fn await_object(id: &str, size: &str) {
    await_that("its object is not made", || {
        let said = "-o jsonpath={.spec.nodeName},{.spec.csiName},{.status.phase},{.status.size}";
        match kubectl(&format!("get lvol {id} --ignore-not-found {said}")) {
            said if said == format!("node-a,photos,Ready,{size}") => Ok(()),
            said => Err(format!("{said:?}: {}", kubectl("get nls node-a -o yaml"))),
        }
    });
}

/// As somebody does who has not read docs/adoption.md: it waits, says why, and keeps the data.
fn delete_only_its_object(id: &str) {
    kubectl(&format!("delete lvol {id} --wait=false"));
    let why = "-o jsonpath={.status.conditions[?(@.type==\"Deleted\")].message}";
    await_that("it does not say why it waits", || match kubectl(&format!("get lvol {id} {why}")) {
        why if why.contains("`tarn release photos` on node node-a") => Ok(()),
        why => Err(why),
    });
    await_that("there is no Event", || {
        let about = format!("reason=DeletionWaits,involvedObject.name={id}");
        match kubectl(&format!("get events -A --field-selector={about} -o name")).as_str() {
            "" => Err("none".to_owned()),
            _ => Ok(()),
        }
    });
    assert!(volumes().starts_with(&format!("{id} 96.00m ")), "{}", volumes());
}

fn grow_to_96(id: &str) {
    let before = size_in_pod();
    kubectl("patch pvc cache -p {\"spec\":{\"resources\":{\"requests\":{\"storage\":\"96Mi\"}}}}");
    await_that("the file system has not grown", || match size_in_pod() {
        now if now > before * 4 / 3 => Ok(()),
        now => Err(format!("{now} KiB, {before} before; {}", kubectl("describe pvc cache"))),
    });
    await_that("the claim has not grown", || {
        match kubectl("get pvc cache -o jsonpath={.status.capacity.storage}").as_str() {
            "96Mi" => Ok(()),
            size => Err(size.to_owned()),
        }
    });
    assert_eq!(kubectl(&format!("get lvol {id} -o jsonpath={{.status.size}}")), "96Mi");
    assert!(volumes().starts_with(&format!("{id} 96.00m ")), "{}", volumes());
}

/// An Adoption of this name, for the logical volume of the same.
fn adoption(name: &str) -> String {
    format!(
        "apiVersion: tarn.dev/v1alpha1\nkind: Adoption\nmetadata: {{name: {name}}}\nspec: {{nodeName: {NODE}, \
         volumeGroup: tarn, logicalVolume: {name}, storageClassName: local, reclaimPolicy: Delete, \
         claim: {{namespace: default, name: cache}}}}\n"
    )
}

fn await_said(name: &str, condition: &str, reason: &str) {
    let said = format!("-o jsonpath={{.status.conditions[?(@.type==\"{condition}\")].reason}}");
    await_that("the Adoption does not say it", || {
        match kubectl(&format!("get adoption {name} {said}")) {
            said if said == reason => Ok(()),
            _ => Err(kubectl(&format!("get adoption {name} -o yaml"))),
        }
    });
}

#[test]
#[ignore = "cluster: needs a Kubernetes of its own"]
fn a_volume_that_was_there_is_a_claim_s_and_handed_back_with_all_its_data() {
    let _driver = Driver::installed();
    on_node(NODE, "lvcreate -qq -y -Wn -L 64m -n photos tarn && mkfs.ext4 -q -m0 /dev/tarn/photos");
    by_hand("echo from before >/mnt/photos/note");
    assert_eq!(volumes(), "photos 64.00m");

    let adopt = "adopt tarn/photos --name photos --print-pv --claim default/cache --class local";
    let objects = tarn(adopt).unwrap();
    assert_eq!(tarn(adopt).unwrap(), objects, "twice is once");
    let all = volumes();
    let id = all.split(' ').next().unwrap();
    assert!(id.starts_with("v-") && all.contains("tarn.was=photos"), "{all}");
    apply(&(objects + &pod("name: cache", "", &["cache"])));
    kubectl("wait --for=condition=Ready pod/cache --timeout=4m");
    assert_eq!(kubectl("get pod cache -o jsonpath={.spec.nodeName}"), NODE);
    assert_eq!(kubectl("get pvc cache -o jsonpath={.spec.volumeName}"), "photos");
    assert_eq!(in_pod("cat /cache/note").trim(), "from before");
    in_pod("echo from the pod >/cache/more");

    await_object(id, "64Mi");
    grow_to_96(id);

    let in_use = tarn("release photos").unwrap_err();
    assert!(in_use.contains("mounted at"), "{in_use}");
    kubectl("delete pod/cache pvc/cache pv/photos");
    assert!(volumes().starts_with(&format!("{id} 96.00m ")), "its data stay: {}", volumes());
    delete_only_its_object(id);
    let mut released = String::new();
    await_that("it is not released", || tarn("release photos").map(|said| released = said));
    assert_eq!(released, format!("released volume {id}: it is tarn/photos again\n"));
    no_object_is_left();
    assert_eq!(volumes(), "photos 96.00m");
    assert_eq!(by_hand("cat /mnt/photos/note /mnt/photos/more"), "from before\nfrom the pod\n");
    on_node(NODE, "e2fsck -fn /dev/tarn/photos");

    // The same with objects. Who says `Delete` means the data.
    apply(&format!("{}---\n{}", adoption("nowhere"), adoption("photos")));
    await_said("photos", "Published", "Published");
    await_said("nowhere", "Adopted", "NotFound");
    assert_eq!(kubectl("get adoption photos -o jsonpath={.status.volume}"), id);
    kubectl("wait --for=jsonpath={.status.phase}=Bound pvc/cache --timeout=1m");
    kubectl("delete adoption nowhere photos");
    await_object(id, "96Mi");
    kubectl("get pv/photos pvc/cache");
    kubectl("delete pvc/cache");
    no_object_is_left();
    await_that("the volume is left", || match volumes().as_str() {
        "" => Ok(()),
        left => Err(left.to_owned()),
    });
    kubectl("wait --for=delete pv/photos --timeout=1m");
}
