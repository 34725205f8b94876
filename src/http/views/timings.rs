//! When a job was at work and for how long, and the times of its tasks.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::{ms, ns_as_ms, rfc3339, rounded};
use crate::model::{Histogram, Job, Timestamp};

/// When and how long.
#[derive(Serialize, ToSchema)]
#[schema(as = Timings)]
pub(super) struct TimingsBody {
    /// When it was accepted.
    #[schema(format = DateTime)]
    created_at: String,
    /// When its first task was handed out.
    #[schema(format = DateTime)]
    started_at: Option<String>,
    /// When its last task got its outcome.
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    /// From the acceptance to the start, in milliseconds.
    queued_ms: f64,
    /// From the start to the end, or to now, in milliseconds.
    wall_ms: Option<f64>,
    /// The CPU time of its workers, in milliseconds.
    cpu_ms: f64,
    pub(super) task_ms: TaskTimesBody,
    /// The sum of the task times by the wall time, once it has ended.
    speedup: Option<f64>,
    /// The speed-up by the processes granted.
    efficiency: Option<f64>,
}

/// The times of tasks as measured in the workers, in milliseconds; percentiles are right to within 7 %.
#[derive(Serialize, ToSchema)]
#[schema(as = TaskTimes)]
pub(super) struct TaskTimesBody {
    sum: f64,
    min: Option<f64>,
    mean: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
    /// Its buckets that are not empty, eight to each doubling: from, to and how many tasks. Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) histogram: Option<Vec<(f64, f64, u64)>>,
}

pub(super) fn timings(job: &Job, granted: u32, now: Timestamp) -> TimingsBody {
    let wall = wall(job, now);
    let ended = job.finished_at.and(wall).map(|wall| wall.as_nanos() as f64).filter(|ns| *ns > 0.0);
    let speedup = ended.map(|wall_ns| job.task_times.sum_ns as f64 / wall_ns);
    let queued_until = job.started_at.or(job.finished_at).unwrap_or(now);
    TimingsBody {
        created_at: rfc3339(job.created_at),
        started_at: job.started_at.map(rfc3339),
        finished_at: job.finished_at.map(rfc3339),
        queued_ms: ms(queued_until.since(job.created_at)),
        wall_ms: wall.map(ms),
        cpu_ms: ns_as_ms(job.cpu_ns),
        task_ms: task_times(&job.task_times),
        speedup: speedup.map(rounded),
        efficiency: speedup.map(|speedup| rounded(speedup / f64::from(granted.max(1)))),
    }
}

/// From the first chunk's start to the end, or to now.
pub(super) fn wall(job: &Job, now: Timestamp) -> Option<Duration> {
    Some(job.finished_at.unwrap_or(now).since(job.started_at?))
}

fn task_times(times: &Histogram) -> TaskTimesBody {
    let some = times.count > 0;
    let quantile = |q| times.quantile(q).map(ns_as_ms);
    TaskTimesBody {
        sum: ns_as_ms(times.sum_ns),
        min: some.then(|| ns_as_ms(times.min_ns)),
        mean: times.mean_ns().map(|ns| rounded(ns / 1e6)),
        p50: quantile(0.5),
        p95: quantile(0.95),
        p99: quantile(0.99),
        max: some.then(|| ns_as_ms(times.max_ns)),
        histogram: None,
    }
}

/// To the nanosecond, which a bucket of short times needs.
pub(super) fn buckets(times: &Histogram) -> Vec<(f64, f64, u64)> {
    times.buckets().map(|(from, to, tasks)| (from as f64 / 1e6, to as f64 / 1e6, tasks)).collect()
}
