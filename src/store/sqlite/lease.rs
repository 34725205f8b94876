//! Chunks go out under leases and come back as results, or go back to the queue.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{OptionalExtension, Result, params};

use super::payloads::Kind;
use super::rows::{self, Progress};
use super::running::Held;
use super::writer::Writer;
use crate::model::{JobId, JobState, LeaseId, OnError, Timestamp};
use crate::store::{Chunk, Claim, Claimed, Completion, Receipt, Release, Requeue};

/// A claim takes no more chunks once their inputs have so many bytes.
const CLAIM_BYTES: usize = 1 << 20;

/// Consecutive tasks that wait for another run.
struct Retry {
    first: u64,
    count: u32,
    attempt: u32,
    alone: bool,
}

impl Writer {
    pub(super) fn claim(&mut self, claim: Claim, now: Timestamp) -> Result<Claimed> {
        let Some(mut progress) = self.progress(claim.job)?.filter(|progress| !progress.state.is_final())
        else {
            return Ok(Claimed { ended: true, ..Claimed::default() });
        };
        if !progress.state.is_runnable() {
            return Ok(Claimed::default());
        }
        let (backwards, next_index) = (claim.backwards && !progress.is_open, progress.next_index);
        if backwards {
            self.queue_rest(claim.job, &mut progress)?;
        }
        let may_retry = backwards || self.running.may_retry(claim.job);
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut bytes = 0;
        while chunks.len() < claim.chunks as usize && bytes < CLAIM_BYTES {
            let again = if may_retry { self.claim_retry(claim, backwards, now)? } else { None };
            let next = match again {
                Some(chunk) => Some(chunk),
                None => self.claim_next(claim, &mut progress)?,
            };
            let Some(chunk) = next else { break };
            bytes += chunk.inputs.len();
            chunks.push(chunk);
        }
        let (due, later) = if may_retry { self.waiting_retries(claim.job, now)? } else { (0, None) };
        let unclaimed = progress.total - progress.next_index + due;
        if !chunks.is_empty() || progress.next_index > next_index {
            self.note_claim(claim.job, progress, now);
        }
        Ok(Claimed { chunks, unclaimed, later, ended: false })
    }

    /// Has the tasks behind the cursor, which moves on, taken from the end on.
    fn queue_rest(&mut self, job: JobId, progress: &mut Progress) -> Result<()> {
        let left = progress.total - progress.next_index;
        if left > 0 {
            let sql = "INSERT INTO retries (job, first, count, attempt, alone) VALUES (?1, ?2, ?3, 1, 0)";
            let values = params![job.as_bytes(), progress.next_index as i64, left as i64];
            self.conn.prepare_cached(sql)?.execute(values)?;
            progress.next_index = progress.total;
            self.running.note_retry();
        }
        Ok(())
    }

    /// Leases tasks that wait for another run, or the last ones of those that wait.
    fn claim_retry(&mut self, claim: Claim, backwards: bool, now: Timestamp) -> Result<Option<Chunk>> {
        let sql = if backwards {
            "SELECT first, count, attempt, alone FROM retries WHERE job = ?1 AND not_before <= ?2
             ORDER BY first DESC LIMIT 1"
        } else {
            "SELECT first, count, attempt, alone FROM retries WHERE job = ?1 AND not_before <= ?2
             ORDER BY first LIMIT 1"
        };
        let mut select = self.conn.prepare_cached(sql)?;
        let row = select.query_row(params![claim.job.as_bytes(), now.0], |row| {
            let (first, count) = (rows::u64(row, 0)?, row.get(1)?);
            Ok(Retry { first, count, attempt: row.get(2)?, alone: row.get(3)? })
        });
        let Some(retry) = row.optional()? else { return Ok(None) };
        drop(select);
        // From the end on each alone, as where a segment begins is not known here.
        let most = if retry.alone || backwards { 1 } else { retry.count.min(claim.max_tasks) };
        let first = if backwards { retry.first + u64::from(retry.count) - 1 } else { retry.first };
        let Some(chunk) = self.lease(claim.job, first, most, retry.attempt)? else { return Ok(None) };
        let rest = retry.count - chunk.count;
        let sql = "UPDATE retries SET first = first + ?3, count = ?4 WHERE job = ?1 AND first = ?2";
        let sql = if rest == 0 { "DELETE FROM retries WHERE job = ?1 AND first = ?2" } else { sql };
        let mut update = self.conn.prepare_cached(sql)?;
        let (job, first) = (claim.job.as_bytes(), retry.first as i64);
        if rest == 0 {
            update.execute(params![job, first])?;
        } else {
            let moved = if backwards { 0 } else { chunk.count };
            update.execute(params![job, first, moved, rest])?;
        }
        Ok(Some(chunk))
    }

