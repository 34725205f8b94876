//! A job, as its status and as lists have it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::callback::CallbackBody;
use super::pool::{StartFailureBody, start_failure};
use super::timings::{TimingsBody, buckets, timings, wall};
use super::workers::{RunningBody, WorkerShareBody, running, worker_shares};
use super::{ms, rounded};
use crate::model::{Job, JobId, JobState, Lock, OnError, Timestamp};
use crate::supervisor::PoolView;

/// A page of a list of jobs, and the cursor of the next one.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct JobPage {
    pub(in crate::http) items: Vec<JobBody>,
    /// What goes into `after` for the next page; `null` at the end.
    pub(in crate::http) next: Option<JobId>,
}

/// A job. Lists leave out `workers`, `running` and `callback`.
#[derive(Serialize, ToSchema)]
#[schema(as = Job, example = job_example)]
pub(in crate::http) struct JobBody {
    id: JobId,
    /// The function that maps its inputs.
    function: String,
    /// A name for people.
    name: Option<String>,
    /// Labels to find it by.
    labels: BTreeMap<String, String>,
    state: JobState,
    /// Whether it takes more inputs; it does not end before it is closed.
    open: bool,
    options: OptionsBody,
    progress: ProgressBody,
    timings: TimingsBody,
    /// What each worker did for it; one that has answered nothing is listed only while it is at work.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    workers: Option<Vec<WorkerShareBody>>,
    /// The tasks that run now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    running: Option<Vec<RunningBody>>,
    /// There while the workers of its function do not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    start_failure: Option<StartFailureBody>,
    /// There if the job has a `callback_url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) callback: Option<CallbackBody>,
    links: LinksBody,
}

/// The options of a job as they are in force.
#[derive(Serialize, ToSchema)]
#[schema(as = JobOptions)]
struct OptionsBody {
    processes: ProcessesBody,
    /// Jobs of a higher priority go first.
    priority: i32,
    /// The hard limit of one task's run, in milliseconds; `null`: none.
    timeout_ms: Option<f64>,
    /// How often a task is tried in all.
    max_attempts: u32,
    on_error: OnError,
    /// How long a failed task waits for its second attempt, in milliseconds; about twice as long for each later one.
    retry_backoff_ms: f64,
    /// Tasks a chunk; `null`: it follows the measured task time.
    chunk_size: Option<u32>,
    /// The lock that each of its tasks holds while it runs.
    lock: Option<Lock>,
}

/// How many processes were asked for, and how many there can be at once.
#[derive(Serialize, ToSchema)]
#[schema(as = Processes)]
struct ProcessesBody {
    /// `null`: as many as there are slots.
    requested: Option<u32>,
    /// That, capped by the slots.
    granted: u32,
}

/// How many tasks there are, by where they stand.
#[derive(Serialize, ToSchema)]
#[schema(as = Progress)]
struct ProgressBody {
    total: u64,
    /// Those that wait; in a list, all without an outcome.
    queued: u64,
    running: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    /// Those with an outcome.
    done: u64,
    /// `done` by `total`; 1 for a job without tasks.
    #[schema(minimum = 0.0, maximum = 1.0)]
    ratio: f64,
    /// Tasks per second, the mean since the start.
    rate_per_s: Option<f64>,
    /// What that rate leaves, in milliseconds; `null` before the first outcome and after the end.
    eta_ms: Option<f64>,
}

/// Where there is more about a job.
#[derive(Serialize, ToSchema)]
#[schema(as = Links)]
struct LinksBody {
    #[serde(rename = "self")]
    itself: String,
    results: String,
    events: String,
    logs: String,
    timeline: String,
}

