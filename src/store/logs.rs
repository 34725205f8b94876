//! What tasks print, and which of it to read.

use crate::model::Timestamp;

/// A job keeps so many bytes of what its tasks printed.
pub const MAX_LOG_BYTES: u64 = 4 << 20;

/// Something that a task printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Its place among the job's entries, from 1; the store gives it.
    pub seq: u64,
    /// When it was read.
    pub at: Timestamp,
    /// The task's index.
    pub index: u64,
    /// Which attempt at it.
    pub attempt: u32,
    /// The worker's name.
    pub worker: String,
    /// Its process id.
    pub pid: u32,
    /// Where it was printed, or how serious it is.
    pub stream: String,
    /// The text: one line or more.
    pub text: String,
    /// How many bytes before it were dropped, as there were too many at once.
    pub dropped_bytes: u64,
}

/// Some of what the tasks of a job printed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogPage {
    /// The entries, oldest first.
    pub entries: Vec<LogEntry>,
    /// How many bytes of the job's oldest entries are gone.
    pub dropped_bytes: u64,
}

/// Which log entries to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogFilter {
    /// Behind the entry of this seq.
    pub after: u64,
    /// Of this task.
    pub index: Option<u64>,
    /// At most so many.
    pub limit: u32,
}
