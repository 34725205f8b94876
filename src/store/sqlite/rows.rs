//! Rows to nouns and back.

use rusqlite::types::Type;
use rusqlite::{Connection, Error, Result, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::callbacks;
use crate::model::{Histogram, JobId, JobOptions, JobSpec, JobState, OnError, Span, Tally, Timestamp};
use crate::store::{CallbackState, Intake, NewJob};

/// What a write must know of its job.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) state: JobState,
    pub(super) started_at: Option<Timestamp>,
    pub(super) on_error: OnError,
    pub(super) tally: Tally,
    pub(super) total: u64,
    pub(super) next_index: u64,
    pub(super) next_seq: u64,
    pub(super) cpu_ns: u64,
    pub(super) task_times: Histogram,
    pub(super) is_open: bool,
    pub(super) callback_url: Option<String>,
}

impl Progress {
    /// Whether nothing is left to do, and nothing more can come.
    pub(super) fn is_complete(&self) -> bool {
        let takes_more = self.is_open && self.state != JobState::Cancelling;
        self.tally.done() == self.tally.total && !takes_more
    }
}

impl Progress {
    /// That of a new job in this state.
    pub(super) fn new(job: &NewJob, state: JobState) -> Self {
        let options = &job.spec.options;
        Self {
            state,
            started_at: None,
            on_error: options.on_error,
            tally: Tally { total: job.total, ..Tally::default() },
            total: job.total,
            next_index: 0,
            next_seq: 1,
            cpu_ns: 0,
            task_times: Histogram::default(),
            is_open: job.intake.is_open(),
            callback_url: options.callback_url.clone(),
        }
    }

    pub(super) const SELECT: &str = "SELECT state, options, total, succeeded, failed, cancelled, next_index,
        next_seq, cpu_ns, task_times, is_open, started_at FROM jobs WHERE id = ?1 AND state NOT IN ('staging', 'deleted')";

    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        let tally = Tally {
            total: u64(row, 2)?,
            succeeded: u64(row, 3)?,
            failed: u64(row, 4)?,
            cancelled: u64(row, 5)?,
        };
        let options: JobOptions = from_json(row, 1)?;
        Ok(Self {
            state: state(row, 0)?,
            on_error: options.on_error,
            callback_url: options.callback_url,
            tally,
            total: tally.total,
            next_index: u64(row, 6)?,
            next_seq: u64(row, 7)?,
            cpu_ns: u64(row, 8)?,
            task_times: histogram(row, 9)?,
            is_open: row.get(10)?,
            started_at: time(row, 11)?,
        })
    }
}

/// How the column `is_open` says it.
pub(super) fn intake(intake: Intake) -> i64 {
    match intake {
        Intake::Closed => 0,
        Intake::Open => 1,
        Intake::Streamed => 2,
    }
}

/// What the row of a new job says besides its progress.
#[derive(Debug)]
pub(super) struct NewRow {
    pub(super) spec: JobSpec,
    pub(super) intake: Intake,
    pub(super) created_at: Timestamp,
    pub(super) input_bytes: u64,
}

