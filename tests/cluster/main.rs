//! Tarn in a real Kubernetes: the chart, our image, two nodes with real LVM (`tests/cluster/README.md`).
//!
//! Run by `./run cluster`, one test after the other in one cluster; each leaves it as it was.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test"
)]

mod adoption;
mod claims;
mod disks;
mod driver;
mod examples;
mod folders;
mod fullness;
mod kubectl;
mod sanity;
mod statics;
mod switch;
mod takeover;
mod trouble;
mod whole;
