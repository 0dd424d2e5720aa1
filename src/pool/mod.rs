//! Which disks become which volume groups, and how much room they have.

pub mod capacity;
mod spec;

pub use spec::{Autoextend, LoopFile, PoolSpec, Provisions, ThinPoolSpec};
