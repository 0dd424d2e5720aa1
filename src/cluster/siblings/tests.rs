//! Which claims count, and what is decided about them.

use std::time::Instant;

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    cluster::{
        objects::{LogicalVolume, LogicalVolumeSpec, NodeLocalStorageStatus},
        state::{PATIENCE, State},
    },
    volume::Purpose,
};

fn pod(name: &str, volumes: &Value) -> Pod {
    let spec = json!({ "containers": [], "volumes": volumes });
    serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap()
}

fn with_claims(name: &str, claims: &[&str]) -> Pod {
    let volume = |claim| json!({ "name": claim, "persistentVolumeClaim": { "claimName": claim } });
    pod(name, &claims.iter().map(volume).collect())
}

#[rstest]
#[case::alone(&[with_claims("web-0", &["data"])], &[])]
#[case::two(&[with_claims("web-0", &["data", "logs"])], &["logs"])]
#[case::of_another_pod(&[with_claims("web-0", &["data"]), with_claims("web-1", &["logs"])], &[])]
#[case::only_what_all_its_pods_have(
    &[with_claims("web-0", &["data", "logs", "a"]), with_claims("job", &["b", "logs", "data"])],
    &["logs"]
)]
#[case::ephemeral(
    &[pod("web-0", &json!([
        { "name": "x", "persistentVolumeClaim": { "claimName": "data" } },
        { "name": "scratch", "ephemeral": {} },
        { "name": "config", "configMap": { "name": "logs" } },
    ]))],
    &["web-0-scratch"]
)]
#[case::no_pod(&[], &[])]
fn the_other_claims_of_a_pod(#[case] pods: &[Pod], #[case] expected: &[&str]) {
    let found = others(pods, "data");
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// A claim of the class `local` for which `a` was chosen, but for what `changes` says.
fn claim(changes: &Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {
            "name": "logs", "namespace": "shop", "uid": "7f-1", "annotations": { CHOSEN: "a" },
        },
        "spec": {
            "storageClassName": "local",
            "resources": { "requests": { "storage": "3Gi" } },
        },
    });
    for (at, value) in changes.as_object().unwrap() {
        let (outer, field) = at.split_once('.').unwrap();
        claim[outer][field] = value.clone();
    }
    serde_json::from_value(claim).unwrap()
}

#[rstest]
#[case::chosen(json!({}), true)]
#[case::not_chosen_yet_or_any_more(json!({ "metadata.annotations": null }), true)]
#[case::elsewhere(json!({ "metadata.annotations": { CHOSEN: "b" } }), false)]
#[case::bound(json!({ "spec.volumeName": "pvc-7f-1" }), false)]
#[case::a_copy(json!({ "spec.dataSource": { "kind": "VolumeSnapshot", "name": "s" } }), false)]
#[case::deleted(json!({ "metadata.deletionTimestamp": "2026-01-01T00:00:00Z" }), false)]
#[case::without_a_class(json!({ "spec.storageClassName": "" }), false)]
fn claims_that_count(#[case] changes: Value, #[case] counts: bool) {
    let class = counts.then_some("local");
    assert_eq!(class_of(&claim(&changes), &"a".parse().unwrap()), class);
}

#[test]
fn a_long_name_of_a_node_is_known_by_its_digest() {
    let long = format!("{}.example.org", "node".repeat(20));
    let claim = claim(&json!({ "metadata.annotations": { CHOSEN: long } }));
    assert_eq!(is_chosen(&claim, &long.parse().unwrap()), Some(true));
    assert_eq!(is_chosen(&claim, &"a".parse().unwrap()), Some(false));
}

#[test]
fn a_sibling_is_read_from_its_claim() {
    let claim = claim(&json!({}));
    let own: VolumeName = "pvc-7f-1".parse().unwrap();
    assert_eq!(prefix(&own, &claim), Some("pvc-"));
    assert_eq!(prefix(&"pvc-7f-2".parse().unwrap(), &claim), None, "a claim made anew");
    let read = sibling(&claim, "pvc-", Parameters::default()).unwrap();
    assert_eq!((read.claim.as_str(), &read.id), ("shop/logs", &VolumeId::of(&own)));
    assert_eq!(read.size.least(), Bytes::gib(3));
}

