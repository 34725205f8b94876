//! What clients see of jobs and workers: the shapes of the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::model::job::WorkerShare;
use crate::model::{Histogram, Job, JobId, JobState, Lock, OnError, Timestamp};
use crate::supervisor::{PoolView, StartFailure, WorkerActivity, WorkerView};

/// A page of a list, and the cursor of the next one.
#[derive(Serialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<JobId>,
}

/// A job. `workers` and `running` are left out of lists.
#[derive(Serialize)]
pub(super) struct JobBody {
    id: JobId,
    function: String,
    name: Option<String>,
    labels: BTreeMap<String, String>,
    state: JobState,
    open: bool,
    options: OptionsBody,
    progress: ProgressBody,
    timings: TimingsBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<Vec<WorkerShareBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<Vec<RunningBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_failure: Option<StartFailureBody>,
    links: LinksBody,
}

#[derive(Serialize)]
struct OptionsBody {
    processes: ProcessesBody,
    priority: i32,
    timeout_ms: Option<f64>,
    max_attempts: u32,
    on_error: OnError,
    retry_backoff_ms: f64,
    chunk_size: Option<u32>,
    lock: Option<Lock>,
}

/// How many processes were asked for, and how many there can be at once.
#[derive(Serialize)]
struct ProcessesBody {
    requested: Option<u32>,
    granted: u32,
}

#[derive(Serialize)]
struct ProgressBody {
    total: u64,
    queued: u64,
    running: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    done: u64,
    ratio: f64,
    rate_per_s: Option<f64>,
    eta_ms: Option<f64>,
}

#[derive(Serialize)]
struct TimingsBody {
    created_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    queued_ms: f64,
    wall_ms: Option<f64>,
    cpu_ms: f64,
    task_ms: TaskTimesBody,
    speedup: Option<f64>,
    efficiency: Option<f64>,
}

