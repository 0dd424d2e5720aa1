//! The controller's knowledge: what is placed where, what is promised, what is old news.

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::{
    cluster::{FOUND, objects::LogicalVolume},
    volume::{AfterRestart, LayoutWish, SizeRange, VolumeName},
};

const EXTENT: u64 = 4 << 20;

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

/// A report of one pool on one disk.
fn report(pool: &str, free: Bytes, sequence: i64) -> NodeLocalStorageStatus {
    let extents = free.0 / EXTENT;
    serde_json::from_value(json!({
        "sequence": sequence,
        "pools": [{
            "name": pool, "volumeGroup": "vg", "size": free, "free": free,
            "volumes": 0, "snapshots": 0, "wiping": "0",
            "spec": { "volumeGroup": "vg" },
            "extentSize": "4Mi", "extents": extents, "freeExtents": extents,
            "disks": [{
                "device": "/dev/sda", "allocatable": true, "extents": extents,
                "freeRuns": [extents],
            }],
        }],
    }))
    .unwrap()
}

fn wanted(name: &str, size: Bytes, nodes: Option<&[&str]>) -> Wanted {
    let name: VolumeName = name.parse().unwrap();
    Wanted {
        name,
        size: SizeRange::at_least(size),
        purpose: crate::volume::Purpose::Block,
        parameters: Parameters::default(),
        source: None,
        nodes: nodes.map(|nodes| nodes.iter().map(|it| node(it)).collect()),
        claim: None,
    }
}

fn object(id: &str, spec: &LogicalVolumeSpec, version: u64) -> LogicalVolume {
    let mut object = LogicalVolume::new(id, spec.clone());
    object.metadata.uid = Some(format!("uid-{id}"));
    object.metadata.resource_version = Some(version.to_string());
    object
}

fn with_status(mut object: LogicalVolume, status: serde_json::Value) -> LogicalVolume {
    object.status = serde_json::from_value(status).unwrap();
    object
}

/// Two nodes that are alive, `a` with 10 GiB and `b` with 20.
fn two_nodes(now: Instant) -> State {
    let mut state = State::default();
    for (name, size) in [("a", 10), ("b", 20)] {
        state.report(&node(name), &report("fast", Bytes::gib(size), 100));
        state.heard_of(&node(name), now);
    }
    state
}

/// Places a volume and enters its object, as writing it does.
fn write(state: &mut State, name: &str, wanted: &Wanted, now: Instant) -> Result<String, Error> {
    let id = VolumeId::of(&name.parse().unwrap()).to_string();
    let spec = state.place(wanted, &[], now)?;
    state.reserve(&id, &spec);
    state.enter(&id, &object(&id, &spec, 1));
    state.release(&id, &spec);
    Ok(id)
}

