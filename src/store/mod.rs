//! The truth: jobs, inputs, leases and results, behind one trait that every store fulfils alike.
//!
//! Imports `model`. Deliberately absent: decisions (which job, how large a chunk) and clocks; callers give `now`.
//! Every write about a task is conditional on its lease and this node's epoch, and its name says so. Unless a
//! verb says otherwise, its answer comes after the write is durable.

mod callbacks;
mod changes;
pub mod counts;
mod ended;
mod lease;
mod logs;
pub mod memory;
mod read;
pub mod sqlite;
mod submit;
pub mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch::Receiver;

pub use callbacks::{Callback, CallbackState, CallbackTry, DueCallback, DueCallbacks, TryOutcome};
pub use changes::{ChangeWatch, Changed};
pub use counts::Counts;
pub use ended::{Deleted, Retention, Retried};
pub use lease::{Chunk, Claim, Claimed, Completion, Haste, Receipt, Release, Requeue, RunnableJob};
pub use logs::{LogEntry, LogFilter, LogPage, MAX_LOG_BYTES};
pub use read::{JobFilter, Order, Run};
pub use submit::{
    Appended, IdempotencyKey, Intake, KEY_LIFETIME, MoreInputs, NewJob, Notice, QueueLimits, Submitted, Tell,
};
pub use watch::JobWatch;

use crate::model::{Blocked, Epoch, InputSegment, Job, JobId, ResultSegment, Timestamp};

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No room on the disk, or no descriptor left. Nothing was written.
    #[error("the disk that holds the data directory is full")]
    Full,
    /// A write failed in a way that leaves its fate unknown, or the store has stopped since.
    #[error("the store has stopped: {0}")]
    Stopped(String),
}

