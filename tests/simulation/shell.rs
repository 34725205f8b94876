//! What the supervisor's loop does between the pool, the store and the workers, line by line as it does it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use gristmill::model::{JobId, JobState, LeaseId, TaskError, Verdict};
use gristmill::pool::{Command, Event, JobBrief, Lease, WorkerId};
use gristmill::store::{
    Chunk, Claim, Claimed, Receipt, Release, Requeue, RunnableJob, StoreError, StoreResult,
};

use crate::bugs::Bug;
use crate::child::Told;
use crate::disk::Write;
use crate::world::{Happening, World};

const LIST_JOBS: u32 = 1024;
const CLAIM_AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long a commit takes at most, and an answer that needs none.
const COMMIT: Duration = Duration::from_millis(3);
const ANSWER: Duration = Duration::from_micros(300);

#[derive(Debug)]
pub(crate) enum Answer {
    Listed(Vec<RunnableJob>),
    Claimed(JobId, StoreResult<Claimed>),
    Written(u64, Write, StoreResult<Receipt>),
}

/// What a worker must know of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_attempts: u32,
    pub(crate) retry_backoff: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Writes {
    count: u64,
    waiting: BTreeMap<u64, Write>,
    pub(crate) again_at: Option<Duration>,
}

impl Write {
    fn job(&self) -> JobId {
        match self {
            Self::Complete(done) => done.job,
            Self::Release(release) => release.job,
            Self::Fail(job, _) => *job,
        }
    }

    pub(crate) fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Complete(done) => Some(done.lease),
            Self::Release(release) => Some(release.lease),
            Self::Fail(..) => None,
        }
    }

    fn requeued(&self, held: bool) -> (u32, Duration) {
        match self {
            Self::Release(release) if held => (release.count, release.delay),
            Self::Release(release) => (release.count, Duration::ZERO),
            Self::Complete(done) if !held => (done.outcomes.count(), Duration::ZERO),
            Self::Complete(_) | Self::Fail(..) => (0, Duration::ZERO),
        }
    }
}

impl World {
    pub(crate) fn decide(&mut self, event: Event) {
        self.checks.event(&event, self.now);
        let Some(event) = self.altered(event) else { return };
        let twice = self.has(Bug::AnswerTwice) && matches!(event, Event::Answered { .. });
        let again = twice.then(|| event.clone());
        let mut events: VecDeque<Event> = [event].into_iter().chain(again).collect();
        while let Some(event) = events.pop_front() {
            self.trace(&event);
            for command in self.pool.handle(event, self.instant()) {
                self.execute(command);
            }
            if let Some(gone) = self.not_started.pop_front() {
                self.checks.event(&gone, self.now);
                events.push_back(gone);
            }
        }
    }

    /// The event as a bug has it.
    fn altered(&self, mut event: Event) -> Option<Event> {
        let Some(bug) = self.bug else { return Some(event) };
        match (&mut event, bug) {
            (Event::Settled { requeued: 1.., .. }, Bug::DropSettled)
            | (Event::Resize(_), Bug::IgnoreResize)
            | (Event::Retire(_), Bug::IgnoreRetire) => return None,
            (Event::Settled { requeued, .. }, Bug::LoseRequeued) => *requeued = 0,
            (Event::Settled { requeued, delay, .. }, Bug::ForgetLater) if !delay.is_zero() => *requeued = 0,
            (Event::Claimed { later, .. }, Bug::ForgetLater) => *later = None,
            (Event::Job(job), _) => alter(job, bug),
            (Event::Listed { jobs, .. }, _) => jobs.iter_mut().for_each(|job| alter(job, bug)),
            _ => {}
        }
        Some(event)
    }

    pub(crate) fn told_of(&mut self, job: RunnableJob) {
        let job = self.brief(job);
        self.decide(Event::Job(job));
    }

