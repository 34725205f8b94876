//! Virtual time: what is to happen, in order, and what befalls the node from outside.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use gristmill::model::{JobId, JobState, LeaseId, Timestamp};
use gristmill::pool::{Event, Pool, WorkerId};
use gristmill::store::{Chunk, RunnableJob};

use crate::bugs::Bug;
use crate::checks::Checks;
use crate::child::{Child, Told};
use crate::disk::Disk;
use crate::plan::{Action, Plan};
use crate::random::Random;
use crate::shell::{Answer, Limits, Writes};

/// No history takes so many steps.
const MOST_STEPS: usize = 20_000;
/// From a client to the loop.
const ASKING: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(crate) enum Happening {
    Action(Action),
    /// A client has the failed tasks of a job run again.
    Retry(JobId),
    Submitted(Box<RunnableJob>),
    Cancelled(JobId),
    Answer(Answer),
    Told(WorkerId, Told),
    /// A worker has done what it was at, unless something has come between.
    Worked(WorkerId, u64),
    /// A worker is slow.
    Slow(WorkerId, u64),
    /// A worker has read that it is to give a chunk back.
    AskedBack(WorkerId, LeaseId),
    Dies(WorkerId),
    FailsToStart(WorkerId),
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) bug: Option<Bug>,
    pub(crate) random: Random,
    pub(crate) disk: Disk,
    pub(crate) checks: Checks,
    told: bool,
    begin: Instant,
    /// Since the beginning.
    pub(crate) now: Duration,
    queue: BTreeMap<(Duration, u64), Happening>,
    numbered: u64,
    pub(crate) pool: Pool,
    slots: u32,
    draining: bool,
    pub(crate) pending: usize,
    pub(crate) not_started: VecDeque<Event>,
    pub(crate) children: BTreeMap<WorkerId, Child>,
    pub(crate) chunks: BTreeMap<LeaseId, Chunk>,
    pub(crate) limits: BTreeMap<JobId, Limits>,
    pub(crate) writes: Writes,
    /// Answers to writes come in the order of the writes.
    pub(crate) written_at: Duration,
}

