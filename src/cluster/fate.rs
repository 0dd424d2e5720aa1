//! What has become of a wish, as the controller knows it. Pure; time is handed in.

use std::time::{Duration, Instant};

use super::{
    objects::{Phase, RefusalReason},
    placement::silent,
    state::{Entry, State},
    wish::{error_of, size_of},
};
use crate::volume::{Error, VolumeId};

/// How long a call to delete waits for a volume that is still mounted or open: the kubelet unstages it a moment
/// after its pod is gone, and who is refused comes back after a second, then after two, four and so on
/// (external-provisioner, `--retry-interval-start`).
const UNSTAGING: Duration = Duration::from_secs(10);

/// What somebody who waits has found.
#[derive(Debug)]
pub(super) enum Look<T> {
    /// It is over.
    Done(T),
    /// Look again after the next change, and at this moment at the latest.
    Wait(Option<Instant>),
}

/// How a new object's wish has ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is there.
    Made,
    /// It is to be taken out of the API, and this be answered.
    Refused(Entry, Error),
    /// This is answered and the object stays.
    Pending(Error),
}

/// How a deletion stands.
#[derive(Debug)]
pub(super) enum Deletion {
    /// The object is not there any more.
    Gone,
    /// The node has nothing of it any more, or never had, or is given up.
    Released(Entry),
    /// This is answered and the deletion goes on.
    Pending(Error),
}

/// How a wish to grow has ended.
#[derive(Debug)]
pub(super) enum Growth {
    /// It has the size.
    Granted(Entry),
    /// The wish is to be taken back, and this be answered.
    Refused(Entry, Error),
    /// This is answered and the wish stays.
    Pending(Error),
}

/// An object that is over.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// Its name.
    pub(super) id: String,
    /// What was known of it then.
    pub(super) entry: Entry,
}

/// What has become of a new object.
pub(super) fn outcome(state: &State, id: &str, now: Instant) -> Look<Outcome> {
    let Some(entry) = state.entry(id) else {
        let gone = Error::Busy(format!("the object of {id} was deleted meanwhile"));
        return Look::Done(Outcome::Pending(gone));
    };
    if entry.is_deleting {
        let gone = Error::Busy(format!("{id} is being deleted"));
        return Look::Done(Outcome::Pending(gone));
    }
    let alive = entry.node().and_then(|node| state.alive_until(&node, now));
    match (entry.phase, alive) {
        (Some(Phase::Ready), _) => Look::Done(Outcome::Made),
        (Some(Phase::Failed), _) => {
            let nothing = || Error::NoRoom(format!("the node could not make {id}"));
            let err = entry.refusal.as_ref().map_or_else(nothing, error_of);
            Look::Done(Outcome::Refused(entry.clone(), err))
        }
        (Some(Phase::Deleted), _) => {
            let gone = Error::Busy(format!("{id} was deleted"));
            Look::Done(Outcome::Refused(entry.clone(), gone))
        }
        (None | Some(Phase::Creating), Some(until)) => Look::Wait(Some(until)),
        // Nobody has taken it up, or nobody hears of who has: it can go elsewhere.
        (None, None) => Look::Done(Outcome::Refused(entry.clone(), silence(entry))),
        (Some(Phase::Creating), None) if is_lost(state, entry, now) => {
            Look::Done(Outcome::Refused(entry.clone(), silence(entry)))
        }
        (Some(Phase::Creating), None) => {
            let silent = Error::Busy(format!(
                "node {} has begun to make {id} and has been silent since",
                entry.spec.node_name
            ));
            Look::Done(Outcome::Pending(silent))
        }
    }
}

fn silence(entry: &Entry) -> Error {
    match entry.node() {
        Some(node) => silent(&node),
        None => Error::NoRoom(format!("there is no node {}", entry.spec.node_name)),
    }
}

fn is_lost(state: &State, entry: &Entry, now: Instant) -> bool {
    entry.node().is_some_and(|node| state.is_lost(&node, now))
}

/// What has become of a deletion that somebody has waited for since `began`.
pub(super) fn deletion(state: &State, id: &str, began: Instant, now: Instant) -> Look<Deletion> {
    let Some(entry) = state.entry(id).filter(|entry| entry.is_deleting) else {
        return Look::Done(Deletion::Gone);
    };
    if is_released(state, entry, now) {
        return Look::Done(Deletion::Released(entry.clone()));
    }
    let alive = entry.node().and_then(|node| state.alive_until(&node, now));
    // A refused growth says nothing about the deletion.
    let refusal = entry.refusal.as_ref().filter(|it| it.size.is_none());
    match (refusal, alive) {
        (Some(refusal), Some(until))
            if refusal.reason == RefusalReason::InUse && now < began + UNSTAGING =>
        {
            Look::Wait(Some(until.min(began + UNSTAGING)))
        }
        (Some(refusal), _) => Look::Done(Deletion::Pending(error_of(refusal))),
        (None, Some(until)) => Look::Wait(Some(until)),
        (None, None) => Look::Done(Deletion::Pending(Error::Busy(format!(
            "node {} has been silent; {id} is deleted when it comes back. For a node that is gone \
             for good see \"Removing a node\" in docs/kubernetes.md",
            entry.spec.node_name
        )))),
    }
}

