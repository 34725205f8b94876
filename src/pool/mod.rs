//! The decisions of one node, pure: events in, commands out. Which job a worker serves next, how large its chunks
//! are, which workers to start and to end.
//!
//! Imports `model`. Deliberately absent: clocks (callers give `now`), randomness, input and output, payload bytes.
//! Every command is answered by an event, failures too.

pub mod blame;
mod chunking;
mod delays;
mod entry;
mod events;
mod jobs;
mod listing;
mod queues;
mod schedule;
#[cfg(test)]
mod tests;
mod workers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::{Blocked, JobId, LeaseId, WorkerName};
use chunking::CHUNK_TIME;
use entry::Stopped;
pub use entry::{JobBrief, Rules};
pub use events::{Command, Event};
use jobs::Jobs;
pub use workers::{Lease, Others, WorkerId, WorkerState};
use workers::{Turned, Worker, Workers};

/// Answers that wait to be durable are bounded by this many for each slot; then dispatch pauses.
const UNSETTLED_PER_SLOT: usize = 32;
/// A job begins soon only if no more than so many for each slot could do so.
const SOON_PER_SLOT: u32 = 16;
/// A function whose worker failed to start is tried again after this long, then twice as long …
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
/// … and so on, up to 25.6 s.
const MOST_DOUBLINGS: u32 = 8;

/// The state of one node's decisions.
#[derive(Debug)]
pub struct Pool {
    slots: u32,
    draining: bool,
    jobs: Jobs,
    workers: Workers,
    /// The functions whose last worker failed to start.
    failed_starts: BTreeMap<String, FailedStarts>,
    /// Answers sent to the store that it has not answered.
    unsettled: usize,
    /// How many slots the jobs leave free …
    room: u32,
    /// … which these could not use.
    blocked: Blocked,
    commands: Vec<Command>,
}

#[derive(Debug)]
struct FailedStarts {
    in_a_row: u32,
    /// When it may be tried again, unless that time has come.
    again_at: Option<Instant>,
}

impl Pool {
    /// A pool of so many slots that knows no jobs; it asks for them first.
    pub fn new(slots: u32) -> Self {
        Self {
            slots,
            draining: false,
            jobs: Jobs::default(),
            workers: Workers::default(),
            failed_starts: BTreeMap::new(),
            unsettled: 0,
            room: slots,
            blocked: Blocked::default(),
            commands: Vec::new(),
        }
    }

    /// How many slots there are.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Whether a further job would begin at once, or soon: all that could run takes no longer than one chunk of each slot, if
    /// its tasks are as short as those before.
    pub fn has_room(&self) -> bool {
        let waiting = self.jobs.that_could_work();
        let is_short = |took: Duration| took * waiting <= CHUNK_TIME * self.slots;
        let soon = waiting <= SOON_PER_SLOT * self.slots && self.workers.longest().is_some_and(is_short);
        (self.room > 0 || soon) && !self.draining
    }

