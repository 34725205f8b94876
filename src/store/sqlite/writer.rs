//! The one writer: a thread that runs what waits in one transaction, commits it, and only then answers.
//!
//! Group commit: while a commit is being synced, requests gather and share the next one. A request says how soon
//! its commit must come; without haste, commits are [`COMMIT_INTERVAL`] apart under load and at once after idleness:
//! a few may follow each other closely, as one input and its result do (the generic cell rate algorithm, ITU-T I.371).

use std::collections::BTreeSet;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::{oneshot, watch};

use super::counts::Published;
use super::payloads::{Payloads, is_out_of_descriptors};
use super::queue::{Nothing, Receiver, Sender, queue};
use super::running::Running;
use super::space::Space;
use super::submit::SegmentCache;
use crate::model::{Epoch, Job, JobId};
use crate::store::watch::Watches;
use crate::store::{Notice, QueueLimits, StoreError, StoreResult};

/// Under load, writes without haste share a commit every so often.
const COMMIT_INTERVAL: Duration = Duration::from_millis(25);
/// After idleness, so many commits need not be apart.
const COMMIT_BURST: u32 = 4;
/// A commit in haste waits for no more than this.
const MOST_LINGER: Duration = Duration::from_millis(1);
/// A transaction takes no more requests than this, so that the first of them is not kept waiting.
const MAX_GROUP: usize = 4096;

/// How soon a write must be durable, and when it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Urgency {
    /// At once; answered when durable.
    Now,
    /// Within [`COMMIT_INTERVAL`]; answered when durable.
    Soon,
    /// As [`Self::Soon`], and run only then if nothing else wakes the writer: for many small writes it then wakes once.
    Patient,
    /// Within [`COMMIT_INTERVAL`]; answered before it is durable.
    Relaxed,
}

/// While the disk is full, garbage is removed a little at a time, so that there is room to note it.
const GARBAGE_PAUSE: Duration = Duration::from_millis(20);

/// Under load, garbage waits for so long and no longer.
const GARBAGE_PATIENCE: Duration = Duration::from_millis(20);

/// How a request begins, ends, and is undone: with a savepoint, for which SQLite copies each page that it changes …
const UNDONE_ALONE: [&[&str]; 3] =
    [&["SAVEPOINT request"], &["RELEASE request"], &["ROLLBACK TO request", "RELEASE request"]];
