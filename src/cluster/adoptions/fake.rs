//! An API in memory, with the rules that who carries out an Adoption relies on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use hyper::{Method, Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// Where Adoptions are.
pub(in crate::cluster) const ADOPTIONS: &str = "/apis/tarn.dev/v1alpha1/adoptions/";

/// Objects by their paths. There is one namespace, `home`.
#[derive(Default)]
pub(in crate::cluster) struct FakeApi(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    objects: BTreeMap<String, Value>,
    version: u64,
    /// The answer to the next request that makes an object gets lost.
    loses_answer: bool,
    requests: Vec<String>,
}

impl FakeApi {
    pub(in crate::cluster) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(in crate::cluster) fn client(self: &Arc<Self>) -> Client {
        let api = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = Arc::clone(&api);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (code, said) = api.inside().answer(&parts.method, parts.uri.path(), body);
                let said = Body::from(said.to_string().into_bytes());
                let answer = Response::builder().status(code).body(said);
                Ok::<_, kube::Error>(answer.unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// What is there.
    pub(in crate::cluster) fn get(&self, path: &str) -> Option<Value> {
        self.inside().objects.get(path).cloned()
    }

    /// Somebody makes or changes an object.
    pub(in crate::cluster) fn put(&self, path: &str, object: Value) {
        self.inside().keep(path, object);
    }

    /// Somebody deletes an object.
    pub(in crate::cluster) fn delete(&self, path: &str) {
        self.inside().objects.remove(path).unwrap();
    }

    pub(in crate::cluster) fn lose_an_answer(&self) {
        self.inside().loses_answer = true;
    }

    /// Every request until now, and forgets them.
    pub(in crate::cluster) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.inside().requests)
    }
}

impl Inside {
    fn keep(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn answer(&mut self, method: &Method, path: &str, body: Value) -> (u16, Value) {
        self.requests.push(format!("{method} {path}"));
        let is_new = *method == Method::POST;
        let at = match is_new {
            true => format!("{path}/{}", body["metadata"]["name"].as_str().unwrap()),
            false => path.trim_end_matches("/status").to_owned(),
        };
        let elsewhere =
            at.strip_prefix("/api/v1/namespaces/").is_some_and(|it| !it.starts_with("home/"));
        match (is_new, self.objects.get(&at).cloned()) {
            (true, Some(_)) => failed(409, "AlreadyExists"),
            (true, None) if elsewhere => failed(404, "NotFound"),
            (true, None) => {
                let made = self.keep(&at, body);
                match std::mem::take(&mut self.loses_answer) {
                    true => failed(504, "Timeout"),
                    false => (201, made),
                }
            }
            (false, None) => failed(404, "NotFound"),
            (false, Some(there)) if *method == Method::GET => (200, there),
            (false, Some(there)) => {
                assert_eq!((method, path), (&Method::PUT, &*format!("{at}/status")));
                if there["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
                    return failed(409, "Conflict");
                }
                let mut there = there;
                there["status"] = body["status"].clone();
                (200, self.keep(&at, there))
            }
        }
    }
}

fn failed(code: u16, reason: &str) -> (u16, Value) {
    let said = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("it said {reason}"), "reason": reason, "code": code,
    });
    (code, said)
}
