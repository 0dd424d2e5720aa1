//! What nobody waits for: new devices are seen, deleted volumes wiped, and pools served as soon as they can be.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError},
    thread,
    time::Duration,
};

use super::{WholeDevices, news::News};
use crate::volume::chain;

/// How long the one who hears of changes waits at a time.
const LONG: Duration = Duration::from_secs(3600);

impl WholeDevices {
    /// Starts the background work, which ends after [`WholeDevices::stop`].
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start_background(self: &Arc<Self>) -> io::Result<Vec<thread::JoinHandle<()>>> {
        let news = match News::listen(&*self.devices) {
            Ok(news) => Some(Arc::new(news)),
            Err(err) => {
                tracing::error!(%err, "changes of devices are seen only now and then");
                None
            }
        };
        let hears = news.clone().map(|news| {
            let whole = Arc::clone(self);
            *self.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some(news.bell());
            thread::Builder::new().name("whole-news".to_owned()).spawn(move || whole.hear(&news))
        });
        let whole = Arc::clone(self);
        let work = move || {
            while whole.rounds.next() {
                whole.try_again();
                whole.remove_unfinished();
                // Before it is looked, so that nothing comes between.
                if let Some(news) = &news {
                    news.follow(&whole.directories());
                }
                whole.look_if_wanted();
                whole.clean_in_background();
            }
        };
        let works = thread::Builder::new().name("whole".to_owned()).spawn(work);
        [Some(works), hears].into_iter().flatten().collect()
    }

    /// Begins a round whenever something has changed.
    fn hear(&self, news: &News) {
        while self.rounds.goes_on() {
            match news.wait(LONG) {
                Ok(true) => self.rounds.soon(),
                Ok(false) => (),
                Err(err) => {
                    tracing::error!(%err, "changes of devices are seen only now and then");
                    return;
                }
            }
        }
    }

    /// The directories of all pools that are to be here.
    fn directories(&self) -> Vec<PathBuf> {
        let wanted = self.roster.wanted();
        let of_pools = wanted.iter().filter_map(|it| it.spec.whole_devices.as_ref());
        of_pools.flat_map(|it| it.directories.clone()).collect()
    }

    /// No more background work; what runs comes to its next safe point.
    pub fn stop(&self) {
        self.rounds.stop();
        if let Some(bell) = &*self.bell.lock().unwrap_or_else(PoisonError::into_inner) {
            bell.ring();
        }
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
