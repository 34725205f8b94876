//! What the supervisor tells of its pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Supervisor;
use crate::model::{Epoch, JobId, WorkerName};
use crate::pool::{WorkerId, WorkerState};
use crate::sys;

/// The slots and the workers of this node.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PoolView {
    /// The node's name.
    pub node: String,
    /// How often it has started.
    pub epoch: Epoch,
    /// How many slots there are.
    pub slots: u32,
    /// Why so many.
    pub slots_reason: String,
    /// Its workers, in the order of their names.
    pub workers: Vec<WorkerView>,
    /// The functions whose workers do not start.
    pub start_failures: Vec<StartFailure>,
}

/// That the workers of a function do not start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartFailure {
    /// The function.
    pub function: String,
    /// How often in a row.
    pub times: u32,
    /// How the last one ended, with its last words.
    pub message: String,
    /// How long until the next try; `None` if it is under way.
    pub next_in: Option<Duration>,
}

impl PoolView {
    /// With what each worker uses now, which the kernel is asked for.
    pub(super) fn measured(mut self) -> Self {
        self.workers.iter_mut().for_each(measure);
        self
    }

    /// The tasks of this job that run now.
    pub fn running(&self, job: JobId) -> impl Iterator<Item = (&WorkerView, &RunningTask)> {
        self.workers.iter().filter_map(move |worker| match &worker.activity {
            WorkerActivity::Busy(task) if task.job == job => Some((worker, task)),
            _ => None,
        })
    }
}

/// One worker.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkerView {
    /// Its name.
    pub name: WorkerName,
    /// Its process id, once it has one.
    pub pid: Option<u32>,
    /// The function that it serves.
    pub function: String,
    /// What it does.
    pub activity: WorkerActivity,
    /// How many tasks it has answered.
    pub tasks: u64,
    /// How long it was at work on them.
    pub busy: Duration,
    /// The CPU time it has used, in nanoseconds.
    pub cpu_ns: u64,
    /// The most memory it has held, in bytes.
    pub max_rss_bytes: u64,
}

/// What a worker does.
#[derive(Clone, PartialEq, Debug)]
pub enum WorkerActivity {
    /// It starts.
    Starting,
    /// It waits for work.
    Idle,
    /// It works.
    Busy(RunningTask),
    /// It has been told to end.
    Ending,
}

/// A task that runs.
#[derive(Clone, PartialEq, Debug)]
pub struct RunningTask {
    /// Its job.
    pub job: JobId,
    /// Its index: the first of the worker's chunk that has no answer.
    pub index: u64,
    /// Its attempt.
    pub attempt: u32,
    /// How long it has run, as far as one can tell: since the answer before it.
    pub running: Duration,
    /// How far it says that it is, and of how much.
    pub progress: Option<(f64, Option<f64>)>,
}

impl Supervisor {
    /// Tells who is there, if that has changed.
    pub(super) fn publish_roster(&mut self) {
        if std::mem::take(&mut self.roster_is_old) {
            self.roster.send_replace(Arc::new(self.view()));
        }
    }

    pub(super) fn view(&self) -> PoolView {
        let now = Instant::now();
        let mut workers: Vec<WorkerView> = self
            .pool
            .workers()
            .map(|(id, name, function, state)| self.worker(id, name, function, state, now))
            .collect();
        workers.sort_by_key(|worker| worker.name);
        let (node, slots_reason) = (self.settings.node.clone(), self.settings.slots_reason.clone());
        let start_failures = self.view_start_failures().collect();
        PoolView { node, epoch: self.epoch, slots: self.pool.slots(), slots_reason, workers, start_failures }
    }

    pub(super) fn view_start_failures(&self) -> impl Iterator<Item = StartFailure> {
        let now = Instant::now();
        self.pool.failed_starts().map(move |(function, times, again_at)| StartFailure {
            function: function.to_owned(),
            times,
            message: self.start_failures.get(function).cloned().unwrap_or_default(),
            next_in: again_at.map(|at| at.saturating_duration_since(now)),
        })
    }

    fn worker(
        &self,
        id: WorkerId,
        name: WorkerName,
        function: &str,
        state: &WorkerState,
        now: Instant,
    ) -> WorkerView {
        let member = self.members.get(&id);
        let pid = member.and_then(|member| member.pid);
        let running = member.map_or(Duration::ZERO, |member| now.saturating_duration_since(member.since));
        let activity = match state {
            WorkerState::Starting => WorkerActivity::Starting,
            WorkerState::Idle => WorkerActivity::Idle,
            WorkerState::Ending { .. } => WorkerActivity::Ending,
            WorkerState::Busy { job, leases } => leases.front().map_or(WorkerActivity::Idle, |lease| {
                let (index, attempt) = (lease.first, lease.attempt);
                let said = member.and_then(|member| member.progress).filter(|said| said.index == index);
                let progress = said.map(|said| (said.done, said.total));
                WorkerActivity::Busy(RunningTask { job: *job, index, attempt, running, progress })
            }),
        };
        WorkerView {
            name,
            pid,
            function: function.to_owned(),
            activity,
            tasks: member.map_or(0, |member| member.tasks),
            busy: member.map_or(Duration::ZERO, |member| member.busy),
            cpu_ns: 0,
            max_rss_bytes: 0,
        }
    }
}

fn measure(worker: &mut WorkerView) {
    worker.cpu_ns = worker.pid.and_then(sys::process_cpu_ns).unwrap_or(0);
    worker.max_rss_bytes = worker.pid.and_then(sys::proc::max_rss_bytes).unwrap_or(0);
}
