//! From a claim to a running pod and back, in a real Kubernetes with the driver installed, beside a
//! pod without a claim.

mod spent;

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, PostParams},
    runtime::wait::{Condition, await_condition, conditions},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::JoinHandle;

use self::spent::Spent;
use super::{Row, median, millis as millis_text};

const ROUNDS: usize = 20;
/// Until a watch that was just begun has been answered.
const WATCHED: Duration = Duration::from_millis(500);

/// What is measured of, and where.
struct Cluster {
    client: Client,
    pods: Api<Pod>,
    claims: Api<PersistentVolumeClaim>,
    volumes: Api<PersistentVolume>,
}

/// How long the steps of one round took.
struct Round {
    bound: Duration,
    running: Duration,
    running_without: Duration,
    gone: Duration,
    create: Option<Duration>,
    lvcreate: Option<Duration>,
}

pub(crate) async fn all() -> Vec<Row> {
    let client = Client::try_default().await.unwrap();
    let cluster = Cluster {
        pods: Api::default_namespaced(client.clone()),
        claims: Api::default_namespaced(client.clone()),
        volumes: Api::all(client.clone()),
        client,
    };
    let mut rounds = Vec::new();
    for number in 0..=ROUNDS {
        let round = cluster.round(number).await;
        println!(
            "{number}: bound {:?}, running {:?}, without {:?}, gone {:?}, create {:?}, lvcreate {:?}",
            round.bound,
            round.running,
            round.running_without,
            round.gone,
            round.create,
            round.lvcreate
        );
        // The first round warms both up.
        if number > 0 {
            rounds.push(round);
        }
    }
    let of =
        |pick: fn(&Round) -> Duration| median(&mut rounds.iter().map(pick).collect::<Vec<_>>());
    let (with, without) = (of(|it| it.running), of(|it| it.running_without));
    let later = with.saturating_sub(without);
    let row = |what: &str, took: Duration, also: String, most: Duration| {
        let measured = format!("{:.2} s{also}", took.as_secs_f64());
        Row::new(what, measured, &format!("{:.1} s", most.as_secs_f64()), took <= most)
    };
    let beside = format!(" ({:.2} s / {:.2} s)", with.as_secs_f64(), without.as_secs_f64());
    let none = String::new();
    let known = |pick: fn(&Round) -> Option<Duration>| {
        median(&mut rounds.iter().filter_map(pick).collect::<Vec<_>>())
    };
    let (create, lvcreate) = (known(|it| it.create), known(|it| it.lvcreate));
    let through = format!(" ({} / {})", millis_text(create), millis_text(lvcreate));
    vec![
        row("claim bound, after the pod's creation", of(|it| it.bound), none.clone(), millis(400)),
        row("pod Running, later than one without a claim", later, beside, millis(1300)),
        row(
            "volume gone, after the deletion of pod and claim",
            of(|it| it.gone),
            none,
            millis(1500),
        ),
        // Without objects it takes what its LVM command takes, and a little more.
        Row::time(
            "CreateVolume through objects, longer than its `lvcreate`",
            create.saturating_sub(lvcreate),
            &through,
            millis(60),
        ),
    ]
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Cluster {
    async fn round(&self, number: usize) -> Round {
        let (claim, pod) = (format!("figure-{number}"), format!("figure-{number}"));
        let bare = format!("figure-{number}-bare");
        create(&self.claims, claim_json(&claim)).await;
        let creates = Spent::on_creates(&self.client).await;
        let lvcreates = Spent::on_lvcreate(&self.client).await;
        let bound = moment(&self.claims, &claim, is_bound);
        let running = moment(&self.pods, &pod, conditions::is_pod_running());
        let running_without = moment(&self.pods, &bare, conditions::is_pod_running());
        tokio::time::sleep(WATCHED).await;

        let began = create(&self.pods, pod_json(&pod, Some(&claim))).await;
        let (bound, running) = (bound.await.unwrap() - began, running.await.unwrap() - began);
        let began = create(&self.pods, pod_json(&bare, None)).await;
        let running_without = running_without.await.unwrap() - began;

        let create = Spent::on_creates(&self.client).await.one_since(creates);
        let lvcreate = Spent::on_lvcreate(&self.client).await.one_since(lvcreates);
        let volume = self.claims.get(&claim).await.unwrap().spec.unwrap().volume_name.unwrap();
        let uid = self.volumes.get(&volume).await.unwrap().metadata.uid.unwrap();
        let gone = moment(&self.volumes, &volume, move |seen: Option<&PersistentVolume>| {
            seen.is_none_or(|it| it.metadata.uid.as_ref() != Some(&uid))
        });
        tokio::time::sleep(WATCHED).await;
        let began = Instant::now();
        self.pods.delete(&pod, &DeleteParams::default()).await.unwrap();
        self.claims.delete(&claim, &DeleteParams::default()).await.unwrap();
        let gone = gone.await.unwrap() - began;
        self.pods.delete(&bare, &DeleteParams::default()).await.unwrap();
        Round { bound, running, running_without, gone, create, lvcreate }
    }
}

/// Creates an object; when that was answered.
async fn create<K>(api: &Api<K>, object: serde_json::Value) -> Instant
where
    K: Resource + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
    Instant::now()
}

/// When the object of that name is first seen to be so.
fn moment<K>(
    api: &Api<K>,
    name: &str,
    so: impl Condition<K> + Send + Sync + 'static,
) -> JoinHandle<Instant>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let (api, name) = (api.clone(), name.to_owned());
    tokio::spawn(async move {
        await_condition(api, &name, so).await.unwrap();
        Instant::now()
    })
}

fn is_bound(claim: Option<&PersistentVolumeClaim>) -> bool {
    let phase = claim.and_then(|it| it.status.as_ref()?.phase.as_deref());
    phase == Some("Bound")
}

fn claim_json(name: &str) -> serde_json::Value {
    serde_json::json!({
        "metadata": {"name": name},
        "spec": {
            "storageClassName": "local",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "128Mi"}}
        }
    })
}

/// A pod that does nothing, and ends at once when it is told to.
fn pod_json(name: &str, claim: Option<&str>) -> serde_json::Value {
    let mounts = claim.map(|_| serde_json::json!({"name": "data", "mountPath": "/data"}));
    let volumes = claim.map(
        |claim| serde_json::json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}}),
    );
    serde_json::json!({
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "idle",
                "image": "registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
                // The first process of a container is not ended by a signal that it does not handle.
                "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"],
                "volumeMounts": mounts.into_iter().collect::<Vec<_>>()
            }],
            "volumes": volumes.into_iter().collect::<Vec<_>>()
        }
    })
}
