//! Which jobs have changed, for those who follow all of them: each job once, in the order of its last change.
//!
//! Kept only while someone follows and for a minute after, so that a reader who was cut can go on where it was. Bounded:
//! one who is further behind than is kept is told so.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::model::JobId;

/// So many jobs are kept, those that changed last.
const KEPT_JOBS: usize = 4096;
/// Changes are kept for so long without anyone who follows.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// The changes of all jobs in this process, numbered.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last change that was kept.
    last: u64,
    /// `None` while nobody follows.
    record: Option<Record>,
}

#[derive(Debug)]
struct Record {
    /// The jobs by the number of their last change …
    jobs: BTreeMap<u64, JobId>,
    /// … and these numbers by job.
    numbers: HashMap<JobId, u64>,
    /// All changes behind this one are here.
    complete_after: u64,
    /// Tells the number of the last change.
    told: watch::Sender<u64>,
    /// Since when nobody follows, as far as that was noticed.
    alone_since: Option<Instant>,
}

impl Record {
    fn new(last: u64) -> Self {
        let (jobs, numbers, told) = (BTreeMap::new(), HashMap::new(), watch::Sender::new(last));
        Self { jobs, numbers, complete_after: last, told, alone_since: None }
    }

    fn note(&mut self, job: JobId, number: u64) {
        if let Some(before) = self.numbers.insert(job, number) {
            self.jobs.remove(&before);
        }
        self.jobs.insert(number, job);
        if self.jobs.len() > KEPT_JOBS
            && let Some((number, job)) = self.jobs.pop_first()
        {
            self.numbers.remove(&job);
            self.complete_after = number;
        }
        self.told.send_replace(number);
    }

    fn is_stale(&mut self) -> bool {
        if self.told.receiver_count() > 0 {
            self.alone_since = None;
            return false;
        }
        self.alone_since.get_or_insert_with(Instant::now).elapsed() > KEPT_FOR
    }
}

impl Changes {
    /// Notes that a job has changed.
    pub(super) fn note(&self, job: JobId) {
        let State { last, record } = &mut *self.lock();
        record.take_if(Record::is_stale);
        if let Some(record) = record {
            *last += 1;
            record.note(job, *last);
        }
    }

    /// Follows from behind this change on, or from now on.
    pub(super) fn follow(&self, after: Option<u64>) -> ChangeWatch {
        let mut state = self.lock();
        let State { last, record } = &mut *state;
        // What changed while nobody followed has no number: none of before may stand for all up to here.
        *last += u64::from(record.is_none());
        let record = record.get_or_insert_with(|| Record::new(*last));
        let missed = after.is_some_and(|after| after > *last);
        let at = after.filter(|_| !missed).unwrap_or(*last);
        ChangeWatch { changes: self.clone(), told: record.told.subscribe(), at, missed }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the changes of all jobs.
#[derive(Debug)]
pub struct ChangeWatch {
    changes: Changes,
    told: watch::Receiver<u64>,
    at: u64,
    /// Whether it began at a place that there never was.
    missed: bool,
}

/// What has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Changed {
    /// These jobs, those that have waited longest first.
    Jobs(Vec<JobId>),
    /// More than is kept: any job may have.
    Unknown,
}

impl ChangeWatch {
    /// The number of the last change that it has given: to go on from there.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Waits until there is more.
    pub async fn changed(&mut self) {
        let at = self.at;
        if self.told.wait_for(|last| *last > at).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What has changed behind its place, at most so many jobs; moves it on.
    pub fn next(&mut self, most: usize) -> Changed {
        let state = self.changes.lock();
        let complete_after = state.record.as_ref().map_or(state.last, |record| record.complete_after);
        if std::mem::take(&mut self.missed) || self.at < complete_after {
            self.at = state.last;
            return Changed::Unknown;
        }
        let behind = state.record.iter().flat_map(|record| record.jobs.range(self.at + 1..));
        let (numbers, jobs): (Vec<u64>, Vec<JobId>) = behind.take(most).unzip();
        self.at = numbers.last().copied().unwrap_or(self.at);
        Changed::Jobs(jobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: usize) -> JobId {
        JobId(uuid::Uuid::from_u128(number as u128))
    }

    #[tokio::test]
    async fn each_job_is_given_once_in_the_order_of_its_last_change() {
        let changes = Changes::default();
        changes.note(job(9));
        let mut watch = changes.follow(None);
        [1, 2, 1, 3].map(job).iter().for_each(|job| changes.note(*job));
        watch.changed().await;
        assert_eq!(watch.next(2), Changed::Jobs(vec![job(2), job(1)]));
        watch.changed().await;
        let at = watch.at();
        assert_eq!(watch.next(2), Changed::Jobs(vec![job(3)]));
        assert_eq!(watch.next(2), Changed::Jobs(Vec::new()));
        drop(watch);
        changes.note(job(4));
        assert_eq!(changes.follow(Some(at)).next(9), Changed::Jobs(vec![job(3), job(4)]));
    }

    #[test]
    fn who_is_further_behind_than_is_kept_is_told_so() {
        let changes = Changes::default();
        let mut watch = changes.follow(None);
        (0..KEPT_JOBS).map(job).for_each(|job| changes.note(job));
        let start = watch.at();
        assert!(matches!(changes.follow(Some(start)).next(1), Changed::Jobs(jobs) if jobs.len() == 1));
        changes.note(job(KEPT_JOBS));
        assert_eq!(watch.next(1), Changed::Unknown);
        assert_eq!(watch.next(1), Changed::Jobs(Vec::new()));
        assert_eq!(changes.follow(Some(u64::MAX)).next(1), Changed::Unknown);
        let state = changes.lock();
        let record = state.record.as_ref().unwrap();
        assert_eq!((record.jobs.len(), record.numbers.len()), (KEPT_JOBS, KEPT_JOBS));
    }

    #[test]
    fn without_followers_nothing_is_kept() {
        let changes = Changes::default();
        changes.note(job(1));
        assert!(changes.lock().record.is_none());
        drop(changes.follow(None));
        changes.note(job(2));
        let ago = Instant::now().checked_sub(KEPT_FOR + Duration::from_secs(1)).unwrap();
        changes.lock().record.as_mut().unwrap().alone_since = Some(ago);
        let at = changes.lock().last;
        changes.note(job(3));
        assert!(changes.lock().record.is_none());
        // What was not kept cannot be gone on from.
        assert_eq!(changes.follow(Some(at)).next(1), Changed::Unknown);
    }
}
