//! One call a volume at a time.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Error;

/// Who is being worked on. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    busy: Arc<Mutex<HashSet<String>>>,
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
        if !self.lock().insert(key.to_owned()) {
            return Err(Error::Busy(format!("another call is working on {key}")));
        }
        Ok(Turn { turns: self.clone(), key: key.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_is_done() {
        let turns = Turns::default();
        let first = turns.take("v").unwrap();
        assert!(matches!(turns.take("v"), Err(Error::Busy(_))));
        let other = turns.take("w").unwrap();
        drop(first);
        turns.take("v").unwrap();
        drop(other);
    }
}
