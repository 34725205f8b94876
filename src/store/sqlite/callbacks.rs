//! The outbox: what of it is due, and what became of it.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::rows;
use super::writer::Writer;
use crate::model::{JobId, Timestamp};
use crate::store::callbacks::receiver_of;
use crate::store::{Callback, CallbackState, CallbackTry, DueCallback, DueCallbacks, TryOutcome};

/// A job has ended, in this transaction: that is to be told at this URL.
pub(super) fn job_ended(conn: &Connection, job: JobId, url: &str, now: Timestamp) -> Result<()> {
    let sql = "INSERT INTO callbacks (job, receiver, next_at) VALUES (?1, ?2, ?3)
               ON CONFLICT (job) DO UPDATE SET ends = ends + 1, next_at = excluded.next_at";
    conn.prepare_cached(sql)?.execute(params![job.as_bytes(), receiver_of(url), now.0]).map(drop)
}

/// A job that had ended goes on: its last end is not told any more.
pub(super) fn job_goes_on(conn: &Connection, job: JobId) -> Result<()> {
    let sql = "UPDATE callbacks SET state = 'pending', attempts = 0, last_error = NULL, next_at = NULL WHERE job = ?1";
    conn.prepare_cached(sql)?.execute([job.as_bytes()]).map(drop)
}

/// Nothing of this job is told.
pub(super) fn drop_of(conn: &Connection, job: JobId) -> Result<()> {
    conn.prepare_cached("DELETE FROM callbacks WHERE job = ?1")?.execute([job.as_bytes()]).map(drop)
}

/// Nothing of jobs that are deleted is told.
pub(super) fn drop_deleted(conn: &Connection) -> Result<()> {
    let sql = "DELETE FROM callbacks WHERE job IN (SELECT id FROM jobs WHERE state = 'deleted')";
    conn.prepare_cached(sql)?.execute([]).map(drop)
}

pub(super) fn callback(conn: &Connection, job: JobId) -> Result<Option<Callback>> {
    let sql = "SELECT state, attempts, last_error, next_at FROM callbacks WHERE job = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        let state = rows::callback_state(row, 0)?;
        Ok(Callback { state, attempts: row.get(1)?, last_error: row.get(2)?, next_at: rows::time(row, 3)? })
    };
    conn.prepare_cached(sql)?.query_row([job.as_bytes()], read).optional()
}

/// Each receiver with something to be told costs a look-up, however much that is.
pub(super) fn due(conn: &Connection, per_receiver: u32, now: Timestamp) -> Result<DueCallbacks> {
    let (mut found, mut before) = (DueCallbacks::default(), String::new());
    while let Some((receiver, first)) = next_receiver(conn, &before)? {
        let mut next = Some(first);
        if first <= now {
            found.due.extend(due_of(conn, &receiver, per_receiver, now)?);
            next = next_of(conn, &receiver, now)?;
        }
        found.next_at = found.next_at.into_iter().chain(next).min();
        before = receiver;
    }
    found.due.sort_by_key(|callback| (callback.due_at, callback.job));
    Ok(found)
}

/// The receiver behind this one by name, and when it is to be told something.
fn next_receiver(conn: &Connection, before: &str) -> Result<Option<(String, Timestamp)>> {
    let sql = "SELECT receiver, next_at FROM callbacks WHERE next_at IS NOT NULL AND receiver > ?1
               ORDER BY receiver, next_at LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Timestamp(row.get(1)?)));
    conn.prepare_cached(sql)?.query_row([before], read).optional()
}

/// When this receiver is to be told something that is not due yet.
fn next_of(conn: &Connection, receiver: &str, now: Timestamp) -> Result<Option<Timestamp>> {
    let sql =
        "SELECT min(next_at) FROM callbacks WHERE receiver = ?1 AND next_at IS NOT NULL AND next_at > ?2";
    conn.prepare_cached(sql)?.query_row(params![receiver, now.0], |row| rows::time(row, 0))
}

fn due_of(conn: &Connection, receiver: &str, most: u32, now: Timestamp) -> Result<Vec<DueCallback>> {
    let sql = "SELECT job, ends, attempts, next_at FROM callbacks
               WHERE receiver = ?1 AND next_at IS NOT NULL AND next_at <= ?2 ORDER BY next_at LIMIT ?3";
    let mut select = conn.prepare_cached(sql)?;
    let read = select.query_map(params![receiver, now.0, most], |row| {
        let (job, due_at) = (rows::job_id(row, 0)?, Timestamp(row.get(3)?));
        let receiver = receiver.to_owned();
        Ok(DueCallback { job, end: row.get(1)?, attempts: row.get(2)?, receiver, due_at })
    })?;
    read.collect()
}

impl Writer {
    pub(super) fn note_try_if_due(&mut self, made: &CallbackTry) -> Result<()> {
        let (state, error, at) = match &made.outcome {
            TryOutcome::Delivered => (CallbackState::Delivered, None, None),
            TryOutcome::Again { error, at } => (CallbackState::Pending, Some(error), Some(at.0)),
            TryOutcome::GivenUp { error } => (CallbackState::Failed, Some(error), None),
        };
        let sql = "UPDATE callbacks SET state = ?3, attempts = attempts + 1,
                   last_error = coalesce(?4, last_error), next_at = ?5
                   WHERE job = ?1 AND ends = ?2 AND next_at IS NOT NULL";
        let values = params![made.job.as_bytes(), made.end, state.as_str(), error, at];
        self.conn.prepare_cached(sql)?.execute(values)?;
        self.changed.insert(made.job);
        Ok(())
    }
}
