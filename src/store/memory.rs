//! The reference model: a store in memory, naive and obviously right, a value for each task.
//!
//! What every other store must do alike. Deliberately absent: durability (a restart is a method), and speed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch::Receiver;

use super::callbacks::receiver_of;
use super::counts::TaskCounts;
use super::watch::Watches;
use super::{
    Appended, Callback, CallbackState, CallbackTry, ChangeWatch, Chunk, Claim, Claimed, Completion, Counts,
    Deleted, DueCallback, DueCallbacks, IdempotencyKey, Intake, JobFilter, JobWatch, LogEntry, LogFilter,
    LogPage, MAX_LOG_BYTES, MoreInputs, NewJob, Order, QueueLimits, Receipt, Release, Requeue, Retention,
    Retried, Run, RunnableJob, Store, StoreResult, Submitted, TryOutcome,
};
use crate::model::job::WorkerShare;
use crate::model::segment::{ResultBody, Used, lines};
use crate::model::{
    Epoch, Histogram, InputSegment, Job, JobId, JobState, LeaseId, OnError, ResultSegment, Tally, Timestamp,
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
    /// What was counted of jobs that are gone.
    gone: BTreeMap<String, TaskCounts>,
    keys: HashMap<String, (JobId, [u8; 32])>,
}

impl State {
    fn queued(&self) -> QueueLimits {
        let active = || self.jobs.values().filter(|entry| !entry.job.state.is_final());
        // A line has its input and its end.
        let bytes = |entry: &Entry| entry.tasks.iter().map(|task| task.input.len() as u64 + 1).sum::<u64>();
        QueueLimits {
            tasks: active().map(|entry| entry.job.tally.total - entry.job.tally.done()).sum(),
            bytes: active().map(bytes).sum(),
        }
    }

    fn forget(&mut self, id: JobId) {
        let Some(entry) = self.jobs.remove(&id) else { return };
        let counts = self.gone.entry(entry.job.spec.function).or_default();
        counts.cancelled += entry.not_run.cancelled;
        counts.not_run += entry.not_run.not_run;
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts { tasks: self.gone.clone(), ..Counts::default() };
        for Entry { job, not_run, .. } in self.jobs.values() {
            *counts.jobs.entry(job.state).or_default() += 1;
            let tasks = counts.tasks.entry(job.spec.function.clone()).or_default();
            tasks.unfinished += job.tally.total - job.tally.done();
            tasks.cancelled += not_run.cancelled;
            tasks.not_run += not_run.not_run;
        }
        counts.tasks.retain(|_, tasks| *tasks != TaskCounts::default());
        counts
    }

    fn known_key(&self, key: &IdempotencyKey) -> Option<Submitted> {
        let (id, fingerprint) = *self.keys.get(&key.key)?;
        if fingerprint != key.fingerprint {
            return Some(Submitted::Other);
        }
        Some(self.jobs.get(&id).map_or(Submitted::Gone(id), |entry| Submitted::Same(entry.job.clone())))
    }
}

#[derive(Debug)]
struct Entry {
    job: Job,
    /// Its inputs come over a connection, which a restart cuts.
    is_streamed: bool,
    tasks: Vec<Task>,
    /// In the order of their completion: `seq` is the place, counted from 1.
    results: Vec<ResultSegment>,
    /// The seqs of results whose tasks have been run again since.
    superseded: BTreeSet<u64>,
    /// Results up to this seq are gone.
    freed_through: u64,
    logs: Logs,
    /// How often it has ended.
    ends: u32,
    /// What became of telling its last end.
    callback: Option<Callback>,
    /// How many of its tasks have an outcome since the start without having run.
    not_run: TaskCounts,
}

#[derive(Debug)]
struct Task {
    input: Vec<u8>,
    state: TaskState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TaskState {
    /// Not to be leased before this time, in microseconds.
    Queued {
        attempt: u32,
        alone: bool,
        not_before: i64,
    },
    Leased {
        lease: LeaseId,
        attempt: u32,
    },
    Done,
}

impl MemoryStore {
    /// An empty store, in its first epoch.
    pub fn new(node: &str) -> Self {
        let (staged, jobs, gone, keys) = (HashMap::new(), BTreeMap::new(), BTreeMap::new(), HashMap::new());
        let state = Mutex::new(State { epoch: Epoch(1), leases: 0, staged, jobs, gone, keys });
        Self { node: node.to_owned(), state, watches: Watches::default() }
    }

