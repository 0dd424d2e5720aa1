//! The front door as its callers see it: every RPC over a unix socket, on an LVM, file systems and
//! devices in memory. One file for each noun; [`ground`] is what they stand on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    reason = "a test"
)]

mod ground;
mod requests;
#[path = "../support/strange/mod.rs"]
mod strange;

mod capacity;
mod copy;
mod create;
mod damage;
mod delete;
mod expand;
mod faults;
mod hostile;
mod identity;
mod list;
mod node_expand;
mod pools;
mod publish;
mod raid;
mod restart;
mod snapshot;
mod stage;
mod stats;
mod thin_raid;
mod traps;
mod trim;
mod turns;
mod validate;
