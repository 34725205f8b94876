//! Wakes those who wait for a job to change, in this process: one channel a watched job, none for the others; and one
//! record of changes for those who follow all jobs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::changes::{ChangeWatch, Changes};
use crate::model::JobId;

/// Who watches which job.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    jobs: Arc<Mutex<HashMap<JobId, watch::Sender<()>>>>,
    outbox: watch::Sender<()>,
    changes: Changes,
}

impl Watches {
    /// A watch on this job; changes from now on wake it.
    pub fn watch(&self, job: JobId) -> JobWatch {
        let changed = Some(self.lock().entry(job).or_default().subscribe());
        JobWatch { watches: self.clone(), job, changed }
    }

    /// A watch on all jobs, from behind this change on, or from now on.
    pub fn watch_all(&self, after: Option<u64>) -> ChangeWatch {
        self.changes.follow(after)
    }

    /// Wakes all who watch this job.
    pub fn wake(&self, job: JobId) {
        if let Some(sender) = self.lock().get(&job) {
            sender.send_replace(());
        }
        self.changes.note(job);
    }

    /// Wakes whoever tells the ends of jobs.
    pub fn wake_outbox(&self) {
        self.outbox.send_replace(());
    }

    /// A watch on the outbox; what comes from now on wakes it.
    pub fn outbox(&self) -> watch::Receiver<()> {
        self.outbox.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<()>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch on one job. Dropped, it costs nothing more.
#[derive(Debug)]
pub struct JobWatch {
    watches: Watches,
    job: JobId,
    /// `None` only while it is dropped.
    changed: Option<watch::Receiver<()>>,
}

impl JobWatch {
    /// Waits for the next change since the last call, or since the watch was made.
    pub async fn changed(&mut self) {
        let changed = self.changed.as_mut().map(watch::Receiver::changed);
        if !matches!(futures_util::future::OptionFuture::from(changed).await, Some(Ok(()))) {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        let mut jobs = self.watches.lock();
        // Under the lock, so that the last of several that go at once knows that it is.
        self.changed = None;
        if jobs.get(&self.job).is_some_and(|sender| sender.receiver_count() == 0) {
            jobs.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watch_wakes_and_goes() {
        let watches = Watches::default();
        let job = JobId(uuid::Uuid::from_u128(1));
        let mut first = watches.watch(job);
        let second = watches.watch(job);
        watches.wake(job);
        first.changed().await;
        drop(second);
        assert!(watches.lock().contains_key(&job));
        drop(first);
        assert!(watches.lock().is_empty());
        watches.wake(job);
    }
}
