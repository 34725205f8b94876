//! The reference store behind a disk that may be full, and commits that may be undone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt as _;
use gristmill::model::segment::{ResultBody, Used};
use gristmill::model::{Blocked, InputSegment, Job, JobId, LeaseId, ResultSegment, Timestamp};
use gristmill::store::memory::MemoryStore;
use gristmill::store::{
    Chunk, Claim, Claimed, Completion, Haste, Intake, NewJob, Notice, Order, QueueLimits, Receipt, Release,
    Requeue, Retried, RunnableJob, Store, StoreError, StoreResult, Submitted,
};

use crate::bugs::Bug;
use crate::plan;

/// A write about tasks.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Complete(Arc<Completion>),
    Release(Release),
    Fail(JobId, Bytes),
}

#[derive(Debug)]
pub(crate) struct Disk {
    store: MemoryStore,
    bug: Option<Bug>,
    pub(crate) full: bool,
    /// Results that are there though they should not be.
    void: BTreeMap<JobId, Vec<ResultSegment>>,
}

/// The answers of a store in memory are there at once.
fn now<T>(answer: impl Future<Output = StoreResult<T>>) -> T {
    answer.now_or_never().expect("it never waits").expect("it never fails")
}

impl Disk {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self { store: MemoryStore::new("node"), bug, full: false, void: BTreeMap::new() }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Submits a job; if there is room, its first task is leased with it.
    pub(crate) fn submit(&self, job: &plan::Job, has_room: bool, at: Timestamp) -> RunnableJob {
        let lines = (0..job.total).map(|index| job.input(index) + "\n").collect::<String>();
        let segment = InputSegment { first: 0, count: job.total as u32, lines: lines.into() };
        let limits = QueueLimits { tasks: u64::MAX >> 1, bytes: u64::MAX >> 1 };
        let (id, spec, total) = (job.id, job.spec.clone(), job.total);
        let leased = Arc::new(Mutex::new(None));
        let told = Arc::clone(&leased);
        let tell = Arc::new(move |_: &Job, chunk: Option<Chunk>| *told.lock().unwrap() = chunk);
        let notice = Some(Notice { tell, room: Some(Arc::new(has_room.into())), awaited: false });
        let new = NewJob { id, spec, total, intake: Intake::Closed, key: None, limits, notice };
        let Submitted::New(job) = now(self.store.submit(new, vec![segment], at)) else { panic!() };
        let leased = leased.lock().unwrap().take();
        let first = leased.as_ref().map_or(0, |chunk| u64::from(chunk.count));
        RunnableJob { leased, ..RunnableJob::new(&job, total - first) }
    }

    pub(crate) fn job(&self, id: JobId) -> Option<Job> {
        now(self.store.job(id))
    }

    pub(crate) fn runnable(
        &self,
        after: Option<(i32, JobId)>,
        without: Blocked,
        limit: u32,
    ) -> Vec<RunnableJob> {
        now(self.store.runnable(after, without, limit))
    }

    pub(crate) fn cancel(&self, id: JobId, at: Timestamp) -> Option<Job> {
        now(self.store.cancel(id, at))
    }

    pub(crate) fn retry_failed(&self, id: JobId) -> Option<(Job, u64)> {
        match now(self.store.retry_failed(id)) {
            Retried::Yes(job, count) => Some((*job, count)),
            Retried::Unknown | Retried::NotEnded(_) => None,
        }
    }

    pub(crate) fn restart(&self, at: Timestamp) {
        if !self.has(Bug::KeepLeases) {
            self.store.restart(at);
        }
    }

    pub(crate) fn claim(&self, claim: Claim, at: Timestamp) -> StoreResult<Claimed> {
        if self.full {
            return Err(StoreError::Full);
        }
        let mut claimed = now(self.store.claim(claim, at));
        if self.has(Bug::ClaimTwice)
            && let Some(last) = claimed.chunks.last().cloned()
        {
            claimed.chunks.push(Chunk { lease: LeaseId(last.lease.0 + 1_000_000), ..last });
        }
        Ok(claimed)
    }

    /// What a full disk does to a claim that it has answered already.
    pub(crate) fn undo(&self, claimed: &Claimed, at: Timestamp) {
        for Chunk { lease, job, first, count, .. } in claimed.chunks.iter().cloned() {
            let (how, delay) = (Requeue::AsBefore, std::time::Duration::ZERO);
            let release = Release { lease, job, first, count, how, delay };
            now(self.store.release_if_leased(release, at));
        }
    }

    pub(crate) fn write(&mut self, write: &Write, at: Timestamp) -> Receipt {
        match write {
            Write::Complete(done) => {
                let receipt = now(self.store.complete_if_leased(Arc::clone(done), Haste::Soon, at));
                if !receipt.held && self.has(Bug::NoFencing) {
                    self.keep_void(done);
                }
                receipt
            }
            Write::Release(release) => now(self.store.release_if_leased(*release, at)),
            Write::Fail(job, error) => now(self.store.fail_unleased(*job, error.clone(), at)),
        }
    }

    fn keep_void(&mut self, done: &Completion) {
        let Completion { job, first, attempt, worker, pid, outcomes, lines, .. } = done.clone();
        let (first_seq, count) = (self.results(job, Order::Completion, 0).len() as u64 + 1, outcomes.count());
        let body = ResultBody::Ran { worker, pid, outcomes, lines, used: Used::default() };
        let segment = ResultSegment { first_seq, first_index: first, count: u64::from(count), attempt, body };
        self.void.entry(job).or_default().push(segment);
    }

    /// The results of a job behind a cursor, a segment each.
    pub(crate) fn results(&self, id: JobId, order: Order, after: u64) -> Vec<ResultSegment> {
        let mut results = now(self.store.results(id, order, after, u64::MAX));
        if self.has(Bug::SkipSeq) {
            results.iter_mut().filter(|result| result.first_seq > 3).for_each(|result| result.first_seq += 1);
        }
        if self.has(Bug::RewriteResults) && order == Order::Completion {
            let all = now(self.store.results(id, order, 0, u64::MAX));
            let again = |result: &ResultSegment| {
                all.iter().any(|other| {
                    other.first_index == result.first_index && other.first_seq > result.first_seq
                })
            };
            results.retain(|result| !again(result));
        }
        results.extend(self.void.get(&id).into_iter().flatten().cloned());
        results
    }
}