/// What a store answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// A store of jobs.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The epoch of this start.
    fn epoch(&self) -> Epoch;

    /// What it has, in numbers, as of the last commit; costs nothing, however much that is.
    fn counts(&self) -> Counts;

    /// Keeps inputs of a job that is not submitted yet; nobody sees them. Answers before they are durable.
    async fn stage(&self, job: JobId, segments: Vec<InputSegment>) -> StoreResult<()>;

    /// Drops what was staged for a job that will not be submitted.
    async fn unstage(&self, job: JobId) -> StoreResult<()>;

    /// Accepts a job with its last inputs, and all that were staged before.
    async fn submit(
        &self,
        job: NewJob,
        segments: Vec<InputSegment>,
        now: Timestamp,
    ) -> StoreResult<Submitted>;

    /// The job, if there is one.
    async fn job(&self, id: JobId) -> StoreResult<Option<Job>>;

    /// Jobs, newest first, older than `before`, at most `limit`; without their workers.
    async fn jobs(&self, filter: JobFilter, before: Option<JobId>, limit: u32) -> StoreResult<Vec<Job>>;

    /// Those of these jobs that there are, without their workers.
    async fn jobs_of(&self, ids: Vec<JobId>) -> StoreResult<Vec<Job>>;

    /// Segments that hold the results behind the first `after` of this order; the first of them may begin before.
    /// At least one if there is any, and no more once they hold `limit` results or some hundred kilobytes.
    async fn results(
        &self,
        id: JobId,
        order: Order,
        after: u64,
        limit: u64,
    ) -> StoreResult<Vec<ResultSegment>>;

    /// What workers ended of a job and when, in the order of completion, behind the run that has this first seq; some
    /// of it at a time, none at the end. What has been freed is not among it.
    async fn runs(&self, id: JobId, after: u64) -> StoreResult<Vec<Run>>;

    /// Wakes after each commit that changes this job.
    fn watch(&self, id: JobId) -> JobWatch;

    /// Tells which jobs have changed, new and deleted ones among them, after each commit that did: those behind this
    /// change of this epoch, or from now on.
    fn watch_all(&self, after: Option<u64>) -> ChangeWatch;

    /// Jobs with tasks to claim, by priority and then age, behind `after`, at most `limit`; not those that are blocked.
    async fn runnable(
        &self,
        after: Option<(i32, JobId)>,
        without: Blocked,
        limit: u32,
    ) -> StoreResult<Vec<RunnableJob>>;

    /// Leases the next tasks of a job, those to be tried again first. Answers before it is durable: a lease that
    /// a crash forgets is a task that runs again.
    async fn claim(&self, claim: Claim, now: Timestamp) -> StoreResult<Claimed>;

    /// Keeps final outcomes, if the lease still holds.
    async fn complete_if_leased(
        &self,
        done: Arc<Completion>,
        haste: Haste,
        now: Timestamp,
    ) -> StoreResult<Receipt>;

    /// Takes tasks back, if the lease still holds.
    async fn release_if_leased(&self, release: Release, now: Timestamp) -> StoreResult<Receipt>;

    /// Cancels every task that is not leased; leased ones end by [`Self::complete_if_leased`] or
    /// [`Self::release_if_leased`]. Answers the job, or `None` if there is none. A job that has ended stays as it is.
    async fn cancel(&self, id: JobId, now: Timestamp) -> StoreResult<Option<Job>>;

    /// Forgets a job that has ended.
    async fn delete(&self, id: JobId) -> StoreResult<Deleted>;

    /// Fails every task of a job that is neither leased nor done, all with this error: a line of JSON. It does not hold for
    /// a job that has ended.
    async fn fail_unleased(&self, id: JobId, error: Bytes, now: Timestamp) -> StoreResult<Receipt>;

    /// Queues the failed tasks of a job that has ended for another attempt. Their results stay in the queue, and the
    /// next ones take their place in the order of the inputs.
    async fn retry_failed(&self, id: JobId) -> StoreResult<Retried>;

    /// Keeps what tasks of a job printed, and drops the oldest above [`MAX_LOG_BYTES`]; answers before it is durable.
    async fn append_logs(&self, id: JobId, entries: Vec<LogEntry>) -> StoreResult<()>;

    /// Reads what the tasks of a job printed.
    async fn logs(&self, id: JobId, filter: LogFilter) -> StoreResult<LogPage>;

    /// Leases no more of a job until it is resumed; gives the job as it is then. One that is being cancelled or has
    /// ended stays as it is.
    async fn pause(&self, id: JobId) -> StoreResult<Option<Job>>;

    /// Undoes a pause; gives the job as it is then, and how many of its tasks are neither leased nor done.
    async fn resume(&self, id: JobId) -> StoreResult<Option<(Job, u64)>>;

    /// Forgets jobs that have ended and are not to be kept, and keys that are older than [`KEY_LIFETIME`] and have lost
    /// their jobs, some at a time; gives how many jobs.
    async fn sweep(&self, retention: Retention, now: Timestamp) -> StoreResult<u64>;

    /// Frees the results of a job up to this seq, whole segments at a time: nobody reads them again. Gives the seq up
    /// to which they are gone.
    async fn free_results(&self, id: JobId, through: u64) -> StoreResult<Option<u64>>;

    /// The seq up to which results of a job have been freed.
    async fn freed_through(&self, id: JobId) -> StoreResult<u64>;

    /// Adds inputs to an open job.
    async fn append(
        &self,
        more: MoreInputs,
        segments: Vec<InputSegment>,
        now: Timestamp,
    ) -> StoreResult<Appended>;

    /// Closes a job: it ends when all its tasks have. Gives the job as it is then.
    async fn close(&self, id: JobId, now: Timestamp) -> StoreResult<Option<Job>>;

    /// How far it is with telling the last end of a job; `None` if it has never ended, or names no URL.
    async fn callback(&self, id: JobId) -> StoreResult<Option<Callback>>;

    /// The ends of jobs that are to be told now, at most so many of each receiver.
    async fn due_callbacks(&self, per_receiver: u32, now: Timestamp) -> StoreResult<DueCallbacks>;

    /// Keeps what became of a try to tell the end of a job, if that is still to be told: the job may be gone, or go on.
    async fn note_try_if_due(&self, made: CallbackTry) -> StoreResult<()>;

    /// Wakes after each commit with the end of a job that is to be told.
    fn outbox(&self) -> Receiver<()>;
}
