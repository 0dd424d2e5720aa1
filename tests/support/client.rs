//! gRPC clients of a driver's socket, for tests that are not asynchronous.

use std::{path::Path, time::Duration};

use tarn::csi::proto::{
    ProbeRequest, controller_client::ControllerClient, identity_client::IdentityClient,
    node_client::NodeClient,
};
use tokio::runtime::Runtime;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::driver::socket;

/// How long a single call may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// The three services behind one socket. Each call connects again where it must.
pub(crate) struct Clients {
    runtime: Runtime,
    pub(crate) services: Services,
}

/// The clients themselves.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) identity: IdentityClient<Channel>,
    pub(crate) controller: ControllerClient<Channel>,
    pub(crate) node: NodeClient<Channel>,
}

impl Clients {
    /// Clients of the driver in a folder, which need not be there yet.
    pub(crate) fn new(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let at = format!("unix://{}", socket(folder).display());
        let guard = runtime.enter();
        let channel = Endpoint::from_shared(at).unwrap().connect_lazy();
        drop(guard);
        let services = Services {
            identity: IdentityClient::new(channel.clone()),
            controller: ControllerClient::new(channel.clone()),
            node: NodeClient::new(channel),
        };
        Self { runtime, services }
    }

    /// Makes one call and waits for its answer.
    pub(crate) fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Services) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let Self { runtime, services } = self;
        runtime.block_on(async {
            let answer = tokio::time::timeout(PATIENCE, call(services)).await;
            answer.unwrap_or_else(|_| {
                Err(Status::new(Code::DeadlineExceeded, format!("no answer within {PATIENCE:?}")))
            })
        })
    }

    /// Whether a driver answers.
    pub(crate) fn is_served(&mut self) -> bool {
        let probed = self.call(async |services| services.identity.probe(ProbeRequest {}).await);
        probed.is_ok()
    }
}

/// Whether a call was cut off, and was not answered by the driver.
pub(crate) fn is_cut_off(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}
