//! Jobs and their inputs are accepted, all or nothing and once.

use std::sync::{Arc, Mutex};

use gristmill::model::{Blocked, Job, JobState};
use gristmill::store::{
    Appended, Chunk, IdempotencyKey, Intake, JobFilter, MoreInputs, NewJob, Notice, QueueLimits, Submitted,
};

use crate::bench::{Bench, ENOUGH, inputs, lines_of, options, segment, spec};

pub(super) async fn inputs_come_back_byte_for_byte_across_segments(bench: Bench) {
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

pub(super) async fn what_is_unstaged_never_was(bench: Bench) {
    let id = Bench::new_id();
    bench.store().stage(id, vec![segment(0, &inputs(10))]).await.unwrap();
    bench.store().unstage(id).await.unwrap();
    assert!(bench.store().job(id).await.unwrap().is_none());
    assert!(bench.store().jobs(JobFilter::default(), None, 10).await.unwrap().is_empty());
    assert!(bench.claim(id, 1, 10).await.is_empty());
}

pub(super) async fn a_job_is_told_of_once_and_only_if_there_is_something_to_do(bench: Bench) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let notice = {
        let told = told.clone();
        let tell = move |job: &Job, leased: Option<Chunk>| {
            told.lock().unwrap().push((job.id, job.tally.total, leased));
        };
        Notice { tell: Arc::new(tell), room: None, awaited: true }
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
    assert_eq!(*told.lock().unwrap(), [(job.id, 3, None)]);
}

pub(super) async fn a_job_without_inputs_has_succeeded(bench: Bench) {
    let id = bench.submit(0).await;
    let job = bench.job(id).await;
    assert_eq!((job.state, job.tally.total, job.started_at), (JobState::Succeeded, 0, None));
    assert!(job.finished_at.is_some());
}

pub(super) async fn a_key_names_one_job_for_good(mut bench: Bench) {
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

pub(super) async fn an_open_job_takes_more_inputs_until_it_is_closed(mut bench: Bench) {
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
    assert_eq!(bench.store().runnable(None, Blocked::default(), 10).await.unwrap()[0].unclaimed, 3);
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

pub(super) async fn a_full_queue_takes_no_more_and_keeps_nothing_of_it(bench: Bench) {
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
