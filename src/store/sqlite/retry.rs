//! What failed is run again: its tasks are queued, and its results superseded.

use rusqlite::{Result, params};

use super::payloads::{self, Kept, Kind};
use super::writer::Writer;
use super::{callbacks, read};
use crate::model::segment::{ResultBody, Used};
use crate::model::{JobId, ResultSegment};
use crate::store::Retried;

impl Writer {
    pub(super) fn retry_failed(&mut self, id: JobId) -> Result<Retried> {
        let Some(progress) = self.progress(id)? else { return Ok(Retried::Unknown) };
        if !progress.state.is_final() {
            return Ok(Retried::NotEnded(progress.state));
        }
        let mut count = 0;
        for seq in self.failed_seqs(id)? {
            count += self.requeue_failures(id, seq)?;
        }
        self.queued_at_most = None;
        let sql = "UPDATE jobs SET state = 'running', failed = failed - ?2, finished_at = NULL WHERE id = ?1";
        if count > 0 {
            callbacks::job_goes_on(&self.conn, id)?;
            self.conn.prepare_cached(sql)?.execute(params![id.as_bytes(), count as i64])?;
        }
        self.changed.insert(id);
        let job = read::job(&self.conn, id)?;
        Ok(job.map_or(Retried::Unknown, |job| Retried::Yes(Box::new(job), count as u64)))
    }

    /// The segments with failures, by their first seqs.
    fn failed_seqs(&self, id: JobId) -> Result<Vec<i64>> {
        let sql = "SELECT first_seq FROM results WHERE job = ?1 AND failed > 0 AND superseded = 0";
        self.conn.prepare_cached(sql)?.query_map([id.as_bytes()], |row| row.get(0))?.collect()
    }

    /// Splits a segment so that its failures stand alone, which are then superseded, and queues their tasks; gives how
    /// many.
    fn requeue_failures(&mut self, id: JobId, seq: i64) -> Result<usize> {
        let delete =
            format!("DELETE FROM results WHERE job = ?1 AND first_seq = ?2 RETURNING {}", read::SEGMENT);
        let values = params![id.as_bytes(), seq];
        let segment = self.conn.prepare_cached(&delete)?.query_row(values, read::read_segment)?;
        let segment = segment.filled(&self.payloads.dir).map_err(payloads::failed)?;
        let retry = "INSERT INTO retries (job, first, count, attempt, alone) VALUES (?1, ?2, ?3, ?4, ?5)";
        let runs = runs_of(&segment.failures());
        let mut next = 0;
        for (first, count) in runs.iter().copied() {
            self.insert_segment(id, &segment.part(next, first - next), false)?;
            self.insert_segment(id, &segment.part(first, count), true)?;
            let (index, attempt) = ((segment.first_index + first) as i64, segment.attempt + 1);
            let values = params![id.as_bytes(), index, count as i64, attempt, attempt > 1];
            self.conn.prepare_cached(retry)?.execute(values)?;
            next = first + count;
        }
        self.insert_segment(id, &segment.part(next, segment.count - next), false)?;
        Ok(segment.failures().len())
    }

    fn insert_segment(&mut self, id: JobId, segment: &ResultSegment, superseded: bool) -> Result<()> {
        let ResultSegment { first_seq, first_index, count, attempt, body } = segment;
        if *count == 0 {
            return Ok(());
        }
        let sql = "INSERT INTO results (job, first_seq, first_index, count, attempt, failed, superseded, worker, pid,
                   outcomes, busy_ns, cpu_ns, started_at, ended_at, lines, file, file_at, file_size)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
        let (worker, pid, outcomes, used, lines) = match body {
            ResultBody::Ran { worker, pid, outcomes, lines, used } => {
                (Some(worker), Some(pid), Some(outcomes.as_bytes()), *used, Some(lines))
            }
            ResultBody::NotRun { error } => (None, None, None, Used::default(), Some(error)),
            ResultBody::Cancelled => (None, None, None, Used::default(), None),
        };
        let mut keep = |lines| self.payloads.keep(&self.conn, id, Kind::Results, lines);
        let kept = lines.map_or(Ok(Kept::default()), |lines| keep(&lines[..]))?;
        self.conn.prepare_cached(sql)?.execute(params![
            id.as_bytes(),
            *first_seq as i64,
            *first_index as i64,
            *count as i64,
            attempt,
            segment.failures().len() as i64,
            superseded,
            worker,
            pid,
            outcomes,
            used.busy_ns as i64,
            used.cpu_ns as i64,
            used.span.map(|span| span.start.0),
            used.span.map(|span| span.end.0),
            kept.lines,
            kept.file,
            kept.at,
            kept.size,
        ])?;
        Ok(())
    }
}

/// Runs of consecutive numbers: the first and how many.
fn runs_of(numbers: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == *number => *count += 1,
            _ => runs.push((*number, 1)),
        }
    }
    runs
}
