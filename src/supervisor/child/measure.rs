//! What a worker says that it used, held to what is possible, and when its work was done.

use std::time::{Duration, Instant};

use crate::model::{Span, Timestamp};

/// No worker is at so many tasks, or on so many CPUs, at once, whatever it says.
const MOST_AT_ONCE: u64 = 1024;

/// What a worker has said that it used of something, which is no more than it can have used since its start. So no sum
/// of what workers say is absurd.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: u64,
}

impl Budget {
    pub(super) fn grant(&mut self, said: u64, lived: Duration) -> u64 {
        let most = (lived.as_nanos() as u64).saturating_mul(MOST_AT_ONCE).saturating_sub(self.spent);
        let granted = said.min(most);
        self.spent += granted;
        granted
    }
}

/// Tells what time it was at an instant. It is set only between two times of work, so what it tells of one is in order.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) now: fn() -> Timestamp,
    /// When it was set, and what time it was.
    pub(super) set: (Instant, Timestamp),
}

impl Clock {
    pub(super) fn new(now: fn() -> Timestamp) -> Self {
        Self { now, set: (Instant::now(), now()) }
    }

    fn at(&self, instant: Instant) -> Timestamp {
        let (set, time) = self.set;
        Timestamp(time.0 + instant.saturating_duration_since(set).as_micros() as i64)
    }

    /// The time of so many nanoseconds of work that lay between two instants and ended with the later one.
    pub(super) fn span(&self, after: Instant, end: Instant, busy_ns: u64) -> Span {
        let begun = end.checked_sub(Duration::from_nanos(busy_ns)).map_or(after, |begun| begun.max(after));
        Span { start: self.at(begun), end: self.at(end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_says_that_it_used_is_bounded_by_its_life() {
        let mut budget = Budget::default();
        let second = Duration::from_secs(1);
        assert_eq!(budget.grant(7, second), 7);
        let most = 1_000_000_000 * MOST_AT_ONCE;
        assert_eq!((budget.grant(u64::MAX, second), budget.grant(1, second)), (most - 7, 0));
        assert_eq!(budget.grant(u64::MAX, 3 * second), 2 * most);
    }
}
