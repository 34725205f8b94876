//! What is written under a lease: tasks leased, answered and given back.

use super::entry::{Entry, Task, TaskState};
use crate::model::job::WorkerShare;
use crate::model::segment::{ResultBody, Used};
use crate::model::{Histogram, JobState, LeaseId, OnError, Timestamp};
use crate::store::{Chunk, Claim, Completion, Release, Requeue};

impl Entry {
    /// Leases the first queued task that is due, and those behind it that are as it is; or the last one.
    pub(super) fn lease(&mut self, lease: LeaseId, claim: Claim, now: Timestamp) -> Option<Chunk> {
        let is_due =
            |task: &Task| matches!(task.state, TaskState::Queued { not_before, .. } if not_before <= now.0);
        let backwards = claim.backwards && !self.job.open;
        let mut tasks = self.tasks.iter();
        let first = if backwards { tasks.rposition(is_due) } else { tasks.position(is_due) }?;
        let state = self.tasks[first].state;
        let TaskState::Queued { attempt, alone, .. } = state else { return None };
        let most = if alone || backwards { 1 } else { claim.max_tasks as usize };
        let run = self.tasks[first..].iter_mut().take(most).take_while(|task| task.state == state);
        let (mut inputs, mut count) = (Vec::new(), 0);
        for task in run {
            task.state = TaskState::Leased { lease, attempt };
            inputs.extend_from_slice(&task.input);
            inputs.push(b'\n');
            count += 1;
        }
        Some(Chunk { lease, job: self.job.id, first: first as u64, count, attempt, inputs: inputs.into() })
    }

    pub(super) fn complete(&mut self, done: Completion, node: &str, now: Timestamp) -> bool {
        let count = done.outcomes.count();
        let Some(tasks) = self.held(done.lease, done.first, count) else { return false };
        tasks.iter_mut().for_each(|task| task.state = TaskState::Done);
        let failed = u64::from(done.outcomes.failed());
        self.job.tally.failed += failed;
        self.job.tally.succeeded += u64::from(count) - failed;
        self.job.cpu_ns += done.cpu_ns;
        self.job.task_times.merge(&Histogram::of(done.outcomes.iter().map(|(ns, _)| ns)));
        self.note_worker(&done, node);
        let Completion { first, attempt, worker, pid, outcomes, lines, span, busy_ns, cpu_ns, .. } = done;
        let used = Used { span: Some(span), busy_ns, cpu_ns };
        self.push_result(
            first,
            u64::from(count),
            attempt,
            ResultBody::Ran { worker, pid, outcomes, lines, used },
        );
        if failed > 0 && self.job.spec.options.on_error == OnError::Stop && self.job.state.is_runnable() {
            self.cancel_queued();
        }
        self.end_if_done(now);
        true
    }

    pub(super) fn release(&mut self, release: Release, now: Timestamp) -> bool {
        let cancelling = self.job.state == JobState::Cancelling;
        let tasks = self.held_at_either_end(release.lease, release.first, release.count);
        let Some(tasks) = tasks else { return false };
        for task in tasks {
            let TaskState::Leased { attempt, .. } = task.state else { continue };
            let (attempt, alone) = match release.how {
                Requeue::AsBefore => (attempt, attempt > 1),
                Requeue::Alone => (attempt, true),
                Requeue::Charged => (attempt + 1, true),
            };
            let not_before =
                if release.delay.is_zero() { 0 } else { now.0 + release.delay.as_micros() as i64 };
            task.state = TaskState::Queued { attempt, alone, not_before };
        }
        if cancelling {
            self.cancel_queued();
        }
        self.end_if_done(now);
        true
    }

    /// The tasks that a lease still holds from `first` on, if `first` is the first of them and there are `count`.
    fn held(&mut self, id: LeaseId, first: u64, count: u32) -> Option<&mut [Task]> {
        let holds = |task: &Task| matches!(task.state, TaskState::Leased { lease, .. } if lease == id);
        let range = first as usize..first as usize + count as usize;
        let begins = self.tasks.iter().position(holds) == Some(first as usize);
        self.tasks.get_mut(range).filter(|tasks| begins && tasks.iter().all(holds))
    }

    /// Some tasks of a lease, if it still holds them and they are its next or its last ones.
    fn held_at_either_end(&mut self, id: LeaseId, first: u64, count: u32) -> Option<&mut [Task]> {
        let holds = |task: &Task| matches!(task.state, TaskState::Leased { lease, .. } if lease == id);
        let range = first as usize..first as usize + count as usize;
        let begins = self.tasks.iter().position(holds) == Some(range.start);
        let ends = self.tasks.iter().rposition(holds) == Some(range.end - 1);
        self.tasks.get_mut(range).filter(|tasks| (begins || ends) && tasks.iter().all(holds))
    }

    fn note_worker(&mut self, done: &Completion, node: &str) {
        let is_it = |share: &WorkerShare| share.worker == done.worker && share.pid == done.pid;
        let at = self.job.workers.iter().position(is_it).unwrap_or_else(|| {
            let (worker, node, pid) = (done.worker.clone(), node.to_owned(), done.pid);
            let share = WorkerShare { worker, node, pid, tasks: 0, busy_ns: 0, cpu_ns: 0, max_rss_bytes: 0 };
            self.job.workers.push(share);
            self.job.workers.len() - 1
        });
        let share = &mut self.job.workers[at];
        share.tasks += u64::from(done.outcomes.count());
        share.busy_ns += done.busy_ns;
        share.cpu_ns += done.cpu_ns;
        share.max_rss_bytes = share.max_rss_bytes.max(done.max_rss_bytes);
        self.job.workers.sort_by_key(|share| (share.worker.len(), share.worker.clone(), share.pid));
    }
}
