//! Tasks are leased, answered and given back; a lease that no longer holds changes nothing.

use std::time::Duration;

use gristmill::model::{Blocked, JobOptions, JobState, Lock};
use gristmill::store::{Chunk, Intake, NewJob, Requeue};

use crate::bench::{Bench, ENOUGH, inputs, lines_of, options, segment, spec};

pub(super) async fn a_claim_gives_what_it_is_asked_for_and_says_what_is_left(bench: Bench) {
    let id = bench.submit(20).await;
    assert_eq!((bench.state(id).await, bench.unclaimed(id).await), (JobState::Queued, 20));
    let chunks = bench.claim(id, 2, 3).await;
    assert_eq!(chunks.iter().map(|chunk| chunk.count).collect::<Vec<_>>(), [3, 3]);
    assert_ne!(chunks[0].lease, chunks[1].lease);
    bench.settle().await;
    assert_eq!((bench.state(id).await, bench.unclaimed(id).await), (JobState::Running, 14));
    assert!(bench.job(id).await.started_at.is_some());
}

pub(super) async fn the_last_tasks_can_be_claimed_from_the_end_on(mut bench: Bench) {
    let id = bench.submit(20).await;
    let firsts = |chunks: &[Chunk]| chunks.iter().map(|chunk| (chunk.first, chunk.count)).collect::<Vec<_>>();
    assert_eq!(firsts(&bench.claim(id, 1, 3).await), [(0, 3)]);
    let last = bench.claim_backwards(id, 2).await;
    assert_eq!(firsts(&last), [(19, 1), (18, 1)]);
    assert_eq!(lines_of(&last[1]), inputs(20)[18..19]);
    assert_eq!((bench.unclaimed(id).await, last[0].attempt), (15, 1));
    assert!(bench.complete(&last[1]).await.held);
    assert!(bench.release(&last[0], 19, 1, Requeue::Charged).await.held);
    let again = bench.claim_backwards(id, 2).await;
    assert_eq!(firsts(&again), [(19, 1), (17, 1)]);
    assert_eq!((again[0].attempt, again[1].attempt), (2, 1));
    assert_eq!(firsts(&bench.claim(id, 1, 3).await), [(3, 3)]);
    bench.restart();
    bench.run_out(id).await;
    bench.assert_whole(id).await;
}

pub(super) async fn an_open_job_has_no_end_to_begin_with(bench: Bench) {
    let id = Bench::new_id();
    let (spec, segment) = (spec(options()), segment(0, &inputs(3)));
    let (intake, key, limits, notice) = (Intake::Open, None, ENOUGH, None);
    let job = NewJob { id, spec, total: 3, intake, key, limits, notice };
    bench.store().submit(job, vec![segment], bench.now()).await.unwrap();
    assert_eq!(bench.claim_backwards(id, 1).await[0].first, 0);
    bench.store().close(id, bench.now()).await.unwrap();
    assert_eq!(bench.claim_backwards(id, 1).await[0].first, 2);
}

pub(super) async fn a_chunk_may_be_answered_in_parts(bench: Bench) {
    let id = bench.submit(10).await;
    let chunk = bench.claim_one(id, 10).await;
    assert!(bench.complete_some(&chunk, 0, 4, &[]).await.held);
    assert!(!bench.complete_some(&chunk, 0, 4, &[]).await.held, "an answer counts once");
    assert!(!bench.complete_some(&chunk, 5, 2, &[]).await.held, "an answer begins where the last one ended");
    assert!(!bench.complete_some(&chunk, 4, 7, &[]).await.held, "an answer stays within its chunk");
    assert_eq!(bench.job(id).await.tally.done(), 4);
    assert!(bench.complete_some(&chunk, 4, 6, &[]).await.held);
    bench.assert_whole(id).await;
    assert!(!bench.complete_some(&chunk, 10, 1, &[]).await.held);
}

