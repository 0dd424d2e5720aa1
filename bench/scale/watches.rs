//! One watch of each kind for all agents of a process: what the API server's own cache of watches does.
//!
//! Four watches for each of thousands of agents are more than a small machine has open files for, and
//! most of its time would go into them. So what the agents list and watch is answered here, from what
//! one watch of each kind shows. They see what they would see; all else goes to the API.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame},
};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{ApiResource, DynamicObject},
    client::Body,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use tarn::cluster::objects::{LogicalVolume, NodeLocalStorage, StoragePool};
use tokio::sync::{mpsc, watch};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type AnyBody = UnsyncBoxBody<Bytes, BoxError>;
type Piece = Result<Frame<Bytes>, Infallible>;
/// What an object is selected by.
type Key = fn(&DynamicObject) -> String;

/// What is watched, by the paths of the kinds.
pub(crate) struct Watches(HashMap<String, Arc<Kind>>);

/// One kind.
struct Kind {
    key: Key,
    known: Mutex<Known>,
}

/// What is known of a kind.
#[derive(Default)]
struct Known {
    /// The version of the newest object.
    version: u64,
    shelves: HashMap<String, Shelf>,
}

/// The objects that one selector selects.
#[derive(Default)]
struct Shelf {
    /// By name, in JSON.
    objects: BTreeMap<String, String>,
    /// What has happened since the first list, with its version.
    events: Vec<(u64, Bytes)>,
    watching: Vec<mpsc::UnboundedSender<Piece>>,
}

impl Watches {
    /// Watches what agents watch, and gives it back when all that is there is known.
    pub(crate) async fn begin(client: &Client) -> Self {
        let name = |object: &DynamicObject| object.name_any();
        let kinds: [(ApiResource, Key); 4] = [
            (ApiResource::erase::<Node>(&()), name),
            (ApiResource::erase::<NodeLocalStorage>(&()), name),
            (ApiResource::erase::<StoragePool>(&()), |_| String::new()),
            (ApiResource::erase::<LogicalVolume>(&()), node_of),
        ];
        let mut all = HashMap::new();
        for (resource, key) in kinds {
            let kind = Arc::new(Kind { key, known: Mutex::default() });
            let path = DynamicObject::url_path(&resource, None);
            let (is_listed, mut listed) = watch::channel(false);
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            tokio::spawn(follow(api, Arc::clone(&kind), is_listed));
            listed.wait_for(|it| *it).await.unwrap();
            all.insert(path, kind);
        }
        Self(all)
    }

    /// A client for agents.
    pub(crate) fn client(self: &Arc<Self>, real: &Client) -> Client {
        let (watches, real) = (Arc::clone(self), real.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (watches, real) = (Arc::clone(&watches), real.clone());
            async move {
                match watches.answer(&request) {
                    Some(body) => Ok::<_, kube::Error>(Response::new(body)),
                    None => {
                        let answer = real.send(request).await?;
                        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
                    }
                }
            }
        });
        Client::new(service, "default")
    }

    /// The answer to a list or a watch of what is watched here.
    fn answer(&self, request: &Request<Body>) -> Option<AnyBody> {
        let kind = self.0.get(request.uri().path()).filter(|_| request.method() == "GET")?;
        let query = request.uri().query().unwrap_or_default();
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|it| it.split_once('='));
            pairs.filter(|(it, _)| *it == name).map(|(_, value)| value).next()
        };
        // In `spec.nodeName%3Dnode-00001`.
        let selected = value("fieldSelector").and_then(|it| it.split("%3D").nth(1));
        let mut known = kind.known.lock().unwrap();
        let version = known.version;
        let shelf = known.shelves.entry(selected.unwrap_or_default().to_owned()).or_default();
        Some(match value("watch") {
            Some(_) => shelf.watch(value("resourceVersion").unwrap().parse().unwrap()),
            None => shelf.list(version),
        })
    }
}

fn node_of(object: &DynamicObject) -> String {
    object.data["spec"]["nodeName"].as_str().unwrap().to_owned()
}

async fn follow(api: Api<DynamicObject>, kind: Arc<Kind>, listed: watch::Sender<bool>) {
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        match event.unwrap() {
            Event::Init => assert!(!*listed.borrow(), "the API server has forgotten the watch"),
            Event::InitApply(object) => kind.enter(&object, None),
            Event::InitDone => drop(listed.send_replace(true)),
            Event::Apply(object) => kind.enter(&object, Some("MODIFIED")),
            Event::Delete(object) => kind.enter(&object, Some("DELETED")),
        }
    }
}

impl Kind {
    fn enter(&self, object: &DynamicObject, event: Option<&str>) {
        let version: u64 = object.resource_version().unwrap().parse().unwrap();
        let text = serde_json::to_string(object).unwrap();
        let mut known = self.known.lock().unwrap();
        known.version = known.version.max(version);
        let shelf = known.shelves.entry((self.key)(object)).or_default();
        if let Some(kind) = event {
            let line = Bytes::from(format!("{{\"type\":\"{kind}\",\"object\":{text}}}\n"));
            let piece = || Ok(Frame::data(line.clone()));
            shelf.watching.retain(|it| it.send(piece()).is_ok());
            shelf.events.push((version, line));
        }
        match event {
            Some("DELETED") => drop(shelf.objects.remove(&object.name_any())),
            _ => drop(shelf.objects.insert(object.name_any(), text)),
        }
    }
}

impl Shelf {
    fn list(&self, version: u64) -> AnyBody {
        let items: Vec<&str> = self.objects.values().map(String::as_str).collect();
        let metadata = format!("{{\"resourceVersion\":\"{version}\"}}");
        let list = format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"metadata\":{metadata},\"items\":[{}]}}",
            items.join(",")
        );
        Full::new(Bytes::from(list)).map_err(Into::into).boxed_unsync()
    }

    fn watch(&mut self, from: u64) -> AnyBody {
        let (to, pieces) = mpsc::unbounded_channel();
        for (_, line) in self.events.iter().filter(|(version, _)| *version > from) {
            to.send(Ok(Frame::data(line.clone()))).unwrap();
        }
        self.watching.push(to);
        StreamBody::new(UnboundedReceiverStream::new(pieces)).map_err(Into::into).boxed_unsync()
    }
}