/// A job at work, as the documentation shows it.
fn job_example() -> serde_json::Value {
    let id = crate::http::openapi::EXAMPLE_JOB;
    json!({
        "id": id, "function": "sha256", "name": "nightly", "labels": {"team": "x"}, "state": "running", "open": false,
        "options": {"processes": {"requested": 4, "granted": 2}, "priority": 0, "timeout_ms": null, "max_attempts": 3,
            "on_error": "continue", "retry_backoff_ms": 0.0, "chunk_size": null, "lock": null},
        "progress": {"total": 2, "queued": 0, "running": 1, "succeeded": 1, "failed": 0, "cancelled": 0, "done": 1,
            "ratio": 0.5, "rate_per_s": 400.0, "eta_ms": 2.5},
        "timings": {"created_at": "2026-01-02T03:04:05.678901Z", "started_at": "2026-01-02T03:04:05.679301Z",
            "finished_at": null, "queued_ms": 0.4, "wall_ms": 2.5, "cpu_ms": 1.9,
            "task_ms": {"sum": 1.8, "min": 1.8, "mean": 1.8, "p50": 1.8, "p95": 1.8, "p99": 1.8, "max": 1.8},
            "speedup": null, "efficiency": null},
        "workers": [{"name": "worker-1", "node": "mill", "pid": 4242, "state": "busy", "tasks": 1, "busy_ms": 1.8,
            "cpu_ms": 1.9, "max_rss_bytes": 4_853_760}],
        "running": [{"index": 1, "attempt": 1, "worker": "worker-1", "pid": 4242, "running_ms": 0.1}],
        "links": {"self": format!("/v1/jobs/{id}"), "results": format!("/v1/jobs/{id}/results"),
            "events": format!("/v1/jobs/{id}/events"), "logs": format!("/v1/jobs/{id}/logs"),
            "timeline": format!("/v1/jobs/{id}/timeline")},
    })
}

/// A job with what its workers do now.
pub(in crate::http) fn job_view(job: &Job, pool: &PoolView, now: Timestamp) -> JobBody {
    let mut body = brief_view(job, pool.slots, now);
    let running = running(job.id, pool);
    let unfinished = job.tally.total - job.tally.done();
    body.progress.running = unfinished.min(running.len() as u64);
    body.progress.queued = unfinished - body.progress.running;
    body.workers = Some(worker_shares(job, pool));
    body.timings.task_ms.histogram = Some(buckets(&job.task_times));
    let failure = pool.start_failures.iter().find(|failure| failure.function == job.spec.function);
    body.start_failure = failure.filter(|_| !job.state.is_final()).map(start_failure);
    body.running = Some(if job.state.is_final() { Vec::new() } else { running });
    body
}

/// A job as it stands in a list.
pub(in crate::http) fn brief_view(job: &Job, slots: u32, now: Timestamp) -> JobBody {
    let options = &job.spec.options;
    let granted = options.processes.unwrap_or(slots).min(slots);
    JobBody {
        id: job.id,
        function: job.spec.function.clone(),
        name: job.spec.name.clone(),
        labels: job.spec.labels.clone(),
        state: job.state,
        open: job.open,
        options: OptionsBody {
            processes: ProcessesBody { requested: options.processes, granted },
            priority: options.priority,
            timeout_ms: options.timeout.map(ms),
            max_attempts: options.max_attempts,
            on_error: options.on_error,
            retry_backoff_ms: ms(options.retry_backoff),
            chunk_size: options.chunk_size,
            lock: options.lock.clone(),
        },
        progress: progress(job, now),
        timings: timings(job, granted, now),
        workers: None,
        running: None,
        start_failure: None,
        callback: None,
        links: LinksBody {
            itself: format!("/v1/jobs/{}", job.id),
            results: format!("/v1/jobs/{}/results", job.id),
            events: format!("/v1/jobs/{}/events", job.id),
            logs: format!("/v1/jobs/{}/logs", job.id),
            timeline: format!("/v1/jobs/{}/timeline", job.id),
        },
    }
}

fn progress(job: &Job, now: Timestamp) -> ProgressBody {
    let tally = &job.tally;
    let (done, left) = (tally.done(), tally.total - tally.done());
    let elapsed = wall(job, now).map(|wall| wall.as_secs_f64()).filter(|seconds| *seconds > 0.0);
    let rate = elapsed.filter(|_| done > 0).map(|seconds| done as f64 / seconds);
    ProgressBody {
        total: tally.total,
        queued: left,
        running: 0,
        succeeded: tally.succeeded,
        failed: tally.failed,
        cancelled: tally.cancelled,
        done,
        ratio: if tally.total == 0 { 1.0 } else { done as f64 / tally.total as f64 },
        rate_per_s: rate.map(rounded),
        eta_ms: rate.filter(|_| !job.state.is_final()).map(|rate| rounded(left as f64 / rate * 1e3)),
    }
}
