//! ListVolumes and ListSnapshots: pages, tokens, filters.

use std::collections::BTreeSet;

use rstest::rstest;
use tarn::csi::proto::{ListSnapshotsRequest, ListSnapshotsResponse, ListVolumesRequest};
use tonic::Code;

use crate::{
    ground::{Ground, code},
    requests::*,
};

fn page(max_entries: i32, starting_token: &str) -> ListVolumesRequest {
    ListVolumesRequest { max_entries, starting_token: starting_token.to_owned() }
}

fn snapshots(max_entries: i32, starting_token: &str) -> ListSnapshotsRequest {
    let starting_token = starting_token.to_owned();
    ListSnapshotsRequest { max_entries, starting_token, ..Default::default() }
}

fn ids(answer: &ListSnapshotsResponse) -> Vec<&str> {
    answer.entries.iter().map(|it| it.snapshot.as_ref().unwrap().snapshot_id.as_str()).collect()
}

#[rstest]
#[case::negative(-1, "", Code::InvalidArgument)]
#[case::foreign_token(0, "page two", Code::Aborted)]
#[case::token_of_a_number(0, "17", Code::Aborted)]
#[case::unknown_volume(0, "v-aaaaaaaaaaaaaaaaaaaaaaaaaa", Code::Ok)]
fn which_pages_there_are(#[case] most: i32, #[case] token: &str, #[case] want: Code) {
    let ground = Ground::thick();
    assert_eq!(code(ground.list(page(most, token))), want);
    let token = token.replace("v-", "s-");
    assert_eq!(code(ground.list_snapshots(snapshots(most, &token))), want);
}

#[test]
fn pages_cover_all_volumes_once() {
    let ground = Ground::two_pools();
    let named = |at: usize| {
        let pool = if at.is_multiple_of(2) { "fast" } else { "slow" };
        let parameters = map(&[("pool", pool)]);
        tarn::csi::proto::CreateVolumeRequest { parameters, ..volume(&format!("pvc-{at}")) }
    };
    let made: BTreeSet<String> = (0..7).map(|at| ground.made(named(at))).collect();
    for most in [1, 2, 3, 7, 100, 0, i32::MAX] {
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let answer = ground.list(page(most, &token)).unwrap();
            assert!(most == 0 || answer.entries.len() <= usize::try_from(most).unwrap());
            let of_page = answer.entries.into_iter().map(|it| it.volume.unwrap().volume_id);
            seen.extend(of_page);
            token = answer.next_token;
            if token.is_empty() {
                break;
            }
        }
        assert!(seen.is_sorted() && seen.iter().eq(made.iter()), "{most}: {seen:?}");
    }
}

#[test]
fn a_token_survives_what_happens_between_pages() {
    let ground = Ground::thick();
    for at in 0..5 {
        ground.made(volume(&format!("pvc-{at}")));
    }
    let all = ground.lvs();
    let token = ground.list(page(2, "")).unwrap().next_token;
    assert_eq!(token, all[1]);
    ground.delete(&all[0]).unwrap();
    ground.delete(&all[1]).unwrap();
    let rest = ground.list(page(0, &token)).unwrap();
    let rest: Vec<String> =
        rest.entries.into_iter().map(|it| it.volume.unwrap().volume_id).collect();
    assert_eq!(rest, all[2..]);
}

#[test]
fn a_volume_is_listed_as_it_was_answered() {
    let ground = Ground::thick();
    let made = ground.create(volume("a")).unwrap();
    let answer = ground.list(page(0, "")).unwrap();
    assert_eq!(answer.entries[0].volume, Some(made.clone()));
    ground.delete(&made.volume_id).unwrap();
    assert!(ground.list(page(0, "")).unwrap().entries.is_empty(), "hidden while it is wiped");
}

#[rstest]
#[case::thick(Ground::thick())]
#[case::thin(Ground::thin())]
fn snapshots_are_found_by_id_and_by_source(#[case] ground: Ground) {
    let (a, b) = (ground.made(volume("a")), ground.made(volume("b")));
    let first = ground.snapshot("1", &a).unwrap();
    let second = ground.snapshot("2", &a).unwrap();
    let third = ground.snapshot("3", &b).unwrap();
    let by = |snapshot_id: &str, source_volume_id: &str| {
        let request = ListSnapshotsRequest {
            snapshot_id: snapshot_id.to_owned(),
            source_volume_id: source_volume_id.to_owned(),
            ..Default::default()
        };
        let answer = ground.list_snapshots(request).unwrap();
        ids(&answer).into_iter().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let set = |all: &[&tarn::csi::proto::Snapshot]| {
        all.iter().map(|it| it.snapshot_id.clone()).collect::<BTreeSet<_>>()
    };
    assert_eq!(by("", ""), set(&[&first, &second, &third]));
    assert_eq!(by(&first.snapshot_id, ""), set(&[&first]));
    assert_eq!(by("", &a), set(&[&first, &second]));
    assert_eq!(by(&third.snapshot_id, &a), set(&[]));
    for nobody in ["none", "../a", "v-aaaaaaaaaaaaaaaaaaaaaaaaaa", "s-aaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        assert!(by(nobody, "").is_empty() && by("", nobody).is_empty(), "{nobody}");
    }
}

#[test]
fn pages_of_snapshots() {
    let ground = Ground::thin();
    let id = ground.made(volume("a"));
    for at in 0..5 {
        ground.snapshot(&format!("snapshot-{at}"), &id).unwrap();
    }
    let first = ground.list_snapshots(snapshots(3, "")).unwrap();
    assert_eq!(first.entries.len(), 3);
    assert_eq!(ids(&first).last(), Some(&first.next_token.as_str()));
    ground.delete_snapshot(&first.next_token).unwrap();
    let rest = ground.list_snapshots(snapshots(0, &first.next_token)).unwrap();
    assert_eq!((rest.entries.len(), rest.next_token.as_str()), (2, ""));
}

#[test]
fn what_is_only_half_made_is_not_listed() {
    let ground = Ground::thick();
    let source = ground.made(volume("a"));
    ground.devices.fail_once(tarn::device::fake::Call::Copy);
    assert_eq!(code(ground.create(copy("b", &source))), Code::Aborted);
    assert_eq!(ground.list(page(0, "")).unwrap().entries.len(), 1);
    let passing = ground.list_snapshots(snapshots(0, "")).unwrap();
    assert!(passing.entries.is_empty(), "nor the snapshot that the copy is made from");
    ground.create(copy("b", &source)).unwrap();
    assert_eq!(ground.list(page(0, "")).unwrap().entries.len(), 2);
}
