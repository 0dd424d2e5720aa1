//! What is to be done about an object next. Pure.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::{
    cluster::{
        objects::{LogicalVolume, Phase},
        wish::size_of,
    },
    units::Bytes,
    volume::Error,
};

/// What is to be done about an object next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until it changes.
    Nothing,
    /// The API is told that the wish is this node's now; then it is made.
    TakeUp,
    /// It is made, or what an earlier life has made of it is found.
    Make,
    /// It grows to this size.
    Grow(Bytes),
    /// It goes.
    Remove,
}

/// What is to be done about an object next.
///
/// # Errors
/// [`Error::Invalid`] where somebody has written nonsense into it.
pub(super) fn next(object: &LogicalVolume) -> Result<Step, Error> {
    let status = object.status.as_ref();
    let phase = status.and_then(|it| it.phase);
    let is_deleting = object.metadata.deletion_timestamp.is_some();
    Ok(match (phase, is_deleting) {
        (Some(Phase::Failed | Phase::Deleted), _) => Step::Nothing,
        (_, true) => Step::Remove,
        (None, false) => Step::TakeUp,
        (Some(Phase::Creating), false) => Step::Make,
        (Some(Phase::Ready), false) => {
            let has: Option<Bytes> = status.and_then(|it| it.size.as_ref()?.parse().ok());
            let wished = size_of(&object.spec)?;
            let refused = status.and_then(|it| it.refusal.as_ref()?.size.as_ref());
            let is_refused = refused == Some(&object.spec.size);
            match wished > has.unwrap_or_default() && !is_refused {
                true if object.spec.snapshot_of.is_none() => Step::Grow(wished),
                _ => Step::Nothing,
            }
        }
    })
}

/// When a deleted object's volume that is in use is looked at again, unless a call on it ends before
/// ([`super::freed`]): who else has it open tells nobody. Less and less often, but each second. Only
/// this machine is asked, not the API.
pub(super) fn pause_in_use(object: &LogicalVolume, now: Timestamp) -> Duration {
    let since = object.metadata.deletion_timestamp.as_ref().map_or(now, |it| it.0);
    let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    (waited / 10).clamp(Duration::from_millis(250), Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn object(phase: Option<&str>, has: &str, wants: &str) -> LogicalVolume {
        let mut object = json!({
            "apiVersion": "tarn.dev/v1alpha1",
            "kind": "LogicalVolume",
            "metadata": { "name": "v-a" },
            "spec": {
                "nodeName": "n", "pool": "p", "csiName": "pvc-1", "size": wants,
                "volumeMode": "Block", "provisioning": "Thick", "wipe": "Zero",
            },
        });
        if let Some(phase) = phase {
            object["status"] = json!({ "phase": phase, "size": has });
        }
        serde_json::from_value(object).unwrap()
    }

    #[rstest]
    #[case::new(None, "0", Step::TakeUp)]
    #[case::taken_up(Some("Creating"), "0", Step::Make)]
    #[case::there(Some("Ready"), "2Gi", Step::Nothing)]
    #[case::rounded_up(Some("Ready"), "3Gi", Step::Nothing)]
    #[case::to_grow(Some("Ready"), "1Gi", Step::Grow(Bytes::gib(2)))]
    #[case::refused(Some("Failed"), "0", Step::Nothing)]
    fn steps(#[case] phase: Option<&str>, #[case] has: &str, #[case] step: Step) {
        assert_eq!(next(&object(phase, has, "2Gi")).unwrap(), step);
    }

    #[rstest]
    #[case::new(None, Step::Remove)]
    #[case::half_made(Some("Creating"), Step::Remove)]
    #[case::there(Some("Ready"), Step::Remove)]
    #[case::gone(Some("Deleted"), Step::Nothing)]
    #[case::never_made(Some("Failed"), Step::Nothing)]
    fn a_deleted_object_has_its_volume_removed(#[case] phase: Option<&str>, #[case] step: Step) {
        let mut object = object(phase, "1Gi", "1Gi");
        object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(next(&object).unwrap(), step);
    }

    #[rstest]
    #[case::just_now(0, 250)]
    #[case::clocks_differ(-30, 250)]
    #[case::for_a_while(3, 300)]
    #[case::for_an_hour(3600, 1000)]
    fn a_volume_in_use_is_looked_at(#[case] waited: i64, #[case] millis: u64) {
        let mut object = object(Some("Ready"), "1Gi", "1Gi");
        object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let now = Timestamp::from_second(waited).unwrap();
        assert_eq!(pause_in_use(&object, now), Duration::from_millis(millis));
    }

    #[test]
    fn a_refused_size_is_not_tried_again() {
        let mut object = object(Some("Ready"), "1Gi", "2Gi");
        let refusal = json!({ "reason": "OutOfRange", "message": "full", "size": "2Gi" });
        object.status.as_mut().unwrap().refusal = serde_json::from_value(refusal).unwrap();
        assert_eq!(next(&object).unwrap(), Step::Nothing);
        object.spec.size = "3Gi".to_owned();
        assert_eq!(next(&object).unwrap(), Step::Grow(Bytes::gib(3)));
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(next(&object(Some("Ready"), "1Gi", "much")).is_err());
    }
}