    fn claim_next(&mut self, claim: Claim, progress: &mut Progress) -> Result<Option<Chunk>> {
        let left = progress.total - progress.next_index;
        if left == 0 {
            return Ok(None);
        }
        let most = left.min(u64::from(claim.max_tasks)) as u32;
        let chunk = self.lease(claim.job, progress.next_index, most, 1)?;
        progress.next_index += chunk.as_ref().map_or(0, |chunk| u64::from(chunk.count));
        Ok(chunk)
    }

    /// Leases up to `most` tasks from `first` on, as far as their segment goes.
    fn lease(&mut self, job: JobId, first: u64, most: u32, attempt: u32) -> Result<Option<Chunk>> {
        let Some(segment) = self.segment(job, first)? else { return Ok(None) };
        let count = most.min(segment.left_from(first));
        let inputs = segment.cut(first, count);
        // Counted here and not by the database: a number must not come again, even if this transaction is undone.
        self.last_lease += 1;
        let lease = LeaseId(self.last_lease);
        self.running.note_lease(lease, Some(Held { job, first, count, attempt }));
        Ok(Some(Chunk { lease, job, first, count, attempt, inputs }))
    }

    /// How many tasks may be tried again now, and after how long others may.
    fn waiting_retries(&self, job: JobId, now: Timestamp) -> Result<(u64, Option<Duration>)> {
        let sql = "SELECT coalesce(sum(count) FILTER (WHERE not_before <= ?2), 0),
                          min(not_before) FILTER (WHERE not_before > ?2) FROM retries WHERE job = ?1";
        self.conn.prepare_cached(sql)?.query_row(params![job.as_bytes(), now.0], |row| {
            Ok((rows::u64(row, 0)?, rows::time(row, 1)?.map(|at| at.since(now))))
        })
    }

    fn note_claim(&mut self, job: JobId, mut progress: Progress, now: Timestamp) {
        if progress.state == JobState::Queued {
            progress.state = JobState::Running;
            progress.started_at.get_or_insert(now);
            self.changed.insert(job);
        }
        self.running.note(job, progress, None, None);
    }

    pub(super) fn complete_if_leased(&mut self, done: &Arc<Completion>, now: Timestamp) -> Result<Receipt> {
        let count = done.outcomes.count();
        if !self.shrink_lease(done.lease, done.first, count)? {
            return self.stale(done.job);
        }
        let Some(mut progress) = self.progress(done.job)? else { return self.stale(done.job) };
        self.insert_results(done, &progress)?;
        let failed = u64::from(done.outcomes.failed());
        progress.next_seq += u64::from(count);
        progress.tally.failed += failed;
        progress.cpu_ns += done.cpu_ns;
        progress.tally.succeeded += u64::from(count) - failed;
        progress.task_times.merge(&done.task_times);
        if failed > 0 && progress.on_error == OnError::Stop && progress.state.is_runnable() {
            self.cancel_unleased(done.job, &mut progress)?;
        }
        Ok(self.note(done.job, progress, Some(done), now))
    }

    fn insert_results(&mut self, done: &Completion, progress: &Progress) -> Result<()> {
        let sql = "INSERT INTO results
                   (job, first_seq, first_index, count, attempt, worker, pid, outcomes, failed, busy_ns, cpu_ns,
                   started_at, ended_at, lines, file, file_at, file_size)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
        let kept = self.payloads.keep(&self.conn, done.job, Kind::Results, &done.lines)?;
        self.conn.prepare_cached(sql)?.execute(params![
            done.job.as_bytes(),
            progress.next_seq as i64,
            done.first as i64,
            done.outcomes.count(),
            done.attempt,
            done.worker,
            done.pid,
            done.outcomes.as_bytes(),
            done.outcomes.failed(),
            done.busy_ns as i64,
            done.cpu_ns as i64,
            done.span.start.0,
            done.span.end.0,
            kept.lines,
            kept.file,
            kept.at,
            kept.size,
        ])?;
        Ok(())
    }

    pub(super) fn release_if_leased(&mut self, release: Release, now: Timestamp) -> Result<Receipt> {
        let attempt = self.attempt_of(release.lease)?;
        let Release { lease, first, count, .. } = release;
        if !self.shrink_lease(lease, first, count)? && !self.cut_lease(lease, first, count)? {
            return self.stale(release.job);
        }
        let Some(mut progress) = self.progress(release.job)? else { return self.stale(release.job) };
        if progress.state == JobState::Cancelling {
            let count = u64::from(release.count);
            rows::insert_cancelled(&self.conn, release.job, release.first, count, &mut progress)?;
        } else {
            let (attempt, alone) = match release.how {
                Requeue::AsBefore => (attempt, attempt > 1),
                Requeue::Alone => (attempt, true),
                Requeue::Charged => (attempt + 1, true),
            };
            let sql = "INSERT INTO retries (job, first, count, attempt, alone, not_before)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let not_before =
                if release.delay.is_zero() { 0 } else { now.0 + release.delay.as_micros() as i64 };
            let (job, first) = (release.job.as_bytes(), release.first as i64);
            let values = params![job, first, release.count, attempt, alone, not_before];
            self.conn.prepare_cached(sql)?.execute(values)?;
            self.running.note_retry();
        }
        Ok(self.note(release.job, progress, None, now))
    }

