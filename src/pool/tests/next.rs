//! What is next for a worker that is at a short task: the one task of another job.

use std::time::{Duration, Instant};

use super::{brief, job, some_time};
use crate::model::LeaseId;
use crate::pool::{Command, Event, JobBrief, Lease, Others, Pool, WorkerId};

const SHORT: Duration = Duration::from_micros(10);
const NONE: [u64; 0] = [];

/// A pool of one slot whose worker is at the task of job 2, and took so long for that of job 1.
struct Scene {
    pool: Pool,
    worker: WorkerId,
    now: Instant,
}

impl Scene {
    fn new(took: Duration) -> Self {
        let (mut pool, now) = (Pool::new(1), some_time());
        pool.handle(Event::Listed { jobs: Vec::new(), more: false }, now);
        pool.handle(Event::Job(of_one_task(1)), now);
        let worker = pool.workers().next().unwrap().0;
        let mut scene = Self { pool, worker, now };
        assert_eq!(scene.sent(Event::Ready(worker)), [1]);
        assert!(scene.answer(took).is_empty());
        assert_eq!(scene.sent(Event::Job(of_one_task(2))), [2]);
        scene
    }

    fn tell(&mut self, event: Event) -> Vec<Command> {
        self.pool.handle(event, self.now)
    }

    /// The leases that are sent when the pool hears of this.
    fn sent(&mut self, event: Event) -> Vec<u64> {
        let commands = self.tell(event);
        let sent = |command: &Command| match command {
            Command::Send { lease, .. } => Some(lease.0),
            _ => None,
        };
        commands.iter().filter_map(sent).collect()
    }

    fn answer(&mut self, elapsed: Duration) -> Vec<u64> {
        self.sent(Event::Answered { worker: self.worker, count: 1, elapsed })
    }
}

/// A job of one task, whose lease has its number.
fn of_one_task(number: u64) -> JobBrief {
    let lease = Lease { id: LeaseId(number), first: 0, count: 1, attempt: 1 };
    JobBrief { leased: Some(lease), ..brief(number.into(), "echo", 0) }
}

#[test]
fn one_task_is_next_behind_a_short_one() {
    let mut scene = Scene::new(SHORT);
    assert_eq!(scene.sent(Event::Job(of_one_task(3))), [3]);
    assert_eq!(scene.sent(Event::Job(of_one_task(4))), NONE, "only one");
    assert_eq!(scene.pool.others_under_way(scene.worker, job(3), 1), Others::None);
    assert_eq!(scene.answer(SHORT), [4]);
    assert_eq!(scene.answer(SHORT), NONE);
    assert_eq!(scene.answer(SHORT), NONE);
    let settled =
        |number| Event::Settled { job: job(number), requeued: 0, delay: Duration::ZERO, ended: true };
    (1..=4).for_each(|number| drop(scene.tell(settled(number))));
    assert!((1..=4).all(|number| !scene.pool.knows(job(number))));
    assert_eq!(scene.sent(Event::Job(of_one_task(5))), [5], "the worker is idle");
}

#[test]
fn nothing_is_next_behind_a_task_that_may_be_long() {
    let mut scene = Scene::new(Duration::from_millis(5));
    assert_eq!(scene.sent(Event::Job(of_one_task(3))), NONE);
    assert_eq!(scene.answer(SHORT), [3]);
}

#[test]
fn what_needs_more_than_a_worker_is_never_next() {
    let mut scene = Scene::new(SHORT);
    let lock = Some(crate::model::Lock { name: "one".into(), permits: 1 });
    assert_eq!(scene.sent(Event::Job(JobBrief { lock, ..of_one_task(3) })), NONE);
    assert_eq!(scene.sent(Event::Job(JobBrief { unclaimed: 1, ..of_one_task(4) })), NONE);
    assert_eq!(scene.sent(Event::Job(JobBrief { function: "other".into(), ..of_one_task(5) })), NONE);
    assert_eq!(scene.sent(Event::Job(of_one_task(6))), [6]);
}

