//! A chunk that a worker has, how far it is, and the answers to it that have not been passed on.

use std::time::{Duration, Instant};

use super::{Assignment, Failures};
use crate::model::{Outcomes, Verdict};
use crate::pool::blame::backoff;
use crate::protocol::{Run, json};
use crate::store::{Chunk, Release, Requeue};

/// A chunk and how far it is.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) assignment: Assignment,
    /// The index of the first task without an answer.
    pub(super) next: u64,
    /// Where its message begins in all that is written to the worker; `None` while it waits here.
    pub(super) from: Option<u64>,
    /// Whether its tail has been asked for.
    pub(super) asked_back: bool,
}

impl Progress {
    pub(super) fn send(&mut self, from: u64, outgoing: &mut Vec<u8>) {
        let Assignment { chunk, trace, .. } = &self.assignment;
        Run::encode(outgoing, chunk.job, (chunk.first, chunk.attempt), *trace, &chunk.inputs);
        self.from = Some(from);
    }

    pub(super) fn first(&self) -> u64 {
        self.assignment.chunk.first
    }

    /// The index behind its last task.
    pub(super) fn end(&self) -> u64 {
        self.first() + u64::from(self.assignment.chunk.count)
    }

    pub(super) fn left(&self) -> u32 {
        (self.end() - self.next) as u32
    }

    pub(super) fn release(&self, first: u64, count: u32, how: Requeue) -> Release {
        let Chunk { lease, job, .. } = self.assignment.chunk;
        let delay = match how {
            Requeue::Charged => self.backoff(first),
            Requeue::AsBefore | Requeue::Alone => Duration::ZERO,
        };
        Release { lease, job, first, count, how, delay }
    }

    /// How long a task waits for its next attempt.
    fn backoff(&self, index: u64) -> Duration {
        let Assignment { chunk, retry_backoff, .. } = &self.assignment;
        let seed = chunk.job.0.as_u64_pair().1.wrapping_add(index);
        backoff(*retry_backoff, chunk.attempt, seed)
    }
}

/// Outcomes of the first chunk that have not been passed on.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// When the worker was free for the first of them.
    pub(super) after: Option<Instant>,
    pub(super) outcomes: Outcomes,
    pub(super) lines: Vec<u8>,
    pub(super) busy_ns: u64,
    pub(super) failures: Failures,
}

impl Answers {
    pub(super) fn push(&mut self, ns: u64, failed: Option<Verdict>, line: &[u8]) {
        self.outcomes.push(ns, failed.is_some());
        if let Some(verdict) = failed {
            *self.failures.entry(verdict).or_default() += 1;
        }
        self.busy_ns += ns;
        json::push_line(&mut self.lines, line);
    }
}
