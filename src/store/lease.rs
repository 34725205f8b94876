//! Tasks on their way to a worker and back: what is leased, and what is written under a lease.

use std::time::Duration;

use bytes::Bytes;

use crate::model::{Histogram, Job, JobId, JobSpec, JobState, LeaseId, Outcomes, Span, Timestamp};

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
    /// Its first tasks, if they were leased with it.
    pub leased: Option<Chunk>,
}

impl RunnableJob {
    /// This job, with so many tasks that are neither leased nor done.
    pub fn new(job: &Job, unclaimed: u64) -> Self {
        let queued_since = (job.state == JobState::Queued).then_some(job.created_at);
        Self { id: job.id, spec: job.spec.clone(), unclaimed, queued_since, leased: None }
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
    /// From the last task on, and not from the first; of a job that may get more inputs, all the same from the first.
    pub backwards: bool,
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
}

/// How soon outcomes are to be durable, and seen: by what else of their job is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Haste {
    /// Nothing is: whoever follows the job waits for these.
    Now,
    /// Its last tasks run.
    Soon,
    /// Some are still to begin: a reader gets these together with others.
    Patient,
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
    /// Whether the lease still held, or the job could still fail; if not, nothing was written.
    pub held: bool,
    /// The job's state after it; `None` if the job is gone.
    pub state: Option<JobState>,
}
