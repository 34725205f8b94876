//! More jobs than a pool knows at once: nobody who could run waits behind those who cannot.

use std::time::{Duration, Instant};

use super::{brief, job, some_time};
use crate::model::{Blocked, JobId, Lock};
use crate::pool::entry::Entry;
use crate::pool::listing::MANY;
use crate::pool::queues::Queues;
use crate::pool::{Command, Event, JobBrief, Pool};

fn lock() -> Lock {
    Lock { name: "one".into(), permits: 1 }
}

fn locked(number: u128) -> JobBrief {
    JobBrief { lock: Some(lock()), ..brief(number, "sleep", 1) }
}

fn lists(commands: Vec<Command>) -> Vec<(Option<(i32, JobId)>, Blocked)> {
    let list = |command| match command {
        Command::ListJobs { after, without } => Some((after, without)),
        _ => None,
    };
    commands.into_iter().filter_map(list).collect()
}

fn claims(commands: &[Command]) -> Vec<JobId> {
    let claim = |command: &Command| if let Command::Claim { job, .. } = command { Some(*job) } else { None };
    commands.iter().filter_map(claim).collect()
}

/// A pool of two slots that knows as many jobs of one lock as it takes in.
fn full(now: Instant) -> Pool {
    let mut pool = Pool::new(2);
    pool.handle(Event::Tick, now);
    pool.handle(Event::Listed { jobs: Vec::new(), more: false }, now);
    for number in 0..MANY as u128 {
        pool.handle(Event::Job(locked(number)), now);
    }
    pool
}

#[test]
fn thousands_behind_a_lock_are_passed_over_at_once() {
    let mut queues = Queues::default();
    for number in 0..10_000 {
        queues.place(&mut Entry::new(locked(number)));
    }
    queues.place(&mut Entry::new(brief(20_000, "echo", 1)));
    queues.place(&mut Entry::new(brief(20_001, "sleep", 1)));
    let mut walk = queues.walk();
    assert_eq!(walk.next(), Some(job(0)));
    walk.lock_is_blocked();
    assert_eq!(walk.by_ref().collect::<Vec<_>>(), [job(20_000), job(20_001)]);
    assert!(walk.into_blocked().locks.contains(&lock()));
    let mut walk = queues.walk();
    walk.next();
    walk.function_is_blocked();
    assert_eq!(walk.collect::<Vec<_>>(), [job(20_000)]);
    assert_eq!(queues.walk().count(), 10_002);
}

#[test]
fn a_job_that_can_run_is_taken_in_however_many_cannot() {
    let now = some_time();
    let mut pool = full(now);
    assert_eq!(claims(&pool.handle(Event::Job(brief(9_000, "echo", 1)), now)), [job(9_000)]);
    let refused = pool.handle(Event::Job(locked(9_001)), now);
    assert!(refused.contains(&Command::Forget(job(9_001))), "{refused:?}");
    let known = pool.knows(job(MANY as u128 - 1));
    assert_eq!((known, pool.knows(job(9_001))), (true, false));
}

#[test]
fn a_higher_priority_takes_the_place_of_the_last_job() {
    let now = some_time();
    let mut pool = full(now);
    let displaced = pool.handle(Event::Job(JobBrief { priority: 1, ..locked(9_001) }), now);
    assert!(displaced.contains(&Command::Forget(job(MANY as u128 - 1))), "{displaced:?}");
    assert!(pool.knows(job(9_001)));
}

#[test]
fn what_waits_to_be_tried_again_does_not_wait_here_once_its_place_is_taken() {
    let now = some_time();
    let mut pool = full(now);
    let last = job(MANY as u128 - 1);
    pool.handle(Event::Settled { job: last, requeued: 1, delay: Duration::from_secs(9), ended: false }, now);
    assert!(pool.next_deadline().is_some());
    pool.handle(Event::Job(JobBrief { priority: 1, ..locked(9_001) }), now);
    pool.handle(Event::Job(JobBrief { priority: 1, ..locked(9_002) }), now);
    assert_eq!((pool.knows(last), pool.next_deadline()), (false, None));
}

#[test]
fn jobs_that_pause_leave_room_for_others() {
    let now = some_time();
    let mut pool = full(now);
    pool.handle(Event::Paused(job(5_000)), now);
    assert!(pool.knows(job(5_000)), "as long as there is room");
    let forgotten = pool.handle(Event::Job(locked(9_001)), now);
    assert!(forgotten.contains(&Command::Forget(job(5_000))), "{forgotten:?}");
    assert!(pool.knows(job(9_001)));
}

#[test]
fn the_store_lists_what_could_run_once_enough_is_known_that_cannot() {
    let (mut pool, now) = (Pool::new(2), some_time());
    let (mut listed, page) = (0, 1024);
    let mut asked = lists(pool.handle(Event::Tick, now));
    let one = Blocked { locks: [lock()].into(), ..Blocked::default() };
    while listed < MANY as u128 {
        let after = listed.checked_sub(1).map(|last| (0, job(last)));
        assert_eq!(asked, [(after, Blocked::default())]);
        let jobs = (listed..listed + page).map(locked).collect();
        listed += page;
        asked = lists(pool.handle(Event::Listed { jobs, more: true }, now));
    }
    assert_eq!(asked, [(Some((0, job(listed - 1))), one.clone())], "there is a slot left");
    let told = pool.handle(Event::Listed { jobs: vec![brief(50_000, "echo", 1)], more: false }, now);
    assert_eq!(claims(&told), [job(50_000)]);
    assert_eq!(lists(told), [], "all else needs the lock");
    let gone =
        Event::Claimed { job: job(50_000), leases: Vec::new(), unclaimed: 0, later: None, ended: true };
    assert_eq!(lists(pool.handle(gone, now)), []);
    // One that is back in the queue and not known may be any.
    let requeued = Event::Settled { job: job(60_000), requeued: 1, delay: Duration::ZERO, ended: false };
    assert_eq!(lists(pool.handle(requeued, now)), [(None, one)]);
}

#[test]
fn what_was_not_taken_in_is_listed_when_others_have_ended() {
    let now = some_time();
    let mut pool = full(now);
    let one = Blocked { locks: [lock()].into(), ..Blocked::default() };
    assert_eq!(lists(pool.handle(Event::Job(locked(9_001)), now)), [(None, one)], "there is a slot left");
    assert_eq!(lists(pool.handle(Event::Listed { jobs: Vec::new(), more: false }, now)), []);
    let end = |job| Event::Claimed { job, leases: Vec::new(), unclaimed: 0, later: None, ended: true };
    let asked =
        (0..5_000).map(|number| lists(pool.handle(end(job(number)), now))).find(|asked| !asked.is_empty());
    assert_eq!(asked, Some(vec![(None, Blocked::default())]));
}
