//! All that the reference model holds: the jobs, what is staged for others, and the keys.

use std::collections::{BTreeMap, HashMap};

use super::entry::{Entry, Task, TaskState};
use crate::model::segment::lines;
use crate::model::{Blocked, Epoch, InputSegment, JobId, JobState, Timestamp};
use crate::store::counts::TaskCounts;
use crate::store::{
    Appended, Counts, DueCallbacks, IdempotencyKey, MoreInputs, NewJob, QueueLimits, Retention, RunnableJob,
    Submitted,
};

#[derive(Debug)]
pub(super) struct State {
    pub(super) epoch: Epoch,
    pub(super) leases: u64,
    pub(super) staged: HashMap<JobId, Vec<InputSegment>>,
    pub(super) jobs: BTreeMap<JobId, Entry>,
    /// What was counted of jobs that are gone.
    pub(super) gone: BTreeMap<String, TaskCounts>,
    pub(super) keys: HashMap<String, (JobId, [u8; 32])>,
}

impl State {
    /// An empty store's, in the first epoch.
    pub(super) fn new() -> Self {
        let (staged, jobs, gone, keys) = (HashMap::new(), BTreeMap::new(), BTreeMap::new(), HashMap::new());
        Self { epoch: Epoch(1), leases: 0, staged, jobs, gone, keys }
    }