#[test]
fn exactly_as_many_as_there_is_room_for_are_placed() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let mut refused = 0;
    for number in 0..15 {
        let name = format!("pvc-{number}");
        let wanted = wanted(&name, Bytes::GIB, Some(&["a", "b"]));
        match write(&mut state, &name, &wanted, now) {
            Ok(id) => assert_eq!(state.entry(&id).unwrap().spec.node_name, "a"),
            Err(err) => {
                assert!(matches!(err, Error::NoRoom(_)), "{err}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 5);
    assert_eq!(state.capacity(&Parameters::default(), Some(&node("a")), now), Capacity::default());
    let on_b = state.capacity(&Parameters::default(), Some(&node("b")), now);
    assert_eq!(on_b.available, Bytes::gib(20));
}

/// Two legs each on three disks of 10 GiB: the places of what is promised are known.
#[test]
fn as_many_mirrors_as_their_disks_have_room_for_are_placed() {
    let now = Instant::now();
    let extents = Bytes::gib(10).0 / EXTENT;
    let disk = |name: &str| json!({ "device": name, "allocatable": true, "extents": extents, "freeRuns": [extents] });
    let mut status = serde_json::to_value(report("fast", Bytes::gib(30), 100)).unwrap();
    status["pools"][0]["disks"] = json!([disk("/dev/sda"), disk("/dev/sdb"), disk("/dev/sdc")]);
    status["pools"][0]["spec"]["layout"] = json!("Raid1");
    let mut state = State::default();
    state.report(&node("a"), &serde_json::from_value(status).unwrap());
    state.heard_of(&node("a"), now);
    let mut room = Vec::new();
    for number in 0..4 {
        let name = format!("pvc-{number}");
        let wanted = wanted(&name, Bytes::gib(4), Some(&["a"]));
        if let Ok(id) = write(&mut state, &name, &wanted, now) {
            let spec = &state.entry(&id).unwrap().spec;
            assert_eq!(
                (spec.layout, spec.mirrors, spec.stripes),
                (LayoutWish::Raid1, Some(1), None)
            );
            let largest = state.capacity(&Parameters::default(), Some(&node("a")), now).largest;
            room.push((Bytes::gib(10).0 - largest.0) / EXTENT);
        }
    }
    let each = Bytes::gib(4).0 / EXTENT + 1;
    assert_eq!(room, [each + 1, each + 1, 2 * each + 1]);
}

/// In a directory a snapshot takes what its volume may hold, and does not keep it from being deleted.
#[rstest]
#[case::group(json!({ "volumeGroup": "vg" }), true, true)]
#[case::directory(json!({ "directory": { "path": "/srv" } }), false, false)]
fn a_snapshot_is_promised_its_room_and_may_need_its_volume(
    #[case] spec: serde_json::Value,
    #[case] has_tables: bool,
    #[case] needs_it: bool,
) {
    let now = Instant::now();
    let mut status = serde_json::to_value(report("fast", Bytes::gib(10), 100)).unwrap();
    status["pools"][0]["spec"] = spec;
    let mut state = State::default();
    state.report(&node("a"), &serde_json::from_value(status).unwrap());
    state.heard_of(&node("a"), now);
    let id = VolumeId::of(&"pvc".parse().unwrap());
    let of = state.place(&wanted("pvc", Bytes::gib(4), Some(&["a"])), &[], now).unwrap();
    let ready = json!({ "phase": "Ready", "size": "4Gi", "sequence": 90 });
    state.enter(id.as_str(), &with_status(object(id.as_str(), &of, 1), ready));
    let wish = WantedSnapshot { name: "snap".parse().unwrap(), source: id.clone() };
    let snapshot = state.place_snapshot(&wish, now).unwrap();
    let name = crate::volume::SnapshotId::of(&wish.name).to_string();
    state.reserve(&name, &snapshot);
    state.enter(&name, &object(&name, &snapshot, 2));
    let taken = 10 * 256 - state.capacity(&Parameters::default(), None, now).largest.0 / EXTENT;
    assert_eq!(taken > 4 * 256, has_tables, "{taken}");
    assert!(taken >= 4 * 256);
    assert_eq!(!state.dependents(&id).is_empty(), needs_it);
}

#[test]
fn a_reservation_counts_until_it_is_written_or_given_up() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let room =
        |state: &State| state.capacity(&Parameters::default(), Some(&node("a")), now).largest;
    let spec = state.place(&wanted("pvc", Bytes::gib(4), Some(&["a"])), &[], now).unwrap();
    state.reserve("v-x", &spec);
    assert_eq!(room(&state), Bytes::gib(6));
    state.release("v-x", &spec);
    assert_eq!(room(&state), Bytes::gib(10));
    state.reserve("v-x", &spec);
    state.enter("v-x", &object("v-x", &spec, 1));
    state.release("v-x", &spec);
    assert_eq!(room(&state), Bytes::gib(6));
}

#[test]
fn a_volume_counts_until_a_report_has_it() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let room =
        |state: &State| state.capacity(&Parameters::default(), Some(&node("a")), now).largest;
    let id = write(&mut state, "pvc", &wanted("pvc", Bytes::gib(4), Some(&["a"])), now).unwrap();
    let spec = state.entry(&id).unwrap().spec.clone();
    let ready = json!({ "phase": "Ready", "size": "4Gi", "sequence": 105 });
    state.enter(&id, &with_status(object(&id, &spec, 2), ready));
    assert_eq!(room(&state), Bytes::gib(6), "the report is of before");
    state.report(&node("a"), &report("fast", Bytes::gib(6), 105));
    assert_eq!(room(&state), Bytes::gib(6), "now the report has it");
}

#[test]
fn a_refused_volume_takes_no_room() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let id = write(&mut state, "pvc", &wanted("pvc", Bytes::gib(4), Some(&["a"])), now).unwrap();
    let spec = state.entry(&id).unwrap().spec.clone();
    let failed = json!({
        "phase": "Failed", "refusal": { "reason": "NoRoom", "message": "filled behind our back" },
    });
    state.enter(&id, &with_status(object(&id, &spec, 2), failed));
    let room = state.capacity(&Parameters::default(), Some(&node("a")), now);
    assert_eq!(room.available, Bytes::gib(10));
}

