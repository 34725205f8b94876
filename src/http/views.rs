//! What clients see of jobs and workers: the shapes of the answers, and what each member means.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::model::job::WorkerShare;
use crate::model::{Histogram, Job, JobId, JobState, Lock, OnError, Timestamp};
use crate::store::{Callback, CallbackState};
use crate::supervisor::{PoolView, StartFailure, WorkerActivity, WorkerView};

/// A page of a list of jobs, and the cursor of the next one.
#[derive(Serialize, ToSchema)]
pub(super) struct JobPage {
    pub(super) items: Vec<JobBody>,
    /// What goes into `after` for the next page; `null` at the end.
    pub(super) next: Option<JobId>,
}

/// A job. Lists leave out `workers`, `running` and `callback`.
#[derive(Serialize, ToSchema)]
#[schema(as = Job, example = job_example)]
pub(super) struct JobBody {
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
    callback: Option<CallbackBody>,
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

/// When and how long.
#[derive(Serialize, ToSchema)]
#[schema(as = Timings)]
struct TimingsBody {
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
    task_ms: TaskTimesBody,
    /// The sum of the task times by the wall time, once it has ended.
    speedup: Option<f64>,
    /// The speed-up by the processes granted.
    efficiency: Option<f64>,
}

/// The times of tasks as measured in the workers, in milliseconds; percentiles are right to within 7 %.
#[derive(Serialize, ToSchema)]
#[schema(as = TaskTimes)]
struct TaskTimesBody {
    sum: f64,
    min: Option<f64>,
    mean: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
    /// Its buckets that are not empty, eight to each doubling: from, to and how many tasks. Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    histogram: Option<Vec<(f64, f64, u64)>>,
}

/// What one worker did for one job.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkerShare)]
struct WorkerShareBody {
    #[schema(examples("worker-1"))]
    name: String,
    /// The server that it belongs to.
    node: String,
    /// Its process id there.
    pid: u32,
    state: ShareState,
    /// How many tasks it has answered.
    tasks: u64,
    /// How long it was at work, in milliseconds.
    busy_ms: f64,
    /// Its CPU time, in milliseconds.
    cpu_ms: f64,
    /// The most memory that it held, in bytes.
    max_rss_bytes: u64,
}

/// What a worker is to a job: at work for it, or elsewhere, on its way out, or gone.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ShareState {
    Busy,
    Idle,
    Ending,
    Ended,
}

/// A task that runs.
#[derive(Serialize, ToSchema)]
#[schema(as = RunningTask)]
struct RunningBody {
    /// The task's place among the inputs, from 0.
    index: u64,
    /// Which try it is, from 1.
    #[schema(minimum = 1)]
    attempt: u32,
    #[schema(examples("worker-1"))]
    worker: String,
    /// The worker's process id.
    pid: Option<u32>,
    /// For how long, in milliseconds.
    running_ms: f64,
    /// There if its worker tells how far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    progress: Option<TaskProgressBody>,
}

/// How far a task says that it is.
#[derive(Serialize, ToSchema)]
#[schema(as = TaskProgress)]
struct TaskProgressBody {
    done: f64,
    total: Option<f64>,
}

/// That the workers of a function do not start.
#[derive(Serialize, ToSchema)]
#[schema(as = StartFailure)]
struct StartFailureBody {
    function: String,
    /// How often in a row.
    times: u32,
    /// The exit code and the last lines on stderr.
    message: String,
    /// When the next one is started, in milliseconds from now.
    next_in_ms: Option<f64>,
}

