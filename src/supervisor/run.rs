//! The loop: takes what happened from every side, one at a time, and does what the pool decides.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use super::child::{self, Departure, Settlement};
use super::chunks::Chunks;
use super::handle::Ask;
use super::memory::Memory;
use super::news::News;
use super::writes::{Write, Writes};
use super::{LIST_JOBS, Member, QUEUE, Settings, Supervisor, TaskLimits, WorkerCommand, WorkerSelector};
use crate::model::{Job, JobId, JobOptions, Timestamp, WorkerName};
use crate::pool::{Event, JobBrief, Lease, Others, Pool, WorkerId, WorkerState};
use crate::store::{Chunk, Claimed, Haste, Receipt, Release, RunnableJob, Store, StoreError, StoreResult};
use crate::telemetry::{self, tell_sparingly};

/// How long after a claim found the disk full the next one is made.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);

/// What the store answers to the loop.
pub(super) enum Answer {
    Listed(StoreResult<Vec<RunnableJob>>),
    Claimed(JobId, StoreResult<Claimed>),
    Written {
        number: u64,
        write: Write,
        receipt: StoreResult<Receipt>,
    },
    /// What was printed is kept.
    Printed(StoreResult<()>),
    /// A job that has ended, as the log tells of it.
    Ended(StoreResult<Option<Box<Job>>>),
}

/// Questions that the store has not answered.
pub(super) type Pending = FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>;