#[test]
fn a_silent_node_has_no_room_and_gets_nothing() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let later = now + PATIENCE;
    assert_eq!(
        state.capacity(&Parameters::default(), Some(&node("a")), later),
        Capacity::default()
    );
    assert_eq!(state.capacity(&Parameters::default(), Some(&node("c")), now), Capacity::default());
    let refused = state.place(&wanted("pvc", Bytes::GIB, Some(&["a"])), &[], later).unwrap_err();
    assert!(matches!(refused, Error::NoRoom(_)) && refused.to_string().contains("silent"));
}

#[test]
fn nothing_is_made_on_a_node_that_is_given_up() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    assert!(state.set_lost(&node("a"), true));
    assert!(!state.set_lost(&node("a"), true), "no news");
    let room =
        |state: &State| state.capacity(&Parameters::default(), Some(&node("a")), now).largest;
    assert_eq!(room(&state), Bytes::ZERO);
    let refused = state.place(&wanted("pvc", Bytes::GIB, Some(&["a"])), &[], now).unwrap_err();
    assert!(matches!(refused, Error::NoRoom(_)) && refused.to_string().contains(RELEASE));
    assert!(!state.is_lost(&node("a"), now), "it is alive");
    assert!(state.is_lost(&node("a"), now + PATIENCE));
    assert!(!state.is_lost(&node("b"), now + PATIENCE), "only silent");
    state.forget_unlisted_reports(&[node("b")].into());
    assert!(!state.is_lost(&node("a"), now + PATIENCE), "said no more");
    state.report(&node("a"), &report("fast", Bytes::gib(10), 101));
    assert_eq!(room(&state), Bytes::gib(10));
}

fn stray(id: &str) -> serde_json::Value {
    json!({
        "name": id, "csiName": "pvc", "pool": "fast", "size": "1Gi", "volumeMode": "Block",
        "provisioning": "Thick", "wipe": "Zero", "madeAt": 1,
    })
}

#[test]
fn a_lost_object_is_made_again_where_its_node_is_alive_and_not_given_up() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let id = VolumeId::of(&"pvc".parse().unwrap()).to_string();
    let mut status = report("fast", Bytes::gib(9), 101);
    status.strays = vec![serde_json::from_value(stray(&id)).unwrap()];
    state.report(&node("a"), &status);
    let lost = state.lost_objects(now);
    assert_eq!((lost.len(), lost[0].0.as_str()), (1, id.as_str()));
    assert_eq!(lost[0].1.node_name, "a");
    assert_eq!(state.finder(&id), Some(&node("a")));
    assert!(state.lost_objects(now + PATIENCE).is_empty(), "its node is silent");
    state.set_lost(&node("a"), true);
    assert!(state.lost_objects(now).is_empty() && state.finder(&id).is_none(), "given up");
    state.set_lost(&node("a"), false);
    state.enter(&id, &object(&id, &lost[0].1, 1));
    assert!(state.lost_objects(now).is_empty() && state.finder(&id).is_none(), "it has one");
}

#[test]
fn a_volume_that_its_node_reports_no_more_is_a_loose_end_no_more() {
    let mut state = two_nodes(Instant::now());
    let mut status = report("fast", Bytes::gib(9), 101);
    let found = vec![serde_json::from_value(stray("v-x")).unwrap()];
    status.strays.clone_from(&found);
    state.report(&node("a"), &status);
    state.report(&node("b"), &report("fast", Bytes::gib(20), 101));
    assert!(state.has_loose_ends());
    assert_eq!(state.finder("v-x"), Some(&node("a")));
    status.strays.clear();
    state.report(&node("a"), &status);
    assert!(!state.has_loose_ends() && state.finder("v-x").is_none(), "its object is back");
    status.strays = found;
    state.report(&node("a"), &status);
    state.forget_unlisted_reports(&[node("b")].into());
    assert!(!state.has_loose_ends(), "the report is gone");
}

