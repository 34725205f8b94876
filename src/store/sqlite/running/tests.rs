//! What is known of a job is what its rows say, or will say.

use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::super::SqliteStore;
use super::super::handle::Urgency;
use super::super::writer::full;
use crate::model::{
    InputSegment, Job, JobId, JobOptions, JobSpec, JobState, OnError, Outcomes, Span, Timestamp,
};
use crate::store::{
    Chunk, Claim, Completion, Haste, Intake, NewJob, Notice, Order, QueueLimits, Receipt, Store as _,
    StoreError, Submitted,
};

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
const JOB: JobId = JobId(Uuid::from_u128(7));

async fn store_with_two_tasks(dir: &TempDir) -> SqliteStore {
    let store = SqliteStore::open(dir.path(), "node", NOW).unwrap();
    submit(&store, JOB, "1\n2\n", None).await;
    store
}

async fn submit(store: &SqliteStore, id: JobId, lines: &'static str, notice: Option<Notice>) -> Submitted {
    let options = JobOptions { on_error: OnError::Stop, ..JobOptions::default() };
    let spec = JobSpec { function: "echo".into(), name: None, labels: [].into(), options };
    let limits = QueueLimits { tasks: 1 << 40, bytes: 1 << 40 };
    let (intake, key, count) = (Intake::Closed, None, lines.lines().count() as u32);
    let segment = InputSegment { first: 0, count, lines: lines.into() };
    let job = NewJob { id, spec, total: u64::from(count), intake, key, limits, notice };
    store.submit(job, vec![segment], NOW).await.unwrap()
}

/// Claims a task; `then` decides what becomes of the request.
async fn claim(
    store: &SqliteStore,
    then: fn(&rusqlite::Connection) -> rusqlite::Result<()>,
) -> Result<Vec<Chunk>, StoreError> {
    let claim = Claim { job: JOB, chunks: 1, max_tasks: 1, backwards: false };
    let work = move |writer: &mut super::super::writer::Writer| {
        let claimed = writer.claim(claim, NOW)?;
        then(&writer.conn).map(|()| claimed.chunks)
    };
    store.writer.write_of_tasks(Urgency::Soon, work).await
}

fn completion(chunk: &Chunk) -> Arc<Completion> {
    let Chunk { lease, job, first, attempt, .. } = *chunk;
    let mut outcomes = Outcomes::default();
    outcomes.push(1_000, chunk.inputs.starts_with(b"\"fails"));
    let (task_times, lines, span) = (outcomes.times(), "1\n".into(), Span { start: NOW, end: NOW });
    let (worker, pid, busy_ns, cpu_ns, max_rss_bytes) = ("worker-1".into(), 42, 1_000, 900, 4_096);
    Arc::new(Completion {
        lease,
        job,
        first,
        attempt,
        worker,
        pid,
        outcomes,
        task_times,
        lines,
        span,
        busy_ns,
        cpu_ns,
        max_rss_bytes,
    })
}

#[tokio::test]
async fn what_is_undone_is_not_known_any_more() {
    let dir = TempDir::new().unwrap();
    let store = store_with_two_tasks(&dir).await;
    let failed = claim(&store, |_| Err(rusqlite::Error::InvalidQuery)).await;
    assert!(matches!(failed, Err(StoreError::Stopped(_))), "{failed:?}");
    // As SQLite does by itself where the disk is full.
    let undone = claim(&store, |conn| conn.execute_batch("ROLLBACK")).await;
    assert!(matches!(undone, Err(StoreError::Full)), "{undone:?}");
    for first in 0..2 {
        let chunks = claim(&store, |_| Ok(())).await.unwrap();
        assert_eq!(chunks.iter().map(|chunk| chunk.first).collect::<Vec<_>>(), [first]);
        assert!(store.complete_if_leased(completion(&chunks[0]), Haste::Now, NOW).await.unwrap().held);
    }
    let job = store.job(JOB).await.unwrap().unwrap();
    assert_eq!((job.state, job.tally.succeeded), (JobState::Succeeded, 2));
}

#[tokio::test]
async fn many_answers_come_to_one_row() {
    let dir = TempDir::new().unwrap();
    let store = store_with_two_tasks(&dir).await;
    let claim = Claim { job: JOB, chunks: 2, max_tasks: 1, backwards: false };
    let chunks = store.claim(claim, NOW).await.unwrap().chunks;
    let (first, second) = (completion(&chunks[0]), completion(&chunks[1]));
    let (first, second) = tokio::join!(
        store.complete_if_leased(first, Haste::Patient, NOW),
        store.complete_if_leased(second, Haste::Now, NOW)
    );
    assert_eq!((first.unwrap().held, second.unwrap().state), (true, Some(JobState::Succeeded)));
    let job = store.job(JOB).await.unwrap().unwrap();
    assert_eq!((job.state, job.tally.succeeded, job.cpu_ns), (JobState::Succeeded, 2, 1_800));
    assert_eq!((job.started_at, job.finished_at, job.task_times.count), (Some(NOW), Some(NOW), 2));
    let [share] = &job.workers[..] else { panic!("{:?}", job.workers) };
    assert_eq!((share.tasks, share.busy_ns, share.max_rss_bytes), (2, 2_000, 4_096));
}

