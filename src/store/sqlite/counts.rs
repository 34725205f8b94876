//! Counts of what there is, kept by triggers: so they are right whatever changes a row, and undone with it.
//!
//! How many jobs have ended is kept in the database. The rest changes with every task; it is counted once at a start,
//! which takes no longer than what is queued is long, and kept in memory.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Result};

use super::{FILE_NAME, rows};
use crate::store::counts::{Counts, TaskCounts};

/// The triggers' statements are run under the conflict clause of the statement that fires them, so none of them relies
/// on one of its own.
const KEEP: &str = "
    CREATE TEMP TABLE live_jobs (state TEXT PRIMARY KEY, jobs INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO live_jobs VALUES ('queued', 0), ('running', 0), ('paused', 0), ('cancelling', 0);
    UPDATE live_jobs SET jobs = (SELECT count(*) FROM jobs WHERE jobs.state = live_jobs.state);

    CREATE TEMP TABLE counted_tasks (
        function TEXT PRIMARY KEY, unfinished INTEGER NOT NULL, cancelled INTEGER NOT NULL, not_run INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO counted_tasks SELECT function, sum(total - succeeded - failed - cancelled), 0, 0
        FROM jobs WHERE state IN ('queued', 'running', 'paused', 'cancelling') GROUP BY function;

    CREATE TEMP TRIGGER count_new_job AFTER INSERT ON jobs WHEN NEW.state NOT IN ('staging', 'deleted') BEGIN
        UPDATE live_jobs SET jobs = jobs + 1 WHERE state = NEW.state;
        INSERT INTO counted_tasks SELECT NEW.function, 0, 0, 0
            WHERE NOT EXISTS (SELECT 1 FROM counted_tasks WHERE function = NEW.function);
        UPDATE counted_tasks SET unfinished = unfinished + NEW.total - NEW.succeeded - NEW.failed - NEW.cancelled
            WHERE function = NEW.function;
    END;

    CREATE TEMP TRIGGER count_live_jobs AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state BEGIN
        UPDATE live_jobs SET jobs = jobs + (state = NEW.state) - (state = OLD.state)
            WHERE state IN (OLD.state, NEW.state);
    END;

    CREATE TEMP TRIGGER count_tasks AFTER UPDATE OF total, succeeded, failed, cancelled ON jobs
    WHEN NEW.total - NEW.succeeded - NEW.failed - NEW.cancelled
        <> OLD.total - OLD.succeeded - OLD.failed - OLD.cancelled BEGIN
        INSERT INTO counted_tasks SELECT NEW.function, 0, 0, 0
            WHERE NOT EXISTS (SELECT 1 FROM counted_tasks WHERE function = NEW.function);
        UPDATE counted_tasks SET unfinished = unfinished + NEW.total - NEW.succeeded - NEW.failed - NEW.cancelled
            - OLD.total + OLD.succeeded + OLD.failed + OLD.cancelled WHERE function = NEW.function;
    END;

    CREATE TEMP TRIGGER count_not_run AFTER INSERT ON results WHEN NEW.worker IS NULL AND NEW.superseded = 0 BEGIN
        UPDATE counted_tasks SET cancelled = cancelled + NEW.count - NEW.failed, not_run = not_run + NEW.failed
            WHERE function = (SELECT function FROM jobs WHERE id = NEW.job);
    END;

    CREATE TEMP TABLE counted_callbacks (pending INTEGER NOT NULL);
    INSERT INTO counted_callbacks SELECT count(*) FROM callbacks WHERE next_at IS NOT NULL;

    CREATE TEMP TRIGGER count_new_callback AFTER INSERT ON callbacks WHEN NEW.next_at IS NOT NULL BEGIN
        UPDATE counted_callbacks SET pending = pending + 1;
    END;

    CREATE TEMP TRIGGER count_callback AFTER UPDATE OF next_at ON callbacks
    WHEN (NEW.next_at IS NULL) <> (OLD.next_at IS NULL) BEGIN
        UPDATE counted_callbacks SET pending = pending + (NEW.next_at IS NOT NULL) - (OLD.next_at IS NOT NULL);
    END;

    CREATE TEMP TRIGGER count_gone_callback AFTER DELETE ON callbacks WHEN OLD.next_at IS NOT NULL BEGIN
        UPDATE counted_callbacks SET pending = pending - 1;
    END;";

/// Begins to count what the connection changes.
pub(super) fn keep(conn: &Connection) -> Result<()> {
    conn.execute_batch(KEEP)
}

/// The counts as of the last commit, for others to read. The writer alone changes them.
#[derive(Clone, Debug, Default)]
pub(super) struct Published(Arc<Mutex<Counts>>);

impl Published {
    /// Notes how things stand after a commit that took so long, or after the start.
    pub(super) fn publish(&self, conn: &Connection, is_full: bool, took: Option<Duration>) -> Result<()> {
        let Counts { jobs, tasks, callbacks, .. } = read(conn)?;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.jobs, counts.tasks, counts.storage.is_full) = (jobs, tasks, is_full);
        counts.callbacks = callbacks;
        if let Some(took) = took {
            counts.storage.commits.record(took.as_nanos() as u64);
        }
        Ok(())
    }

    /// The counts, with the sizes of the files in `dir` as they are now.
    pub(super) fn read(&self, dir: &Path, free_bytes: u64) -> Counts {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let size = |name: &str| dir.join(name).metadata().map_or(0, |file| file.len());
        counts.storage.database_bytes = size(FILE_NAME);
        counts.storage.log_bytes = size(&format!("{FILE_NAME}-wal"));
        counts.storage.free_bytes = free_bytes;
        counts
    }
}

fn read(conn: &Connection) -> Result<Counts> {
    let mut counts = Counts::default();
    let sql = "SELECT state, jobs FROM live_jobs WHERE jobs > 0 UNION ALL SELECT state, jobs FROM ended_jobs WHERE jobs > 0";
    let mut select = conn.prepare_cached(sql)?;
    for row in select.query_map([], |row| Ok((rows::state(row, 0)?, rows::u64(row, 1)?)))? {
        counts.jobs.extend([row?]);
    }
    let sql = "SELECT function, unfinished, cancelled, not_run FROM counted_tasks
               WHERE unfinished > 0 OR cancelled > 0 OR not_run > 0";
    let mut select = conn.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| {
        let (unfinished, cancelled, not_run) = (rows::u64(row, 1)?, rows::u64(row, 2)?, rows::u64(row, 3)?);
        Ok((row.get(0)?, TaskCounts { unfinished, cancelled, not_run }))
    };
    for row in select.query_map([], read)? {
        counts.tasks.extend([row?]);
    }
    let mut select = conn.prepare_cached("SELECT pending FROM counted_callbacks")?;
    counts.callbacks = select.query_row([], |row| rows::u64(row, 0))?;
    Ok(counts)
}
