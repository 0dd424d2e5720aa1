//! One call a volume at a time.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::Error;

/// Who is being worked on. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    held: Arc<Held>,
}

#[derive(Default)]
struct Held {
    by: Mutex<HashMap<String, Holder>>,
    given_back: Condvar,
    listener: OnceLock<Listener>,
}

/// Hears the key of each turn that is given back.
type Listener = Box<dyn Fn(&str) + Send + Sync>;

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.by).finish()
    }
}

/// Who holds a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// A call, which may take long.
    Call,
    /// Work that nobody has asked for, and that is over soon.
    Background,
}

/// The right to work on one volume or snapshot, given back when dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    key: String,
}

impl Turns {
    /// Takes the turn of `key`, the id of a volume or snapshot.
    ///
    /// # Errors
    /// [`Error::Busy`] while another holds it: the caller asks again (CSI spec, "Concurrency").
    pub fn take(&self, key: &str) -> Result<Turn, Error> {
        self.take_as(Holder::Call, key, self.lock())
    }

    /// Takes the turn for work that nobody has asked for: who then calls waits for its end
    /// ([`Turns::take_after_background`]), so it must be short.
    ///
    /// # Errors
    /// [`Error::Busy`] while another holds it.
    pub fn take_in_background(&self, key: &str) -> Result<Turn, Error> {
        self.take_as(Holder::Background, key, self.lock())
    }

    /// Takes the turn for a call. Blocks while background work holds it.
    ///
    /// # Errors
    /// [`Error::Busy`] while another call holds it.
    pub fn take_after_background(&self, key: &str) -> Result<Turn, Error> {
        let in_background =
            |by: &mut HashMap<String, Holder>| by.get(key) == Some(&Holder::Background);
        let free = self.held.given_back.wait_while(self.lock(), in_background);
        self.take_as(Holder::Call, key, free.unwrap_or_else(PoisonError::into_inner))
    }

    /// Has `listener` called with the key of each turn that was given back; the first listener stays
    /// the only one. It must only pass the key on.
    pub fn on_return(&self, listener: impl Fn(&str) + Send + Sync + 'static) {
        drop(self.held.listener.set(Box::new(listener)));
    }

    fn take_as(
        &self,
        holder: Holder,
        key: &str,
        mut by: MutexGuard<'_, HashMap<String, Holder>>,
    ) -> Result<Turn, Error> {
        if by.contains_key(key) {
            return Err(Error::Busy(format!("another call is working on {key}")));
        }
        by.insert(key.to_owned(), holder);
        Ok(Turn { turns: self.clone(), key: key.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Holder>> {
        self.held.by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.key);
        self.turns.held.given_back.notify_all();
        if let Some(listener) = self.turns.held.listener.get() {
            listener(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_is_done() {
        let turns = Turns::default();
        let first = turns.take("v").unwrap();
        assert!(matches!(turns.take("v"), Err(Error::Busy(_))));
        assert!(matches!(turns.take_after_background("v"), Err(Error::Busy(_))));
        assert!(matches!(turns.take_in_background("v"), Err(Error::Busy(_))));
        let other = turns.take("w").unwrap();
        drop(first);
        turns.take("v").unwrap();
        drop(other);
    }

    #[test]
    fn a_call_waits_for_background_work() {
        let turns = Turns::default();
        let background = turns.take_in_background("v").unwrap();
        assert!(matches!(turns.take("v"), Err(Error::Busy(_))));
        let (taken, is_taken) = mpsc::channel();
        let call = thread::spawn({
            let turns = turns.clone();
            move || taken.send(turns.take_after_background("v").is_ok()).unwrap()
        });
        assert!(is_taken.recv_timeout(Duration::from_millis(20)).is_err(), "it waits");
        drop(background);
        assert!(is_taken.recv().unwrap());
        call.join().unwrap();
    }
}
