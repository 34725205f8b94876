//! The store over an embedded SQLite: one writer thread with group commit, a few readers, WAL, `synchronous=FULL`.
//!
//! Deliberately absent: retries of a failed commit. Its fate is unknown, so the store stops and says so.

mod callbacks;
mod commits;
mod control;
#[cfg(test)]
mod costs;
mod counts;
mod epoch;
mod files;
mod handle;
mod lease;
mod logs;
mod payloads;
mod queue;
mod read;
mod readers;
mod retry;
mod rows;
mod running;
mod runs;
mod space;
mod submit;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::watch as channel;

use super::watch::Watches;
use super::{
    Appended, Callback, CallbackTry, ChangeWatch, Claim, Claimed, Completion, Counts, Deleted, DueCallbacks,
    Haste, JobFilter, JobWatch, LogEntry, LogFilter, LogPage, MoreInputs, NewJob, Order, Receipt, Release,
    Retention, Retried, Run, RunnableJob, Store, StoreError, StoreResult, Submitted,
};
use crate::model::{Blocked, Epoch, InputSegment, Job, JobId, ResultSegment, Timestamp};
pub use files::{BackupError, backup};
use handle::{Urgency, WriterHandle};
use payloads::{PayloadDir, Payloads};
use readers::Readers;
use running::Awaited;
use space::Space;
use writer::{Writer, unless_full};

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// The name of the database in the data directory.
pub const FILE_NAME: &str = "gristmill.sqlite";
/// Earlier versions may corrupt a WAL that is reset while another connection commits.
const MIN_SQLITE_VERSION: i32 = 3_051_003;
/// Lines of a segment of at least so many bytes go to a file ([0005](../../../docs/decisions/0005-large-segments-go-to-files.md)).
const LARGE_BYTES: usize = 64 << 10;
/// The pages of a new database. A small job changes a row in each of a dozen places, and each place is a page of the log.
const PAGE_BYTES: u64 = 2048;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite says no.
    #[error("{0}: {1}")]
    Sqlite(PathBuf, #[source] rusqlite::Error),
    /// The schema could not be brought up to date.
    #[error("{0}: migrating the schema: {1}")]
    Migrate(PathBuf, #[source] refinery::Error),
    /// There was a database, and it is gone or empty.
    #[error(
        "{path} is missing, but {mark} says that there was one: put it back, or remove {mark} to begin anew",
        path = path.display(),
        mark = mark.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// What says so.
        mark: PathBuf,
    },
    /// A page of it is damaged.
    #[error("{0} is damaged: {1}; nothing of it was changed")]
    Corrupt(PathBuf, String),
    /// A file beside it is lost, or shorter than the database says.
    #[error("{path} has {there} of {size} bytes: it is lost or damaged; nothing was changed", path = path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        there: u64,
        /// How many bytes the database names.
        size: u64,
    },
    /// The files beside it cannot be looked at.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
    /// The SQLite linked in is too old.
    #[error("SQLite {0} may corrupt its log; 3.51.3 or later is needed")]
    TooOld(&'static str),
}

/// The store over one database file. Dropping it ends the writer after the writes that wait.
#[derive(Debug)]
pub struct SqliteStore {
    epoch: Epoch,
    /// The name of this node.
    node: String,
    writer: WriterHandle,
    readers: Arc<Readers>,
    payload_dir: PayloadDir,
    watches: Watches,
    counts: counts::Published,
    dir: PathBuf,
}

impl SqliteStore {
    /// Opens or makes the database in `dir`, brings its schema up to date, and begins a new epoch: what an earlier
    /// start had leased goes back to the queue. `node` names this node in what its workers did.
    pub fn open(dir: &Path, node: &str, now: Timestamp) -> Result<Self, OpenError> {
        Self::open_with(dir, node, now, LARGE_BYTES)
    }

    /// As [`Self::open`], with segments of at least `large_bytes` in files beside the database.
    pub fn open_with(dir: &Path, node: &str, now: Timestamp, large_bytes: usize) -> Result<Self, OpenError> {
        if rusqlite::version_number() < MIN_SQLITE_VERSION {
            return Err(OpenError::TooOld(rusqlite::version()));
        }
        let path = dir.join(FILE_NAME);
        let sqlite_error = |error| OpenError::Sqlite(path.clone(), error);
        files::see_that_it_is_there(dir)?;
        Space::give_up_reserve(dir);
        let mut conn = Connection::open(&path).map_err(sqlite_error)?;
        files::see_that_it_is_whole(&conn, &path)?;
        prepare(&conn, Space::reserve_bytes(dir)).map_err(sqlite_error)?;
        migrations::migrations::runner().run(&mut conn).map_err(|e| OpenError::Migrate(path.clone(), e))?;
        counts::keep(&conn).map_err(sqlite_error)?;
        let epoch = epoch::begin_epoch(&mut conn, now).map_err(sqlite_error)?;
        let payloads = Payloads::open(dir, &conn, large_bytes, Space::reserve_bytes(dir))?;
        files::mark(dir);
        let readers = Readers::open(&path).map_err(sqlite_error)?;
        let (watches, counts) = (Watches::default(), counts::Published::default());
        counts.publish(&conn, false, None).map_err(sqlite_error)?;
        let (payload_dir, space) = (payloads.dir.clone(), Space::new(dir));
        let shared = (watches.clone(), counts.clone());
        let writer = commits::start(Writer::new((conn, payloads), epoch, node.to_owned(), shared, space));
        let (readers, dir, node) = (Arc::new(readers), dir.to_owned(), node.to_owned());
        Ok(Self { epoch, node, writer, readers, payload_dir, watches, counts, dir })
    }

