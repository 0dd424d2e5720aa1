//! Many objects soon: written into etcd as the API server would have written them, as when etcd is restored
//! from a backup. Through the API server the same takes a small machine ten minutes.

use data_encoding::BASE64;
use hyper::Request;
use kube::{Api, Client, Config, api::PostParams};
use serde_json::{Value, json};
use tarn::cluster::objects::LogicalVolume;
use tokio::sync::OnceCell;

/// Where tests/cluster/control-plane has etcd listen.
const ETCD: &str = "http://127.0.0.1:2379";
/// Where the API server keeps them (its `--etcd-prefix`).
const PREFIX: &str = "/registry/tarn.dev/logicalvolumes";

/// The way to where the API server keeps its objects.
pub(crate) struct Database {
    api: Api<LogicalVolume>,
    etcd: Client,
    /// What the API server makes of an object.
    first: OnceCell<Value>,
}

impl Database {
    pub(crate) fn new(client: &Client) -> Self {
        let etcd = Client::try_from(Config::new(ETCD.parse().unwrap())).unwrap();
        Self { api: Api::all(client.clone()), etcd, first: OnceCell::new() }
    }

    /// Writes an object with its status. The first goes through the API; the others are kept as it is
    /// kept, with what it was given there.
    pub(crate) async fn put(&self, object: LogicalVolume) {
        let name = object.metadata.name.clone().unwrap();
        let first = self.first.get_or_init(|| self.post(&object)).await;
        if first["metadata"]["name"] == name.as_str() {
            return;
        }
        let mut kept = first.clone();
        kept["metadata"]["name"] = json!(name);
        kept["metadata"]["uid"] = json!(uid(&name));
        kept["spec"] = json!(object.spec);
        kept["status"] = json!(object.status);
        let key = BASE64.encode(format!("{PREFIX}/{name}").as_bytes());
        let value = BASE64.encode(kept.to_string().as_bytes());
        let body = json!({ "key": key, "value": value }).to_string();
        let request = Request::post("/v3/kv/put").body(body.into_bytes()).unwrap();
        self.etcd.request::<Value>(request).await.unwrap();
    }

    async fn post(&self, object: &LogicalVolume) -> Value {
        let params = PostParams::default();
        let mut made = self.api.create(&params, object).await.unwrap();
        made.status.clone_from(&object.status);
        let name = made.metadata.name.clone().unwrap();
        let mut kept = json!(self.api.replace_status(&name, &params, &made).await.unwrap());
        // What is not kept in the object but is its place in the database.
        kept["metadata"].as_object_mut().unwrap().remove("resourceVersion").unwrap();
        kept
    }
}

/// In the form of a UUID, another for each name: the names of volumes are digests.
fn uid(name: &str) -> String {
    let digits: String = name.bytes().rev().take(16).map(|byte| format!("{byte:02x}")).collect();
    let (a, b, c, d, e) =
        (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
}
