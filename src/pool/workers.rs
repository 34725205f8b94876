//! The workers of a pool and what each is doing.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use super::chunking::PIPELINE_BELOW;
use crate::model::{JobId, LeaseId, WorkerName};

/// One worker process; never used again, so that what is said of an earlier worker of the same name is told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerId(pub u64);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease, without its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Its identity.
    pub id: LeaseId,
    /// The index of the first task that has no answer.
    pub first: u64,
    /// How many tasks have none.
    pub count: u32,
    /// Which attempt this is.
    pub attempt: u32,
}

/// What a worker is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WorkerState {
    /// Its process has been asked for; it takes no work yet.
    Starting,
    /// It waits for work.
    Idle,
    /// It works on the first of these leases; the others wait in its pipe.
    Busy {
        /// The job.
        job: JobId,
        /// The leases, never empty.
        leases: VecDeque<Lease>,
    },
    /// It has been told to end.
    Ending {
        /// What it was at work on.
        last: Option<(JobId, VecDeque<Lease>)>,
    },
}

/// What of a job is under way besides some tasks of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Others {
    /// Nothing.
    None,
    /// Workers have all that is left.
    AtWork,
    /// There are some that no worker has yet.
    Unstarted,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: WorkerName,
    pub(super) function: String,
    pub(super) state: WorkerState,
    /// How many tasks it has been sent.
    sent: u64,
    /// Whether it gets no more work.
    pub(super) retired: bool,
    /// Whether it has given work back since its last answer, as it is at a long task.
    pub(super) is_slow: bool,
    /// How long a task took of those that it answered last; nothing is known of one that has answered none.
    took: Option<Duration>,
    /// The one task of another job that it takes up next.
    next: Option<(JobId, Lease)>,
}

/// What became of a worker that is done with something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turned {
    /// The job that it was at.
    pub(super) from: JobId,
    /// Whether it has nothing of that any more.
    pub(super) left: bool,
    /// The job that it has taken up.
    pub(super) to: Option<JobId>,
}

impl Worker {
    fn leases(&self) -> Option<(JobId, &VecDeque<Lease>)> {
        match &self.state {
            WorkerState::Busy { job, leases } | WorkerState::Ending { last: Some((job, leases)) } => {
                Some((*job, leases))
            }
            WorkerState::Starting | WorkerState::Idle | WorkerState::Ending { last: None } => None,
        }
    }

    /// The job that it is at work on.
    pub(super) fn job(&self) -> Option<JobId> {
        self.leases().map(|(job, _)| job)
    }

    /// Whether it has more than so many tasks.
    pub(super) fn has_more_than(&self, count: u32) -> bool {
        self.leases().is_some_and(|(_, leases)| leases.iter().map(|lease| lease.count).sum::<u32>() > count)
    }

    /// Notes an answer for its first lease.
    pub(super) fn answered(&mut self, count: u32, elapsed: Duration) -> Option<Turned> {
        self.took = Some(elapsed / count.max(1));
        let (WorkerState::Busy { leases, .. } | WorkerState::Ending { last: Some((_, leases)) }) =
            &mut self.state
        else {
            return None;
        };
        self.is_slow = false;
        if let Some(first) = leases.front_mut() {
            first.first += u64::from(count);
            first.count = first.count.saturating_sub(count);
        }
        leases.pop_front_if(|first| first.count == 0);
        self.go_on()
    }

    /// Goes on with what is next, or rests, if it has no more of its job.
    fn go_on(&mut self) -> Option<Turned> {
        let (from, leases) = self.leases()?;
        let left = leases.is_empty();
        let next = if left { self.next.take() } else { None };
        let to = next.map(|(job, _)| job);
        if left {
            let next = next.map(|(job, lease)| (job, [lease].into()));
            self.state = match (&self.state, next) {
                (WorkerState::Ending { .. }, last) => WorkerState::Ending { last },
                (_, Some((job, leases))) => WorkerState::Busy { job, leases },
                (_, None) => WorkerState::Idle,
            };
        }
        Some(Turned { from, left, to })
    }

    /// Notes that a lease ends so many tasks earlier.
    pub(super) fn returned(&mut self, id: LeaseId, count: u32) -> Option<Turned> {
        let (WorkerState::Busy { leases, .. } | WorkerState::Ending { last: Some((_, leases)) }) =
            &mut self.state
        else {
            return None;
        };
        self.is_slow = true;
        for lease in leases.iter_mut().filter(|lease| lease.id == id) {
            lease.count = lease.count.saturating_sub(count);
        }
        leases.retain(|lease| lease.count > 0);
        self.go_on()
    }