impl Supervisor {
    pub(super) fn new(settings: Settings, store: Arc<dyn Store>, now: fn() -> Timestamp) -> Self {
        let (tell, told) = mpsc::channel(QUEUE);
        Self {
            pool: Pool::new(settings.slots),
            epoch: store.epoch(),
            settings,
            store,
            now,
            members: BTreeMap::new(),
            chunks: Chunks::default(),
            limits: BTreeMap::new(),
            start_failures: BTreeMap::new(),
            not_started: VecDeque::new(),
            writes: Writes::default(),
            news: News::new(),
            room: Arc::default(),
            roster: watch::Sender::default(),
            roster_is_old: true,
            memory: Memory::start(),
            pending: Pending::new(),
            tell,
            told,
        }
    }

    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut draining = false;
        self.decide(Event::Tick);
        while !(draining && self.pool.is_empty() && self.pending.is_empty()) {
            let deadline = self.pool.next_deadline().into_iter().chain(self.writes.next_deadline()).min();
            let outcome = tokio::select! {
                Some((worker, event)) = self.told.recv() => {
                    self.child_event(worker, event);
                    Ok(())
                }
                Some(answer) = self.pending.next() => self.answer(answer),
                Some(ask) = asks.recv() => {
                    draining |= matches!(ask, Ask::Drain | Ask::Interrupt);
                    self.ask(ask);
                    Ok(())
                }
                () = sleep_until(deadline) => {
                    self.write_again(Instant::now());
                    self.decide(Event::Tick);
                    Ok(())
                }
            };
            if let Err(error) = outcome {
                tracing::error!(%error, "the supervisor ends: the store does not answer");
                return;
            }
        }
        if self.writes.waiting() > 0 {
            let lost = self.writes.waiting();
            tracing::warn!(
                lost,
                "the disk is full: what these writes are about is run again after the next start"
            );
        }
    }

    pub(super) fn decide(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            for command in self.pool.handle(event, Instant::now()) {
                self.execute(command);
            }
            next = self.not_started.pop_front();
        }
        self.publish_roster();
        self.news.changed();
        self.room.store(self.pool.has_room() && !self.chunks.are_large(), Ordering::Relaxed);
        let pool = &self.pool;
        self.memory.set_at_work(|| pool.workers().any(|(.., state)| *state != WorkerState::Idle));
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Submitted(job) => {
                let job = self.brief(*job);
                self.decide(Event::Job(job));
            }
            Ask::Cancelled(job) => self.decide(Event::Cancelled(job)),
            Ask::Paused(job) => self.decide(Event::Paused(job)),
            // Whoever asked may have gone away; the same below.
            Ask::View(answer) => drop(answer.send(self.view())),
            Ask::Resize(slots, answer) => {
                self.settings.slots_reason = "set while running".into();
                self.roster_is_old = true;
                self.decide(Event::Resize(slots));
                drop(answer.send(self.view()));
            }
            Ask::End(selector, answer) => {
                let found = self.find(selector);
                found.into_iter().for_each(|worker| self.decide(Event::End(worker)));
                let _ = answer.send(found.is_some());
            }
            Ask::Functions(functions) => self.set_functions(functions),
            Ask::Drain => self.decide(Event::Drain),
            Ask::Interrupt => self.decide(Event::Interrupt),
        }
    }

    fn set_functions(&mut self, functions: BTreeMap<String, WorkerCommand>) {
        let before = std::mem::replace(&mut self.settings.functions, functions);
        for (function, old) in before {
            let new = self.settings.functions.get(&function);
            if new != Some(&old) {
                let rules = new.map_or(old.rules, |new| new.rules);
                self.start_failures.remove(&function);
                self.decide(Event::Changed { function, rules });
            }
        }
    }

    fn find(&self, selector: WorkerSelector) -> Option<WorkerId> {
        let is_it = |id: WorkerId, its_name: WorkerName| match selector {
            WorkerSelector::Name(name) => its_name == name,
            WorkerSelector::Pid(pid) => self.members.get(&id).is_some_and(|member| member.pid == Some(pid)),
        };
        self.pool.workers().find(|(id, name, ..)| is_it(*id, *name)).map(|(id, ..)| id)
    }

    /// What the pool must know of a job; what else is to be known of it is kept here.
    fn brief(&mut self, job: RunnableJob) -> JobBrief {
        let RunnableJob { id, spec, unclaimed, queued_since, leased } = job;
        let lease = leased.as_ref().map(lease_of);
        leased.into_iter().for_each(|chunk| self.chunks.add(chunk));
        let JobOptions { timeout, max_attempts, retry_backoff, trace, .. } = spec.options;
        self.limits.insert(id, TaskLimits { timeout, max_attempts, retry_backoff, trace, queued_since });
        let JobOptions { priority, processes, chunk_size, lock, .. } = spec.options;
        let rules =
            self.settings.functions.get(&spec.function).map(|command| command.rules).unwrap_or_default();
        let (function, leased) = (spec.function, lease);
        JobBrief { id, function, priority, processes, chunk_size, lock, rules, unclaimed, leased }
    }

    fn child_event(&mut self, worker: WorkerId, event: child::Event) {
        match event {
            child::Event::Started { pid, guard } => {
                if let Some(member) = self.members.get_mut(&worker) {
                    member.pid = Some(pid);
                    self.memory.started(worker, guard, member.child.clone());
                    self.roster_is_old = true;
                }
                self.news.changed();
            }
            child::Event::Ready => {
                if let Some(Member { name, function, pid, .. }) = self.members.get(&worker) {
                    let metrics = &self.settings.metrics;
                    metrics.of_function(function, |counts| counts.worker_starts += 1);
                    tell_sparingly!(metrics.worker_lines, worker = %name, function, pid, "worker started");
                }
                self.decide(Event::Ready(worker));
            }
            child::Event::Printed { job, entries } => {
                let store = self.store.clone();
                self.pending
                    .push(Box::pin(async move { Answer::Printed(store.append_logs(job, entries).await) }));
            }
            child::Event::Progress(progress) => {
                if let Some(member) = self.members.get_mut(&worker) {
                    member.progress = Some(progress);
                }
                self.news.changed();
            }
            child::Event::Worn => self.decide(Event::Retire(worker)),
            child::Event::Answered { settlement, count, elapsed, begun } => {
                let haste = self.haste(worker, settlement.job(), count);
                if let Some(member) = self.members.get_mut(&worker) {
                    member.since = Instant::now();
                    member.tasks += u64::from(count);
                    member.progress = None;
                    self.start_failures.remove(&member.function);
                    member.busy += elapsed;
                    let write = Write::new(settlement, haste, &member.function);
                    match begun {
                        Some(begun) => self.has_begun(write, begun),
                        None => self.write(write),
                    }
                }
                self.decide(Event::Answered { worker, count, elapsed });
            }
            child::Event::Returned { release } => {
                let Release { lease, count, .. } = release;
                self.write(Write::Release(release, None));
                self.decide(Event::Returned { worker, lease, count });
            }
            child::Event::Gone { settlements, failed_start, departure } => {
                self.gone(worker, settlements, failed_start, departure);
            }
        }
    }

    /// In which haste the outcomes of a worker's next tasks, of this job, are to be durable.
    fn haste(&self, worker: WorkerId, job: JobId, count: u32) -> Haste {
        match self.pool.others_under_way(worker, job, count) {
            Others::None => Haste::Now,
            Others::AtWork => Haste::Soon,
            Others::Unstarted => Haste::Patient,
        }
    }

    fn gone(
        &mut self,
        worker: WorkerId,
        settlements: Vec<Settlement>,
        failed_start: Option<String>,
        departure: Departure,
    ) {
        self.memory.gone(worker);
        self.roster_is_old = true;
        let failed = failed_start.is_some();
        let settled = settlements.iter().map(Settlement::lease).collect();
        // A worker that has told of its end is told of no more.
        if let Some(Member { name, function, pid, tasks, .. }) = self.members.remove(&worker) {
            let metrics = &self.settings.metrics;
            metrics.of_function(&function, |counts| {
                counts.ended_cpu += departure.cpu;
                *counts.worker_ends.entry(departure.why).or_default() += 1;
            });
            let (reason, cpu_ms) = (departure.why.as_str(), telemetry::ms(departure.cpu));
            tell_sparingly!(
                metrics.worker_lines,
                worker = %name,
                function,
                pid,
                reason,
                tasks,
                cpu_ms,
                "worker ended"
            );
            for settlement in settlements {
                self.write(Write::new(settlement, Haste::Soon, &function));
            }
            if let Some(why) = failed_start {
                tracing::warn!(worker = %name, function, pid, why, "a worker did not start");
                self.start_failures.insert(function, why);
            }
        }
        self.decide(Event::Gone { worker, settled, failed_start: failed });
    }

    fn answer(&mut self, answer: Answer) -> Result<(), StoreError> {
        match answer {
            Answer::Listed(jobs) => {
                let jobs: Vec<_> = jobs?.into_iter().map(|job| self.brief(job)).collect();
                let more = jobs.len() == LIST_JOBS as usize;
                self.decide(Event::Listed { jobs, more });
            }
            Answer::Claimed(job, claimed) => {
                let Claimed { chunks, unclaimed, later, ended } = match claimed {
                    // While the disk is full there is no new work; it is asked for again.
                    Err(StoreError::Full) => Claimed { later: Some(CLAIM_AGAIN), ..Claimed::default() },
                    claimed => claimed?,
                };
                let leases = chunks.iter().map(lease_of).collect();
                chunks.into_iter().for_each(|chunk| self.chunks.add(chunk));
                self.decide(Event::Claimed { job, leases, unclaimed, later, ended });
            }
            // While the disk is full, what is printed is not kept.
            Answer::Printed(Ok(()) | Err(StoreError::Full)) => {}
            Answer::Printed(Err(error)) => return Err(error),
            // One that is forgotten at once is told of no more.
            Answer::Ended(job) => {
                job?.inspect(|job| telemetry::job_ended(&self.settings.metrics.job_lines, job));
            }
            Answer::Written { number, write, receipt } => self.written(number, write, receipt)?,
        }
        Ok(())
    }
}

fn lease_of(chunk: &Chunk) -> Lease {
    Lease { id: chunk.lease, first: chunk.first, count: chunk.count, attempt: chunk.attempt }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
