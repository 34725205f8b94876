//! The end of a job: how far it is told, and what is told of it.

use serde::Serialize;
use utoipa::ToSchema;

use super::job::{JobBody, brief_view};
use super::rfc3339;
use crate::model::{Job, Timestamp};
use crate::store::{Callback, CallbackState};

/// How far it is with telling the job's end.
#[derive(Serialize, ToSchema)]
#[schema(as = Callback)]
pub(super) struct CallbackBody {
    /// Where it is told.
    url: String,
    /// `pending`, `delivered` or `failed`.
    #[schema(pattern = "^(pending|delivered|failed)$")]
    state: &'static str,
    /// How often it has been tried.
    attempts: u32,
    /// Why the last try that failed did.
    last_error: Option<String>,
    /// When it is tried next; `null` if it is not to be, or the job has not ended.
    #[schema(format = DateTime)]
    next_at: Option<String>,
}

/// What a receiver is told of a job that has ended.
#[derive(Serialize, ToSchema)]
#[schema(as = JobEnded)]
pub(in crate::http) struct EndedBody {
    /// `job.ended`.
    r#type: &'static str,
    /// When it ended.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The job, as lists have it.
    data: JobBody,
}

impl JobBody {
    /// With how far it is with telling the job's end at this URL, of which nothing is known before.
    pub(in crate::http) fn with_callback(mut self, url: &str, callback: Option<Callback>) -> Self {
        let before = Callback { state: CallbackState::Pending, attempts: 0, last_error: None, next_at: None };
        let Callback { state, attempts, last_error, next_at } = callback.unwrap_or(before);
        let (url, state, next_at) = (url.to_owned(), state.as_str(), next_at.map(rfc3339));
        self.callback = Some(CallbackBody { url, state, attempts, last_error, next_at });
        self
    }
}

/// What is told of a job that has ended.
pub(in crate::http) fn ended_view(job: &Job, slots: u32, now: Timestamp) -> EndedBody {
    let timestamp = rfc3339(job.finished_at.unwrap_or(now));
    EndedBody { r#type: "job.ended", timestamp, data: brief_view(job, slots, now) }
}
