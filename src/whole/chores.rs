//! What nobody waits for: new devices are seen, deleted volumes wiped, and pools served as soon as they can be.

use std::{io, sync::Arc, thread};

use super::WholeDevices;
use crate::volume::chain;

impl WholeDevices {
    /// Starts the background work, which ends after [`WholeDevices::stop`].
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start_background(self: &Arc<Self>) -> io::Result<thread::JoinHandle<()>> {
        let whole = Arc::clone(self);
        let work = move || {
            while whole.rounds.next() {
                whole.try_again();
                whole.remove_unfinished();
                whole.look_if_wanted();
                whole.clean_in_background();
            }
        };
        thread::Builder::new().name("whole".to_owned()).spawn(work)
    }

    /// No more background work; what runs comes to its next safe point.
    pub fn stop(&self) {
        self.rounds.stop();
    }

    /// Does now what is done in the background.
    pub fn do_chores_now(&self) {
        self.try_again();
        self.remove_unfinished();
        self.look_if_wanted();
        self.clean_now();
    }

    /// Records are written by who has the turn.
    fn remove_unfinished(&self) {
        match self.take_turn() {
            Ok(_turn) => self.pools().all().for_each(|pool| pool.remove_unfinished()),
            Err(err) => {
                tracing::warn!(error = chain(&err), "unfinished records are not removed yet")
            }
        }
    }

    /// Looks at what there is, where there are such pools, or were.
    pub(super) fn look_if_wanted(&self) {
        let pools = self.pools();
        if !self.roster.wanted().is_empty() || pools.all().next().is_some() {
            self.look_around_or_say(false);
        }
    }
}
