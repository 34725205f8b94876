//! What workers ended and when, without payload.

use rusqlite::{Connection, Result, params};

use super::rows;
use crate::model::{JobId, Outcomes};
use crate::store::Run;

/// One answer has so many runs at most, and ends when their outcomes have so many bytes.
const PAGE_RUNS: usize = 256;
const PAGE_BYTES: usize = 1 << 16;

pub(super) fn runs(conn: &Connection, id: JobId, after: u64) -> Result<Vec<Run>> {
    let sql =
        "SELECT first_seq, first_index, attempt, worker, pid, outcomes, started_at, ended_at FROM results
               WHERE job = ?1 AND first_seq > ?2 AND worker IS NOT NULL ORDER BY first_seq";
    let mut select = conn.prepare_cached(sql)?;
    let mut found = select.query(params![id.as_bytes(), i64::try_from(after).unwrap_or(i64::MAX)])?;
    let (mut runs, mut bytes) = (Vec::new(), 0);
    while runs.len() < PAGE_RUNS
        && bytes < PAGE_BYTES
        && let Some(row) = found.next()?
    {
        // Those of an earlier version have no times.
        let Some(span) = rows::span(row, 6)? else { continue };
        let outcomes = Outcomes::from_bytes(row.get(5)?);
        bytes += outcomes.as_bytes().len();
        runs.push(Run {
            first_seq: rows::u64(row, 0)?,
            first_index: rows::u64(row, 1)?,
            attempt: row.get(2)?,
            worker: row.get(3)?,
            pid: row.get(4)?,
            outcomes,
            span,
        });
    }
    Ok(runs)
}
