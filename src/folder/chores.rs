//! What nobody waits for: deleted volumes are scrapped, rooms measured that others change, too, and pools served as soon
//! as they can be.

use std::{io, sync::Arc, thread};

use super::Folders;
use crate::volume::chain;

impl Folders {
    /// Starts the background work, which ends after [`Folders::stop`].
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start_background(self: &Arc<Self>) -> io::Result<thread::JoinHandle<()>> {
        let folders = Arc::clone(self);
        let work = move || {
            while folders.rounds.next() {
                folders.do_chores_now();
            }
        };
        thread::Builder::new().name("folders".to_owned()).spawn(work)
    }

    /// No more background work; what runs comes to its next safe point.
    pub fn stop(&self) {
        self.rounds.stop();
    }

    /// Tries again to serve what could not be served, scraps what was deleted, and measures the rooms.
    pub fn do_chores_now(&self) {
        self.try_again();
        for pool in &self.pools().served {
            for (id, record) in pool.scraps() {
                if !self.rounds.goes_on() {
                    return;
                }
                match pool.scrap(&id, &record, &|| self.rounds.goes_on()) {
                    Ok(()) => tracing::info!(pool = %pool.name, volume = %id, "given back"),
                    Err(err) => {
                        let error = chain(&err);
                        tracing::warn!(pool = %pool.name, volume = %id, error, "not given back yet");
                    }
                }
            }
            if let Err(err) = pool.ground.tidy(&|| self.rounds.goes_on()) {
                tracing::warn!(pool = %pool.name, error = chain(&err), "not tidied up yet");
            }
            pool.measure_later();
        }
    }
}
