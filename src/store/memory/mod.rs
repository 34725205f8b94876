//! The reference model: a store in memory, naive and obviously right, a value for each task.
//!
//! What every other store must do alike. Deliberately absent: durability (a restart is a method), and speed.

mod callbacks;
mod entry;
mod lease;
mod logs;
mod results;
mod state;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch::Receiver;

use entry::Entry;
use state::State;

use crate::model::segment::ResultBody;
use crate::model::{Blocked, Epoch, InputSegment, Job, JobId, JobState, LeaseId, ResultSegment, Timestamp};
use crate::store::watch::Watches;
use crate::store::{
    Appended, Callback, CallbackTry, ChangeWatch, Claim, Claimed, Completion, Counts, Deleted, DueCallbacks,
    Haste, JobFilter, JobWatch, LogEntry, LogFilter, LogPage, MoreInputs, NewJob, Order, Receipt, Release,
    Retention, Retried, Run, RunnableJob, Store, StoreResult, Submitted,
};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    node: String,
    state: Mutex<State>,
    watches: Watches,
}

impl MemoryStore {
    /// An empty store, in its first epoch.
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), state: Mutex::new(State::new()), watches: Watches::default() }
    }

    /// What a restart of the node does: a new epoch, in which no lease holds.
    pub fn restart(&self, now: Timestamp) {
        self.lock().restart(now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to a job, and wakes those who watch it.
    fn change<T>(&self, id: JobId, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let answer = self.lock().jobs.get_mut(&id).map(change);
        self.watches.wake(id);
        self.watches.wake_outbox();
        answer
    }

    fn fenced(&self, id: JobId, change: impl FnOnce(&mut Entry) -> bool) -> Receipt {
        let outcome = self.change(id, |entry| (change(entry), entry.job.state));
        Receipt { held: outcome.is_some_and(|(held, _)| held), state: outcome.map(|(_, state)| state) }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn epoch(&self) -> Epoch {
        self.lock().epoch
    }

    fn counts(&self) -> Counts {
        self.lock().counts()
    }

    async fn stage(&self, job: JobId, segments: Vec<InputSegment>) -> StoreResult<()> {
        self.lock().staged.entry(job).or_default().extend(segments);
        Ok(())
    }

    async fn unstage(&self, job: JobId) -> StoreResult<()> {
        self.lock().staged.remove(&job);
        Ok(())
    }

    async fn submit(
        &self,
        job: NewJob,
        segments: Vec<InputSegment>,
        now: Timestamp,
    ) -> StoreResult<Submitted> {
        let notice = job.notice.clone();
        let outcome = self.lock().submit(job, segments, now);
        if let Submitted::New(accepted) = &outcome {
            self.watches.wake_outbox();
            if let Some(notice) = notice.filter(|_| !accepted.state.is_final()) {
                let claim = Claim { job: accepted.id, chunks: 1, max_tasks: 1, backwards: false };
                let has_room = notice.room.is_some_and(|room| room.load(Ordering::Relaxed));
                let first = if has_room { self.claim(claim, now).await?.chunks.pop() } else { None };
                (notice.tell)(accepted, first);
            }
            self.watches.wake(accepted.id);
        }
        Ok(outcome)
    }

    async fn job(&self, id: JobId) -> StoreResult<Option<Job>> {
        Ok(self.lock().jobs.get(&id).map(|entry| entry.job.clone()))
    }

    async fn jobs(&self, filter: JobFilter, before: Option<JobId>, limit: u32) -> StoreResult<Vec<Job>> {
        let state = self.lock();
        let older =
            state.jobs.values().rev().filter(|entry| before.is_none_or(|before| entry.job.id < before));
        let found = older.filter(|entry| entry.matches(&filter)).take(limit as usize);
        Ok(found.map(|entry| Job { workers: Vec::new(), ..entry.job.clone() }).collect())
    }

    async fn jobs_of(&self, ids: Vec<JobId>) -> StoreResult<Vec<Job>> {
        let state = self.lock();
        let found = ids.iter().filter_map(|id| state.jobs.get(id));
        Ok(found.map(|entry| Job { workers: Vec::new(), ..entry.job.clone() }).collect())
    }

    async fn results(
        &self,
        id: JobId,
        order: Order,
        after: u64,
        limit: u64,
    ) -> StoreResult<Vec<ResultSegment>> {
        let state = self.lock();
        let results = state.jobs.get(&id).map(|entry| entry.in_order(order)).unwrap_or_default();
        let count = usize::try_from(limit).unwrap_or(usize::MAX);
        let behind = |single: &ResultSegment| match order {
            Order::Completion | Order::Failed => single.first_seq > after,
            Order::Input => single.first_index >= after,
        };
        Ok(results.into_iter().filter(behind).take(count).collect())
    }

    async fn runs(&self, id: JobId, after: u64) -> StoreResult<Vec<Run>> {
        let state = self.lock();
        let singles = state.jobs.get(&id).map(|entry| entry.in_order(Order::Completion)).unwrap_or_default();
        let run = |single: ResultSegment| {
            let ResultSegment { first_seq, first_index, attempt, body, .. } = single;
            let ResultBody::Ran { worker, pid, outcomes, used, .. } = body else { return None };
            Some(Run { first_seq, first_index, attempt, worker, pid, outcomes, span: used.span? })
        };
        Ok(singles.into_iter().filter(|single| single.first_seq > after).filter_map(run).take(100).collect())
    }

    fn watch(&self, id: JobId) -> JobWatch {
        self.watches.watch(id)
    }

    fn watch_all(&self, after: Option<u64>) -> ChangeWatch {
        self.watches.watch_all(after)
    }

    async fn runnable(
        &self,
        after: Option<(i32, JobId)>,
        without: Blocked,
        limit: u32,
    ) -> StoreResult<Vec<RunnableJob>> {
        Ok(self.lock().runnable(after, &without, limit))
    }

    async fn claim(&self, claim: Claim, now: Timestamp) -> StoreResult<Claimed> {
        let mut state = self.lock();
        let State { leases, jobs, .. } = &mut *state;
        let Some(entry) = jobs.get_mut(&claim.job).filter(|entry| !entry.job.state.is_final()) else {
            return Ok(Claimed { ended: true, ..Claimed::default() });
        };
        if !entry.job.state.is_runnable() {
            return Ok(Claimed::default());
        }
        let mut chunks = Vec::new();
        while chunks.len() < claim.chunks as usize {
            *leases += 1;
            let Some(chunk) = entry.lease(LeaseId(*leases), claim, now) else { break };
            chunks.push(chunk);
        }
        if !chunks.is_empty() {
            entry.job.state = JobState::Running;
            entry.job.started_at.get_or_insert(now);
        }
        let unclaimed = entry.waits_until().filter(|at| *at <= now.0).count() as u64;
        let later = entry.waits_until().filter(|at| *at > now.0).min().map(|at| Timestamp(at).since(now));
        drop(state);
        self.watches.wake(claim.job);
        Ok(Claimed { chunks, unclaimed, later, ended: false })
    }

    async fn complete_if_leased(
        &self,
        done: Arc<Completion>,
        _haste: Haste,
        now: Timestamp,
    ) -> StoreResult<Receipt> {
        let done = Completion::clone(&done);
        Ok(self.fenced(done.job, |entry| entry.complete(done, &self.node, now)))
    }

    async fn release_if_leased(&self, release: Release, now: Timestamp) -> StoreResult<Receipt> {
        Ok(self.fenced(release.job, |entry| entry.release(release, now)))
    }

    async fn cancel(&self, id: JobId, now: Timestamp) -> StoreResult<Option<Job>> {
        Ok(self.change(id, |entry| {
            if !entry.job.state.is_final() {
                entry.cancel_queued();
                entry.end_if_done(now);
            }
            entry.job.clone()
        }))
    }

    async fn delete(&self, id: JobId) -> StoreResult<Deleted> {
        let mut state = self.lock();
        let outcome = match state.jobs.get(&id).map(|entry| entry.job.state) {
            None => Deleted::Unknown,
            Some(ended) if ended.is_final() => Deleted::Yes,
            Some(other) => Deleted::NotEnded(other),
        };
        if outcome == Deleted::Yes {
            state.forget(id);
        }
        drop(state);
        self.watches.wake(id);
        Ok(outcome)
    }

    async fn append(
        &self,
        more: MoreInputs,
        segments: Vec<InputSegment>,
        _now: Timestamp,
    ) -> StoreResult<Appended> {
        let job = more.job;
        let outcome = self.lock().append(more, segments);
        if matches!(outcome, Appended::Yes(..)) {
            self.watches.wake(job);
        }
        Ok(outcome)
    }

    async fn close(&self, id: JobId, now: Timestamp) -> StoreResult<Option<Job>> {
        Ok(self.change(id, |entry| {
            entry.job.open = false;
            entry.end_if_done(now);
            entry.job.clone()
        }))
    }

    async fn sweep(&self, retention: Retention, _: Timestamp) -> StoreResult<u64> {
        let swept = self.lock().sweep(retention);
        swept.iter().for_each(|id| self.watches.wake(*id));
        Ok(swept.len() as u64)
    }

    async fn free_results(&self, id: JobId, through: u64) -> StoreResult<Option<u64>> {
        Ok(self.change(id, |entry| {
            let last = |segment: &ResultSegment| segment.first_seq + segment.count - 1;
            let freed = entry.results.iter().map(last).filter(|seq| *seq <= through).max().unwrap_or(0);
            entry.freed_through = entry.freed_through.max(freed);
            entry.freed_through
        }))
    }

    async fn freed_through(&self, id: JobId) -> StoreResult<u64> {
        Ok(self.lock().jobs.get(&id).map_or(0, |entry| entry.freed_through))
    }

    async fn pause(&self, id: JobId) -> StoreResult<Option<Job>> {
        Ok(self.change(id, |entry| {
            if entry.job.state.is_runnable() {
                entry.job.state = JobState::Paused;
            }
            entry.job.clone()
        }))
    }

    async fn resume(&self, id: JobId) -> StoreResult<Option<(Job, u64)>> {
        Ok(self.change(id, |entry| {
            if entry.job.state == JobState::Paused {
                let started = entry.job.started_at.is_some();
                entry.job.state = if started { JobState::Running } else { JobState::Queued };
            }
            (entry.job.clone(), entry.unclaimed())
        }))
    }

    async fn fail_unleased(&self, id: JobId, error: Bytes, now: Timestamp) -> StoreResult<Receipt> {
        Ok(self.fenced(id, |entry| {
            let goes_on = !entry.job.state.is_final();
            entry.fail_queued(&error);
            entry.end_if_done(now);
            goes_on
        }))
    }

    async fn retry_failed(&self, id: JobId) -> StoreResult<Retried> {
        let outcome = self.change(id, |entry| {
            if !entry.job.state.is_final() {
                return Retried::NotEnded(entry.job.state);
            }
            let count = entry.retry_failed();
            Retried::Yes(Box::new(entry.job.clone()), count)
        });
        Ok(outcome.unwrap_or(Retried::Unknown))
    }

    async fn append_logs(&self, id: JobId, entries: Vec<LogEntry>) -> StoreResult<()> {
        self.change(id, |entry| entry.logs.append(entries));
        Ok(())
    }

    async fn logs(&self, id: JobId, filter: LogFilter) -> StoreResult<LogPage> {
        Ok(self.lock().jobs.get(&id).map(|entry| entry.logs.page(filter)).unwrap_or_default())
    }

    async fn callback(&self, id: JobId) -> StoreResult<Option<Callback>> {
        Ok(self.lock().jobs.get(&id).and_then(|entry| entry.callback.clone()))
    }

    async fn due_callbacks(&self, per_receiver: u32, now: Timestamp) -> StoreResult<DueCallbacks> {
        Ok(self.lock().due_callbacks(per_receiver, now))
    }

    async fn note_try_if_due(&self, made: CallbackTry) -> StoreResult<()> {
        self.change(made.job, |entry| entry.note_try(made));
        Ok(())
    }

    fn outbox(&self) -> Receiver<()> {
        self.watches.outbox()
    }
}
