//! What a pool is told, and what it wants done.

use std::time::Duration;

use super::{JobBrief, Lease, Rules, WorkerId};
use crate::model::{Blocked, JobId, LeaseId, WorkerName};

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A job with tasks to run: a new one, or more tasks of an old one.
    Job(JobBrief),
    /// The answer to [`Command::ListJobs`].
    Listed {
        /// The jobs, in the store's order.
        jobs: Vec<JobBrief>,
        /// Whether the store may have others behind the last of them.
        more: bool,
    },
    /// The answer to [`Command::Claim`].
    Claimed {
        /// The job.
        job: JobId,
        /// The leases, in order.
        leases: Vec<Lease>,
        /// How many of its tasks are neither leased nor done, and may be claimed.
        unclaimed: u64,
        /// When more of them may be, if some are to be tried again only later.
        later: Option<Duration>,
        /// Whether the job has ended, or is gone.
        ended: bool,
    },
    /// A worker runs as a process and is warm.
    Ready(WorkerId),
    /// A worker has answered the next `count` tasks of its first lease. What became of them is on its way to the
    /// store and will be [`Event::Settled`].
    Answered {
        /// The worker.
        worker: WorkerId,
        /// How many tasks.
        count: u32,
        /// How long it was at work on them.
        elapsed: Duration,
    },
    /// A worker has returned the last `count` tasks of a lease unstarted. That they are back in the queue will be
    /// [`Event::Settled`].
    Returned {
        /// The worker.
        worker: WorkerId,
        /// The lease; of one that it has begun, a worker keeps at least the task it is at.
        lease: LeaseId,
        /// How many tasks.
        count: u32,
    },
    /// A worker has ended, and nothing of it is left.
    Gone {
        /// The worker.
        worker: WorkerId,
        /// Its leases that it knew of: what becomes of them is on its way to the store and will be
        /// [`Event::Settled`]. Others were sent too late.
        settled: Vec<LeaseId>,
        /// Whether it was never of any use, though nobody told it to end.
        failed_start: bool,
    },
    /// A fenced write has been answered: the result of `count` tasks is durable, or they are back in the queue.
    Settled {
        /// The job.
        job: JobId,
        /// How many tasks went back to the queue.
        requeued: u32,
        /// How long they are to wait there.
        delay: Duration,
        /// Whether the job has ended, or is gone.
        ended: bool,
    },
    /// Someone wants the job to end: what it runs is to be stopped.
    Cancelled(JobId),
    /// No more of the job is to begin until [`Event::Job`] tells of it again; what runs goes on.
    Paused(JobId),
    /// So many slots from now on.
    Resize(u32),
    /// Someone wants this worker to end.
    End(WorkerId),
    /// This worker is to get no more work: it is too old, or holds too much memory.
    Retire(WorkerId),
    /// The declaration of this function has changed: its workers are to get no more work.
    Changed {
        /// The function.
        function: String,
        /// What it wants from now on.
        rules: Rules,
    },
    /// Take no more work; end every worker when its chunk is done.
    Drain,
    /// End every worker now.
    Interrupt,
    /// Time has passed: [`Pool::next_deadline`](super::Pool::next_deadline) is reached.
    Tick,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Ask the store for jobs; answered by [`Event::Listed`].
    ListJobs {
        /// Behind the one of this priority and id, in the store's order; from the first on if there is none.
        after: Option<(i32, JobId)>,
        /// But not for these.
        without: Blocked,
    },
    /// The pool does not know this job any more: what else is kept of it can go.
    Forget(JobId),
    /// Ask the store for leases; answered by [`Event::Claimed`].
    Claim {
        /// The job.
        job: JobId,
        /// At most so many chunks …
        chunks: u32,
        /// … of so many tasks.
        max_tasks: u32,
        /// From the last task on.
        backwards: bool,
    },
    /// Start a worker; answered by [`Event::Ready`] or [`Event::Gone`].
    Spawn {
        /// Its identity.
        worker: WorkerId,
        /// Its name.
        name: WorkerName,
        /// The function that it serves.
        function: String,
    },
    /// Send a leased chunk to a worker; answered by [`Event::Answered`].
    Send {
        /// The worker.
        worker: WorkerId,
        /// The lease.
        lease: LeaseId,
    },
    /// Give a lease that was not sent back to the store; answered by [`Event::Settled`].
    Release {
        /// The lease.
        lease: Lease,
        /// Its job.
        job: JobId,
    },
    /// Fail what is not done of a job, as the workers of its function do not start; answered by
    /// [`Event::Settled`].
    Fail {
        /// The job.
        job: JobId,
    },
    /// Let a worker end when it has answered what it has; answered by [`Event::Gone`].
    Finish(WorkerId),
    /// End a worker; answered by [`Event::Gone`].
    Stop(WorkerId),
}
