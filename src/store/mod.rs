//! The truth: jobs, inputs, leases and results, behind one trait that every store fulfils alike.
//!
//! Imports `model`. Deliberately absent: decisions (which job, how large a chunk) and clocks; callers give `now`.
//! Every write about a task is conditional on its lease and this node's epoch, and its name says so. Unless a
//! verb says otherwise, its answer comes after the write is durable.

mod callbacks;
mod changes;
pub mod counts;
pub mod memory;
pub mod sqlite;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch::Receiver;

pub use callbacks::{Callback, CallbackState, CallbackTry, DueCallback, DueCallbacks, TryOutcome};
pub use changes::{ChangeWatch, Changed};
pub use counts::Counts;
pub use watch::JobWatch;

use crate::model::{
    Epoch, Histogram, InputSegment, Job, JobId, JobSpec, JobState, LeaseId, Outcomes, ResultSegment, Span,
    Timestamp,
};

/// A job keeps so many bytes of what its tasks printed.
pub const MAX_LOG_BYTES: u64 = 4 << 20;

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

/// A job to be accepted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its identifier, made by the caller.
    pub id: JobId,
    /// What was asked for.
    pub spec: JobSpec,
    /// How many inputs there are, staged ones and those of the last segments.
    pub total: u64,
    /// Whether it takes more inputs later.
    pub intake: Intake,
    /// What makes a repetition of it known as one.
    pub key: Option<IdempotencyKey>,
    /// How much may be queued with it.
    pub limits: QueueLimits,
    /// Who is told of it before it is durable.
    pub notice: Option<Notice>,
}

/// Tells of a new job as soon as it is written: it can be leased then, so its work begins while it is being made durable.
/// Should that fail, it never was, and whoever claims of it is told that it has ended.
#[derive(Clone)]
pub struct Notice {
    /// Must not block.
    pub tell: Arc<dyn Fn(&Job) + Send + Sync>,
    /// Whether the client waits for its end, so that a job that ends at once may be made durable together with its results.
    pub awaited: bool,
}

impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notice").field("awaited", &self.awaited).finish_non_exhaustive()
    }
}

/// Whether a job takes more inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intake {
    /// It has all that it will have.
    Closed,
    /// It is open until someone closes it.
    Open,
    /// It is open while a connection of this node brings more; after a restart it is closed, as none does.
    Streamed,
}

impl Intake {
    /// Whether it takes more.
    pub fn is_open(self) -> bool {
        self != Self::Closed
    }
}

/// More inputs for an open job.
#[derive(Clone, Debug)]
pub struct MoreInputs {
    /// The job.
    pub job: JobId,
    /// Under what some of them are staged.
    pub staged: JobId,
    /// How many there are, staged ones and those of the last segments, both counted from 0.
    pub total: u64,
    /// What makes a repetition of it known as one.
    pub key: Option<IdempotencyKey>,
    /// How much may be queued with them.
    pub limits: QueueLimits,
}

/// What became of more inputs.
#[derive(Clone, PartialEq, Debug)]
pub enum Appended {
    /// They are the job's last ones now; so many of its tasks are neither leased nor done.
    Yes(Job, u64),
    /// They were there already: the key says so. Nothing was written.
    Same(Job),
    /// Their key names another request. Nothing was written.
    Other,
    /// There is no such job.
    Unknown,
    /// It is not open. Nothing was written.
    Closed,
    /// So much is queued that they do not fit. Nothing was written.
    QueueFull(QueueLimits),
}

/// How much may be queued in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueLimits {
    /// Tasks of jobs that have not ended, as far as these have no outcome.
    pub tasks: u64,
    /// The inputs of jobs that have not ended, in bytes.
    pub bytes: u64,
}

/// A client's name for a submit, and what it submitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyKey {
    /// The name.
    pub key: String,
    /// The SHA-256 of the whole request.
    pub fingerprint: [u8; 32],
}

