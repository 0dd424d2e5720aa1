//! The controller under measurement: the real program, and calls as the sidecars make them.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tarn::csi::proto::{
    CapacityRange, CreateVolumeRequest, GetCapacityRequest, ProbeRequest, Topology,
    TopologyRequirement, controller_client::ControllerClient, identity_client::IdentityClient,
};
use tokio::task::JoinSet;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::{machines::name_of, program::Program};
use crate::calls::mounted;

const LABEL: &str = "topology.tarn.dev/node";
/// The two classes.
const CLASSES: [&str; 2] = ["Thick", "Thin"];
/// How often it is tried whether the controller is ready.
const BLINK: Duration = Duration::from_millis(5);

/// A running controller.
pub(crate) struct Controller {
    pub(crate) program: Program,
    channel: Channel,
    /// How long it was from its start until it was ready.
    pub(crate) start: Duration,
}

/// What came of many creates.
pub(crate) struct Creates {
    /// How long each that was answered well took.
    pub(crate) times: Vec<Duration>,
    /// How many were answered otherwise, by code.
    pub(crate) refused: Vec<(Code, usize)>,
    /// From the first call to the last answer.
    pub(crate) all: Duration,
}

impl Controller {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(tarn: &Path, folder: &Path) -> Self {
        let socket = folder.join("controller.sock");
        let endpoint = socket.to_str().unwrap();
        let began = Instant::now();
        let program =
            Program::start(tarn, &["controller", "--endpoint", endpoint, "--log-level", "warn"]);
        let door = Endpoint::try_from(format!("unix:{endpoint}")).unwrap();
        let channel = loop {
            match door.connect().await {
                Ok(channel) => break channel,
                Err(_) => tokio::time::sleep(BLINK).await,
            }
        };
        while !is_ready(&channel).await {
            tokio::time::sleep(BLINK).await;
        }
        Self { program, channel, start: began.elapsed() }
    }

    /// GetCapacity of one node and class after the other, in no order; how long each took.
    pub(crate) async fn capacities(&self, nodes: usize, calls: usize) -> Vec<Duration> {
        let mut client = ControllerClient::new(self.channel.clone());
        let mut times = Vec::new();
        for call in 0..calls {
            let node = scattered(call, nodes);
            let request = GetCapacityRequest {
                parameters: [("provisioning".to_owned(), CLASSES[call % 2].to_owned())].into(),
                accessible_topology: Some(on(&node)),
                ..Default::default()
            };
            let began = Instant::now();
            let answer = client.get_capacity(request).await.unwrap().into_inner();
            times.push(began.elapsed());
            assert!(answer.available_capacity > 0, "{node} has no room, or is silent");
        }
        times
    }

    /// CreateVolume, each for another claim and on another node, at an even pace however long the
    /// answers take.
    pub(crate) async fn creates(&self, nodes: usize, calls: usize, pace: Duration) -> Creates {
        let mut beat = tokio::time::interval(pace);
        let mut running = JoinSet::new();
        let began = Instant::now();
        for call in 0..calls {
            beat.tick().await;
            let mut client = ControllerClient::new(self.channel.clone());
            let request = create(&scattered(call, nodes), call);
            running.spawn(async move {
                let began = Instant::now();
                let answer = client.create_volume(request).await;
                answer.map(|_| began.elapsed()).map_err(|status| {
                    println!("CreateVolume: {status}");
                    status.code()
                })
            });
        }
        let answers = running.join_all().await;
        let all = began.elapsed();
        let mut creates = Creates { times: Vec::new(), refused: Vec::new(), all };
        for answer in answers {
            match answer {
                Ok(time) => creates.times.push(time),
                Err(code) => creates.count(code),
            }
        }
        creates
    }
}

impl Creates {
    fn count(&mut self, code: Code) {
        match self.refused.iter_mut().find(|(it, _)| *it == code) {
            Some((_, count)) => *count += 1,
            None => self.refused.push((code, 1)),
        }
    }
}

async fn is_ready(channel: &Channel) -> bool {
    let mut client = IdentityClient::new(channel.clone());
    let answer = client.probe(ProbeRequest {}).await;
    answer.is_ok_and(|it| it.into_inner().ready == Some(true))
}

/// One of the nodes, another for each call, neighbours far apart.
fn scattered(call: usize, nodes: usize) -> String {
    name_of(call * 7919 % nodes)
}

fn on(node: &str) -> Topology {
    Topology { segments: [(LABEL.to_owned(), node.to_owned())].into() }
}

/// What external-provisioner asks for a claim whose node was chosen.
fn create(node: &str, call: usize) -> CreateVolumeRequest {
    let parameters = [
        ("provisioning", CLASSES[call % 2].to_owned()),
        ("csi.storage.k8s.io/pvc/name", format!("data-database-{call}")),
        ("csi.storage.k8s.io/pvc/namespace", "default".to_owned()),
        ("csi.storage.k8s.io/pv/name", format!("pvc-5b1f0d5e-2b11-4c6f-8d7e-{call:012x}")),
    ];
    CreateVolumeRequest {
        name: format!("pvc-5b1f0d5e-2b11-4c6f-8d7e-{call:012x}"),
        capacity_range: Some(CapacityRange { required_bytes: 64 << 20, limit_bytes: 0 }),
        volume_capabilities: vec![mounted()],
        parameters: parameters.map(|(key, value)| (key.to_owned(), value)).into(),
        accessibility_requirements: Some(TopologyRequirement {
            requisite: vec![on(node)],
            preferred: vec![on(node)],
        }),
        ..Default::default()
    }
}