#[rstest]
#[case::no_size(json!({ "spec.resources": {} }))]
#[case::a_size_of_another_kind(json!({ "spec.resources": { "requests": { "storage": "1e9" } } }))]
fn a_claim_that_cannot_be_read_is_said_to_be(#[case] changes: Value) {
    let refused = sibling(&claim(&changes), "pvc-", Parameters::default()).unwrap_err();
    assert!(refused.to_string().contains("spec.resources.requests.storage"), "{refused}");
}

const EXTENT: u64 = 4 << 20;

/// A node `a` with 10 GiB thick and 4 GiB thin in the pool `fast`, and 5 GiB in the pool `slow`.
fn state(now: Instant) -> State {
    let pool = |name: &str, gib: u64, thin: Option<Value>| {
        let extents = gib * 1024 / 4;
        json!({
            "name": name, "volumeGroup": name, "size": "1Gi", "free": "1Gi",
            "volumes": 0, "snapshots": 0, "wiping": "0",
            "spec": {
                "volumeGroup": name, "provisioning": "ThickAndThin", "thinPool": { "size": "4Gi" },
            },
            "extentSize": Bytes(EXTENT), "extents": extents, "freeExtents": extents,
            "disks": [{
                "device": "/dev/sda", "allocatable": true, "extents": extents,
                "freeRuns": [extents],
            }],
            "thinPool": thin,
        })
    };
    let thin = json!({ "size": "4Gi", "promised": "0" });
    let report: NodeLocalStorageStatus = serde_json::from_value(json!({
        "sequence": 1, "pools": [pool("fast", 10, Some(thin)), pool("slow", 5, None)],
    }))
    .unwrap();
    let mut state = State::default();
    let node = "a".parse().unwrap();
    state.report(&node, &report);
    state.heard_of(&node, now);
    state
}

/// The class that a word stands for.
fn class(word: &str) -> Parameters {
    let (pool, provisioning) = word.split_once('-').unwrap();
    let pairs = [("pool", pool), ("provisioning", provisioning)];
    Parameters::parse(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()).unwrap()
}

fn wanted(name: &str, class_name: &str, gib: u64) -> Wanted {
    Wanted {
        name: name.parse().unwrap(),
        size: SizeRange::at_least(Bytes::gib(gib)),
        purpose: Purpose::Block,
        parameters: class(class_name),
        source: None,
        nodes: Some(vec!["a".parse().unwrap()]),
        claim: Some(format!("shop/{name}")),
    }
}

fn as_sibling(wanted: &Wanted) -> Sibling {
    Sibling {
        claim: wanted.claim.clone().unwrap(),
        id: VolumeId::of(&wanted.name),
        size: wanted.size,
        purpose: wanted.purpose,
        parameters: wanted.parameters.clone(),
    }
}

/// A call: what is placed and promised in one step.
fn call(
    state: &mut State,
    wanted: &Wanted,
    siblings: &[&Wanted],
    now: Instant,
) -> Result<LogicalVolumeSpec, Error> {
    let siblings: Vec<Sibling> = siblings.iter().map(|it| as_sibling(it)).collect();
    let spec = state.place(wanted, &siblings, now)?;
    state.reserve(VolumeId::of(&wanted.name).as_str(), &spec);
    Ok(spec)
}

#[rstest]
#[case::both_fit(&[("fast-thick", 5), ("fast-thick", 5)], true)]
#[case::one_too_many(&[("fast-thick", 6), ("fast-thick", 5)], false)]
#[case::three(&[("fast-thick", 4), ("fast-thick", 3), ("fast-thick", 3)], true)]
#[case::the_third_is_too_much(&[("fast-thick", 4), ("fast-thick", 3), ("fast-thick", 4)], false)]
#[case::pools_share_nothing(&[("fast-thick", 10), ("slow-thick", 5)], true)]
#[case::thick_and_thin_share_nothing(&[("fast-thick", 10), ("fast-thin", 4)], true)]
#[case::thin(&[("fast-thin", 3), ("fast-thin", 2)], false)]
#[case::not_there_at_all(&[("fast-thick", 1), ("gone-thick", 1)], false)]
#[case::not_even_alone(&[("fast-thick", 1), ("slow-thick", 6)], false)]
fn all_or_none(#[case] claims: &[(&str, u64)], #[case] fit: bool) {
    let now = Instant::now();
    let mut state = state(now);
    let all: Vec<Wanted> = claims
        .iter()
        .enumerate()
        .map(|(number, (class, gib))| wanted(&format!("pvc-{number}"), class, *gib))
        .collect();
    for own in &all {
        let others: Vec<&Wanted> = all.iter().filter(|it| it.name != own.name).collect();
        let made = call(&mut state, own, &others, now);
        assert_eq!(made.is_ok(), fit, "{made:?}");
    }
}

