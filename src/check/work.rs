//! What a worker has to do, and what may come next of it: chunks in the order of their sending, each answered in order.

use std::collections::VecDeque;

use crate::model::Verdict;
use crate::protocol::{Done, Failed};

/// Where the first chunk begins, and what lies between two: an index that is counted anew is seen as wrong.
const GAP: u64 = 7;

/// What became of a task.
pub(super) enum Outcome {
    Output(String),
    Failed { verdict: Verdict, message: String },
    Returned,
}

/// A chunk that is not answered to its end.
struct Chunk {
    first: u64,
    next: u64,
    end: u64,
    asked_back: bool,
}

#[derive(Default)]
pub(super) struct Work {
    chunks: VecDeque<Chunk>,
    /// Where the last chunk ended.
    end: u64,
    /// In the order of the tasks, but for what was returned.
    pub(super) outcomes: Vec<Outcome>,
}

impl Work {
    /// Another chunk; gives the index that it begins at.
    pub(super) fn add(&mut self, count: u64) -> u64 {
        let first = self.end + GAP;
        self.end = first + count;
        self.chunks.push_back(Chunk { first, next: first, end: self.end, asked_back: false });
        first
    }

    /// How many chunks are not answered to their end.
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// How many tasks have no outcome.
    pub(super) fn left(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.end - chunk.next).sum()
    }

    pub(super) fn ask_back(&mut self, first: u64) {
        let asked = self.chunks.iter_mut().filter(|chunk| chunk.first == first);
        asked.for_each(|chunk| chunk.asked_back = true);
    }

    pub(super) fn done(&mut self, done: &Done<'_>) -> Result<(), String> {
        self.advance(done.index, done.outputs.len() as u64)?;
        self.outcomes.extend(done.outputs.iter().map(|output| Outcome::Output(output.get().to_owned())));
        Ok(())
    }

    pub(super) fn failed(&mut self, failed: Failed<'_>) -> Result<(), String> {
        self.advance(failed.index, 1)?;
        let (verdict, message) = (failed.verdict, failed.message.into_owned());
        self.outcomes.push(Outcome::Failed { verdict, message });
        Ok(())
    }

    /// The tasks from this one on, of the chunk that they are in, will not be run.
    pub(super) fn returned(&mut self, index: u64) -> Result<(), String> {
        let is_in = |chunk: &&mut Chunk| chunk.asked_back && (chunk.first..=chunk.end).contains(&index);
        let Some(chunk) = self.chunks.iter_mut().find(is_in) else {
            return Err(format!("it returned its tasks from index {index} on, which were not asked for"));
        };
        // A chunk that has not begun is returned whole; one that has keeps the task at work.
        if index < chunk.next || index == chunk.next && chunk.next > chunk.first {
            return Err(format!("it returned its tasks from index {index} on; it is at {}", chunk.next));
        }
        let returned = chunk.end - index;
        chunk.end = index;
        self.outcomes.extend((0..returned).map(|_| Outcome::Returned));
        self.drop_answered();
        Ok(())
    }

    /// So many tasks from this one on are answered, if that is what was expected.
    fn advance(&mut self, index: u64, count: u64) -> Result<(), String> {
        let what = format!("it answered index {index}, with {count} in all");
        let Some(chunk) = self.chunks.front_mut() else {
            return Err(format!("{what}; but every task had been answered"));
        };
        let left = chunk.end - chunk.next;
        if index != chunk.next || count > left {
            return Err(format!("{what}; expected was index {}, and at most {left}", chunk.next));
        }
        chunk.next += count;
        self.drop_answered();
        Ok(())
    }

    fn drop_answered(&mut self) {
        while self.chunks.front().is_some_and(|chunk| chunk.next == chunk.end) {
            self.chunks.pop_front();
        }
    }
}
