//! When background work is done: in rounds, and at once where there is something to do.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long apart rounds are at most.
const ROUND: Duration = Duration::from_secs(15);

/// The rounds of one thread.
#[derive(Debug, Default)]
pub struct Rounds {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_something: bool,
    stopping: bool,
}

impl Rounds {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to be done.
    pub fn soon(&self) {
        self.lock().is_something = true;
        self.wake.notify_all();
    }

    /// There are no more rounds.
    pub fn stop(&self) {
        self.lock().stopping = true;
        self.wake.notify_all();
    }

    /// Whether it is not time to stop.
    pub fn goes_on(&self) -> bool {
        !self.lock().stopping
    }

    /// Waits for something to do, or the next round; false when it is time to stop.
    pub fn next(&self) -> bool {
        let idle = |state: &mut State| !state.is_something && !state.stopping;
        let woken = self.wake.wait_timeout_while(self.lock(), ROUND, idle);
        let mut state = woken.unwrap_or_else(PoisonError::into_inner).0;
        state.is_something = false;
        !state.stopping
    }
}