pub(super) async fn tasks_go_back_as_they_were_alone_or_charged(bench: Bench) {
    let id = bench.submit(10).await;
    let chunk = bench.claim_one(id, 6).await;
    assert!(bench.complete_some(&chunk, 0, 1, &[]).await.held);
    assert!(bench.release(&chunk, 1, 1, Requeue::Charged).await.held);
    assert!(bench.release(&chunk, 2, 2, Requeue::Alone).await.held);
    assert!(bench.release(&chunk, 4, 2, Requeue::AsBefore).await.held);
    assert_eq!(bench.unclaimed(id).await, 9);
    let again = bench.claim(id, 4, 2).await;
    let shape: Vec<_> = again.iter().map(|chunk| (chunk.first, chunk.count, chunk.attempt)).collect();
    assert_eq!(shape, [(1, 1, 2), (2, 1, 1), (3, 1, 1), (4, 2, 1)], "what waits to run again goes first");
    assert_eq!(lines_of(&again[3]), inputs(10)[4..6]);
    for chunk in &again {
        assert!(bench.complete(chunk).await.held);
    }
    bench.run_out(id).await;
    let queue = bench.queue(id).await;
    assert_eq!(queue.iter().filter(|seen| seen.attempt == 2).map(|seen| seen.index).collect::<Vec<_>>(), [1]);
    bench.assert_whole(id).await;
}

pub(super) async fn the_tail_of_a_lease_can_be_taken_back(bench: Bench) {
    let id = bench.submit(10).await;
    let chunk = bench.claim_one(id, 10).await;
    assert!(bench.complete_some(&chunk, 0, 2, &[]).await.held);
    assert!(!bench.release(&chunk, 5, 3, Requeue::AsBefore).await.held, "neither the next nor the last ones");
    assert!(bench.release(&chunk, 6, 4, Requeue::AsBefore).await.held);
    assert!(!bench.release(&chunk, 6, 4, Requeue::AsBefore).await.held, "a tail goes back once");
    let tail = bench.claim_one(id, 10).await;
    assert_eq!((tail.first, tail.count, tail.attempt), (6, 4, 1));
    assert!(!bench.complete_some(&chunk, 2, 8, &[]).await.held, "the lease is shorter now");
    assert!(bench.complete(&tail).await.held);
    assert!(bench.complete_some(&chunk, 2, 4, &[]).await.held);
    bench.assert_whole(id).await;
}

pub(super) async fn what_was_charged_keeps_its_attempts_when_we_lose_it(bench: Bench) {
    let id = bench.submit(2).await;
    let chunk = bench.claim_one(id, 1).await;
    bench.release_all(&chunk, Requeue::Charged).await;
    let chunk = bench.claim_one(id, 1).await;
    bench.release_all(&chunk, Requeue::AsBefore).await;
    let chunk = bench.claim_one(id, 1).await;
    assert_eq!((chunk.first, chunk.attempt), (0, 2));
    assert!(
        !bench
            .release_all(&bench.claim_one(id, 1).await.clone(), Requeue::AsBefore)
            .await
            .state
            .unwrap()
            .is_final()
    );
}

pub(super) async fn a_charged_task_waits_its_time(bench: Bench) {
    let id = bench.submit(3).await;
    let chunk = bench.claim_one(id, 1).await;
    assert!(bench.charge_later(&chunk, Duration::from_secs(5)).await.held);
    let claimed = bench.claim_all(id).await;
    assert_eq!(claimed.chunks.iter().map(|chunk| (chunk.first, chunk.count)).collect::<Vec<_>>(), [(1, 2)]);
    assert_eq!(claimed.unclaimed, 0);
    let later = claimed.later.expect("one task waits");
    assert!(later <= Duration::from_secs(5) && later > Duration::from_millis(4_900), "{later:?}");
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.unclaimed(id).await, 1);
    let again = bench.claim_one(id, 1).await;
    assert_eq!((again.first, again.attempt), (0, 2));
}

pub(super) async fn runnable_jobs_come_by_priority_and_then_by_age(bench: Bench) {
    let mut ids = Vec::new();
    for priority in [0, 5, 0, -3, 5] {
        ids.push(bench.submit_with(4, JobOptions { priority, ..options() }).await);
    }
    let ended = bench.submit(1).await;
    bench.run_out(ended).await;
    bench.claim(ids[0], 1, 3).await;
    let leased = bench.submit(1).await;
    bench.claim(leased, 1, 1).await;
    bench.settle().await;
    let jobs = bench.store().runnable(None, Blocked::default(), 10).await.unwrap();
    let want = [1, 4, 0, 2, 3].map(|at| ids[at]);
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), want);
    assert_eq!(jobs.iter().map(|job| job.unclaimed).collect::<Vec<_>>(), [4, 4, 1, 4, 4]);
    let behind = bench.store().runnable(Some((5, ids[4])), Blocked::default(), 2).await.unwrap();
    assert_eq!(behind.iter().map(|job| job.id).collect::<Vec<_>>(), [ids[0], ids[2]]);
}

