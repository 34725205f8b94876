//! One job of the reference model, with a value for each of its tasks.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::callbacks::waiting;
use super::logs::Logs;
use crate::model::segment::ResultBody;
use crate::model::{Histogram, Job, JobState, LeaseId, ResultSegment, Tally, Timestamp};
use crate::store::counts::TaskCounts;
use crate::store::{Callback, Intake, JobFilter, NewJob};

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: Job,
    /// Its inputs come over a connection, which a restart cuts.
    pub(super) is_streamed: bool,
    pub(super) tasks: Vec<Task>,
    /// In the order of their completion: `seq` is the place, counted from 1.
    pub(super) results: Vec<ResultSegment>,
    /// The seqs of results whose tasks have been run again since.
    pub(super) superseded: BTreeSet<u64>,
    /// Results up to this seq are gone.
    pub(super) freed_through: u64,
    pub(super) logs: Logs,
    /// How often it has ended.
    pub(super) ends: u32,
    /// What became of telling its last end.
    pub(super) callback: Option<Callback>,
    /// How many of its tasks have an outcome since the start without having run.
    pub(super) not_run: TaskCounts,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) input: Vec<u8>,
    pub(super) state: TaskState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TaskState {
    /// Not to be leased before this time, in microseconds.
    Queued {
        attempt: u32,
        alone: bool,
        not_before: i64,
    },
    Leased {
        lease: LeaseId,
        attempt: u32,
    },
    Done,
}

impl Entry {
    pub(super) fn new(new: NewJob, inputs: Vec<Vec<u8>>, now: Timestamp) -> Self {
        let queued = TaskState::Queued { attempt: 1, alone: false, not_before: 0 };
        let tasks = inputs.into_iter().map(|input| Task { input, state: queued }).collect();
        let is_streamed = new.intake == Intake::Streamed;
        let job = Job {
            id: new.id,
            spec: new.spec,
            state: JobState::Queued,
            open: new.intake.is_open(),
            tally: Tally { total: new.total, ..Tally::default() },
            created_at: now,
            started_at: None,
            finished_at: None,
            cpu_ns: 0,
            task_times: Histogram::default(),
            workers: Vec::new(),
        };
        let (results, superseded, logs) = (Vec::new(), BTreeSet::new(), Logs::default());
        let (ends, callback, not_run) = (0, None, TaskCounts::default());
        let freed_through = 0;
        let mut entry = Self {
            job,
            is_streamed,
            tasks,
            results,
            superseded,
            freed_through,
            logs,
            ends,
            callback,
            not_run,
        };
        entry.end_if_done(now);
        entry
    }

    pub(super) fn unclaimed(&self) -> u64 {
        self.tasks.iter().filter(|task| matches!(task.state, TaskState::Queued { .. })).count() as u64
    }

    pub(super) fn waits_until(&self) -> impl Iterator<Item = i64> {
        self.tasks.iter().filter_map(|task| match task.state {
            TaskState::Queued { not_before, .. } => Some(not_before),
            TaskState::Leased { .. } | TaskState::Done => None,
        })
    }

    /// Cancels every task that is not leased or done.
    pub(super) fn cancel_queued(&mut self) {
        self.job.state = JobState::Cancelling;
        for index in 0..self.tasks.len() {
            if let TaskState::Queued { .. } = self.tasks[index].state {
                self.tasks[index].state = TaskState::Done;
                self.job.tally.cancelled += 1;
                self.not_run.cancelled += 1;
                self.push_result(index as u64, 1, 0, ResultBody::Cancelled);
            }
        }
    }

    /// Fails every task that is not leased or done.
    pub(super) fn fail_queued(&mut self, error: &Bytes) {
        for index in 0..self.tasks.len() {
            if let TaskState::Queued { .. } = self.tasks[index].state {
                self.tasks[index].state = TaskState::Done;
                self.job.tally.failed += 1;
                self.not_run.not_run += 1;
                self.push_result(index as u64, 1, 0, ResultBody::NotRun { error: error.clone() });
            }
        }
    }

    pub(super) fn end_if_done(&mut self, now: Timestamp) {
        let takes_more = self.job.open && self.job.state != JobState::Cancelling;
        if !self.job.state.is_final() && self.job.tally.done() == self.job.tally.total && !takes_more {
            self.job.state = self.job.tally.final_state(self.job.spec.options.on_error);
            self.job.finished_at = Some(now);
            self.ends += 1;
            self.callback = self.job.spec.options.callback_url.as_ref().map(|_| waiting(Some(now)));
        }
    }

    pub(super) fn matches(&self, filter: &JobFilter) -> bool {
        let spec = &self.job.spec;
        filter.state.is_none_or(|state| state == self.job.state)
            && filter.function.as_ref().is_none_or(|function| *function == spec.function)
            && filter.label.as_ref().is_none_or(|(key, value)| spec.labels.get(key) == Some(value))
    }
}
