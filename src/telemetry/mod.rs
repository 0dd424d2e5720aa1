//! What the program tells: logs, metrics, and whether it is well.

pub mod http;
pub mod log;
mod metrics;

pub use metrics::{CopyProgress, Metrics, Outcome, PoolFigures, ThinUse, Trims};
