//! What clients see of jobs and workers: the shapes of the answers, and what each member means.

mod callback;
mod job;
mod pool;
mod timings;
mod workers;

use std::time::Duration;

pub(super) use callback::{EndedBody, ended_view};
pub(super) use job::{JobBody, JobPage, brief_view, job_view};
pub(super) use pool::{PoolBody, pool_view};

use crate::model::Timestamp;

pub(super) fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

pub(super) fn ms(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

fn ns_as_ms(ns: u64) -> f64 {
    rounded(ns as f64 / 1e6)
}

/// To three digits behind the point: microseconds, where the number is in milliseconds.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
