//! A node's start, cancels, and the removal of what is no longer wanted.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::rows::Progress;
use super::writer::Writer;
use super::{read, rows};
use crate::model::{Epoch, Job, JobId, JobState, Timestamp};
use crate::store::Deleted;

/// Rows of deleted jobs that one transaction removes at most, so that other writes do not wait long.
const GARBAGE_ROWS: usize = 64;

/// Begins the next epoch: staged inputs of an earlier start are dropped, and its leases go back to the queue, free
/// of charge.
pub(super) fn begin_epoch(conn: &mut Connection, now: Timestamp) -> Result<Epoch> {
    let transaction = conn.transaction()?;
    transaction.execute_batch(
        "UPDATE node SET epoch = epoch + 1;
         UPDATE jobs SET state = 'deleted' WHERE state = 'staging';
         INSERT INTO retries (job, first, count, attempt, alone)
             SELECT job, first, count, attempt, attempt > 1 FROM leases;
         DELETE FROM leases;",
    )?;
    let epoch = transaction.query_row("SELECT epoch FROM node", [], |row| rows::u64(row, 0))?;
    transaction.commit()?;
    finish_cancels(conn, now)?;
    Ok(Epoch(epoch))
}

/// Jobs whose cancel a crash interrupted end now, as nothing of them runs any more.
fn finish_cancels(conn: &Connection, now: Timestamp) -> Result<()> {
    let transaction = conn.unchecked_transaction()?;
    let sql = "SELECT id FROM jobs WHERE state = 'cancelling'";
    let mut select = transaction.prepare(sql)?;
    let jobs: Vec<JobId> = select.query_map([], |row| rows::job_id(row, 0))?.collect::<Result<_>>()?;
    drop(select);
    for job in jobs {
        let mut progress =
            transaction.prepare_cached(Progress::SELECT)?.query_row([job.as_bytes()], Progress::read)?;
        cancel_unleased(&transaction, job, &mut progress)?;
        progress.state = progress.tally.final_state(progress.on_error);
        rows::save(&transaction, job, &progress, Some(now))?;
    }
    transaction.commit()
}

impl Writer {
    pub(super) fn cancel(&mut self, id: JobId, now: Timestamp) -> Result<Option<Job>> {
        let Some(mut progress) = self.progress(id)? else { return Ok(None) };
        if !progress.state.is_final() {
            self.cancel_unleased(id, &mut progress)?;
            self.save(id, progress, now)?;
        }
        read::job(&self.conn, id)
    }

    /// Gives every task that is not leased the outcome `cancelled`; the job is then cancelling.
    pub(super) fn cancel_unleased(&self, job: JobId, progress: &mut Progress) -> Result<()> {
        cancel_unleased(&self.conn, job, progress)
    }

    pub(super) fn delete(&mut self, id: JobId) -> Result<Deleted> {
        let Some(progress) = self.progress(id)? else { return Ok(Deleted::Unknown) };
        if !progress.state.is_final() {
            return Ok(Deleted::NotEnded(progress.state));
        }
        self.conn
            .prepare_cached("UPDATE jobs SET state = 'deleted' WHERE id = ?1")?
            .execute([id.as_bytes()])?;
        self.garbage = true;
        self.changed.insert(id);
        Ok(Deleted::Yes)
    }
}

fn cancel_unleased(conn: &Connection, job: JobId, progress: &mut Progress) -> Result<()> {
    let sql = "SELECT first, count FROM retries WHERE job = ?1 ORDER BY first";
    let mut select = conn.prepare_cached(sql)?;
    let read = select.query_map([job.as_bytes()], |row| Ok((rows::u64(row, 0)?, rows::u64(row, 1)?)))?;
    let mut ranges = read.collect::<Result<Vec<_>>>()?;
    conn.prepare_cached("DELETE FROM retries WHERE job = ?1")?.execute([job.as_bytes()])?;
    ranges.push((progress.next_index, progress.tally.total - progress.next_index));
    progress.next_index = progress.tally.total;
    progress.state = JobState::Cancelling;
    for (first, count) in ranges.into_iter().filter(|(_, count)| *count > 0) {
        rows::insert_cancelled(conn, job, first, count, progress)?;
    }
    Ok(())
}

/// Removes some rows of deleted jobs and gives their pages back; whether there may be more.
pub(super) fn collect_garbage(conn: &Connection) -> Result<bool> {
    let sql = "SELECT id FROM jobs WHERE state = 'deleted' LIMIT 1";
    let job = conn.prepare_cached(sql)?.query_row([], |row| rows::job_id(row, 0)).optional()?;
    let Some(job) = job else { return give_back(conn) };
    for table in ["inputs", "results"] {
        let some = "SELECT rowid FROM {table} WHERE job = ?1 LIMIT ?2".replace("{table}", table);
        let mut delete = conn.prepare_cached(&format!("DELETE FROM {table} WHERE rowid IN ({some})"))?;
        if delete.execute(params![job.as_bytes(), GARBAGE_ROWS as i64])? == GARBAGE_ROWS {
            return Ok(true);
        }
    }
    for table in ["job_workers", "retries"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE job = ?1"))?.execute([job.as_bytes()])?;
    }
    conn.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([job.as_bytes()])?;
    Ok(true)
}

/// Shortens the file by some of its free pages; whether there may be more.
fn give_back(conn: &Connection) -> Result<bool> {
    let free = |conn: &Connection| conn.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0));
    if free(conn)? == 0 {
        return Ok(false);
    }
    conn.execute_batch("PRAGMA incremental_vacuum(256)")?;
    Ok(free(conn)? > 0)
}
