//! Tarn: a Kubernetes CSI driver for node-local volumes on LVM.
//!
//! Rooms, top down; imports only point downwards (`tests/tidy.rs` holds that):
//! [`cli`] reads what was typed and [`serve`] wires it; [`csi`] is the front door; [`cluster`] does
//! it through Kubernetes and [`machine`] on this machine, in volume groups by [`host`], in directories and memory by
//! [`folder`] and on whole devices by [`whole`]; [`mounts`] is how volumes appear at paths; [`pool`] says which disks become which volume
//! groups; [`volume`] says what a volume is; [`lvm`], [`fs`] and [`device`] are the three families of
//! tools; [`process`] starts programs, [`units`] are sizes. [`telemetry`] is what the program tells.

pub mod cli;
pub mod serve;

pub mod cluster;
pub mod csi;

pub mod folder;
pub mod host;
pub mod machine;
pub mod mounts;
pub mod pool;
pub mod volume;
pub mod whole;

pub mod device;
pub mod fs;
pub mod lvm;

pub mod process;
pub mod telemetry;
pub mod units;
