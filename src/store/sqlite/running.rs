//! What the writer knows of jobs that run. An answer of a worker changes it here; the rows are written once for all answers
//! of a transaction, before its commit or before anything else looks at them.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result, params};

use super::rows::{self, Progress};
use crate::model::{JobId, Timestamp};
use crate::store::Completion;

/// Jobs by id. What is known of one is what its rows say, or will say.
#[derive(Debug, Default)]
pub(super) struct Running {
    jobs: BTreeMap<JobId, Known>,
    /// What the request at work comes to. It counts once nothing of that can fail any more.
    noted: Option<Noted>,
}

#[derive(Debug)]
struct Known {
    progress: Progress,
    /// When it has ended, if the rows do not say so yet.
    ended: Option<Timestamp>,
    is_written: bool,
    /// What its workers, by name and process, did that their rows do not say.
    workers: BTreeMap<(String, u32), Share>,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    tasks: u64,
    busy_ns: u64,
    cpu_ns: u64,
    max_rss_bytes: u64,
}

#[derive(Debug)]
struct Noted {
    job: JobId,
    progress: Progress,
    ended: Option<Timestamp>,
    worker: Option<((String, u32), Share)>,
}

impl Running {
    pub(super) fn progress(&self, job: JobId) -> Option<&Progress> {
        self.jobs.get(&job).map(|known| &known.progress)
    }

    /// Notes how a job stands now, when it ended if it did, and by whose answer.
    pub(super) fn note(
        &mut self,
        job: JobId,
        progress: Progress,
        ended: Option<Timestamp>,
        done: Option<&Completion>,
    ) {
        let worker = done.map(|done| {
            let tasks = u64::from(done.outcomes.count());
            let Completion { busy_ns, cpu_ns, max_rss_bytes, .. } = *done;
            ((done.worker.clone(), done.pid), Share { tasks, busy_ns, cpu_ns, max_rss_bytes })
        });
        self.noted = Some(Noted { job, progress, ended, worker });
    }

    /// The request is done with.
    pub(super) fn request_ended(&mut self, succeeded: bool) {
        let Some(Noted { job, progress, ended, worker }) = self.noted.take().filter(|_| succeeded) else {
            return;
        };
        let before = self.jobs.remove(&job);
        let (before, mut workers) = before.map(|known| (known.ended, known.workers)).unwrap_or_default();
        if let Some((worker, share)) = worker {
            let sum = workers.entry(worker).or_default();
            sum.tasks += share.tasks;
            sum.busy_ns += share.busy_ns;
            sum.cpu_ns += share.cpu_ns;
            sum.max_rss_bytes = sum.max_rss_bytes.max(share.max_rss_bytes);
        }
        self.jobs.insert(job, Known { progress, ended: ended.or(before), is_written: false, workers });
    }

    /// Whether the rows do not say all that is known.
    pub(super) fn has_changed(&self) -> bool {
        self.jobs.values().any(|known| !known.is_written)
    }

    /// Writes the rows of what has changed.
    pub(super) fn write(&self, conn: &Connection, node: &str) -> Result<()> {
        for (job, known) in self.jobs.iter().filter(|(_, known)| !known.is_written) {
            rows::save(conn, *job, &known.progress, known.ended)?;
            for ((worker, pid), share) in &known.workers {
                write_share(conn, *job, (node, worker, *pid), *share)?;
            }
        }
        Ok(())
    }

    /// The rows say all now.
    pub(super) fn written(&mut self) {
        self.jobs.retain(|_, known| !known.progress.state.is_final());
        for known in self.jobs.values_mut() {
            known.workers.clear();
            (known.ended, known.is_written) = (None, true);
        }
    }

    /// Knows nothing any more, as the rows may change, or what was not written is undone.
    pub(super) fn forget(&mut self) {
        self.jobs.clear();
    }
}

