//! Tarn: a Kubernetes CSI driver for node-local volumes on LVM.
//!
//! Rooms, top down; imports only point downwards (`tests/tidy.rs` holds that):
//! [`host`] does it on this machine, [`pool`] says which disks become which volume groups,
//! [`volume`] says what a volume is; [`lvm`], [`fs`] and [`device`] are the
//! three families of tools; [`process`] starts programs, [`units`] are sizes.

pub mod cli;
pub mod csi;
pub mod serve;

pub mod host;
pub mod pool;
pub mod volume;

pub mod device;
pub mod fs;
pub mod lvm;

pub mod telemetry;

pub mod process;
pub mod units;
