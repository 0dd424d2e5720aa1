//! The socket that is listened on, as it is typed.

use std::{path::PathBuf, str::FromStr};

/// A unix socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint(pub(super) PathBuf);

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadEndpoint {
    #[error("give unix:// and an absolute path, such as unix:///run/tarn/csi.sock")]
    Form,
    #[error("the path of a unix socket is at most 107 bytes long (unix(7)), this one {0}")]
    Long(usize),
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:"));
        let path = path.unwrap_or(text);
        if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
            return Err(BadEndpoint::Form);
        }
        if path.len() > 107 {
            return Err(BadEndpoint::Long(path.len()));
        }
        Ok(Self(PathBuf::from(path)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::address("unix:///run/tarn/csi.sock")]
    #[case::short("unix:/run/tarn/csi.sock")]
    #[case::path("/run/tarn/csi.sock")]
    fn endpoints(#[case] text: &str) {
        assert_eq!(text.parse::<Endpoint>().unwrap().0, Path::new("/run/tarn/csi.sock"));
    }

    #[rstest]
    #[case::empty("")]
    #[case::relative("csi.sock")]
    #[case::relative_address("unix://csi.sock")]
    #[case::tcp("tcp://127.0.0.1:10000")]
    #[case::folder("unix:///run/tarn/")]
    #[case::too_long(&format!("/{}", "x".repeat(107)))]
    fn no_endpoints(#[case] text: &str) {
        assert!(text.parse::<Endpoint>().is_err());
    }
}