#[test]
fn what_is_over_is_taken_out() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let spec = state.place(&wanted("pvc", Bytes::GIB, Some(&["a"])), &[], now).unwrap();
    let with_phase =
        |version, phase| with_status(object("v-x", &spec, version), json!({ "phase": phase }));
    let over = |state: &State| state.over(now).len();
    let found = |mut object: LogicalVolume| {
        object.metadata.annotations = Some([(FOUND.to_owned(), "true".to_owned())].into());
        object
    };
    let deleted = |mut object: LogicalVolume| {
        object.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        object
    };
    state.enter("v-x", &with_phase(1, "Failed"));
    assert_eq!(over(&state), 0, "the call that made it answers for it");
    state.enter("v-x", &found(with_phase(2, "Creating")));
    assert_eq!(over(&state), 0);
    state.enter("v-x", &found(with_phase(3, "Failed")));
    assert_eq!(over(&state), 1, "no call waits for it");
    state.enter("v-x", &deleted(with_phase(4, "Ready")));
    assert_eq!(over(&state), 0, "its node still has it");
    state.enter("v-x", &deleted(with_phase(5, "Deleted")));
    assert_eq!(over(&state), 1, "perhaps it was deleted by hand");
    state.remove("v-x", "uid-v-x", now);
    assert!(!state.has_loose_ends());
}

#[test]
fn without_a_wish_for_nodes_the_one_with_most_room_is_taken() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let spec = state.place(&wanted("pvc", Bytes::GIB, None), &[], now).unwrap();
    assert_eq!(spec.node_name, "b");
}

#[test]
fn a_copy_goes_to_its_source() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let first = wanted("origin", Bytes::GIB, Some(&["a"]));
    let id = write(&mut state, "origin", &first, now).unwrap();
    let copy = |nodes| Wanted {
        source: Some(Source::Volume(id.parse().unwrap())),
        ..wanted("copy", Bytes::GIB, nodes)
    };
    let unfinished = state.place(&copy(Some(&["b", "a"])), &[], now).unwrap_err();
    assert!(matches!(unfinished, Error::Busy(_)));
    let spec = state.entry(&id).unwrap().spec.clone();
    let ready = json!({ "phase": "Ready", "size": "1Gi", "sequence": 101 });
    state.enter(&id, &with_status(object(&id, &spec, 2), ready));
    assert_eq!(state.place(&copy(Some(&["b", "a"])), &[], now).unwrap().node_name, "a");
    let elsewhere = state.place(&copy(Some(&["b"])), &[], now).unwrap_err();
    assert!(matches!(elsewhere, Error::NoRoom(_)));
    let small = Wanted { size: SizeRange::at_least(Bytes::mib(512)), ..copy(None) };
    assert!(matches!(state.place(&small, &[], now).unwrap_err(), Error::OutOfRange(_)));
    let unknown = Wanted {
        source: Some(Source::Volume(VolumeId::of(&"nobody".parse().unwrap()))),
        ..wanted("copy", Bytes::GIB, None)
    };
    assert!(matches!(state.place(&unknown, &[], now).unwrap_err(), Error::NotFound(_)));
}

#[test]
fn old_news_change_nothing() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let spec = state.place(&wanted("pvc", Bytes::GIB, Some(&["a"])), &[], now).unwrap();
    let ready = json!({ "phase": "Ready", "size": "1Gi" });
    state.enter("v-x", &with_status(object("v-x", &spec, 7), ready));
    state.enter("v-x", &object("v-x", &spec, 5));
    assert_eq!(state.entry("v-x").unwrap().phase, Some(Phase::Ready));
    state.remove("v-x", "uid-v-x", now);
    state.enter("v-x", &object("v-x", &spec, 9));
    assert!(state.entry("v-x").is_none(), "late news of an object that is gone");
}

#[test]
fn another_wish_under_the_same_name_is_refused() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let first = wanted("pvc", Bytes::GIB, Some(&["a"]));
    let id = write(&mut state, "pvc", &first, now).unwrap();
    state.ensure_same(&id, &first).unwrap();
    let other_size = wanted("pvc", Bytes::gib(2), Some(&["a"]));
    let other_node = wanted("pvc", Bytes::GIB, Some(&["b"]));
    let thin = Parameters { provisioning: Some(Provisioning::Thin), ..Parameters::default() };
    let other_class = Wanted { parameters: thin, ..first.clone() };
    let files = crate::volume::Purpose::Filesystem(crate::fs::FsKind::Xfs);
    let other_purpose = Wanted { purpose: files, ..first };
    for other in [other_size, other_node, other_class, other_purpose] {
        let refused = state.ensure_same(&id, &other).unwrap_err();
        assert!(matches!(refused, Error::Exists { .. }), "{refused}");
    }
}

