//! What readers ask: jobs, results, and what is there to run.

use std::io;

use bytes::Bytes;
use rusqlite::types::{ToSql, Value};
use rusqlite::{Connection, OptionalExtension, Result, Row, params, params_from_iter};
use serde_json::json;

use super::payloads::{self, Lines, PayloadDir};
use super::rows;
use crate::model::job::WorkerShare;
use crate::model::segment::{ResultBody, Used};
use crate::model::{Blocked, Job, JobId, JobSpec, JobState, Outcomes, ResultSegment, Tally, Timestamp};
use crate::store::{JobFilter, Order, RunnableJob};

/// One answer holds about so many bytes of results.
const PAGE_BYTES: usize = 1 << 17;

/// The columns of a job, as [`read_job`] wants them.
const JOB: &str = "id, function, name, labels, options, state, total, succeeded, failed, cancelled,
    created_at, started_at, finished_at, cpu_ns, task_times, is_open";

pub(super) fn job(conn: &Connection, id: JobId) -> Result<Option<Job>> {
    let job = without_workers(conn, id)?;
    job.map(|job| Ok(Job { workers: workers(conn, id)?, ..job })).transpose()
}

fn without_workers(conn: &Connection, id: JobId) -> Result<Option<Job>> {
    let sql = format!("SELECT {JOB} FROM jobs WHERE id = ?1 AND state NOT IN ('staging', 'deleted')");
    conn.prepare_cached(&sql)?.query_row([id.as_bytes()], read_job).optional()
}

pub(super) fn jobs_of(conn: &Connection, ids: &[JobId]) -> Result<Vec<Job>> {
    ids.iter().filter_map(|id| without_workers(conn, *id).transpose()).collect()
}

pub(super) fn jobs(
    conn: &Connection,
    filter: &JobFilter,
    before: Option<JobId>,
    limit: u32,
) -> Result<Vec<Job>> {
    // Most jobs succeed: those of another state are few, and are looked through for a label; else its own jobs are.
    let by_label = filter.label.is_some() && matches!(filter.state, None | Some(JobState::Succeeded));
    let (from, id) =
        if by_label { ("job_labels CROSS JOIN jobs ON id = job", "job") } else { ("jobs", "id") };
    let mut sql = format!("SELECT {JOB} FROM {from} WHERE state NOT IN ('staging', 'deleted')");
    let mut values: Vec<Value> = Vec::new();
    let mut and = |condition: &str, value: Value| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.push(value);
    };
    if let Some(before) = before {
        and(&format!("{id} < ?"), before.as_bytes().to_vec().into());
    }
    if let Some(state) = filter.state {
        and("state = ?", state.as_str().to_owned().into());
    }
    if let Some(function) = &filter.function {
        and("function = ?", function.clone().into());
    }
    if let Some((key, value)) = &filter.label {
        let begin = if by_label { "" } else { "EXISTS (SELECT 1 FROM job_labels WHERE job = id AND " };
        and(&format!("{begin}key = ?"), key.clone().into());
        and(if by_label { "value = ?" } else { "value = ?)" }, value.clone().into());
    }
    sql.extend([" ORDER BY ", id, " DESC LIMIT ?"]);
    values.push(limit.into());
    conn.prepare_cached(&sql)?.query_map(params_from_iter(values), read_job)?.collect()
}

fn read_job(row: &Row<'_>) -> Result<Job> {
    let spec = JobSpec {
        function: row.get(1)?,
        name: row.get(2)?,
        labels: rows::from_json(row, 3)?,
        options: rows::from_json(row, 4)?,
    };
    let (total, succeeded) = (rows::u64(row, 6)?, rows::u64(row, 7)?);
    let tally = Tally { total, succeeded, failed: rows::u64(row, 8)?, cancelled: rows::u64(row, 9)? };
    Ok(Job {
        id: rows::job_id(row, 0)?,
        spec,
        state: rows::state(row, 5)?,
        open: row.get(15)?,
        tally,
        created_at: Timestamp(row.get(10)?),
        started_at: rows::time(row, 11)?,
        finished_at: rows::time(row, 12)?,
        cpu_ns: rows::u64(row, 13)?,
        task_times: rows::histogram(row, 14)?,
        workers: Vec::new(),
    })
}

