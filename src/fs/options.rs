//! Options of mkfs and mount that may come from outside, parsed at the door.

mod mkfs;
mod mount;

pub use mkfs::MkfsOptions;
pub use mount::MountOptions;

/// Why an option is not accepted: it names the option and says what is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadOption(pub String);