    fn attempt_of(&self, lease: LeaseId) -> Result<u32> {
        if let Some(held) = self.running.lease(lease) {
            return Ok(held.attempt);
        }
        let sql = "SELECT attempt FROM leases WHERE id = ?1";
        let attempt = self.conn.prepare_cached(sql)?.query_row([lease.0 as i64], |row| row.get(0));
        Ok(attempt.optional()?.unwrap_or(1))
    }

    /// Takes the next `count` tasks out of the lease; `false` if it does not hold them, for this epoch.
    fn shrink_lease(&mut self, lease: LeaseId, first: u64, count: u32) -> Result<bool> {
        if let Some(held) = self.running.lease(lease) {
            let holds = held.first == first && held.count >= count;
            if holds {
                let rest = Held { first: first + u64::from(count), count: held.count - count, ..held };
                self.running.note_lease(lease, Some(rest).filter(|rest| rest.count > 0));
            }
            return Ok(holds);
        }
        let values = params![lease.0 as i64, self.epoch.0 as i64, first as i64, count];
        let sql = "DELETE FROM leases WHERE id = ?1 AND epoch = ?2 AND first = ?3 AND count = ?4";
        if self.conn.prepare_cached(sql)?.execute(values)? == 1 {
            return Ok(true);
        }
        let sql = "UPDATE leases SET first = first + ?4, count = count - ?4
                   WHERE id = ?1 AND epoch = ?2 AND first = ?3 AND count > ?4";
        Ok(self.conn.prepare_cached(sql)?.execute(values)? == 1)
    }

    /// Takes the last `count` tasks, from `first` on, off the lease; `false` if it does not end with them.
    fn cut_lease(&mut self, lease: LeaseId, first: u64, count: u32) -> Result<bool> {
        if let Some(held) = self.running.lease(lease) {
            let holds = held.first + u64::from(held.count) == first + u64::from(count) && held.count > count;
            if holds {
                self.running.note_lease(lease, Some(Held { count: held.count - count, ..held }));
            }
            return Ok(holds);
        }
        let sql = "UPDATE leases SET count = count - ?4
                   WHERE id = ?1 AND epoch = ?2 AND first + count = ?3 + ?4 AND count > ?4";
        let values = params![lease.0 as i64, self.epoch.0 as i64, first as i64, count];
        Ok(self.conn.prepare_cached(sql)?.execute(values)? == 1)
    }

    fn stale(&self, job: JobId) -> Result<Receipt> {
        Ok(Receipt { held: false, state: self.progress(job)?.map(|progress| progress.state) })
    }

    /// Notes the counts, and what of them a worker did; a job whose every task has its outcome ends.
    fn note(
        &mut self,
        job: JobId,
        mut progress: Progress,
        done: Option<&Arc<Completion>>,
        now: Timestamp,
    ) -> Receipt {
        let ended = self.end_if_complete(job, &mut progress).then_some(now);
        let state = progress.state;
        self.running.note(job, progress, ended, done);
        Receipt { held: true, state: Some(state) }
    }

    /// Keeps the counts in the job's row; a job whose every task has its outcome ends.
    pub(super) fn save(&mut self, job: JobId, mut progress: Progress, now: Timestamp) -> Result<Receipt> {
        let ended = self.end_if_complete(job, &mut progress).then_some(now);
        rows::save(&self.conn, job, &progress, ended)?;
        Ok(Receipt { held: true, state: Some(progress.state) })
    }

    fn end_if_complete(&mut self, job: JobId, progress: &mut Progress) -> bool {
        self.changed.insert(job);
        let ended = progress.is_complete() && !progress.state.is_final();
        if ended {
            progress.state = progress.tally.final_state(progress.on_error);
            self.hurry = true;
            self.awaited.remove(&job);
            self.to_be_told += u32::from(progress.callback_url.is_some());
            self.payloads.no_more(job, Kind::Results);
        }
        ended
    }

    pub(super) fn progress(&self, job: JobId) -> Result<Option<Progress>> {
        if let Some(progress) = self.running.progress(job) {
            return Ok(Some(progress.clone()));
        }
        self.conn.prepare_cached(Progress::SELECT)?.query_row([job.as_bytes()], Progress::read).optional()
    }
}
