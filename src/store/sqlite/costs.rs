//! History costs nothing: a verb takes no more steps of SQLite's machine when there are ten times as many jobs that have
//! ended. Steps are counted, so how fast the machine is does not matter.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rusqlite::StatementStatus;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::model::{Blocked, JobOptions, JobSpec, JobState, Outcomes, Span};
use crate::store::{Haste, IdempotencyKey, Intake, QueueLimits};

const FEW: i64 = 2_000;
const MANY: i64 = 20_000;
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
/// What a verb may take more, as its statements do not always meet the same rows.
const SLACK: i64 = 100;
/// What stands around every write, the reading of the counts behind it too.
const AROUND: [&str; 7] = [
    "BEGIN",
    "SAVEPOINT",
    "RELEASE",
    "COMMIT",
    "SELECT state, jobs FROM live_jobs",
    "SELECT function, unfinished",
    "SELECT pending",
];

/// The steps that all statements of some connections have taken.
#[derive(Clone, Default)]
struct Steps(Arc<AtomicI64>);

impl Steps {
    fn count(&self, conn: &mut Connection) {
        let (sum, mut counts) = (Arc::clone(&self.0), HashMap::<String, i32>::new());
        let note = move |event: TraceEvent<'_>| {
            let TraceEvent::Profile(statement, _) = event else { return };
            // How often a test looks is not what a verb costs.
            if AROUND.iter().any(|word| statement.sql().starts_with(word)) {
                return;
            }
            // A statement counts on from one run to the next, and anew when it is prepared anew.
            let now = statement.get_status(StatementStatus::VmStep);
            let before = counts.insert(statement.sql().into_owned(), now).filter(|before| *before <= now);
            sum.fetch_add(i64::from(now - before.unwrap_or(0)), Ordering::Relaxed);
        };
        conn.trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(note)).unwrap();
    }

    fn take(&self) -> i64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// A store with so many jobs that have ended, and some that are queued.
struct Past {
    store: Arc<SqliteStore>,
    steps: Steps,
    costs: Vec<(&'static str, i64)>,
    dir: TempDir,
}

impl Past {
    async fn of(ended: i64) -> Self {
        let dir = TempDir::new().unwrap();
        drop(SqliteStore::open(dir.path(), "node", NOW).unwrap());
        let database = Connection::open(dir.path().join(FILE_NAME)).unwrap();
        let wanted = "CREATE TEMP TABLE wanted AS
                      SELECT ?1 AS ended, 50 AS queued, 1 AS large, 3 AS segments, ?2 AS now";
        database.execute(wanted, [ended, NOW.0]).unwrap();
        let fill = include_str!("../../../tests/history/fill.sql");
        database.execute_batch(&format!("BEGIN; {fill} COMMIT")).unwrap();
        drop(database);
        let (steps, costs) = (Steps::default(), Vec::new());
        let store = Arc::new(SqliteStore::open(dir.path(), "node", NOW).unwrap());
        let past = Self { store, steps, costs, dir };
        past.garbage_is_gone().await;
        past.trace().await;
        past
    }

    async fn trace(&self) {
        let steps = self.steps.clone();
        let traced = self.store.writer.write(Urgency::Now, move |writer| {
            steps.count(&mut writer.conn);
            Ok(())
        });
        traced.await.unwrap();
        self.store.readers.lock().iter_mut().for_each(|reader| self.steps.count(reader));
    }

