//! What every store does, a scenario each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gristmill::model::{Job, JobId, JobOptions, JobSpec, JobState, ResultSegment, Tally, Timestamp};
use gristmill::store::{
    Appended, Callback, CallbackState, ChangeWatch, Changed, Deleted, DueCallbacks, IdempotencyKey, Intake,
    JobFilter, LogEntry, LogFilter, MoreInputs, NewJob, Notice, Order, QueueLimits, Requeue, Retention,
    Retried, Submitted, TryOutcome,
};

use crate::bench::{Bench, ENOUGH, Kind, inputs, lines_of, options, segment, spec, stop_on_error};

async fn inputs_come_back_byte_for_byte_across_segments(bench: Bench) {
    let id = Bench::new_id();
    let odd = ["9007199254740993", "1e400", r#""\ud800""#, "{\"a\":  [1,\t2]}", "\"ü\"", "null"];
    let all: Vec<String> = odd.iter().cycle().take(100).map(ToString::to_string).collect();
    bench.store().stage(id, vec![segment(0, &all[..30]), segment(30, &all[30..60])]).await.unwrap();
    bench.store().stage(id, vec![segment(60, &all[60..61])]).await.unwrap();
    assert!(bench.store().job(id).await.unwrap().is_none(), "a staged job is not to be seen");
    bench.submit_segments(id, vec![segment(61, &all[61..])], 100, options()).await;
    let mut seen = Vec::new();
    for chunk in bench.claim(id, 1_000, 7).await {
        assert_eq!((chunk.first, chunk.attempt), (seen.len() as u64, 1));
        assert_eq!(lines_of(&chunk).len(), chunk.count as usize);
        seen.extend(lines_of(&chunk));
    }
    assert_eq!(seen, all);
    assert!(bench.claim(id, 1, 1).await.is_empty());
}

async fn what_is_unstaged_never_was(bench: Bench) {
    let id = Bench::new_id();
    bench.store().stage(id, vec![segment(0, &inputs(10))]).await.unwrap();
    bench.store().unstage(id).await.unwrap();
    assert!(bench.store().job(id).await.unwrap().is_none());
    assert!(bench.store().jobs(JobFilter::default(), None, 10).await.unwrap().is_empty());
    assert!(bench.claim(id, 1, 10).await.is_empty());
}

async fn a_job_is_told_of_once_and_only_if_there_is_something_to_do(bench: Bench) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let notice = {
        let told = told.clone();
        let tell = move |job: &Job| told.lock().unwrap().push((job.id, job.tally.total));
        Notice { tell: Arc::new(tell), awaited: true }
    };
    let submit = async |inputs: Vec<String>, key: &str, limits| {
        let (id, total) = (Bench::new_id(), inputs.len() as u64);
        let key = Some(IdempotencyKey { key: key.into(), fingerprint: [7; 32] });
        let (spec, notice) = (spec(options()), Some(notice.clone()));
        let job = NewJob { id, spec, total, intake: Intake::Closed, key, limits, notice };
        let segments = if total == 0 { Vec::new() } else { vec![segment(0, &inputs)] };
        bench.store().submit(job, segments, bench.now()).await.unwrap()
    };
    let Submitted::New(job) = submit(inputs(3), "a", ENOUGH).await else { panic!() };
    assert!(matches!(submit(inputs(3), "a", ENOUGH).await, Submitted::Same(_)));
    assert!(matches!(submit(Vec::new(), "b", ENOUGH).await, Submitted::New(_)));
    let none = QueueLimits { tasks: 0, bytes: 0 };
    assert!(matches!(submit(inputs(1), "c", none).await, Submitted::QueueFull(_)));
    assert_eq!(*told.lock().unwrap(), [(job.id, 3)]);
}

async fn a_job_without_inputs_has_succeeded(bench: Bench) {
    let id = bench.submit(0).await;
    let job = bench.job(id).await;
    assert_eq!((job.state, job.tally.total, job.started_at), (JobState::Succeeded, 0, None));
    assert!(job.finished_at.is_some());
}

async fn a_claim_gives_what_it_is_asked_for_and_says_what_is_left(bench: Bench) {
    let id = bench.submit(20).await;
    assert_eq!((bench.state(id).await, bench.unclaimed(id).await), (JobState::Queued, 20));
    let chunks = bench.claim(id, 2, 3).await;
    assert_eq!(chunks.iter().map(|chunk| chunk.count).collect::<Vec<_>>(), [3, 3]);
    assert_ne!(chunks[0].lease, chunks[1].lease);
    bench.settle().await;
    assert_eq!((bench.state(id).await, bench.unclaimed(id).await), (JobState::Running, 14));
    assert!(bench.job(id).await.started_at.is_some());
}

async fn results_are_a_queue_without_a_gap(bench: Bench) {
    let id = bench.submit(30).await;
    let chunks = bench.claim(id, 3, 10).await;
    for chunk in [&chunks[2], &chunks[0], &chunks[1]] {
        assert!(bench.complete(chunk).await.held);
    }
    assert_eq!(bench.state(id).await, JobState::Succeeded);
    bench.assert_whole(id).await;
    let queue = bench.queue(id).await;
    assert_eq!((queue[0].index, queue[10].index, queue[29].index), (20, 0, 19));
    assert_eq!(queue[10].line.as_deref(), Some("\"output 0\""));
}

