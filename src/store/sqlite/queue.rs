//! What waits for the writer. What is patient does not wake a writer that rests until its commit is due: it is found there then,
//! with all the others that have come meanwhile, unless these become many.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many together are not patient any more.
pub(super) const MANY: usize = 64;

/// A queue of any length, by its two ends: where things are put, and where they are taken.
pub(super) fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { queue: Mutex::default(), arrived: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// Dropped, it lets the other end take what is there, and then see that no more comes.
pub(super) struct Sender<T>(Arc<Shared<T>>);

/// Dropped, it drops what is there and all that comes.
pub(super) struct Receiver<T>(Arc<Shared<T>>);

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    arrived: Condvar,
}

struct Queue<T> {
    waiting: VecDeque<T>,
    /// Whether one of them is not patient, or they are many.
    in_haste: bool,
    /// Whether the receiver is to sleep on when something patient comes.
    rests: bool,
    is_closed: bool,
}

/// Why nothing was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nothing {
    /// Nothing is there yet.
    Yet,
    /// No more will come.
    Ever,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), in_haste: false, rests: false, is_closed: false }
    }
}

impl<T> Queue<T> {
    fn take(&mut self) -> Result<T, Nothing> {
        let taken = self.waiting.pop_front();
        self.in_haste &= !self.waiting.is_empty();
        taken.ok_or(if self.is_closed { Nothing::Ever } else { Nothing::Yet })
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) -> MutexGuard<'_, Queue<T>> {
        let mut queue = self.lock();
        queue.is_closed = true;
        self.arrived.notify_one();
        queue
    }
}

impl<T> Sender<T> {
    /// Puts something behind all that waits; dropped at once if nobody will take it.
    pub(super) fn send(&self, what: T, is_patient: bool) {
        let mut queue = self.0.lock();
        if queue.is_closed {
            drop(queue);
            return drop(what);
        }
        queue.waiting.push_back(what);
        queue.in_haste |= !is_patient || queue.waiting.len() >= MANY;
        if queue.in_haste || !queue.rests {
            self.0.arrived.notify_one();
        }
    }
}

impl<T> Receiver<T> {
    /// Takes the next thing, once there is one; waits no longer than this, if there is a bound.
    pub(super) fn wait(&self, at_most: Option<Duration>) -> Result<T, Nothing> {
        self.take_once(at_most, |queue| !queue.waiting.is_empty())
    }

    /// Takes the next thing as soon as there is one in haste, or else after this time.
    pub(super) fn rest(&self, time: Duration) -> Result<T, Nothing> {
        self.0.lock().rests = true;
        let taken = self.take_once(Some(time), |queue| queue.in_haste);
        self.0.lock().rests = false;
        taken
    }

    /// Takes the next thing, if there is one.
    pub(super) fn take(&self) -> Result<T, Nothing> {
        self.0.lock().take()
    }

    fn take_once(&self, at_most: Option<Duration>, is_time: fn(&Queue<T>) -> bool) -> Result<T, Nothing> {
        let until = at_most.map(|time| Instant::now() + time);
        let mut queue = self.0.lock();
        while !is_time(&queue) && !queue.is_closed {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            queue = match left {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.0.arrived.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.0.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
        queue.take()
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut self.0.close().waiting);
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn what_is_patient_waits_for_what_is_not_and_goes_first() {
        let (sender, receiver) = queue();
        sender.send(1, true);
        assert_eq!(receiver.rest(Duration::from_millis(1)), Ok(1));
        sender.send(2, true);
        sender.send(3, false);
        sender.send(4, true);
        let taken: Vec<_> = (0..3).map(|_| receiver.rest(LONG)).collect();
        assert_eq!(taken, [Ok(2), Ok(3), Ok(4)]);
        assert_eq!(receiver.rest(Duration::ZERO), Err(Nothing::Yet));
    }

    #[test]
    fn many_that_are_patient_are_in_haste() {
        let (sender, receiver) = queue();
        (1..MANY).for_each(|number| sender.send(number, true));
        assert!(!receiver.0.lock().in_haste);
        sender.send(MANY, true);
        let taken: Vec<_> = (0..MANY).map(|_| receiver.rest(LONG)).collect();
        assert!(taken.into_iter().eq((1..=MANY).map(Ok)));
    }

    #[test]
    fn one_that_waits_for_anything_is_woken_by_what_is_patient() {
        let (sender, receiver) = queue();
        let taker = std::thread::spawn(move || receiver.wait(None));
        sender.send(1, true);
        assert_eq!(taker.join().unwrap(), Ok(1));
    }

    #[test]
    fn one_that_rests_is_woken_by_haste_and_by_the_end() {
        let (sender, receiver) = queue();
        let taker =
            std::thread::spawn(move || (receiver.rest(LONG), receiver.rest(LONG), receiver.rest(LONG)));
        sender.send(1, true);
        sender.send(2, false);
        while !sender.0.lock().waiting.is_empty() {
            std::thread::yield_now();
        }
        drop(sender);
        assert_eq!(taker.join().unwrap(), (Ok(1), Ok(2), Err(Nothing::Ever)));
    }

    #[test]
    fn nothing_stays_in_a_queue_without_an_end() {
        let (sender, receiver) = queue();
        let thing = Arc::new(());
        sender.send(Arc::clone(&thing), false);
        drop(receiver);
        sender.send(Arc::clone(&thing), true);
        assert_eq!(Arc::strong_count(&thing), 1);

        let (sender, receiver) = queue();
        sender.send(1, true);
        drop(sender);
        assert_eq!((receiver.wait(None), receiver.wait(None)), (Ok(1), Err(Nothing::Ever)));
    }
}