/// … or, where it is the first of its transaction, with all of that.
const UNDONE_WHOLE: [&[&str]; 3] = [&[], &[], &["ROLLBACK", "BEGIN IMMEDIATE"]];

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
    pub(super) payloads: Payloads,
    pub(super) running: Running,
    /// Jobs to wake the watchers of after the commit.
    pub(super) changed: BTreeSet<JobId>,
    /// Whether rows of deleted jobs are still to be removed.
    pub(super) garbage: bool,
    /// The number of the last lease given in this epoch.
    pub(super) last_lease: u64,
    pub(super) space: Space,
    /// No more than this is queued, if that is known.
    pub(super) queued_at_most: Option<QueueLimits>,
    /// Whether the transaction holds nothing yet.
    is_first: bool,
    /// Set by a write that must be durable at once though its caller could not know.
    pub(super) hurry: bool,
    /// Jobs of this transaction whose clients wait for their end.
    pub(super) awaited: BTreeSet<JobId>,
    /// How many ends of jobs are to be told once the transaction is durable.
    pub(super) to_be_told: u32,
    watches: Watches,
    counts: Published,
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
    pub(super) fn new(
        (conn, payloads): (Connection, Payloads),
        epoch: Epoch,
        node: String,
        (watches, counts): (Watches, Published),
        space: Space,
    ) -> Self {
        let (segments, changed, last_lease) = (SegmentCache::default(), BTreeSet::new(), 0);
        let (garbage, queued_at_most, is_first, hurry) = (true, None, false, false);
        let awaited = BTreeSet::new();
        Self {
            conn,
            epoch,
            node,
            segments,
            payloads,
            running: Running::default(),
            changed,
            garbage,
            last_lease,
            space,
            queued_at_most,
            is_first,
            hurry,
            awaited,
            to_be_told: 0,
            watches,
            counts,
        }
    }

    /// Tells of a job that this transaction takes in.
    pub(super) fn tell(&mut self, job: &Job, notice: &Notice) {
        if job.state.is_final() {
            return;
        }
        (notice.tell)(job);
        if notice.awaited {
            self.awaited.insert(job.id);
        }
    }

    pub(super) fn start(self) -> WriterHandle {
        let (requests, incoming) = queue();
        let (stop, stopped) = watch::channel(None);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                let now = Instant::now();
                let (pace, commit_time) = (Pace { due: now }, Duration::ZERO);
                Loop { writer: self, incoming, pace, commit_time, garbage_due: now, stop }.run();
            })
            .expect("a thread can be started while the server starts");
        WriterHandle { requests: Some(requests), stopped, thread: Some(thread) }
    }

    /// Runs one request so that it leaves no trace if it fails. One that is not of tasks finds all in the rows, and may
    /// change them.
    fn run<T>(
        &mut self,
        of_tasks: bool,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> StoreResult<T> {
        // A full disk may have undone the transaction that this one was to join.
        if self.conn.is_autocommit() {
            return Err(StoreError::Full);
        }
        if !of_tasks {
            self.write_running().map_err(|error| self.failed(&error))?;
            self.running.forget();
        }
        let is_first = std::mem::take(&mut self.is_first);
        let forgotten = self.payloads.forgotten();
        let [begin, end, undo] = if is_first { UNDONE_WHOLE } else { UNDONE_ALONE };
        let outcome = execute(&self.conn, begin).and_then(|()| work(self));
        let outcome = outcome.and_then(|answer| execute(&self.conn, end).map(|()| answer));
        self.running.request_ended(outcome.is_ok());
        outcome.map_err(|error| {
            self.payloads.request_undone(forgotten);
            if !self.conn.is_autocommit() {
                self.is_first = execute(&self.conn, undo).is_ok() && is_first;
            }
            self.failed(&error)
        })
    }

    /// Writes what has changed of running jobs: all of it or nothing.
    fn write_running(&mut self) -> rusqlite::Result<()> {
        if !self.running.has_changed() {
            return Ok(());
        }
        let [begin, end, undo] = UNDONE_ALONE;
        let outcome = execute(&self.conn, begin).and_then(|()| self.running.write(&self.conn, &self.node));
        let outcome = outcome.and_then(|()| execute(&self.conn, end));
        match outcome {
            Ok(()) => self.running.written(),
            // Where the disk is full, SQLite may have undone all of the transaction.
            Err(_) => drop(execute(&self.conn, undo)),
        }
        outcome
    }

    fn failed(&mut self, error: &rusqlite::Error) -> StoreError {
        if is_full(error) {
            self.space.ran_out();
            return StoreError::Full;
        }
        if is_out_of_descriptors(error) {
            tracing::warn!(%error, "there is no descriptor left; this is tried again");
            return StoreError::Full;
        }
        tracing::error!(%error, "a write to the store failed");
        StoreError::Stopped(error.to_string())
    }
}

fn execute(conn: &Connection, statements: &[&str]) -> rusqlite::Result<()> {
    statements.iter().try_for_each(|sql| conn.prepare_cached(sql)?.execute([]).map(drop))
}

/// Work that is not done while the disk is full.
pub(super) fn unless_full<T>(
    work: impl FnOnce(&mut Writer) -> rusqlite::Result<T>,
) -> impl FnOnce(&mut Writer) -> rusqlite::Result<T> {
    |writer| if writer.space.is_full() { Err(full()) } else { work(writer) }
}

impl WriterHandle {
    pub(super) fn stopped(&self) -> watch::Receiver<Option<String>> {
        self.stopped.clone()
    }

