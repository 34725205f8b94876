//! The ends of jobs that are to be told, and what became of telling them.

use std::collections::BTreeSet;
use std::time::Duration;

use gristmill::model::{JobOptions, Timestamp};
use gristmill::store::{
    Callback, CallbackState, Deleted, DueCallbacks, Intake, Retention, Retried, TryOutcome,
};

use crate::bench::{Bench, options, stop_on_error};

fn told() -> JobOptions {
    JobOptions { callback_url: Some("https://hooks.example:8443/a/b".into()), ..options() }
}

pub(super) async fn every_end_of_a_job_is_told(mut bench: Bench) {
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
    bench.untold_are(6).await;
    bench.restart();
    bench.untold_are(8).await;
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

pub(super) async fn what_became_of_a_try_is_kept(bench: Bench) {
    let (again, at) = (bench.submit_with(0, told()).await, Timestamp(1_000_000));
    let error = || "no answer".to_owned();
    bench.tried(again, 1, TryOutcome::Again { error: error(), at }).await;
    let expected =
        Callback { state: CallbackState::Pending, attempts: 1, last_error: Some(error()), next_at: Some(at) };
    assert_eq!(bench.callback(again).await, Some(expected.clone()));
    bench.untold_are(1).await;
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
    bench.untold_are(0).await;
}

pub(super) async fn a_job_that_goes_on_ends_again(bench: Bench) {
    let id = bench.submit_with(1, told()).await;
    let chunk = bench.claim_one(id, 1).await;
    bench.complete_some(&chunk, 0, 1, &[0]).await;
    assert_eq!(bench.due(1).await, [id]);
    assert!(matches!(bench.store().retry_failed(id).await.unwrap(), Retried::Yes(_, 1)));
    assert!(bench.due(1).await.is_empty(), "it has not ended");
    bench.untold_are(0).await;
    bench.tried(id, 1, TryOutcome::Delivered).await;
    assert_eq!(bench.callback(id).await.unwrap().attempts, 0, "that was its earlier end");
    bench.run_out(id).await;
    bench.tried(id, 1, TryOutcome::Delivered).await;
    let due = bench.store().due_callbacks(1, bench.now()).await.unwrap().due;
    assert_eq!((due[0].job, due[0].end, due[0].attempts), (id, 2, 0));
    bench.untold_are(1).await;
    bench.tried(id, 2, TryOutcome::Delivered).await;
    assert_eq!(bench.callback(id).await.unwrap().state, CallbackState::Delivered);
}

pub(super) async fn one_receiver_does_not_hide_another(bench: Bench) {
    let to = |host: &str| JobOptions { callback_url: Some(format!("https://{host}/x")), ..options() };
    let mut ids = Vec::new();
    for host in ["b", "b", "b", "a", "c", "b"] {
        ids.push(bench.submit_with(0, to(host)).await);
    }
    assert_eq!(bench.due(2).await, [ids[0], ids[1], ids[3], ids[4]]);
    assert_eq!(bench.due(9).await, ids);
}

pub(super) async fn nothing_is_told_of_what_is_forgotten(bench: Bench) {
    let (deleted, swept) = (bench.submit_with(0, told()).await, bench.submit_with(0, told()).await);
    assert_eq!(bench.store().delete(deleted).await.unwrap(), Deleted::Yes);
    assert_eq!(bench.due(9).await, [swept]);
    let retention = Retention { ended_since: bench.now(), count: 9 };
    assert_eq!(bench.store().sweep(retention, bench.now()).await.unwrap(), 1);
    assert_eq!(bench.store().due_callbacks(9, bench.now()).await.unwrap(), DueCallbacks::default());
    bench.tried(deleted, 1, TryOutcome::Delivered).await;
    assert_eq!(bench.callback(deleted).await, None);
}
