//! All jobs: listed, followed and counted.

use gristmill::model::{JobId, JobSpec, JobState, Timestamp};
use gristmill::store::{ChangeWatch, Changed, Deleted, Intake, JobFilter, NewJob, Retention, Retried};

use crate::bench::{Bench, ENOUGH, inputs, options, segment, spec};

pub(super) async fn jobs_are_listed_newest_first_and_filtered(bench: Bench) {
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

pub(super) async fn a_watch_wakes_when_its_job_changes(bench: Bench) {
    let id = bench.submit(1).await;
    let mut watch = bench.store().watch(id);
    let chunk = bench.claim_one(id, 1).await;
    bench.complete(&chunk).await;
    while !bench.state(id).await.is_final() {
        watch.changed().await;
    }
}

/// What the next change tells of.
async fn next_change(watch: &mut ChangeWatch) -> Vec<JobId> {
    watch.changed().await;
    let Changed::Jobs(jobs) = watch.next(100) else { panic!("some changes are not known") };
    jobs
}

pub(super) async fn who_follows_all_jobs_hears_of_each_change(bench: Bench) {
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

pub(super) async fn what_there_is_is_counted(mut bench: Bench) {
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
