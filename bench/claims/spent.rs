//! How long the driver's parts worked, from what each of its pods counts.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};
use tonic::codegen::http::Request;

/// All pods' sums of one kind of work so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    times: f64,
    seconds: f64,
}

impl Spent {
    /// CreateVolume, as the controllers' callers see it.
    pub(crate) async fn on_creates(client: &Client) -> Self {
        let of = "rpc_duration_seconds";
        Self::on(client, "controller", of, "{method=\"CreateVolume\",code=\"OK\"}").await
    }

    /// The LVM command of a CreateVolume, as the agents wait for it.
    pub(crate) async fn on_lvcreate(client: &Client) -> Self {
        let of = "lvm_command_duration_seconds";
        Self::on(client, "node", of, "{verb=\"lvcreate\",outcome=\"succeeded\"}").await
    }

    /// What one took that was done since. Where more were done, as when the provisioner has asked twice,
    /// nobody can tell.
    pub(crate) fn one_since(self, before: Self) -> Option<Duration> {
        let times = self.times - before.times;
        assert!(times > 0.5, "nothing was done");
        (times < 1.5).then(|| Duration::from_secs_f64(self.seconds - before.seconds))
    }

    async fn on(client: &Client, component: &str, name: &str, labels: &str) -> Self {
        let pods: Api<Pod> = Api::namespaced(client.clone(), "tarn-system");
        let which =
            ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
        let mut spent = Self::default();
        for pod in pods.list(&which).await.unwrap() {
            let pod = pod.metadata.name.unwrap();
            let path = format!("/api/v1/namespaces/tarn-system/pods/{pod}:9810/proxy/metrics");
            let request = Request::get(path).body(Vec::new()).unwrap();
            let page = client.request_text(request).await.unwrap();
            let value = |part: &str| {
                let start = format!("tarn_{name}_{part}{labels} ");
                page.lines().find_map(|it| it.strip_prefix(&start)?.parse().ok()).unwrap_or(0.0)
            };
            spent.times += value("count");
            spent.seconds += value("sum");
        }
        spent
    }
}
