//! What tasks printed: written, up to a bound for each job, and read.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::rows;
use super::writer::Writer;
use crate::model::{JobId, Timestamp};
use crate::store::{LogEntry, LogFilter, LogPage, MAX_LOG_BYTES};

impl Writer {
    pub(super) fn append_logs(&mut self, id: JobId, entries: &[LogEntry]) -> Result<()> {
        let sql = "SELECT next_log, log_bytes, dropped_log_bytes FROM jobs WHERE id = ?1";
        let row = self.conn.prepare_cached(sql)?.query_row([id.as_bytes()], |row| {
            Ok((rows::u64(row, 0)?, rows::u64(row, 1)?, rows::u64(row, 2)?))
        });
        let Some((mut seq, mut bytes, mut dropped)) = row.optional()? else { return Ok(()) };
        let sql = "INSERT INTO logs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        for entry in entries {
            let LogEntry { at, index, attempt, worker, pid, stream, text, dropped_bytes, .. } = entry;
            let (index, lost) = (*index as i64, *dropped_bytes as i64);
            let values =
                params![id.as_bytes(), seq as i64, at.0, index, attempt, worker, pid, stream, text, lost];
            self.conn.prepare_cached(sql)?.execute(values)?;
            (seq, bytes) = (seq + 1, bytes + text.len() as u64);
        }
        while bytes > MAX_LOG_BYTES {
            let sql = "DELETE FROM logs WHERE job = ?1 AND seq = (SELECT min(seq) FROM logs WHERE job = ?1)
                       RETURNING length(CAST(text AS BLOB))";
            let length =
                self.conn.prepare_cached(sql)?.query_row([id.as_bytes()], |row| rows::u64(row, 0))?;
            (bytes, dropped) = (bytes.saturating_sub(length), dropped + length);
        }
        let sql = "UPDATE jobs SET next_log = ?2, log_bytes = ?3, dropped_log_bytes = ?4 WHERE id = ?1";
        let values = params![id.as_bytes(), seq as i64, bytes as i64, dropped as i64];
        self.conn.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }
}

pub(super) fn logs(conn: &Connection, id: JobId, filter: LogFilter) -> Result<LogPage> {
    let sql = "SELECT dropped_log_bytes FROM jobs WHERE id = ?1";
    let dropped = conn.prepare_cached(sql)?.query_row([id.as_bytes()], |row| rows::u64(row, 0)).optional()?;
    let sql = "SELECT seq, at, task, attempt, worker, pid, stream, text, dropped_bytes FROM logs
               WHERE job = ?1 AND seq > ?2 AND (?3 IS NULL OR task = ?3) ORDER BY seq LIMIT ?4";
    let after = i64::try_from(filter.after).unwrap_or(i64::MAX);
    let index = filter.index.map(|index| i64::try_from(index).unwrap_or(i64::MAX));
    let values = params![id.as_bytes(), after, index, filter.limit];
    let entries = conn.prepare_cached(sql)?.query_map(values, read_log)?.collect::<Result<_>>()?;
    Ok(LogPage { entries, dropped_bytes: dropped.unwrap_or(0) })
}

fn read_log(row: &Row<'_>) -> Result<LogEntry> {
    Ok(LogEntry {
        seq: rows::u64(row, 0)?,
        at: Timestamp(row.get(1)?),
        index: rows::u64(row, 2)?,
        attempt: row.get(3)?,
        worker: row.get(4)?,
        pid: row.get(5)?,
        stream: row.get(6)?,
        text: row.get(7)?,
        dropped_bytes: rows::u64(row, 8)?,
    })
}
