//! How the API is reached.

use std::path::Path;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Why the API cannot be asked. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is neither a kubeconfig nor a pod's service account.
    #[error("no way to the Kubernetes API: run in a pod, or give --kubeconfig or $KUBECONFIG")]
    Nowhere(#[source] Box<kube::config::InferConfigError>),
    /// The kubeconfig is no good.
    #[error("the kubeconfig {path} cannot be used")]
    Kubeconfig {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// The client could not be set up.
    #[error("the Kubernetes client cannot be set up")]
    Client(#[source] Box<kube::Error>),
}

/// A client: by the kubeconfig that is given, else by $KUBECONFIG, else as the pod's service account.
/// Nothing is asked yet, so an API that is away is no error.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let config = match kubeconfig {
        Some(path) => {
            let bad = |source| ConnectError::Kubeconfig {
                path: path.display().to_string(),
                source: Box::new(source),
            };
            let file = Kubeconfig::read_from(path).map_err(bad)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options).await.map_err(bad)?
        }
        None => Config::infer().await.map_err(|err| ConnectError::Nowhere(Box::new(err)))?,
    };
    Client::try_from(config).map_err(|err| ConnectError::Client(Box::new(err)))
}