impl World {
    fn new(seed: u64, bug: Option<Bug>) -> Self {
        let plan = Plan::of(seed);
        let (pool, slots) = (Pool::new(plan.slots), plan.slots);
        let mut world = Self {
            checks: Checks::new(slots),
            plan,
            bug,
            random: Random(!seed),
            disk: Disk::new(bug),
            told: false,
            begin: Instant::now(),
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            numbered: 0,
            pool,
            slots,
            draining: false,
            pending: 0,
            not_started: VecDeque::new(),
            children: BTreeMap::new(),
            chunks: BTreeMap::new(),
            limits: BTreeMap::new(),
            writes: Writes::default(),
            written_at: Duration::ZERO,
        };
        for (at, action) in world.plan.actions.clone() {
            world.later(at, Happening::Action(action));
        }
        world
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(crate) fn instant(&self) -> Instant {
        self.begin + self.now
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        Timestamp(self.now.as_micros() as i64)
    }

    pub(crate) fn at(&mut self, at: Duration, happening: Happening) {
        self.numbered += 1;
        self.queue.insert((at, self.numbered), happening);
    }

    pub(crate) fn later(&mut self, after: Duration, happening: Happening) {
        self.at(self.now + after, happening);
    }

    /// Lets everything happen until nothing more can.
    fn run(&mut self) {
        self.decide(Event::Tick);
        for _ in 0..MOST_STEPS {
            if self.draining && self.pool.is_empty() && self.pending == 0 {
                self.restart();
            }
            let pool = self.pool.next_deadline().map(|at| at.saturating_duration_since(self.begin));
            let deadline = pool.into_iter().chain(self.writes.again_at).min();
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            match (deadline, next) {
                (Some(deadline), next) if next.is_none_or(|next| deadline <= next) => {
                    self.now = self.now.max(deadline);
                    self.write_again();
                    self.decide(Event::Tick);
                }
                (_, Some(_)) => {
                    let ((at, _), happening) = self.queue.pop_first().expect("it is not empty");
                    self.now = self.now.max(at);
                    self.happen(happening);
                }
                _ => return,
            }
            if self.checks.found.is_some() {
                return;
            }
        }
        self.checks.expect(false, "quiescence", || "things go on and on".into());
    }

    /// A history that is replayed is told.
    pub(crate) fn trace(&self, what: &dyn std::fmt::Debug) {
        if self.told {
            println!("{:?} {what:?}", self.now);
        }
    }

    fn happen(&mut self, happening: Happening) {
        self.trace(&happening);
        match happening {
            Happening::Action(action) => self.act(action),
            Happening::Retry(job) => {
                self.checks.look(job, &self.disk, &self.plan);
                if let Some((job, count)) = self.disk.retry_failed(job).filter(|(_, count)| *count > 0) {
                    self.checks.results.retried(job.id);
                    let job = RunnableJob::new(&job, count);
                    let after = self.random.time(ASKING);
                    self.later(after, Happening::Submitted(job.into()));
                }
            }
            Happening::Submitted(job) => self.told_of(*job),
            Happening::Cancelled(job) => self.decide(Event::Cancelled(job)),
            Happening::Answer(answer) => self.answer(answer),
            Happening::Told(worker, told) => self.told(worker, told),
            Happening::Worked(worker, version) => self.worked(worker, version),
            Happening::Slow(worker, version) => self.ask_back(worker, version),
            Happening::AskedBack(worker, lease) => self.give_back(worker, lease),
            Happening::Dies(worker) => self.die(worker),
            Happening::FailsToStart(worker) => self.fail_to_start(worker),
        }
    }

    fn act(&mut self, action: Action) {
        let after = self.random.time(ASKING);
        match action {
            Action::Submit(number) => {
                let plan = &self.plan.jobs[number];
                let job = self.disk.submit(
                    plan,
                    self.pool.has_room() && plan.spec.options.lock.is_none(),
                    self.timestamp(),
                );
                if plan.total > 0 {
                    self.later(after, Happening::Submitted(job.into()));
                }
            }
            Action::Cancel(number) => {
                let job = self.disk.cancel(self.plan.jobs[number].id, self.timestamp());
                if let Some(job) = job.filter(|job| job.state == JobState::Cancelling) {
                    self.later(after, Happening::Cancelled(job.id));
                }
            }
            Action::Resize(slots) => {
                self.slots = slots;
                self.decide(Event::Resize(slots));
            }
            Action::End => self.some_worker().into_iter().for_each(|worker| self.decide(Event::End(worker))),
            Action::Wear => self.some_worker().into_iter().for_each(|worker| self.tell(worker, Told::Worn)),
            Action::Kill => self.some_worker().into_iter().for_each(|worker| self.kill(worker)),
            Action::FillDisk => self.disk.full = true,
            Action::FreeDisk => self.disk.full = false,
            Action::Drain => {
                self.draining = true;
                self.decide(Event::Drain);
            }
            Action::Interrupt => {
                self.draining = true;
                self.decide(Event::Interrupt);
            }
            Action::Crash => self.restart(),
        }
    }

    fn some_worker(&mut self) -> Option<WorkerId> {
        let at = self.random.below(self.children.len() as u64) as usize;
        self.children.keys().nth(at).copied()
    }

    /// The node starts again; what was not durable is gone.
    fn restart(&mut self) {
        self.queue.retain(|_, happening| matches!(happening, Happening::Action(_) | Happening::Retry(_)));
        self.disk.restart(self.timestamp());
        self.checks.restarted(self.slots);
        self.pool = Pool::new(self.slots);
        (self.draining, self.pending, self.writes) = (false, 0, Writes::default());
        self.children.clear();
        self.chunks.clear();
        self.limits.clear();
        self.decide(Event::Tick);
    }

    /// A node that has nothing more to do holds nothing, and ends when it is asked to.
    fn end(&mut self) {
        for job in &self.plan.jobs {
            self.checks.ended(job, &self.disk, &self.plan);
            let known = self.pool.knows(job.id);
            self.checks.expect(!known, "pool holds nothing", || format!("it knows job {}", job.id));
        }
        let settled = format!("{:?}", self.pool).contains("unsettled: 0,");
        self.checks.expect(settled, "pool holds nothing", || "it waits for answers to writes".into());
        self.checks.expect(self.chunks.is_empty(), "pool holds nothing", || "leases are left".into());
        self.decide(Event::Drain);
        let mut queue: VecDeque<Happening> = std::mem::take(&mut self.queue).into_values().collect();
        for _ in 0..1000 {
            queue.extend(std::mem::take(&mut self.queue).into_values());
            let Some(next) = queue.pop_front() else { break };
            self.happen(next);
        }
        self.checks.expect(self.pool.is_empty(), "pool holds nothing", || "workers are left".into());
    }
}

/// Runs the history of a seed; what is wrong with it, if anything is.
pub(crate) fn run(seed: u64, bug: Option<Bug>) -> Result<(), String> {
    run_told(seed, bug, false)
}

/// The same, and tells what happens.
pub(crate) fn run_told(seed: u64, bug: Option<Bug>, told: bool) -> Result<(), String> {
    let mut world = World { told, ..World::new(seed, bug) };
    world.run();
    if world.checks.found.is_none() {
        world.end();
    }
    world.checks.found.map_or(Ok(()), Err)
}