#[test]
fn what_is_given_back_is_not_next_again_until_the_worker_has_answered() {
    let mut scene = Scene::new(SHORT);
    assert_eq!(scene.sent(Event::Job(of_one_task(3))), [3]);
    scene.tell(Event::Returned { worker: scene.worker, lease: LeaseId(3), count: 1 });
    let settled = Event::Settled { job: job(3), requeued: 1, delay: Duration::ZERO, ended: false };
    scene.tell(settled);
    assert_eq!(scene.sent(Event::Job(of_one_task(4))), NONE);
    assert!(scene.pool.knows(job(3)));
    let answered = Event::Answered { worker: scene.worker, count: 1, elapsed: Duration::from_millis(40) };
    let again = Command::Claim { job: job(3), chunks: 2, max_tasks: 1, backwards: false };
    assert_eq!(scene.tell(answered), [again], "its turn is before that of job 4");
}

#[test]
fn a_better_job_has_the_worker_before_more_is_next() {
    let mut scene = Scene::new(SHORT);
    assert_eq!(scene.sent(Event::Job(of_one_task(3))), [3]);
    assert_eq!(scene.sent(Event::Job(of_one_task(4))), NONE);
    assert_eq!(scene.sent(Event::Job(JobBrief { priority: 5, ..of_one_task(5) })), NONE);
    assert_eq!(scene.answer(SHORT), NONE, "it is at job 3, and job 5 has the slot");
    assert_eq!(scene.answer(SHORT), [5, 4]);
}

#[test]
fn a_cancelled_job_that_is_next_is_stopped_when_it_begins() {
    let mut scene = Scene::new(SHORT);
    assert_eq!(scene.sent(Event::Job(of_one_task(3))), [3]);
    assert_eq!(scene.tell(Event::Cancelled(job(3))), [], "the worker is at another job");
    let commands = scene.tell(Event::Answered { worker: scene.worker, count: 1, elapsed: SHORT });
    assert_eq!(commands, [Command::Stop(scene.worker)]);
}

#[test]
fn what_was_next_for_a_worker_that_dies_is_given_back() {
    for knew in [true, false] {
        let mut scene = Scene::new(SHORT);
        assert_eq!(scene.sent(Event::Job(of_one_task(3))), [3]);
        let settled = if knew { vec![LeaseId(2), LeaseId(3)] } else { vec![LeaseId(2)] };
        let commands = scene.tell(Event::Gone { worker: scene.worker, settled, failed_start: false });
        let releases =
            |command: &&Command| matches!(command, Command::Release { job: its, .. } if *its == job(3));
        assert_eq!(commands.iter().filter(releases).count(), usize::from(!knew), "{commands:?}");
        // Both are to run again; the slot is the first one's.
        for number in [2, 3] {
            let settled =
                Event::Settled { job: job(number), requeued: 1, delay: Duration::ZERO, ended: false };
            let commands = scene.tell(settled);
            let claims =
                |command: &Command| matches!(command, Command::Claim { job: its, .. } if *its == job(number));
            assert_eq!(commands.iter().any(claims), number == 2, "job {number}: {commands:?}");
            assert!(scene.pool.knows(job(number)));
        }
    }
}

#[test]
fn a_worker_that_is_to_end_goes_on_with_what_it_did_not_give_back() {
    let mut scene = Scene::new(SHORT);
    assert_eq!(scene.sent(Event::Job(of_one_task(3))), [3]);
    scene.tell(Event::Drain);
    assert_eq!(scene.tell(Event::Answered { worker: scene.worker, count: 1, elapsed: SHORT }), []);
    let commands = scene.tell(Event::Answered { worker: scene.worker, count: 1, elapsed: SHORT });
    assert_eq!(commands, [Command::Finish(scene.worker)]);
}