    /// As [`Self::write`], but not while the disk is full.
    pub(super) async fn take_in<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.write(urgency, unless_full(work)).await
    }

    /// Has `work` run in the writer's next transaction.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.send(urgency, false, work).await
    }

    /// As [`Self::write`], for work that knows of jobs by [`Writer::progress`] alone, not by their rows.
    pub(super) async fn write_of_tasks<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.send(urgency, true, work).await
    }

    async fn send<T: Send + 'static>(
        &self,
        urgency: Urgency,
        of_tasks: bool,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |writer| {
            let outcome = writer.run(of_tasks, work);
            if urgency == Urgency::Relaxed {
                // A caller that went away needs no answer; the same below.
                drop(answer.send(outcome));
                return None;
            }
            Some(Box::new(move |commit| drop(answer.send(commit.and(outcome)))))
        });
        let requests = self.requests.as_ref().expect("taken only on drop");
        // When the writer is gone, so is the other end of `answered`.
        requests.send(Request { urgency, work }, urgency == Urgency::Patient);
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

/// How far commits without haste are to be apart.
#[derive(Debug)]
struct Pace {
    /// Were all commits [`COMMIT_INTERVAL`] apart, the next would be due then.
    due: Instant,
}

impl Pace {
    /// Notes a commit. One in haste does not wait, so it must not have others wait for longer than one interval.
    fn committed(&mut self, now: Instant) {
        self.due = (self.due.max(now) + COMMIT_INTERVAL).min(now + COMMIT_INTERVAL * COMMIT_BURST);
    }

    /// How long until a commit without haste.
    fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now + COMMIT_INTERVAL * (COMMIT_BURST - 1))
    }
}

struct Loop {
    writer: Writer,
    incoming: Receiver<Request>,
    pace: Pace,
    /// How long the last commit took.
    commit_time: Duration,
    /// When some more garbage is to be removed, if there is any.
    garbage_due: Instant,
    stop: watch::Sender<Option<String>>,
}

impl Loop {
    fn run(mut self) {
        loop {
            // Requests go before garbage, but do not keep it waiting for ever.
            let until_garbage = || self.garbage_due.saturating_duration_since(Instant::now());
            let outcome = match self.incoming.wait(self.writer.garbage.then(until_garbage)) {
                Ok(first) => self.transaction(first),
                Err(Nothing::Yet) => self.collect_garbage(),
                Err(Nothing::More) => return,
            };
            let overdue = self.writer.garbage && self.garbage_due + GARBAGE_PATIENCE <= Instant::now();
            let outcome = outcome.and_then(|()| if overdue { self.collect_garbage() } else { Ok(()) });
            if let Err(error) = outcome {
                tracing::error!(%error, "a commit failed: its fate is unknown, so the store stops");
                self.stop.send_replace(Some(error.to_string()));
                return;
            }
        }
    }

    fn transaction(&mut self, first: Request) -> rusqlite::Result<()> {
        self.writer.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.writer.is_first = true;
        let answers = self.gather(first);
        let start = Instant::now();
        let outcome = self.commit();
        self.commit_time = start.elapsed();
        let took = outcome.is_ok().then_some(self.commit_time);
        self.pace.committed(Instant::now());
        let (word, outcome) = match outcome {
            Ok(()) => (Ok(()), Ok(())),
            Err(error) if is_full(&error) => {
                self.undo()?;
                (Err(StoreError::Full), Ok(()))
            }
            Err(error) => (Err(StoreError::Stopped(error.to_string())), Err(error)),
        };
        // Before the answers, so that whoever has one finds it counted.
        let is_full = self.writer.space.was_full();
        let outcome = outcome.and_then(|()| self.writer.counts.publish(&self.writer.conn, is_full, took));
        for answer in answers {
            answer(word.clone());
        }
        for job in std::mem::take(&mut self.writer.changed) {
            self.writer.watches.wake(job);
        }
        if std::mem::take(&mut self.writer.to_be_told) > 0 {
            self.writer.watches.wake_outbox();
        }
        outcome
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        if self.writer.conn.is_autocommit() {
            return Err(full());
        }
        self.writer.write_running()?;
        self.writer.payloads.sync()?;
        self.writer.conn.prepare_cached("COMMIT")?.execute([])?;
        self.writer.payloads.committed();
        Ok(())
    }

