//! What becomes of jobs that have ended: kept, deleted, or run again.

use crate::model::{Job, JobState, Timestamp};

/// Which jobs that have ended are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Those that ended since.
    pub ended_since: Timestamp,
    /// And of them so many, the newest.
    pub count: u64,
}

/// What became of a delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// The job is forgotten.
    Yes,
    /// There is no such job.
    Unknown,
    /// It has not ended.
    NotEnded(JobState),
}

/// What became of a wish to run failed tasks again.
#[derive(Clone, PartialEq, Debug)]
pub enum Retried {
    /// So many tasks are queued, and if any are the job goes on; the results of those that it still counts as failed are
    /// freed.
    Yes(Box<Job>, u64),
    /// There is no such job.
    Unknown,
    /// It has not ended.
    NotEnded(JobState),
}