fn workers(conn: &Connection, id: JobId) -> Result<Vec<WorkerShare>> {
    let sql =
        "SELECT worker, node, pid, tasks, busy_ns, cpu_ns, max_rss_bytes FROM job_workers WHERE job = ?1
               ORDER BY node, length(worker), worker, pid";
    let mut select = conn.prepare_cached(sql)?;
    let read = select.query_map([id.as_bytes()], |row| {
        Ok(WorkerShare {
            worker: row.get(0)?,
            node: row.get(1)?,
            pid: row.get(2)?,
            tasks: rows::u64(row, 3)?,
            busy_ns: rows::u64(row, 4)?,
            cpu_ns: rows::u64(row, 5)?,
            max_rss_bytes: rows::u64(row, 6)?,
        })
    })?;
    read.collect()
}

pub(super) fn results(
    conn: &Connection,
    dir: &PayloadDir,
    id: JobId,
    order: Order,
    after: u64,
    limit: u64,
) -> Result<Vec<ResultSegment>> {
    let look = || -> Result<io::Result<Vec<ResultSegment>>> {
        let found = find_results(conn, id, order, after, limit)?;
        Ok(found.into_iter().map(|segment| segment.filled(dir)).collect())
    };
    match look()? {
        // They have been freed since the rows were read; now these are gone as well.
        Err(error) if error.kind() == io::ErrorKind::NotFound => look()?,
        outcome => outcome,
    }
    .map_err(payloads::failed)
}