#[test]
fn a_refusal_names_all_claims_with_their_sizes_and_the_room() {
    let now = Instant::now();
    let (data, logs) = (wanted("data", "fast-thick", 6), wanted("logs", "fast-thick", 5));
    let refused = call(&mut state(now), &data, &[&logs], now).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the claims of one pod do not fit on node a together: shop/data (6Gi), shop/logs (5Gi). \
         Besides the others, pool fast of node a has no room for a volume of 5Gi; the largest that \
         fits is 4Gi"
    );
    assert!(matches!(refused, Error::NoRoom(_)));
}

#[test]
fn of_pods_at_once_those_that_fit_get_all_their_volumes() {
    let now = Instant::now();
    let mut state = state(now);
    let pods = ["p", "q", "r"]
        .map(|pod| ["data", "logs"].map(|name| wanted(&format!("{pod}-{name}"), "fast-thick", 2)));
    // The first claims of all pods come before the second ones.
    let mut made = Vec::new();
    for number in [0, 1] {
        for pod in &pods {
            let (own, other) = (&pod[number], &pod[1 - number]);
            if call(&mut state, own, &[other], now).is_ok() {
                made.push(own.name.as_str());
            }
        }
    }
    assert_eq!(made, ["p-data", "q-data", "p-logs", "q-logs"], "10Gi are room for two pods of 4Gi");
}

fn free(state: &State, now: Instant) -> Bytes {
    let node: NodeId = "a".parse().unwrap();
    state.capacity(&class("fast-thick"), Some(&node), now).available
}

#[test]
fn room_is_kept_for_a_sibling_until_it_comes_or_is_late() {
    let now = Instant::now();
    let mut state = state(now);
    let (data, logs) = (wanted("data", "fast-thick", 3), wanted("logs", "fast-thick", 4));
    call(&mut state, &data, &[&logs], now).unwrap();
    assert_eq!(free(&state, now), Bytes::gib(3));
    let stranger = wanted("stranger", "fast-thick", 4);
    assert!(call(&mut state, &stranger, &[], now).is_err(), "it is kept for another");
    // `data` is promised its room already: it is not counted again.
    call(&mut state, &logs, &[&data], now).unwrap();
    assert_eq!(free(&state, now), Bytes::gib(3));

    let late = now + std::time::Duration::from_secs(60);
    let mut state = self::state(late);
    call(&mut state, &data, &[&logs], now + PATIENCE).unwrap();
    assert_eq!(free(&state, late), Bytes::gib(3));
    state.heard_of(&"a".parse().unwrap(), late + PATIENCE);
    assert_eq!(free(&state, late + PATIENCE), Bytes::gib(7), "its call has not come");
}

#[test]
fn what_a_sibling_has_is_counted_once() {
    let now = Instant::now();
    let mut state = state(now);
    let (data, logs) = (wanted("data", "fast-thick", 6), wanted("logs", "fast-thick", 4));
    let id = VolumeId::of(&data.name).to_string();
    let spec = call(&mut state, &data, &[&logs], now).unwrap();
    let object = |version: &str, phase: &str| {
        let mut object = LogicalVolume::new(&id, spec.clone());
        object.metadata.uid = Some("u".to_owned());
        object.metadata.resource_version = Some(version.to_owned());
        object.status = serde_json::from_value(json!({ "phase": phase, "sequence": 9 })).unwrap();
        object
    };
    state.enter(&id, &object("1", "Ready"));
    assert_eq!(free(&state, now), Bytes::ZERO);
    call(&mut state, &logs, &[&data], now).unwrap();
    // Had its node refused it, it would need its room again.
    let mut state = self::state(now);
    state.enter(&id, &object("1", "Failed"));
    let larger = wanted("logs", "fast-thick", 5);
    assert!(call(&mut state, &larger, &[&data], now).is_err());
}

#[test]
fn what_is_wrong_with_a_sibling_otherwise_is_its_own_matter() {
    let now = Instant::now();
    let data = wanted("data", "fast-thick", 6);
    let nowhere = Wanted { parameters: Parameters::default(), ..wanted("logs", "fast-thick", 1) };
    assert!(call(&mut state(now), &nowhere, &[], now).is_err(), "there are two pools");
    call(&mut state(now), &data, &[&nowhere], now).unwrap();
}
