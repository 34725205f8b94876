//! A naive world around a pool: a store that leases, workers that answer, all on virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::job;
use crate::model::{JobId, LeaseId};
use crate::pool::{Command, Event, JobBrief, Lease, Pool, WorkerId};

/// Tasks of one job that are neither leased nor done, and how long each takes.
pub(super) struct Backlog {
    pub(super) next: u64,
    pub(super) total: u64,
    pub(super) task: Duration,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) cancelled: bool,
}

/// The world around a pool.
pub(super) struct World {
    pub(super) pool: Pool,
    pub(super) now: Instant,
    pub(super) jobs: BTreeMap<JobId, Backlog>,
    pub(super) leases: BTreeMap<LeaseId, (JobId, Lease)>,
    pub(super) at_work: BTreeMap<WorkerId, VecDeque<LeaseId>>,
    /// When each worker will have answered its first chunk.
    pub(super) due: BTreeMap<WorkerId, Instant>,
    pub(super) functions: BTreeMap<WorkerId, String>,
    pub(super) claims: usize,
    /// How many tasks were left when the last of them were claimed.
    pub(super) backwards: Vec<u64>,
    pub(super) started: usize,
    pub(super) ended: usize,
    pub(super) starts_fail: bool,
    /// The size of each chunk, as it was answered.
    pub(super) chunks: Vec<u32>,
    pub(super) events: VecDeque<Event>,
}

impl World {
    pub(super) fn new(slots: u32, now: Instant) -> Self {
        let mut world = Self {
            pool: Pool::new(slots),
            now,
            jobs: BTreeMap::new(),
            leases: BTreeMap::new(),
            at_work: BTreeMap::new(),
            due: BTreeMap::new(),
            functions: BTreeMap::new(),
            claims: 0,
            backwards: Vec::new(),
            started: 0,
            ended: 0,
            starts_fail: false,
            chunks: Vec::new(),
            events: VecDeque::from([Event::Tick]),
        };
        world.settle();
        world
    }

    pub(super) fn submit(&mut self, brief: JobBrief, task: Duration) {
        self.jobs.insert(
            brief.id,
            Backlog { next: 0, total: brief.unclaimed, task, done: 0, failed: 0, cancelled: false },
        );
        self.tell(Event::Job(brief));
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
        self.settle();
    }

    /// Carries events in and commands out until there are none.
    pub(super) fn settle(&mut self) {
        while let Some(event) = self.events.pop_front() {
            for command in self.pool.handle(event, self.now) {
                self.execute(command);
            }
            assert!(self.pool.jobs.are_in_place());
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::ListJobs { .. } => {
                self.events.push_back(Event::Listed { jobs: Vec::new(), more: false });
            }
            Command::Forget(_) => {}
            Command::Claim { job, chunks, max_tasks, backwards } => {
                self.claims += 1;
                let backlog = &self.jobs[&job];
                let left = backlog.total - backlog.next;
                self.backwards.extend(backwards.then_some(left));
                let tasks = u64::from(chunks) * u64::from(max_tasks);
                assert!(
                    chunks <= 3 * self.pool.slots || tasks <= left / 4,
                    "what is left is shared out: {chunks} chunks of {max_tasks} tasks are claimed of {left}"
                );
                self.claim(job, chunks, max_tasks);
            }
            Command::Spawn { worker, function, .. } => {
                self.started += 1;
                self.functions.insert(worker, function);
                self.at_work.insert(worker, VecDeque::new());
                if self.starts_fail {
                    self.end(worker);
                } else {
                    self.events.push_back(Event::Ready(worker));
                }
            }
            Command::Send { worker, lease } => {
                let queue = self.at_work.get_mut(&worker).expect("work goes to live workers only");
                queue.push_back(lease);
                assert!(queue.len() <= 2, "at most one chunk waits behind the one at work");
                self.begin(worker);
            }
            Command::Release { lease, job } => {
                self.leases.remove(&lease.id);
                let backlog = self.jobs.get_mut(&job).unwrap();
                backlog.total += u64::from(lease.count);
                self.events.push_back(Event::Settled {
                    job,
                    requeued: lease.count,
                    delay: Duration::ZERO,
                    ended: false,
                });
            }
            Command::Fail { job } => {
                let backlog = self.jobs.get_mut(&job).unwrap();
                backlog.failed += backlog.total - backlog.next;
                backlog.next = backlog.total;
                let ended = self.leases.values().all(|(its, _)| *its != job);
                self.events.push_back(Event::Settled { job, requeued: 0, delay: Duration::ZERO, ended });
            }
            Command::Finish(worker) | Command::Stop(worker) => self.end(worker),
        }
    }

