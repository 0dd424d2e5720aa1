//! The front door: CSI over gRPC.

pub mod observe;

/// The wire contract, generated from `proto/csi.proto`.
pub mod proto {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::too_many_lines,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    tonic::include_proto!("csi.v1");
}