fn write_share(
    conn: &Connection,
    job: JobId,
    (node, worker, pid): (&str, &str, u32),
    share: Share,
) -> Result<()> {
    let sql = "INSERT INTO job_workers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (job, node, worker, pid) DO UPDATE SET
               tasks = tasks + excluded.tasks, busy_ns = busy_ns + excluded.busy_ns,
               cpu_ns = cpu_ns + excluded.cpu_ns, max_rss_bytes = max(max_rss_bytes, excluded.max_rss_bytes)";
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
mod tests {
    use std::sync::Arc;

    use tempfile::TempDir;
    use uuid::Uuid;

    use super::super::SqliteStore;
    use super::super::handle::Urgency;
    use crate::model::{InputSegment, JobId, JobOptions, JobSpec, JobState, Outcomes, Span, Timestamp};
    use crate::store::{
        Chunk, Claim, Completion, Haste, Intake, NewJob, QueueLimits, Store as _, StoreError,
    };

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
    const JOB: JobId = JobId(Uuid::from_u128(7));

    async fn store_with_two_tasks(dir: &TempDir) -> SqliteStore {
        let store = SqliteStore::open(dir.path(), "node", NOW).unwrap();
        let options = JobOptions::default();
        let spec = JobSpec { function: "echo".into(), name: None, labels: [].into(), options };
        let limits = QueueLimits { tasks: 1 << 40, bytes: 1 << 40 };
        let (id, intake, key, notice) = (JOB, Intake::Closed, None, None);
        let segment = InputSegment { first: 0, count: 2, lines: "1\n2\n".into() };
        let job = NewJob { id, spec, total: 2, intake, key, limits, notice };
        store.submit(job, vec![segment], NOW).await.unwrap();
        store
    }

    /// Claims a task; `then` decides what becomes of the request.
    async fn claim(
        store: &SqliteStore,
        then: fn(&rusqlite::Connection) -> rusqlite::Result<()>,
    ) -> Result<Vec<Chunk>, StoreError> {
        let claim = Claim { job: JOB, chunks: 1, max_tasks: 1 };
        let work = move |writer: &mut super::super::writer::Writer| {
            let claimed = writer.claim(claim, NOW)?;
            then(&writer.conn).map(|()| claimed.chunks)
        };
        store.writer.write_of_tasks(Urgency::Soon, work).await
    }

    fn completion(chunk: &Chunk) -> Arc<Completion> {
        let Chunk { lease, job, first, attempt, .. } = *chunk;
        let mut outcomes = Outcomes::default();
        outcomes.push(1_000, false);
        let (task_times, lines, span) = (outcomes.times(), "1\n".into(), Span { start: NOW, end: NOW });
        let (worker, pid, busy_ns, cpu_ns, max_rss_bytes) = ("worker-1".into(), 42, 1_000, 900, 4_096);
        Arc::new(Completion {
            lease,
            job,
            first,
            attempt,
            worker,
            pid,
            outcomes,
            task_times,
            lines,
            span,
            busy_ns,
            cpu_ns,
            max_rss_bytes,
        })
    }

    #[tokio::test]
    async fn what_is_undone_is_not_known_any_more() {
        let dir = TempDir::new().unwrap();
        let store = store_with_two_tasks(&dir).await;
        let failed = claim(&store, |_| Err(rusqlite::Error::InvalidQuery)).await;
        assert!(matches!(failed, Err(StoreError::Stopped(_))), "{failed:?}");
        // As SQLite does by itself where the disk is full.
        let undone = claim(&store, |conn| conn.execute_batch("ROLLBACK")).await;
        assert!(matches!(undone, Err(StoreError::Full)), "{undone:?}");
        for first in 0..2 {
            let chunks = claim(&store, |_| Ok(())).await.unwrap();
            assert_eq!(chunks.iter().map(|chunk| chunk.first).collect::<Vec<_>>(), [first]);
            assert!(store.complete_if_leased(completion(&chunks[0]), Haste::Now, NOW).await.unwrap().held);
        }
        let job = store.job(JOB).await.unwrap().unwrap();
        assert_eq!((job.state, job.tally.succeeded), (JobState::Succeeded, 2));
    }

    #[tokio::test]
    async fn many_answers_come_to_one_row() {
        let dir = TempDir::new().unwrap();
        let store = store_with_two_tasks(&dir).await;
        let claim = Claim { job: JOB, chunks: 2, max_tasks: 1 };
        let chunks = store.claim(claim, NOW).await.unwrap().chunks;
        let (first, second) = (completion(&chunks[0]), completion(&chunks[1]));
        let (first, second) = tokio::join!(
            store.complete_if_leased(first, Haste::Patient, NOW),
            store.complete_if_leased(second, Haste::Now, NOW)
        );
        assert_eq!((first.unwrap().held, second.unwrap().state), (true, Some(JobState::Succeeded)));
        let job = store.job(JOB).await.unwrap().unwrap();
        assert_eq!((job.state, job.tally.succeeded, job.cpu_ns), (JobState::Succeeded, 2, 1_800));
        assert_eq!((job.started_at, job.finished_at, job.task_times.count), (Some(NOW), Some(NOW), 2));
        let [share] = &job.workers[..] else { panic!("{:?}", job.workers) };
        assert_eq!((share.tasks, share.busy_ns, share.max_rss_bytes), (2, 2_000, 4_096));
    }
}