    /// Notes that it has given back what was next, if this is it; gives the job of that.
    pub(super) fn give_back(&mut self, id: LeaseId) -> Option<JobId> {
        let (job, _) = self.next.take_if(|(_, lease)| lease.id == id)?;
        self.is_slow = true;
        Some(job)
    }

    /// Whether one task of another job may wait for it: it is at a single one, which is short as far as one knows.
    pub(super) fn could_go_on(&self) -> bool {
        let is_single = |leases: &VecDeque<Lease>| leases.iter().map(|lease| lease.count).eq([1]);
        let at_short = self.took.is_some_and(|took| took < PIPELINE_BELOW) && !self.is_slow;
        at_short
            && self.next.is_none()
            && matches!(&self.state, WorkerState::Busy { leases, .. } if is_single(leases))
    }

    /// Notes that it is sent a lease of another job, which is next.
    pub(super) fn line_up(&mut self, job: JobId, lease: Lease) {
        self.sent += u64::from(lease.count);
        self.next = Some((job, lease));
    }

    /// What is next, behind the job that it is at.
    pub(super) fn next(&self) -> Option<(JobId, Lease)> {
        self.next
    }

    /// Whether it may take this lease as well. A fresh one may take any, be it from a time of other limits.
    pub(super) fn has_room(&self, lease: &Lease, most: Option<u32>) -> bool {
        let fits = |most| self.sent + u64::from(lease.count) <= u64::from(most);
        !self.retired && (self.sent == 0 || most.is_none_or(fits))
    }

    /// Notes that it is sent a lease of this job behind those it has.
    pub(super) fn send(&mut self, job: JobId, lease: Lease) {
        self.sent += u64::from(lease.count);
        match &mut self.state {
            WorkerState::Busy { leases, .. } => leases.push_back(lease),
            state => *state = WorkerState::Busy { job, leases: [lease].into() },
        }
    }

    /// Puts it into the state of ending; `false` if it was there.
    pub(super) fn end(&mut self) -> bool {
        let last = match std::mem::replace(&mut self.state, WorkerState::Idle) {
            WorkerState::Ending { last } => {
                self.state = WorkerState::Ending { last };
                return false;
            }
            WorkerState::Busy { job, leases } => Some((job, leases)),
            WorkerState::Starting | WorkerState::Idle => None,
        };
        self.state = WorkerState::Ending { last };
        true
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.state, WorkerState::Ending { .. })
    }
}

/// All workers, in the order of their start.
#[derive(Debug, Default)]
pub(super) struct Workers {
    all: BTreeMap<WorkerId, Worker>,
    next_id: u64,
}

impl Workers {
    /// Adds a worker that starts, under the lowest free name.
    pub(super) fn add(&mut self, function: String) -> (WorkerId, WorkerName) {
        let taken = |number: &u32| self.all.values().any(|worker| worker.name == WorkerName(*number));
        let free = (1..u32::MAX).find(|number| !taken(number)).unwrap_or(u32::MAX);
        self.next_id += 1;
        let (id, name) = (WorkerId(self.next_id), WorkerName(free));
        self.all.insert(
            id,
            Worker {
                name,
                function,
                state: WorkerState::Starting,
                sent: 0,
                retired: false,
                is_slow: false,
                took: None,
                next: None,
            },
        );
        (id, name)
    }

    pub(super) fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.all.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        self.all.remove(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.all.iter()
    }

    pub(super) fn ids(&self) -> Vec<WorkerId> {
        self.all.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How long the tasks take of the worker whose tasks take longest, if all are known to have done some.
    pub(super) fn longest(&self) -> Option<Duration> {
        self.all
            .values()
            .map(|worker| worker.took)
            .try_fold(Duration::ZERO, |most, took| Some(most.max(took?)))
    }

    /// Those that have tasks of this job.
    pub(super) fn serving(&self, job: JobId) -> Vec<WorkerId> {
        let serves =
            |worker: &Worker| matches!(&worker.state, WorkerState::Busy { job: its, .. } if *its == job);
        self.all.iter().filter(|(_, worker)| serves(worker)).map(|(id, _)| *id).collect()
    }

    /// Those that wait for work.
    pub(super) fn idle(&self) -> impl DoubleEndedIterator<Item = (WorkerId, &Worker)> {
        let idle = self.all.iter().filter(|(_, worker)| worker.state == WorkerState::Idle);
        idle.map(|(id, worker)| (*id, worker))
    }
}