    async fn garbage_is_gone(&self) {
        while self.store.writer.write(Urgency::Now, |writer| Ok(writer.garbage)).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Notes what a verb costs, with the garbage that it leaves.
    async fn cost<T>(&mut self, name: &'static str, verb: impl Future<Output = StoreResult<T>>) -> T {
        self.steps.take();
        let answer = verb.await.unwrap();
        self.garbage_is_gone().await;
        self.costs.push((name, self.steps.take()));
        answer
    }
}

fn label(key: &str, value: &str) -> (String, String) {
    (key.into(), value.into())
}

/// Lists by what a client may ask for.
fn filters() -> Vec<(&'static str, JobFilter)> {
    let all = JobFilter::default;
    let (failed, cancelled) = (Some(JobState::Failed), Some(JobState::Cancelled));
    vec![
        ("all", all()),
        ("state", JobFilter { state: failed, ..all() }),
        ("no such state", JobFilter { state: cancelled, ..all() }),
        ("function", JobFilter { function: Some("primes".into()), ..all() }),
        ("function and state", JobFilter { function: Some("echo".into()), state: cancelled, ..all() }),
        ("label", JobFilter { label: Some(label("batch", "0")), ..all() }),
        ("no such label", JobFilter { label: Some(label("batch", "none")), ..all() }),
        ("label and state", JobFilter { label: Some(label("team", "x")), state: cancelled, ..all() }),
        (
            "label and function",
            JobFilter { label: Some(label("batch", "0")), function: Some("primes".into()), state: None },
        ),
    ]
}

fn new_job(number: u128) -> (NewJob, Vec<InputSegment>) {
    let labels = [("team".into(), "x".into())].into();
    let spec = JobSpec { function: "echo".into(), name: None, labels, options: JobOptions::default() };
    let key = Some(IdempotencyKey { key: format!("new-{number}"), fingerprint: [0; 32] });
    let limits = QueueLimits { tasks: 1 << 40, bytes: 1 << 40 };
    let id = JobId(Uuid::from_u128(u128::MAX - number));
    let segment = InputSegment { first: 0, count: 1, lines: "1\n".into() };
    (NewJob { id, spec, total: 1, intake: Intake::Closed, key, limits, notice: None }, vec![segment])
}

impl Past {
    async fn reads(&mut self) {
        let store = Arc::clone(&self.store);
        for (name, filter) in filters() {
            self.cost(name, store.jobs(filter, None, 10)).await;
        }
        let primes = JobFilter { function: Some("primes".into()), ..JobFilter::default() };
        let old = store.jobs(primes, None, 1).await.unwrap()[0].id;
        self.cost("older jobs", store.jobs(JobFilter::default(), Some(old), 5)).await;
        self.cost("status", store.job(old)).await;
        self.cost("results", store.results(old, Order::Completion, 0, 10)).await;
        self.cost("results in order", store.results(old, Order::Input, 0, 10)).await;
        self.cost("failed results", store.results(old, Order::Failed, 0, 10)).await;
        self.cost("logs", store.logs(old, LogFilter { limit: 10, ..LogFilter::default() })).await;
        self.cost("runnable", store.runnable(None, Blocked::default(), 20)).await;
        self.cost("due callbacks", store.due_callbacks(8, NOW)).await;
    }

    /// One job from its submit to its end and its removal.
    async fn life(&mut self, number: u128) {
        let store = Arc::clone(&self.store);
        let (job, segments) = new_job(number);
        let id = job.id;
        self.cost("submit", store.submit(job, segments, NOW)).await;
        let claim = Claim { job: id, chunks: 1, max_tasks: 1, backwards: false };
        let claimed = self.cost("claim", store.claim(claim, NOW)).await;
        let chunk = claimed.chunks.into_iter().next().unwrap();
        self.cost("complete", store.complete_if_leased(Arc::new(completion(&chunk)), Haste::Soon, NOW)).await;
        self.cost("free results", store.free_results(id, 1)).await;
        self.cost("delete", store.delete(id)).await;
    }

    async fn sweeps(&mut self, ended: i64) {
        let store = Arc::clone(&self.store);
        let keep = |count: i64| Retention { ended_since: Timestamp(0), count: count as u64 };
        // By the first one its statements are prepared.
        store.sweep(keep(ended), NOW).await.unwrap();
        self.cost("a sweep in vain", store.sweep(keep(ended), NOW)).await;
        let later = Timestamp(NOW.0 + 86_400_000_000);
        let swept = self.cost("a sweep", store.sweep(keep(ended - 10), later)).await;
        assert_eq!(swept, 10);
    }

    fn start(&mut self) {
        let mut conn = Connection::open(self.dir.path().join(FILE_NAME)).unwrap();
        self.steps.count(&mut conn);
        self.steps.take();
        epoch::begin_epoch(&mut conn, NOW).unwrap();
        self.costs.push(("start", self.steps.take()));
    }

    async fn costs_of(ended: i64) -> Vec<(&'static str, i64)> {
        let mut past = Self::of(ended).await;
        past.life(1).await;
        past.reads().await;
        // Only now every statement is prepared.
        past.costs.clear();
        past.reads().await;
        past.life(2).await;
        past.sweeps(ended).await;
        past.start();
        past.costs
    }
}

fn completion(chunk: &crate::store::Chunk) -> Completion {
    let mut outcomes = Outcomes::default();
    outcomes.push(1_000, false);
    Completion {
        lease: chunk.lease,
        job: chunk.job,
        first: chunk.first,
        attempt: chunk.attempt,
        worker: "worker-1".into(),
        pid: 42,
        task_times: outcomes.times(),
        outcomes,
        lines: "1\n".into(),
        span: Span { start: NOW, end: NOW },
        busy_ns: 1_000,
        cpu_ns: 900,
        max_rss_bytes: 4_096,
    }
}

#[tokio::test]
async fn no_verb_takes_more_steps_with_a_longer_history() {
    let (few, many) = (Past::costs_of(FEW).await, Past::costs_of(MANY).await);
    let table = || few.iter().zip(&many).map(|((name, few), (_, many))| (*name, *few, *many));
    let grown: Vec<_> = table().filter(|(_, few, many)| *many > few + SLACK).collect();
    assert!(grown.is_empty(), "{grown:#?} of {:#?}", table().collect::<Vec<_>>());
}
