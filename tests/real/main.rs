//! The driver on real LVM and real file systems. These tests run in a disposable guest: `./run
//! guest`, or `./run guest WORD` for those with WORD in their names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests: what goes wrong is to be seen"
)]

mod adopt;
mod adopt_whole;
mod arrival;
mod asking;
mod capacity;
mod consent;
mod damage;
mod directory;
mod disks;
mod erring;
mod growing;
mod healing;
mod hostile;
mod in_use;
mod killed;
mod life;
mod memory;
mod mounted;
mod mounts;
mod moved;
mod pools;
mod raid;
mod repair;
mod repeated;
mod retire;
mod signatures;
mod support;
mod telling;
mod thin;
mod thin_raid;
mod trim;
mod whole;
mod wiping;
