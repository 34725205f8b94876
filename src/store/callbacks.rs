//! The outbox: ends of jobs that are to be told at the URL that the job names.
//!
//! A job's end and its entry here are one write, so neither is there without the other.

use crate::model::{JobId, Timestamp};

/// How far it is with telling the end of a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallbackState {
    /// It has not been told yet.
    Pending,
    /// The receiver has taken it.
    Delivered,
    /// It is not tried any more.
    Failed,
}

impl CallbackState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// What became so far of telling the last end of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Callback {
    /// How far it is.
    pub state: CallbackState,
    /// How often it has been tried.
    pub attempts: u32,
    /// Why the last try that failed did.
    pub last_error: Option<String>,
    /// When it is tried next; `None` if it is not to be, or the job has not ended.
    pub next_at: Option<Timestamp>,
}

/// The end of a job that is to be told now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DueCallback {
    /// The job.
    pub job: JobId,
    /// Which of its ends it is, from 1: a job whose failed tasks are run again ends again.
    pub end: u32,
    /// How often it has been tried.
    pub attempts: u32,
    /// Who is to be told: the URL up to its path.
    pub receiver: String,
    /// Since when it is due.
    pub due_at: Timestamp,
}

/// What is to be told now, the longest due first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DueCallbacks {
    /// At most so many of each receiver as were asked for.
    pub due: Vec<DueCallback>,
    /// When the next that is not due yet will be.
    pub next_at: Option<Timestamp>,
}

/// What became of a try to tell the end of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallbackTry {
    /// The job.
    pub job: JobId,
    /// Which of its ends.
    pub end: u32,
    /// What became of it.
    pub outcome: TryOutcome,
}

/// How a try ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TryOutcome {
    /// The receiver has taken it.
    Delivered,
    /// It failed, and is to be made again at this time.
    Again {
        /// Why it failed.
        error: String,
        /// When.
        at: Timestamp,
    },
    /// It failed, and was the last.
    GivenUp {
        /// Why it failed.
        error: String,
    },
}

/// The part of a URL up to its path.
pub(super) fn receiver_of(url: &str) -> &str {
    let path = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
    &url[..path]
}
