//! Who is charged when a worker ends with tasks unanswered, and whether a task is tried again.

/// Why a worker ended with tasks unanswered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Something that one of its tasks did: a crash, a timeout, an answer that is none.
    Task,
    /// Something that we did: a shutdown, a resize, a cancel, a wish of the operator.
    Ours,
}

/// What becomes of the unanswered tasks of the chunk that the worker was at work on. What waited behind that chunk
/// in its pipe was never started and goes back as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// Back to the queue, free of charge.
    Nobody,
    /// One of them did it, nobody knows which: back to the queue, each in a chunk of its own, free of charge.
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
        (Fault::Task, _) => Blame::OneOfThem,
    }
}

/// Whether a task that answered with an error is tried again.
pub fn retries(retryable: bool, attempt: u32, max_attempts: u32) -> bool {
    retryable && attempt < max_attempts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_task_that_ends_a_worker_of_its_own_is_charged() {
        assert_eq!(judge(Fault::Task, 5, 1, 3), Blame::OneOfThem);
        assert_eq!(judge(Fault::Task, 1, 1, 3), Blame::Charged);
        assert_eq!(judge(Fault::Task, 1, 3, 3), Blame::Failed);
        assert_eq!(judge(Fault::Ours, 1, 3, 3), Blame::Nobody);
        assert_eq!(judge(Fault::Ours, 7, 1, 3), Blame::Nobody);
        assert!(retries(true, 2, 3) && !retries(true, 3, 3) && !retries(false, 1, 3));
    }
}
