//! The reference model: a store in memory, naive and obviously right, a value for each task.
//!
//! What every other store must do alike. Deliberately absent: durability (a restart is a method), and speed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::watch::Watches;
use super::{
    Chunk, Claim, Claimed, Completion, Deleted, JobFilter, JobWatch, NewJob, Order, Receipt, Release,
    Requeue, RunnableJob, Store, StoreResult,
};
use crate::model::job::WorkerShare;
use crate::model::segment::{ResultBody, lines};
use crate::model::{
    Epoch, Histogram, InputSegment, Job, JobId, JobState, LeaseId, OnError, Outcomes, ResultSegment, Tally,
    Timestamp,
};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    node: String,
    state: Mutex<State>,
    watches: Watches,
}

#[derive(Debug)]
struct State {
    epoch: Epoch,
    leases: u64,
    staged: HashMap<JobId, Vec<InputSegment>>,
    jobs: BTreeMap<JobId, Entry>,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    tasks: Vec<Task>,
    /// In the order of their completion: `seq` is the place, counted from 1.
    results: Vec<ResultSegment>,
}

#[derive(Debug)]
struct Task {
    input: Vec<u8>,
    state: TaskState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TaskState {
    Queued { attempt: u32, alone: bool },
    Leased { lease: LeaseId, attempt: u32 },
    Done,
}

impl MemoryStore {
    /// An empty store, in its first epoch.
    pub fn new(node: &str) -> Self {
        let (staged, jobs) = (HashMap::new(), BTreeMap::new());
        let state = Mutex::new(State { epoch: Epoch(1), leases: 0, staged, jobs });
        Self { node: node.to_owned(), state, watches: Watches::default() }
    }

