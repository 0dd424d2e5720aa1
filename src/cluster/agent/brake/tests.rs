//! Nodes with many deletions: which are carried out, and which wait.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rstest::rstest;
use serde_json::json;

use super::*;

/// When all is made that is not said to be young.
const LONG_AGO: i64 = 1_000_000;
/// When the deletions begin.
const START: i64 = 2_000_000;

fn time(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn volume(number: usize) -> LogicalVolume {
    let mut object: LogicalVolume = serde_json::from_value(json!({
        "apiVersion": "tarn.dev/v1alpha1",
        "kind": "LogicalVolume",
        "metadata": { "name": format!("v-{number}"), "uid": format!("u-{number}") },
        "spec": {
            "nodeName": "n", "pool": "p", "csiName": "pvc-1", "size": "1Gi",
            "volumeMode": "Block", "provisioning": "Thick", "wipe": "Zero",
        },
        "status": { "phase": "Ready" },
    }))
    .unwrap();
    object.metadata.creation_timestamp = Some(time(LONG_AGO));
    object
}

/// A node, and what its agent does about it.
struct Node {
    brake: Brake,
    objects: Vec<LogicalVolume>,
    is_allowed: bool,
    /// How often it was said that deletions wait.
    told: usize,
}

impl Node {
    fn with(volumes: usize, percent: u8) -> Self {
        let objects = (0..volumes).map(volume).collect();
        Self { brake: Brake::new(percent), objects, is_allowed: false, told: 0 }
    }

    /// Asks for the deletion of the next of those that are left alone so far.
    fn ask(&mut self, count: usize, at: i64) {
        let left = self.objects.iter_mut().filter(|it| it.metadata.deletion_timestamp.is_none());
        left.take(count).for_each(|it| it.metadata.deletion_timestamp = Some(time(at)));
    }

    /// Looks at each object once, as after a change of each.
    fn work(&mut self) {
        for at in 0..self.objects.len() {
            let all: Vec<_> = self.objects.iter().cloned().map(Arc::new).collect();
            let object = &mut self.objects[at];
            if object.metadata.deletion_timestamp.is_none() || is_over(object) {
                continue;
            }
            let verdict = Deletion::of(&all[at])
                .map_or(Verdict::Go, |own| self.brake.decide(own, &all, self.is_allowed));
            let status = object.status.as_mut().unwrap();
            match verdict {
                Verdict::Go => status.phase = Some(Phase::Deleted),
                Verdict::Hold(crowd) => {
                    let message = crowd.message("n");
                    status.conditions = vec![Condition::new("Deleted", false, MASS, message)];
                    self.told += usize::from(crowd.is_first);
                }
                Verdict::Held => (),
            }
        }
    }

    /// How many are gone, and how many wait.
    fn counted(&self) -> (usize, usize) {
        let asked = self.objects.iter().filter(|it| it.metadata.deletion_timestamp.is_some());
        let (gone, waiting): (Vec<_>, Vec<_>) = asked.partition(|it| is_over(it));
        (gone.len(), waiting.len())
    }
}

#[rstest]
#[case::one(40, 50, 1, (1, 0))]
#[case::half(40, 50, 20, (20, 0))]
#[case::more_than_half(40, 50, 21, (0, 21))]
#[case::all(40, 50, 40, (0, 40))]
#[case::all_of_a_few(10, 50, 10, (10, 0))]
#[case::more_than_a_few(11, 50, 11, (0, 11))]
#[case::a_smaller_share(200, 10, 21, (0, 21))]
#[case::within_a_smaller_share(200, 10, 20, (20, 0))]
#[case::not_wanted_at_all(40, 100, 40, (40, 0))]
fn asked_for_at_once(
    #[case] volumes: usize,
    #[case] percent: u8,
    #[case] asked: usize,
    #[case] expected: (usize, usize),
) {
    let mut node = Node::with(volumes, percent);
    node.ask(asked, START);
    node.work();
    assert_eq!(node.counted(), expected);
    assert_eq!(node.told, usize::from(expected.1 > 0));
}

#[rstest]
#[case::one_a_second(1, (20, 20))]
#[case::just_more_than_half_in_a_minute(3, (20, 20))]
#[case::slowly(10, (40, 0))]
fn asked_for_one_by_one(#[case] seconds: i64, #[case] expected: (usize, usize)) {
    let mut node = Node::with(40, 50);
    for number in 0..40 {
        node.ask(1, START + number * seconds);
        node.work();
        // What is gone leaves the API.
        node.objects.retain(|it| !is_over(it));
    }
    let (_, waiting) = node.counted();
    assert_eq!((40 - node.objects.len(), waiting), expected);
}

#[test]
fn while_any_waits_all_do() {
    let mut node = Node::with(40, 50);
    node.ask(30, START);
    node.work();
    node.ask(1, START + 3600);
    node.work();
    assert_eq!((node.counted(), node.told), ((0, 31), 1));
}

#[test]
fn what_waits_goes_when_it_is_allowed_and_then_the_count_begins_anew() {
    let mut node = Node::with(60, 50);
    node.ask(40, START);
    node.work();
    node.is_allowed = true;
    node.work();
    assert_eq!(node.counted(), (40, 0));
    node.is_allowed = false;
    node.ask(10, START + 1);
    node.work();
    assert_eq!(node.counted(), (50, 0));
}

#[test]
fn what_waits_still_waits_for_an_agent_that_begins_anew() {
    let mut node = Node::with(24, 50);
    node.ask(12, START);
    node.work();
    node.ask(1, START + 5);
    node.work();
    assert_eq!(node.counted(), (12, 1));
    node.brake = Brake::new(50);
    node.objects.retain(|it| !is_over(it));
    node.work();
    assert_eq!(node.counted(), (0, 1));
}

#[test]
fn what_was_asked_for_slowly_goes_at_once_after_an_absence() {
    let mut node = Node::with(40, 50);
    (0..40).for_each(|number| node.ask(1, START + number * 60));
    node.work();
    assert_eq!(node.counted(), (40, 0));
}

#[test]
fn what_has_lived_for_less_than_a_minute_goes_and_is_not_counted() {
    let mut node = Node::with(60, 50);
    for object in &mut node.objects[..30] {
        object.metadata.creation_timestamp = Some(time(START - MINUTE + 1));
    }
    node.ask(35, START);
    node.work();
    assert_eq!(node.counted(), (35, 0));
}

#[test]
fn an_object_made_again_counts_at_any_age() {
    let mut node = Node::with(20, 50);
    for object in &mut node.objects {
        object.metadata.creation_timestamp = Some(time(START));
        object.metadata.annotations = Some([(FOUND.to_owned(), "true".to_owned())].into());
    }
    node.ask(20, START);
    node.work();
    assert_eq!(node.counted(), (0, 20));
}

#[test]
fn refused_wishes_are_no_volumes() {
    let mut node = Node::with(60, 50);
    for object in &mut node.objects[20..] {
        object.status.as_mut().unwrap().phase = Some(Phase::Failed);
    }
    node.ask(11, START);
    node.work();
    assert_eq!(node.counted(), (0, 11));
}

#[test]
fn a_deletion_that_fails_is_counted_once() {
    let mut node = Node::with(20, 50);
    node.ask(10, START);
    for _ in 0..3 {
        let all: Vec<_> = node.objects.iter().cloned().map(Arc::new).collect();
        for object in &all[..10] {
            let own = Deletion::of(object).unwrap();
            assert_eq!(node.brake.decide(own, &all, false), Verdict::Go);
        }
    }
}

#[rstest]
#[case("2026-01-31T18:00:00Z", Some(1_769_882_400))]
#[case("2026-01-31T19:00:00+01:00", Some(1_769_882_400))]
#[case("true", None)]
#[case("", None)]
fn times(#[case] value: &str, #[case] expected: Option<i64>) {
    assert_eq!(allowed_until(value).ok().map(Timestamp::as_second), expected);
}