    fn brief(&mut self, job: RunnableJob) -> JobBrief {
        let RunnableJob { id, spec, unclaimed, leased, .. } = job;
        let max_attempts = if self.has(Bug::TryForever) { u32::MAX } else { spec.options.max_attempts };
        self.limits.insert(id, Limits { max_attempts, retry_backoff: spec.options.retry_backoff });
        let lease = leased.as_ref().map(lease_of);
        self.chunks.extend(leased.map(|chunk| (chunk.lease, chunk)));
        let (priority, processes) = (spec.options.priority, spec.options.processes);
        let rules = self.plan.function(&spec.function).rules;
        JobBrief {
            id,
            function: spec.function,
            priority,
            processes,
            chunk_size: spec.options.chunk_size,
            lock: spec.options.lock,
            rules,
            unclaimed,
            leased: lease,
        }
    }

    pub(crate) fn told(&mut self, worker: WorkerId, told: Told) {
        match told {
            Told::Ready => self.decide(Event::Ready(worker)),
            Told::Worn => self.decide(Event::Retire(worker)),
            Told::Answered(write, count, elapsed) => {
                self.write(write);
                self.decide(Event::Answered { worker, count, elapsed });
            }
            Told::Returned(release) => {
                let Release { lease, count, .. } = release;
                self.write(Write::Release(release));
                self.decide(Event::Returned { worker, lease, count });
            }
            Told::Gone(writes, failed_start) => {
                self.children.remove(&worker);
                let settled = writes.iter().filter_map(Write::lease).collect();
                writes.into_iter().for_each(|write| self.write(write));
                self.decide(Event::Gone { worker, settled, failed_start });
            }
        }
    }

    pub(crate) fn answer(&mut self, answer: Answer) {
        self.pending -= 1;
        match answer {
            Answer::Listed(jobs) => {
                let more = jobs.len() == LIST_JOBS as usize;
                let jobs = jobs.into_iter().map(|job| self.brief(job)).collect();
                self.decide(Event::Listed { jobs, more });
            }
            Answer::Claimed(job, claimed) => {
                let Claimed { chunks, unclaimed, later, ended } = match claimed {
                    Ok(claimed) => claimed,
                    Err(_) => Claimed { later: Some(CLAIM_AGAIN), ..Claimed::default() },
                };
                let leases = chunks.iter().map(lease_of).collect();
                self.chunks.extend(chunks.into_iter().map(|chunk| (chunk.lease, chunk)));
                self.decide(Event::Claimed { job, leases, unclaimed, later, ended });
            }
            Answer::Written(number, write, receipt) => self.written(number, write, receipt.ok()),
        }
    }

    fn execute(&mut self, command: Command) {
        self.trace(&command);
        self.checks.command(&command, &self.chunks, &self.plan, self.now);
        match command {
            Command::ListJobs { after, without } => {
                let jobs = self.disk.runnable(after, without, LIST_JOBS);
                self.store_answers(ANSWER, Answer::Listed(jobs));
            }
            Command::Forget(job) => drop(self.limits.remove(&job)),
            Command::Claim { job, chunks, max_tasks, backwards } => {
                self.claim(Claim { job, chunks, max_tasks, backwards });
            }
            Command::Spawn { worker, name, function } => self.spawn(worker, name, &function),
            Command::Send { worker, lease } => {
                let Some(chunk) = self.chunks.remove(&lease) else { return };
                let unknown = Limits { max_attempts: chunk.attempt, retry_backoff: Duration::ZERO };
                let limits = self.limits.get(&chunk.job).copied().unwrap_or(unknown);
                self.run_chunk(worker, chunk, limits);
            }
            Command::Release { lease, job } => {
                self.chunks.remove(&lease.id);
                let Lease { id, first, count, .. } = lease;
                let (how, delay) = (Requeue::AsBefore, Duration::ZERO);
                let release = Release { lease: id, job, first, count, how, delay };
                if !self.has(Bug::ForgetRelease) {
                    self.write(Write::Release(release));
                }
            }
            Command::Fail { .. } if self.has(Bug::NeverFail) => {}
            Command::Fail { job } => {
                let error = TaskError::new(Verdict::Crash, "no worker started");
                self.write(Write::Fail(job, error.to_line().into()));
            }
            Command::Finish(worker) => self.finish(worker),
            Command::Stop(_) if self.has(Bug::IgnoreStop) => {}
            Command::Stop(worker) => self.stop(worker),
        }
    }

