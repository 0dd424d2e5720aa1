//! PersistentVolumes and claims of adopted volumes, in an API in memory.

use rstest::rstest;
use serde_json::{Value, json};

use super::{
    fake::{ADOPTIONS, FakeApi},
    *,
};
use crate::{cluster::objects::LogicalVolume, volume::VolumeId};

const VOLUME: &str = "/api/v1/persistentvolumes/photos";
const CLAIM: &str = "/api/v1/namespaces/home/persistentvolumeclaims/album";

fn id() -> VolumeId {
    VolumeId::of(&"photos".parse().unwrap())
}

/// An API with the Adoption of a volume that its node has adopted, and who makes its objects.
struct Scene {
    api: Arc<FakeApi>,
    view: View,
    adoptions: PublishedAdoptions,
}

impl Scene {
    fn new(change: impl FnOnce(&mut Value)) -> Self {
        let mut object = json!({
            "apiVersion": "tarn.dev/v1alpha1", "kind": "Adoption", "metadata": { "name": "photos" },
            "spec": {
                "nodeName": "n1", "volumeGroup": "vg0", "logicalVolume": "photos",
                "storageClassName": "local", "claim": { "namespace": "home", "name": "album" },
            },
            "status": {
                "volume": "v-of-somebody-else", "size": "40Mi", "as": "ext4",
                "conditions": [{
                    "type": "Adopted", "status": "True", "reason": "Adopted", "message": "it is",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            },
        });
        change(&mut object);
        let (api, view) = (FakeApi::new(), View::new());
        api.put(&format!("{ADOPTIONS}photos"), object);
        let driver = "local.tarn.dev".parse().unwrap();
        let adoptions = PublishedAdoptions::new(api.client(), view.clone(), driver);
        Self { api, view, adoptions }
    }

    fn object(&self) -> Adoption {
        let object = self.api.get(&format!("{ADOPTIONS}photos")).unwrap();
        serde_json::from_value(object).unwrap()
    }

    async fn serve(&self) -> Result<Action, kube::Error> {
        self.adoptions.serve(&self.object()).await
    }

    /// The reason and the words of the condition `Published`.
    fn said(&self) -> (String, String) {
        let conditions = self.object().status.unwrap().conditions;
        let said = conditions.into_iter().find(|it| it.kind == "Published").unwrap();
        (said.reason, said.message)
    }

    async fn refused(&self, reason: &str, words: &str) {
        assert_eq!(self.serve().await.unwrap(), Action::requeue(LATER));
        let (said, message) = self.said();
        assert_eq!((said.as_str(), message.contains(words)), (reason, true), "{message}");
        let before = self.object();
        assert_eq!(self.serve().await.unwrap(), Action::requeue(LATER));
        assert_eq!(self.object(), before, "what is no news is not written");
    }
}

#[tokio::test]
async fn the_volume_and_its_claim_name_each_other() {
    let scene = Scene::new(|_| ());
    assert_eq!(scene.serve().await.unwrap(), Action::await_change());
    let (volume, claim) = (scene.api.get(VOLUME).unwrap(), scene.api.get(CLAIM).unwrap());
    assert_eq!(volume["spec"]["csi"]["volumeHandle"], id().as_str(), "by the name, not the status");
    assert_eq!(volume["spec"]["claimRef"]["name"], "album");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(claim["spec"]["volumeName"], "photos");
    for it in [&volume, &claim] {
        assert_eq!(it["spec"]["storageClassName"], "local");
    }
    assert_eq!(scene.object().status.unwrap().persistent_volume.as_deref(), Some("photos"));
    assert_eq!(scene.said().0, "Published");
}

#[tokio::test]
async fn they_are_made_once() {
    let scene = Scene::new(|it| it["spec"]["reclaimPolicy"] = json!("Delete"));
    scene.serve().await.unwrap();
    assert_eq!(scene.api.get(VOLUME).unwrap()["spec"]["persistentVolumeReclaimPolicy"], "Delete");
    scene.api.delete(VOLUME);
    scene.api.requests();
    assert_eq!(scene.serve().await.unwrap(), Action::await_change());
    assert_eq!(scene.api.requests(), [""; 0]);
}

#[rstest]
#[case::not_adopted(json!({}), json!({ "status": null }))]
#[case::deleted(json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" }), json!({}))]
#[tokio::test]
async fn nothing_is_made(#[case] metadata: Value, #[case] change: Value) {
    let scene = Scene::new(|it| {
        let more = metadata.as_object().unwrap().clone();
        it["metadata"].as_object_mut().unwrap().extend(more);
        it.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    });
    assert_eq!(scene.serve().await.unwrap(), Action::await_change());
    assert_eq!(scene.api.requests(), [""; 0]);
}

#[tokio::test]
async fn a_lost_answer_and_another_replica_change_nothing() {
    let scene = Scene::new(|_| ());
    let before = scene.object();
    scene.api.lose_an_answer();
    assert!(scene.serve().await.is_err());
    assert!(scene.api.get(VOLUME).is_some());
    assert_eq!(scene.serve().await.unwrap(), Action::await_change());
    let after = (scene.object(), scene.api.get(VOLUME), scene.api.get(CLAIM));
    // One that still has the object as it was.
    let late = scene.adoptions.serve(&before).await.unwrap_err();
    assert!(matches!(&late, kube::Error::Api(err) if err.code == 409), "{late}");
    assert_eq!((scene.object(), scene.api.get(VOLUME), scene.api.get(CLAIM)), after);
}

#[tokio::test]
async fn a_claim_that_waits_for_it_is_taken_as_it_is() {
    let scene = Scene::new(|_| ());
    scene.api.put(CLAIM, json!({ "metadata": { "name": "album", "labels": { "app": "a" } } }));
    let before = scene.api.get(CLAIM);
    assert_eq!(scene.serve().await.unwrap(), Action::await_change());
    assert_eq!(scene.api.get(CLAIM), before);
    assert_eq!(scene.said().0, "Published");
}

#[tokio::test]
async fn a_claim_with_another_volume_is_left_alone() {
    let scene = Scene::new(|_| ());
    let theirs = json!({ "metadata": { "name": "album" }, "spec": { "volumeName": "other" } });
    scene.api.put(CLAIM, theirs);
    scene.refused("NameTaken", "claim home/album has another volume, other").await;
    assert_eq!(scene.api.get(VOLUME), None);
}

#[rstest]
#[case::another_driver(json!({ "csi": { "driver": "a", "volumeHandle": id().as_str() } }), "of another volume")]
#[case::another_volume(json!({ "csi": { "driver": "local.tarn.dev", "volumeHandle": "v-a" } }), "of another volume")]
#[case::another_claim(
    json!({
        "csi": { "driver": "local.tarn.dev", "volumeHandle": id().as_str() },
        "claimRef": { "namespace": "away", "name": "album" },
    }),
    "bound to claim away/album, and not to home/album"
)]
#[tokio::test]
async fn a_volume_of_that_name_is_left_alone(#[case] spec: Value, #[case] words: &str) {
    let scene = Scene::new(|_| ());
    scene.api.put(VOLUME, json!({ "metadata": { "name": "photos" }, "spec": spec }));
    let before = scene.api.get(VOLUME);
    scene.refused("NameTaken", words).await;
    assert_eq!((scene.api.get(VOLUME), scene.api.get(CLAIM)), (before, None));
    scene.api.delete(VOLUME);
    assert_eq!(scene.serve().await.unwrap(), Action::await_change());
    assert_eq!(scene.said().0, "Published");
}

