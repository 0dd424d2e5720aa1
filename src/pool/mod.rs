//! Which disks become which volume groups, and how much room they have.

pub mod capacity;
mod class;
mod file;
mod spec;

pub use class::{Class, pick, wanted_pool};
pub use file::{Mistake, PoolEntry, PoolsFile};
pub use spec::{Autoextend, LoopFile, PoolSpec, Provisions, ThinPoolSpec};
