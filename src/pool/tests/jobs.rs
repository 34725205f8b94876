//! Jobs: how they are cut into chunks, and how they share the slots.

use std::collections::VecDeque;
use std::time::Duration;

use super::world::Backlog;
use super::{brief, job, some_time, world};
use crate::model::{LeaseId, Lock};
use crate::pool::{Event, JobBrief, Lease, Pool};

#[test]
fn chunks_are_few_for_tiny_tasks_and_single_for_long_ones() {
    let mut world = world(2);
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
    let mut world = world(2);
    world.submit(JobBrief { chunk_size: Some(7), ..brief(1, "echo", 100) }, Duration::from_nanos(200));
    world.submit(JobBrief { chunk_size: Some(3), ..brief(2, "mine", 6) }, Duration::from_millis(50));
    world.run();
    world.chunks.sort_unstable();
    assert_eq!(world.chunks, [[2, 3, 3].as_slice(), &[7; 14]].concat());
}

#[test]
fn the_last_long_tasks_are_claimed_from_the_end_on() {
    let mut world = world(2);
    world.submit(brief(1, "count", 60), Duration::from_millis(20));
    world.run();
    assert!(
        (5..=8).contains(&world.backwards[0]) && world.backwards.last() == Some(&1),
        "{:?}",
        world.backwards
    );
    world.backwards.clear();
    world.submit(JobBrief { chunk_size: Some(1), ..brief(2, "count", 60) }, Duration::from_millis(20));
    world.submit(brief(3, "count", 1_000), Duration::from_micros(200));
    world.run();
    assert_eq!(world.backwards, [0; 0], "neither where a size is asked for, nor where it does not matter");
}

#[test]
fn jobs_with_one_lock_never_run_at_once() {
    let mut world = world(4);
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
    let mut world = world(2);
    world.submit(brief(1, "count", 100), Duration::from_millis(10));
    world.tell(Event::Paused(job(1)));
    world.run();
    let done = world.done(1);
    assert!(done < 100);
    let unclaimed = world.jobs[&job(1)].total - world.jobs[&job(1)].next;
    world.tell(Event::Job(brief(1, "count", unclaimed)));
    world.run();
    assert_eq!(world.done(1), 100);
}

#[test]
fn a_small_job_is_not_kept_waiting_by_a_huge_one() {
    let mut world = world(2);
    world.submit(brief(1, "count", 10_000), Duration::from_millis(10));
    (0..500).for_each(|_| assert!(world.step()));
    world.submit(brief(2, "count", 1), Duration::from_millis(10));
    (0..4).for_each(|_| assert!(world.step()));
    assert_eq!(world.done(2), 1);
}

#[test]
fn first_tasks_are_wanted_of_jobs_that_begin_at_once_or_soon() {
    let (mut pool, now) = (Pool::new(1), some_time());
    let begins = |number: u128| {
        let first = Lease { id: LeaseId(number as u64), first: 0, count: 1, attempt: 1 };
        Event::Job(JobBrief { leased: Some(first), ..brief(number, "echo", 0) })
    };
    pool.handle(begins(1), now);
    let worker = pool.workers().next().unwrap().0;
    pool.handle(Event::Ready(worker), now);
    assert!(!pool.has_room(), "nothing is known of how long its task takes");
    let after = |elapsed| Event::Answered { worker, count: 1, elapsed };
    pool.handle(after(Duration::from_millis(1)), now);
    assert!(pool.has_room(), "a slot is free");
    (2..=12).for_each(|number| drop(pool.handle(begins(number), now)));
    assert!(pool.has_room(), "all of them take no longer than a chunk, but for the one that is next");
    pool.handle(begins(13), now);
    assert!(!pool.has_room());
    pool.handle(after(Duration::from_micros(1)), now);
    (14..=18).for_each(|number| drop(pool.handle(begins(number), now)));
    assert!(pool.has_room());
    (19..=20).for_each(|number| drop(pool.handle(begins(number), now)));
    assert!(!pool.has_room(), "they are too many, however short");
    pool.handle(Event::Drain, now);
    (2..=18).for_each(|_| drop(pool.handle(after(Duration::ZERO), now)));
    assert!(!pool.has_room(), "no more is to begin");
}

#[test]
fn short_chunks_are_claimed_some_at_a_time_while_there_are_plenty() {
    let claims = |tasks, task| {
        let mut world = world(2);
        world.submit(brief(1, "count", tasks), Duration::from_millis(task));
        world.run();
        (world.claims, world.chunks.len())
    };
    let (few, chunks) = claims(1_000, 10);
    assert!(few < 200, "{few} claims for {chunks} chunks of 10 ms");
    let (few, chunks) = claims(2_000, 1);
    assert!(few < chunks / 4, "{few} claims for {chunks} chunks of some tasks each");
    let (few, chunks) = claims(60, 10);
    assert!(few < chunks / 3, "{few} claims for {chunks} chunks of a small job");
    // Nothing is gained for long ones.
    let (each, chunks) = claims(200, 1_000);
    assert!(each > chunks / 2, "{each} claims for {chunks} chunks of a second");
}

#[test]
fn jobs_of_one_priority_share_and_a_higher_one_goes_first() {
    let mut world = world(2);
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
    let mut world = world(1);
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
fn a_job_that_ended_before_the_pool_heard_of_it_is_forgotten() {
    let mut world = world(2);
    world.submit(brief(1, "count", 100), Duration::from_millis(10));
    let backlog = Backlog { next: 0, total: 1, task: Duration::ZERO, done: 0, failed: 0, cancelled: true };
    world.jobs.insert(job(2), backlog);
    world.tell(Event::Job(brief(2, "count", 1)));
    world.run();
    assert!(!world.pool.knows(job(2)));
}

#[test]
fn pipes_are_filled_only_as_far_as_a_share_goes() {
    let mut world = world(2);
    world.submit(brief(1, "count", 1_000_000), Duration::from_micros(100));
    (0..500).for_each(|_| assert!(world.step()));
    world.submit(brief(2, "count", 1), Duration::from_micros(100));
    (0..8).for_each(|_| assert!(world.step()));
    assert_eq!(world.done(2), 1);
}
