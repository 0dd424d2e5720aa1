//! Devices that are put aside for volumes of their own, so that no pool of disks takes them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Who puts devices aside. Whoever takes a device for good, be it as a volume or for a volume group, holds the turn
/// from when it has seen that the device is free until it can be seen that it is not.
pub trait Reserves: Send + Sync {
    /// The devices that are put aside now, looked up anew, by their numbers (major and minor), each with a sentence
    /// that says for what.
    fn reserved(&self) -> BTreeMap<(u64, u64), String>;

    /// Waits for the turn to take a device.
    fn turn(&self) -> MutexGuard<'_, ()>;
}

/// Nothing is put aside.
#[derive(Default)]
pub struct NoReserves(Mutex<()>);

impl fmt::Debug for NoReserves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoReserves")
    }
}

impl Reserves for NoReserves {
    fn reserved(&self) -> BTreeMap<(u64, u64), String> {
        BTreeMap::new()
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