    /// What a restart of the node does: a new epoch, in which no lease holds.
    pub fn restart(&self, now: Timestamp) {
        let mut state = self.lock();
        state.epoch.0 += 1;
        state.staged.clear();
        for entry in state.jobs.values_mut() {
            for task in &mut entry.tasks {
                if let TaskState::Leased { attempt, .. } = task.state {
                    task.state = TaskState::Queued { attempt, alone: attempt > 1 };
                }
            }
            if entry.job.state == JobState::Cancelling {
                entry.cancel_queued();
            }
            entry.end_if_done(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to a job, and wakes those who watch it.
    fn change<T>(&self, id: JobId, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let answer = self.lock().jobs.get_mut(&id).map(change);
        self.watches.wake(id);
        answer
    }

    fn fenced(&self, id: JobId, change: impl FnOnce(&mut Entry) -> bool) -> Receipt {
        let outcome = self.change(id, |entry| (change(entry), entry.job.state));
        Receipt { held: outcome.is_some_and(|(held, _)| held), state: outcome.map(|(_, state)| state) }
    }
}

impl Entry {
    fn new(new: NewJob, inputs: Vec<Vec<u8>>, now: Timestamp) -> Self {
        let queued = TaskState::Queued { attempt: 1, alone: false };
        let tasks = inputs.into_iter().map(|input| Task { input, state: queued }).collect();
        let job = Job {
            id: new.id,
            spec: new.spec,
            state: JobState::Queued,
            tally: Tally { total: new.total, ..Tally::default() },
            created_at: now,
            started_at: None,
            finished_at: None,
            cpu_ns: 0,
            task_times: Histogram::default(),
            workers: Vec::new(),
        };
        let mut entry = Self { job, tasks, results: Vec::new() };
        entry.end_if_done(now);
        entry
    }

    fn unclaimed(&self) -> u64 {
        self.tasks.iter().filter(|task| matches!(task.state, TaskState::Queued { .. })).count() as u64
    }

    /// Leases the first queued task, and those behind it that are as it is.
    fn lease(&mut self, lease: LeaseId, max_tasks: u32) -> Option<Chunk> {
        let is_queued = |task: &Task| matches!(task.state, TaskState::Queued { .. });
        let first = self.tasks.iter().position(is_queued)?;
        let state = self.tasks[first].state;
        let TaskState::Queued { attempt, alone } = state else { return None };
        let most = if alone { 1 } else { max_tasks as usize };
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

    /// Some tasks of a lease, if it still holds them and they are its next or its last ones.
    fn held_at_either_end(&mut self, id: LeaseId, first: u64, count: u32) -> Option<&mut [Task]> {
        let holds = |task: &Task| matches!(task.state, TaskState::Leased { lease, .. } if lease == id);
        let range = first as usize..first as usize + count as usize;
        let begins = self.tasks.iter().position(holds) == Some(range.start);
        let ends = self.tasks.iter().rposition(holds) == Some(range.end - 1);
        self.tasks.get_mut(range).filter(|tasks| (begins || ends) && tasks.iter().all(holds))
    }

    /// The tasks that a lease still holds from `first` on, if `first` is the first of them and there are `count`.
    fn held(&mut self, id: LeaseId, first: u64, count: u32) -> Option<&mut [Task]> {
        let holds = |task: &Task| matches!(task.state, TaskState::Leased { lease, .. } if lease == id);
        let range = first as usize..first as usize + count as usize;
        let begins = self.tasks.iter().position(holds) == Some(first as usize);
        self.tasks.get_mut(range).filter(|tasks| begins && tasks.iter().all(holds))
    }

    fn push_result(&mut self, first_index: u64, count: u64, attempt: u32, body: ResultBody) {
        let first_seq = self.results.last().map_or(1, |last| last.first_seq + last.count);
        self.results.push(ResultSegment { first_seq, first_index, count, attempt, body });
    }

    fn complete(&mut self, done: Completion, node: &str, now: Timestamp) -> bool {
        let count = done.outcomes.count();
        let Some(tasks) = self.held(done.lease, done.first, count) else { return false };
        tasks.iter_mut().for_each(|task| task.state = TaskState::Done);
        let failed = u64::from(done.outcomes.failed());
        self.job.tally.failed += failed;
        self.job.tally.succeeded += u64::from(count) - failed;
        self.job.cpu_ns += done.cpu_ns;
        self.job.task_times.merge(&Histogram::of(done.outcomes.iter().map(|(ns, _)| ns)));
        self.note_worker(&done, node);
        let Completion { first, attempt, worker, pid, outcomes, lines, .. } = done;
        self.push_result(first, u64::from(count), attempt, ResultBody::Ran { worker, pid, outcomes, lines });
        if failed > 0 && self.job.spec.options.on_error == OnError::Stop && self.job.state.is_runnable() {
            self.cancel_queued();
        }
        self.end_if_done(now);
        true
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

    fn release(&mut self, release: Release, now: Timestamp) -> bool {
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
            task.state = TaskState::Queued { attempt, alone };
        }
        if cancelling {
            self.cancel_queued();
        }
        self.end_if_done(now);
        true
    }

    /// Cancels every task that is not leased or done.
    fn cancel_queued(&mut self) {
        self.job.state = JobState::Cancelling;
        for index in 0..self.tasks.len() {
            if let TaskState::Queued { .. } = self.tasks[index].state {
                self.tasks[index].state = TaskState::Done;
                self.job.tally.cancelled += 1;
                self.push_result(index as u64, 1, 0, ResultBody::Cancelled);
            }
        }
    }

    fn end_if_done(&mut self, now: Timestamp) {
        if !self.job.state.is_final() && self.job.tally.done() == self.job.tally.total {
            self.job.state = self.job.tally.final_state(self.job.spec.options.on_error);
            self.job.finished_at = Some(now);
        }
    }

    /// The results in this order, a segment each, as far as the order goes.
    fn in_order(&self, order: Order) -> Vec<ResultSegment> {
        let mut singles: Vec<ResultSegment> = self.results.iter().flat_map(singles).collect();
        if order == Order::Input {
            singles.sort_by_key(|single| single.first_index);
            let prefix =
                singles.iter().zip(0..).take_while(|(single, index)| single.first_index == *index).count();
            singles.truncate(prefix);
        }
        singles
    }

    fn matches(&self, filter: &JobFilter) -> bool {
        let spec = &self.job.spec;
        filter.state.is_none_or(|state| state == self.job.state)
            && filter.function.as_ref().is_none_or(|function| *function == spec.function)
            && filter.label.as_ref().is_none_or(|(key, value)| spec.labels.get(key) == Some(value))
    }
}

/// A segment, cut into segments of one.
fn singles(segment: &ResultSegment) -> Vec<ResultSegment> {
    let one = |at: u64, body| ResultSegment {
        first_seq: segment.first_seq + at,
        first_index: segment.first_index + at,
        count: 1,
        attempt: segment.attempt,
        body,
    };
    match &segment.body {
        ResultBody::Cancelled => (0..segment.count).map(|at| one(at, ResultBody::Cancelled)).collect(),
        ResultBody::Ran { worker, pid, outcomes: all, lines: block } => {
            let ran = |(at, ((ns, failed), line)): (u64, ((u64, bool), &[u8]))| {
                let mut outcomes = Outcomes::default();
                outcomes.push(ns, failed);
                let lines = [line, b"\n"].concat().into();
                one(at, ResultBody::Ran { worker: worker.clone(), pid: *pid, outcomes, lines })
            };
            (0..).zip(all.iter().zip(lines(block))).map(ran).collect()
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn epoch(&self) -> Epoch {
        self.lock().epoch
    }

    async fn stage(&self, job: JobId, segments: Vec<InputSegment>) -> StoreResult<()> {
        self.lock().staged.entry(job).or_default().extend(segments);
        Ok(())
    }

    async fn unstage(&self, job: JobId) -> StoreResult<()> {
        self.lock().staged.remove(&job);
        Ok(())
    }

    async fn submit(&self, job: NewJob, segments: Vec<InputSegment>, now: Timestamp) -> StoreResult<Job> {
        let mut state = self.lock();
        let mut all = state.staged.remove(&job.id).unwrap_or_default();
        all.extend(segments);
        let inputs = all.iter().flat_map(|segment| lines(&segment.lines)).map(<[u8]>::to_vec).collect();
        let entry = Entry::new(job, inputs, now);
        let accepted = entry.job.clone();
        state.jobs.insert(accepted.id, entry);
        Ok(accepted)
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
        Ok(results.into_iter().skip(after as usize).take(count).collect())
    }

    fn watch(&self, id: JobId) -> JobWatch {
        self.watches.watch(id)
    }

    async fn runnable(&self, after: Option<(i32, JobId)>, limit: u32) -> StoreResult<Vec<RunnableJob>> {
        let state = self.lock();
        let mut found: Vec<&Entry> =
            state.jobs.values().filter(|entry| entry.job.state.is_runnable()).collect();
        let key = |priority: i32, id: JobId| (-i64::from(priority), id);
        let key_of = |entry: &Entry| key(entry.job.spec.options.priority, entry.job.id);
        found.sort_by_key(|entry| key_of(entry));
        let behind =
            found.into_iter().filter(|e| after.is_none_or(|(priority, id)| key_of(e) > key(priority, id)));
        let brief = |entry: &Entry| {
            let (id, spec) = (entry.job.id, entry.job.spec.clone());
            RunnableJob { id, spec, unclaimed: entry.unclaimed() }
        };
        Ok(behind.take(limit as usize).map(brief).collect())
    }

    async fn claim(&self, claim: Claim, now: Timestamp) -> StoreResult<Claimed> {
        let mut state = self.lock();
        let State { leases, jobs, .. } = &mut *state;
        let Some(entry) = jobs.get_mut(&claim.job).filter(|entry| entry.job.state.is_runnable()) else {
            return Ok(Claimed::default());
        };
        let mut chunks = Vec::new();
        while chunks.len() < claim.chunks as usize {
            *leases += 1;
            let Some(chunk) = entry.lease(LeaseId(*leases), claim.max_tasks) else { break };
            chunks.push(chunk);
        }
        if !chunks.is_empty() {
            entry.job.state = JobState::Running;
            entry.job.started_at.get_or_insert(now);
        }
        let unclaimed = entry.unclaimed();
        drop(state);
        self.watches.wake(claim.job);
        Ok(Claimed { chunks, unclaimed })
    }

    async fn complete_if_leased(&self, done: Completion, now: Timestamp) -> StoreResult<Receipt> {
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
            state.jobs.remove(&id);
        }
        drop(state);
        self.watches.wake(id);
        Ok(outcome)
    }
}
