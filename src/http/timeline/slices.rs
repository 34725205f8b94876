//! What becomes a slice: each task where they are few, each chunk where they are many; and what runs.

use super::events::{Events, Slice, SliceKind};
use super::lanes::{Lanes, MOST_LANES};
use crate::model::{Job, Timestamp};
use crate::store::Run;
use crate::supervisor::PoolView;

/// How closely a trace looks.
pub(super) struct Detail {
    /// Times are told from here on.
    origin: Timestamp,
    /// For chunks: those that together are no longer than this are one slice. `None`: a slice for each task.
    most_ns: Option<i64>,
}

impl Detail {
    /// A slice for each task, if there are no more than `limit`; else for chunks, so that there are about so many at
    /// most: of two that follow each other on a lane, one begins at least `most_ns` before the other ends.
    pub(super) fn of(job: &Job, limit: u64, asked_at: Timestamp) -> Self {
        let origin = job.created_at;
        let tasks: u64 = job.workers.iter().map(|share| share.tasks).sum();
        let wall = job.finished_at.unwrap_or(asked_at).since(job.started_at.unwrap_or(origin));
        let lanes = job.workers.len().clamp(1, MOST_LANES) as u128;
        let most_ns = 2 * lanes * wall.as_nanos() / u128::from(limit);
        let most_ns = (tasks > limit).then(|| i64::try_from(most_ns).unwrap_or(i64::MAX));
        Self { origin, most_ns }
    }

    pub(super) fn as_str(&self) -> &'static str {
        if self.most_ns.is_none() { "tasks" } else { "chunks" }
    }

    pub(super) fn resolution_ms(&self) -> Option<f64> {
        self.most_ns.map(|ns| ns as f64 / 1e6)
    }

    pub(super) fn tell(&self, run: &Run, lanes: &mut Lanes, events: &mut Events) {
        let lane = lanes.of(&run.worker, run.pid, events);
        let whole = self.whole(run);
        match self.most_ns {
            None => tasks(run, &whole).for_each(|task| lanes.put(lane, task, events)),
            Some(most_ns) => lanes.merge(lane, whole, most_ns, events),
        }
    }

    /// All of a run.
    fn whole(&self, run: &Run) -> Slice {
        Slice {
            start_ns: between(self.origin, run.span.start),
            end_ns: between(self.origin, run.span.end),
            index: run.first_index,
            count: run.outcomes.count().into(),
            failed: run.outcomes.failed().into(),
            attempt: run.attempt,
            pid: run.pid,
            busy_ns: run.outcomes.iter().map(|(ns, _)| ns).sum(),
            kind: SliceKind::Ended,
        }
    }
}

/// In nanoseconds.
fn between(from: Timestamp, to: Timestamp) -> i64 {
    to.0.saturating_sub(from.0).saturating_mul(1000)
}

/// Each task of a run, one behind the other, so that they fill it.
fn tasks(run: &Run, whole: &Slice) -> impl Iterator<Item = Slice> {
    let (start, length, all) = (whole.start_ns, (whole.end_ns - whole.start_ns).max(0), whole.busy_ns.max(1));
    let at = move |ns: u64| start + (length as u128 * u128::from(ns) / u128::from(all)) as i64;
    let (attempt, pid, mut index, mut before) = (run.attempt, run.pid, run.first_index, 0);
    run.outcomes.iter().map(move |(ns, failed)| {
        let (start_ns, end_ns, failed) = (at(before), at(before + ns), u64::from(failed));
        let slice = Slice {
            start_ns,
            end_ns,
            index,
            count: 1,
            failed,
            attempt,
            pid,
            busy_ns: ns,
            kind: SliceKind::Ended,
        };
        (index, before) = (index + 1, before + ns);
        slice
    })
}

/// A task that ran when the trace was asked for.
pub(super) struct RunningTask {
    worker: String,
    slice: Slice,
}

impl RunningTask {
    pub(super) fn all(job: &Job, pool: &PoolView, asked_at: Timestamp) -> Vec<Self> {
        let now_ns = between(job.created_at, asked_at);
        let running = pool.running(job.id).filter_map(|(worker, task)| {
            let busy_ns = task.running.as_nanos() as u64;
            let slice = Slice {
                start_ns: now_ns - busy_ns as i64,
                end_ns: now_ns,
                index: task.index,
                count: 1,
                failed: 0,
                attempt: task.attempt,
                pid: worker.pid?,
                busy_ns,
                kind: SliceKind::Running,
            };
            Some(Self { worker: worker.name.to_string(), slice })
        });
        running.collect()
    }

    /// Whether this run was its end.
    pub(super) fn is_of(&self, run: &Run) -> bool {
        let indices = run.first_index..run.first_index + u64::from(run.outcomes.count());
        run.attempt == self.slice.attempt && indices.contains(&self.slice.index)
    }

    pub(super) fn tell(&self, lanes: &mut Lanes, events: &mut Events) {
        let lane = lanes.of(&self.worker, self.slice.pid, events);
        lanes.put(lane, self.slice.clone(), events);
    }
}
