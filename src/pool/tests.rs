//! Scenarios of the pool against a naive world: a store that leases, workers that answer, all on virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Command, Event, JobBrief, Lease, Pool, Rules, WorkerId};
use crate::model::{JobId, LeaseId, Lock};

fn job(number: u128) -> JobId {
    JobId(Uuid::from_u128(number))
}

fn brief(number: u128, function: &str, unclaimed: u64) -> JobBrief {
    JobBrief {
        id: job(number),
        function: function.into(),
        priority: 0,
        processes: None,
        chunk_size: None,
        lock: None,
        rules: Rules::default(),
        unclaimed,
    }
}

/// Tasks of one job that are neither leased nor done, and how long each takes.
struct Backlog {
    next: u64,
    total: u64,
    task: Duration,
    done: u64,
    failed: u64,
    cancelled: bool,
}

/// The world around a pool.
struct World {
    pool: Pool,
    now: Instant,
    jobs: BTreeMap<JobId, Backlog>,
    leases: BTreeMap<LeaseId, (JobId, Lease)>,
    at_work: BTreeMap<WorkerId, VecDeque<LeaseId>>,
    /// When each worker will have answered its first chunk.
    due: BTreeMap<WorkerId, Instant>,
    functions: BTreeMap<WorkerId, String>,
    started: usize,
    ended: usize,
    starts_fail: bool,
    /// The size of each chunk, as it was answered.
    chunks: Vec<u32>,
    events: VecDeque<Event>,
}

impl World {
    fn new(slots: u32) -> Self {
        let mut world = Self {
            pool: Pool::new(slots),
            now: Instant::now(),
            jobs: BTreeMap::new(),
            leases: BTreeMap::new(),
            at_work: BTreeMap::new(),
            due: BTreeMap::new(),
            functions: BTreeMap::new(),
            started: 0,
            ended: 0,
            starts_fail: false,
            chunks: Vec::new(),
            events: VecDeque::from([Event::Tick]),
        };
        world.settle();
        world
    }

    fn submit(&mut self, brief: JobBrief, task: Duration) {
        self.jobs.insert(
            brief.id,
            Backlog { next: 0, total: brief.unclaimed, task, done: 0, failed: 0, cancelled: false },
        );
        self.tell(Event::Jobs { jobs: vec![brief], more: false });
    }

    fn tell(&mut self, event: Event) {
        self.events.push_back(event);
        self.settle();
    }

