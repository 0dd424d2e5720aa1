//! Who waits for the turn to change something, in the order in which they came. A plain mutex may be had
//! again at once by whoever gives it back, however long others wait: a disk that is emptied piece by piece
//! would keep every call waiting until it is empty.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// One turn after the other, first come, first served.
#[derive(Default)]
pub(super) struct Line {
    numbers: Mutex<Numbers>,
    next: Condvar,
}

#[derive(Default)]
struct Numbers {
    /// The number that the next to come gets.
    free: u64,
    /// Whose turn it is.
    now: u64,
}

/// The turn, given back when dropped.
pub(super) struct Place<'a>(&'a Line);

impl Line {
    /// Waits for its turn.
    pub(super) fn wait(&self) -> Place<'_> {
        let mut numbers = self.lock();
        let own = numbers.free;
        numbers.free += 1;
        let woken = self.next.wait_while(numbers, |it| it.now != own);
        drop(woken.unwrap_or_else(PoisonError::into_inner));
        Place(self)
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.lock().now += 1;
        self.0.next.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn who_takes_turn_after_turn_lets_others_in_between() {
        let (line, order) = (Line::default(), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            let first = line.wait();
            scope.spawn(|| {
                let _turn = line.wait();
                order.lock().unwrap().push("the other");
            });
            while line.lock().free < 2 {
                thread::yield_now();
            }
            drop(first);
            let _again = line.wait();
            order.lock().unwrap().push("the first again");
        });
        assert_eq!(*order.lock().unwrap(), ["the other", "the first again"]);
    }

    #[test]
    fn a_turn_that_ends_in_a_panic_is_over() {
        let line = Line::default();
        thread::scope(|scope| {
            let broken = scope.spawn(|| {
                let _turn = line.wait();
                panic!("as a command's reader might");
            });
            broken.join().unwrap_err();
        });
        drop(line.wait());
    }
}