    /// The disk is full, which is known before anything of the transaction counts: all of it is undone.
    fn undo(&mut self) -> rusqlite::Result<()> {
        if !self.writer.conn.is_autocommit() {
            self.writer.conn.execute_batch("ROLLBACK")?;
        }
        self.writer.segments = SegmentCache::default();
        self.writer.running.forget();
        self.writer.payloads.undone();
        self.writer.queued_at_most = None;
        self.writer.space.ran_out();
        self.shorten_log();
        Ok(())
    }

    /// Moves the log into the database, where its pages take less room. Readers may keep it from that.
    fn shorten_log(&self) {
        let shortened = self.writer.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = shortened {
            tracing::debug!(%error, "the log could not be moved into the database");
        }
    }

    /// Runs `first` and all that comes until the commit is due; gives what is to be answered after it.
    fn gather(&mut self, first: Request) -> Vec<Answer> {
        let (mut answers, mut hurry, mut lingers_until) = (Vec::new(), false, None);
        let mut next = Some(first);
        for _ in 0..MAX_GROUP {
            let Some(request) = next.take() else { break };
            hurry |= request.urgency == Urgency::Now;
            answers.extend((request.work)(&mut self.writer));
            hurry |= std::mem::take(&mut self.writer.hurry);
            let now = Instant::now();
            let wait = if hurry { self.linger(&mut lingers_until, now) } else { self.pace.wait(now) };
            next = if wait.is_zero() { self.incoming.take() } else { self.incoming.rest(wait) }.ok();
        }
        // Only the bound of the loop leaves a request over; it joins this transaction rather than be lost.
        answers.extend(next.and_then(|request| (request.work)(&mut self.writer)));
        self.writer.awaited.clear();
        answers
    }

    /// How long a commit in haste may wait for the end of jobs that it takes in and whose clients wait for it: as long
    /// as a commit of its own would take that end at most, so that at worst both take twice as long as they must.
    fn linger(&self, until: &mut Option<Instant>, now: Instant) -> Duration {
        if self.writer.awaited.is_empty() {
            return Duration::ZERO;
        }
        until.get_or_insert(now + self.commit_time.min(MOST_LINGER)).saturating_duration_since(now)
    }

    fn collect_garbage(&mut self) -> rusqlite::Result<()> {
        let pause = if self.writer.space.was_full() { GARBAGE_PAUSE } else { Duration::ZERO };
        self.garbage_due = Instant::now() + pause;
        // One that began by reading could not wait for a reader that holds the lock for a moment, as one does that finds
        // the log's index half written.
        let Writer { conn, payloads, .. } = &mut self.writer;
        let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        let outcome = super::control::collect_garbage(&transaction, payloads).and_then(|more| {
            transaction.commit()?;
            payloads.committed();
            payloads.remove_strays(conn)?;
            Ok(more)
        });
        match outcome {
            Ok(more) => self.writer.garbage = more,
            Err(error) if is_full(&error) => return self.undo(),
            Err(error) => return Err(error),
        }
        if self.writer.space.was_full() {
            self.shorten_log();
        }
        Ok(())
    }
}

/// The error of a write for which there is no room.
pub(super) fn full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_commits_follow_each_other_and_more_are_an_interval_apart() {
        let now = Instant::now();
        let mut pace = Pace { due: now };
        for _ in 1..COMMIT_BURST {
            assert_eq!(pace.wait(now), Duration::ZERO);
            pace.committed(now);
        }
        assert_eq!(pace.wait(now), Duration::ZERO);
        pace.committed(now);
        assert_eq!(pace.wait(now), COMMIT_INTERVAL);
        assert_eq!(pace.wait(now + COMMIT_INTERVAL), Duration::ZERO);
    }

    #[test]
    fn commits_in_haste_never_have_others_wait_for_longer_than_an_interval() {
        let now = Instant::now();
        let mut pace = Pace { due: now };
        (0..1000).for_each(|_| pace.committed(now));
        assert_eq!(pace.wait(now), COMMIT_INTERVAL);
    }
}
