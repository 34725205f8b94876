//! Cancels, pauses, and the removal of what is no longer wanted.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Params, Result, params};

use super::payloads::Payloads;
use super::rows::Progress;
use super::writer::Writer;
use super::{callbacks, read, rows};
use crate::model::{Job, JobId, JobState, Timestamp};
use crate::store::{Deleted, KEY_LIFETIME, Receipt, Retention};

/// Rows of deleted jobs that one transaction removes at most, so that other writes do not wait long.
const GARBAGE_ROWS: usize = 64;
/// Jobs that one sweep forgets at most.
const SWEEP_JOBS: i64 = 1000;
/// Keys without a job that one sweep forgets at most.
const SWEEP_KEYS: i64 = 5000;

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

    pub(super) fn sweep(&mut self, retention: Retention, now: Timestamp) -> Result<u64> {
        self.sweep_keys(now)?;
        let sql = "UPDATE jobs SET state = 'deleted' WHERE id IN (
                       SELECT id FROM jobs WHERE finished_at IS NOT NULL AND state <> 'deleted' AND finished_at < ?1
                       LIMIT ?2) RETURNING id";
        let values = params![retention.ended_since.0, SWEEP_JOBS];
        let mut swept = self.forget(sql, values)?;
        let surplus = match i64::try_from(retention.count) {
            Ok(keep) => self.ended()?.saturating_sub(keep).clamp(0, SWEEP_JOBS),
            Err(_) => 0,
        };
        let sql = "UPDATE jobs SET state = 'deleted' WHERE id IN (
                       SELECT id FROM jobs WHERE finished_at IS NOT NULL AND state <> 'deleted'
                       ORDER BY finished_at LIMIT ?1) RETURNING id";
        if surplus > 0 {
            swept += self.forget(sql, params![surplus])?;
        }
        if swept > 0 {
            callbacks::drop_deleted(&self.conn)?;
            self.garbage = true;
        }
        Ok(swept as u64)
    }

    /// Forgets the jobs that this statement marks as deleted and gives; how many they are.
    fn forget(&mut self, sql: &str, values: impl Params) -> Result<usize> {
        let mut update = self.conn.prepare_cached(sql)?;
        let marked = update.query_map(values, |row| rows::job_id(row, 0))?.collect::<Result<Vec<_>>>()?;
        drop(update);
        self.changed.extend(&marked);
        Ok(marked.len())
    }

    fn sweep_keys(&self, now: Timestamp) -> Result<()> {
        let old = now.0 - KEY_LIFETIME.as_micros() as i64;
        let sql = "DELETE FROM keys WHERE key IN (
                       SELECT key FROM keys WHERE has_job = 0 AND created_at < ?1 ORDER BY created_at LIMIT ?2)";
        self.conn.prepare_cached(sql)?.execute(params![old, SWEEP_KEYS]).map(drop)
    }

    /// How many jobs have ended.
    fn ended(&self) -> Result<i64> {
        self.conn.prepare_cached("SELECT sum(jobs) FROM ended_jobs")?.query_row([], |row| row.get(0))
    }

    pub(super) fn free_results(&mut self, id: JobId, through: u64) -> Result<Option<u64>> {
        if self.progress(id)?.is_none() {
            return Ok(None);
        }
        let through = i64::try_from(through).unwrap_or(i64::MAX);
        // As seqs have no gap, all before the last segment that begins up to there is whole, and it is if it ends there.
        let sql =
            "SELECT CASE WHEN first_seq + count - 1 <= ?2 THEN first_seq + count - 1 ELSE first_seq - 1 END
                   FROM results WHERE job = ?1 AND first_seq <= ?2 ORDER BY first_seq DESC LIMIT 1";
        let values = params![id.as_bytes(), through];
        let freed =
            self.conn.prepare_cached(sql)?.query_row(values, |row| row.get::<_, i64>(0)).optional()?;
        if let Some(freed) = freed {
            let sql = "DELETE FROM results WHERE job = ?1 AND first_seq <= ?2 RETURNING file";
            let mut delete = self.conn.prepare_cached(sql)?;
            let files =
                delete.query_map(params![id.as_bytes(), freed], |row| row.get::<_, Option<i64>>(0))?;
            let files: BTreeSet<i64> = files.filter_map(Result::transpose).collect::<Result<_>>()?;
            self.payloads.forget_emptied(&self.conn, &files)?;
            let sql = "UPDATE jobs SET freed_through = max(freed_through, ?2) WHERE id = ?1";
            self.conn.prepare_cached(sql)?.execute(params![id.as_bytes(), freed])?;
            self.garbage = true;
        }
        read::freed_through(&self.conn, id).map(Some)
    }

    pub(super) fn pause(&mut self, id: JobId) -> Result<Option<Job>> {
        let sql = "UPDATE jobs SET state = 'paused' WHERE id = ?1 AND state IN ('queued', 'running')";
        self.conn.prepare_cached(sql)?.execute([id.as_bytes()])?;
        self.changed.insert(id);
        read::job(&self.conn, id)
    }

    pub(super) fn resume(&mut self, id: JobId) -> Result<Option<(Job, u64)>> {
        let sql = "UPDATE jobs SET state = CASE WHEN started_at IS NULL THEN 'queued' ELSE 'running' END
                   WHERE id = ?1 AND state = 'paused'";
        self.conn.prepare_cached(sql)?.execute([id.as_bytes()])?;
        self.changed.insert(id);
        let Some(job) = read::job(&self.conn, id)? else { return Ok(None) };
        Ok(Some((job, self.unclaimed(id)?)))
    }

    /// How many tasks of a job are neither leased nor done.
    pub(super) fn unclaimed(&self, id: JobId) -> Result<u64> {
        let sql = "SELECT total - next_index + (SELECT coalesce(sum(count), 0) FROM retries WHERE job = ?1)
                   FROM jobs WHERE id = ?1";
        self.conn.prepare_cached(sql)?.query_row([id.as_bytes()], |row| rows::u64(row, 0))
    }

    pub(super) fn fail_unleased(&mut self, id: JobId, error: &[u8], now: Timestamp) -> Result<Receipt> {
        let Some(mut progress) = self.progress(id)? else { return Ok(Receipt { held: false, state: None }) };
        if progress.state.is_final() {
            return Ok(Receipt { held: false, state: Some(progress.state) });
        }
        for (first, count) in take_unleased(&self.conn, id, &mut progress)? {
            rows::insert_not_run(&self.conn, id, first, count, error, &mut progress)?;
        }
        self.save(id, progress, now)
    }

    pub(super) fn delete(&mut self, id: JobId) -> Result<Deleted> {
        let Some(progress) = self.progress(id)? else { return Ok(Deleted::Unknown) };
        if !progress.state.is_final() {
            return Ok(Deleted::NotEnded(progress.state));
        }
        self.conn
            .prepare_cached("UPDATE jobs SET state = 'deleted' WHERE id = ?1")?
            .execute([id.as_bytes()])?;
        callbacks::drop_of(&self.conn, id)?;
        self.garbage = true;
        self.changed.insert(id);
        Ok(Deleted::Yes)
    }
}

