//! What this node has to give, written into its own object when it has changed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::reflector::Store,
};
use serde_json::json;

use super::{
    Concerns, Shared, brake::Deletion, devices, fuller, fullness, health, identity, locked,
    strays::Strays,
};
use crate::{
    cluster::{
        following::is_overtaken,
        objects::{
            DiskReport, FillingReport, NodeLocalStorage, NodeLocalStorageSpec,
            NodeLocalStorageStatus, PoolReport, StrayReport, ThinReport, without_owners_of_fields,
        },
    },
    machine::Status,
    pool::{Filling, PoolStatus},
    volume::chain,
};

/// Changes come in bunches: so long after the first of one the report is written.
const BUNCH: Duration = Duration::from_millis(100);
/// So long it can wait that there is less room because volumes were made: who chooses nodes knows of them, and of
/// 5,000 nodes with a new volume each now and then the API server would have as many reports as volumes.
const FULLER: Duration = Duration::from_secs(60);
/// When a report that was not taken is written again.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// So many lost volumes are named of each pool: an object in the API may have 1.5 MiB.
const MOST_LOST: usize = 500;
/// How often it is looked, in memory, whether a volume has lost its object.
const LOOK: Duration = Duration::from_secs(30);

/// Keeps the report true until dropped.
pub(super) async fn keep(shared: &Shared) {
    let mut changes = shared.changes.subscribe();
    let mut written: Option<NodeLocalStorageStatus> = None;
    let mut version = None;
    let mut fuller_since: Option<Instant> = None;
    let mut strays = Strays::default();
    let mut told = health::Told::default();
    let mut fullness = fullness::Told::default();
    let mut groups = None;
    loop {
        changes.mark_unchanged();
        identity::remember_groups(shared, &mut groups).await;
        let found = strays.look(shared, Instant::now());
        let concerns = Concerns { strays: found.len() as u64, held: held(shared) };
        (shared.agent.on_concerns)(concerns);
        let of_host = shared.agent.machine.status();
        told.tell(shared, &of_host.pools).await;
        fullness.tell(shared, &of_host.pools).await;
        let mut status = compose(shared, &of_host, found);
        status.conditions.push(fullness.condition());
        if let Some(last) = &written {
            status.conditions.iter_mut().for_each(|it| it.keep_time(&last.conditions));
        }
        let is_doubtful = shared.report_is_doubtful.swap(false, Ordering::Relaxed);
        let is_only_fuller = written.as_ref().is_some_and(|last| fuller::is_only(last, &status));
        let since = is_only_fuller.then(|| *fuller_since.get_or_insert_with(Instant::now));
        let can_wait = since.map_or(Duration::ZERO, |since| FULLER.saturating_sub(since.elapsed()));
        if is_doubtful || can_wait.is_zero() && written.as_ref() != Some(&status) {
            match write(shared, &status, version.take()).await {
                Ok(object) => {
                    version.clone_from(&object.metadata.resource_version);
                    strays.tell(shared, &object, &status.strays).await;
                    written = Some(status);
                    fuller_since = None;
                }
                Err(err) => {
                    tracing::warn!(error = chain(&err), "the node's report was not written");
                    shared.report_is_doubtful.store(true, Ordering::Relaxed);
                    tokio::time::sleep(AFTER_FAILURE).await;
                    continue;
                }
            }
        }
        let pause = if can_wait.is_zero() { LOOK } else { can_wait };
        match tokio::time::timeout(pause, changes.changed()).await {
            Ok(Ok(())) => tokio::time::sleep(BUNCH).await,
            Ok(Err(_)) => return,
            Err(_) => (),
        }
    }
}

/// How many deletions wait until they are allowed; none while not all objects are known.
fn held(shared: &Shared) -> u64 {
    let objects = shared.objects.get().map(Store::state).unwrap_or_default();
    let is_held = |object: &&Arc<_>| Deletion::of(object).is_some_and(|it| it.is_held);
    objects.iter().filter(is_held).count() as u64
}

