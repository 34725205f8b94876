//! What requests are run with, one at a time: each leaves no trace if it fails.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, ErrorCode};

use super::counts::Published;
use super::payloads::{Payloads, is_out_of_descriptors};
use super::running::Running;
use super::space::Space;
use super::submit::SegmentCache;
use crate::model::{Epoch, Job, JobId, Timestamp};
use crate::store::watch::Watches;
use crate::store::{Claim, Notice, QueueLimits, StoreError, StoreResult};

/// How a request begins, ends, and is undone: with a savepoint, for which SQLite copies each page that it changes …
const UNDONE_ALONE: [&[&str]; 3] =
    [&["SAVEPOINT request"], &["RELEASE request"], &["ROLLBACK TO request", "RELEASE request"]];
/// … or, where it is the first of its transaction, with all of that …
const UNDONE_WHOLE: [&[&str]; 3] = [&[], &[], &["ROLLBACK", "BEGIN IMMEDIATE"]];
/// … or, where only a full disk could have it fail, together with all others, as the commit would find it full too.
const UNDONE_WITH_ALL: [&[&str]; 3] = [&[], &[], &["ROLLBACK"]];

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
    pub(super) is_first: bool,
    /// Set by a write that must be durable at once though its caller could not know.
    pub(super) hurry: bool,
    /// Jobs of this transaction whose clients wait for their end.
    pub(super) awaited: BTreeSet<JobId>,
    /// How many ends of jobs are to be told once the transaction is durable.
    pub(super) to_be_told: u32,
    pub(super) watches: Watches,
    pub(super) counts: Published,
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

    /// Tells of a job that this transaction takes in, and if there is room for it, leases its first task.
    pub(super) fn tell(&mut self, job: &Job, notice: &Notice, now: Timestamp) {
        if job.state.is_final() {
            return;
        }
        if notice.awaited {
            self.awaited.insert(job.id);
        }
        let claim = Claim { job: job.id, chunks: 1, max_tasks: 1, backwards: false };
        // What goes wrong with it goes wrong when it is claimed.
        let mut leased = || self.run(true, |writer| writer.claim(claim, now)).ok()?.chunks.pop();
        let has_room = notice.room.as_ref().is_some_and(|room| room.load(Ordering::Relaxed));
        let first = if has_room { leased() } else { None };
        (notice.tell)(job, first);
    }

    /// Runs one request so that it leaves no trace if it fails. One that is not of tasks finds all in the rows, and may
    /// change them.
    pub(super) fn run<T>(
        &mut self,
        of_tasks: bool,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> StoreResult<T> {
        // A full disk may have undone the transaction that this one was to join.
        if self.conn.is_autocommit() {
            return Err(StoreError::Full);
        }
        if !of_tasks {
            self.write_running_alone().map_err(|error| self.failed(&error))?;
            self.running.forget();
        }
        let is_first = std::mem::take(&mut self.is_first);
        let forgotten = self.payloads.forgotten();
        let [begin, end, undo] = match (is_first, of_tasks && !self.space.was_full()) {
            (true, _) => UNDONE_WHOLE,
            (false, true) => UNDONE_WITH_ALL,
            (false, false) => UNDONE_ALONE,
        };
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

    /// Writes what has changed of running jobs; if that fails, the transaction is to be undone.
    pub(super) fn write_running(&mut self) -> rusqlite::Result<()> {
        if self.running.has_changed() {
            self.running.write(&self.conn, (&self.node, self.epoch))?;
            self.running.written();
        }
        Ok(())
    }

    /// As [`Self::write_running`], all of it or nothing.
    fn write_running_alone(&mut self) -> rusqlite::Result<()> {
        if !self.running.has_changed() {
            return Ok(());
        }
        let [begin, end, undo] = UNDONE_ALONE;
        let outcome = execute(&self.conn, begin)
            .and_then(|()| self.running.write(&self.conn, (&self.node, self.epoch)));
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

/// The error of a write for which there is no room.
pub(super) fn full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
}

pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}