/// A key is known for as long as its job, and for this long at least.
pub const KEY_LIFETIME: Duration = Duration::from_hours(24);

/// What became of a submit.
#[derive(Clone, PartialEq, Debug)]
pub enum Submitted {
    /// It is a new job.
    New(Job),
    /// Its key names this job, which was submitted alike. Nothing was written.
    Same(Job),
    /// Its key names a job that was submitted alike and has been deleted since. Nothing was written.
    Gone(JobId),
    /// Its key names a job that was submitted otherwise. Nothing was written.
    Other,
    /// With it there would be more queued than may be: so much is. Nothing was written.
    QueueFull(QueueLimits),
}

/// Which jobs that have ended are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Those that ended since.
    pub ended_since: Timestamp,
    /// And of them so many, the newest.
    pub count: u64,
}

/// What the pool must know of a job with tasks to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunnableJob {
    /// Its identifier.
    pub id: JobId,
    /// What was asked for.
    pub spec: JobSpec,
    /// How many of its tasks are neither leased nor done.
    pub unclaimed: u64,
    /// When it was accepted, if none of its tasks has started.
    pub queued_since: Option<Timestamp>,
}

impl RunnableJob {
    /// This job, with so many tasks that are neither leased nor done.
    pub fn new(job: &Job, unclaimed: u64) -> Self {
        let queued_since = (job.state == JobState::Queued).then_some(job.created_at);
        Self { id: job.id, spec: job.spec.clone(), unclaimed, queued_since }
    }
}

/// Asks for leases on a job's next tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The job.
    pub job: JobId,
    /// At most so many chunks …
    pub chunks: u32,
    /// … of at most so many tasks each.
    pub max_tasks: u32,
}

/// A leased run of consecutive tasks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The lease to answer under.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// The index of its first task.
    pub first: u64,
    /// How many tasks it has.
    pub count: u32,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The inputs, a line each.
    pub inputs: Bytes,
}

/// The answer to a [`Claim`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Claimed {
    /// The chunks, fewer than asked for when there are no more or they are large.
    pub chunks: Vec<Chunk>,
    /// How many tasks of the job are still neither leased nor done, and may be leased.
    pub unclaimed: u64,
    /// After how long others may be, which are to be tried again only later.
    pub later: Option<Duration>,
    /// Whether the job has ended, or is gone.
    pub ended: bool,
}

/// The final outcomes of a lease's next tasks.
#[derive(Clone, PartialEq, Debug)]
pub struct Completion {
    /// The lease.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// The index of the first task answered: the first of the lease that was not.
    pub first: u64,
    /// The attempt that was made.
    pub attempt: u32,
    /// The worker's name.
    pub worker: String,
    /// Its process id.
    pub pid: u32,
    /// Durations and failures.
    pub outcomes: Outcomes,
    /// Those durations.
    pub task_times: Histogram,
    /// Outputs and errors, a line each.
    pub lines: Bytes,
    /// From the begin of the first to the end of the last; those of one process do not overlap.
    pub span: Span,
    /// How long the worker was at work on them, in nanoseconds.
    pub busy_ns: u64,
    /// The CPU time it used for them, in nanoseconds.
    pub cpu_ns: u64,
    /// The most memory it held so far, in bytes.
    pub max_rss_bytes: u64,
    /// Whether others of the job are to come, so that nobody waits for this one as its last.
    pub more_follow: bool,
}

/// How tasks go back to the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Requeue {
    /// As they were: the loss was ours.
    AsBefore,
    /// Each in a chunk of its own, uncharged: one of them, nobody knows which, ended the worker.
    Alone,
    /// Charged: the attempt was theirs. Each in a chunk of its own.
    Charged,
}

/// Gives tasks of a lease back without an outcome: its next ones, or its last ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Release {
    /// The lease.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// The index of the first of them.
    pub first: u64,
    /// How many; they begin where the lease begins now, or end where it ends.
    pub count: u32,
    /// How they go back.
    pub how: Requeue,
    /// How long they are to wait there.
    pub delay: Duration,
}