#[test]
fn what_a_class_says_of_a_restart_goes_to_the_node() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let says = |word| Wanted {
        parameters: Parameters { after_restart: word, ..Parameters::default() },
        ..wanted("pvc", Bytes::GIB, Some(&["a"]))
    };
    let (empty, fail) = (says(Some(AfterRestart::Empty)), says(Some(AfterRestart::Fail)));
    let refused = state.place(&empty, &[], now).unwrap_err();
    assert!(refused.to_string().starts_with("parameters[afterRestart]"), "{refused}");
    assert_eq!(state.capacity(&empty.parameters, Some(&node("a")), now), Capacity::default());

    let mut status = serde_json::to_value(report("ram", Bytes::gib(10), 100)).unwrap();
    status["pools"][0]["spec"] = json!({ "memory": { "size": "10Gi" } });
    state.report(&node("a"), &serde_json::from_value(status).unwrap());
    let id = write(&mut state, "pvc", &empty, now).unwrap();
    assert_eq!(state.entry(&id).unwrap().spec.after_restart, Some(AfterRestart::Empty));
    state.ensure_same(&id, &empty).unwrap();
    for other in [fail, says(None)] {
        let refused = state.ensure_same(&id, &other).unwrap_err();
        assert!(refused.to_string().contains("another afterRestart"), "{refused}");
    }
}

#[test]
fn lists_are_in_order_and_only_of_what_is_there() {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        let wanted = wanted(name, Bytes::GIB, None);
        let id = write(&mut state, name, &wanted, now).unwrap();
        let spec = state.entry(&id).unwrap().spec.clone();
        let ready = json!({ "phase": "Ready", "size": "1Gi", "sequence": 101 });
        state.enter(&id, &with_status(object(&id, &spec, 2), ready));
        ids.push(id);
    }
    write(&mut state, "unfinished", &wanted("unfinished", Bytes::GIB, None), now).unwrap();
    ids.sort();
    let listed: Vec<String> = state.volumes(None, 9).iter().map(|it| it.id.to_string()).collect();
    assert_eq!(listed, ids);
    let after: VolumeId = ids[0].parse().unwrap();
    assert_eq!(state.volumes(Some(&after), 1)[0].id.as_str(), ids[1]);
}

/// One volume on node `a`, known with this version.
fn one_known(version: u64) -> (State, String, LogicalVolumeSpec) {
    let now = Instant::now();
    let mut state = two_nodes(now);
    let spec = state.place(&wanted("one", Bytes::GIB, Some(&["a"])), &[], now).unwrap();
    let id = VolumeId::of(&"one".parse().unwrap()).to_string();
    state.enter(&id, &object(&id, &spec, version));
    (state, id, spec)
}

#[test]
fn a_restored_backup_is_believed_though_its_versions_are_old() {
    let (mut state, id, spec) = one_known(900);
    state.enter("v-lost", &object("v-lost", &spec, 950));
    let since = state.now();
    state.enter_listed(&id, &object(&id, &spec, 7), since);
    assert_eq!(state.entry(&id).unwrap().version, 7);
    let lost = ("v-lost".to_owned(), "uid-v-lost".to_owned());
    assert_eq!(state.unlisted(&[id].into(), since), [lost]);
}

#[test]
fn what_was_deleted_after_a_backup_is_there_again_with_it() {
    let (mut state, id, spec) = one_known(900);
    state.remove(&id, &format!("uid-{id}"), Instant::now());
    state.enter(&id, &object(&id, &spec, 901));
    assert!(state.entry(&id).is_none(), "late news of what is gone");
    let since = state.now();
    state.enter_listed(&id, &object(&id, &spec, 7), since);
    assert!(state.entry(&id).is_some());
}

#[test]
fn what_was_done_since_a_list_was_asked_for_is_newer_than_the_list() {
    let (mut state, id, spec) = one_known(7);
    let since = state.now();
    state.enter("v-new", &object("v-new", &spec, 8));
    assert_eq!(state.unlisted(&[id.clone()].into(), since), []);
    state.enter(&id, &object(&id, &spec, 9));
    state.enter_listed(&id, &object(&id, &spec, 7), since);
    assert_eq!(state.entry(&id).unwrap().version, 9);
    state.remove(&id, &format!("uid-{id}"), Instant::now());
    state.enter_listed(&id, &object(&id, &spec, 9), since);
    assert!(state.entry(&id).is_none());
}
