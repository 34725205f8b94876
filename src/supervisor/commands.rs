//! What the pool decides is done: questions to the store, orders to workers, new workers.

use std::time::{Duration, Instant};

use super::child::{self, Assignment, Launch, Order};
use super::run::Answer;
use super::writes::Write;
use super::{LIST_JOBS, Member, Supervisor, TaskLimits, WorkerCommand};
use crate::model::{JobId, LeaseId, TaskError, Verdict, WorkerName};
use crate::pool::{Command, Event, Lease, Others, WorkerId};
use crate::store::{Claim, Release, Requeue};

impl Supervisor {
    pub(super) fn execute(&mut self, command: Command) {
        match command {
            Command::ListJobs { after, without } => {
                let store = self.store.clone();
                let list = async move { Answer::Listed(store.runnable(after, without, LIST_JOBS).await) };
                self.pending.push(Box::pin(list));
            }
            Command::Forget(job) => drop(self.limits.remove(&job)),
            Command::Claim { job, chunks, max_tasks, backwards } => {
                let (store, now) = (self.store.clone(), (self.now)());
                let claim = Claim { job, chunks, max_tasks, backwards };
                self.pending
                    .push(Box::pin(async move { Answer::Claimed(job, store.claim(claim, now).await) }));
            }
            Command::Spawn { worker, name, function } => self.spawn(worker, name, &function),
            Command::Send { worker, lease } => self.send(worker, lease),
            Command::Release { lease, job } => {
                drop(self.chunks.take(lease.id));
                let Lease { id, first, count, .. } = lease;
                let (how, delay) = (Requeue::AsBefore, Duration::ZERO);
                let release = Release { lease: id, job, first, count, how, delay };
                self.write(Write::Release(release, None));
            }
            Command::Fail { job } => self.fail(job),
            Command::Finish(worker) => self.end(worker, Order::Finish),
            Command::Stop(worker) => self.end(worker, Order::Stop),
        }
    }

    fn end(&mut self, worker: WorkerId, how: Order) {
        self.roster_is_old = true;
        self.order(worker, how);
    }

    fn order(&self, worker: WorkerId, order: Order) {
        if let Some(member) = self.members.get(&worker) {
            member.child.order(order);
        }
    }

    fn send(&mut self, worker: WorkerId, lease: LeaseId) {
        let Some(chunk) = self.chunks.take(lease) else { return };
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.since = Instant::now();
        let mut unknown = TaskLimits {
            timeout: None,
            max_attempts: chunk.attempt,
            retry_backoff: Duration::ZERO,
            trace: None,
            queued_since: None,
        };
        let limits = self.limits.get_mut(&chunk.job).unwrap_or(&mut unknown);
        if let Some(since) = limits.queued_since.take() {
            let waited = (self.now)().since(since).as_nanos() as u64;
            self.settings.metrics.of_function(&member.function, |counts| counts.queue_times.record(waited));
            let (job, worker, pid) = (chunk.job, member.name, member.pid);
            tracing::debug!(%job, function = member.function, %worker, pid, "job started");
        }
        let TaskLimits { timeout, max_attempts, retry_backoff, trace, .. } = *limits;
        let is_last = self.pool.others_under_way(worker, chunk.job, chunk.count) == Others::None;
        let assignment = Assignment { chunk, timeout, max_attempts, retry_backoff, trace, is_last };
        self.order(worker, Order::Run(assignment));
    }

    fn spawn(&mut self, worker: WorkerId, name: WorkerName, function: &str) {
        let started = self.launch(name, function).and_then(|launch| {
            let events = self.tell.clone();
            child::spawn(worker, launch, self.store.clone(), events)
        });
        match started {
            Ok(child) => {
                let (function, since, busy) = (function.to_owned(), Instant::now(), Duration::ZERO);
                let (pid, tasks, progress) = (None, 0, None);
                let member = Member { child, name, function, pid, since, tasks, busy, progress };
                self.members.insert(worker, member);
            }
            Err(error) => {
                tracing::warn!(worker = %name, function, %error, "a worker could not be started");
                self.start_failures.insert(function.to_owned(), error.to_string());
                let gone = Event::Gone { worker, settled: Vec::new(), failed_start: true };
                self.not_started.push_back(gone);
            }
        }
    }

    fn launch(&self, name: WorkerName, function: &str) -> std::io::Result<Launch> {
        let unknown = || std::io::Error::other(format!("the function {function:?} is not declared any more"));
        let command = self.settings.functions.get(function).ok_or_else(unknown)?;
        let mut env = command.env.clone();
        env.insert("GRISTMILL_WORKER".into(), name.to_string().into());
        env.insert("GRISTMILL_FUNCTION".into(), function.into());
        let (lock, argv) = (self.settings.lock.try_clone()?, command.argv.clone());
        let WorkerCommand { cwd, start_timeout, grace, limits, output_schema, .. } = command.clone();
        Ok(Launch { name, argv, env, cwd, lock, start_timeout, grace, limits, output_schema, now: self.now })
    }

    /// Fails what is not done of a job whose function has no workers, and says why.
    fn fail(&mut self, job: JobId) {
        let mut failures = self.view_start_failures();
        let function = self.pool.function_of(job).unwrap_or_default();
        let failure = failures.find(|failure| failure.function == function);
        let (times, why) = failure.map_or((0, String::new()), |failure| (failure.times, failure.message));
        drop(failures);
        let message = format!("no worker of {function} started, {times} times in a row: {why}");
        let error =
            TaskError { kind: Some("StartFailure".into()), ..TaskError::new(Verdict::Crash, message) };
        self.write(Write::Fail { job, error: error.to_line().into() });
    }
}