/// What became of a fenced write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Whether the lease still held; if not, nothing was written.
    pub held: bool,
    /// The job's state after it; `None` if the job is gone.
    pub state: Option<JobState>,
}

/// Something that a task printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Its place among the job's entries, from 1; the store gives it.
    pub seq: u64,
    /// When it was read.
    pub at: Timestamp,
    /// The task's index.
    pub index: u64,
    /// Which attempt at it.
    pub attempt: u32,
    /// The worker's name.
    pub worker: String,
    /// Its process id.
    pub pid: u32,
    /// Where it was printed, or how serious it is.
    pub stream: String,
    /// The text: one line or more.
    pub text: String,
    /// How many bytes before it were dropped, as there were too many at once.
    pub dropped_bytes: u64,
}

/// Some of what the tasks of a job printed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogPage {
    /// The entries, oldest first.
    pub entries: Vec<LogEntry>,
    /// How many bytes of the job's oldest entries are gone.
    pub dropped_bytes: u64,
}

/// Which log entries to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogFilter {
    /// Behind the entry of this seq.
    pub after: u64,
    /// Of this task.
    pub index: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// What became of a wish to run failed tasks again.
#[derive(Clone, PartialEq, Debug)]
pub enum Retried {
    /// So many tasks are queued; the job goes on.
    Yes(Box<Job>, u64),
    /// There is no such job.
    Unknown,
    /// It has not ended.
    NotEnded(JobState),
}

/// What a worker ended of a job at one time, without payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The place of the first task in the job's result queue.
    pub first_seq: u64,
    /// The index of the first; the others follow it.
    pub first_index: u64,
    /// Which attempt at them it was.
    pub attempt: u32,
    /// The worker's name.
    pub worker: String,
    /// Its process id.
    pub pid: u32,
    /// Durations and failures.
    pub outcomes: Outcomes,
    /// When it was at work on them, one after the other.
    pub span: Span,
}

/// The order of a job's results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The first-in-first-out queue, by `seq`.
    Completion,
    /// By index, as far as all before it have ended.
    Input,
    /// As the queue, but only segments with failures that have not been run again.
    Failed,
}

/// Which jobs to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<JobState>,
    /// Of this function.
    pub function: Option<String>,
    /// With this label.
    pub label: Option<(String, String)>,
}

/// What became of a delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deleted {
    /// The job is forgotten.
    Yes,
    /// There is no such job.
    Unknown,
    /// It has not ended.
    NotEnded(JobState),
}

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

    /// Jobs with tasks to run, by priority and then age, behind `after`, at most `limit`.
    async fn runnable(&self, after: Option<(i32, JobId)>, limit: u32) -> StoreResult<Vec<RunnableJob>>;

    /// Leases the next tasks of a job, those to be tried again first. Answers before it is durable: a lease that
    /// a crash forgets is a task that runs again.
    async fn claim(&self, claim: Claim, now: Timestamp) -> StoreResult<Claimed>;

    /// Keeps final outcomes, if the lease still holds.
    async fn complete_if_leased(&self, done: Arc<Completion>, now: Timestamp) -> StoreResult<Receipt>;

    /// Takes tasks back, if the lease still holds.
    async fn release_if_leased(&self, release: Release, now: Timestamp) -> StoreResult<Receipt>;

    /// Cancels every task that is not leased; leased ones end by [`Self::complete_if_leased`] or
    /// [`Self::release_if_leased`]. Answers the job, or `None` if there is none. A job that has ended stays as it is.
    async fn cancel(&self, id: JobId, now: Timestamp) -> StoreResult<Option<Job>>;

    /// Forgets a job that has ended.
    async fn delete(&self, id: JobId) -> StoreResult<Deleted>;

    /// Fails every task of a job that is neither leased nor done, all with this error: a line of JSON.
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
