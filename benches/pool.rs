//! The decisions of a node: how many events a second it takes in. The world around it answers at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gristmill::model::{JobId, LeaseId, Lock};
use gristmill::pool::{Command, Event, JobBrief, Lease, Pool, Rules, WorkerId};
use uuid::Uuid;

/// So many chunks are answered in a round.
const CHUNKS: u64 = 1000;

/// A pool, and what it waits for.
struct World {
    pool: Pool,
    now: Instant,
    events: VecDeque<Event>,
    /// The chunks at work, in the order of their sending.
    sent: VecDeque<(WorkerId, LeaseId)>,
    sizes: VecDeque<(LeaseId, JobId, u32)>,
    leases: u64,
    handled: u64,
}

impl World {
    fn new(slots: u32, jobs: u128, lock: Option<&Lock>) -> Self {
        let brief = |number| JobBrief {
            id: JobId(Uuid::from_u128(number)),
            function: "echo".into(),
            priority: 0,
            processes: None,
            chunk_size: None,
            lock: lock.cloned(),
            rules: Rules::default(),
            unclaimed: u64::MAX >> 1,
            leased: None,
        };
        let mut world = Self {
            pool: Pool::new(slots),
            now: Instant::now(),
            events: VecDeque::from([Event::Listed { jobs: (0..jobs).map(brief).collect(), more: false }]),
            sent: VecDeque::new(),
            sizes: VecDeque::new(),
            leases: 0,
            handled: 0,
        };
        world.settle();
        world
    }

    fn settle(&mut self) {
        while let Some(event) = self.events.pop_front() {
            self.handled += 1;
            for command in self.pool.handle(event, self.now) {
                self.execute(command);
            }
        }
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::ListJobs { .. } => {
                self.events.push_back(Event::Listed { jobs: Vec::new(), more: false });
            }
            Command::Claim { job, chunks, max_tasks, .. } => self.claim(job, chunks, max_tasks),
            Command::Spawn { worker, .. } => self.events.push_back(Event::Ready(worker)),
            Command::Send { worker, lease } => self.sent.push_back((worker, lease)),
            other => panic!("nothing of this world makes it want {other:?}"),
        }
    }

    fn claim(&mut self, job: JobId, chunks: u32, max_tasks: u32) {
        let ids = self.leases + 1..=self.leases + u64::from(chunks);
        self.leases += u64::from(chunks);
        let lease = |id| Lease { id: LeaseId(id), first: id << 20, count: max_tasks, attempt: 1 };
        let leases: Vec<Lease> = ids.map(lease).collect();
        self.sizes.extend(leases.iter().map(|lease| (lease.id, job, lease.count)));
        let unclaimed = u64::MAX >> 1;
        self.events.push_back(Event::Claimed { job, leases, unclaimed, later: None, ended: false });
    }

    /// The chunk that was sent first is answered, and its result is durable.
    fn answer(&mut self) {
        let (worker, lease) = self.sent.pop_front().expect("some chunk is at work");
        let at = self.sizes.iter().position(|(id, ..)| *id == lease).expect("it was claimed");
        let (_, job, count) = self.sizes.remove(at).expect("it was just found");
        let elapsed = Duration::from_micros(100) * count;
        self.now += elapsed;
        self.events.push_back(Event::Answered { worker, count, elapsed });
        self.events.push_back(Event::Settled { job, requeued: 0, delay: Duration::ZERO, ended: false });
        self.settle();
    }
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("events");
    let lock = Lock { name: "one".into(), permits: 1 };
    let cases = [
        ("1 job, 2 workers", 2, 1, None),
        ("1,000 jobs, 2 workers", 2, 1000, None),
        ("1,000 jobs, 64 workers", 64, 1000, None),
        ("8,000 jobs that hold one lock, 2 workers", 2, 8000, Some(&lock)),
    ];
    for (name, slots, jobs, lock) in cases {
        let mut world = World::new(slots, jobs, lock);
        // The number of events in a round is nearly always the same.
        world.handled = 0;
        (0..CHUNKS).for_each(|_| world.answer());
        group.throughput(Throughput::Elements(world.handled));
        group.bench_function(name, |bencher| bencher.iter(|| (0..CHUNKS).for_each(|_| world.answer())));
    }
    group.finish();
}

fn configuration() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
}

criterion_group!(name = benches; config = configuration(); targets = decisions);
criterion_main!(benches);
