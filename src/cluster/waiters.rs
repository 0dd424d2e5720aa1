//! Who waits for an object to change. Each is woken by news of its own object only: with very many
//! calls under way, all of them would otherwise look at every change of any.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// All who wait, by the names of their objects.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<HashMap<String, watch::Sender<()>>>);

/// One who waits, until dropped.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    all: &'a Waiters,
    name: String,
    news: watch::Receiver<()>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for news of an object from now on.
    pub(super) fn begin(&self, name: &str) -> Waiter<'_> {
        let mut all = self.lock();
        let news = all.entry(name.to_owned()).or_default().subscribe();
        Waiter { all: self, name: name.to_owned(), news }
    }

    /// There is news of an object.
    pub(super) fn tell(&self, name: &str) {
        if let Some(waiting) = self.lock().get(name) {
            waiting.send_replace(());
        }
    }

    /// There is news that may be about any object.
    pub(super) fn tell_all(&self) {
        self.lock().values().for_each(|waiting| waiting.send_replace(()));
    }
}

impl Waiter<'_> {
    /// What is new now is known.
    pub(super) fn is_up_to_date(&mut self) {
        self.news.mark_unchanged();
    }

    /// Ends when there is news since.
    pub(super) async fn news(&mut self) {
        // The sender is there as long as this is.
        drop(self.news.changed().await);
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        let is_last = all.get(&self.name).is_some_and(|it| it.receiver_count() <= 1);
        if is_last {
            all.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn has_news(waiter: &mut Waiter<'_>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let is_there = pin!(waiter.news()).poll(&mut context) == Poll::Ready(());
        waiter.is_up_to_date();
        is_there
    }

    #[test]
    fn each_hears_of_its_own() {
        let waiters = Waiters::default();
        let (mut a, mut b) = (waiters.begin("a"), waiters.begin("b"));
        waiters.tell("a");
        assert!(has_news(&mut a) && !has_news(&mut b));
        waiters.tell_all();
        assert!(has_news(&mut a) && has_news(&mut b));
        assert!(!has_news(&mut a));
    }

    #[test]
    fn nothing_is_left_of_who_waits_no_more() {
        let waiters = Waiters::default();
        let (first, mut second) = (waiters.begin("a"), waiters.begin("a"));
        drop(first);
        waiters.tell("a");
        assert!(has_news(&mut second));
        drop(second);
        assert!(waiters.lock().is_empty());
        waiters.tell("a");
    }
}
