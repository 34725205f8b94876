//! Scenarios of the pool: here event by event, and against a naive world in the modules.

mod jobs;
mod listing;
mod next;
mod workers;
mod world;

use std::time::{Duration, Instant};

use uuid::Uuid;

use world::World;

use super::{Command, Event, JobBrief, Lease, Pool, Rules};
use crate::model::{JobId, LeaseId};

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
        leased: None,
    }
}

/// Where virtual time begins.
fn some_time() -> Instant {
    Instant::now()
}

/// A world of its own around a pool of so many slots.
fn world(slots: u32) -> World {
    World::new(slots, some_time())
}

#[test]
fn a_delayed_task_is_claimed_when_its_time_has_come() {
    let mut pool = Pool::new(1);
    let now = Instant::now();
    pool.handle(Event::Job(brief(1, "count", 1)), now);
    let (leases, later) = (Vec::new(), Some(Duration::from_secs(3)));
    pool.handle(Event::Claimed { job: job(1), leases, unclaimed: 0, later, ended: false }, now);
    assert_eq!(pool.next_deadline(), Some(now + Duration::from_secs(3)));
    assert!(pool.handle(Event::Tick, now + Duration::from_secs(2)).is_empty());
    let commands = pool.handle(Event::Tick, now + Duration::from_secs(3));
    assert!(commands.iter().any(|command| matches!(command, Command::Claim { .. })), "{commands:?}");
    assert_eq!(pool.next_deadline(), None);
}

#[test]
fn old_news_of_its_end_does_not_end_a_job_that_has_begun_once_more() {
    let mut pool = Pool::new(1);
    let (now, again) = (Instant::now(), Event::Job(brief(1, "count", 1)));
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
fn a_function_that_does_not_start_is_tried_again_later_and_later() {
    let mut pool = Pool::new(1);
    let start = Instant::now();
    let spawned = |commands: &[Command]| {
        commands.iter().find_map(|c| if let Command::Spawn { worker, .. } = c { Some(*worker) } else { None })
    };
    let commands = pool.handle(Event::Job(brief(1, "broken", 1)), start);
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
    let page = |numbers: std::ops::Range<u128>, more| Event::Listed {
        jobs: numbers.map(|number| brief(number, "echo", 1)).collect(),
        more,
    };
    let lists = |commands: Vec<Command>| {
        let after = |command| if let Command::ListJobs { after, .. } = command { Some(after) } else { None };
        commands.into_iter().filter_map(after).collect::<Vec<_>>()
    };
    assert_eq!(lists(pool.handle(Event::Tick, now)), [None]);
    assert_eq!(lists(pool.handle(page(0..1000, true), now)), [Some((0, job(999)))]);
    assert_eq!(lists(pool.handle(page(1000..1500, false), now)), []);
    // With as many as it wants it asks for no more until there is room.
    assert_eq!(lists(pool.handle(page(1500..9700, true), now)), []);
}

#[test]
fn tasks_that_come_while_a_claim_is_under_way_are_claimed_as_well() {
    let (mut pool, now) = (Pool::new(1), Instant::now());
    let claims =
        |commands: &[Command]| commands.iter().filter(|it| matches!(it, Command::Claim { .. })).count();
    let told = pool.handle(Event::Job(brief(1, "echo", 1)), now);
    assert_eq!(claims(&told), 1);
    let told = pool.handle(Event::Job(brief(1, "echo", 5)), now);
    assert_eq!(claims(&told), 0, "one is under way");
    let leases = vec![Lease { id: LeaseId(1), first: 0, count: 1, attempt: 1 }];
    // The store answered it before it took the other four in.
    let told =
        pool.handle(Event::Claimed { job: job(1), leases, unclaimed: 0, later: None, ended: false }, now);
    assert_eq!(claims(&told), 1, "{told:?}");
}
