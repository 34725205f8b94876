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
#[derive(Serialize, ToSchema, PartialEq, Eq, Debug)]
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
    // A process id is given to others again: it is the same worker only if it has the same name, too.
    let is_it = |share: &WorkerShare, worker: &WorkerView| {
        share.node == pool.node && Some(share.pid) == worker.pid && share.worker == worker.name.to_string()
    };
    let is_final = job.state.is_final();
    let serves =
        |worker: &WorkerView| !is_final && pool.running(job.id).any(|(busy, _)| busy.name == worker.name);
    let state = |share: &WorkerShare| match pool.workers.iter().find(|worker| is_it(share, worker)) {
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
    for (worker, _) in pool.running(job.id).filter(|_| !is_final) {
        let known = job.workers.iter().any(|share| is_it(share, worker));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::model::{Epoch, Histogram, JobOptions, JobSpec, JobState, Tally, Timestamp, WorkerName};
    use crate::supervisor::RunningTask;

    const NODE: &str = "mill-1";

    fn job(workers: Vec<WorkerShare>) -> Job {
        let (labels, options) = (BTreeMap::new(), JobOptions::default());
        let spec = JobSpec { function: "sleep".into(), name: None, labels, options };
        Job {
            id: JobId::from_bytes([1; 16]),
            spec,
            state: JobState::Running,
            open: false,
            tally: Tally::default(),
            created_at: Timestamp(0),
            started_at: None,
            finished_at: None,
            cpu_ns: 0,
            task_times: Histogram::default(),
            workers,
        }
    }

    fn share(worker: &str, node: &str, pid: u32) -> WorkerShare {
        let (worker, node) = (worker.to_owned(), node.to_owned());
        WorkerShare { worker, node, pid, tasks: 1, busy_ns: 0, cpu_ns: 0, max_rss_bytes: 0 }
    }

    /// A pool whose only worker has this number and process id, and runs a task of [`job`].
    fn pool(number: u32, pid: u32) -> PoolView {
        let (index, attempt, running, progress) = (0, 1, Duration::ZERO, None);
        let task = RunningTask { job: JobId::from_bytes([1; 16]), index, attempt, running, progress };
        let worker = WorkerView {
            name: WorkerName(number),
            pid: Some(pid),
            function: "sleep".into(),
            activity: WorkerActivity::Busy(task),
            tasks: 0,
            busy: Duration::ZERO,
            cpu_ns: 0,
            max_rss_bytes: 0,
        };
        PoolView {
            node: NODE.into(),
            epoch: Epoch(1),
            slots: 1,
            slots_reason: String::new(),
            workers: vec![worker],
            start_failures: Vec::new(),
        }
    }

    fn states(shares: Vec<WorkerShare>, pool: &PoolView) -> Vec<(String, ShareState)> {
        worker_shares(&job(shares), pool).into_iter().map(|share| (share.name, share.state)).collect()
    }

    #[test]
    fn a_process_id_that_is_given_again_is_another_worker() {
        let at_work = |name: &str| (name.to_owned(), ShareState::Busy);
        let gone = |name: &str| (name.to_owned(), ShareState::Ended);
        assert_eq!(states(vec![share("worker-2", NODE, 7)], &pool(2, 7)), [at_work("worker-2")]);
        let reused = states(vec![share("worker-1", NODE, 7)], &pool(2, 7));
        assert_eq!(reused, [gone("worker-1"), at_work("worker-2")]);
        let started_anew = states(vec![share("worker-2", NODE, 6)], &pool(2, 7));
        assert_eq!(started_anew, [gone("worker-2"), at_work("worker-2")]);
        let elsewhere = states(vec![share("worker-2", "mill-2", 7)], &pool(2, 7));
        assert_eq!(elsewhere, [gone("worker-2"), at_work("worker-2")]);
    }
}
