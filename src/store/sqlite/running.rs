//! What the writer knows of jobs that are new or run. An answer of a worker changes it here; the rows are written once for all
//! requests of a transaction, before its commit or before anything else looks at them. A job that begins and ends within one
//! transaction is one row, and its leases are none.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, Result, params};

use super::rows::{self, NewRow, Progress};
use crate::model::job::WorkerShare;
use crate::model::segment::{ResultBody, Used};
use crate::model::{Epoch, Job, JobId, LeaseId, ResultSegment, Timestamp};
use crate::store::{Completion, Submitted};

/// Of more jobs than these, only what is not written is kept.
const MANY: usize = 256;

/// Jobs and leases by id. What is known of one is what its rows say, or will say.
#[derive(Debug, Default)]
pub(super) struct Running {
    jobs: BTreeMap<JobId, Known>,
    /// Those that have no row yet.
    leases: BTreeMap<LeaseId, Held>,
    /// What the request at work comes to. It counts once nothing of that can fail any more.
    noted: Noted,
}

#[derive(Debug)]
struct Known {
    progress: Progress,
    /// What its row is to say besides, if it has none yet.
    new: Option<NewRow>,
    /// When it has ended, if the rows do not say so yet.
    ended: Option<Timestamp>,
    is_written: bool,
    /// Whether there may be rows of tasks that wait for another run.
    may_retry: bool,
    /// What its workers, by name and process, did that their rows do not say.
    workers: BTreeMap<(String, u32), Share>,
    /// Where a client that waits for its end finds it.
    awaited: Option<Awaited>,
    /// The outcomes of all its tasks, if they came at once.
    whole: Option<Arc<Completion>>,
}

/// Tasks that are leased, without their payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) job: JobId,
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) attempt: u32,
}

/// Holds the end of a job that has its end in the transaction that it began in.
pub(super) type Awaited = Arc<OnceLock<EndedJob>>;

/// A job that has ended by one answer to all its tasks.
#[derive(Debug)]
pub(super) struct EndedJob {
    pub(super) progress: Progress,
    pub(super) at: Timestamp,
    pub(super) done: Arc<Completion>,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    tasks: u64,
    busy_ns: u64,
    cpu_ns: u64,
    max_rss_bytes: u64,
}

#[derive(Debug, Default)]
struct Noted {
    job: Option<(JobId, Progress, Option<Timestamp>)>,
    new: Option<(NewRow, Option<Awaited>)>,
    done: Option<Arc<Completion>>,
    may_retry: bool,
    /// Leases without a row, as they are to be; `None`: no more.
    leases: Vec<(LeaseId, Option<Held>)>,
}

impl Running {
    pub(super) fn progress(&self, job: JobId) -> Option<&Progress> {
        self.jobs.get(&job).map(|known| &known.progress)
    }

    /// Whether there may be rows of tasks of this job that wait for another run.
    pub(super) fn may_retry(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_none_or(|known| known.may_retry)
    }

    /// Whether the job has no row yet.
    pub(super) fn is_new(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|known| known.new.is_some())
    }

    /// A lease that has no row yet.
    pub(super) fn lease(&self, lease: LeaseId) -> Option<Held> {
        self.leases.get(&lease).copied()
    }

    /// Notes a new job, when it ended if it did, and who waits for its end.
    pub(super) fn note_new(
        &mut self,
        (job, new): (JobId, NewRow),
        progress: Progress,
        ended: Option<Timestamp>,
        awaited: Option<Awaited>,
    ) {
        self.noted.job = Some((job, progress, ended));
        self.noted.new = Some((new, awaited));
    }

    /// Notes how a job stands now, when it ended if it did, and by whose answer.
    pub(super) fn note(
        &mut self,
        job: JobId,
        progress: Progress,
        ended: Option<Timestamp>,
        done: Option<&Arc<Completion>>,
    ) {
        self.noted.job = Some((job, progress, ended));
        self.noted.done = done.cloned();
    }

    /// Notes a lease that has no row: it is this now, or no more.
    pub(super) fn note_lease(&mut self, lease: LeaseId, held: Option<Held>) {
        self.noted.leases.push((lease, held));
    }

    /// Notes that tasks of the job at hand wait for another run.
    pub(super) fn note_retry(&mut self) {
        self.noted.may_retry = true;
    }

    /// The request is done with.
    pub(super) fn request_ended(&mut self, succeeded: bool) {
        let noted = std::mem::take(&mut self.noted);
        if !succeeded {
            return;
        }
        for (lease, held) in noted.leases {
            match held {
                Some(held) => drop(self.leases.insert(lease, held)),
                None => drop(self.leases.remove(&lease)),
            }
        }
        let Some((job, progress, ended)) = noted.job else { return };
        let known = self.jobs.entry(job).or_insert_with(|| Known {
            progress: progress.clone(),
            new: None,
            ended: None,
            is_written: false,
            may_retry: true,
            workers: BTreeMap::new(),
            awaited: None,
            whole: None,
        });
        if let Some((new, awaited)) = noted.new {
            (known.new, known.awaited, known.may_retry) = (Some(new), awaited, false);
        }
        known.may_retry |= noted.may_retry;
        known.is_written = false;
        known.ended = ended.or(known.ended);
        if let Some(done) = noted.done {
            let sum = known.workers.entry((done.worker.clone(), done.pid)).or_default();
            sum.add(&done);
            known.whole = Some(done).filter(|done| u64::from(done.outcomes.count()) == progress.total);
        }
        known.progress = progress;
    }

    /// Whether the rows do not say all that is known.
    pub(super) fn has_changed(&self) -> bool {
        !self.leases.is_empty() || self.jobs.values().any(|known| !known.is_written)
    }

    /// Writes the rows of what has changed.
    pub(super) fn write(&self, conn: &Connection, (node, epoch): (&str, Epoch)) -> Result<()> {
        for (job, known) in self.jobs.iter().filter(|(_, known)| !known.is_written) {
            match &known.new {
                Some(new) => rows::insert(conn, *job, new, &known.progress, known.ended)?,
                None => rows::save(conn, *job, &known.progress, known.ended)?,
            }
            for ((worker, pid), share) in &known.workers {
                write_share(conn, *job, (node, worker, *pid), *share, known.new.is_some())?;
            }
        }
        self.leases.iter().try_for_each(|(lease, held)| write_lease(conn, *lease, *held, epoch))
    }

    /// The rows say all now. Who waits for the end of a job is to find it once they are durable.
    pub(super) fn written(&mut self) {
        self.leases.clear();
        self.jobs.retain(|_, known| {
            let is_over = known.progress.state.is_final();
            if let (true, Some(awaited), Some(done), Some(at)) =
                (is_over, &known.awaited, &known.whole, known.ended)
            {
                let progress = known.progress.clone();
                // It ends once in this transaction, as nobody knows of it before.
                drop(awaited.set(EndedJob { progress, at, done: Arc::clone(done) }));
            }
            !is_over
        });
        if self.jobs.len() > MANY {
            self.jobs.clear();
        }
        for known in self.jobs.values_mut() {
            known.workers.clear();
            (known.new, known.ended, known.is_written, known.awaited) = (None, None, true, None);
        }
    }

    /// Knows nothing any more, as the rows may change, or what was not written is undone.
    pub(super) fn forget(&mut self) {
        self.jobs.clear();
        self.leases.clear();
    }
}

