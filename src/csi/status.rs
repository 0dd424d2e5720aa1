//! The one table from our errors to gRPC codes. A code is chosen by what its reader does next.

use tonic::{Code, Status};

use crate::volume::{Error, chain};

impl From<Error> for Status {
    fn from(err: Error) -> Self {
        Self::new(code(&err), chain(&err))
    }
}

/// What external-provisioner (`controller.go`, `checkError`), external-resizer (`util.go`) and the
/// kubelet make of each code is in the CSI spec's error tables and their sources.
fn code(err: &Error) -> Code {
    match err {
        // Retried slowly; the resizer lets the user change the request.
        Error::Invalid { .. } => Code::InvalidArgument,
        Error::NotFound(_) => Code::NotFound,
        Error::Exists { .. } => Code::AlreadyExists,
        // The resizer marks the request infeasible, and the user may ask for less.
        Error::OutOfRange(_) => Code::OutOfRange,
        // The provisioner gives this node up and lets the scheduler choose another: only when
        // nothing was made here.
        Error::NoRoom(_) => Code::ResourceExhausted,
        // Final for the kubelet, which then takes it that nothing is mounted.
        Error::InUse(_) | Error::Precondition(_) => Code::FailedPrecondition,
        // "May still be running": the same call comes again, with the same node.
        Error::Busy(_) | Error::Uncertain { .. } => Code::Aborted,
        // "Surely not in progress": if the claim is deleted now, nobody deletes a volume. So only
        // when nothing was left behind.
        Error::Machine { .. } => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_whole_chain_is_said_once() {
        let cause = io::Error::other("the disk is gone");
        let status = Status::from(Error::machine("reading volume group vg0", cause));
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.message(), "reading volume group vg0 failed: the disk is gone");
    }

    #[test]
    fn what_may_be_half_done_is_never_final() {
        let cause = io::Error::other("lost");
        assert_eq!(Status::from(Error::uncertain("making it", cause)).code(), Code::Aborted);
    }

    #[test]
    fn a_full_pool_sends_the_pod_elsewhere() {
        let status = Status::from(Error::NoRoom("full".into()));
        assert_eq!(status.code(), Code::ResourceExhausted);
    }
}