    /// Carries events in and commands out until there are none.
    fn settle(&mut self) {
        while let Some(event) = self.events.pop_front() {
            for command in self.pool.handle(event, self.now) {
                self.execute(command);
            }
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::ListJobs { .. } => self.events.push_back(Event::Jobs { jobs: Vec::new(), more: false }),
            Command::Claim { job, chunks, max_tasks } => self.claim(job, chunks, max_tasks),
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
    fn end(&mut self, worker: WorkerId) {
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
    fn step(&mut self) -> bool {
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

    fn run(&mut self) {
        while self.step() {}
    }

    fn busy_on(&self, id: JobId) -> usize {
        let serves =
            |queue: &&VecDeque<LeaseId>| queue.front().is_some_and(|lease| self.leases[lease].0 == id);
        self.at_work.values().filter(serves).count()
    }

    fn done(&self, number: u128) -> u64 {
        self.jobs[&job(number)].done
    }
}

#[test]
fn workers_start_lazily_up_to_the_slots_and_are_used_again() {
    let mut world = World::new(4);
    assert_eq!(world.started, 0);
    world.submit(brief(1, "echo", 1), Duration::from_micros(1));
    assert_eq!(world.started, 1);
    world.run();
    world.submit(brief(2, "echo", 100_000), Duration::from_micros(1));
    world.run();
    assert_eq!((world.started, world.ended), (4, 0));
    assert_eq!((world.done(1), world.done(2)), (1, 100_000));
}

#[test]
fn chunks_are_few_for_tiny_tasks_and_single_for_long_ones() {
    let mut world = World::new(2);
    world.submit(brief(1, "echo", 1_000_000), Duration::from_nanos(200));
    world.run();
    assert!(world.chunks.len() < 80, "{} chunks", world.chunks.len());
    world.chunks.clear();
    world.submit(brief(2, "mine", 50), Duration::from_millis(50));
    world.run();
    assert_eq!(world.chunks, [1; 50]);
}

#[test]
fn chunks_have_the_size_that_was_asked_for() {
    let mut world = World::new(2);
    world.submit(JobBrief { chunk_size: Some(7), ..brief(1, "echo", 100) }, Duration::from_nanos(200));
    world.submit(JobBrief { chunk_size: Some(3), ..brief(2, "mine", 6) }, Duration::from_millis(50));
    world.run();
    world.chunks.sort_unstable();
    assert_eq!(world.chunks, [[2, 3, 3].as_slice(), &[7; 14]].concat());
}

#[test]
fn a_job_never_has_more_processes_than_it_asked_for() {
    let mut world = World::new(4);
    world.submit(JobBrief { processes: Some(2), ..brief(1, "count", 100) }, Duration::from_millis(20));
    world.submit(JobBrief { processes: Some(1), ..brief(2, "count", 100) }, Duration::from_millis(20));
    loop {
        assert!(world.busy_on(job(1)) <= 2 && world.busy_on(job(2)) <= 1);
        if !world.step() {
            break;
        }
    }
    assert_eq!((world.done(1), world.done(2)), (100, 100));
}

#[test]
fn jobs_fail_when_no_worker_starts_often_enough() {
    let mut world = World::new(2);
    world.starts_fail = true;
    let rules = Rules { max_failed_starts: 4, ..Rules::default() };
    world.submit(JobBrief { rules, ..brief(1, "count", 50) }, Duration::from_millis(20));
    while let Some(at) = world.pool.next_deadline().filter(|_| world.jobs[&job(1)].failed == 0) {
        assert!(world.started < 20);
        world.now = at;
        world.tell(Event::Tick);
    }
    assert_eq!(world.jobs[&job(1)].failed, 50);
    world.starts_fail = false;
    world.submit(brief(2, "echo", 5), Duration::from_millis(20));
    world.run();
    assert_eq!(world.done(2), 5, "other functions go on");
}

#[test]
fn a_worker_never_runs_more_tasks_than_it_may() {
    let mut world = World::new(2);
    let rules = Rules { max_tasks_per_worker: Some(7), ..Rules::default() };
    world.submit(JobBrief { rules, ..brief(1, "count", 100) }, Duration::from_micros(10));
    world.run();
    assert_eq!(world.done(1), 100);
    assert!(world.chunks.iter().all(|count| *count <= 7));
    assert!(world.started >= 100 / 7, "{} workers", world.started);
}

#[test]
fn a_delayed_task_is_claimed_when_its_time_has_come() {
    let mut pool = Pool::new(1);
    let now = Instant::now();
    pool.handle(Event::Jobs { jobs: vec![brief(1, "count", 1)], more: false }, now);
    let (leases, later) = (Vec::new(), Some(Duration::from_secs(3)));
    pool.handle(Event::Claimed { job: job(1), leases, unclaimed: 0, later, ended: false }, now);
    assert_eq!(pool.next_deadline(), Some(now + Duration::from_secs(3)));
    assert!(pool.handle(Event::Tick, now + Duration::from_secs(2)).is_empty());
    let commands = pool.handle(Event::Tick, now + Duration::from_secs(3));
    assert!(commands.iter().any(|command| matches!(command, Command::Claim { .. })), "{commands:?}");
    assert_eq!(pool.next_deadline(), None);
}

#[test]
fn jobs_with_one_lock_never_run_at_once() {
    let mut world = World::new(4);
    for (number, permits) in [(1, 2), (2, 2), (3, 2)] {
        let lock = Some(Lock { name: "disk".into(), permits });
        world.submit(JobBrief { lock, ..brief(number, "count", 40) }, Duration::from_millis(20));
    }
    world.submit(brief(4, "count", 40), Duration::from_millis(20));
    loop {
        let holds = |queue: &&VecDeque<LeaseId>| queue.front().is_some_and(|id| world.leases[id].0 != job(4));
        assert!(world.at_work.values().filter(holds).count() <= 2);
        if !world.step() {
            break;
        }
    }
    assert_eq!([1, 2, 3, 4].map(|number| world.done(number)), [40; 4]);
}

#[test]
fn a_paused_job_begins_nothing_until_it_is_told_of_again() {
    let mut world = World::new(2);
    world.submit(brief(1, "count", 100), Duration::from_millis(10));
    world.tell(Event::Paused(job(1)));
    world.run();
    let done = world.done(1);
    assert!(done < 100);
    let unclaimed = world.jobs[&job(1)].total - world.jobs[&job(1)].next;
    world.tell(Event::Jobs { jobs: vec![brief(1, "count", unclaimed)], more: false });
    world.run();
    assert_eq!(world.done(1), 100);
}

#[test]
fn a_function_never_has_more_workers_than_it_may() {
    let mut world = World::new(4);
    for number in 1..=3 {
        world.submit(
            JobBrief { rules: Rules { workers: Some(2), ..Rules::default() }, ..brief(number, "count", 50) },
            Duration::from_millis(20),
        );
    }
    loop {
        assert!(world.at_work.len() <= 2);
        if !world.step() {
            break;
        }
    }
    assert_eq!((world.done(1), world.done(2), world.done(3)), (50, 50, 50));
}

#[test]
fn a_small_job_is_not_kept_waiting_by_a_huge_one() {
    let mut world = World::new(2);
    world.submit(brief(1, "count", 10_000), Duration::from_millis(10));
    (0..500).for_each(|_| assert!(world.step()));
    world.submit(brief(2, "count", 1), Duration::from_millis(10));
    (0..4).for_each(|_| assert!(world.step()));
    assert_eq!(world.done(2), 1);
}

#[test]
fn jobs_of_one_priority_share_and_a_higher_one_goes_first() {
    let mut world = World::new(2);
    world.submit(brief(1, "count", 5_000), Duration::from_millis(10));
    world.submit(brief(2, "count", 5_000), Duration::from_millis(10));
    (0..1_000).for_each(|_| assert!(world.step()));
    assert!(world.done(1).abs_diff(world.done(2)) < 100, "{} and {}", world.done(1), world.done(2));
    let before = world.done(1) + world.done(2);
    world.submit(JobBrief { priority: 5, ..brief(3, "count", 100) }, Duration::from_millis(10));
    (0..103).for_each(|_| assert!(world.step()));
    assert_eq!(world.done(3), 100);
    assert!(world.done(1) + world.done(2) - before <= 5);
}

#[test]
fn a_job_of_another_function_gets_a_slot_of_a_busy_pool() {
    let mut world = World::new(1);
    world.submit(brief(1, "count", 1_000), Duration::from_millis(10));
    (0..50).for_each(|_| assert!(world.step()));
    world.submit(brief(2, "sha256", 1), Duration::from_millis(1));
    (0..3).for_each(|_| assert!(world.step()));
    assert_eq!(world.done(2), 1);
    world.run();
    assert_eq!(world.done(1), 1_000);
    assert!(world.started <= 4, "{} workers were started", world.started);
}

#[test]
fn a_worker_that_dies_is_replaced_and_its_tasks_run_again() {
    let mut world = World::new(2);
    world.submit(brief(1, "count", 100), Duration::from_millis(10));
    for _ in 0..20 {
        let victim = *world.at_work.keys().next().unwrap();
        world.end(victim);
        world.settle();
        world.step();
    }
    world.run();
    assert_eq!(world.done(1), 100);
}

#[test]
fn work_sent_to_a_worker_that_has_just_died_is_given_back() {
    let mut world = World::new(1);
    world.submit(brief(1, "count", 3), Duration::from_millis(10));
    let (worker, queue) = world.at_work.pop_first().unwrap();
    // Its thread knew of nothing, so it settles nothing.
    let unknown: Vec<Lease> = queue.iter().map(|id| world.leases[id].1).collect();
    let commands =
        world.pool.handle(Event::Gone { worker, settled: Vec::new(), failed_start: false }, world.now);
    assert!(commands.contains(&Command::Release { lease: unknown[0], job: job(1) }), "{commands:?}");
}

#[test]
fn resizing_starts_and_ends_workers_without_losing_a_task() {
    let mut world = World::new(1);
    world.submit(brief(1, "count", 300), Duration::from_millis(10));
    for slots in [4, 2, 8, 1, 3] {
        world.tell(Event::Resize(slots));
        (0..20).for_each(|_| assert!(world.step()));
        assert!(world.at_work.len() <= slots as usize, "{} workers in {slots} slots", world.at_work.len());
    }
    world.run();
    assert_eq!(world.done(1), 300);
}

#[test]
fn a_cancel_stops_what_runs_and_gives_back_what_waits() {
    let mut world = World::new(2);
    world.submit(brief(1, "count", 100), Duration::from_millis(10));
    world.jobs.get_mut(&job(1)).unwrap().cancelled = true;
    world.tell(Event::Cancelled(job(1)));
    assert!(world.leases.is_empty() && world.at_work.is_empty());
    assert!(!world.step());
    assert!(!world.pool.knows(job(1)));
}

#[test]
fn a_job_that_ended_before_the_pool_heard_of_it_is_forgotten() {
    let mut world = World::new(2);
    world.submit(brief(1, "count", 100), Duration::from_millis(10));
    let backlog = Backlog { next: 0, total: 1, task: Duration::ZERO, done: 0, failed: 0, cancelled: true };
    world.jobs.insert(job(2), backlog);
    world.tell(Event::Jobs { jobs: vec![brief(2, "count", 1)], more: false });
    world.run();
    assert!(!world.pool.knows(job(2)));
}

#[test]
fn old_news_of_its_end_does_not_end_a_job_that_has_begun_once_more() {
    let mut pool = Pool::new(1);
    let (now, again) = (Instant::now(), Event::Jobs { jobs: vec![brief(1, "count", 1)], more: false });
    pool.handle(again.clone(), now);
    let lease = Lease { id: LeaseId(1), first: 0, count: 1, attempt: 1 };
    let claimed = |leases, ended| Event::Claimed { job: job(1), leases, unclaimed: 0, later: None, ended };
    pool.handle(claimed(vec![lease], false), now);
    let worker = pool.workers().next().unwrap().0;
    pool.handle(Event::Ready(worker), now);
    pool.handle(Event::Answered { worker, count: 1, elapsed: Duration::ZERO }, now);
    pool.handle(again, now);
    let ended = Event::Settled { job: job(1), requeued: 0, delay: Duration::ZERO, ended: true };
    pool.handle(ended, now);
    for _ in 0..2 {
        assert!(pool.knows(job(1)), "it is asked for a task once more");
        pool.handle(claimed(Vec::new(), true), now);
    }
    assert!(!pool.knows(job(1)));
}

#[test]
fn pipes_are_filled_only_as_far_as_a_share_goes() {
    let mut world = World::new(2);
    world.submit(brief(1, "count", 1_000_000), Duration::from_micros(100));
    (0..500).for_each(|_| assert!(world.step()));
    world.submit(brief(2, "count", 1), Duration::from_micros(100));
    (0..8).for_each(|_| assert!(world.step()));
    assert_eq!(world.done(2), 1);
}

#[test]
fn draining_ends_every_worker_once_its_chunk_is_done() {
    let mut world = World::new(2);
    world.submit(brief(1, "count", 100), Duration::from_millis(10));
    (0..10).for_each(|_| assert!(world.step()));
    world.tell(Event::Drain);
    world.run();
    assert!(world.pool.is_empty() && world.leases.is_empty());
    assert!(world.done(1) < 100);
}

#[test]
fn a_function_that_does_not_start_is_tried_again_later_and_later() {
    let mut pool = Pool::new(1);
    let start = Instant::now();
    let spawned = |commands: &[Command]| {
        commands.iter().find_map(|c| if let Command::Spawn { worker, .. } = c { Some(*worker) } else { None })
    };
    let commands = pool.handle(Event::Jobs { jobs: vec![brief(1, "broken", 1)], more: false }, start);
    let (mut worker, mut now, mut waits) = (spawned(&commands).unwrap(), start, Vec::new());
    for _ in 0..3 {
        let commands = pool.handle(Event::Gone { worker, settled: Vec::new(), failed_start: true }, now);
        assert_eq!(spawned(&commands), None);
        let again_at = pool.next_deadline().unwrap();
        waits.push((again_at - now).as_millis());
        now = again_at;
        worker = spawned(&pool.handle(Event::Tick, now)).unwrap();
    }
    assert_eq!(waits, [100, 200, 400]);
}

#[test]
fn the_store_lists_jobs_a_page_after_another() {
    let mut pool = Pool::new(2);
    let now = Instant::now();
    let page = |numbers: std::ops::Range<u128>, more| Event::Jobs {
        jobs: numbers.map(|number| brief(number, "echo", 1)).collect(),
        more,
    };
    let lists = |commands: Vec<Command>| {
        let after = |command| if let Command::ListJobs { after } = command { Some(after) } else { None };
        commands.into_iter().filter_map(after).collect::<Vec<_>>()
    };
    assert_eq!(lists(pool.handle(Event::Tick, now)), [None]);
    assert_eq!(lists(pool.handle(page(0..1000, true), now)), [Some((0, job(999)))]);
    assert_eq!(lists(pool.handle(page(1000..1500, false), now)), []);
    // With as many as it wants it asks for no more until there is room.
    assert_eq!(lists(pool.handle(page(1500..5000, true), now)), []);
}

#[test]
fn tasks_that_come_while_a_claim_is_under_way_are_claimed_as_well() {
    let (mut pool, now) = (Pool::new(1), Instant::now());
    let claims =
        |commands: &[Command]| commands.iter().filter(|it| matches!(it, Command::Claim { .. })).count();
    let told = pool.handle(Event::Jobs { jobs: vec![brief(1, "echo", 1)], more: false }, now);
    assert_eq!(claims(&told), 1);
    let told = pool.handle(Event::Jobs { jobs: vec![brief(1, "echo", 5)], more: false }, now);
    assert_eq!(claims(&told), 0, "one is under way");
    let leases = vec![Lease { id: LeaseId(1), first: 0, count: 1, attempt: 1 }];
    // The store answered it before it took the other four in.
    let told =
        pool.handle(Event::Claimed { job: job(1), leases, unclaimed: 0, later: None, ended: false }, now);
    assert_eq!(claims(&told), 1, "{told:?}");
}
