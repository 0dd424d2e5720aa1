//! The front door: the only room that knows gRPC and the wire types.
//!
//! A request is read ([`request`]), its volume's turn is taken, the work is done to its end
//! ([`work`]), and what came out is written ([`answer`]) or given its code ([`status`]).

mod answer;
mod controller;
mod identity;
mod node;
mod observe;
mod register;
mod request;
mod status;
mod work;

pub use controller::ControllerService;
pub use identity::{IdentityService, Readiness};
pub use node::NodeService;
pub use observe::{Observe, Running};
pub use register::RegistrationService;

/// The wire contract (`proto/csi.proto`).
#[allow(
    clippy::all,
    clippy::restriction,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    reason = "generated"
)]
pub mod proto {
    tonic::include_proto!("csi.v1");
}

/// The kubelet's contract for registration (`proto/pluginregistration.proto`).
#[allow(
    clippy::all,
    clippy::restriction,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    reason = "generated"
)]
pub mod registration {
    tonic::include_proto!("pluginregistration");
}