/// Submits a job, and answers its first task as soon as it is leased, which is when the job is accepted.
async fn submit_and_run(store: &SqliteStore, id: JobId, lines: &'static str) -> (Submitted, Receipt) {
    let (told, hear) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let tell = move |_: &Job, leased| drop(told.lock().unwrap().take().unwrap().send(leased));
    let room = Some(Arc::new(true.into()));
    let notice = Some(Notice { tell: Arc::new(tell), room, awaited: true });
    let end = async {
        let chunk = hear.await.unwrap().expect("there is room");
        store.complete_if_leased(completion(&chunk), Haste::Now, NOW).await.unwrap()
    };
    tokio::join!(submit(store, id, lines, notice), end)
}

#[tokio::test]
async fn what_a_failure_cancels_of_a_job_without_a_row_is_counted() {
    let dir = TempDir::new().unwrap();
    let store = store_with_two_tasks(&dir).await;
    for number in 1..=20 {
        let id = JobId(Uuid::from_u128(100 + number));
        let (submitted, receipt) = submit_and_run(&store, id, "\"fails\"\n1\n2\n").await;
        assert!(matches!(submitted, Submitted::New(_)), "{submitted:?}");
        assert_eq!((receipt.held, receipt.state), (true, Some(JobState::Failed)));
        let tally = store.job(id).await.unwrap().unwrap().tally;
        assert_eq!((tally.failed, tally.cancelled), (1, 2));
        assert_eq!(u128::from(store.counts().tasks["echo"].cancelled), 2 * number);
    }
}

#[tokio::test]
async fn a_job_that_ends_within_its_transaction_is_answered_as_it_is_read() {
    let dir = TempDir::new().unwrap();
    let store = store_with_two_tasks(&dir).await;
    // A commit waits for an end no longer than the last one took: a slow test may come too late.
    for number in 100..10_000 {
        let id = JobId(Uuid::from_u128(number));
        let (submitted, receipt) = submit_and_run(&store, id, "1\n").await;
        assert_eq!((receipt.held, receipt.state), (true, Some(JobState::Succeeded)));
        assert_eq!(store.counts().tasks["echo"].unfinished, 2, "those of the first job");
        let job = store.job(id).await.unwrap().unwrap();
        let results = store.results(id, Order::Completion, 0, 10).await.unwrap();
        match submitted {
            Submitted::Ended(its, result) => return assert_eq!((its, vec![*result]), (job, results)),
            other => assert!(matches!(other, Submitted::New(_)), "{other:?}"),
        }
    }
    panic!("no end came in time");
}

/// Writes this file's row, or finds no room, in one transaction with another such write; gives the answers.
async fn two_writes(store: &SqliteStore, good: i64, bad: i64) -> [Result<(), StoreError>; 2] {
    let add = |id: i64, outcome: fn() -> rusqlite::Result<()>| {
        store.writer.write_of_tasks(Urgency::Now, move |writer| {
            writer.conn.execute("INSERT INTO files (id, job, size) VALUES (?1, x'', 0)", [id])?;
            outcome()
        })
    };
    let (go, held) = std::sync::mpsc::channel::<()>();
    // As it is held, the others are there when it is done, and join it.
    let first = store.writer.write_of_tasks(Urgency::Now, move |_| {
        held.recv().unwrap();
        Ok(())
    });
    let (good, bad) = (add(good, || Ok(())), add(bad, || Err(full())));
    let (_, good, bad, ()) = tokio::join!(first, good, bad, async { go.send(()).unwrap() });
    [good, bad]
}

#[tokio::test]
async fn a_write_that_finds_no_room_is_undone_with_all_others_and_by_itself_once_the_disk_is_full() {
    let dir = TempDir::new().unwrap();
    let store = store_with_two_tasks(&dir).await;
    let files = || {
        let select = "SELECT coalesce(sum(id), 0) FROM files";
        store.readers.lock()[0].query_row(select, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let answers = two_writes(&store, 101, 102).await;
    assert!(matches!(answers, [Err(StoreError::Full), Err(StoreError::Full)]), "{answers:?}");
    assert_eq!(files(), 0);
    let answers = two_writes(&store, 103, 104).await;
    assert!(matches!(answers, [Ok(()), Err(StoreError::Full)]), "{answers:?}");
    assert_eq!(files(), 103);
}
