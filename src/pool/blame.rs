//! Who is charged when a worker ends with tasks unanswered, and whether a task is tried again.

use std::time::Duration;

/// Why a worker ended with tasks unanswered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Something that one of its tasks did: a crash, a timeout, an answer that is none.
    Task,
    /// Something that a task did that has its outcome, such as to answer twice.
    Earlier,
    /// Something that we did: a shutdown, a resize, a cancel, a wish of the operator.
    Ours,
}

/// What becomes of the unanswered tasks of the chunk that the worker was at work on. What waited behind that chunk
/// in its pipe was never started and goes back as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// Back to the queue, free of charge.
    Nobody,
    /// One of them did it, nobody knows which, or perhaps none: back to the queue, each in a chunk of its own, free of charge.
    OneOfThem,
    /// The only one did it, and is tried again as the next attempt.
    Charged,
    /// The only one did it, at its last attempt: it fails.
    Failed,
}

/// Judges a worker's end with `unanswered` tasks left of a chunk at this `attempt`.
pub fn judge(fault: Fault, unanswered: u32, attempt: u32, max_attempts: u32) -> Blame {
    match (fault, unanswered) {
        (Fault::Ours, _) => Blame::Nobody,
        (Fault::Task, 1) if attempt < max_attempts => Blame::Charged,
        (Fault::Task, 1) => Blame::Failed,
        (Fault::Task | Fault::Earlier, _) => Blame::OneOfThem,
    }
}

/// Whether a task that answered with an error is tried again.
pub fn retries(retryable: bool, attempt: u32, max_attempts: u32) -> bool {
    retryable && attempt < max_attempts
}

/// No task waits longer for its next attempt.
const MOST_BACKOFF: Duration = Duration::from_hours(1);

/// How long a task waits for the attempt behind this one: twice as long each time, less a part by chance, so that
/// tasks that failed together are not tried together. The chance is drawn from `seed`, the same for the same task.
pub fn backoff(first: Duration, attempt: u32, seed: u64) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
    // One round of SplitMix64 (Steele, Lea and Flood 2014).
    let mut mixed = seed.wrapping_add(u64::from(attempt)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let part = 0.5 + 0.5 * ((mixed >> 40) as f64 / (1_u64 << 24) as f64);
    doubled.min(MOST_BACKOFF).mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_is_spread() {
        let second = Duration::from_secs(1);
        for (attempt, most) in [(1, 1), (2, 2), (3, 4), (10, 512), (40, 3600)] {
            let waits: Vec<Duration> = (0..100).map(|seed| backoff(second, attempt, seed)).collect();
            let most = Duration::from_secs(most);
            assert!(waits.iter().all(|wait| (most / 2..=most).contains(wait)), "{attempt}: {waits:?}");
            assert!(
                waits.iter().max().unwrap().as_secs_f64() > 1.5 * waits.iter().min().unwrap().as_secs_f64()
            );
        }
        assert_eq!(backoff(Duration::ZERO, 3, 7), Duration::ZERO);
    }

    #[test]
    fn only_the_task_that_ends_a_worker_of_its_own_is_charged() {
        assert_eq!(judge(Fault::Task, 5, 1, 3), Blame::OneOfThem);
        assert_eq!(judge(Fault::Task, 1, 1, 3), Blame::Charged);
        assert_eq!(judge(Fault::Task, 1, 3, 3), Blame::Failed);
        assert_eq!(judge(Fault::Earlier, 1, 3, 3), Blame::OneOfThem);
        assert_eq!(judge(Fault::Ours, 1, 3, 3), Blame::Nobody);
        assert_eq!(judge(Fault::Ours, 7, 1, 3), Blame::Nobody);
        assert!(retries(true, 2, 3) && !retries(true, 3, 3) && !retries(false, 1, 3));
    }
}
