//! The pods that have no node yet, listed once for all who ask at the same time: when a thousand pods
//! begin at once, the call for each of their claims asks for all of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};

/// The last list of a namespace, and when it was begun; held while the next one is under way.
type Last = Arc<tokio::sync::Mutex<Option<(Instant, Arc<Vec<Pod>>)>>>;

/// Lists pods. Clones share what they list.
#[derive(Clone)]
pub(super) struct Pending {
    client: Client,
    /// The namespaces that somebody asks about now.
    asked: Arc<Mutex<HashMap<String, Last>>>,
}

impl Pending {
    pub(super) fn new(client: Client) -> Self {
        Self { client, asked: Arc::default() }
    }

    /// The pods of a namespace that have no node yet, as of a moment after the call.
    ///
    /// # Errors
    /// What the API says.
    pub(super) async fn of(&self, namespace: &str) -> Result<Arc<Vec<Pod>>, kube::Error> {
        let came = Instant::now();
        let shared = self.with(|asked| Arc::clone(asked.entry(namespace.to_owned()).or_default()));
        let mut last = shared.lock().await;
        let pods = match &*last {
            Some((begun, pods)) if *begun >= came => Arc::clone(pods),
            _ => {
                let begun = Instant::now();
                let pods = Arc::new(self.list(namespace).await?);
                *last = Some((begun, Arc::clone(&pods)));
                pods
            }
        };
        drop(last);
        self.with(|asked| {
            // Only this call and the map have it.
            if Arc::strong_count(&shared) <= 2 {
                asked.remove(namespace);
            }
        });
        Ok(pods)
    }

    fn with<T>(&self, look: impl FnOnce(&mut HashMap<String, Last>) -> T) -> T {
        look(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From what the API server has in memory.
    async fn list(&self, namespace: &str) -> Result<Vec<Pod>, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let waiting =
            ListParams::default().fields("status.phase=Pending,spec.nodeName=").match_any();
        Ok(pods.list(&waiting).await?.items)
    }
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    /// An API that tells of each request, and answers as it is let.
    fn api() -> (Pending, mpsc::UnboundedReceiver<()>, Arc<Semaphore>) {
        let (tell, asked) = mpsc::unbounded_channel();
        let answers = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&answers);
        let service = tower::service_fn(move |_: hyper::Request<Body>| {
            tell.send(()).unwrap();
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                let none = r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}"#;
                Ok::<_, kube::Error>(hyper::Response::new(Body::from(none.as_bytes().to_vec())))
            }
        });
        (Pending::new(Client::new(service, "default")), asked, answers)
    }

    fn begin(pending: &Pending) -> tokio::task::JoinHandle<bool> {
        let pending = pending.clone();
        tokio::spawn(async move { pending.of("team").await.unwrap().is_empty() })
    }

    #[tokio::test]
    async fn who_comes_while_a_list_is_under_way_shares_the_next() {
        let (pending, mut asked, answers) = api();
        let first = begin(&pending);
        asked.recv().await.unwrap();
        let others = [begin(&pending), begin(&pending), begin(&pending)];
        // They run on this thread: all of them are waiting once it comes back here.
        tokio::task::yield_now().await;
        answers.add_permits(2);
        assert!(first.await.unwrap());
        for other in others {
            assert!(other.await.unwrap());
        }
        assert!(asked.try_recv().is_ok(), "the first list may be from before they came");
        assert!(asked.try_recv().is_err(), "one more is enough for all of them");
        assert!(pending.with(|asked| asked.is_empty()), "and nothing is kept");
    }

    #[tokio::test]
    async fn who_comes_later_gets_a_list_of_their_own() {
        let (pending, mut asked, answers) = api();
        answers.add_permits(2);
        for _ in 0..2 {
            assert!(begin(&pending).await.unwrap());
            assert!(asked.try_recv().is_ok());
        }
    }
}