    /// What a restart of the node does: a new epoch, in which no lease holds.
    pub fn restart(&self, now: Timestamp) {
        let mut state = self.lock();
        state.epoch.0 += 1;
        state.staged.clear();
        state.gone.clear();
        for entry in state.jobs.values_mut() {
            entry.not_run = TaskCounts::default();
            for task in &mut entry.tasks {
                if let TaskState::Leased { attempt, .. } = task.state {
                    task.state = TaskState::Queued { attempt, alone: attempt > 1, not_before: 0 };
                }
            }
            if entry.job.state == JobState::Cancelling {
                entry.cancel_queued();
            }
            entry.job.open &= !entry.is_streamed;
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
        self.watches.wake_outbox();
        answer
    }

    fn fenced(&self, id: JobId, change: impl FnOnce(&mut Entry) -> bool) -> Receipt {
        let outcome = self.change(id, |entry| (change(entry), entry.job.state));
        Receipt { held: outcome.is_some_and(|(held, _)| held), state: outcome.map(|(_, state)| state) }
    }
}

impl Entry {
    fn new(new: NewJob, inputs: Vec<Vec<u8>>, now: Timestamp) -> Self {
        let queued = TaskState::Queued { attempt: 1, alone: false, not_before: 0 };
        let tasks = inputs.into_iter().map(|input| Task { input, state: queued }).collect();
        let is_streamed = new.intake == Intake::Streamed;
        let job = Job {
            id: new.id,
            spec: new.spec,
            state: JobState::Queued,
            open: new.intake.is_open(),
            tally: Tally { total: new.total, ..Tally::default() },
            created_at: now,
            started_at: None,
            finished_at: None,
            cpu_ns: 0,
            task_times: Histogram::default(),
            workers: Vec::new(),
        };
        let (results, superseded, logs) = (Vec::new(), BTreeSet::new(), Logs::default());
        let (ends, callback, not_run) = (0, None, TaskCounts::default());
        let freed_through = 0;
        let mut entry = Self {
            job,
            is_streamed,
            tasks,
            results,
            superseded,
            freed_through,
            logs,
            ends,
            callback,
            not_run,
        };
        entry.end_if_done(now);
        entry
    }

    fn unclaimed(&self) -> u64 {
        self.tasks.iter().filter(|task| matches!(task.state, TaskState::Queued { .. })).count() as u64
    }

    fn waits_until(&self) -> impl Iterator<Item = i64> {
        self.tasks.iter().filter_map(|task| match task.state {
            TaskState::Queued { not_before, .. } => Some(not_before),
            TaskState::Leased { .. } | TaskState::Done => None,
        })
    }

