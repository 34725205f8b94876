//! What must hold at every step, by a ledger of its own: it hears what the pool hears and does not look into it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use gristmill::model::{JobId, LeaseId};
use gristmill::pool::{Command, Event, WorkerId};
use gristmill::store::{Chunk, Claimed, Receipt, Release, Requeue};

use crate::disk::{Disk, Write};
use crate::plan::{Job, Plan};
use crate::results::Results;

/// A chunk takes about so long; jobs take turns of so much worker time.
const CHUNK_TIME: Duration = Duration::from_millis(10);
const TURN: Duration = Duration::from_millis(100);

/// A worker, as what was told of it says.
#[derive(Debug)]
struct Seat {
    function: String,
    ready: bool,
    /// Told to end, or to get no more work.
    closed: bool,
    ending: bool,
    /// How many tasks it was sent.
    sent: u32,
    /// What it has not answered.
    leases: Vec<(LeaseId, JobId, u32)>,
}

#[derive(Debug)]
pub(crate) struct Checks {
    /// The first thing found wrong.
    pub(crate) found: Option<String>,
    pub(crate) results: Results,
    slots: u32,
    seats: BTreeMap<WorkerId, Seat>,
    sent: BTreeSet<LeaseId>,
    /// Leases that hold, and the tasks that they are for.
    live: BTreeMap<LeaseId, (JobId, Range<u64>)>,
    /// Tasks that are to blame for what became of them, by their lease.
    blamed: BTreeSet<(LeaseId, u64)>,
    /// When the pool heard of a job first, and when it sent the first of its tasks.
    heard: BTreeMap<JobId, Duration>,
    started: BTreeSet<JobId>,
    /// How many tasks of a job were sent.
    tasks_sent: BTreeMap<JobId, u64>,
    /// How many chunks went to others while a job of a higher priority had tasks left.
    overtaken: u32,
}

impl Checks {
    pub(crate) fn new(slots: u32) -> Self {
        Self {
            found: None,
            results: Results::default(),
            slots,
            seats: BTreeMap::new(),
            sent: BTreeSet::new(),
            live: BTreeMap::new(),
            blamed: BTreeSet::new(),
            heard: BTreeMap::new(),
            started: BTreeSet::new(),
            tasks_sent: BTreeMap::new(),
            overtaken: 0,
        }
    }

    pub(crate) fn expect(&mut self, holds: bool, check: &str, detail: impl FnOnce() -> String) {
        if !holds && self.found.is_none() {
            self.found = Some(format!("{check}: {}", detail()));
        }
    }

    pub(crate) fn look(&mut self, job: JobId, disk: &Disk, plan: &Plan) {
        let seen = self.results.look(job, disk, plan);
        self.expect(seen.is_ok(), "results", || seen.unwrap_err());
    }

    pub(crate) fn ended(&mut self, job: &Job, disk: &Disk, plan: &Plan) {
        self.look(job.id, disk, plan);
        let whole = self.results.whole(job, disk);
        self.expect(whole.is_ok(), "at the end", || whole.unwrap_err());
    }

    pub(crate) fn restarted(&mut self, slots: u32) {
        self.slots = slots;
        self.seats.clear();
        self.live.clear();
    }

    /// A task is to blame for an attempt that came to nothing.
    pub(crate) fn blame(&mut self, lease: LeaseId, index: u64) {
        self.blamed.insert((lease, index));
    }

