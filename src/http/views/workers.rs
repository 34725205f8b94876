//! What workers did for a job, and which of its tasks run now.

use serde::Serialize;
use utoipa::ToSchema;

use super::{ms, ns_as_ms};
use crate::model::job::WorkerShare;
use crate::model::{Job, JobId};
use crate::supervisor::{PoolView, WorkerActivity, WorkerView};

/// What one worker did for one job.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkerShare)]
pub(super) struct WorkerShareBody {
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
pub(super) struct RunningBody {
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

/// The tasks of a job that run now.
pub(super) fn running(job: JobId, pool: &PoolView) -> Vec<RunningBody> {
    pool.running(job)
        .map(|(worker, task)| RunningBody {
            index: task.index,
            attempt: task.attempt,
            worker: worker.name.to_string(),
            pid: worker.pid,
            running_ms: ms(task.running),
            progress: task.progress.map(|(done, total)| TaskProgressBody { done, total }),
        })
        .collect()
}

/// What each worker did for the job, those that have answered nothing yet among them.
pub(super) fn worker_shares(job: &Job, pool: &PoolView) -> Vec<WorkerShareBody> {
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
