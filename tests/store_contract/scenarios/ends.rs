//! Jobs fail, are cancelled, go on once more, and are forgotten.

use std::time::Duration;

use gristmill::model::{JobState, Tally, Timestamp};
use gristmill::store::{Deleted, JobFilter, Order, Receipt, Requeue, Retention, Retried};

use crate::bench::{Bench, stop_on_error};

pub(super) async fn failed_tasks_are_counted_and_fail_the_job(bench: Bench) {
    let id = bench.submit(5).await;
    let chunk = bench.claim_one(id, 5).await;
    bench.complete_some(&chunk, 0, 5, &[1, 3]).await;
    let job = bench.job(id).await;
    let tally = Tally { total: 5, succeeded: 3, failed: 2, cancelled: 0 };
    assert_eq!((job.state, job.tally), (JobState::Failed, tally));
    let queue = bench.queue(id).await;
    assert!(queue[1].failed && queue[1].line.as_ref().unwrap().contains("no 1"));
}

pub(super) async fn stop_on_error_cancels_the_rest(bench: Bench) {
    let id = bench.submit_with(20, stop_on_error()).await;
    let chunks = bench.claim(id, 2, 5).await;
    bench.complete_some(&chunks[0], 0, 2, &[1]).await;
    assert_eq!(bench.state(id).await, JobState::Cancelling);
    assert!(bench.claim(id, 1, 5).await.is_empty());
    bench.release(&chunks[0], 2, 3, Requeue::AsBefore).await;
    bench.complete(&chunks[1]).await;
    let job = bench.job(id).await;
    let tally = Tally { total: 20, succeeded: 6, failed: 1, cancelled: 13 };
    assert_eq!((job.state, job.tally), (JobState::Failed, tally));
    bench.assert_whole(id).await;
}

pub(super) async fn what_is_not_leased_can_be_failed(bench: Bench) {
    let id = bench.submit(10).await;
    let chunk = bench.claim_one(id, 4).await;
    bench.complete_some(&chunk, 0, 2, &[]).await;
    let error = r#"{"verdict":"crash","message":"no worker"}"#;
    let receipt = bench.store().fail_unleased(id, error.into(), bench.now()).await.unwrap();
    assert_eq!(receipt.state, Some(JobState::Running));
    assert_eq!(bench.job(id).await.tally, Tally { total: 10, succeeded: 2, failed: 6, cancelled: 0 });
    bench.release(&chunk, 2, 2, Requeue::AsBefore).await;
    let receipt = bench.store().fail_unleased(id, error.into(), bench.now()).await.unwrap();
    assert_eq!(receipt, Receipt { held: true, state: Some(JobState::Failed) });
    let again = bench.store().fail_unleased(id, error.into(), bench.now()).await.unwrap();
    assert_eq!(again, Receipt { held: false, state: Some(JobState::Failed) });
    bench.assert_whole(id).await;
    let last = bench.read(id, Order::Input, 9, 1).await.remove(0);
    assert_eq!((last.line.as_deref(), last.failed), (Some(error), true));
}

