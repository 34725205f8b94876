//! What a pool knows of one job, and what its function wants.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use super::chunking::{CHUNK_TIME, TaskTime};
use super::{Lease, WorkerId};
use crate::model::{JobId, Lock};

/// Jobs of one priority take turns of so much worker time, so that workers do not change function all the time.
pub(super) const TURN: Duration = Duration::from_millis(100);

/// What a pool must know of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobBrief {
    /// Its identifier.
    pub id: JobId,
    /// Its function.
    pub function: String,
    /// Jobs of a higher priority go first.
    pub priority: i32,
    /// At most so many of its tasks run at once.
    pub processes: Option<u32>,
    /// Chunks of just so many tasks; `None`: by the measured task time.
    pub chunk_size: Option<u32>,
    /// Only so many tasks of all jobs that name this lock run at once.
    pub lock: Option<Lock>,
    /// What its function wants.
    pub rules: Rules,
    /// How many of its tasks are neither leased nor done.
    pub unclaimed: u64,
    /// Its first tasks, if they were leased with it.
    pub leased: Option<Lease>,
}

/// How a function wants its tasks and workers to be dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// At most so many workers of it.
    pub workers: Option<u32>,
    /// A worker of it ends when it has run so many tasks.
    pub max_tasks_per_worker: Option<u32>,
    /// A chunk is to take about this long.
    pub chunk_time: Duration,
    /// So many failed starts in a row, and its jobs fail.
    pub max_failed_starts: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self { workers: None, max_tasks_per_worker: None, chunk_time: CHUNK_TIME, max_failed_starts: 5 }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) brief: JobBrief,
    /// Leases that no worker has yet.
    pub(super) held: VecDeque<Lease>,
    /// How many workers are at work on it.
    pub(super) busy: u32,
    /// The worker that is at another job, for which its only task is next.
    pub(super) next_for: Option<WorkerId>,
    /// Whether a claim is under way.
    pub(super) claiming: bool,
    /// Tasks that went back to the queue meanwhile: the claim's answer may not know of them.
    pub(super) requeued: u64,
    pub(super) time: TaskTime,
    /// Whether no more of it is to run.
    pub(super) stopped: Option<Stopped>,
    /// Writes about it that the store has not answered. Until it has, the job is not forgotten: were it to begin once
    /// more meanwhile, an old answer would pass for a new one.
    pub(super) unsettled: usize,
    /// Whether it has ended, or is gone.
    pub(super) ended: bool,
    /// Whether it may have begun once more, so that what stopped or ended it may be old news.
    pub(super) doubtful: bool,
    /// Worker time used, in nanoseconds; the jobs with the fewest turns go first.
    pub(super) used_ns: u64,
    /// Where it stands among those that could use a worker.
    pub(super) placed: Option<Turn>,
}

/// Why no more of a job is to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stopped {
    /// It is being cancelled.
    Cancelled,
    /// Until it is resumed.
    Paused,
    /// The workers of its function do not start: what is not done of it fails.
    Failing,
}

impl Entry {
    pub(super) fn new(brief: JobBrief) -> Self {
        Self {
            time: TaskTime::new(brief.rules.chunk_time),
            brief,
            held: VecDeque::new(),
            busy: 0,
            next_for: None,
            claiming: false,
            requeued: 0,
            stopped: None,
            unsettled: 0,
            ended: false,
            doubtful: false,
            used_ns: 0,
            placed: None,
        }
    }

    /// Whether no more of it is to run.
    pub(super) fn is_over(&self) -> bool {
        self.ended || self.stopped.is_some()
    }

    /// Whether the store has answered all about it.
    pub(super) fn is_settled(&self) -> bool {
        self.held.is_empty() && self.unsettled == 0 && !self.claiming
    }

    /// Whether nothing is lost with it: no worker is at it, the store has answered all about it and lists it when it is to run.
    pub(super) fn is_forgettable(&self) -> bool {
        self.busy == 0 && self.next_for.is_none() && self.is_settled()
    }

    /// Whether all that is left of it is one task, which waits here and for nothing but a worker.
    pub(super) fn is_single(&self) -> bool {
        let is_fresh = |lease: &Lease| lease.count == 1 && lease.attempt == 1;
        let has_one = self.held.len() == 1 && self.held.iter().all(is_fresh) && self.brief.unclaimed == 0;
        has_one && self.busy == 0 && self.next_for.is_none() && !self.claiming && self.brief.lock.is_none()
    }

    fn turns(&self) -> u64 {
        self.used_ns / TURN.as_nanos() as u64
    }

    pub(super) fn key(&self) -> Turn {
        (Reverse(self.brief.priority), self.turns(), self.brief.id)
    }

    /// How many workers could be at work on it now.
    pub(super) fn demand(&self) -> u32 {
        let waiting = self.held.len() as u64 + self.brief.unclaimed;
        let most = self.brief.processes.unwrap_or(u32::MAX);
        (u64::from(self.busy) + waiting).min(u64::from(most)) as u32
    }
}

/// Where a job stands among those whose turn it is: by priority, turns had, and id.
pub(super) type Turn = (Reverse<i32>, u64, JobId);
