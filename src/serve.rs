//! The driver, from start to SIGTERM.

use crate::cli::Config;

/// Serves CSI until SIGTERM.
///
/// # Errors
/// What kept it from starting, or stopped it.
pub fn standalone(_: Config) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