async fn a_chunk_may_be_answered_in_parts(bench: Bench) {
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

async fn tasks_go_back_as_they_were_alone_or_charged(bench: Bench) {
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

async fn the_tail_of_a_lease_can_be_taken_back(bench: Bench) {
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

async fn what_was_charged_keeps_its_attempts_when_we_lose_it(bench: Bench) {
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

async fn failed_tasks_are_counted_and_fail_the_job(bench: Bench) {
    let id = bench.submit(5).await;
    let chunk = bench.claim_one(id, 5).await;
    bench.complete_some(&chunk, 0, 5, &[1, 3]).await;
    let job = bench.job(id).await;
    let tally = Tally { total: 5, succeeded: 3, failed: 2, cancelled: 0 };
    assert_eq!((job.state, job.tally), (JobState::Failed, tally));
    let queue = bench.queue(id).await;
    assert!(queue[1].failed && queue[1].line.as_ref().unwrap().contains("no 1"));
}

async fn stop_on_error_cancels_the_rest(bench: Bench) {
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

async fn a_cancel_ends_a_queued_job_at_once(bench: Bench) {
    let id = bench.submit(1_000).await;
    let job = bench.store().cancel(id, bench.now()).await.unwrap().unwrap();
    assert_eq!((job.state, job.tally.cancelled), (JobState::Cancelled, 1_000));
    assert!(job.finished_at.is_some());
    bench.assert_whole(id).await;
    assert!(bench.queue(id).await.iter().all(|seen| seen.line.is_none()));
    assert!(bench.store().cancel(Bench::new_id(), bench.now()).await.unwrap().is_none());
}

async fn a_cancel_waits_for_what_is_leased_and_keeps_what_is_done(bench: Bench) {
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

async fn a_job_is_forgotten_only_when_it_has_ended(bench: Bench) {
    let id = bench.submit(100).await;
    assert_eq!(bench.store().delete(id).await.unwrap(), Deleted::NotEnded(JobState::Queued));
    bench.run_out(id).await;
    assert_eq!(bench.store().delete(id).await.unwrap(), Deleted::Yes);
    assert_eq!(bench.store().delete(id).await.unwrap(), Deleted::Unknown);
    assert!(bench.store().job(id).await.unwrap().is_none());
    assert!(bench.store().jobs(JobFilter::default(), None, 10).await.unwrap().is_empty());
}

async fn any_cursor_and_page_size_walk_each_result_once(bench: Bench) {
    let id = bench.submit(40).await;
    let chunks = bench.claim(id, 100, 6).await;
    for chunk in chunks.iter().rev() {
        bench.complete(chunk).await;
    }
    for order in [Order::Completion, Order::Input] {
        let whole = bench.read(id, order, 0, 1_000).await;
        assert_eq!(whole.len(), 40);
        for limit in [1, 5, 6, 7, 39, 40, 41] {
            assert_eq!(bench.read(id, order, 0, limit).await, whole, "{order:?} by {limit}");
        }
        for after in 0..=41 {
            let rest = whole.get(after..).unwrap_or_default();
            assert_eq!(bench.read(id, order, after as u64, 9).await, rest, "{order:?} after {after}");
        }
    }
}

async fn the_order_of_the_inputs_gives_the_longest_finished_prefix(bench: Bench) {
    let id = bench.submit(9).await;
    let chunks = bench.claim(id, 3, 3).await;
    let prefix = async || bench.read(id, Order::Input, 0, 100).await.len();
    bench.complete(&chunks[1]).await;
    assert_eq!(prefix().await, 0);
    bench.complete_some(&chunks[0], 0, 2, &[]).await;
    assert_eq!(prefix().await, 2);
    bench.complete_some(&chunks[0], 2, 1, &[]).await;
    assert_eq!(prefix().await, 6);
    bench.complete(&chunks[2]).await;
    let indexes: Vec<u64> =
        bench.read(id, Order::Input, 0, 100).await.iter().map(|seen| seen.index).collect();
    assert_eq!(indexes, (0..9).collect::<Vec<_>>());
}

async fn jobs_are_listed_newest_first_and_filtered(bench: Bench) {
    let mut ids = Vec::new();
    for at in 0..5_u32 {
        let labels = [("parity".to_owned(), if at % 2 == 0 { "even" } else { "odd" }.to_owned())].into();
        let spec = JobSpec { function: format!("f{}", at % 3), labels, ..spec(options()) };
        let id = Bench::new_id();
        let job =
            NewJob { id, spec, total: 1, intake: Intake::Closed, key: None, limits: ENOUGH, notice: None };
        bench.store().submit(job, vec![segment(0, &inputs(1))], bench.now()).await.unwrap();
        ids.push(id);
    }
    bench.run_out(ids[1]).await;
    let list = async |filter: JobFilter, before, limit| {
        let jobs = bench.store().jobs(filter, before, limit).await.unwrap();
        jobs.iter().map(|job| ids.iter().position(|id| *id == job.id).unwrap()).collect::<Vec<_>>()
    };
    let all = JobFilter::default;
    assert_eq!(list(all(), None, 10).await, [4, 3, 2, 1, 0]);
    assert_eq!(list(all(), None, 2).await, [4, 3]);
    assert_eq!(list(all(), Some(ids[3]), 2).await, [2, 1]);
    assert_eq!(list(JobFilter { state: Some(JobState::Succeeded), ..all() }, None, 10).await, [1]);
    assert_eq!(list(JobFilter { function: Some("f0".into()), ..all() }, None, 10).await, [3, 0]);
    let odd = Some(("parity".to_owned(), "odd".to_owned()));
    assert_eq!(list(JobFilter { label: odd, ..all() }, None, 10).await, [3, 1]);
}

async fn runnable_jobs_come_by_priority_and_then_by_age(bench: Bench) {
    let mut ids = Vec::new();
    for priority in [0, 5, 0, -3, 5] {
        ids.push(bench.submit_with(4, JobOptions { priority, ..options() }).await);
    }
    let ended = bench.submit(1).await;
    bench.run_out(ended).await;
    bench.claim(ids[0], 1, 3).await;
    bench.settle().await;
    let jobs = bench.store().runnable(None, 10).await.unwrap();
    let want = [1, 4, 0, 2, 3].map(|at| ids[at]);
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), want);
    assert_eq!(jobs.iter().map(|job| job.unclaimed).collect::<Vec<_>>(), [4, 4, 1, 4, 4]);
    let behind = bench.store().runnable(Some((5, ids[4])), 2).await.unwrap();
    assert_eq!(behind.iter().map(|job| job.id).collect::<Vec<_>>(), [ids[0], ids[2]]);
}

async fn a_watch_wakes_when_its_job_changes(bench: Bench) {
    let id = bench.submit(1).await;
    let mut watch = bench.store().watch(id);
    let chunk = bench.claim_one(id, 1).await;
    bench.complete(&chunk).await;
    while !bench.state(id).await.is_final() {
        watch.changed().await;
    }
}

async fn a_restart_keeps_results_and_gives_leases_back_free_of_charge(mut bench: Bench) {
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

async fn a_cancel_that_a_restart_interrupts_is_finished_by_it(mut bench: Bench) {
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

async fn times_and_shares_add_up(bench: Bench) {
    let id = bench.submit(10).await;
    let chunks = bench.claim(id, 2, 5).await;
    bench.complete(&chunks[1]).await;
    bench.complete(&chunks[0]).await;
    let job = bench.job(id).await;
    assert_eq!((job.task_times.count, job.task_times.min_ns, job.task_times.max_ns), (10, 1_000, 1_009));
    assert_eq!(job.cpu_ns, 1_800);
    let [share] = &job.workers[..] else { panic!("{:?}", job.workers) };
    assert_eq!((share.worker.as_str(), share.pid, share.node.as_str()), ("worker-1", 42, "node"));
    assert_eq!((share.tasks, share.busy_ns, share.cpu_ns, share.max_rss_bytes), (10, 2_000, 1_800, 4_101));
}

async fn a_charged_task_waits_its_time(bench: Bench) {
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

async fn what_is_not_leased_can_be_failed(bench: Bench) {
    let id = bench.submit(10).await;
    let chunk = bench.claim_one(id, 4).await;
    bench.complete_some(&chunk, 0, 2, &[]).await;
    let error = r#"{"verdict":"crash","message":"no worker"}"#;
    let receipt = bench.store().fail_unleased(id, error.into(), bench.now()).await.unwrap();
    assert_eq!(receipt.state, Some(JobState::Running));
    assert_eq!(bench.job(id).await.tally, Tally { total: 10, succeeded: 2, failed: 6, cancelled: 0 });
    bench.release(&chunk, 2, 2, Requeue::AsBefore).await;
    let receipt = bench.store().fail_unleased(id, error.into(), bench.now()).await.unwrap();
    assert_eq!(receipt.state, Some(JobState::Failed));
    bench.assert_whole(id).await;
    let last = bench.read(id, Order::Input, 9, 1).await.remove(0);
    assert_eq!((last.line.as_deref(), last.failed), (Some(error), true));
}

async fn failed_tasks_can_be_run_again(bench: Bench) {
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

async fn failures_are_found_among_the_results(bench: Bench) {
    let id = bench.submit(40).await;
    for chunk in bench.claim(id, 4, 10).await {
        bench.complete_some(&chunk, chunk.first, 10, &[3, 7, 25, 26]).await;
    }
    let failures = async |after| {
        let found = bench.store().results(id, Order::Failed, after, 100).await.unwrap();
        let of = |segment: &ResultSegment| {
            let first = segment.first_seq;
            segment.failures().into_iter().map(|at| first + at).filter(|seq| *seq > after).collect::<Vec<_>>()
        };
        found.iter().flat_map(of).collect::<Vec<u64>>()
    };
    assert_eq!(failures(0).await, [4, 8, 26, 27]);
    assert_eq!(failures(4).await, [8, 26, 27]);
    assert_eq!(failures(26).await, [27]);
    assert_eq!(failures(27).await, [0; 0]);
    let Ok(Retried::Yes(..)) = bench.store().retry_failed(id).await else { panic!() };
    assert_eq!(failures(0).await, [0; 0], "they run again");
    for chunk in bench.claim(id, 4, 10).await {
        bench.complete_some(&chunk, chunk.first, 1, &[26]).await;
    }
    assert_eq!(failures(0).await.len(), 1);
}

async fn a_key_names_one_job_for_good(mut bench: Bench) {
    let key = |fingerprint: u8| IdempotencyKey { key: "k".into(), fingerprint: [fingerprint; 32] };
    let new = |fingerprint| NewJob {
        id: Bench::new_id(),
        spec: spec(options()),
        total: 2,
        intake: Intake::Closed,
        key: Some(key(fingerprint)),
        limits: ENOUGH,
        notice: None,
    };
    let segments = || vec![segment(0, &inputs(2))];
    let first = bench.store().submit(new(1), segments(), bench.now()).await.unwrap();
    let Submitted::New(job) = first else { panic!("{first:?}") };
    let again = bench.store().submit(new(1), segments(), bench.now()).await.unwrap();
    assert!(matches!(&again, Submitted::Same(same) if same.id == job.id), "{again:?}");
    assert_eq!(bench.store().submit(new(2), segments(), bench.now()).await.unwrap(), Submitted::Other);
    bench.restart();
    let staged = new(1);
    bench.store().stage(staged.id, segments()).await.unwrap();
    let again = bench.store().submit(staged, Vec::new(), bench.now()).await.unwrap();
    assert!(matches!(&again, Submitted::Same(same) if same.id == job.id), "{again:?}");
    assert_eq!(bench.store().jobs(JobFilter::default(), None, 10).await.unwrap().len(), 1);
    bench.run_out(job.id).await;
    bench.store().delete(job.id).await.unwrap();
    assert_eq!(bench.store().submit(new(1), segments(), bench.now()).await.unwrap(), Submitted::Gone(job.id));
}

async fn a_paused_job_gives_no_leases_until_it_is_resumed(mut bench: Bench) {
    let id = bench.submit(10).await;
    let chunk = bench.claim_one(id, 4).await;
    let job = bench.store().pause(id).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Paused);
    assert!(bench.claim(id, 1, 4).await.is_empty());
    bench.complete(&chunk).await;
    assert_eq!((bench.state(id).await, bench.job(id).await.tally.done()), (JobState::Paused, 4));
    bench.restart();
    assert!(bench.store().runnable(None, 10).await.unwrap().is_empty());
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

async fn a_full_queue_takes_no_more_and_keeps_nothing_of_it(bench: Bench) {
    let id = bench.submit(10).await;
    let submit = async |limits, total: u64| {
        let key = Some(IdempotencyKey { key: "k".into(), fingerprint: [1; 32] });
        let job = NewJob {
            id: Bench::new_id(),
            spec: spec(options()),
            total,
            intake: Intake::Closed,
            key,
            limits,
            notice: None,
        };
        let (staged, last) = (segment(0, &inputs(1)), segment(1, &inputs(total)[1..]));
        bench.store().stage(job.id, vec![staged]).await.unwrap();
        bench.store().submit(job, vec![last], bench.now()).await.unwrap()
    };
    let bytes: u64 = inputs(10).iter().map(|input| input.len() as u64 + 1).sum();
    let queued = Submitted::QueueFull(QueueLimits { tasks: 10, bytes });
    assert_eq!(submit(QueueLimits { tasks: 14, bytes: 1 << 40 }, 5).await, queued);
    assert_eq!(submit(QueueLimits { tasks: 1 << 40, bytes: bytes + 10 }, 5).await, queued);
    assert_eq!(bench.store().jobs(JobFilter::default(), None, 10).await.unwrap().len(), 1);
    bench.run_out(id).await;
    assert!(matches!(submit(QueueLimits { tasks: 14, bytes: 1 << 40 }, 5).await, Submitted::New(_)));
}

async fn jobs_that_ended_are_swept_by_age_and_by_number(bench: Bench) {
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

/// What the next change tells of.
async fn next_change(watch: &mut ChangeWatch) -> Vec<JobId> {
    watch.changed().await;
    let Changed::Jobs(jobs) = watch.next(100) else { panic!("some changes are not known") };
    jobs
}

async fn who_follows_all_jobs_hears_of_each_change(bench: Bench) {
    let (before, other) = (bench.submit(1).await, bench.submit(1).await);
    let mut watch = bench.store().watch_all(None);
    // It may still hear of what it was late for.
    let after_other = |jobs: Vec<JobId>| jobs.into_iter().filter(move |job| *job != other && *job != before);
    let id = bench.submit(2).await;
    let mut told: Vec<JobId> = Vec::new();
    while told.is_empty() {
        told.extend(after_other(next_change(&mut watch).await));
    }
    assert_eq!(told, [id]);
    let chunk = bench.claim_one(id, 2).await;
    assert_eq!(next_change(&mut watch).await, [id]);
    let place = watch.at();
    bench.complete(&chunk).await;
    assert_eq!(next_change(&mut watch).await, [id]);
    bench.store().cancel(other, bench.now()).await.unwrap();
    assert_eq!(next_change(&mut watch).await, [other]);
    bench.store().delete(id).await.unwrap();
    assert_eq!(next_change(&mut watch).await, [id]);
    let all = Retention { ended_since: Timestamp(0), count: 0 };
    bench.store().sweep(all, bench.now()).await.unwrap();
    assert_eq!(next_change(&mut watch).await, [other]);
    assert_eq!(watch.next(100), Changed::Jobs(Vec::new()));
    let mut back = bench.store().watch_all(Some(place));
    assert_eq!(next_change(&mut back).await, [id, other]);
    let there = bench.store().jobs_of(vec![id, before, other]).await.unwrap();
    assert_eq!(there.iter().map(|job| job.id).collect::<Vec<_>>(), [before]);
}

/// Each task that ran, with its attempt and whether it failed, in the order of completion.
async fn all_runs(bench: &Bench, id: JobId) -> Vec<(u64, u32, bool)> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let runs = bench.store().runs(id, after).await.unwrap();
        let Some(last) = runs.last() else { return all };
        after = last.first_seq;
        for run in runs {
            assert_eq!((run.worker.as_str(), run.pid), ("worker-1", 42));
            let most = Timestamp(bench.now().0 + 1_000_000);
            assert!(Timestamp(0) < run.span.start && run.span.start <= run.span.end, "{run:?}");
            assert!(run.span.end <= most, "{run:?}");
            let outcomes = run.outcomes.iter().map(|(_, failed)| failed);
            all.extend((run.first_index..).zip(outcomes).map(|(index, failed)| (index, run.attempt, failed)));
        }
    }
}

async fn what_ran_when_is_kept_without_payload(bench: Bench) {
    let id = bench.submit(300).await;
    let chunk = bench.claim_one(id, 200).await;
    bench.complete_some(&chunk, 0, 200, &[3, 4]).await;
    let expected: Vec<_> = (0..200).map(|index| (index, 1, index == 3 || index == 4)).collect();
    assert_eq!(all_runs(&bench, id).await, expected);
    bench.store().cancel(id, bench.now()).await.unwrap();
    assert_eq!(all_runs(&bench, id).await, expected, "what was cancelled has not run");
    assert!(matches!(bench.store().retry_failed(id).await.unwrap(), Retried::Yes(_, 2)));
    for _ in 0..2 {
        let again = bench.claim_one(id, 1).await;
        bench.complete(&again).await;
    }
    let again = [(3, 2, false), (4, 2, false)];
    assert_eq!(all_runs(&bench, id).await, [expected, again.to_vec()].concat());
    let seq = bench.store().free_results(id, 100).await.unwrap().unwrap();
    assert_eq!(all_runs(&bench, id).await.len() as u64, 202 - seq);
    assert!(bench.store().runs(Bench::new_id(), 0).await.unwrap().is_empty());
}

async fn results_are_freed_up_to_where_their_reader_is(bench: Bench) {
    let id = bench.submit(30).await;
    for chunk in bench.claim(id, 3, 10).await {
        bench.complete(&chunk).await;
    }
    let queue = bench.queue(id).await;
    assert_eq!(bench.store().free_results(id, 20).await.unwrap(), Some(20));
    assert_eq!(bench.store().freed_through(id).await.unwrap(), 20);
    assert_eq!(bench.read(id, Order::Completion, 20, 100).await, queue[20..]);
    assert_eq!(bench.store().free_results(id, 5).await.unwrap(), Some(20));
    assert_eq!(bench.store().free_results(Bench::new_id(), 5).await.unwrap(), None);
    assert_eq!(bench.job(id).await.tally.done(), 30);
}

async fn an_open_job_takes_more_inputs_until_it_is_closed(mut bench: Bench) {
    let id = Bench::new_id();
    let new = NewJob {
        id,
        spec: spec(options()),
        total: 2,
        intake: Intake::Open,
        key: None,
        limits: ENOUGH,
        notice: None,
    };
    bench.store().submit(new, vec![segment(0, &inputs(2))], bench.now()).await.unwrap();
    bench.run_out(id).await;
    assert_eq!((bench.state(id).await, bench.job(id).await.open), (JobState::Running, true));
    let more = |job, key: Option<u8>| {
        let key = key.map(|byte| IdempotencyKey { key: "more".into(), fingerprint: [byte; 32] });
        MoreInputs { job, staged: Bench::new_id(), total: 3, key, limits: ENOUGH }
    };
    let all = inputs(5);
    let first = more(id, Some(1));
    bench.store().stage(first.staged, vec![segment(0, &all[2..4])]).await.unwrap();
    let appended = bench.store().append(first, vec![segment(2, &all[4..])], bench.now()).await.unwrap();
    assert!(matches!(&appended, Appended::Yes(job, 3) if job.tally.total == 5), "{appended:?}");
    let again =
        bench.store().append(more(id, Some(1)), vec![segment(0, &all[2..])], bench.now()).await.unwrap();
    assert!(matches!(again, Appended::Same(_)), "{again:?}");
    let other =
        bench.store().append(more(id, Some(2)), vec![segment(0, &all[2..])], bench.now()).await.unwrap();
    assert_eq!(other, Appended::Other);
    bench.restart();
    assert_eq!(bench.store().runnable(None, 10).await.unwrap()[0].unclaimed, 3);
    let chunks = bench.claim(id, 3, 2).await;
    assert_eq!(chunks.iter().flat_map(lines_of).collect::<Vec<_>>(), all[2..]);
    let closed = bench.store().close(id, bench.now()).await.unwrap().unwrap();
    assert_eq!((closed.state, closed.open), (JobState::Running, false));
    for chunk in &chunks {
        bench.complete(chunk).await;
    }
    assert_eq!(bench.state(id).await, JobState::Succeeded);
    bench.assert_whole(id).await;
    let late = bench.store().append(more(id, None), vec![segment(0, &all[2..])], bench.now()).await.unwrap();
    assert_eq!(late, Appended::Closed);
    let unknown = more(Bench::new_id(), None);
    assert_eq!(
        bench.store().append(unknown, vec![segment(0, &all[2..])], bench.now()).await.unwrap(),
        Appended::Unknown
    );
    let empty = Bench::new_id();
    let new = NewJob {
        id: empty,
        spec: spec(options()),
        total: 0,
        intake: Intake::Open,
        key: None,
        limits: ENOUGH,
        notice: None,
    };
    bench.store().submit(new, Vec::new(), bench.now()).await.unwrap();
    assert_eq!(bench.state(empty).await, JobState::Queued);
    assert_eq!(bench.store().close(empty, bench.now()).await.unwrap().unwrap().state, JobState::Succeeded);
}

fn printed(index: u64, text: &str) -> LogEntry {
    let (worker, stream, text) = ("worker-1".into(), "stderr".into(), text.to_owned());
    let at = Timestamp(1_000 + index as i64);
    LogEntry { seq: 0, at, index, attempt: 1, worker, pid: 42, stream, text, dropped_bytes: 0 }
}

async fn what_tasks_print_is_kept_and_bounded(bench: Bench) {
    let id = bench.submit(3).await;
    let all = |limit| LogFilter { after: 0, index: None, limit };
    bench.store().append_logs(id, vec![printed(0, "a"), printed(1, "\u{0}é\n")]).await.unwrap();
    bench.store().append_logs(id, vec![printed(1, "c")]).await.unwrap();
    bench.store().append_logs(Bench::new_id(), vec![printed(0, "nobody's")]).await.unwrap();
    bench.settle().await;
    let page = bench.store().logs(id, all(10)).await.unwrap();
    let expected = [printed(0, "a"), printed(1, "\u{0}é\n"), printed(1, "c")];
    let expected: Vec<_> = (1..).zip(expected).map(|(seq, entry)| LogEntry { seq, ..entry }).collect();
    assert_eq!((page.entries, page.dropped_bytes), (expected.clone(), 0));
    let filter = LogFilter { after: 1, index: Some(1), limit: 1 };
    assert_eq!(bench.store().logs(id, filter).await.unwrap().entries, expected[1..2]);
    let large = "x".repeat(1 << 20);
    bench.store().append_logs(id, (0..5).map(|_| printed(2, &large)).collect()).await.unwrap();
    bench.settle().await;
    let page = bench.store().logs(id, all(10)).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [5, 6, 7, 8]);
    assert_eq!(page.dropped_bytes, 1 + 4 + 1 + (1 << 20));
}

fn told() -> JobOptions {
    JobOptions { callback_url: Some("https://hooks.example:8443/a/b".into()), ..options() }
}

async fn every_end_of_a_job_is_told(mut bench: Bench) {
    let mut ends = bench.store().outbox();
    let empty = bench.submit_with(0, told()).await;
    ends.changed().await.unwrap();
    let succeeded = bench.submit_with(2, told()).await;
    assert_eq!(bench.callback(succeeded).await, None);
    bench.run_out(succeeded).await;
    let cancelled = bench.submit_with(2, told()).await;
    bench.store().cancel(cancelled, bench.now()).await.unwrap();
    let failed = bench.submit_with(2, told()).await;
    bench.store().fail_unleased(failed, "{}".into(), bench.now()).await.unwrap();
    let stopped =
        bench.submit_with(3, JobOptions { callback_url: told().callback_url, ..stop_on_error() }).await;
    let chunk = bench.claim_one(stopped, 1).await;
    bench.complete_some(&chunk, 0, 1, &[0]).await;
    let closed = bench.submit_open(told(), Intake::Open).await;
    bench.store().close(closed, bench.now()).await.unwrap();
    let cut = bench.submit_open(told(), Intake::Streamed).await;
    let interrupted = bench.submit_with(2, told()).await;
    bench.claim_one(interrupted, 1).await;
    bench.store().cancel(interrupted, bench.now()).await.unwrap();
    let (queued, silent) = (bench.submit_with(1, told()).await, bench.submit(0).await);
    let before = [empty, succeeded, cancelled, failed, stopped, closed];
    assert_eq!(bench.due(100).await, before);
    bench.restart();
    let due = bench.due(100).await;
    assert_eq!(due[..6], before);
    assert_eq!(due.iter().skip(6).collect::<BTreeSet<_>>(), BTreeSet::from([&cut, &interrupted]));
    assert!(bench.callback(queued).await.is_none() && bench.callback(silent).await.is_none());
    let all = bench.store().due_callbacks(1, bench.now()).await.unwrap();
    assert_eq!(
        all.due.iter().map(|due| due.receiver.as_str()).collect::<Vec<_>>(),
        ["https://hooks.example:8443"]
    );
}

async fn what_became_of_a_try_is_kept(bench: Bench) {
    let (again, at) = (bench.submit_with(0, told()).await, Timestamp(1_000_000));
    let error = || "no answer".to_owned();
    bench.tried(again, 1, TryOutcome::Again { error: error(), at }).await;
    let expected =
        Callback { state: CallbackState::Pending, attempts: 1, last_error: Some(error()), next_at: Some(at) };
    assert_eq!(bench.callback(again).await, Some(expected.clone()));
    let due = bench.store().due_callbacks(1, bench.now()).await.unwrap();
    assert_eq!(due, DueCallbacks { due: Vec::new(), next_at: Some(at) });
    let other = bench.submit_with(0, told()).await;
    let due = bench.store().due_callbacks(1, bench.now()).await.unwrap();
    assert_eq!((due.due[0].job, due.next_at), (other, Some(at)));
    bench.tried(other, 1, TryOutcome::Delivered).await;
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.due(1).await, [again]);
    bench.tried(again, 1, TryOutcome::Delivered).await;
    let delivered = Callback { state: CallbackState::Delivered, attempts: 2, next_at: None, ..expected };
    assert_eq!(bench.callback(again).await, Some(delivered.clone()));
    bench.tried(again, 1, TryOutcome::GivenUp { error: error() }).await;
    assert_eq!(bench.callback(again).await, Some(delivered), "what is delivered stays so");
    let given_up = bench.submit_with(0, told()).await;
    bench.tried(given_up, 1, TryOutcome::GivenUp { error: error() }).await;
    assert_eq!(bench.callback(given_up).await.unwrap().state, CallbackState::Failed);
    assert_eq!(bench.store().due_callbacks(1, bench.now()).await.unwrap(), DueCallbacks::default());
}

async fn a_job_that_goes_on_ends_again(bench: Bench) {
    let id = bench.submit_with(1, told()).await;
    let chunk = bench.claim_one(id, 1).await;
    bench.complete_some(&chunk, 0, 1, &[0]).await;
    assert_eq!(bench.due(1).await, [id]);
    assert!(matches!(bench.store().retry_failed(id).await.unwrap(), Retried::Yes(_, 1)));
    assert!(bench.due(1).await.is_empty(), "it has not ended");
    bench.tried(id, 1, TryOutcome::Delivered).await;
    assert_eq!(bench.callback(id).await.unwrap().attempts, 0, "that was its earlier end");
    bench.run_out(id).await;
    bench.tried(id, 1, TryOutcome::Delivered).await;
    let due = bench.store().due_callbacks(1, bench.now()).await.unwrap().due;
    assert_eq!((due[0].job, due[0].end, due[0].attempts), (id, 2, 0));
    bench.tried(id, 2, TryOutcome::Delivered).await;
    assert_eq!(bench.callback(id).await.unwrap().state, CallbackState::Delivered);
}

async fn one_receiver_does_not_hide_another(bench: Bench) {
    let to = |host: &str| JobOptions { callback_url: Some(format!("https://{host}/x")), ..options() };
    let mut ids = Vec::new();
    for host in ["b", "b", "b", "a", "c", "b"] {
        ids.push(bench.submit_with(0, to(host)).await);
    }
    assert_eq!(bench.due(2).await, [ids[0], ids[1], ids[3], ids[4]]);
    assert_eq!(bench.due(9).await, ids);
}

async fn nothing_is_told_of_what_is_forgotten(bench: Bench) {
    let (deleted, swept) = (bench.submit_with(0, told()).await, bench.submit_with(0, told()).await);
    assert_eq!(bench.store().delete(deleted).await.unwrap(), Deleted::Yes);
    assert_eq!(bench.due(9).await, [swept]);
    let retention = Retention { ended_since: bench.now(), count: 9 };
    assert_eq!(bench.store().sweep(retention, bench.now()).await.unwrap(), 1);
    assert_eq!(bench.store().due_callbacks(9, bench.now()).await.unwrap(), DueCallbacks::default());
    bench.tried(deleted, 1, TryOutcome::Delivered).await;
    assert_eq!(bench.callback(deleted).await, None);
}

async fn what_there_is_is_counted(mut bench: Bench) {
    use JobState::{Cancelled, Failed, Paused, Queued, Running, Succeeded};
    let (done, cut, failing) = (bench.submit(3).await, bench.submit(5).await, bench.submit(2).await);
    bench.counts_are(&[(Queued, 3)], (10, 0, 0)).await;
    let chunk = bench.claim_one(cut, 2).await;
    bench.counts_are(&[(Queued, 2), (Running, 1)], (10, 0, 0)).await;
    bench.run_out(done).await;
    bench.store().cancel(cut, bench.now()).await.unwrap();
    assert!(bench.complete(&chunk).await.held);
    bench.counts_are(&[(Queued, 1), (Succeeded, 1), (Cancelled, 1)], (2, 3, 0)).await;
    bench.store().fail_unleased(failing, "{}".into(), bench.now()).await.unwrap();
    bench.counts_are(&[(Succeeded, 1), (Cancelled, 1), (Failed, 1)], (0, 3, 2)).await;
    // A retry gives further outcomes, and takes none back.
    assert!(matches!(bench.store().retry_failed(failing).await.unwrap(), Retried::Yes(_, 2)));
    bench.store().pause(failing).await.unwrap();
    assert_eq!(bench.store().delete(cut).await.unwrap(), Deleted::Yes);
    bench.counts_are(&[(Paused, 1), (Succeeded, 1)], (2, 3, 2)).await;
    let empty = bench.submit(0).await;
    assert_eq!(bench.store().delete(done).await.unwrap(), Deleted::Yes);
    bench.counts_are(&[(Paused, 1), (Succeeded, 1)], (2, 3, 2)).await;
    // What is is known after a restart; what was counted since the start begins anew.
    bench.restart();
    bench.counts_are(&[(Paused, 1), (Succeeded, 1)], (2, 0, 0)).await;
    let none = Retention { ended_since: Timestamp(i64::MAX), count: 0 };
    assert_eq!(bench.store().sweep(none, bench.now()).await.unwrap(), 1);
    assert!(bench.store().job(empty).await.unwrap().is_none());
    bench.counts_are(&[(Paused, 1)], (2, 0, 0)).await;
}

macro_rules! contract {
    ($($scenario:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $scenario() { super::$scenario(super::Bench::new(super::Kind::Memory)).await })*
        }
        mod sqlite_files {
            $(#[tokio::test] async fn $scenario() { super::$scenario(super::Bench::new(super::Kind::SqliteFiles)).await })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $scenario() { super::$scenario(super::Bench::new(super::Kind::Sqlite)).await })*
        }
    };
}

contract! {
    inputs_come_back_byte_for_byte_across_segments
    what_is_unstaged_never_was
    a_job_is_told_of_once_and_only_if_there_is_something_to_do
    a_job_without_inputs_has_succeeded
    a_claim_gives_what_it_is_asked_for_and_says_what_is_left
    results_are_a_queue_without_a_gap
    a_chunk_may_be_answered_in_parts
    tasks_go_back_as_they_were_alone_or_charged
    the_tail_of_a_lease_can_be_taken_back
    what_was_charged_keeps_its_attempts_when_we_lose_it
    failed_tasks_are_counted_and_fail_the_job
    stop_on_error_cancels_the_rest
    a_cancel_ends_a_queued_job_at_once
    a_cancel_waits_for_what_is_leased_and_keeps_what_is_done
    a_job_is_forgotten_only_when_it_has_ended
    any_cursor_and_page_size_walk_each_result_once
    the_order_of_the_inputs_gives_the_longest_finished_prefix
    jobs_are_listed_newest_first_and_filtered
    runnable_jobs_come_by_priority_and_then_by_age
    a_watch_wakes_when_its_job_changes
    a_restart_keeps_results_and_gives_leases_back_free_of_charge
    a_cancel_that_a_restart_interrupts_is_finished_by_it
    times_and_shares_add_up
    a_charged_task_waits_its_time
    what_is_not_leased_can_be_failed
    failed_tasks_can_be_run_again
    failures_are_found_among_the_results
    what_tasks_print_is_kept_and_bounded
    a_key_names_one_job_for_good
    an_open_job_takes_more_inputs_until_it_is_closed
    a_full_queue_takes_no_more_and_keeps_nothing_of_it
    jobs_that_ended_are_swept_by_age_and_by_number
    who_follows_all_jobs_hears_of_each_change
    what_ran_when_is_kept_without_payload
    results_are_freed_up_to_where_their_reader_is
    a_paused_job_gives_no_leases_until_it_is_resumed
    every_end_of_a_job_is_told
    what_became_of_a_try_is_kept
    a_job_that_goes_on_ends_again
    one_receiver_does_not_hide_another
    nothing_is_told_of_what_is_forgotten
    what_there_is_is_counted
}