/// Whether the node of an object that is to go has nothing of it any more, or never had, or is given up,
/// whatever it said last.
pub(super) fn is_released(state: &State, entry: &Entry, now: Instant) -> bool {
    let is_alive = entry.node().is_some_and(|node| state.alive_until(&node, now).is_some());
    match entry.phase {
        Some(Phase::Deleted | Phase::Failed) => true,
        None => !is_alive,
        Some(_) => !is_alive && is_lost(state, entry, now),
    }
}

/// What has become of a wish to grow.
pub(super) fn growth(state: &State, id: &VolumeId, now: Instant) -> Look<Growth> {
    let Some(entry) = state.entry(id.as_str()).filter(|entry| !entry.is_deleting) else {
        return Look::Done(Growth::Pending(Error::NotFound(format!("volume {id}"))));
    };
    let refused = entry.refusal.as_ref();
    let refused = refused.filter(|it| it.size.as_ref() == Some(&entry.spec.size));
    if let Some(refusal) = refused {
        return Look::Done(Growth::Refused(entry.clone(), error_of(refusal)));
    }
    if size_of(&entry.spec).is_ok_and(|wished| entry.size() >= wished) {
        return Look::Done(Growth::Granted(entry.clone()));
    }
    match entry.node().and_then(|node| state.alive_until(&node, now)) {
        Some(until) => Look::Wait(Some(until)),
        None => Look::Done(Growth::Pending(Error::Busy(format!(
            "node {} has been silent; {id} grows when it comes back",
            entry.spec.node_name
        )))),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::{objects::LogicalVolume, state::PATIENCE};

    const ID: &str = "v-dap52rx4jjzenopu6hv2geu3ux";

    /// How it stands with the node of the volume.
    #[derive(Clone, Copy, Debug)]
    enum Node {
        Alive,
        /// Alive, when somebody has waited for it for as long as one does.
        WaitedFor,
        Silent,
        /// Alive, and an admin says that it is gone for good.
        Doubted,
        /// Silent, and an admin says that it is gone for good.
        Lost,
    }

    fn state(node: Node, status: &Value, is_deleting: bool) -> (State, Instant) {
        let heard = Instant::now();
        let name = "a".parse().unwrap();
        let mut state = State::default();
        state.heard_of(&name, heard);
        let mut object: LogicalVolume = serde_json::from_value(json!({
            "apiVersion": "tarn.dev/v1alpha1",
            "kind": "LogicalVolume",
            "metadata": { "name": ID, "uid": "u", "resourceVersion": "7" },
            "spec": {
                "nodeName": "a", "pool": "p", "csiName": "pvc-1", "size": "2Gi",
                "volumeMode": "Block", "provisioning": "Thick", "wipe": "Zero",
            },
            "status": status,
        }))
        .unwrap();
        if is_deleting {
            object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        }
        state.enter(ID, &object);
        let now = match node {
            Node::Alive | Node::Doubted => heard,
            Node::WaitedFor => heard + UNSTAGING,
            Node::Silent | Node::Lost => heard + PATIENCE,
        };
        state.set_lost(&name, matches!(node, Node::Doubted | Node::Lost));
        (state, now)
    }

    fn status(phase: Option<&str>, refusal: Option<Value>) -> Value {
        json!({ "phase": phase, "size": "1Gi", "refusal": refusal })
    }

    fn in_use() -> Option<Value> {
        Some(json!({ "reason": "InUse", "message": "mounted" }))
    }

    fn held() -> Option<Value> {
        Some(json!({ "reason": "Precondition", "message": "one of too many" }))
    }

    fn full() -> Option<Value> {
        Some(json!({ "reason": "OutOfRange", "message": "full", "size": "2Gi" }))
    }

    #[rstest]
    #[case::not_taken_up(Node::Alive, None, "wait")]
    #[case::being_made(Node::Alive, Some("Creating"), "wait")]
    #[case::made(Node::Alive, Some("Ready"), "made")]
    #[case::made_by_who_is_silent_now(Node::Silent, Some("Ready"), "made")]
    #[case::refused(Node::Alive, Some("Failed"), "refused: NoRoom")]
    #[case::deleted(Node::Alive, Some("Deleted"), "refused: Busy")]
    #[case::withdrawn(Node::Silent, None, "refused: NoRoom")]
    #[case::perhaps_made(Node::Silent, Some("Creating"), "pending: Busy")]
    #[case::said_to_be_lost_while_alive(Node::Doubted, Some("Creating"), "wait")]
    #[case::never_to_be_known(Node::Lost, Some("Creating"), "refused: NoRoom")]
    fn outcomes(#[case] node: Node, #[case] phase: Option<&str>, #[case] expected: &str) {
        let (state, now) = state(node, &status(phase, None), false);
        let found = match outcome(&state, ID, now) {
            Look::Wait(_) => "wait".to_owned(),
            Look::Done(Outcome::Made) => "made".to_owned(),
            Look::Done(Outcome::Refused(_, err)) => format!("refused: {}", kind(&err)),
            Look::Done(Outcome::Pending(err)) => format!("pending: {}", kind(&err)),
        };
        assert_eq!(found, expected);
    }

    #[rstest]
    #[case::gone(Node::Alive, Some("Deleted"), None, "released")]
    #[case::never_made(Node::Alive, Some("Failed"), None, "released")]
    #[case::under_way(Node::Alive, Some("Ready"), None, "wait")]
    #[case::perhaps_taken_up_just_now(Node::Alive, None, None, "wait")]
    #[case::never_taken_up(Node::Silent, None, None, "released")]
    #[case::in_use(Node::Alive, Some("Ready"), in_use(), "wait")]
    #[case::in_use_for_long(Node::WaitedFor, Some("Ready"), in_use(), "pending: InUse")]
    #[case::waits_for_an_admin(Node::Alive, Some("Ready"), held(), "pending: Precondition")]
    #[case::after_a_refused_growth(Node::Alive, Some("Ready"), full(), "wait")]
    #[case::silent(Node::Silent, Some("Ready"), None, "pending: Busy")]
    #[case::silent_while_made(Node::Silent, Some("Creating"), None, "pending: Busy")]
    #[case::in_use_when_it_fell_silent(Node::Silent, Some("Ready"), in_use(), "pending: InUse")]
    #[case::said_to_be_lost_while_alive(Node::Doubted, Some("Ready"), None, "wait")]
    #[case::lost(Node::Lost, Some("Ready"), None, "released")]
    #[case::lost_while_made(Node::Lost, Some("Creating"), None, "released")]
    #[case::in_use_when_it_was_lost(Node::Lost, Some("Ready"), in_use(), "released")]
    fn deletions(
        #[case] node: Node,
        #[case] phase: Option<&str>,
        #[case] refusal: Option<Value>,
        #[case] expected: &str,
    ) {
        let (state, now) = state(node, &status(phase, refusal), true);
        let began = if matches!(node, Node::WaitedFor) { now - UNSTAGING } else { now };
        let found = match deletion(&state, ID, began, now) {
            Look::Wait(_) => "wait".to_owned(),
            Look::Done(Deletion::Gone) => "gone".to_owned(),
            Look::Done(Deletion::Released(_)) => "released".to_owned(),
            Look::Done(Deletion::Pending(err)) => format!("pending: {}", kind(&err)),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn only_deletions_are_released() {
        let (state, now) = state(Node::Lost, &status(Some("Ready"), None), false);
        assert!(matches!(deletion(&state, ID, now, now), Look::Done(Deletion::Gone)));
        assert!(state.entry(ID).is_some_and(Entry::is_ready), "it stays as it is");
    }

    #[rstest]
    #[case::under_way(Node::Alive, "1Gi", None, "wait")]
    #[case::granted(Node::Alive, "2Gi", None, "granted")]
    #[case::granted_and_more(Node::Silent, "3Gi", None, "granted")]
    #[case::refused(Node::Alive, "1Gi", full(), "refused: OutOfRange")]
    #[case::in_use_says_nothing_of_it(Node::Alive, "1Gi", in_use(), "wait")]
    #[case::silent(Node::Silent, "1Gi", None, "pending: Busy")]
    #[case::lost(Node::Lost, "1Gi", None, "pending: Busy")]
    fn growths(
        #[case] node: Node,
        #[case] has: &str,
        #[case] refusal: Option<Value>,
        #[case] expected: &str,
    ) {
        let status = json!({ "phase": "Ready", "size": has, "refusal": refusal });
        let (state, now) = state(node, &status, false);
        let found = match growth(&state, &ID.parse().unwrap(), now) {
            Look::Wait(_) => "wait".to_owned(),
            Look::Done(Growth::Granted(_)) => "granted".to_owned(),
            Look::Done(Growth::Refused(_, err)) => format!("refused: {}", kind(&err)),
            Look::Done(Growth::Pending(err)) => format!("pending: {}", kind(&err)),
        };
        assert_eq!(found, expected);
    }

    fn kind(err: &Error) -> String {
        let text = format!("{err:?}");
        text.split(|it: char| !it.is_alphanumeric()).next().unwrap().to_owned()
    }
}