fn find_results(
    conn: &Connection,
    id: JobId,
    order: Order,
    after: u64,
    limit: u64,
) -> Result<Vec<FoundSegment>> {
    // The column that the order runs by, and the value in it of the first result wanted.
    let (column, condition, from) = match order {
        Order::Completion => ("first_seq", "", after.saturating_add(1)),
        Order::Input => ("first_index", "AND superseded = 0", after),
        Order::Failed => ("first_seq", "AND failed > 0 AND superseded = 0", after.saturating_add(1)),
    };
    let sql = format!(
        "SELECT {SEGMENT} FROM results
         WHERE job = ?1 {condition} AND {column} >= coalesce(
             (SELECT max({column}) FROM results WHERE job = ?1 {condition} AND {column} <= ?2), ?2)
         ORDER BY {column}"
    );
    let mut select = conn.prepare_cached(&sql)?;
    let mut found = select.query(params![id.as_bytes(), i64::try_from(from).unwrap_or(i64::MAX)])?;
    let (mut segments, mut next, mut bytes) = (Vec::new(), from, 0);
    while let Some(row) = found.next()? {
        let found = read_segment(row)?;
        let segment = &found.segment;
        let first = if order == Order::Input { segment.first_index } else { segment.first_seq };
        if first > next && order != Order::Failed {
            break;
        }
        let end = first + segment.count;
        if end <= from {
            continue;
        }
        bytes += found.lines.as_ref().map_or(0, Lines::size);
        next = end;
        segments.push(found);
        // A segment of failures has one at least.
        let has = if order == Order::Failed { segments.len() as u64 } else { next - from };
        if has >= limit || bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(segments)
}

/// The columns of a result segment, as [`read_segment`] wants them.
pub(super) const SEGMENT: &str =
    "first_seq, first_index, count, attempt, worker, pid, outcomes, busy_ns, cpu_ns, lines, file,
    file_at, file_size, started_at, ended_at";

/// A result segment whose lines may still be in a file.
pub(super) struct FoundSegment {
    segment: ResultSegment,
    lines: Option<Lines>,
}

impl FoundSegment {
    /// The segment with its lines.
    pub(super) fn filled(self, dir: &PayloadDir) -> io::Result<ResultSegment> {
        let (mut segment, found) = (self.segment, self.lines);
        let found = found.map(|lines| dir.lines(lines)).transpose()?;
        match (&mut segment.body, found) {
            (ResultBody::Ran { lines, .. } | ResultBody::NotRun { error: lines }, Some(found)) => {
                *lines = found
            }
            (ResultBody::Ran { .. } | ResultBody::NotRun { .. } | ResultBody::Cancelled, _) => {}
        }
        Ok(segment)
    }
}

pub(super) fn read_segment(row: &Row<'_>) -> Result<FoundSegment> {
    let lines = Lines::read(row, 9)?;
    let body = match (row.get::<_, Option<String>>(4)?, &lines) {
        (Some(worker), _) => ResultBody::Ran {
            worker,
            pid: row.get(5)?,
            outcomes: Outcomes::from_bytes(row.get(6)?),
            lines: Bytes::new(),
            used: Used {
                span: rows::span(row, 13)?,
                busy_ns: rows::u64(row, 7)?,
                cpu_ns: rows::u64(row, 8)?,
            },
        },
        (None, Some(_)) => ResultBody::NotRun { error: Bytes::new() },
        (None, None) => ResultBody::Cancelled,
    };
    let (first_seq, first_index, count) = (rows::u64(row, 0)?, rows::u64(row, 1)?, rows::u64(row, 2)?);
    let segment = ResultSegment { first_seq, first_index, count, attempt: row.get(3)?, body };
    Ok(FoundSegment { segment, lines })
}

pub(super) fn freed_through(conn: &Connection, id: JobId) -> Result<u64> {
    let sql = "SELECT freed_through FROM jobs WHERE id = ?1";
    let found = conn.prepare_cached(sql)?.query_row([id.as_bytes()], |row| rows::u64(row, 0)).optional()?;
    Ok(found.unwrap_or(0))
}

pub(super) fn runnable(
    conn: &Connection,
    after: Option<(i32, JobId)>,
    without: &Blocked,
    limit: u32,
) -> Result<Vec<RunnableJob>> {
    let unclaimed = "total - next_index +
        (SELECT coalesce(sum(count), 0) FROM retries WHERE retries.job = jobs.id)";
    let behind =
        if after.is_some() { "AND (priority < :priority OR priority = :priority AND id > :id)" } else { "" };
    let blocked = "AND function NOT IN (SELECT value FROM json_each(:functions))
        AND coalesce(options ->> '$.lock', '') NOT IN (SELECT value FROM json_each(:locks))";
    let free = if without.is_empty() { "" } else { blocked };
    let sql = format!(
        "SELECT id, function, name, labels, options, {unclaimed}, iif(state = 'queued', created_at, NULL) FROM jobs
         WHERE state IN ('{}', '{}') {behind} {free}
         AND (total > next_index OR EXISTS (SELECT 1 FROM retries WHERE retries.job = jobs.id)) ORDER BY priority DESC, id LIMIT :limit",
        JobState::Queued,
        JobState::Running
    );
    let read = |row: &Row<'_>| {
        let (labels, options) = (rows::from_json(row, 3)?, rows::from_json(row, 4)?);
        let spec = JobSpec { function: row.get(1)?, name: row.get(2)?, labels, options };
        let (id, unclaimed, queued_since) = (rows::job_id(row, 0)?, rows::u64(row, 5)?, rows::time(row, 6)?);
        Ok(RunnableJob { id, spec, unclaimed, queued_since, leased: None })
    };
    let mut values: Vec<(&str, &dyn ToSql)> = vec![(":limit", &limit)];
    let key = after.as_ref().map(|(priority, id)| (priority, id.as_bytes().as_slice()));
    if let Some((priority, id)) = &key {
        values.extend([(":priority", priority as &dyn ToSql), (":id", id)]);
    }
    let locks: Vec<String> = without.locks.iter().map(|lock| json!(lock).to_string()).collect();
    let (functions, locks) = (json!(without.functions).to_string(), json!(locks).to_string());
    if !without.is_empty() {
        values.extend([(":functions", &functions as &dyn ToSql), (":locks", &locks)]);
    }
    conn.prepare_cached(&sql)?.query_map(&values[..], read)?.collect()
}