/// How far it is with telling the job's end.
#[derive(Serialize, ToSchema)]
#[schema(as = Callback)]
struct CallbackBody {
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
pub(super) struct EndedBody {
    /// `job.ended`.
    r#type: &'static str,
    /// When it ended.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The job, as lists have it.
    data: JobBody,
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
    let id = super::openapi::EXAMPLE_JOB;
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
    body.timings.task_ms.histogram = Some(buckets(&job.task_times));
    let failure = pool.start_failures.iter().find(|failure| failure.function == job.spec.function);
    body.start_failure = failure.filter(|_| !job.state.is_final()).map(start_failure);
    body.running = Some(if job.state.is_final() { Vec::new() } else { running });
    body
}

impl JobBody {
    /// With how far it is with telling the job's end at this URL, of which nothing is known before.
    pub(super) fn with_callback(self, url: &str, callback: Option<Callback>) -> Self {
        let before = Callback { state: CallbackState::Pending, attempts: 0, last_error: None, next_at: None };
        let Callback { state, attempts, last_error, next_at } = callback.unwrap_or(before);
        let (url, state, next_at) = (url.to_owned(), state.as_str(), next_at.map(rfc3339));
        let callback = CallbackBody { url, state, attempts, last_error, next_at };
        Self { callback: Some(callback), ..self }
    }
}

/// What is told of a job that has ended.
pub(super) fn ended_view(job: &Job, slots: u32, now: Timestamp) -> EndedBody {
    let timestamp = rfc3339(job.finished_at.unwrap_or(now));
    EndedBody { r#type: "job.ended", timestamp, data: brief_view(job, slots, now) }
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
        histogram: None,
    }
}

/// To the nanosecond, which a bucket of short times needs.
fn buckets(times: &Histogram) -> Vec<(f64, f64, u64)> {
    times.buckets().map(|(from, to, tasks)| (from as f64 / 1e6, to as f64 / 1e6, tasks)).collect()
}

/// What each worker did for the job, those that have answered nothing yet among them.
fn worker_shares(job: &Job, pool: &PoolView) -> Vec<WorkerShareBody> {
    let live = |pid: u32| pool.workers.iter().find(|worker| worker.pid == Some(pid));
    let serves = |worker: &WorkerView| pool.running(job.id).any(|(busy, _)| busy.name == worker.name);
    let state = |share: &WorkerShare| match live(share.pid).filter(|_| share.node == pool.node) {
        None => ShareState::Ended,
        Some(worker) if serves(worker) => ShareState::Busy,
        Some(worker) if matches!(worker.activity, WorkerActivity::Ending) => ShareState::Ending,
        Some(_) => ShareState::Idle,
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
                state: ShareState::Busy,
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
#[derive(Serialize, ToSchema)]
#[schema(as = Pool)]
pub(super) struct PoolBody {
    /// The server's name.
    node: String,
    /// How often it has started.
    epoch: u64,
    /// How many tasks run at once.
    slots: u32,
    /// Why so many.
    slots_reason: String,
    /// How many of them are taken.
    busy: usize,
    workers: Vec<WorkerBody>,
    /// The functions whose workers do not start.
    start_failures: Vec<StartFailureBody>,
}

/// A worker process.
#[derive(Serialize, ToSchema)]
#[schema(as = Worker)]
struct WorkerBody {
    #[schema(examples("worker-1"))]
    name: String,
    /// Its process id, once it has one.
    pid: Option<u32>,
    /// The function that it serves.
    function: String,
    state: WorkerState,
    /// The job that it is at work for.
    job: Option<JobId>,
    /// The task that it is at.
    index: Option<u64>,
    /// Which try of that task it is.
    attempt: Option<u32>,
    /// For how long, in milliseconds.
    running_ms: Option<f64>,
    /// How many tasks it has answered.
    tasks: u64,
    /// How long it was at work, in milliseconds.
    busy_ms: f64,
    /// Its CPU time, in milliseconds.
    cpu_ms: f64,
    /// The most memory that it held, in bytes.
    max_rss_bytes: u64,
}

/// What a worker does.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WorkerState {
    Starting,
    Idle,
    Busy,
    Ending,
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
        WorkerActivity::Starting => (WorkerState::Starting, None),
        WorkerActivity::Idle => (WorkerState::Idle, None),
        WorkerActivity::Busy(task) => (WorkerState::Busy, Some(task)),
        WorkerActivity::Ending => (WorkerState::Ending, None),
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
