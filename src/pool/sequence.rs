//! A number that grows with every change, so that a report can say up to which one it is true.

use std::{
    fmt,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

type Listener = Box<dyn Fn(u64) + Send + Sync>;

/// Grows with each change of any pool. It begins at the microseconds since 1970, so that it also
/// grows from one life of the driver to the next: no life has a change every microsecond.
pub struct Sequence {
    number: AtomicU64,
    listeners: RwLock<Vec<Listener>>,
}

impl Default for Sequence {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = u64::try_from(since.as_micros()).unwrap_or(u64::MAX / 2);
        Self { number: AtomicU64::new(number), listeners: RwLock::default() }
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sequence({})", self.now())
    }
}

impl Sequence {
    /// How far the changes have come. What is read after this call has every change up to this one, and perhaps
    /// later ones.
    pub fn now(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    /// Something has changed, and can be seen.
    pub fn grow(&self) {
        let number = self.number.fetch_add(1, Ordering::SeqCst) + 1;
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener(number));
    }

    /// Has `listener` called with the new number after every change. It is called in the middle of the work and
    /// must only pass the number on.
    pub fn on_change(&self, listener: impl Fn(u64) + Send + Sync + 'static) {
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Box::new(listener));
    }
}