    fn claim(&mut self, id: JobId, chunks: u32, max_tasks: u32) {
        let backlog = self.jobs.get_mut(&id).unwrap();
        let mut leases = Vec::new();
        while leases.len() < chunks as usize && backlog.next < backlog.total && !backlog.cancelled {
            let count = u64::from(max_tasks).min(backlog.total - backlog.next) as u32;
            let number =
                LeaseId((self.leases.len() + self.chunks.len() + leases.len()) as u64 * 1000 + backlog.next);
            leases.push(Lease { id: number, first: backlog.next, count, attempt: 1 });
            backlog.next += u64::from(count);
        }
        self.leases.extend(leases.iter().map(|lease| (lease.id, (id, *lease))));
        let (unclaimed, ended) = (backlog.total - backlog.next, backlog.cancelled);
        self.events.push_back(Event::Claimed { job: id, leases, unclaimed, later: None, ended });
    }

    /// The worker ends; what it had goes back to the queue.
    pub(super) fn end(&mut self, worker: WorkerId) {
        self.ended += 1;
        self.due.remove(&worker);
        let lost: Vec<LeaseId> = self.at_work.remove(&worker).into_iter().flatten().collect();
        let failed_start = self.starts_fail;
        self.events.push_back(Event::Gone { worker, settled: lost.clone(), failed_start });
        for id in lost {
            let (job, lease) = self.leases.remove(&id).unwrap();
            self.jobs.get_mut(&job).unwrap().total += u64::from(lease.count);
            self.events.push_back(Event::Settled {
                job,
                requeued: lease.count,
                delay: Duration::ZERO,
                ended: false,
            });
        }
    }

    /// A worker that has a chunk and is not at one begins it.
    fn begin(&mut self, worker: WorkerId) {
        if let Some(id) = self.at_work[&worker].front() {
            let (job, lease) = self.leases[id];
            self.due.entry(worker).or_insert(self.now + self.jobs[&job].task * lease.count);
        }
    }

    /// Lets time pass until the next worker has answered its chunk.
    pub(super) fn step(&mut self) -> bool {
        let Some((worker, at)) =
            self.due.iter().min_by_key(|(_, at)| **at).map(|(worker, at)| (*worker, *at))
        else {
            return false;
        };
        self.due.remove(&worker);
        let id = self.at_work.get_mut(&worker).unwrap().pop_front().unwrap();
        let (job, lease) = self.leases.remove(&id).unwrap();
        let backlog = self.jobs.get_mut(&job).unwrap();
        let elapsed = backlog.task * lease.count;
        backlog.done += u64::from(lease.count);
        let ended = backlog.next == backlog.total && self.leases.values().all(|(its, _)| *its != job);
        self.chunks.push(lease.count);
        self.now = at;
        self.begin(worker);
        self.events.push_back(Event::Answered { worker, count: lease.count, elapsed });
        self.events.push_back(Event::Settled { job, requeued: 0, delay: Duration::ZERO, ended });
        self.settle();
        true
    }

    pub(super) fn run(&mut self) {
        while self.step() {}
    }

    pub(super) fn busy_on(&self, id: JobId) -> usize {
        let serves =
            |queue: &&VecDeque<LeaseId>| queue.front().is_some_and(|lease| self.leases[lease].0 == id);
        self.at_work.values().filter(serves).count()
    }

    pub(super) fn done(&self, number: u128) -> u64 {
        self.jobs[&job(number)].done
    }
}