fn compose(shared: &Shared, status: &Status, strays: Vec<StrayReport>) -> NodeLocalStorageStatus {
    let machine = &shared.agent.machine;
    let (plan, unseen) = machine.groups().disks();
    let unserved = machine.unserved();
    let trouble = locked(&shared.trouble);
    NodeLocalStorageStatus {
        sequence: i64::try_from(status.sequence).unwrap_or(i64::MAX),
        pools: status.pools.iter().map(pool_report).collect(),
        strays,
        devices: plan.disks.iter().map(devices::report).collect(),
        device_summary: devices::summary(&plan),
        plan: devices::headlines(&plan),
        conditions: vec![
            trouble.condition(status.pools.len(), &unserved),
            health::condition(&status.pools),
            devices::condition(&plan, unseen.as_deref()),
        ],
    }
}

fn pool_report(pool: &PoolStatus) -> PoolReport {
    PoolReport {
        name: pool.name.to_string(),
        volume_group: pool.group.as_ref().map(ToString::to_string),
        size: pool.size,
        free: pool.free,
        largest_thick: pool.largest_thick,
        largest_thin: pool.largest_thin,
        state: pool.health.state().to_owned(),
        message: (!pool.health.is_well()).then(|| pool.health.to_string()),
        lost: pool.health.lost.iter().take(MOST_LOST).cloned().collect(),
        filling: pool.filling.iter().take(MOST_LOST).map(filling_report).collect(),
        volumes: pool.volumes,
        snapshots: pool.snapshots,
        wiping: pool.wipe_bytes,
        spec: pool.spec.clone(),
        extent_size: pool.stock.extent,
        extents: pool.stock.extents,
        free_extents: pool.stock.free,
        disks: pool
            .stock
            .physical
            .iter()
            .map(|disk| DiskReport {
                device: disk.device.display().to_string(),
                missing: disk.missing,
                allocatable: disk.allocatable,
                erring: disk.erring,
                extents: disk.extents,
                free_runs: disk.free_runs.iter().map(|run| run.length).collect(),
            })
            .collect(),
        entries: devices::entries(&pool.entries),
        thin_pool: pool.stock.thin.map(|thin| ThinReport {
            size: thin.size,
            promised: thin.promised,
            data_percent: thin.data_percent,
            metadata_percent: thin.metadata_percent,
        }),
    }
}

fn filling_report(filling: &Filling) -> FillingReport {
    FillingReport { volume: filling.volume.clone(), percent: filling.whole_percent() }
}

/// Writes the report. Where nobody else has written the object since that version it is replaced, as a patch
/// costs the API server almost twice as much.
async fn write(
    shared: &Shared,
    status: &NodeLocalStorageStatus,
    version: Option<String>,
) -> Result<NodeLocalStorage, kube::Error> {
    let api: Api<NodeLocalStorage> = Api::all(shared.agent.client.clone());
    let name = shared.agent.node.as_str();
    let object = |metadata, status| NodeLocalStorage {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..metadata },
        spec: NodeLocalStorageSpec {},
        status,
    };
    if version.is_some() {
        let metadata = ObjectMeta { resource_version: version, ..without_owners_of_fields() };
        let whole = object(metadata, Some(status.clone()));
        match api.replace_status(name, &PostParams::default(), &whole).await {
            Err(err) if is_overtaken(&err) => (),
            other => return other,
        }
    }
    let patch = json!({ "metadata": without_owners_of_fields(), "status": status });
    let params = PatchParams::default();
    match api.patch_status(name, &params, &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(err)) if err.code == 404 => {
            let bare = object(ObjectMeta::default(), None);
            api.create(&PostParams::default(), &bare).await?;
            api.patch_status(name, &params, &Patch::Merge(&patch)).await
        }
        other => other,
    }
}
