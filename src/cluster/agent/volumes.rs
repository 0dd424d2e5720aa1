//! The wishes for this node, carried out one step at a time.

use std::{sync::Arc, time::Duration};

use super::{
    Agent, Notice, Shared,
    brake::{Crowd, Deletion, MASS, Verdict},
    consent, in_turn, locked, permission,
    step::{Step, next, pause_in_use},
    strays::adopt,
};
use crate::{
    cluster::{
        FOUND,
        following::{drive, is_overtaken},
        objects::{
            Condition, LogicalVolume, LogicalVolumeSpec, LogicalVolumeStatus, Phase, Refusal,
            without_owners_of_fields,
        },
        wish::{Wish, refusal_of, wish_of},
    },
    machine::Machine,
    units::Bytes,
    volume::{Error, SizeRange, SnapshotId, VolumeId, chain},
};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::PostParams,
    runtime::{
        controller::{Action, Config, Controller},
        watcher,
    },
};

/// When a volume that another call has in hand is looked at again.
const IN_HAND: Duration = Duration::from_millis(50);
/// When what failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// The reason of the condition and the Event of what cannot be deleted now, as while it is in use.
const WAITS: &str = "DeletionWaits";
/// How many wishes are worked on at once.
const AT_ONCE: u16 = 64;

/// The API has not taken a status.
#[derive(Debug, thiserror::Error)]
#[error("the API has not taken a status")]
pub(super) struct Unwritten(#[from] pub(super) kube::Error);

/// Carries out the wishes for this node until dropped, from when it is known which pools it has.
pub(super) async fn carry_out(shared: Arc<Shared>) {
    shared.pools_are_known().await;
    let api: Api<LogicalVolume> = Api::all(shared.agent.client.clone());
    let own = format!("spec.nodeName={}", shared.agent.node);
    let controller = Controller::new(api, watcher::Config::default().fields(&own))
        .reconcile_all_on(permission::follow(Arc::clone(&shared)))
        .reconcile_all_on(shared.freed.follow());
    let config = Config::default().concurrency(AT_ONCE);
    let objects = controller.store();
    let known = async {
        if objects.wait_until_ready().await.is_ok() {
            drop(shared.objects.set(objects.clone()));
            shared.has_changed();
        }
    };
    let results = controller.with_config(config).run(reconcile, after_failure, Arc::clone(&shared));
    tokio::join!(known, drive(results, "a step was not finished"));
}

fn after_failure(object: Arc<LogicalVolume>, err: &Unwritten, _: Arc<Shared>) -> Action {
    tracing::warn!(volume = object.name_any(), error = chain(err), "tried again later");
    Action::requeue(AFTER_FAILURE)
}

async fn reconcile(object: Arc<LogicalVolume>, shared: Arc<Shared>) -> Result<Action, Unwritten> {
    let work = Work { shared: &shared, id: object.name_any() };
    if locked(&shared.written).is_ahead_of(&work.id, object.metadata.resource_version.as_deref()) {
        return Ok(Action::await_change());
    }
    let step = match next(&object) {
        Ok(step) => step,
        Err(err) => return work.refuse(&object, &err).await,
    };
    let serves = shared.agent.machine.serves_pool(&object.spec.pool);
    let done = match step {
        Step::Nothing => Ok(Action::await_change()),
        Step::TakeUp if !serves => work.refuse(&object, &no_pool(&object)).await,
        // Nothing can be said about what is in a pool that is not open.
        Step::Make | Step::Grow(_) if !serves => Ok(Action::requeue(AFTER_FAILURE)),
        Step::Remove if !serves && object.status.is_some() => {
            work.wait(&object, &out_of_reach(&object), AFTER_FAILURE).await
        }
        Step::TakeUp => work.take_up(&object).await,
        Step::Make => work.make(&object).await,
        Step::Grow(size) => work.grow(&object, size).await,
        Step::Remove => work.remove(&object).await,
    };
    match done {
        // It has changed since: there is a newer event on its way.
        Err(Unwritten(err)) if is_overtaken(&err) => Ok(Action::await_change()),
        done => done,
    }
}

fn no_pool(object: &LogicalVolume) -> Error {
    let LogicalVolumeSpec { node_name, pool, .. } = &object.spec;
    Error::NoRoom(format!("node {node_name} has no pool {pool}"))
}

fn out_of_reach(object: &LogicalVolume) -> Error {
    let LogicalVolumeSpec { node_name, pool, .. } = &object.spec;
    let id = object.name_any();
    Error::Precondition(format!(
        "node {node_name} does not serve pool {pool}, and deletes {id} when it does; \
         `kubectl get storagepool {pool}` and `kubectl get nls {node_name} -o yaml` say more"
    ))
}

/// Refuses to delete a volume that was adopted, where nobody has said that its data may go.
fn ensure_meant(machine: &Machine, object: &LogicalVolume, id: &VolumeId) -> Result<(), Error> {
    let was = || machine.adopted_from(id).filter(|_| !consent::is_given(object));
    let Some(missing) = was().map(|was| consent::missing(object, &was)) else { return Ok(()) };
    // Somebody may have released it a moment ago. Afterwards the report of every minute tells that.
    if !consent::is_asked_for(object, &missing) {
        machine.look_again(&object.spec.pool)?;
    }
    if was().is_some() { Err(missing) } else { Ok(()) }
}

/// Writes the status of an object, if that is still as it was: the version decides whether this node or
/// the controller was first.
pub(super) async fn write_status(
    shared: &Shared,
    object: &LogicalVolume,
    status: &LogicalVolumeStatus,
) -> Result<LogicalVolume, Unwritten> {
    let api: Api<LogicalVolume> = Api::all(shared.agent.client.clone());
    let id = object.name_any();
    let mut wanted = LogicalVolume { status: Some(status.clone()), ..object.clone() };
    wanted.metadata.managed_fields = without_owners_of_fields().managed_fields;
    let written = api.replace_status(&id, &PostParams::default(), &wanted).await?;
    // One that was deleted is gone next, and never shown again.
    if status.phase != Some(Phase::Deleted) {
        locked(&shared.written).note(&id, written.metadata.resource_version.as_deref());
    }
    Ok(written)
}

/// The work on one object.
struct Work<'a> {
    shared: &'a Shared,
    id: String,
}