    /// Becomes `Some` with the reason when the store has stopped after a failed write; the server must end then.
    pub fn stopped(&self) -> channel::Receiver<Option<String>> {
        self.writer.stopped()
    }

    async fn look_up<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    ) -> StoreResult<T> {
        self.readers.look_up(query).await.map_err(read_failed)
    }

    async fn search<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.readers.search(query).await.map_err(read_failed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` asks for")]
fn read_failed(error: rusqlite::Error) -> StoreError {
    tracing::error!(%error, "a read of the store failed");
    StoreError::Stopped(error.to_string())
}

/// Sets a connection up; the log may have so many bytes before it is moved into the database.
fn prepare(conn: &Connection, log_bytes: u64) -> rusqlite::Result<()> {
    // One that is there already keeps the pages that it has.
    conn.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
    conn.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA cache_size = -16384;
         PRAGMA temp_store = MEMORY;",
    )?;
    let page_bytes: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
    conn.pragma_update(None, "wal_autocheckpoint", log_bytes as i64 / page_bytes)?;
    conn.pragma_update(None, "journal_size_limit", log_bytes as i64)?;
    conn.set_prepared_statement_cache_capacity(64);
    keep_plans(conn)?;
    Ok(())
}

/// A statement stays as it was prepared. Otherwise one that a partial index may serve is prepared anew for each value.
fn keep_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

#[async_trait]
impl Store for SqliteStore {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn counts(&self) -> Counts {
        self.counts.read(&self.dir, Space::free_bytes(&self.dir))
    }

    async fn stage(&self, job: JobId, segments: Vec<InputSegment>) -> StoreResult<()> {
        self.writer.take_in(Urgency::Relaxed, move |w| w.stage(job, &segments)).await
    }

    async fn unstage(&self, job: JobId) -> StoreResult<()> {
        self.writer.write(Urgency::Relaxed, move |w| w.unstage(job)).await
    }

    async fn submit(
        &self,
        job: NewJob,
        segments: Vec<InputSegment>,
        now: Timestamp,
    ) -> StoreResult<Submitted> {
        let notice = job.notice.clone();
        let awaited = notice.as_ref().filter(|notice| notice.awaited).map(|_| Awaited::default());
        let waits = awaited.clone();
        let submit = move |w: &mut Writer| {
            let of_tasks = w.knows_enough_for(&job, &segments);
            let submitted = w.run(of_tasks, unless_full(|w| w.submit(job, segments, waits, now)))?;
            if let (Submitted::New(job), Some(notice)) = (&submitted, notice) {
                w.tell(job, &notice, now);
            }
            Ok(submitted)
        };
        let submitted = self.writer.request(Urgency::Now, submit).await?;
        Ok(match (submitted, awaited.and_then(Arc::into_inner).and_then(OnceLock::into_inner)) {
            (Submitted::New(job), Some(ended)) => ended.of(job, &self.node),
            (submitted, _) => submitted,
        })
    }

    async fn job(&self, id: JobId) -> StoreResult<Option<Job>> {
        self.look_up(move |conn| read::job(conn, id)).await
    }

    async fn jobs(&self, filter: JobFilter, before: Option<JobId>, limit: u32) -> StoreResult<Vec<Job>> {
        self.search(move |conn| read::jobs(conn, &filter, before, limit)).await
    }

    async fn jobs_of(&self, ids: Vec<JobId>) -> StoreResult<Vec<Job>> {
        self.search(move |conn| read::jobs_of(conn, &ids)).await
    }

    async fn results(
        &self,
        id: JobId,
        order: Order,
        after: u64,
        limit: u64,
    ) -> StoreResult<Vec<ResultSegment>> {
        self.look_up(|conn| read::results(conn, &self.payload_dir, id, order, after, limit)).await
    }

    async fn runs(&self, id: JobId, after: u64) -> StoreResult<Vec<Run>> {
        self.search(move |conn| runs::runs(conn, id, after)).await
    }

    fn watch(&self, id: JobId) -> JobWatch {
        self.watches.watch(id)
    }

    fn watch_all(&self, after: Option<u64>) -> ChangeWatch {
        self.watches.watch_all(after)
    }

    async fn runnable(
        &self,
        after: Option<(i32, JobId)>,
        without: Blocked,
        limit: u32,
    ) -> StoreResult<Vec<RunnableJob>> {
        // Of jobs that are told of before they have rows, none is missed.
        match self.writer.write(Urgency::Soon, |_| Ok(())).await {
            Ok(()) | Err(StoreError::Full) => {}
            Err(error) => return Err(error),
        }
        self.search(move |conn| read::runnable(conn, after, &without, limit)).await
    }

    async fn claim(&self, claim: Claim, now: Timestamp) -> StoreResult<Claimed> {
        self.writer.write_of_tasks(Urgency::Relaxed, unless_full(move |w| w.claim(claim, now))).await
    }

    async fn complete_if_leased(
        &self,
        done: Arc<Completion>,
        haste: Haste,
        now: Timestamp,
    ) -> StoreResult<Receipt> {
        let urgency = match haste {
            Haste::Now => Urgency::Now,
            Haste::Patient if done.lines.len() < LARGE_BYTES => Urgency::Patient,
            // A large one is written while others run.
            Haste::Soon | Haste::Patient => Urgency::Soon,
        };
        let complete = move |w: &mut Writer| {
            // A failure may stop its job, which must have a row then.
            let of_tasks = done.outcomes.failed() == 0 || !w.running.is_new(done.job);
            w.run(of_tasks, |w| w.complete_if_leased(&done, now))
        };
        self.writer.request(urgency, complete).await
    }

    async fn release_if_leased(&self, release: Release, now: Timestamp) -> StoreResult<Receipt> {
        self.writer.write_of_tasks(Urgency::Soon, move |w| w.release_if_leased(release, now)).await
    }

    async fn cancel(&self, id: JobId, now: Timestamp) -> StoreResult<Option<Job>> {
        self.writer.write(Urgency::Now, move |w| w.cancel(id, now)).await
    }

    async fn delete(&self, id: JobId) -> StoreResult<Deleted> {
        self.writer.write(Urgency::Now, move |w| w.delete(id)).await
    }

    async fn append(
        &self,
        more: MoreInputs,
        segments: Vec<InputSegment>,
        now: Timestamp,
    ) -> StoreResult<Appended> {
        self.writer.take_in(Urgency::Now, move |w| w.append(&more, &segments, now)).await
    }

    async fn close(&self, id: JobId, now: Timestamp) -> StoreResult<Option<Job>> {
        self.writer.write(Urgency::Now, move |w| w.close(id, now)).await
    }

    async fn sweep(&self, retention: Retention, now: Timestamp) -> StoreResult<u64> {
        self.writer.write(Urgency::Soon, move |w| w.sweep(retention, now)).await
    }

    async fn free_results(&self, id: JobId, through: u64) -> StoreResult<Option<u64>> {
        self.writer.write(Urgency::Now, move |w| w.free_results(id, through)).await
    }

    async fn freed_through(&self, id: JobId) -> StoreResult<u64> {
        self.look_up(move |conn| read::freed_through(conn, id)).await
    }

    async fn pause(&self, id: JobId) -> StoreResult<Option<Job>> {
        self.writer.write(Urgency::Now, move |w| w.pause(id)).await
    }

    async fn resume(&self, id: JobId) -> StoreResult<Option<(Job, u64)>> {
        self.writer.write(Urgency::Now, move |w| w.resume(id)).await
    }

    async fn fail_unleased(&self, id: JobId, error: Bytes, now: Timestamp) -> StoreResult<Receipt> {
        self.writer.write(Urgency::Now, move |w| w.fail_unleased(id, &error, now)).await
    }

    async fn retry_failed(&self, id: JobId) -> StoreResult<Retried> {
        self.writer.write(Urgency::Now, move |w| w.retry_failed(id)).await
    }

    async fn append_logs(&self, id: JobId, entries: Vec<LogEntry>) -> StoreResult<()> {
        self.writer.take_in(Urgency::Relaxed, move |w| w.append_logs(id, &entries)).await
    }

    async fn logs(&self, id: JobId, filter: LogFilter) -> StoreResult<LogPage> {
        self.search(move |conn| logs::logs(conn, id, filter)).await
    }

    async fn callback(&self, id: JobId) -> StoreResult<Option<Callback>> {
        self.look_up(move |conn| callbacks::callback(conn, id)).await
    }

    async fn due_callbacks(&self, per_receiver: u32, now: Timestamp) -> StoreResult<DueCallbacks> {
        self.search(move |conn| callbacks::due(conn, per_receiver, now)).await
    }

    async fn note_try_if_due(&self, made: CallbackTry) -> StoreResult<()> {
        self.writer.write(Urgency::Soon, move |w| w.note_try_if_due(&made)).await
    }

    fn outbox(&self) -> channel::Receiver<()> {
        self.watches.outbox()
    }
}