    /// What the pool is about to hear.
    pub(crate) fn event(&mut self, event: &Event, now: Duration) {
        match event {
            Event::Job(job) => drop(self.heard.entry(job.id).or_insert(now)),
            Event::Listed { jobs, .. } => {
                for job in jobs {
                    self.heard.entry(job.id).or_insert(now);
                }
            }
            Event::Ready(worker) => drop(self.seats.get_mut(worker).map(|seat| seat.ready = true)),
            Event::Retire(worker) => drop(self.seats.get_mut(worker).map(|seat| seat.closed = true)),
            Event::Answered { worker, count, .. } => {
                let Some(seat) = self.seats.get_mut(worker) else { return };
                let fits = seat.leases.first_mut().is_some_and(|(.., left)| {
                    *left = left.wrapping_sub(*count);
                    *left < u32::MAX / 2
                });
                seat.leases.retain(|(.., left)| *left > 0);
                self.expect(fits, "ledger", || format!("worker {worker} answered what it had not"));
            }
            Event::Returned { worker, lease, count } => {
                let Some(seat) = self.seats.get_mut(worker) else { return };
                for (_, _, left) in seat.leases.iter_mut().filter(|(id, ..)| id == lease) {
                    *left = left.saturating_sub(*count);
                }
                seat.leases.retain(|(.., left)| *left > 0);
            }
            Event::Gone { worker, .. } => drop(self.seats.remove(worker)),
            Event::Resize(slots) => self.slots = *slots,
            _ => {}
        }
    }

    /// What the pool wants done.
    pub(crate) fn command(
        &mut self,
        command: &Command,
        chunks: &BTreeMap<LeaseId, Chunk>,
        plan: &Plan,
        now: Duration,
    ) {
        match command {
            Command::Spawn { worker, function, .. } => self.spawned(*worker, function, plan),
            Command::Send { worker, lease } => match chunks.get(lease) {
                Some(chunk) => self.sends(*worker, chunk, plan, now),
                None => self.expect(false, "sent once", || format!("{lease} has no payload")),
            },
            Command::Finish(worker) | Command::Stop(worker) => {
                if let Some(seat) = self.seats.get_mut(worker) {
                    (seat.closed, seat.ending) = (true, true);
                }
            }
            Command::ListJobs { .. }
            | Command::Forget(_)
            | Command::Claim { .. }
            | Command::Release { .. }
            | Command::Fail { .. } => {}
        }
    }

    fn spawned(&mut self, worker: WorkerId, function: &str, plan: &Plan) {
        let (ready, closed, ending) = (false, false, false);
        let seat = Seat { function: function.into(), ready, closed, ending, sent: 0, leases: Vec::new() };
        self.seats.insert(worker, seat);
        let (all, slots) = (self.seats.len(), self.slots);
        self.expect(all <= slots as usize, "slots", || format!("{all} workers in {slots} slots"));
        let counts = |seat: &&Seat| seat.function == function && !(seat.ending && seat.leases.is_empty());
        let of_function = self.seats.values().filter(counts).count();
        let most = plan.function(function).rules.workers.unwrap_or(u32::MAX);
        self.expect(of_function <= most as usize, "workers of a function", || {
            format!("{of_function} workers of {function}, which may have {most}")
        });
    }

    fn sends(&mut self, worker: WorkerId, chunk: &Chunk, plan: &Plan, now: Duration) {
        let job = plan.job(chunk.job);
        let fresh = self.sent.insert(chunk.lease);
        self.expect(fresh, "sent once", || format!("{} is sent again", chunk.lease));
        let Some(seat) = self.seats.get_mut(&worker) else {
            return self.expect(false, "ledger", || format!("worker {worker} is not there"));
        };
        let takes = seat.ready && !seat.closed && seat.function == job.spec.function;
        seat.sent += chunk.count;
        seat.leases.push((chunk.lease, chunk.job, chunk.count));
        let (tasks, leases) = (seat.sent, seat.leases.clone());
        self.expect(takes, "takes work", || format!("worker {worker} gets {}", chunk.lease));
        if leases.len() == 1 {
            let staying = self.seats.values().filter(|seat| seat.ready && !seat.ending).count();
            let slots = self.slots;
            self.expect(staying <= slots as usize, "slots", || format!("{staying} at work, {slots} slots"));
        }
        // Only behind a single task, one of another job may wait, which is all that is left of that.
        let singles = leases.iter().all(|(.., count)| *count == 1) && job.spec.options.lock.is_none();
        let fits = leases.len() <= 2 && (singles || leases.iter().all(|(_, id, _)| *id == chunk.job));
        self.expect(fits, "two leases of one job, or two single tasks", || {
            format!("worker {worker} has {leases:?}")
        });
        let most = plan.function(&job.spec.function).rules.max_tasks_per_worker.unwrap_or(u32::MAX);
        self.expect(tasks <= most, "tasks of a worker", || {
            format!("{tasks} sent to one that may have {most}")
        });
        let serves = |seat: &&Seat| seat.leases.iter().any(|(_, id, _)| *id == chunk.job);
        let at_work = self.seats.values().filter(serves).count();
        let most = job.spec.options.processes.unwrap_or(u32::MAX);
        self.expect(at_work <= most as usize, "processes", || {
            format!("{at_work} workers at a job of {most} processes")
        });
        if let Some(lock) = &job.spec.options.lock {
            let same = |id: JobId| plan.job(id).spec.options.lock.as_ref() == Some(lock);
            let holds = |seat: &&Seat| seat.leases.iter().any(|(_, id, _)| same(*id));
            let holders = self.seats.values().filter(holds).count();
            self.expect(holders <= lock.permits as usize, "locks", || format!("{holders} hold {lock:?}"));
        }
        if plan.fair {
            self.share(job, chunk, plan, now);
        }
    }

