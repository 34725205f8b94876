//! Until when jobs wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::model::JobId;

/// Jobs that wait, each until its time.
#[derive(Debug, Default)]
pub(super) struct Delays {
    by_job: BTreeMap<JobId, Instant>,
    by_time: BTreeSet<(Instant, JobId)>,
}

impl Delays {
    /// How many jobs wait.
    pub(super) fn len(&self) -> usize {
        self.by_job.len()
    }

    pub(super) fn contains(&self, job: JobId) -> bool {
        self.by_job.contains_key(&job)
    }

    /// Has a job wait until then; one that waits until the earlier time.
    pub(super) fn add(&mut self, job: JobId, until: Instant) {
        let until = self.remove(job).map_or(until, |before| before.min(until));
        self.by_job.insert(job, until);
        self.by_time.insert((until, job));
    }

    pub(super) fn remove(&mut self, job: JobId) -> Option<Instant> {
        let until = self.by_job.remove(&job)?;
        self.by_time.remove(&(until, job));
        Some(until)
    }

    /// The first time of all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(until, _)| *until)
    }

    /// Takes a job whose time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<JobId> {
        let (_, job) = self.by_time.first().copied().filter(|(until, _)| *until <= now)?;
        self.remove(job);
        Some(job)
    }
}
