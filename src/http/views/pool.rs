//! The slots and workers of this node.

use serde::Serialize;
use utoipa::ToSchema;

use super::{ms, ns_as_ms};
use crate::model::JobId;
use crate::supervisor::{PoolView, StartFailure, WorkerActivity, WorkerView};

/// The slots and workers of this node.
#[derive(Serialize, ToSchema)]
#[schema(as = Pool)]
pub(in crate::http) struct PoolBody {
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

/// That the workers of a function do not start.
#[derive(Serialize, ToSchema)]
#[schema(as = StartFailure)]
pub(super) struct StartFailureBody {
    function: String,
    /// How often in a row.
    times: u32,
    /// The exit code and the last lines on stderr.
    message: String,
    /// When the next one is started, in milliseconds from now.
    next_in_ms: Option<f64>,
}

/// The pool as clients see it.
pub(in crate::http) fn pool_view(pool: &PoolView) -> PoolBody {
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

pub(super) fn start_failure(failure: &StartFailure) -> StartFailureBody {
    let StartFailure { function, times, message, next_in } = failure.clone();
    StartFailureBody { function, times, message, next_in_ms: next_in.map(ms) }
}