pub(super) async fn failed_tasks_can_be_run_again(bench: Bench) {
    let id = bench.submit(10).await;
    assert!(matches!(bench.store().retry_failed(id).await, Ok(Retried::NotEnded(JobState::Queued))));
    assert!(matches!(bench.store().retry_failed(Bench::new_id()).await, Ok(Retried::Unknown)));
    let chunk = bench.claim_one(id, 10).await;
    bench.complete_some(&chunk, 0, 10, &[2, 3, 9]).await;
    let before = bench.queue(id).await;
    assert_eq!(bench.state(id).await, JobState::Failed);
    let Ok(Retried::Yes(job, 3)) = bench.store().retry_failed(id).await else { panic!() };
    assert_eq!((job.state, job.tally.failed, job.finished_at), (JobState::Running, 0, None));
    assert_eq!(bench.queue(id).await, before, "what was read stays as it was");
    assert_eq!(bench.read(id, Order::Input, 0, 100).await.len(), 2, "the order of the inputs waits for them");
    assert_eq!(bench.unclaimed(id).await, 3);
    for chunk in bench.claim(id, 3, 5).await {
        assert_eq!((chunk.count, chunk.attempt), (1, 2));
        let failed = if chunk.first == 9 { vec![9] } else { Vec::new() };
        bench.complete_some(&chunk, chunk.first, 1, &failed).await;
    }
    assert_eq!(bench.job(id).await.tally, Tally { total: 10, succeeded: 9, failed: 1, cancelled: 0 });
    let queue = bench.queue(id).await;
    assert_eq!(queue.iter().map(|seen| seen.seq).collect::<Vec<_>>(), (1..=13).collect::<Vec<_>>());
    assert_eq!(queue[..10], before);
    let by_input = bench.read(id, Order::Input, 0, 3).await;
    assert_eq!(by_input.iter().map(|seen| seen.index).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(by_input.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [1, 1, 2, 2, 1, 1, 1, 1, 1, 2]);
    let Ok(Retried::Yes(_, 1)) = bench.store().retry_failed(id).await else { panic!() };
    assert_eq!(bench.claim_one(id, 5).await.attempt, 3);
}

pub(super) async fn failed_tasks_whose_results_are_freed_stay_failed(bench: Bench) {
    let id = bench.submit(10).await;
    for (chunk, failed) in bench.claim(id, 2, 5).await.iter().zip([1, 8]) {
        bench.complete_some(chunk, chunk.first, 5, &[failed]).await;
    }
    assert_eq!(bench.store().free_results(id, 5).await.unwrap(), Some(5));
    let Ok(Retried::Yes(job, 1)) = bench.store().retry_failed(id).await else { panic!() };
    assert_eq!((job.state, job.tally.failed), (JobState::Running, 1));
    let again = bench.claim_one(id, 5).await;
    assert_eq!((again.first, again.count), (8, 1));
    bench.complete(&again).await;
    let Ok(Retried::Yes(job, 0)) = bench.store().retry_failed(id).await else { panic!() };
    assert_eq!((job.state, job.tally.failed), (JobState::Failed, 1));
}

pub(super) async fn a_cancel_ends_a_queued_job_at_once(bench: Bench) {
    let id = bench.submit(1_000).await;
    let job = bench.store().cancel(id, bench.now()).await.unwrap().unwrap();
    assert_eq!((job.state, job.tally.cancelled), (JobState::Cancelled, 1_000));
    assert!(job.finished_at.is_some());
    bench.assert_whole(id).await;
    assert!(bench.queue(id).await.iter().all(|seen| seen.line.is_none()));
    assert!(bench.store().cancel(Bench::new_id(), bench.now()).await.unwrap().is_none());
}

pub(super) async fn a_cancel_waits_for_what_is_leased_and_keeps_what_is_done(bench: Bench) {
    let id = bench.submit(30).await;
    let chunks = bench.claim(id, 3, 5).await;
    bench.complete(&chunks[0]).await;
    bench.release(&chunks[1], 5, 1, Requeue::Charged).await;
    assert_eq!(bench.store().cancel(id, bench.now()).await.unwrap().unwrap().state, JobState::Cancelling);
    assert_eq!(bench.job(id).await.tally.cancelled, 16);
    bench.complete(&chunks[2]).await;
    assert_eq!(bench.release(&chunks[1], 6, 4, Requeue::Alone).await.state, Some(JobState::Cancelled));
    let tally = Tally { total: 30, succeeded: 10, failed: 0, cancelled: 20 };
    assert_eq!(bench.job(id).await.tally, tally);
    bench.assert_whole(id).await;
    assert_eq!(bench.store().cancel(id, bench.now()).await.unwrap().unwrap().tally, tally);
}

pub(super) async fn a_cancel_that_a_restart_interrupts_is_finished_by_it(mut bench: Bench) {
    let id = bench.submit(10).await;
    bench.claim(id, 1, 4).await;
    bench.store().cancel(id, bench.now()).await.unwrap();
    assert_eq!(bench.state(id).await, JobState::Cancelling);
    bench.restart();
    let job = bench.job(id).await;
    assert_eq!((job.state, job.tally.cancelled), (JobState::Cancelled, 10));
    assert!(job.finished_at.is_some());
    bench.assert_whole(id).await;
}

pub(super) async fn a_job_is_forgotten_only_when_it_has_ended(bench: Bench) {
    let id = bench.submit(100).await;
    assert_eq!(bench.store().delete(id).await.unwrap(), Deleted::NotEnded(JobState::Queued));
    bench.run_out(id).await;
    assert_eq!(bench.store().delete(id).await.unwrap(), Deleted::Yes);
    assert_eq!(bench.store().delete(id).await.unwrap(), Deleted::Unknown);
    assert!(bench.store().job(id).await.unwrap().is_none());
    assert!(bench.store().jobs(JobFilter::default(), None, 10).await.unwrap().is_empty());
}

pub(super) async fn jobs_that_ended_are_swept_by_age_and_by_number(bench: Bench) {
    let running = bench.submit(1).await;
    let mut ended = Vec::new();
    for _ in 0..5 {
        ended.push(bench.submit(0).await);
        bench.pass(Duration::from_secs(10));
    }
    let since = |seconds: u64| Timestamp(bench.now().0 - i64::try_from(seconds * 1_000_000).unwrap());
    let keep_all = Retention { ended_since: Timestamp(0), count: u64::MAX };
    assert_eq!(bench.store().sweep(keep_all, bench.now()).await.unwrap(), 0);
    let by_age = Retention { ended_since: since(45), count: u64::MAX };
    assert_eq!(bench.store().sweep(by_age, bench.now()).await.unwrap(), 1);
    assert_eq!(bench.store().sweep(Retention { count: 2, ..keep_all }, bench.now()).await.unwrap(), 2);
    let left: Vec<_> =
        bench.store().jobs(JobFilter::default(), None, 10).await.unwrap().iter().map(|job| job.id).collect();
    assert_eq!(left, [ended[4], ended[3], running]);
}
