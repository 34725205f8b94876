//! The one writer: a thread that runs what waits in one transaction, commits it, and only then answers.
//!
//! Group commit: while a commit is being synced, requests gather and share the next one. A request says how soon
//! its commit must come; without haste, commits are [`COMMIT_INTERVAL`] apart under load and at once after idleness.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{oneshot, watch};

use super::submit::SegmentCache;
use crate::model::{Epoch, JobId};
use crate::store::watch::Watches;
use crate::store::{StoreError, StoreResult};

/// Under load, writes without haste share a commit every so often.
const COMMIT_INTERVAL: Duration = Duration::from_millis(10);
/// A transaction takes no more requests than this, so that the first of them is not kept waiting.
const MAX_GROUP: usize = 4096;

/// How soon a write must be durable, and when it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Urgency {
    /// At once; answered when durable.
    Now,
    /// Within [`COMMIT_INTERVAL`]; answered when durable.
    Soon,
    /// Within [`COMMIT_INTERVAL`]; answered before it is durable.
    Relaxed,
}

type Answer = Box<dyn FnOnce(StoreResult<()>) + Send>;
type Work = Box<dyn FnOnce(&mut Writer) -> Option<Answer> + Send>;

struct Request {
    urgency: Urgency,
    work: Work,
}

/// What a transaction works with. Only the writer thread has it.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) epoch: Epoch,
    pub(super) node: String,
    pub(super) segments: SegmentCache,
    /// Jobs to wake the watchers of after the commit.
    pub(super) changed: BTreeSet<JobId>,
    /// Whether rows of deleted jobs are still to be removed.
    pub(super) garbage: bool,
    /// Set by a write that must be durable at once though its caller could not know.
    pub(super) hurry: bool,
    watches: Watches,
}

/// The way to the writer thread.
#[derive(Debug)]
pub(super) struct WriterHandle {
    /// Unbounded, but every sender waits for its answer before it sends more.
    requests: Option<Sender<Request>>,
    stopped: watch::Receiver<Option<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn new(conn: Connection, epoch: Epoch, node: String, watches: Watches) -> Self {
        let (segments, changed) = (SegmentCache::default(), BTreeSet::new());
        Self { conn, epoch, node, segments, changed, garbage: true, hurry: false, watches }
    }

    pub(super) fn start(self) -> WriterHandle {
        let (requests, incoming) = channel();
        let (stop, stopped) = watch::channel(None);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || Loop { writer: self, incoming, last_commit: Instant::now(), stop }.run())
            .expect("a thread can be started while the server starts");
        WriterHandle { requests: Some(requests), stopped, thread: Some(thread) }
    }

    /// Runs one request so that it leaves no trace if it fails.
    fn run<T>(&mut self, work: impl FnOnce(&mut Self) -> rusqlite::Result<T>) -> StoreResult<T> {
        let savepoint = |conn: &Connection, sql: &str| conn.prepare_cached(sql)?.execute([]).map(drop);
        let outcome = savepoint(&self.conn, "SAVEPOINT request").and_then(|()| work(self));
        let outcome = outcome.and_then(|answer| savepoint(&self.conn, "RELEASE request").map(|()| answer));
        outcome.map_err(|error| {
            tracing::error!(%error, "a write to the store failed");
            let undone =
                savepoint(&self.conn, "ROLLBACK TO request").and(savepoint(&self.conn, "RELEASE request"));
            match (error.sqlite_error_code(), undone) {
                (Some(ErrorCode::DiskFull), Ok(())) => StoreError::Full,
                _ => StoreError::Stopped(error.to_string()),
            }
        })
    }
}

impl WriterHandle {
    pub(super) fn stopped(&self) -> watch::Receiver<Option<String>> {
        self.stopped.clone()
    }

    /// Has `work` run in the writer's next transaction.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |writer| {
            let outcome = writer.run(work);
            if urgency == Urgency::Relaxed {
                // A caller that went away needs no answer; the same below.
                drop(answer.send(outcome));
                return None;
            }
            Some(Box::new(move |commit| drop(answer.send(commit.and(outcome)))))
        });
        let requests = self.requests.as_ref().expect("taken only on drop");
        // When the writer is gone, so is the other end of `answered`.
        drop(requests.send(Request { urgency, work }));
        answered.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> StoreError {
        let reason = self.stopped.borrow().clone();
        StoreError::Stopped(reason.unwrap_or_else(|| "it has been closed".into()))
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

struct Loop {
    writer: Writer,
    incoming: Receiver<Request>,
    last_commit: Instant,
    stop: watch::Sender<Option<String>>,
}

impl Loop {
    fn run(mut self) {
        loop {
            let next = if self.writer.garbage {
                self.incoming.recv_timeout(Duration::ZERO)
            } else {
                self.incoming.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let outcome = match next {
                Ok(first) => self.transaction(first),
                Err(RecvTimeoutError::Timeout) => self.collect_garbage(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(error) = outcome {
                tracing::error!(%error, "a commit failed: its fate is unknown, so the store stops");
                self.stop.send_replace(Some(error.to_string()));
                return;
            }
        }
    }

    fn transaction(&mut self, first: Request) -> rusqlite::Result<()> {
        self.writer.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let answers = self.gather(first);
        let outcome = self.writer.conn.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        self.last_commit = Instant::now();
        let word = match &outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(StoreError::Stopped(error.to_string())),
        };
        for answer in answers {
            answer(word.clone());
        }
        for job in std::mem::take(&mut self.writer.changed) {
            self.writer.watches.wake(job);
        }
        outcome.map(drop)
    }

    /// Runs `first` and all that comes until the commit is due; gives what is to be answered after it.
    fn gather(&mut self, first: Request) -> Vec<Answer> {
        let (mut answers, mut hurry) = (Vec::new(), false);
        let mut next = Some(first);
        for _ in 0..MAX_GROUP {
            let Some(request) = next.take() else { break };
            hurry |= request.urgency == Urgency::Now;
            answers.extend((request.work)(&mut self.writer));
            hurry |= std::mem::take(&mut self.writer.hurry);
            let wait = COMMIT_INTERVAL.saturating_sub(self.last_commit.elapsed());
            let wait = if hurry { Duration::ZERO } else { wait };
            next = if wait.is_zero() {
                self.incoming.try_recv().ok()
            } else {
                self.incoming.recv_timeout(wait).ok()
            };
        }
        // Only the bound of the loop leaves a request over; it joins this transaction rather than be lost.
        answers.extend(next.and_then(|request| (request.work)(&mut self.writer)));
        answers
    }

    fn collect_garbage(&mut self) -> rusqlite::Result<()> {
        let transaction = self.writer.conn.unchecked_transaction()?;
        let more = super::control::collect_garbage(&transaction)?;
        transaction.commit()?;
        self.writer.garbage = more;
        Ok(())
    }
}
