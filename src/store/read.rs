//! Which jobs and results to read, and in what order.

use crate::model::{JobState, Outcomes, Span};

/// Which jobs to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<JobState>,
    /// Of this function.
    pub function: Option<String>,
    /// With this label.
    pub label: Option<(String, String)>,
}

/// The order of a job's results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The first-in-first-out queue, by `seq`.
    Completion,
    /// By index, as far as all before it have ended.
    Input,
    /// As the queue, but only segments with failures that have not been run again.
    Failed,
}

/// What a worker ended of a job at one time, without payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The place of the first task in the job's result queue.
    pub first_seq: u64,
    /// The index of the first; the others follow it.
    pub first_index: u64,
    /// Which attempt at them it was.
    pub attempt: u32,
    /// The worker's name.
    pub worker: String,
    /// Its process id.
    pub pid: u32,
    /// Durations and failures.
    pub outcomes: Outcomes,
    /// When it was at work on them, one after the other.
    pub span: Span,
}