pub(super) fn cancel_unleased(conn: &Connection, job: JobId, progress: &mut Progress) -> Result<()> {
    progress.state = JobState::Cancelling;
    for (first, count) in take_unleased(conn, job, progress)? {
        rows::insert_cancelled(conn, job, first, count, progress)?;
    }
    Ok(())
}

/// Takes every task that is not leased out of the queue: ranges of an index and a count.
fn take_unleased(conn: &Connection, job: JobId, progress: &mut Progress) -> Result<Vec<(u64, u64)>> {
    let sql = "SELECT first, count FROM retries WHERE job = ?1 ORDER BY first";
    let mut select = conn.prepare_cached(sql)?;
    let read = select.query_map([job.as_bytes()], |row| Ok((rows::u64(row, 0)?, rows::u64(row, 1)?)))?;
    let mut ranges = read.collect::<Result<Vec<_>>>()?;
    conn.prepare_cached("DELETE FROM retries WHERE job = ?1")?.execute([job.as_bytes()])?;
    ranges.push((progress.next_index, progress.tally.total - progress.next_index));
    progress.next_index = progress.tally.total;
    ranges.retain(|(_, count)| *count > 0);
    Ok(ranges)
}

/// Removes some rows of deleted jobs and gives their pages back; whether there may be more.
pub(super) fn collect_garbage(conn: &Connection, payloads: &mut Payloads) -> Result<bool> {
    let mut left = GARBAGE_ROWS;
    while left > 0 {
        let sql = "SELECT id FROM jobs WHERE state = 'deleted' LIMIT 1";
        let job = conn.prepare_cached(sql)?.query_row([], |row| rows::job_id(row, 0)).optional()?;
        match job {
            Some(job) => left = left.saturating_sub(remove(conn, payloads, job, left)?),
            None if left == GARBAGE_ROWS => return give_back(conn),
            None => break,
        }
    }
    Ok(true)
}

/// Removes a deleted job, or so many of its rows; gives how many that were, the job itself counted as one.
fn remove(conn: &Connection, payloads: &mut Payloads, job: JobId, most: usize) -> Result<usize> {
    let mut removed = 0;
    for table in ["inputs", "results"] {
        let some = format!("SELECT rowid FROM {table} WHERE job = ?1 LIMIT ?2");
        let mut delete = conn.prepare_cached(&format!("DELETE FROM {table} WHERE rowid IN ({some})"))?;
        removed += delete.execute(params![job.as_bytes(), (most - removed) as i64])?;
        if removed == most {
            return Ok(removed);
        }
    }
    payloads.forget(conn, job)?;
    for table in ["job_workers", "retries", "logs"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE job = ?1"))?.execute([job.as_bytes()])?;
    }
    let its_labels =
        "SELECT label.key, label.value, jobs.id FROM jobs, json_each(labels) AS label WHERE jobs.id = ?1";
    let sql = format!("DELETE FROM job_labels WHERE (key, value, job) IN ({its_labels})");
    conn.prepare_cached(&sql)?.execute([job.as_bytes()])?;
    conn.prepare_cached("UPDATE keys SET has_job = 0 WHERE job = ?1")?.execute([job.as_bytes()])?;
    conn.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([job.as_bytes()])?;
    Ok(removed + 1)
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
