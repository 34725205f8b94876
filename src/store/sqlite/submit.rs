//! Inputs come in: staged in parts, then accepted with their job.

use std::collections::VecDeque;

use bytes::Bytes;
use rusqlite::{OptionalExtension, Result, params};

use super::payloads::{self, Kind, Lines};
use super::rows::{NewRow, Progress};
use super::running::Awaited;
use super::writer::{Writer, full};
use super::{read, rows};
use crate::model::{Histogram, InputSegment, Job, JobId, JobState, OnError, Tally, Timestamp};
use crate::store::{Appended, IdempotencyKey, MoreInputs, NewJob, QueueLimits, Submitted};

impl Writer {
    pub(super) fn stage(&mut self, job: JobId, segments: &[InputSegment]) -> Result<()> {
        let sql = "INSERT INTO jobs (id, function, labels, options, priority, state, total, created_at)
                   VALUES (?1, '', '{}', '{}', 0, 'staging', 0, 0) ON CONFLICT DO NOTHING";
        self.conn.prepare_cached(sql)?.execute([job.as_bytes()])?;
        self.insert_inputs(job, job, segments)
    }

    pub(super) fn unstage(&mut self, job: JobId) -> Result<()> {
        let sql = "UPDATE jobs SET state = 'deleted' WHERE id = ?1 AND state = 'staging'";
        self.garbage |= self.conn.prepare_cached(sql)?.execute([job.as_bytes()])? > 0;
        Ok(())
    }

    pub(super) fn submit(
        &mut self,
        job: NewJob,
        segments: Vec<InputSegment>,
        awaited: Option<Awaited>,
        now: Timestamp,
    ) -> Result<Submitted> {
        if let Some(key) = &job.key {
            if let Some(known) = self.known_key(key)? {
                self.unstage(job.id)?;
                return Ok(known);
            }
            self.keep_key(key, job.id, now)?;
        }
        let input_bytes = self.check_inputs(job.id, job.total, &segments)?;
        if let Some(queued) = self.queue_is_full(job.limits, job.total, input_bytes)? {
            self.refuse(job.id, job.key.as_ref())?;
            return Ok(Submitted::QueueFull(queued));
        }
        self.insert_inputs(job.id, job.id, &segments)?;
        if segments.first().is_none_or(|segment| segment.first > 0) {
            // What its inputs were staged under makes way for it.
            self.conn.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([job.id.as_bytes()])?;
        }
        if !job.intake.is_open() {
            self.payloads.no_more(job.id, Kind::Inputs);
        }
        segments.into_iter().for_each(|segment| self.segments.put(job.id, segment));
        let tally = Tally { total: job.total, ..Tally::default() };
        let is_over = job.total == 0 && !job.intake.is_open();
        let state = if is_over { tally.final_state(OnError::Continue) } else { JobState::Queued };
        let finished_at = state.is_final().then_some(now);
        self.keep_labels(&job)?;
        let progress = Progress::new(&job, state);
        self.to_be_told += u32::from(is_over && progress.callback_url.is_some());
        let new = NewRow { spec: job.spec.clone(), intake: job.intake, created_at: now, input_bytes };
        self.running.note_new((job.id, new), progress, finished_at, awaited);
        self.changed.insert(job.id);
        Ok(Submitted::New(Job {
            id: job.id,
            spec: job.spec,
            state,
            open: job.intake.is_open(),
            tally,
            created_at: now,
            started_at: None,
            finished_at,
            cpu_ns: 0,
            task_times: Histogram::default(),
            workers: Vec::new(),
        }))
    }

    fn keep_labels(&self, job: &NewJob) -> Result<()> {
        let sql = "INSERT INTO job_labels (key, value, job) VALUES (?1, ?2, ?3)";
        for (key, value) in &job.spec.labels {
            self.conn.prepare_cached(sql)?.execute(params![key, value, job.id.as_bytes()])?;
        }
        Ok(())
    }

    fn keep_key(&self, key: &IdempotencyKey, job: JobId, now: Timestamp) -> Result<()> {
        let sql = "INSERT INTO keys (key, job, fingerprint, created_at) VALUES (?1, ?2, ?3, ?4)";
        let values = params![key.key, job.as_bytes(), key.fingerprint, now.0];
        self.conn.prepare_cached(sql)?.execute(values).map(drop)
    }

