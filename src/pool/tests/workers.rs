//! Workers: how many there are, what each may do, and what becomes of their tasks when they end.

use std::time::Duration;

use super::{brief, job, world};
use crate::pool::{Command, Event, JobBrief, Lease, Rules};

#[test]
fn workers_start_lazily_up_to_the_slots_and_are_used_again() {
    let mut world = world(4);
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
fn a_job_never_has_more_processes_than_it_asked_for() {
    let mut world = world(4);
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
fn a_function_never_has_more_workers_than_it_may() {
    let mut world = world(4);
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
fn a_worker_never_runs_more_tasks_than_it_may() {
    let mut world = world(2);
    let rules = Rules { max_tasks_per_worker: Some(7), ..Rules::default() };
    world.submit(JobBrief { rules, ..brief(1, "count", 100) }, Duration::from_micros(10));
    world.run();
    assert_eq!(world.done(1), 100);
    assert!(world.chunks.iter().all(|count| *count <= 7));
    assert!(world.started >= 100 / 7, "{} workers", world.started);
}

#[test]
fn jobs_fail_when_no_worker_starts_often_enough() {
    let mut world = world(2);
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
fn a_worker_that_dies_is_replaced_and_its_tasks_run_again() {
    let mut world = world(2);
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
    let mut world = world(1);
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
    let mut world = world(1);
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
    let mut world = world(2);
    world.submit(brief(1, "count", 100), Duration::from_millis(10));
    world.jobs.get_mut(&job(1)).unwrap().cancelled = true;
    world.tell(Event::Cancelled(job(1)));
    assert!(world.leases.is_empty() && world.at_work.is_empty());
    assert!(!world.step());
    assert!(!world.pool.knows(job(1)));
}

#[test]
fn draining_ends_every_worker_once_its_chunk_is_done() {
    let mut world = world(2);
    world.submit(brief(1, "count", 100), Duration::from_millis(10));
    (0..10).for_each(|_| assert!(world.step()));
    world.tell(Event::Drain);
    world.run();
    assert!(world.pool.is_empty() && world.leases.is_empty());
    assert!(world.done(1) < 100);
}
