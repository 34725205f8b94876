//! Segments: many tasks in one row. A line is one JSON value without a line break, ended by `\n`; JSON allows a
//! raw line break only as white space between tokens, so every value can be written as a line.

use bytes::Bytes;

use super::histogram::{Histogram, put_varint, take_varint};
use super::{Span, Timestamp};

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

    /// Some of them: `count` from `first` on.
    #[must_use]
    pub fn part(&self, first: u64, count: u64) -> Self {
        let mut part = Self::default();
        self.iter().skip(first as usize).take(count as usize).for_each(|(ns, failed)| part.push(ns, failed));
        part
    }

    /// The durations.
    pub fn times(&self) -> Histogram {
        Histogram::of(self.iter().map(|(ns, _)| ns))
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
        /// What they used together.
        used: Used,
    },
    /// Tasks that were cancelled: no worker, no payload, however many they are.
    Cancelled,
    /// Tasks that failed without having run, all with this error.
    NotRun {
        /// The error, a line without its end.
        error: Bytes,
    },
}

/// What the tasks of a segment used together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Used {
    /// When the worker was at work on them, one after the other; `None` if that is not known.
    pub span: Option<Span>,
    /// How long a worker was at work on them.
    pub busy_ns: u64,
    /// The CPU time it used for them.
    pub cpu_ns: u64,
}

impl Used {
    /// The CPU time of one of the tasks, which took this long. CPU time is measured for the tasks that a worker
    /// answers together; each has its part by its duration.
    pub fn cpu_of(self, duration_ns: u64) -> u64 {
        let part = u128::from(self.cpu_ns) * u128::from(duration_ns) / u128::from(self.busy_ns.max(1));
        part.min(u128::from(self.cpu_ns)) as u64
    }

    /// What some of the tasks used, which took `busy_ns` and come behind others that took `before_ns`.
    #[must_use]
    pub fn part(self, before_ns: u64, busy_ns: u64) -> Self {
        let span = self.span.map(|span| {
            let us = span.duration().as_micros();
            let at = |ns: u64| us * u128::from(ns.min(self.busy_ns)) / u128::from(self.busy_ns.max(1));
            let at = |ns| Timestamp(span.start.0 + at(ns) as i64);
            Span { start: at(before_ns), end: at(before_ns.saturating_add(busy_ns)) }
        });
        Self { span, busy_ns, cpu_ns: self.cpu_of(busy_ns) }
    }
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

impl ResultSegment {
    /// Some of its results, as a segment of their own: `count` from `first` on.
    #[must_use]
    pub fn part(&self, first: u64, count: u64) -> Self {
        let body = match &self.body {
            ResultBody::Ran { worker, pid, outcomes, lines: block, used } => {
                let lengths: Vec<usize> = lines(block).map(|line| line.len() + 1).collect();
                let start: usize = lengths[..first as usize].iter().sum();
                let end = start + lengths[first as usize..(first + count) as usize].iter().sum::<usize>();
                let before_ns = outcomes.iter().take(first as usize).map(|(ns, _)| ns).sum();
                let outcomes = outcomes.part(first, count);
                let used = used.part(before_ns, outcomes.iter().map(|(ns, _)| ns).sum());
                ResultBody::Ran {
                    worker: worker.clone(),
                    pid: *pid,
                    outcomes,
                    lines: block.slice(start..end),
                    used,
                }
            }
            other @ (ResultBody::Cancelled | ResultBody::NotRun { .. }) => other.clone(),
        };
        let Self { first_seq, first_index, attempt, .. } = *self;
        Self { first_seq: first_seq + first, first_index: first_index + first, count, attempt, body }
    }

    /// Which of its results failed, counted from its first.
    pub fn failures(&self) -> Vec<u64> {
        match &self.body {
            ResultBody::Ran { outcomes, .. } => {
                (0..).zip(outcomes.iter()).filter(|(_, (_, failed))| *failed).map(|(at, _)| at).collect()
            }
            ResultBody::NotRun { .. } => (0..self.count).collect(),
            ResultBody::Cancelled => Vec::new(),
        }
    }
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
    fn a_part_of_a_segment_is_a_segment() {
        let mut outcomes = Outcomes::default();
        [(10, false), (30, true), (60, false)].iter().for_each(|(ns, failed)| outcomes.push(*ns, *failed));
        let span = |start, end| Some(Span { start: Timestamp(start), end: Timestamp(end) });
        let used = Used { span: span(1000, 1200), busy_ns: 100, cpu_ns: 50 };
        let body =
            ResultBody::Ran { worker: "worker-1".into(), pid: 7, outcomes, lines: "1\n{}\n3\n".into(), used };
        let segment = ResultSegment { first_seq: 5, first_index: 20, count: 3, attempt: 2, body };
        assert_eq!((segment.failures(), segment.part(0, 3)), (vec![1], segment.clone()));
        let part = segment.part(1, 2);
        assert_eq!((part.first_seq, part.first_index, part.count, part.attempt), (6, 21, 2, 2));
        let ResultBody::Ran { outcomes, lines, used, .. } = part.body else { panic!() };
        assert_eq!(outcomes.iter().collect::<Vec<_>>(), [(30, true), (60, false)]);
        assert_eq!(
            (&lines[..], used),
            (&b"{}\n3\n"[..], Used { span: span(1020, 1200), busy_ns: 90, cpu_ns: 45 })
        );
    }

    #[test]
    fn lines_are_split_at_their_ends() {
        assert_eq!(lines(b"1\n\"a\"\n{}\n").collect::<Vec<_>>(), [&b"1"[..], b"\"a\"", b"{}"]);
        assert_eq!(lines(b"").count(), 0);
    }
}