    pub(super) fn append(
        &mut self,
        more: &MoreInputs,
        segments: &[InputSegment],
        now: Timestamp,
    ) -> Result<Appended> {
        let Some(progress) = self.progress(more.job)? else {
            self.unstage(more.staged)?;
            return Ok(Appended::Unknown);
        };
        if let Some(key) = &more.key {
            if let Some(known) = self.known_key(key)? {
                self.unstage(more.staged)?;
                return Ok(if let Submitted::Same(job) = known {
                    Appended::Same(job)
                } else {
                    Appended::Other
                });
            }
            self.keep_key(key, more.job, now)?;
        }
        let is_open =
            progress.is_open && !progress.state.is_final() && progress.state != JobState::Cancelling;
        let bytes = self.check_inputs(more.staged, more.total, segments)?;
        let queued = self.queue_is_full(more.limits, more.total, bytes)?;
        if !is_open || queued.is_some() {
            self.refuse(more.staged, more.key.as_ref())?;
            return Ok(queued.filter(|_| is_open).map_or(Appended::Closed, Appended::QueueFull));
        }
        self.insert_inputs(more.staged, more.job, segments)?;
        self.payloads.hand_over(&self.conn, more.staged, more.job)?;
        let (job, staged, total) = (more.job.as_bytes(), more.staged.as_bytes(), more.total as i64);
        let sql = "UPDATE inputs SET job = ?1, first = first + ?3 WHERE job = ?2";
        self.conn.prepare_cached(sql)?.execute(params![job, staged, progress.total as i64])?;
        self.conn.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([staged])?;
        let sql = "UPDATE jobs SET total = total + ?2, input_bytes = input_bytes + ?3 WHERE id = ?1";
        self.conn.prepare_cached(sql)?.execute(params![job, total, bytes as i64])?;
        self.changed.insert(more.job);
        let unclaimed = self.unclaimed(more.job)?;
        Ok(read::job(&self.conn, more.job)?.map_or(Appended::Unknown, |job| Appended::Yes(job, unclaimed)))
    }

    pub(super) fn close(&mut self, id: JobId, now: Timestamp) -> Result<Option<Job>> {
        let sql = "UPDATE jobs SET is_open = 0 WHERE id = ?1";
        self.conn.prepare_cached(sql)?.execute([id.as_bytes()])?;
        let Some(progress) = self.progress(id)? else { return Ok(None) };
        if !progress.state.is_final() {
            self.save(id, progress, now)?;
        }
        read::job(&self.conn, id)
    }

    /// What became of the job that was submitted under this key, if there was one.
    fn known_key(&self, key: &IdempotencyKey) -> Result<Option<Submitted>> {
        let sql = "SELECT job, fingerprint FROM keys WHERE key = ?1";
        let found = self
            .conn
            .prepare_cached(sql)?
            .query_row([&key.key], |row| Ok((rows::job_id(row, 0)?, row.get::<_, [u8; 32]>(1)?)));
        let Some((id, fingerprint)) = found.optional()? else { return Ok(None) };
        if fingerprint != key.fingerprint {
            return Ok(Some(Submitted::Other));
        }
        Ok(Some(read::job(&self.conn, id)?.map_or(Submitted::Gone(id), Submitted::Same)))
    }

    /// Sees that all inputs are there: those that were staged, and these last ones. What was staged was answered before
    /// it was durable; if the disk was full since, some of it is missing. Gives the size of all, in bytes.
    fn check_inputs(&self, job: JobId, total: u64, last: &[InputSegment]) -> Result<u64> {
        let last_count: u64 = last.iter().map(|segment| u64::from(segment.count)).sum();
        let last_bytes: u64 = last.iter().map(|segment| segment.lines.len() as u64).sum();
        if last_count == total {
            return Ok(last_bytes);
        }
        let sql = "SELECT coalesce(sum(count), 0), coalesce(sum(length(lines) + coalesce(file_size, 0)), 0)
                   FROM inputs WHERE job = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((rows::u64(row, 0)?, rows::u64(row, 1)?));
        let (staged, staged_bytes) = self.conn.prepare_cached(sql)?.query_row([job.as_bytes()], read)?;
        if staged + last_count == total { Ok(staged_bytes + last_bytes) } else { Err(full()) }
    }

    /// Whether to accept this job nothing is to be known of others but what is at hand.
    pub(super) fn knows_enough_for(&self, job: &NewJob, segments: &[InputSegment]) -> bool {
        let counts = segments.iter().map(|segment| u64::from(segment.count));
        let bytes = segments.iter().map(|segment| segment.lines.len() as u64);
        let is_all = counts.sum::<u64>() == job.total;
        let room = self.queued_at_most.filter(|queued| queued.leave_room(job.limits, job.total, bytes.sum()));
        job.key.is_none() && is_all && room.is_some()
    }

    /// How much is queued, if it is too much with these as well. It is added up only when it may be too much: what
    /// is noted otherwise is never too little.
    fn queue_is_full(&mut self, limits: QueueLimits, tasks: u64, bytes: u64) -> Result<Option<QueueLimits>> {
        let fits = |queued: &QueueLimits| queued.leave_room(limits, tasks, bytes);
        let queued = match self.queued_at_most.filter(fits) {
            Some(queued) => queued,
            None => self.queued()?,
        };
        let is_full = !fits(&queued);
        let (more_tasks, more_bytes) = if is_full { (0, 0) } else { (tasks, bytes) };
        self.queued_at_most =
            Some(QueueLimits { tasks: queued.tasks + more_tasks, bytes: queued.bytes + more_bytes });
        Ok(Some(queued).filter(|_| is_full))
    }