    /// A new epoch, in which no lease holds.
    pub(super) fn restart(&mut self, now: Timestamp) {
        self.epoch.0 += 1;
        self.staged.clear();
        self.gone.clear();
        for entry in self.jobs.values_mut() {
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

    pub(super) fn submit(&mut self, job: NewJob, segments: Vec<InputSegment>, now: Timestamp) -> Submitted {
        if let Some(known) = job.key.as_ref().and_then(|key| self.known_key(key)) {
            self.staged.remove(&job.id);
            return known;
        }
        let mut all = self.staged.remove(&job.id).unwrap_or_default();
        all.extend(segments);
        let inputs = all.iter().flat_map(|segment| lines(&segment.lines)).map(<[u8]>::to_vec).collect();
        let bytes: u64 = all.iter().map(|segment| segment.lines.len() as u64).sum();
        let queued = self.queued();
        if queued.tasks + job.total > job.limits.tasks || queued.bytes + bytes > job.limits.bytes {
            return Submitted::QueueFull(queued);
        }
        if let Some(IdempotencyKey { key, fingerprint }) = job.key.clone() {
            self.keys.insert(key, (job.id, fingerprint));
        }
        let entry = Entry::new(job, inputs, now);
        let accepted = entry.job.clone();
        self.jobs.insert(accepted.id, entry);
        Submitted::New(accepted)
    }

    pub(super) fn append(&mut self, more: MoreInputs, segments: Vec<InputSegment>) -> Appended {
        if !self.jobs.contains_key(&more.job) {
            return Appended::Unknown;
        }
        match more.key.as_ref().and_then(|key| self.known_key(key)) {
            Some(Submitted::Same(job)) => return Appended::Same(job),
            Some(_) => return Appended::Other,
            None => {}
        }
        let mut all = self.staged.remove(&more.staged).unwrap_or_default();
        all.extend(segments);
        let bytes: u64 = all.iter().map(|segment| segment.lines.len() as u64).sum();
        let queued = self.queued();
        let Some(entry) = self.jobs.get_mut(&more.job) else { return Appended::Unknown };
        let ending = entry.job.state.is_final() || entry.job.state == JobState::Cancelling;
        if !entry.job.open || ending {
            return Appended::Closed;
        }
        if queued.tasks + more.total > more.limits.tasks || queued.bytes + bytes > more.limits.bytes {
            return Appended::QueueFull(queued);
        }
        let queued = TaskState::Queued { attempt: 1, alone: false, not_before: 0 };
        let inputs = all.iter().flat_map(|segment| lines(&segment.lines));
        entry.tasks.extend(inputs.map(|input| Task { input: input.to_vec(), state: queued }));
        entry.job.tally.total += more.total;
        let (job, unclaimed) = (entry.job.clone(), entry.unclaimed());
        if let Some(IdempotencyKey { key, fingerprint }) = more.key {
            self.keys.insert(key, (more.job, fingerprint));
        }
        Appended::Yes(job, unclaimed)
    }

    /// Jobs with tasks to claim, by priority and then age, behind `after`.
    pub(super) fn runnable(
        &self,
        after: Option<(i32, JobId)>,
        without: &Blocked,
        limit: u32,
    ) -> Vec<RunnableJob> {
        let is_wanted = |entry: &&Entry| {
            let spec = &entry.job.spec;
            entry.job.state.is_runnable()
                && entry.unclaimed() > 0
                && !without.holds_back(&spec.function, spec.options.lock.as_ref())
        };
        let mut found: Vec<&Entry> = self.jobs.values().filter(is_wanted).collect();
        let key = |priority: i32, id: JobId| (-i64::from(priority), id);
        let key_of = |entry: &Entry| key(entry.job.spec.options.priority, entry.job.id);
        found.sort_by_key(|entry| key_of(entry));
        let behind =
            found.into_iter().filter(|e| after.is_none_or(|(priority, id)| key_of(e) > key(priority, id)));
        let brief = |entry: &Entry| RunnableJob::new(&entry.job, entry.unclaimed());
        behind.take(limit as usize).map(brief).collect()
    }

    pub(super) fn due_callbacks(&self, per_receiver: u32, now: Timestamp) -> DueCallbacks {
        let mut due: Vec<_> = self.jobs.values().filter_map(|entry| entry.due_callback(now)).collect();
        due.sort_by_key(|callback| (callback.due_at, callback.job));
        let mut counts = HashMap::new();
        due.retain(|callback| {
            let count = counts.entry(callback.receiver.clone()).or_insert(0);
            *count += 1;
            *count <= per_receiver
        });
        let later = self.jobs.values().filter_map(|entry| entry.callback.as_ref()?.next_at);
        let next_at = later.filter(|at| *at > now).min();
        DueCallbacks { due, next_at }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts { tasks: self.gone.clone(), ..Counts::default() };
        for Entry { job, not_run, callback, .. } in self.jobs.values() {
            *counts.jobs.entry(job.state).or_default() += 1;
            let tasks = counts.tasks.entry(job.spec.function.clone()).or_default();
            tasks.unfinished += job.tally.total - job.tally.done();
            tasks.cancelled += not_run.cancelled;
            tasks.not_run += not_run.not_run;
            counts.callbacks +=
                u64::from(callback.as_ref().is_some_and(|callback| callback.next_at.is_some()));
        }
        counts.tasks.retain(|_, tasks| *tasks != TaskCounts::default());
        counts
    }

    pub(super) fn forget(&mut self, id: JobId) {
        let Some(entry) = self.jobs.remove(&id) else { return };
        let counts = self.gone.entry(entry.job.spec.function).or_default();
        counts.cancelled += entry.not_run.cancelled;
        counts.not_run += entry.not_run.not_run;
    }

    /// Forgets jobs that have ended and are not to be kept; gives which.
    pub(super) fn sweep(&mut self, retention: Retention) -> Vec<JobId> {
        let mut ended: Vec<(Timestamp, JobId)> =
            self.jobs.values().filter_map(|entry| Some((entry.job.finished_at?, entry.job.id))).collect();
        ended.sort_unstable_by(|a, b| b.cmp(a));
        let kept =
            |at: usize, ended: Timestamp| ended >= retention.ended_since && (at as u64) < retention.count;
        let swept: Vec<JobId> = ended
            .iter()
            .enumerate()
            .filter(|(at, (ended, _))| !kept(*at, *ended))
            .map(|(_, (_, id))| *id)
            .collect();
        swept.iter().for_each(|id| self.forget(*id));
        swept
    }

    fn queued(&self) -> QueueLimits {
        let active = || self.jobs.values().filter(|entry| !entry.job.state.is_final());
        // A line has its input and its end.
        let bytes = |entry: &Entry| entry.tasks.iter().map(|task| task.input.len() as u64 + 1).sum::<u64>();
        QueueLimits {
            tasks: active().map(|entry| entry.job.tally.total - entry.job.tally.done()).sum(),
            bytes: active().map(bytes).sum(),
        }
    }

    fn known_key(&self, key: &IdempotencyKey) -> Option<Submitted> {
        let (id, fingerprint) = *self.keys.get(&key.key)?;
        if fingerprint != key.fingerprint {
            return Some(Submitted::Other);
        }
        Some(self.jobs.get(&id).map_or(Submitted::Gone(id), |entry| Submitted::Same(entry.job.clone())))
    }
}
