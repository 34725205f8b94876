//! The loop that makes spans of what ends: chunks as the supervisor tells them, jobs as they change in the store.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, oneshot};
use tokio::time::{Instant, sleep_until};

use super::queue::Queue;
use super::spans;
use crate::model::{Job, JobId, Timestamp};
use crate::store::{ChangeWatch, Changed, Store};
use crate::supervisor::EndedTasks;

/// Jobs that have changed within this time are looked up together; so many at a time.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const JOBS_AT_ONCE: usize = 50;
/// So many jobs are known to have been told: a job changes after its end too.
const MOST_TOLD: usize = 16_384;

pub(super) struct Follower {
    store: Arc<dyn Store>,
    tasks: broadcast::Receiver<Arc<EndedTasks>>,
    jobs: ChangeWatch,
    /// When the jobs that have changed are looked up.
    look_at: Option<Instant>,
    queue: Queue,
    stopped: oneshot::Receiver<()>,
    /// What ended before is not told.
    since: Timestamp,
    told: ToldJobs,
}

impl Follower {
    pub(super) fn new(
        store: Arc<dyn Store>,
        tasks: broadcast::Receiver<Arc<EndedTasks>>,
        queue: Queue,
        stopped: oneshot::Receiver<()>,
        since: Timestamp,
    ) -> Self {
        let jobs = store.watch_all(None);
        Self { store, tasks, jobs, look_at: None, queue, stopped, since, told: ToldJobs::default() }
    }

    /// Until it is stopped; then what has ended by then is told too.
    pub(super) async fn run(mut self) {
        loop {
            let Self { tasks, jobs, look_at, stopped, .. } = &mut self;
            tokio::select! {
                _ = stopped => break,
                ended = tasks.recv() => match ended {
                    Ok(ended) => self.tell_chunk(&ended),
                    Err(RecvError::Lagged(chunks)) => self.missed_chunks(chunks),
                    Err(RecvError::Closed) => break,
                },
                () = jobs.changed(), if look_at.is_none() => *look_at = Some(Instant::now() + LOOK_EVERY),
                () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {
                    self.look_at = None;
                    self.tell_jobs().await;
                }
            }
        }
        loop {
            match self.tasks.try_recv() {
                Ok(ended) => self.tell_chunk(&ended),
                Err(TryRecvError::Lagged(chunks)) => self.missed_chunks(chunks),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.tell_jobs().await;
    }

    fn tell_chunk(&self, ended: &EndedTasks) {
        if let Some(span) = spans::of_chunk(ended) {
            self.queue.push(span);
        }
    }

    fn missed_chunks(&self, chunks: u64) {
        self.queue.missed(chunks, "chunks end faster than they can be followed");
    }

    async fn tell_jobs(&mut self) {
        loop {
            let ids = match self.jobs.next(JOBS_AT_ONCE) {
                Changed::Jobs(ids) if ids.is_empty() => return,
                Changed::Jobs(ids) => ids,
                Changed::Unknown => {
                    // Nobody knows how many.
                    self.queue.missed(1, "jobs end faster than they can be followed");
                    continue;
                }
            };
            let count = ids.len() as u64;
            match self.store.jobs_of(ids).await {
                Ok(jobs) => jobs.iter().for_each(|job| self.tell_job(job)),
                // Some of them may go on, and are told later.
                Err(error) => self.queue.missed(count, &error.to_string()),
            }
        }
    }

    fn tell_job(&mut self, job: &Job) {
        let Some(end) = job.finished_at.filter(|end| job.state.is_final() && *end >= self.since) else {
            return;
        };
        if self.told.is_new(job.id, end)
            && let Some(span) = spans::of_job(job)
        {
            self.queue.push(span);
        }
    }
}

/// The jobs that have been told, and their ends: one that is retried ends again.
#[derive(Default)]
struct ToldJobs {
    ends: HashMap<JobId, Timestamp>,
    oldest: VecDeque<JobId>,
}

impl ToldJobs {
    fn is_new(&mut self, job: JobId, end: Timestamp) -> bool {
        if let Some(before) = self.ends.insert(job, end) {
            return before != end;
        }
        self.oldest.push_back(job);
        if self.oldest.len() > MOST_TOLD
            && let Some(job) = self.oldest.pop_front()
        {
            self.ends.remove(&job);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: usize) -> JobId {
        JobId(uuid::Uuid::from_u128(number as u128))
    }

    #[test]
    fn each_end_is_new_once_and_no_more_than_so_many_are_known() {
        let mut told = ToldJobs::default();
        assert!(told.is_new(job(0), Timestamp(1)));
        assert!(!told.is_new(job(0), Timestamp(1)));
        assert!(told.is_new(job(0), Timestamp(2)));
        (1..=MOST_TOLD).for_each(|number| assert!(told.is_new(job(number), Timestamp(1))));
        assert_eq!((told.ends.len(), told.oldest.len()), (MOST_TOLD, MOST_TOLD));
        assert!(told.is_new(job(0), Timestamp(2)));
    }
}