    fn queued(&self) -> Result<QueueLimits> {
        let sql =
            "SELECT coalesce(sum(total - succeeded - failed - cancelled), 0), coalesce(sum(input_bytes), 0)
                   FROM jobs WHERE state IN ('queued', 'running', 'paused', 'cancelling')";
        self.conn
            .prepare_cached(sql)?
            .query_row([], |row| Ok(QueueLimits { tasks: rows::u64(row, 0)?, bytes: rows::u64(row, 1)? }))
    }

    /// Leaves nothing of a job that is not accepted.
    fn refuse(&mut self, id: JobId, key: Option<&IdempotencyKey>) -> Result<()> {
        if let Some(key) = key {
            self.conn.prepare_cached("DELETE FROM keys WHERE key = ?1")?.execute([&key.key])?;
        }
        // Its inputs are removed like those of a deleted job.
        let sql = "INSERT INTO jobs (id, function, labels, options, priority, state, total, created_at)
                   VALUES (?1, '', '{}', '{}', 0, 'deleted', 0, 0) ON CONFLICT (id) DO UPDATE SET state = 'deleted'";
        self.conn.prepare_cached(sql)?.execute([id.as_bytes()])?;
        self.garbage = true;
        Ok(())
    }

    /// Keeps inputs of `job`; large ones in files of `owner`.
    fn insert_inputs(&mut self, job: JobId, owner: JobId, segments: &[InputSegment]) -> Result<()> {
        let sql = "INSERT INTO inputs (job, first, count, lines, file, file_at, file_size)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let mut insert = self.conn.prepare_cached(sql)?;
        for InputSegment { first, count, lines } in segments {
            let kept = self.payloads.keep(&self.conn, owner, Kind::Inputs, lines)?;
            let (job, first) = (job.as_bytes(), *first as i64);
            insert.execute(params![job, first, count, kept.lines, kept.file, kept.at, kept.size])?;
        }
        Ok(())
    }

    /// The segment that holds the input of task `index`.
    pub(super) fn segment(&mut self, job: JobId, index: u64) -> Result<Option<&CachedSegment>> {
        if !self.segments.has(job, index) {
            let columns = Lines::COLUMNS;
            let sql = format!(
                "SELECT first, count, {columns} FROM inputs WHERE job = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1"
            );
            let mut select = self.conn.prepare_cached(&sql)?;
            let row = select.query_row(params![job.as_bytes(), index as i64], |row| {
                Ok((rows::u64(row, 0)?, row.get(1)?, Lines::read(row, 2)?))
            });
            let Some((first, count, Some(lines))) = row.optional()? else { return Ok(None) };
            let lines = self.payloads.dir.lines(lines).map_err(payloads::failed)?;
            self.segments.put(job, InputSegment { first, count, lines });
        }
        Ok(self.segments.get(job, index))
    }
}

/// The segments that chunks were last cut from, so that each is read and split once.
#[derive(Debug, Default)]
pub(super) struct SegmentCache {
    segments: VecDeque<CachedSegment>,
    bytes: usize,
}

const CACHE_BYTES: usize = 16 << 20;
const CACHE_SEGMENTS: usize = 64;

/// A segment and where its lines end.
#[derive(Debug)]
pub(super) struct CachedSegment {
    job: JobId,
    segment: InputSegment,
    /// For each line the offset behind its line break; made when first cut.
    ends: std::cell::OnceCell<Vec<u32>>,
}

impl CachedSegment {
    fn holds(&self, job: JobId, index: u64) -> bool {
        let InputSegment { first, count, .. } = self.segment;
        self.job == job && (first..first + u64::from(count)).contains(&index)
    }

    /// How many of its tasks begin at `index`.
    pub(super) fn left_from(&self, index: u64) -> u32 {
        (self.segment.first + u64::from(self.segment.count) - index) as u32
    }

    /// The lines of `count` tasks from `index` on, which it must hold.
    pub(super) fn cut(&self, index: u64, count: u32) -> Bytes {
        let lines = &self.segment.lines;
        if count == self.segment.count {
            return lines.clone();
        }
        let ends =
            self.ends.get_or_init(|| memchr::memchr_iter(b'\n', lines).map(|at| at as u32 + 1).collect());
        let skip = (index - self.segment.first) as usize;
        let start = if skip == 0 { 0 } else { ends[skip - 1] };
        lines.slice(start as usize..ends[skip + count as usize - 1] as usize)
    }
}

impl SegmentCache {
    pub(super) fn put(&mut self, job: JobId, segment: InputSegment) {
        self.bytes += segment.lines.len();
        self.segments.push_back(CachedSegment { job, segment, ends: std::cell::OnceCell::new() });
        while self.segments.len() > CACHE_SEGMENTS || self.bytes > CACHE_BYTES && self.segments.len() > 1 {
            let old = self.segments.pop_front();
            self.bytes -= old.map_or(0, |old| old.segment.lines.len());
        }
    }

    fn has(&self, job: JobId, index: u64) -> bool {
        self.get(job, index).is_some()
    }

    fn get(&self, job: JobId, index: u64) -> Option<&CachedSegment> {
        self.segments.iter().rev().find(|cached| cached.holds(job, index))
    }
}