#[tokio::test]
async fn what_the_api_refuses_is_told() {
    let scene = Scene::new(|it| it["spec"]["claim"]["namespace"] = json!("nowhere"));
    scene.refused("NotFound", "it said NotFound").await;
    assert!(scene.api.get(VOLUME).is_some(), "it waits for its claim");
}

#[tokio::test]
async fn nonsense_is_told_and_makes_nothing() {
    let scene = Scene::new(|it| it["status"]["as"] = json!("zfs"));
    assert_eq!(scene.serve().await.unwrap(), Action::await_change());
    assert_eq!(scene.said().0, "Invalid");
    assert_eq!(scene.api.get(VOLUME), None);
}

#[tokio::test]
async fn a_volume_of_another_node_has_calls_about_it() {
    let scene = Scene::new(|_| ());
    let object = |node: &str| -> LogicalVolume {
        let object = json!({
            "apiVersion": "tarn.dev/v1alpha1", "kind": "LogicalVolume",
            "metadata": { "name": id().as_str(), "uid": "u", "resourceVersion": "7" },
            "spec": {
                "nodeName": node, "pool": "p", "csiName": "photos", "size": "1Gi",
                "volumeMode": "Block", "provisioning": "Thick", "wipe": "Zero",
            },
        });
        serde_json::from_value(object).unwrap()
    };
    scene.view.enter(&object("n2"));
    scene.refused("NameTaken", "is one of node n2").await;
    assert_eq!(scene.api.get(VOLUME), None);
    scene.view.remove(id().as_str(), "u");
    let its = LogicalVolume {
        metadata: kube::api::ObjectMeta {
            resource_version: Some("9".to_owned()),
            uid: Some("w".to_owned()),
            ..object("n1").metadata
        },
        ..object("n1")
    };
    scene.view.enter(&its);
    assert_eq!(scene.serve().await.unwrap(), Action::await_change());
}

/// The kubelet would serve both.
#[tokio::test]
async fn a_device_that_another_volume_has_is_not_published() {
    let device = json!({ "nodeName": "n1", "device": "/mnt/disks/sda" });
    let scene = Scene::new(|it| it["spec"] = device);
    let at = |path: &str| [("n1".parse().unwrap(), path.to_owned())].into();
    scene.view.with(|state| state.set_locals([("theirs".to_owned(), at("/mnt/disks/sda"))].into()));
    scene.refused("NameTaken", "of the kind `local` with /mnt/disks/sda").await;
    assert_eq!(scene.api.get(VOLUME), None);
    scene.view.with(|state| state.set_locals([("theirs".to_owned(), at("/mnt/disks/sdb"))].into()));
    assert_eq!(scene.serve().await.unwrap(), Action::await_change());
    assert_eq!(scene.said().0, "Published");
}
