//! When a worker has to end for want of memory, and which one. Pure.

use std::time::Duration;

use crate::pool::WorkerId;
use crate::sys::memory::Reading;

/// A worker is ended when there is less room than a tenth of the limit …
const MARGIN_PART: u64 = 10;
/// … but in a small container than this, in bytes, or a quarter: a worker can take it in the time in which a busy
/// machine lets this thread run …
const LEAST_MARGIN: u64 = 64 << 20;
const MOST_MARGIN_PART: u64 = 4;
/// … and in a large one than this.
const MOST_MARGIN: u64 = 1 << 30;
/// So much memory may be taken by all workers together in a second, in bytes: a core that does nothing but touch new
/// pages takes about 1 GiB.
const GROWTH_PER_SECOND: u64 = 4 << 30;
/// A look costs some 100 µs.
const SHORTEST: Duration = Duration::from_millis(5);
/// Nobody notices one in a quarter of a second.
pub(super) const LONGEST: Duration = Duration::from_millis(250);

/// What a worker and all below it hold, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) worker: WorkerId,
    pub(super) bytes: u64,
}

fn margin(limit: u64) -> u64 {
    (limit / MARGIN_PART).clamp(LEAST_MARGIN.min(limit / MOST_MARGIN_PART), MOST_MARGIN)
}

/// How long it takes at least until there may be too little room.
pub(super) fn next_look(reading: &Reading) -> Duration {
    let left = reading.room.saturating_sub(margin(reading.limit));
    Duration::from_secs_f64(left as f64 / GROWTH_PER_SECOND as f64).clamp(SHORTEST, LONGEST)
}

/// The worker that has to end, if one has to: the one that holds the most. `ending` is what those hold, in bytes, that
/// are on their way out: while that is enough, nobody else has to go. What the others hold is asked for only if need be.
pub(super) fn victim<I: Iterator<Item = Held>>(
    reading: Reading,
    ending: u64,
    held: impl FnOnce() -> I,
) -> Option<Held> {
    let is_enough = reading.room.saturating_add(ending) >= margin(reading.limit);
    if is_enough { None } else { held().max_by_key(|held| held.bytes).filter(|held| held.bytes > 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn reading(limit_mib: u64, room_mib: u64) -> Reading {
        Reading { limit: limit_mib * MIB, room: room_mib * MIB }
    }

    fn chosen(reading: Reading, ending_mib: u64, held_mib: &[u64]) -> Option<u64> {
        let held = || (1..).zip(held_mib).map(|(id, mib)| Held { worker: WorkerId(id), bytes: mib * MIB });
        victim(reading, ending_mib * MIB, held).map(|held| held.worker.0)
    }

    #[test]
    fn the_largest_goes_when_there_is_too_little_room() {
        assert_eq!(chosen(reading(1000, 100), 0, &[10, 700, 90]), None);
        assert_eq!(chosen(reading(1000, 99), 0, &[10, 700, 90]), Some(2));
        assert_eq!(chosen(reading(100_000, 1024), 0, &[10, 700, 90]), None, "of much, 1 GiB is enough");
        assert_eq!(chosen(reading(100_000, 1023), 0, &[10, 700, 90]), Some(2));
        assert_eq!(chosen(reading(300, 64), 0, &[10, 200]), None, "of little, a tenth is soon gone");
        assert_eq!(chosen(reading(300, 63), 0, &[10, 200]), Some(2));
        assert_eq!(chosen(reading(64, 16), 0, &[10, 30]), None);
    }

    #[test]
    fn nobody_else_goes_while_enough_is_on_its_way_out() {
        assert_eq!(chosen(reading(1000, 40), 60, &[10, 90]), None);
        assert_eq!(chosen(reading(1000, 40), 59, &[10, 90]), Some(2));
    }

    #[test]
    fn a_worker_that_holds_nothing_gives_no_room() {
        assert_eq!(chosen(reading(1000, 0), 0, &[0, 0]), None);
        assert_eq!(chosen(reading(1000, 0), 0, &[]), None);
    }

    #[test]
    fn looks_come_closer_as_the_room_gets_less() {
        assert_eq!(next_look(&reading(4000, 4000)), LONGEST);
        assert_eq!(next_look(&reading(1000, 510)).as_millis(), 100);
        assert_eq!(next_look(&reading(1000, 50)), SHORTEST);
    }
}