    /// Whether no worker is left.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// The workers by identity, with their names and what they do.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, WorkerName, &str, &WorkerState)> {
        self.workers.iter().map(|(id, worker)| (*id, worker.name, worker.function.as_str(), &worker.state))
    }

    /// Whether the pool knows this job.
    pub fn knows(&self, job: JobId) -> bool {
        self.jobs.get(job).is_some()
    }

    /// What else is under way of a job besides the next `count` tasks of it that a worker has.
    pub fn others_under_way(&self, worker: WorkerId, job: JobId, count: u32) -> Others {
        let Some(entry) = self.jobs.get(job) else { return Others::None };
        let at_it = self.workers.get(worker).filter(|worker| worker.job() == Some(job));
        if entry.brief.unclaimed > 0 || !entry.held.is_empty() {
            Others::Unstarted
        } else if entry.busy > u32::from(at_it.is_some())
            || at_it.is_some_and(|worker| worker.has_more_than(count))
        {
            Others::AtWork
        } else {
            Others::None
        }
    }

    /// The function of a job that the pool knows.
    pub fn function_of(&self, job: JobId) -> Option<String> {
        self.jobs.get(job).map(|entry| entry.brief.function.clone())
    }

    /// When [`Event::Tick`] is wanted next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let starts = self.failed_starts.values().filter_map(|failed| failed.again_at).min();
        starts.into_iter().chain(self.jobs.next_due()).min()
    }

    /// The functions whose workers fail to start: how often in a row, and when it is tried again.
    pub fn failed_starts(&self) -> impl Iterator<Item = (&str, u32, Option<Instant>)> {
        self.failed_starts
            .iter()
            .map(|(function, failed)| (function.as_str(), failed.in_a_row, failed.again_at))
    }

    /// Takes in what happened and gives what is to be done.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Command> {
        self.apply(event, now);
        self.schedule(now);
        std::mem::take(&mut self.commands)
    }

    fn apply(&mut self, event: Event, now: Instant) {
        match event {
            Event::Job(job) => self.told_of(job),
            Event::Listed { jobs, more } => {
                self.jobs.listed(jobs.last().map(|job| (job.priority, job.id)), more);
                jobs.into_iter().for_each(|job| self.jobs.add(job));
            }
            Event::Claimed { job, leases, unclaimed, later, ended } => {
                self.claimed(job, leases, unclaimed, ended);
                if let Some(later) = later {
                    self.jobs.delay(job, now + later);
                }
            }
            Event::Ready(id) => self.ready(id),
            Event::Answered { worker, count, elapsed } => self.answered(worker, count, elapsed),
            Event::Returned { worker, lease, count } => {
                self.returned(worker, lease, count);
            }
            Event::Gone { worker, settled, failed_start } => {
                if let Some(worker) = self.gone(worker, &settled)
                    && failed_start
                {
                    self.failed_start(&worker.function, now);
                }
            }
            Event::Settled { job, requeued, delay, ended } => {
                self.settled(job, if delay.is_zero() { requeued } else { 0 }, ended);
                if requeued > 0 && !ended && !delay.is_zero() {
                    self.jobs.delay(job, now + delay);
                }
                if requeued > 0 && !ended {
                    self.fail_again(job);
                }
            }
            Event::Cancelled(job) => self.cancelled(job),
            Event::Paused(job) => {
                let held = self.jobs.stop(job, Stopped::Paused);
                held.into_iter().for_each(|lease| self.release(lease, job));
            }
            Event::Resize(slots) => self.slots = slots,
            Event::End(id) => self.stop(id),
            Event::Retire(id) => self.retire(id),
            Event::Changed { function, rules } => self.changed(&function, rules),
            Event::Drain => self.drain(),
            Event::Interrupt => {
                self.drain();
                self.workers.ids().into_iter().for_each(|id| self.stop(id));
            }
            Event::Tick => {
                self.jobs.wake_due(now);
                for failed in self.failed_starts.values_mut() {
                    failed.again_at.take_if(|at| *at <= now);
                }
            }
        }
    }

    /// Takes in a job that someone tells of, if there is room for it, or slots that nobody else can use.
    fn told_of(&mut self, mut job: JobBrief) {
        let (id, leased) = (job.id, job.leased.take());
        let is_wanted = || self.room > 0 && !self.blocked.holds_back(&job.function, job.lock.as_ref());
        if self.knows(id) || is_wanted() || self.jobs.make_room(job.priority) {
            self.jobs.add(job);
        } else {
            self.jobs.refuse(id);
        }
        self.keep(id, leased);
    }

    fn claimed(&mut self, job: JobId, leases: Vec<Lease>, unclaimed: u64, ended: bool) {
        let unclaimed = self.jobs.claimed(job, if leases.is_empty() { 0 } else { unclaimed });
        let entry = self.jobs.get(job);
        if unclaimed == Some(0) && (ended || entry.is_some_and(|entry| entry.ended)) {
            self.end_job(job);
        }
        self.keep(job, leases);
    }

    /// Keeps leases for its workers, unless no more of the job is to run here.
    fn keep(&mut self, job: JobId, leases: impl IntoIterator<Item = Lease>) {
        let wanted = self.jobs.get(job).is_some_and(|entry| entry.stopped.is_none() && !entry.ended);
        if wanted && !self.draining {
            self.jobs.hold(job, leases);
        } else {
            leases.into_iter().for_each(|lease| self.release(lease, job));
        }
    }

    fn ready(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        if worker.state == WorkerState::Starting {
            worker.state = WorkerState::Idle;
        }
    }

    fn answered(&mut self, id: WorkerId, count: u32, elapsed: Duration) {
        self.unsettled += 1;
        let Some(worker) = self.workers.get_mut(id) else { return };
        let Some(turned) = worker.answered(count, elapsed) else { return };
        if !self.failed_starts.is_empty() {
            self.failed_starts.remove(&worker.function);
        }
        self.jobs.observe(turned.from, count, elapsed);
        self.turned(id, turned);
    }

    fn returned(&mut self, id: WorkerId, lease: LeaseId, count: u32) {
        self.unsettled += 1;
        let Some(worker) = self.workers.get_mut(id) else { return };
        if let Some(job) = worker.give_back(lease) {
            self.jobs.writes(job, 1);
            self.jobs.give_back(job);
        } else if let Some(turned) = worker.returned(lease, count) {
            self.turned(id, turned);
        }
    }

    /// A write about a worker's job is on its way, after which the worker may be at another one.
    fn turned(&mut self, id: WorkerId, Turned { from, left, to }: Turned) {
        self.jobs.writes(from, 1);
        if left {
            self.jobs.leave(from);
        }
        if to.is_some_and(|job| self.jobs.take_up(job)) {
            self.stop(id);
        }
    }

    fn gone(&mut self, id: WorkerId, settled: &[LeaseId]) -> Option<Worker> {
        let worker = self.workers.remove(id)?;
        self.unsettled += settled.len();
        let next = worker.next().map(|(job, lease)| (job, lease, settled.contains(&lease.id)));
        if let Some((job, lease, is_settled)) = next {
            self.jobs.give_back(job);
            if is_settled { self.jobs.writes(job, 1) } else { self.release(lease, job) }
        }
        if let WorkerState::Busy { job, leases } | WorkerState::Ending { last: Some((job, leases)) } =
            &worker.state
        {
            let next_too = next.is_some_and(|(.., is_settled)| is_settled);
            self.jobs.writes(*job, settled.len() - usize::from(next_too));
            self.jobs.leave(*job);
            for lease in leases.iter().filter(|lease| !settled.contains(&lease.id)) {
                self.release(*lease, *job);
            }
        }
        Some(worker)
    }

    fn failed_start(&mut self, function: &str, now: Instant) {
        let failures = self.failed_starts.get(function).map_or(0, |failed| failed.in_a_row);
        let again_at = now + FIRST_BACK_OFF * 2_u32.pow(failures.min(MOST_DOUBLINGS));
        let failed = FailedStarts { in_a_row: failures + 1, again_at: Some(again_at) };
        self.failed_starts.insert(function.to_owned(), failed);
        self.give_up(function, failures + 1);
    }

    /// Fails the jobs of a function whose workers have failed to start too often, unless some of them work.
    fn give_up(&mut self, function: &str, failures: u32) {
        let works = |worker: &Worker| {
            worker.function == function
                && matches!(worker.state, WorkerState::Idle | WorkerState::Busy { .. })
        };
        if self.workers.iter().any(|(_, worker)| works(worker)) {
            return;
        }
        for job in self.jobs.of_function(function) {
            let most = self.jobs.get(job).map_or(u32::MAX, |entry| entry.brief.rules.max_failed_starts);
            if failures >= most {
                let held = self.jobs.stop(job, Stopped::Failing);
                held.into_iter().for_each(|lease| self.release(lease, job));
                self.fail(job);
            }
        }
    }

    fn fail(&mut self, job: JobId) {
        self.unsettled += 1;
        self.jobs.writes(job, 1);
        self.commands.push(Command::Fail { job });
    }

    /// What came back to the queue of a job that fails is to fail as well.
    fn fail_again(&mut self, job: JobId) {
        if self.jobs.get(job).is_some_and(|entry| entry.stopped == Some(Stopped::Failing)) {
            self.fail(job);
        }
    }

    fn retire(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.retired = true;
        }
    }

    fn changed(&mut self, function: &str, rules: Rules) {
        self.failed_starts.remove(function);
        for job in self.jobs.of_function(function) {
            if let Some(entry) = self.jobs.get_mut(job) {
                entry.brief.rules = rules;
            }
        }
        for id in self.workers.ids() {
            if self.workers.get(id).is_some_and(|worker| worker.function == function) {
                self.retire(id);
            }
        }
    }

    fn settled(&mut self, job: JobId, requeued: u32, ended: bool) {
        self.unsettled = self.unsettled.saturating_sub(1);
        self.jobs.written(job);
        if ended { self.end_job(job) } else { self.jobs.requeued(job, requeued) }
    }

    /// Leases of a job that has ended do not hold; they are given back for their payload.
    fn end_job(&mut self, job: JobId) {
        let held = self.jobs.end(job);
        held.into_iter().for_each(|lease| self.release(lease, job));
    }

    fn cancelled(&mut self, job: JobId) {
        let held = self.jobs.stop(job, Stopped::Cancelled);
        held.into_iter().for_each(|lease| self.release(lease, job));
        self.workers.serving(job).into_iter().for_each(|id| self.stop(id));
    }

    fn drain(&mut self) {
        self.draining = true;
        for (job, lease) in self.jobs.take_held() {
            self.release(lease, job);
        }
    }

    fn release(&mut self, lease: Lease, job: JobId) {
        self.unsettled += 1;
        self.jobs.writes(job, 1);
        self.commands.push(Command::Release { lease, job });
    }

    fn stop(&mut self, id: WorkerId) {
        if self.workers.get_mut(id).is_some_and(Worker::end) {
            self.commands.push(Command::Stop(id));
        }
    }
}