/// Adds a job; what has ended is to be told. `OR FAIL`, here and in [`save`], as SQLite would otherwise copy each page for the case
/// that a trigger fails: then all of the transaction is undone.
pub(super) fn insert(
    conn: &Connection,
    job: JobId,
    new: &NewRow,
    progress: &Progress,
    ended: Option<Timestamp>,
) -> Result<()> {
    let sql = "INSERT OR FAIL INTO jobs
               (id, function, name, labels, options, priority, state, total, is_open, next_index, next_seq, succeeded,
               failed, cancelled, created_at, started_at, finished_at, cpu_ns, task_times, input_bytes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
    let NewRow { spec, created_at, input_bytes, .. } = new;
    conn.prepare_cached(sql)?.execute(params![
        job.as_bytes(),
        spec.function,
        spec.name,
        to_json(&spec.labels),
        to_json(&spec.options),
        spec.options.priority,
        progress.state.as_str(),
        progress.total as i64,
        intake(new.intake),
        progress.next_index as i64,
        progress.next_seq as i64,
        progress.tally.succeeded as i64,
        progress.tally.failed as i64,
        progress.tally.cancelled as i64,
        created_at.0,
        progress.started_at.map(|at| at.0),
        ended.map(|at| at.0),
        progress.cpu_ns as i64,
        progress.task_times.to_bytes(),
        *input_bytes as i64,
    ])?;
    tell_of_end(conn, job, progress, ended)
}

/// Keeps the counts and the state; what has ended is to be told.
pub(super) fn save(
    conn: &Connection,
    job: JobId,
    progress: &Progress,
    ended: Option<Timestamp>,
) -> Result<()> {
    let sql = "UPDATE OR FAIL jobs SET state = ?2, next_index = ?3, next_seq = ?4, succeeded = ?5, failed = ?6,
               cancelled = ?7, cpu_ns = ?8, task_times = ?9, finished_at = coalesce(finished_at, ?10), started_at = ?11 WHERE id = ?1";
    conn.prepare_cached(sql)?.execute(params![
        job.as_bytes(),
        progress.state.as_str(),
        progress.next_index as i64,
        progress.next_seq as i64,
        progress.tally.succeeded as i64,
        progress.tally.failed as i64,
        progress.tally.cancelled as i64,
        progress.cpu_ns as i64,
        progress.task_times.to_bytes(),
        ended.map(|at| at.0),
        progress.started_at.map(|at| at.0),
    ])?;
    tell_of_end(conn, job, progress, ended)
}

fn tell_of_end(conn: &Connection, job: JobId, progress: &Progress, ended: Option<Timestamp>) -> Result<()> {
    match (&progress.callback_url, ended) {
        (Some(url), Some(now)) => callbacks::job_ended(conn, job, url, now),
        _ => Ok(()),
    }
}

/// Adds a segment of cancelled tasks.
pub(super) fn insert_cancelled(
    conn: &Connection,
    job: JobId,
    first: u64,
    count: u64,
    progress: &mut Progress,
) -> Result<()> {
    let sql = "INSERT INTO results (job, first_seq, first_index, count, attempt, failed) VALUES (?1, ?2, ?3, ?4, 0, 0)";
    let values = params![job.as_bytes(), progress.next_seq as i64, first as i64, count as i64];
    conn.prepare_cached(sql)?.execute(values)?;
    progress.next_seq += count;
    progress.tally.cancelled += count;
    Ok(())
}

/// Adds a segment of tasks that failed without having run.
pub(super) fn insert_not_run(
    conn: &Connection,
    job: JobId,
    first: u64,
    count: u64,
    error: &[u8],
    progress: &mut Progress,
) -> Result<()> {
    let sql = "INSERT INTO results (job, first_seq, first_index, count, attempt, failed, lines)
               VALUES (?1, ?2, ?3, ?4, 0, ?4, ?5)";
    let values = params![job.as_bytes(), progress.next_seq as i64, first as i64, count as i64, error];
    conn.prepare_cached(sql)?.execute(values)?;
    progress.next_seq += count;
    progress.tally.failed += count;
    Ok(())
}

/// SQLite's integers are signed; what we keep in them never is.
pub(super) fn u64(row: &Row<'_>, at: usize) -> Result<u64> {
    let number: i64 = row.get(at)?;
    u64::try_from(number).map_err(|_| Error::IntegralValueOutOfRange(at, number))
}

pub(super) fn job_id(row: &Row<'_>, at: usize) -> Result<JobId> {
    row.get(at).map(JobId::from_bytes)
}

pub(super) fn time(row: &Row<'_>, at: usize) -> Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(at)?.map(Timestamp))
}

/// A span in this column and the next, if it is known.
pub(super) fn span(row: &Row<'_>, at: usize) -> Result<Option<Span>> {
    let (start, end) = (time(row, at)?, time(row, at + 1)?);
    Ok(start.zip(end).map(|(start, end)| Span { start, end }))
}

pub(super) fn state(row: &Row<'_>, at: usize) -> Result<JobState> {
    let text = row.get_ref(at)?.as_str()?;
    let known = JobState::ALL.into_iter().find(|state| state.as_str() == text);
    known.ok_or_else(|| bad_value(at, format!("unknown state {text:?}")))
}

pub(super) fn callback_state(row: &Row<'_>, at: usize) -> Result<CallbackState> {
    let text = row.get_ref(at)?.as_str()?;
    let known = CallbackState::ALL.into_iter().find(|state| state.as_str() == text);
    known.ok_or_else(|| bad_value(at, format!("unknown state {text:?}")))
}

pub(super) fn histogram(row: &Row<'_>, at: usize) -> Result<Histogram> {
    Histogram::from_bytes(row.get_ref(at)?.as_blob()?).ok_or_else(|| bad_value(at, "no histogram".into()))
}

pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, at: usize) -> Result<T> {
    let text = row.get_ref(at)?.as_str()?;
    serde_json::from_str(text).map_err(|error| bad_value(at, error.to_string()))
}

pub(super) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain options and string maps always serialise")
}

fn bad_value(at: usize, why: String) -> Error {
    Error::FromSqlConversionFailure(at, Type::Text, why.into())
}