impl Work<'_> {
    /// Does blocking work on the host, to its end and in the volume's turn.
    async fn on_host<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Machine) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Agent { turns, machine, .. } = &self.shared.agent;
        in_turn(turns, machine, &self.id, work).await
    }

    async fn take_up(&self, object: &LogicalVolume) -> Result<Action, Unwritten> {
        let phase = Some(Phase::Creating);
        let status = LogicalVolumeStatus { phase, ..LogicalVolumeStatus::default() };
        let object = write_status(self.shared, object, &status).await?;
        self.make(&object).await
    }

    async fn make(&self, object: &LogicalVolume) -> Result<Action, Unwritten> {
        match self.made(object).await {
            Ok((size, made_at)) => {
                let status = LogicalVolumeStatus {
                    phase: Some(Phase::Ready),
                    size: Some(size.to_string()),
                    made_at,
                    sequence: self.sequence(),
                    ..LogicalVolumeStatus::default()
                };
                write_status(self.shared, object, &status).await?;
                self.format_ahead();
                Ok(Action::await_change())
            }
            Err(Error::Busy(_)) => Ok(Action::requeue(IN_HAND)),
            Err(err) => self.refuse(object, &err).await,
        }
    }

    /// Has the volume formatted while its pod is being scheduled, one volume after the other.
    fn format_ahead(&self) {
        let Ok(id) = self.id.parse::<VolumeId>() else { return };
        let one_by_one = Arc::clone(&self.shared.formatting);
        let (machine, turns) =
            (Arc::clone(&self.shared.agent.machine), self.shared.agent.turns.clone());
        tokio::spawn(async move {
            let Ok(_permit) = one_by_one.acquire().await else { return };
            let format = move || {
                // A call that has it in hand, as its first stage, does all that is to be done.
                let Ok(_turn) = turns.take_in_background(id.as_str()) else { return };
                machine.format_ahead(&id);
            };
            if let Err(err) = tokio::task::spawn_blocking(format).await {
                tracing::error!(%err, "formatting a volume ahead of its first stage");
            }
        });
    }

    async fn made(&self, object: &LogicalVolume) -> Result<(Bytes, Option<i64>), Error> {
        let id = self.id.clone();
        if object.annotations().contains_key(FOUND) {
            let (node, spec) = (self.shared.agent.node.clone(), object.spec.clone());
            return self.on_host(move |machine| adopt(machine, &node, &id, &spec)).await;
        }
        let own = |of_name: &str| match of_name == id {
            true => Ok(()),
            false => {
                let allowed = format!("an object of this CSI name is called {of_name}");
                Err(Error::invalid("metadata.name", &id, allowed))
            }
        };
        match wish_of(&object.spec)? {
            Wish::Volume(wanted) => {
                own(VolumeId::of(&wanted.name).as_str())?;
                let made = self.on_host(move |machine| machine.create(&wanted)).await?;
                Ok((made.size, None))
            }
            Wish::Snapshot(wanted) => {
                own(SnapshotId::of(&wanted.name).as_str())?;
                let of_source = self.shared.agent.turns.take(wanted.source.as_str())?;
                let take = move |machine: &Machine| {
                    let _of_source = of_source;
                    machine.snapshot(&wanted)
                };
                let taken = self.on_host(take).await?;
                Ok((taken.size, Some(taken.created)))
            }
        }
    }

    /// Writes that a wish is not granted, where that is the last word.
    async fn refuse(&self, object: &LogicalVolume, err: &Error) -> Result<Action, Unwritten> {
        let Some(refusal) = refusal_of(err) else {
            tracing::warn!(volume = self.id, error = chain(err), "not finished yet");
            return Ok(Action::requeue(AFTER_FAILURE));
        };
        let there = object.status.clone().unwrap_or_default();
        let status = match there.phase {
            Some(Phase::Ready) => LogicalVolumeStatus { refusal: Some(refusal.clone()), ..there },
            _ => LogicalVolumeStatus {
                phase: Some(Phase::Failed),
                refusal: Some(refusal.clone()),
                ..LogicalVolumeStatus::default()
            },
        };
        write_status(self.shared, object, &status).await?;
        self.tell(object, "Refused", &refusal.message).await;
        Ok(Action::await_change())
    }

    async fn grow(&self, object: &LogicalVolume, size: Bytes) -> Result<Action, Unwritten> {
        let there = object.status.clone().unwrap_or_default();
        let result = match self.id.parse::<VolumeId>() {
            Ok(id) => {
                self.on_host(move |machine| machine.expand(&id, SizeRange::at_least(size))).await
            }
            Err(_) => Err(Error::Precondition("a snapshot does not grow".to_owned())),
        };
        let status = match result {
            Ok(grown) => LogicalVolumeStatus {
                size: Some(grown.size.to_string()),
                sequence: self.sequence(),
                refusal: None,
                ..there
            },
            Err(err) => {
                let Some(refusal) = refusal_of(&err) else {
                    return Ok(Action::requeue(IN_HAND));
                };
                let size = Some(object.spec.size.clone());
                self.tell(object, "GrowthRefused", &refusal.message).await;
                LogicalVolumeStatus { refusal: Some(Refusal { size, ..refusal }), ..there }
            }
        };
        write_status(self.shared, object, &status).await?;
        Ok(Action::await_change())
    }

    /// Whether the deletion may be carried out now.
    fn verdict(&self, object: &LogicalVolume) -> Option<Verdict> {
        let Some(deletion) = Deletion::of(object) else { return Some(Verdict::Go) };
        let objects = self.shared.objects.get()?.state();
        let is_allowed = self.shared.permission.is_given(Timestamp::now());
        let mut brake = locked(&self.shared.brake);
        Some(brake.decide(deletion, &objects, is_allowed))
    }

    /// Leaves what is one of too many as it is, until an admin allows it.
    async fn hold(&self, object: &LogicalVolume, crowd: Crowd) -> Result<Action, Unwritten> {
        let message = crowd.message(self.shared.agent.node.as_str());
        if crowd.is_first {
            tracing::warn!("{message}");
            if let Some(node) = self.shared.permission.about() {
                let warning =
                    Notice { reason: MASS, action: "Asked", note: &message, secondary: None };
                self.shared.warn(&node, warning).await;
            }
        }
        if let Some(refusal) = refusal_of(&Error::Precondition(message)) {
            self.write_waiting(object, MASS, refusal).await?;
        }
        Ok(Action::await_change())
    }

    /// Writes that a deletion waits, and for what.
    async fn write_waiting(
        &self,
        object: &LogicalVolume,
        reason: &str,
        refusal: Refusal,
    ) -> Result<(), Unwritten> {
        let there = object.status.clone().unwrap_or_default();
        let mut condition = Condition::new("Deleted", false, reason, refusal.message.clone());
        condition.keep_time(&there.conditions);
        let status = LogicalVolumeStatus {
            phase: there.phase.or(Some(Phase::Creating)),
            refusal: Some(refusal),
            conditions: condition.among(&there.conditions),
            ..there
        };
        write_status(self.shared, object, &status).await.map(drop)
    }

    async fn remove(&self, object: &LogicalVolume) -> Result<Action, Unwritten> {
        match self.verdict(object) {
            Some(Verdict::Go) => (),
            Some(Verdict::Held) => return Ok(Action::await_change()),
            Some(Verdict::Hold(crowd)) => return self.hold(object, crowd).await,
            // Not all of the node's objects are known yet.
            None => return Ok(Action::requeue(IN_HAND)),
        }
        self.shared.freed.forget(&self.id);
        let (id, wish) = (self.id.clone(), object.clone());
        let result = self
            .on_host(move |machine| match (id.parse::<VolumeId>(), id.parse::<SnapshotId>()) {
                (Ok(id), _) => ensure_meant(machine, &wish, &id).and_then(|()| machine.delete(&id)),
                (_, Ok(id)) => machine.delete_snapshot(&id),
                // Nothing can be there under such a name.
                (Err(_), Err(_)) => Ok(()),
            })
            .await;
        match result {
            Ok(()) => {
                let status = LogicalVolumeStatus {
                    phase: Some(Phase::Deleted),
                    sequence: self.sequence(),
                    refusal: None,
                    conditions: Vec::new(),
                    ..object.status.clone().unwrap_or_default()
                };
                write_status(self.shared, object, &status).await?;
                Ok(Action::await_change())
            }
            Err(err) => {
                self.shared.freed.wait_for(&self.id);
                self.wait(object, &err, pause_in_use(object, Timestamp::now())).await
            }
        }
    }

    /// Says that a deletion waits, and for what, where that is news; it is tried again after `pause`.
    async fn wait(
        &self,
        object: &LogicalVolume,
        err: &Error,
        pause: Duration,
    ) -> Result<Action, Unwritten> {
        let said = object.status.as_ref().and_then(|it| it.refusal.as_ref());
        if let Some(refusal) = refusal_of(err).filter(|it| said != Some(it)) {
            self.tell(object, WAITS, &refusal.message).await;
            self.write_waiting(object, WAITS, refusal).await?;
        }
        Ok(Action::requeue(pause))
    }

    fn sequence(&self) -> i64 {
        i64::try_from(self.shared.agent.machine.sequence()).unwrap_or(i64::MAX)
    }

    /// An Event about the object.
    async fn tell(&self, object: &LogicalVolume, reason: &str, note: &str) {
        let warning = Notice { reason, action: reason, note, secondary: None };
        self.shared.warn(&object.object_ref(&()), warning).await;
    }
}
