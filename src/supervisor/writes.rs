//! Writes to the store about tasks, in order. Those that find the disk full wait in memory, and go again by themselves.
//!
//! What waits is bounded: the pool hands out no work while too much of what was answered is not durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::Supervisor;
use super::child::{Begun, Failures, Settlement};
use super::run::Answer;
use crate::model::{JobId, JobState, LeaseId, Verdict};
use crate::pool::Event;
use crate::store::{Completion, Haste, Receipt, Release, StoreError, StoreResult};
use crate::telemetry::metrics::{FunctionCounts, Metrics};

const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A write.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Complete(Arc<Completion>, Haste, Arc<Noted>),
    Release(Release, Option<Arc<Noted>>),
    /// What is neither leased nor done of a job fails with this error.
    Fail {
        job: JobId,
        error: Bytes,
    },
}

/// What is to be counted of a write, if it counts.
#[derive(Debug)]
pub(super) struct Noted {
    function: String,
    failures: Failures,
}

impl Noted {
    fn completion(&self, done: &Completion, counts: &mut FunctionCounts) {
        counts.task_times.merge(&done.task_times);
        let succeeded = u64::from(done.outcomes.count() - done.outcomes.failed());
        *counts.tasks.entry(Verdict::Ok).or_default() += succeeded;
        for (verdict, n) in &self.failures {
            *counts.tasks.entry(*verdict).or_default() += n;
        }
    }

    fn retry(&self, counts: &mut FunctionCounts) {
        for (verdict, n) in &self.failures {
            *counts.retries.entry(*verdict).or_default() += n;
        }
    }
}

impl Write {
    /// The write of what a worker of this function has done; outcomes in this haste.
    pub(super) fn new(settlement: Settlement, haste: Haste, function: &str) -> Self {
        let note = |failures| Arc::new(Noted { function: function.to_owned(), failures });
        match settlement {
            Settlement::Complete(done, failures) => Self::Complete(done, haste, note(failures)),
            Settlement::Release(release, failed) => {
                Self::Release(release, failed.map(|verdict| note([(verdict, 1)].into())))
            }
        }
    }

    /// Counts it, as it is durable.
    fn count(&self, metrics: &Metrics) {
        match self {
            Self::Complete(done, _, noted) => {
                metrics.of_function(&noted.function, |counts| noted.completion(done, counts));
            }
            Self::Release(_, Some(noted)) => {
                metrics.of_function(&noted.function, |counts| noted.retry(counts));
            }
            Self::Release(_, None) | Self::Fail { .. } => {}
        }
    }

    fn job(&self) -> JobId {
        match self {
            Self::Complete(done, ..) => done.job,
            Self::Release(release, _) => release.job,
            Self::Fail { job, .. } => *job,
        }
    }

    fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Complete(done, ..) => Some(done.lease),
            Self::Release(release, _) => Some(release.lease),
            Self::Fail { .. } => None,
        }
    }

    /// How many tasks are back in the queue after it, and how long they are to wait there. A write whose lease was
    /// undone by a full disk has lost its tasks to the queue.
    fn requeued(&self, held: bool) -> (u32, Duration) {
        match self {
            Self::Release(release, _) if held => (release.count, release.delay),
            Self::Release(release, _) => (release.count, Duration::ZERO),
            Self::Complete(done, ..) if !held => (done.outcomes.count(), Duration::ZERO),
            Self::Complete(..) | Self::Fail { .. } => (0, Duration::ZERO),
        }
    }
}

/// The writes that wait for room, by their order.
#[derive(Debug, Default)]
pub(super) struct Writes {
    count: u64,
    waiting: BTreeMap<u64, Write>,
    again_at: Option<Instant>,
}

impl Writes {
    /// When those that wait go again.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.again_at
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Supervisor {
    pub(super) fn write(&mut self, write: Write) {
        self.writes.count += 1;
        let number = self.writes.count;
        if self.writes.waiting.is_empty() {
            self.send_write(number, write);
        } else {
            self.writes.waiting.insert(number, write);
        }
    }

    /// As [`Self::write`], of one that the store has.
    pub(super) fn has_begun(&mut self, write: Write, begun: Begun) {
        self.writes.count += 1;
        let number = self.writes.count;
        let answer = begun.map(move |receipt| Answer::Written { number, write, receipt });
        self.pending.push(answer.boxed());
    }

    /// Sends those that waited once more.
    pub(super) fn write_again(&mut self, now: Instant) {
        if self.writes.again_at.take_if(|at| *at <= now).is_some() {
            for (number, write) in std::mem::take(&mut self.writes.waiting) {
                self.send_write(number, write);
            }
        }
    }

    fn send_write(&mut self, number: u64, write: Write) {
        let (store, now) = (self.store.clone(), (self.now)());
        // These futures are first polled in the order of their making, so the store gets them in this order.
        self.pending.push(Box::pin(async move {
            let receipt = match write.clone() {
                Write::Complete(done, haste, _) => store.complete_if_leased(done, haste, now).await,
                Write::Release(release, _) => store.release_if_leased(release, now).await,
                Write::Fail { job, error } => store.fail_unleased(job, error, now).await,
            };
            Answer::Written { number, write, receipt }
        }));
    }

    pub(super) fn written(
        &mut self,
        number: u64,
        write: Write,
        receipt: StoreResult<Receipt>,
    ) -> Result<(), StoreError> {
        let Receipt { held, state } = match receipt {
            Err(StoreError::Full) => {
                self.wait(number, write);
                return Ok(());
            }
            receipt => receipt?,
        };
        // Where the earlier part of a lease still waits, this one came too soon.
        let lease = write.lease();
        if !held && lease.is_some() && self.writes.waiting.values().any(|waiting| waiting.lease() == lease) {
            self.wait(number, write);
            return Ok(());
        }
        let job = write.job();
        if held {
            write.count(&self.settings.metrics);
        }
        if !held && !matches!(write, Write::Fail { .. }) {
            tracing::warn!(%job, "an answer is void: its lease does not hold");
        }
        if let Write::Complete(done, ..) = &write
            && held
        {
            let trace = self.limits.get(&job).and_then(|limits| limits.trace);
            self.news.ended(done, || Some((self.pool.function_of(job)?, trace)));
        }
        let ended = state.is_none_or(JobState::is_final);
        if ended && held && self.settings.metrics.job_lines.is_worth_while() {
            let store = self.store.clone();
            self.pending.push(Box::pin(async move {
                Answer::Ended(store.job(job).await.map(|job| job.map(Box::new)))
            }));
        }
        if ended && held && matches!(write, Write::Fail { .. }) {
            tracing::warn!(%job, "the job has failed: its workers do not start");
        }
        let (requeued, delay) = write.requeued(held);
        self.decide(Event::Settled { job, requeued, delay, ended });
        // A failure stops a job whose `on_error` says so: what else of it runs is to end.
        if state == Some(JobState::Cancelling) {
            self.decide(Event::Cancelled(job));
        }
        Ok(())
    }

    fn wait(&mut self, number: u64, write: Write) {
        self.writes.waiting.insert(number, write);
        self.writes.again_at = Some(Instant::now() + AGAIN_AFTER);
    }
}
