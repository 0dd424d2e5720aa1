//! What tests in the guest stand on: a machine whose state can be compared, a volume group on
//! scratch disks, the driver as a program of its own, and short words for what CSI is asked.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod calls;
pub(crate) mod content;
pub(crate) mod dice;
pub(crate) mod disks;
pub(crate) mod driver;
pub(crate) mod ground;
pub(crate) mod killer;
pub(crate) mod lives;
pub(crate) mod machine;
pub(crate) mod pages;
pub(crate) mod scene;
pub(crate) mod wish;

pub(crate) use calls::refused;
pub(crate) use scene::{Scene, Volume};
pub(crate) use wish::Wish;

/// MiB in bytes.
pub(crate) const fn mib(count: u64) -> u64 {
    count << 20
}
