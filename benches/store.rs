//! The store over SQLite, on the disk that holds the temporary directory.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use gristmill::model::{InputSegment, JobId, JobOptions, JobSpec, Outcomes, Span, Timestamp};
use gristmill::store::sqlite::SqliteStore;
use gristmill::store::{Chunk, Claim, Completion, Haste, Intake, JobWatch, NewJob, QueueLimits, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_000_000);

struct Bench {
    runtime: Runtime,
    store: Arc<SqliteStore>,
    _dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().expect("there is a temporary directory");
        let store = SqliteStore::open(dir.path(), "node", NOW).expect("a new store opens");
        let runtime = Runtime::new().expect("a runtime starts");
        Self { runtime, store: Arc::new(store), _dir: dir }
    }

    /// A job of so many inputs in segments of a thousand.
    fn submit(&self, total: u64) -> JobId {
        self.runtime.block_on(submit(Arc::clone(&self.store), total))
    }

    fn claim(&self, job: JobId, chunks: u32, max_tasks: u32) -> Vec<Chunk> {
        let claim = Claim { job, chunks, max_tasks, backwards: false };
        self.runtime.block_on(self.store.claim(claim, NOW)).expect("the store claims").chunks
    }
}

async fn submit(store: Arc<SqliteStore>, total: u64) -> JobId {
    let (name, labels, options) = (None, [("team".into(), "x".into())].into(), JobOptions::default());
    let spec = JobSpec { function: "echo".into(), name, labels, options };
    let limits = QueueLimits { tasks: 1 << 40, bytes: 1 << 40 };
    let id = JobId(Uuid::now_v7());
    let segment = |first: u64| {
        let count = (total - first).min(1000);
        InputSegment { first, count: count as u32, lines: "12345\n".repeat(count as usize).into() }
    };
    let segments = (0..total).step_by(1000).map(segment).collect();
    let job = NewJob { id, spec, total, intake: Intake::Closed, key: None, limits, notice: None };
    store.submit(job, segments, NOW).await.expect("the store takes the job");
    id
}

/// What a worker answers to the chunk.
fn completion(chunk: &Chunk) -> Arc<Completion> {
    let mut outcomes = Outcomes::default();
    (0..chunk.count).for_each(|_| outcomes.push(1_000, false));
    let Chunk { lease, job, first, attempt, .. } = *chunk;
    let (worker, pid, lines) = ("worker-1".into(), 42, chunk.inputs.clone());
    let (busy_ns, cpu_ns, max_rss_bytes) = (1_000, 1_000, 4096);
    let done = Completion {
        lease,
        job,
        first,
        attempt,
        worker,
        pid,
        task_times: outcomes.times(),
        outcomes,
        lines,
        span: Span { start: Timestamp(0), end: Timestamp(1) },
        busy_ns,
        cpu_ns,
        max_rss_bytes,
    };
    Arc::new(done)
}

fn submits(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("submit");
    group.bench_function("1 task, 1 waiter", |bencher| bencher.iter(|| bench.submit(1)));
    group.throughput(Throughput::Elements(64));
    group.bench_function("1 task, 64 waiters", |bencher| {
        bencher.iter(|| {
            let all = (0..64).map(|_| tokio::spawn(submit(Arc::clone(&bench.store), 1)));
            bench.runtime.block_on(async { join_all(all).await })
        });
    });
    group.finish();
}

fn claims(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("claim");
    for tasks in [1, 1000] {
        group.bench_function(format!("{tasks} tasks"), |bencher| {
            let claim = |job| bench.claim(job, 1, tasks);
            bencher.iter_batched(|| bench.submit(u64::from(tasks)), claim, BatchSize::SmallInput);
        });
    }
    group.finish();
}

/// Commits completions of a thousand tasks each; a watched job is one that somebody waits for.
fn completions(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("complete 1,000 tasks");
    for waiters in [1, 64] {
        group.throughput(Throughput::Elements(waiters * 1000));
        group.bench_function(format!("{waiters} waiters"), |bencher| {
            let prepare = || {
                let job = bench.submit(waiters * 1000);
                let chunks = bench.claim(job, waiters as u32, 1000);
                (bench.store.watch(job), chunks.iter().map(completion).collect::<Vec<_>>())
            };
            let complete = |(watch, all): (JobWatch, Vec<Arc<Completion>>)| {
                let all = all.into_iter().map(|done| bench.store.complete_if_leased(done, Haste::Soon, NOW));
                (bench.runtime.block_on(join_all(all)), watch)
            };
            bencher.iter_batched(prepare, complete, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn configuration() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
}

criterion_group!(name = benches; config = configuration(); targets = submits, claims, completions);
criterion_main!(benches);