    fn store_answers(&mut self, most: Duration, answer: Answer) {
        self.pending += 1;
        let after = self.random.time(most);
        self.later(after, Happening::Answer(answer));
    }

    fn claim(&mut self, claim: Claim) {
        let claimed = self.disk.claim(claim, self.timestamp());
        if let Ok(claimed) = &claimed {
            let undone = !self.plan.fair && self.random.percent(2);
            if undone {
                self.disk.undo(claimed, self.timestamp());
            }
            self.checks.claimed(claimed, undone);
        }
        self.store_answers(ANSWER, Answer::Claimed(claim.job, claimed));
    }

    fn write(&mut self, write: Write) {
        self.writes.count += 1;
        let number = self.writes.count;
        if self.writes.waiting.is_empty() {
            self.send_write(number, write);
        } else {
            self.writes.waiting.insert(number, write);
        }
    }

    pub(crate) fn write_again(&mut self) {
        let now = self.now;
        if self.writes.again_at.take_if(|at| *at <= now).is_some() {
            let mut writes: Vec<_> = std::mem::take(&mut self.writes.waiting).into_iter().collect();
            if self.has(Bug::WriteBackwards) {
                writes.reverse();
            }
            writes.into_iter().for_each(|(number, write)| self.send_write(number, write));
        }
    }

    fn send_write(&mut self, number: u64, write: Write) {
        let receipt = if self.disk.full && self.random.percent(60) {
            Err(StoreError::Full)
        } else {
            let receipt = self.disk.write(&write, self.timestamp());
            self.checks.wrote(&write, receipt);
            self.look_at(write.job(), receipt.state.is_some_and(JobState::is_final));
            Ok(receipt)
        };
        self.pending += 1;
        self.written_at = self.written_at.max(self.now + self.random.time(COMMIT));
        self.at(self.written_at, Happening::Answer(Answer::Written(number, write, receipt)));
    }

    /// What a client does that follows a job: it looks at its results, and may have what failed run again.
    fn look_at(&mut self, job: JobId, ended: bool) {
        if ended || self.random.percent(10) {
            self.checks.look(job, &self.disk, &self.plan);
        }
        if ended && self.random.percent(30) && self.checks.results.retries_of(job) < 2 {
            let after = self.random.time(COMMIT);
            self.later(after, Happening::Retry(job));
        }
    }

    fn written(&mut self, number: u64, write: Write, receipt: Option<Receipt>) {
        // While the disk is full.
        let Some(Receipt { held, state }) = receipt else { return self.wait(number, write) };
        let lease = write.lease();
        if !held && lease.is_some() && self.writes.waiting.values().any(|waiting| waiting.lease() == lease) {
            return self.wait(number, write);
        }
        let job = write.job();
        let ended = state.is_none_or(JobState::is_final);
        let (requeued, delay) = write.requeued(held);
        let requeued = if !held && self.has(Bug::ForgetVoid) { 0 } else { requeued };
        self.decide(Event::Settled { job, requeued, delay, ended });
        if state == Some(JobState::Cancelling) {
            self.decide(Event::Cancelled(job));
        }
    }

    fn wait(&mut self, number: u64, write: Write) {
        self.writes.waiting.insert(number, write);
        self.writes.again_at = Some(self.now + AGAIN_AFTER);
    }
}

/// A job as a bug has it.
fn alter(job: &mut JobBrief, bug: Bug) {
    match bug {
        Bug::IgnoreProcesses => job.processes = None,
        Bug::IgnoreLocks => job.lock = None,
        Bug::IgnoreWorkers => job.rules.workers = None,
        Bug::IgnoreMaxTasks => job.rules.max_tasks_per_worker = None,
        Bug::IgnorePriority => job.priority = 0,
        Bug::StarveSmall if job.unclaimed + u64::from(job.leased.is_some()) == 1 => job.priority = -1,
        _ => {}
    }
}

fn lease_of(chunk: &Chunk) -> Lease {
    Lease { id: chunk.lease, first: chunk.first, count: chunk.count, attempt: chunk.attempt }
}
