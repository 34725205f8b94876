//! Segments: many tasks in one row. A line is one JSON value without a line break, ended by `\n`; JSON allows a
//! raw line break only as white space between tokens, so every value can be written as a line.

use bytes::Bytes;

use super::histogram::{put_varint, take_varint};

/// The inputs of consecutive tasks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputSegment {
    /// The index of the first task.
    pub first: u64,
    /// How many tasks there are.
    pub count: u32,
    /// Their inputs, a line each.
    pub lines: Bytes,
}

/// The outcomes of consecutive tasks, without their payload: for each a number in LEB128, its duration in
/// nanoseconds times two, plus one if it failed. Durations need no more than two or three bytes this way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcomes {
    bytes: Vec<u8>,
    count: u32,
    failed: u32,
}

impl Outcomes {
    /// Appends the next task's outcome.
    pub fn push(&mut self, duration_ns: u64, failed: bool) {
        put_varint(&mut self.bytes, duration_ns.min(u64::MAX >> 1) << 1 | u64::from(failed));
        self.count += 1;
        self.failed += u32::from(failed);
    }

    /// How many tasks there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many of them failed.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Each task's duration in nanoseconds and whether it failed, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, bool)> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || Self::take(&mut rest))
    }

    /// Takes the next outcome from what is left of [`Self::as_bytes`], as [`Self::iter`] gives it.
    pub fn take(rest: &mut &[u8]) -> Option<(u64, bool)> {
        take_varint(rest).map(|number| (number >> 1, number & 1 == 1))
    }

    /// The bytes that stores keep.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads what [`Self::as_bytes`] gave.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let mut outcomes = Self { bytes, count: 0, failed: 0 };
        let (count, failed) =
            outcomes.iter().fold((0, 0), |(n, f), (_, failed)| (n + 1, f + u32::from(failed)));
        (outcomes.count, outcomes.failed) = (count, failed);
        outcomes
    }
}

/// What a result segment holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResultBody {
    /// Tasks that ran: a line each, the output or, where it failed, the error.
    Ran {
        /// The name of the worker that answered.
        worker: String,
        /// Its process id.
        pid: u32,
        /// Durations and failures.
        outcomes: Outcomes,
        /// Outputs and errors, a line each.
        lines: Bytes,
    },
    /// Tasks that were cancelled: no worker, no payload, however many they are.
    Cancelled,
}

/// The final outcomes of tasks that are consecutive in index and in seq.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResultSegment {
    /// The place of the first in the job's result queue, from 1.
    pub first_seq: u64,
    /// The index of the first.
    pub first_index: u64,
    /// How many there are.
    pub count: u64,
    /// The attempt that gave them, from 1.
    pub attempt: u32,
    /// What they are.
    pub body: ResultBody,
}

/// The lines of a block, without their line breaks.
pub fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', block).map(move |end| {
        let line = &block[start..end];
        start = end + 1;
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_keep_durations_and_failures() {
        let mut outcomes = Outcomes::default();
        let all = [(0, false), (63, true), (8_000, false), (u64::MAX >> 1, true)];
        all.iter().for_each(|(ns, failed)| outcomes.push(*ns, *failed));
        assert_eq!(outcomes.iter().collect::<Vec<_>>(), all);
        assert_eq!((outcomes.count(), outcomes.failed()), (4, 2));
        assert_eq!(Outcomes::from_bytes(outcomes.as_bytes().to_vec()), outcomes);
    }

    #[test]
    fn lines_are_split_at_their_ends() {
        assert_eq!(lines(b"1\n\"a\"\n{}\n").collect::<Vec<_>>(), [&b"1"[..], b"\"a\"", b"{}"]);
        assert_eq!(lines(b"").count(), 0);
    }
}