    /// Whether each job gets a slot soon, and one of a higher priority all slots.
    fn share(&mut self, job: &Job, chunk: &Chunk, plan: &Plan, now: Duration) {
        if self.started.insert(job.id) {
            let waited = now.saturating_sub(self.heard[&job.id]);
            let most = TURN + 6 * CHUNK_TIME;
            self.expect(waited <= most, "fair share", || format!("job {} waited {waited:?}", job.id));
        }
        *self.tasks_sent.entry(job.id).or_default() += u64::from(chunk.count);
        let waits = |other: &&Job| {
            let sent = self.tasks_sent.get(&other.id).copied().unwrap_or(0);
            let above = other.spec.options.priority > job.spec.options.priority;
            above && self.heard.contains_key(&other.id) && sent < other.total
        };
        self.overtaken += u32::from(plan.jobs.iter().any(|other| waits(&other)));
        let (overtaken, most) = (self.overtaken, 4 * plan.slots + 4);
        self.expect(overtaken <= most, "priority", || format!("{overtaken} chunks went before a better job"));
    }

    /// What the store has answered to a claim; whether a full disk undid it since.
    pub(crate) fn claimed(&mut self, claimed: &Claimed, undone: bool) {
        for Chunk { lease, job, first, count, attempt, .. } in &claimed.chunks {
            let range = *first..first + u64::from(*count);
            let overlaps = |(its, other): &(JobId, Range<u64>)| {
                its == job && other.start < range.end && range.start < other.end
            };
            let twice = self.live.values().any(overlaps);
            self.expect(!twice, "leased once", || format!("tasks {range:?} are leased twice"));
            let wrong = range.clone().find(|index| self.results.attempt(*job, *index) != *attempt);
            self.expect(wrong.is_none(), "attempts", || format!("task {wrong:?} has attempt {attempt}"));
            if !undone {
                self.live.insert(*lease, (*job, range));
            }
        }
    }

    /// What the store has answered to a write.
    pub(crate) fn wrote(&mut self, write: &Write, receipt: Receipt) {
        if !receipt.held {
            return;
        }
        let (lease, first, count) = match write {
            Write::Complete(done) => (done.lease, done.first, done.outcomes.count()),
            Write::Release(Release { lease, first, count, .. }) => (*lease, *first, *count),
            Write::Fail(..) => return,
        };
        let end = first + u64::from(count);
        if let Some((_, range)) = self.live.get_mut(&lease) {
            if range.start == first {
                range.start = end
            } else {
                range.end = first
            }
            let over = range.is_empty();
            self.live.extract_if(lease..=lease, |_, _| over).for_each(drop);
        }
        if let Write::Release(Release { job, how: Requeue::Charged, .. }) = write {
            for index in first..end {
                let guilty = self.blamed.contains(&(lease, index));
                self.expect(guilty, "charged", || format!("task {index} of {job} is charged, innocent"));
                self.results.charge(*job, index);
            }
        }
    }
}