impl EndedJob {
    /// The job as it is now, with its results.
    pub(super) fn of(self, job: Job, node: &str) -> Submitted {
        let Self { progress, at, done } = self;
        let tasks = u64::from(done.outcomes.count());
        let Completion { pid, attempt, busy_ns, cpu_ns, max_rss_bytes, .. } = *done;
        let (worker, node) = (done.worker.clone(), node.to_owned());
        let share = WorkerShare { worker: worker.clone(), node, pid, tasks, busy_ns, cpu_ns, max_rss_bytes };
        let Progress { state, tally, started_at, cpu_ns: all_cpu_ns, task_times, .. } = progress;
        let workers = vec![share];
        let finished_at = Some(at);
        let job =
            Job { state, tally, started_at, finished_at, cpu_ns: all_cpu_ns, task_times, workers, ..job };
        let used = Used { busy_ns, cpu_ns, span: Some(done.span) };
        let (outcomes, lines) = (done.outcomes.clone(), done.lines.clone());
        let body = ResultBody::Ran { worker, pid, outcomes, lines, used };
        let results = ResultSegment { first_seq: 1, first_index: 0, count: tasks, attempt, body };
        Submitted::Ended(job, Box::new(results))
    }
}

impl Share {
    fn add(&mut self, done: &Completion) {
        self.tasks += u64::from(done.outcomes.count());
        self.busy_ns += done.busy_ns;
        self.cpu_ns += done.cpu_ns;
        self.max_rss_bytes = self.max_rss_bytes.max(done.max_rss_bytes);
    }
}

fn write_lease(conn: &Connection, lease: LeaseId, held: Held, epoch: Epoch) -> Result<()> {
    let sql = "INSERT INTO leases (id, job, first, count, attempt, epoch) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let Held { job, first, count, attempt } = held;
    let values = params![lease.0 as i64, job.as_bytes(), first as i64, count, attempt, epoch.0 as i64];
    conn.prepare_cached(sql)?.execute(values).map(drop)
}

fn write_share(
    conn: &Connection,
    job: JobId,
    (node, worker, pid): (&str, &str, u32),
    share: Share,
    is_first: bool,
) -> Result<()> {
    let first = "INSERT INTO job_workers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let more = "INSERT INTO job_workers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                ON CONFLICT (job, node, worker, pid) DO UPDATE SET
                tasks = tasks + excluded.tasks, busy_ns = busy_ns + excluded.busy_ns,
                cpu_ns = cpu_ns + excluded.cpu_ns, max_rss_bytes = max(max_rss_bytes, excluded.max_rss_bytes)";
    let sql = if is_first { first } else { more };
    let Share { tasks, busy_ns, cpu_ns, max_rss_bytes } = share;
    conn.prepare_cached(sql)?.execute(params![
        job.as_bytes(),
        worker,
        pid,
        node,
        tasks as i64,
        busy_ns as i64,
        cpu_ns as i64,
        max_rss_bytes as i64,
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests;