pub(super) async fn runnable_jobs_that_are_blocked_are_left_out(bench: Bench) {
    let lock = |name: &str, permits| Lock { name: name.into(), permits };
    let mut ids = Vec::new();
    for lock in [None, Some(lock("disk \"ä\"", 1)), Some(lock("disk \"ä\"", 2)), Some(lock("net", 1))] {
        ids.push(bench.submit_with(1, JobOptions { lock, ..options() }).await);
    }
    let without = |functions: &[&str], locks: &[Lock]| Blocked {
        functions: functions.iter().map(|name| (*name).to_owned()).collect(),
        locks: locks.iter().cloned().collect(),
    };
    let listed = async |after, without| {
        let jobs = bench.store().runnable(after, without, 10).await.unwrap();
        jobs.into_iter().map(|job| ids.iter().position(|id| *id == job.id).unwrap()).collect::<Vec<_>>()
    };
    let disk = lock("disk \"ä\"", 1);
    assert_eq!(listed(None, without(&["other"], std::slice::from_ref(&disk))).await, [0, 2, 3]);
    assert_eq!(listed(Some((0, ids[0])), without(&[], &[disk, lock("net", 1)])).await, [2]);
    let function = spec(options()).function;
    assert_eq!(listed(None, without(&["other", &function], &[])).await, [0; 0]);
}

pub(super) async fn a_paused_job_gives_no_leases_until_it_is_resumed(mut bench: Bench) {
    let id = bench.submit(10).await;
    let chunk = bench.claim_one(id, 4).await;
    let job = bench.store().pause(id).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Paused);
    assert!(bench.claim(id, 1, 4).await.is_empty());
    bench.complete(&chunk).await;
    assert_eq!((bench.state(id).await, bench.job(id).await.tally.done()), (JobState::Paused, 4));
    bench.restart();
    assert!(bench.store().runnable(None, Blocked::default(), 10).await.unwrap().is_empty());
    let (job, unclaimed) = bench.store().resume(id).await.unwrap().unwrap();
    assert_eq!((job.state, unclaimed), (JobState::Running, 6));
    bench.run_out(id).await;
    bench.assert_whole(id).await;
    assert_eq!(bench.store().pause(id).await.unwrap().unwrap().state, JobState::Succeeded);
    assert_eq!(bench.store().resume(id).await.unwrap().unwrap().0.state, JobState::Succeeded);
    assert!(bench.store().pause(Bench::new_id()).await.unwrap().is_none());
    let queued = bench.submit(3).await;
    bench.store().pause(queued).await.unwrap();
    bench.store().cancel(queued, bench.now()).await.unwrap();
    assert_eq!(bench.state(queued).await, JobState::Cancelled);
}

pub(super) async fn a_restart_keeps_results_and_gives_leases_back_free_of_charge(mut bench: Bench) {
    let id = bench.submit(20).await;
    let chunks = bench.claim(id, 3, 4).await;
    bench.complete(&chunks[0]).await;
    bench.complete_some(&chunks[1], 4, 1, &[]).await;
    let (before, epoch) = (bench.queue(id).await, bench.store().epoch());
    bench.store().stage(Bench::new_id(), vec![segment(0, &inputs(5))]).await.unwrap();
    bench.restart();
    assert!(bench.store().epoch() > epoch);
    assert_eq!((bench.state(id).await, bench.queue(id).await), (JobState::Running, before.clone()));
    assert!(
        !bench.complete_some(&chunks[1], 5, 3, &[]).await.held,
        "a lease of an earlier epoch does not hold"
    );
    assert!(!bench.release_all(&chunks[2], Requeue::Charged).await.held);
    assert_eq!(bench.unclaimed(id).await, 15);
    bench.run_out(id).await;
    bench.assert_whole(id).await;
    assert_eq!(bench.queue(id).await[..before.len()], before);
    assert!(bench.queue(id).await.iter().all(|seen| seen.attempt == 1));
}
