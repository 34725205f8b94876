//! The test bench: a store of some kind, and verbs that read as a scenario.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gristmill::model::segment::{ResultBody, lines};
use gristmill::model::{
    InputSegment, Job, JobId, JobOptions, JobSpec, JobState, OnError, Outcomes, Span, TaskError, Timestamp,
    Verdict,
};
use gristmill::store::memory::MemoryStore;
use gristmill::store::sqlite::SqliteStore;
use gristmill::store::{
    Callback, CallbackTry, Chunk, Claim, Claimed, Completion, Haste, Intake, NewJob, Order, QueueLimits,
    Receipt, Release, Requeue, Store, Submitted, TryOutcome,
};
use tempfile::TempDir;

/// No test queues as much.
pub(crate) const ENOUGH: QueueLimits = QueueLimits { tasks: 1 << 40, bytes: 1 << 40 };

/// Which store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Memory,
    Sqlite,
    /// With all inputs and results in files beside the database.
    SqliteFiles,
}

enum Backend {
    Memory(Arc<MemoryStore>),
    Sqlite(Option<Arc<SqliteStore>>, TempDir, usize),
}

/// A store under test.
pub(crate) struct Bench {
    backend: Backend,
    clock: AtomicU64,
}

/// A result as a reader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) seq: u64,
    pub(crate) index: u64,
    pub(crate) attempt: u32,
    /// The output or the error's line; `None` if it was cancelled.
    pub(crate) line: Option<String>,
    pub(crate) failed: bool,
}

pub(crate) fn options() -> JobOptions {
    JobOptions::default()
}

pub(crate) fn stop_on_error() -> JobOptions {
    JobOptions { on_error: OnError::Stop, ..JobOptions::default() }
}

pub(crate) fn spec(options: JobOptions) -> JobSpec {
    JobSpec { function: "echo".into(), name: None, labels: [("team".into(), "x".into())].into(), options }
}

pub(crate) fn segment(first: u64, inputs: &[String]) -> InputSegment {
    let lines = inputs.join("\n") + "\n";
    InputSegment { first, count: inputs.len() as u32, lines: Bytes::from(lines) }
}

pub(crate) fn inputs(count: u64) -> Vec<String> {
    (0..count).map(|index| format!("\"input {index}\"")).collect()
}

pub(crate) fn lines_of(chunk: &Chunk) -> Vec<String> {
    lines(&chunk.inputs).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
}

impl Bench {
    pub(crate) fn new(kind: Kind) -> Self {
        let clock = AtomicU64::new(1_000);
        let backend = match kind {
            Kind::Memory => Backend::Memory(Arc::new(MemoryStore::new("node"))),
            Kind::Sqlite => Backend::Sqlite(None, TempDir::new().unwrap(), usize::MAX),
            Kind::SqliteFiles => Backend::Sqlite(None, TempDir::new().unwrap(), 1),
        };
        let mut bench = Self { backend, clock };
        if kind != Kind::Memory {
            bench.restart();
        }
        bench
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match &self.backend {
            Backend::Memory(store) => store.clone(),
            Backend::Sqlite(store, ..) => store.clone().unwrap(),
        }
    }

    /// What a restart of the node does to its store.
    pub(crate) fn restart(&mut self) {
        let now = self.now();
        match &mut self.backend {
            Backend::Memory(store) => store.restart(now),
            Backend::Sqlite(store, dir, large_bytes) => {
                *store = None;
                let next = SqliteStore::open_with(dir.path(), "node", now, *large_bytes).unwrap();
                *store = Some(Arc::new(next));
            }
        }
    }

