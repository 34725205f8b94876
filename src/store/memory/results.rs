//! A job's results, in their orders, and the failed ones that run again.

use super::callbacks::waiting;
use super::entry::{Entry, TaskState};
use crate::model::segment::ResultBody;
use crate::model::{JobState, ResultSegment};
use crate::store::Order;

impl Entry {
    pub(super) fn push_result(&mut self, first_index: u64, count: u64, attempt: u32, body: ResultBody) {
        let first_seq = self.results.last().map_or(1, |last| last.first_seq + last.count);
        self.results.push(ResultSegment { first_seq, first_index, count, attempt, body });
    }

    /// The results in this order, a segment each, as far as the order goes.
    pub(super) fn in_order(&self, order: Order) -> Vec<ResultSegment> {
        let all = self.results.iter().flat_map(singles);
        let mut singles: Vec<ResultSegment> =
            all.filter(|single| single.first_seq > self.freed_through).collect();
        if order == Order::Failed {
            let failed = |single: &ResultSegment| !single.failures().is_empty();
            singles.retain(|single| failed(single) && !self.superseded.contains(&single.first_seq));
        }
        if order == Order::Input {
            singles.retain(|single| !self.superseded.contains(&single.first_seq));
            singles.sort_by_key(|single| single.first_index);
            let prefix =
                singles.iter().zip(0..).take_while(|(single, index)| single.first_index == *index).count();
            singles.truncate(prefix);
        }
        singles
    }

    /// Queues the failed tasks once more; gives how many.
    pub(super) fn retry_failed(&mut self) -> u64 {
        let all: Vec<ResultSegment> = self.results.iter().flat_map(singles).collect();
        let mut count = 0;
        let is_there =
            |single: &&ResultSegment| single.first_seq > self.freed_through && !single.failures().is_empty();
        for single in all.iter().filter(is_there) {
            if self.superseded.insert(single.first_seq) {
                count += 1;
                let attempt = single.attempt + 1;
                let queued = TaskState::Queued { attempt, alone: attempt > 1, not_before: 0 };
                self.tasks[single.first_index as usize].state = queued;
            }
        }
        self.job.tally.failed -= count;
        if count > 0 {
            (self.job.state, self.job.finished_at) = (JobState::Running, None);
            self.callback = self.callback.take().map(|_| waiting(None));
        }
        count
    }
}

/// A segment, cut into segments of one.
fn singles(segment: &ResultSegment) -> Vec<ResultSegment> {
    (0..segment.count).map(|at| segment.part(at, 1)).collect()
}
