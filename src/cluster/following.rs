//! What all share who follow objects of the API.

use std::error::Error;

use tokio_stream::{Stream, StreamExt as _};

use crate::volume::chain;

/// Has a controller work until it is dropped. What failed it tries again by itself, and is only noted: as `what`.
pub(super) async fn drive<T, E: Error + 'static>(
    results: impl Stream<Item = Result<T, E>>,
    what: &'static str,
) {
    let mut results = std::pin::pin!(results);
    while let Some(result) = results.next().await {
        if let Err(err) = result {
            tracing::debug!(error = chain(&err), "{what}");
        }
    }
}

/// Whether the object that was to be written has changed since it was read, or is gone: another was first.
pub(super) fn is_overtaken(err: &kube::Error) -> bool {
    matches!(err, kube::Error::Api(said) if said.code == 409 || said.code == 404)
}
