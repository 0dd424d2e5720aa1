//! A deletion that waits until its volume is free is carried on when a call that had the volume in hand
//! ends, such as the kubelet's NodeUnstageVolume.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;
use tokio_stream::{Stream, wrappers::WatchStream};

use super::locked;
use crate::volume::Turns;

/// The volumes that are waited for. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Freed {
    waited_for: Arc<Mutex<HashSet<String>>>,
    told: watch::Sender<()>,
}

impl Freed {
    /// Hears of the calls that take these turns.
    pub(super) fn of(turns: &Turns) -> Self {
        let freed = Self::default();
        let told = freed.clone();
        turns.on_return(move |id| {
            if locked(&told.waited_for).remove(id) {
                told.told.send_replace(());
            }
        });
        freed
    }

    /// The next end of a call on this volume is news.
    pub(super) fn wait_for(&self, id: &str) {
        locked(&self.waited_for).insert(id.to_owned());
    }

    /// It is not waited for: the next call on this volume is the agent's own.
    pub(super) fn forget(&self, id: &str) {
        locked(&self.waited_for).remove(id);
    }

    /// Has an item for each time that volumes became free which are waited for.
    pub(super) fn follow(&self) -> impl Stream<Item = ()> + Send + 'static {
        WatchStream::from_changes(self.told.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_call_is_news_where_it_is_waited_for() {
        let turns = Turns::default();
        let freed = Freed::of(&turns);
        let mut news = pin!(freed.follow());
        let mut is_told = async || {
            let soon = tokio::time::timeout(std::time::Duration::from_millis(10), news.next());
            soon.await.is_ok()
        };
        drop(turns.take("v").unwrap());
        assert!(!is_told().await, "nobody waits");
        freed.wait_for("v");
        drop(turns.take("w").unwrap());
        assert!(!is_told().await, "another volume");
        drop(turns.take("v").unwrap());
        assert!(is_told().await);
        drop(turns.take("v").unwrap());
        assert!(!is_told().await, "told once");
        freed.wait_for("v");
        freed.forget("v");
        drop(turns.take("v").unwrap());
        assert!(!is_told().await, "its own call");
    }
}
