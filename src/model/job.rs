//! A job: what was asked for, and where it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Histogram, JobId, TraceParent};

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time from `earlier` to this one; zero if the clock was set back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

/// From one time to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// When it began.
    pub start: Timestamp,
    /// When it ended; not before it began.
    pub end: Timestamp,
}

impl Span {
    /// How long it is.
    pub fn duration(self) -> Duration {
        self.end.since(self.start)
    }
}

/// What a failed task does to the rest of its job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The other tasks go on.
    #[default]
    Continue,
    /// The tasks that have not ended are cancelled and the job fails.
    Stop,
}

/// A named lock: only so many tasks of all jobs that name it run at once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Lock {
    /// The name.
    pub name: String,
    /// How many tasks may hold it at once, at least 1.
    pub permits: u32,
}

/// The options of a job, valid as they stand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobOptions {
    /// At most so many of its tasks run at once; `None`: as many as there are slots.
    pub processes: Option<u32>,
    /// Jobs of a higher priority go first.
    pub priority: i32,
    /// The hard limit of one task's run.
    pub timeout: Option<Duration>,
    /// How often a task is tried in all before it fails.
    pub max_attempts: u32,
    /// What a failed task does to the rest.
    pub on_error: OnError,
    /// How long a failed task waits for its second attempt; twice as long for the third, and so on.
    #[serde(default)]
    pub retry_backoff: Duration,
    /// Chunks of just so many tasks, but at the end; `None`: by the measured task time.
    #[serde(default)]
    pub chunk_size: Option<u32>,
    /// The lock that each of its tasks holds while it runs.
    #[serde(default)]
    pub lock: Option<Lock>,
    /// The span of a distributed trace that it was submitted in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// Where the job's end is to be told: an HTTP URL without user info, as the operator allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
}

impl Default for JobOptions {
    fn default() -> Self {
        let (on_error, retry_backoff) = (OnError::Continue, Duration::ZERO);
        Self {
            processes: None,
            priority: 0,
            timeout: None,
            max_attempts: 3,
            on_error,
            retry_backoff,
            chunk_size: None,
            lock: None,
            trace: None,
            callback_url: None,
        }
    }
}

/// What a client asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JobSpec {
    /// The name of the function.
    pub function: String,
    /// A name for people.
    pub name: Option<String>,
    /// Labels to find the job by.
    pub labels: BTreeMap<String, String>,
    /// How it is to be run.
    pub options: JobOptions,
}

/// Where a job stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted; none of its tasks has started.
    Queued,
    /// Some task has started.
    Running,
    /// No task of it is started until it is resumed.
    Paused,
    /// Being stopped: running tasks are ended.
    Cancelling,
    /// Every task succeeded.
    Succeeded,
    /// Ended, and some task failed.
    Failed,
    /// Ended by a cancel.
    Cancelled,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Paused,
        Self::Cancelling,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the job has ended: nothing of it changes any more.
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::Paused | Self::Cancelling => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }

    /// Whether chunks of it may be leased.
    pub fn is_runnable(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many tasks of a job there are, by how they ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// All tasks.
    pub total: u64,
    /// Tasks with an output.
    pub succeeded: u64,
    /// Tasks with an error.
    pub failed: u64,
    /// Tasks that a cancel ended.
    pub cancelled: u64,
}

impl Tally {
    /// How many tasks have their outcome.
    pub fn done(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled
    }

    /// The state of a job whose every task has its outcome.
    pub fn final_state(&self, on_error: OnError) -> JobState {
        match (self.failed, self.cancelled) {
            (0, 0) => JobState::Succeeded,
            (0, _) => JobState::Cancelled,
            (_, 0) => JobState::Failed,
            (_, _) if on_error == OnError::Stop => JobState::Failed,
            (_, _) => JobState::Cancelled,
        }
    }
}

/// What one worker did for one job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerShare {
    /// `worker-1`, `worker-2` …
    pub worker: String,
    /// The node it ran on.
    pub node: String,
    /// Its process id on that node.
    pub pid: u32,
    /// How many of the job's tasks it answered.
    pub tasks: u64,
    /// How long it was at work on them, in nanoseconds.
    pub busy_ns: u64,
    /// The CPU time it used for them, in nanoseconds.
    pub cpu_ns: u64,
    /// The most memory it held, in bytes.
    pub max_rss_bytes: u64,
}

/// A job as the store knows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Job {
    /// Its identifier.
    pub id: JobId,
    /// What was asked for.
    pub spec: JobSpec,
    /// Where it stands.
    pub state: JobState,
    /// Whether it takes more inputs; it does not end before it is closed.
    pub open: bool,
    /// Counts of its tasks.
    pub tally: Tally,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first chunk was leased.
    pub started_at: Option<Timestamp>,
    /// When its last task got its outcome.
    pub finished_at: Option<Timestamp>,
    /// The CPU time that its workers used for it, in nanoseconds.
    pub cpu_ns: u64,
    /// The times of its tasks.
    pub task_times: Histogram,
    /// What each worker did for it, in the order of their names.
    pub workers: Vec<WorkerShare>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_state_follows_from_the_tally() {
        let tally = |failed, cancelled| Tally { total: 9, succeeded: 1, failed, cancelled };
        assert_eq!(tally(0, 0).final_state(OnError::Continue), JobState::Succeeded);
        assert_eq!(tally(2, 0).final_state(OnError::Continue), JobState::Failed);
        assert_eq!(tally(0, 2).final_state(OnError::Continue), JobState::Cancelled);
        assert_eq!(tally(1, 2).final_state(OnError::Continue), JobState::Cancelled);
        assert_eq!(tally(1, 2).final_state(OnError::Stop), JobState::Failed);
    }
}