    /// A time later than all before.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock.fetch_add(1, Ordering::Relaxed) as i64)
    }

    pub(crate) fn new_id() -> JobId {
        JobId(uuid::Uuid::now_v7())
    }

    pub(crate) async fn submit(&self, count: u64) -> JobId {
        self.submit_with(count, options()).await
    }

    pub(crate) async fn submit_with(&self, count: u64, options: JobOptions) -> JobId {
        let segments = if count == 0 { Vec::new() } else { vec![segment(0, &inputs(count))] };
        self.submit_segments(Self::new_id(), segments, count, options).await
    }

    pub(crate) async fn submit_segments(
        &self,
        id: JobId,
        segments: Vec<InputSegment>,
        total: u64,
        options: JobOptions,
    ) -> JobId {
        let job = NewJob {
            id,
            spec: spec(options),
            total,
            intake: Intake::Closed,
            key: None,
            limits: ENOUGH,
            notice: None,
        };
        let submitted = self.store().submit(job, segments, self.now()).await.unwrap();
        assert!(matches!(submitted, Submitted::New(_)), "{submitted:?}");
        id
    }

    /// A job without inputs that takes more.
    pub(crate) async fn submit_open(&self, options: JobOptions, intake: Intake) -> JobId {
        let id = Self::new_id();
        let job =
            NewJob { id, spec: spec(options), total: 0, intake, key: None, limits: ENOUGH, notice: None };
        self.store().submit(job, Vec::new(), self.now()).await.unwrap();
        id
    }

    pub(crate) async fn callback(&self, id: JobId) -> Option<Callback> {
        self.store().callback(id).await.unwrap()
    }

    /// The jobs whose end is to be told now.
    pub(crate) async fn due(&self, per_receiver: u32) -> Vec<JobId> {
        let due = self.store().due_callbacks(per_receiver, self.now()).await.unwrap().due;
        due.iter().map(|callback| callback.job).collect()
    }

    pub(crate) async fn tried(&self, job: JobId, end: u32, outcome: TryOutcome) {
        self.store().note_try_if_due(CallbackTry { job, end, outcome }).await.unwrap();
    }

    pub(crate) async fn claim(&self, job: JobId, chunks: u32, max_tasks: u32) -> Vec<Chunk> {
        let claim = Claim { job, chunks, max_tasks, backwards: false };
        self.store().claim(claim, self.now()).await.unwrap().chunks
    }

    /// So many of the last tasks.
    pub(crate) async fn claim_backwards(&self, job: JobId, chunks: u32) -> Vec<Chunk> {
        let claim = Claim { job, chunks, max_tasks: 1, backwards: true };
        self.store().claim(claim, self.now()).await.unwrap().chunks
    }

    /// All that can be claimed now.
    pub(crate) async fn claim_all(&self, job: JobId) -> Claimed {
        let claim = Claim { job, chunks: 1_000, max_tasks: 1_000, backwards: false };
        self.store().claim(claim, self.now()).await.unwrap()
    }

    /// Makes all writes so far durable, those too that were answered before: readers see them then.
    pub(crate) async fn settle(&self) {
        let nobody = self.store().cancel(Self::new_id(), self.now()).await.unwrap();
        assert!(nobody.is_none());
    }

    /// So many jobs are in these states and in no others; and of their function's tasks so many are unfinished,
    /// cancelled, and failed without having run.
    pub(crate) async fn counts_are(&self, jobs: &[(JobState, u64)], tasks: (u64, u64, u64)) {
        self.settle().await;
        let counts = self.store().counts();
        assert_eq!(counts.jobs, jobs.iter().copied().collect());
        let echo = counts.tasks.get("echo").copied().unwrap_or_default();
        assert_eq!((echo.unfinished, echo.cancelled, echo.not_run), tasks);
    }

    /// So many ends of jobs are still to be told.
    pub(crate) async fn untold_are(&self, count: u64) {
        self.settle().await;
        assert_eq!(self.store().counts().callbacks, count);
    }

    /// One chunk of the next tasks.
    pub(crate) async fn claim_one(&self, job: JobId, max_tasks: u32) -> Chunk {
        self.claim(job, 1, max_tasks).await.pop().expect("there is a chunk to claim")
    }

    pub(crate) async fn unclaimed(&self, job: JobId) -> u64 {
        self.store()
            .claim(Claim { job, chunks: 0, max_tasks: 1, backwards: false }, self.now())
            .await
            .unwrap()
            .unclaimed
    }

    /// Completes `count` tasks of the chunk from `first` on; those in `failed` fail.
    pub(crate) async fn complete_some(
        &self,
        chunk: &Chunk,
        first: u64,
        count: u32,
        failed: &[u64],
    ) -> Receipt {
        let (mut outcomes, mut block) = (Outcomes::default(), Vec::new());
        for index in first..first + u64::from(count) {
            let fails = failed.contains(&index);
            outcomes.push(1_000 + index, fails);
            let error = TaskError::new(Verdict::Exception, format!("no {index}"));
            block.extend(if fails { error.to_line() } else { format!("\"output {index}\"").into_bytes() });
            block.push(b'\n');
        }
        let done = Completion {
            lease: chunk.lease,
            job: chunk.job,
            first,
            attempt: chunk.attempt,
            worker: "worker-1".into(),
            pid: 42,
            task_times: outcomes.times(),
            outcomes,
            lines: block.into(),
            span: Span { start: self.now(), end: Timestamp(self.now().0 + 1_000_000) },
            busy_ns: 1_000,
            cpu_ns: 900,
            max_rss_bytes: 4_096 + first,
        };
        let haste = if first.is_multiple_of(8) { Haste::Patient } else { Haste::Now };
        self.store().complete_if_leased(Arc::new(done), haste, self.now()).await.unwrap()
    }

    pub(crate) async fn complete(&self, chunk: &Chunk) -> Receipt {
        self.complete_some(chunk, chunk.first, chunk.count, &[]).await
    }

    pub(crate) async fn release(&self, chunk: &Chunk, first: u64, count: u32, how: Requeue) -> Receipt {
        let delay = Duration::ZERO;
        let release = Release { lease: chunk.lease, job: chunk.job, first, count, how, delay };
        self.store().release_if_leased(release, self.now()).await.unwrap()
    }

    /// Charges the whole chunk, to be tried again only after a while.
    pub(crate) async fn charge_later(&self, chunk: &Chunk, delay: Duration) -> Receipt {
        let Chunk { lease, job, first, count, .. } = *chunk;
        let release = Release { lease, job, first, count, how: Requeue::Charged, delay };
        self.store().release_if_leased(release, self.now()).await.unwrap()
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) async fn release_all(&self, chunk: &Chunk, how: Requeue) -> Receipt {
        self.release(chunk, chunk.first, chunk.count, how).await
    }

    /// Claims and completes until nothing is left to claim.
    pub(crate) async fn run_out(&self, job: JobId) {
        loop {
            let chunks = self.claim(job, 3, 7).await;
            if chunks.is_empty() {
                return;
            }
            for chunk in &chunks {
                assert!(self.complete(chunk).await.held);
            }
        }
    }

    pub(crate) async fn job(&self, id: JobId) -> Job {
        self.store().job(id).await.unwrap().expect("the job is known")
    }

    pub(crate) async fn state(&self, id: JobId) -> JobState {
        self.job(id).await.state
    }

    /// The results behind the first `after`, at most `limit`, read a page after another.
    pub(crate) async fn read(&self, id: JobId, order: Order, mut after: u64, limit: u64) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            let page = self.page(id, order, after, limit).await;
            if page.is_empty() {
                return all;
            }
            after += page.len() as u64;
            all.extend(page);
        }
    }

    async fn page(&self, id: JobId, order: Order, after: u64, limit: u64) -> Vec<Seen> {
        let mut page = Vec::new();
        for segment in self.store().results(id, order, after, limit).await.unwrap() {
            let position = match order {
                Order::Completion | Order::Failed => segment.first_seq - 1,
                Order::Input => segment.first_index,
            };
            let texts: Vec<(Option<String>, bool)> = match &segment.body {
                ResultBody::Cancelled => (0..segment.count).map(|_| (None, false)).collect(),
                ResultBody::NotRun { error } => {
                    let text = String::from_utf8(error.to_vec()).unwrap();
                    (0..segment.count).map(|_| (Some(text.clone()), true)).collect()
                }
                ResultBody::Ran { outcomes, lines: block, .. } => {
                    let text = |line: &[u8]| Some(String::from_utf8(line.to_vec()).unwrap());
                    outcomes
                        .iter()
                        .zip(lines(block))
                        .map(|((_, failed), line)| (text(line), failed))
                        .collect()
                }
            };
            assert_eq!(texts.len() as u64, segment.count);
            let seen = texts.into_iter().zip(0..).map(|((line, failed), at)| {
                let (seq, index) = (segment.first_seq + at, segment.first_index + at);
                Seen { seq, index, attempt: segment.attempt, line, failed }
            });
            page.extend(seen.skip(after.saturating_sub(position) as usize));
        }
        page.truncate(limit as usize);
        page
    }

    pub(crate) async fn queue(&self, id: JobId) -> Vec<Seen> {
        self.read(id, Order::Completion, 0, 1_000).await
    }

    /// Every index once, seq 1, 2, 3 … without a gap.
    pub(crate) async fn assert_whole(&self, id: JobId) {
        let total = self.job(id).await.tally.total;
        let queue = self.queue(id).await;
        assert_eq!(queue.iter().map(|seen| seen.seq).collect::<Vec<_>>(), (1..=total).collect::<Vec<_>>());
        let mut indexes: Vec<u64> = queue.iter().map(|seen| seen.index).collect();
        indexes.sort_unstable();
        assert_eq!(indexes, (0..total).collect::<Vec<_>>());
    }
}