#[derive(Serialize)]
struct TaskTimesBody {
    sum: f64,
    min: Option<f64>,
    mean: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

#[derive(Serialize)]
struct WorkerShareBody {
    name: String,
    node: String,
    pid: u32,
    state: &'static str,
    tasks: u64,
    busy_ms: f64,
    cpu_ms: f64,
    max_rss_bytes: u64,
}

#[derive(Serialize)]
struct RunningBody {
    index: u64,
    attempt: u32,
    worker: String,
    pid: Option<u32>,
    running_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<TaskProgressBody>,
}

/// How far a task says that it is.
#[derive(Serialize)]
struct TaskProgressBody {
    done: f64,
    total: Option<f64>,
}

/// That the workers of the job's function do not start.
#[derive(Serialize)]
struct StartFailureBody {
    function: String,
    times: u32,
    message: String,
    next_in_ms: Option<f64>,
}

#[derive(Serialize)]
struct LinksBody {
    #[serde(rename = "self")]
    itself: String,
    results: String,
    events: String,
    logs: String,
}

/// A job with what its workers do now.
pub(super) fn job_view(job: &Job, pool: &PoolView, now: Timestamp) -> JobBody {
    let mut body = brief_view(job, pool.slots, now);
    let running: Vec<RunningBody> = pool
        .running(job.id)
        .map(|(worker, task)| RunningBody {
            index: task.index,
            attempt: task.attempt,
            worker: worker.name.to_string(),
            pid: worker.pid,
            running_ms: ms(task.running),
            progress: task.progress.map(|(done, total)| TaskProgressBody { done, total }),
        })
        .collect();
    let unfinished = job.tally.total - job.tally.done();
    body.progress.running = unfinished.min(running.len() as u64);
    body.progress.queued = unfinished - body.progress.running;
    body.workers = Some(worker_shares(job, pool));
    let failure = pool.start_failures.iter().find(|failure| failure.function == job.spec.function);
    body.start_failure = failure.filter(|_| !job.state.is_final()).map(start_failure);
    body.running = Some(if job.state.is_final() { Vec::new() } else { running });
    body
}

/// A job as it stands in a list.
pub(super) fn brief_view(job: &Job, slots: u32, now: Timestamp) -> JobBody {
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
        links: LinksBody {
            itself: format!("/v1/jobs/{}", job.id),
            results: format!("/v1/jobs/{}/results", job.id),
            events: format!("/v1/jobs/{}/events", job.id),
            logs: format!("/v1/jobs/{}/logs", job.id),
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

/// From the first chunk's start to the end, or to now.
fn wall(job: &Job, now: Timestamp) -> Option<Duration> {
    Some(job.finished_at.unwrap_or(now).since(job.started_at?))
}

fn timings(job: &Job, granted: u32, now: Timestamp) -> TimingsBody {
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
    }
}

/// What each worker did for the job, those that have answered nothing yet among them.
fn worker_shares(job: &Job, pool: &PoolView) -> Vec<WorkerShareBody> {
    let live = |pid: u32| pool.workers.iter().find(|worker| worker.pid == Some(pid));
    let serves = |worker: &WorkerView| pool.running(job.id).any(|(busy, _)| busy.name == worker.name);
    let state = |share: &WorkerShare| match live(share.pid).filter(|_| share.node == pool.node) {
        None => "ended",
        Some(worker) if serves(worker) => "busy",
        Some(worker) => {
            if matches!(worker.activity, WorkerActivity::Ending) {
                "ending"
            } else {
                "idle"
            }
        }
    };
    let mut shares: Vec<WorkerShareBody> = job
        .workers
        .iter()
        .map(|share| WorkerShareBody {
            name: share.worker.clone(),
            node: share.node.clone(),
            pid: share.pid,
            state: state(share),
            tasks: share.tasks,
            busy_ms: ns_as_ms(share.busy_ns),
            cpu_ms: ns_as_ms(share.cpu_ns),
            max_rss_bytes: share.max_rss_bytes,
        })
        .collect();
    for (worker, _) in pool.running(job.id).filter(|_| !job.state.is_final()) {
        let known = job.workers.iter().any(|share| Some(share.pid) == worker.pid && share.node == pool.node);
        if let Some(pid) = worker.pid.filter(|_| !known) {
            shares.push(WorkerShareBody {
                name: worker.name.to_string(),
                node: pool.node.clone(),
                pid,
                state: "busy",
                tasks: 0,
                busy_ms: 0.0,
                cpu_ms: 0.0,
                max_rss_bytes: worker.max_rss_bytes,
            });
        }
    }
    shares
}

/// The slots and workers of this node.
#[derive(Serialize)]
pub(super) struct PoolBody {
    node: String,
    epoch: u64,
    slots: u32,
    slots_reason: String,
    busy: usize,
    workers: Vec<WorkerBody>,
    start_failures: Vec<StartFailureBody>,
}

#[derive(Serialize)]
struct WorkerBody {
    name: String,
    pid: Option<u32>,
    function: String,
    state: &'static str,
    job: Option<JobId>,
    index: Option<u64>,
    attempt: Option<u32>,
    running_ms: Option<f64>,
    tasks: u64,
    busy_ms: f64,
    cpu_ms: f64,
    max_rss_bytes: u64,
}

/// The pool as clients see it.
pub(super) fn pool_view(pool: &PoolView) -> PoolBody {
    let busy = |worker: &&WorkerView| matches!(worker.activity, WorkerActivity::Busy(_));
    PoolBody {
        node: pool.node.clone(),
        epoch: pool.epoch.0,
        slots: pool.slots,
        slots_reason: pool.slots_reason.clone(),
        busy: pool.workers.iter().filter(busy).count(),
        workers: pool.workers.iter().map(worker_view).collect(),
        start_failures: pool.start_failures.iter().map(start_failure).collect(),
    }
}

fn start_failure(failure: &StartFailure) -> StartFailureBody {
    let StartFailure { function, times, message, next_in } = failure.clone();
    StartFailureBody { function, times, message, next_in_ms: next_in.map(ms) }
}

fn worker_view(worker: &WorkerView) -> WorkerBody {
    let (state, task) = match &worker.activity {
        WorkerActivity::Starting => ("starting", None),
        WorkerActivity::Idle => ("idle", None),
        WorkerActivity::Busy(task) => ("busy", Some(task)),
        WorkerActivity::Ending => ("ending", None),
    };
    WorkerBody {
        name: worker.name.to_string(),
        pid: worker.pid,
        function: worker.function.clone(),
        state,
        job: task.map(|task| task.job),
        index: task.map(|task| task.index),
        attempt: task.map(|task| task.attempt),
        running_ms: task.map(|task| ms(task.running)),
        tasks: worker.tasks,
        busy_ms: ms(worker.busy),
        cpu_ms: ns_as_ms(worker.cpu_ns),
        max_rss_bytes: worker.max_rss_bytes,
    }
}

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