    /// Leases the first queued task that is due, and those behind it that are as it is.
    fn lease(&mut self, lease: LeaseId, max_tasks: u32, now: Timestamp) -> Option<Chunk> {
        let is_due =
            |task: &Task| matches!(task.state, TaskState::Queued { not_before, .. } if not_before <= now.0);
        let first = self.tasks.iter().position(is_due)?;
        let state = self.tasks[first].state;
        let TaskState::Queued { attempt, alone, .. } = state else { return None };
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

    /// Cancels every task that is not leased or done.
    fn cancel_queued(&mut self) {
        self.job.state = JobState::Cancelling;
        for index in 0..self.tasks.len() {
            if let TaskState::Queued { .. } = self.tasks[index].state {
                self.tasks[index].state = TaskState::Done;
                self.job.tally.cancelled += 1;
                self.not_run.cancelled += 1;
                self.push_result(index as u64, 1, 0, ResultBody::Cancelled);
            }
        }
    }

    /// Fails every task that is not leased or done.
    fn fail_queued(&mut self, error: &Bytes) {
        for index in 0..self.tasks.len() {
            if let TaskState::Queued { .. } = self.tasks[index].state {
                self.tasks[index].state = TaskState::Done;
                self.job.tally.failed += 1;
                self.not_run.not_run += 1;
                self.push_result(index as u64, 1, 0, ResultBody::NotRun { error: error.clone() });
            }
        }
    }

    /// Queues the failed tasks once more; gives how many.
    fn retry_failed(&mut self) -> u64 {
        let all: Vec<ResultSegment> = self.results.iter().flat_map(singles).collect();
        let mut count = 0;
        let is_there =
            |single: &&ResultSegment| single.first_seq > self.freed_through && !single.failures().is_empty();
        for single in all.iter().filter(is_there) {
            if self.superseded.insert(single.first_seq) {
                count += 1;
                let attempt = single.attempt + 1;
                let queued = TaskState::Queued { attempt, alone: attempt > 1, not_before: 0 };
                self.tasks[single.first_index as usize].state = queued;
            }
        }
        self.job.tally.failed -= count;
        if count > 0 {
            (self.job.state, self.job.finished_at) = (JobState::Running, None);
            self.callback = self.callback.take().map(|_| waiting(None));
        }
        count
    }

    fn end_if_done(&mut self, now: Timestamp) {
        let takes_more = self.job.open && self.job.state != JobState::Cancelling;
        if !self.job.state.is_final() && self.job.tally.done() == self.job.tally.total && !takes_more {
            self.job.state = self.job.tally.final_state(self.job.spec.options.on_error);
            self.job.finished_at = Some(now);
            self.ends += 1;
            self.callback = self.job.spec.options.callback_url.as_ref().map(|_| waiting(Some(now)));
        }
    }

    fn due_callback(&self, now: Timestamp) -> Option<DueCallback> {
        let (url, callback) = (self.job.spec.options.callback_url.as_ref()?, self.callback.as_ref()?);
        let due_at = callback.next_at.filter(|at| *at <= now)?;
        let (job, receiver) = (self.job.id, receiver_of(url).to_owned());
        Some(DueCallback { job, end: self.ends, attempts: callback.attempts, receiver, due_at })
    }

    fn note_try(&mut self, made: CallbackTry) {
        let due = self.callback.as_mut().filter(|callback| callback.next_at.is_some());
        let Some(callback) = due.filter(|_| made.end == self.ends) else { return };
        let (state, error, next_at) = match made.outcome {
            TryOutcome::Delivered => (CallbackState::Delivered, None, None),
            TryOutcome::Again { error, at } => (CallbackState::Pending, Some(error), Some(at)),
            TryOutcome::GivenUp { error } => (CallbackState::Failed, Some(error), None),
        };
        let (attempts, last_error) = (callback.attempts + 1, error.or(callback.last_error.take()));
        *callback = Callback { state, attempts, last_error, next_at };
    }

    /// The results in this order, a segment each, as far as the order goes.
    fn in_order(&self, order: Order) -> Vec<ResultSegment> {
        let all = self.results.iter().flat_map(singles);
        let mut singles: Vec<ResultSegment> =
            all.filter(|single| single.first_seq > self.freed_through).collect();
        if order == Order::Failed {
            let failed = |single: &ResultSegment| !single.failures().is_empty();
            singles.retain(|single| failed(single) && !self.superseded.contains(&single.first_seq));
        }
        if order == Order::Input {
            singles.retain(|single| !self.superseded.contains(&single.first_seq));
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

/// A callback that has not been tried, to be tried at this time.
fn waiting(next_at: Option<Timestamp>) -> Callback {
    Callback { state: CallbackState::Pending, attempts: 0, last_error: None, next_at }
}

/// A segment, cut into segments of one.
fn singles(segment: &ResultSegment) -> Vec<ResultSegment> {
    (0..segment.count).map(|at| segment.part(at, 1)).collect()
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
        let mut state = self.lock();
        if let Some(known) = job.key.as_ref().and_then(|key| state.known_key(key)) {
            state.staged.remove(&job.id);
            return Ok(known);
        }
        let mut all = state.staged.remove(&job.id).unwrap_or_default();
        all.extend(segments);
        let inputs = all.iter().flat_map(|segment| lines(&segment.lines)).map(<[u8]>::to_vec).collect();
        let bytes: u64 = all.iter().map(|segment| segment.lines.len() as u64).sum();
        let queued = state.queued();
        if queued.tasks + job.total > job.limits.tasks || queued.bytes + bytes > job.limits.bytes {
            return Ok(Submitted::QueueFull(queued));
        }
        if let Some(IdempotencyKey { key, fingerprint }) = job.key.clone() {
            state.keys.insert(key, (job.id, fingerprint));
        }
        let notice = job.notice.clone();
        let entry = Entry::new(job, inputs, now);
        let accepted = entry.job.clone();
        let notice = notice.filter(|_| !accepted.state.is_final());
        state.jobs.insert(accepted.id, entry);
        self.watches.wake_outbox();
        drop(state);
        notice.iter().for_each(|notice| (notice.tell)(&accepted));
        self.watches.wake(accepted.id);
        Ok(Submitted::New(accepted))
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

    async fn runnable(&self, after: Option<(i32, JobId)>, limit: u32) -> StoreResult<Vec<RunnableJob>> {
        let state = self.lock();
        let mut found: Vec<&Entry> =
            state.jobs.values().filter(|entry| entry.job.state.is_runnable()).collect();
        let key = |priority: i32, id: JobId| (-i64::from(priority), id);
        let key_of = |entry: &Entry| key(entry.job.spec.options.priority, entry.job.id);
        found.sort_by_key(|entry| key_of(entry));
        let behind =
            found.into_iter().filter(|e| after.is_none_or(|(priority, id)| key_of(e) > key(priority, id)));
        let brief = |entry: &Entry| RunnableJob::new(&entry.job, entry.unclaimed());
        Ok(behind.take(limit as usize).map(brief).collect())
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
            let Some(chunk) = entry.lease(LeaseId(*leases), claim.max_tasks, now) else { break };
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

    async fn complete_if_leased(&self, done: Arc<Completion>, now: Timestamp) -> StoreResult<Receipt> {
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
        let mut state = self.lock();
        if !state.jobs.contains_key(&more.job) {
            return Ok(Appended::Unknown);
        }
        match more.key.as_ref().and_then(|key| state.known_key(key)) {
            Some(Submitted::Same(job)) => return Ok(Appended::Same(job)),
            Some(_) => return Ok(Appended::Other),
            None => {}
        }
        let mut all = state.staged.remove(&more.staged).unwrap_or_default();
        all.extend(segments);
        let bytes: u64 = all.iter().map(|segment| segment.lines.len() as u64).sum();
        let queued = state.queued();
        let Some(entry) = state.jobs.get_mut(&more.job) else { return Ok(Appended::Unknown) };
        let ending = entry.job.state.is_final() || entry.job.state == JobState::Cancelling;
        if !entry.job.open || ending {
            return Ok(Appended::Closed);
        }
        if queued.tasks + more.total > more.limits.tasks || queued.bytes + bytes > more.limits.bytes {
            return Ok(Appended::QueueFull(queued));
        }
        let queued = TaskState::Queued { attempt: 1, alone: false, not_before: 0 };
        let inputs = all.iter().flat_map(|segment| lines(&segment.lines));
        entry.tasks.extend(inputs.map(|input| Task { input: input.to_vec(), state: queued }));
        entry.job.tally.total += more.total;
        let (job, unclaimed) = (entry.job.clone(), entry.unclaimed());
        if let Some(IdempotencyKey { key, fingerprint }) = more.key {
            state.keys.insert(key, (more.job, fingerprint));
        }
        drop(state);
        self.watches.wake(more.job);
        Ok(Appended::Yes(job, unclaimed))
    }

    async fn close(&self, id: JobId, now: Timestamp) -> StoreResult<Option<Job>> {
        Ok(self.change(id, |entry| {
            entry.job.open = false;
            entry.end_if_done(now);
            entry.job.clone()
        }))
    }

    async fn sweep(&self, retention: Retention, _: Timestamp) -> StoreResult<u64> {
        let mut state = self.lock();
        let mut ended: Vec<(Timestamp, JobId)> =
            state.jobs.values().filter_map(|entry| Some((entry.job.finished_at?, entry.job.id))).collect();
        ended.sort_unstable_by(|a, b| b.cmp(a));
        let kept =
            |at: usize, ended: Timestamp| ended >= retention.ended_since && (at as u64) < retention.count;
        let swept: Vec<JobId> = ended
            .iter()
            .enumerate()
            .filter(|(at, (ended, _))| !kept(*at, *ended))
            .map(|(_, (_, id))| *id)
            .collect();
        swept.iter().for_each(|id| state.forget(*id));
        drop(state);
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
            entry.fail_queued(&error);
            entry.end_if_done(now);
            true
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
        let state = self.lock();
        let mut due: Vec<_> = state.jobs.values().filter_map(|entry| entry.due_callback(now)).collect();
        due.sort_by_key(|callback| (callback.due_at, callback.job));
        let mut counts = HashMap::new();
        due.retain(|callback| {
            let count = counts.entry(callback.receiver.clone()).or_insert(0);
            *count += 1;
            *count <= per_receiver
        });
        let later = state.jobs.values().filter_map(|entry| entry.callback.as_ref()?.next_at);
        let next_at = later.filter(|at| *at > now).min();
        Ok(DueCallbacks { due, next_at })
    }

    async fn note_try_if_due(&self, made: CallbackTry) -> StoreResult<()> {
        self.change(made.job, |entry| entry.note_try(made));
        Ok(())
    }

    fn outbox(&self) -> Receiver<()> {
        self.watches.outbox()
    }
}

/// What the tasks of a job printed.
#[derive(Debug, Default)]
struct Logs {
    entries: Vec<LogEntry>,
    next: u64,
    dropped_bytes: u64,
}

impl Logs {
    fn append(&mut self, entries: Vec<LogEntry>) {
        for entry in entries {
            self.next += 1;
            self.entries.push(LogEntry { seq: self.next, ..entry });
        }
        while self.entries.iter().map(|entry| entry.text.len() as u64).sum::<u64>() > MAX_LOG_BYTES {
            self.dropped_bytes += self.entries.remove(0).text.len() as u64;
        }
    }

    fn page(&self, filter: LogFilter) -> LogPage {
        let wanted = |entry: &&LogEntry| {
            entry.seq > filter.after && filter.index.is_none_or(|index| index == entry.index)
        };
        let entries = self.entries.iter().filter(wanted).take(filter.limit as usize).cloned().collect();
        LogPage { entries, dropped_bytes: self.dropped_bytes }
    }
}
