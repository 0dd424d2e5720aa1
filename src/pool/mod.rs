//! Which disks become which volume groups, and how much room they have.

pub mod capacity;
mod class;
mod file;
pub mod health;
pub mod owner;
pub mod plan;
pub mod repair;
mod spec;
pub mod survey;

pub use class::{Class, pick, wanted_pool};
pub use file::{Mistake, PoolEntry, PoolsFile};
pub use spec::{
    Autoextend, DevicesSpec, LEAST_DISK, LoopFile, Mismatch, PoolSpec, Provisions, ThinPoolSpec,
};
