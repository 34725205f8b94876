//! What a worker has to do and how far it is: chunks in the order of their sending, each answered in order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ending::{Cause, Ending};
use super::{Assignment, Settlement};
use crate::model::{Outcomes, TaskError, Verdict};
use crate::pool::blame::{Blame, judge, retries};
use crate::protocol::{Done, Failed, Run, json};
use crate::store::{Chunk, Completion, Release, Requeue};
use crate::sys;

/// Memory is looked up at most so often.
const RSS_EVERY: Duration = Duration::from_millis(100);

/// The work of one worker.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) worker: String,
    pub(super) pid: u32,
    chunks: VecDeque<Progress>,
    /// Since when it has been at work on the next task, as far as one can tell from outside.
    since: Instant,
    answers: Answers,
    settled: Vec<(Settlement, u32, Duration)>,
    cpu_ns: u64,
    rss: (u64, Option<Instant>),
}

/// A chunk and how far it is.
#[derive(Debug)]
struct Progress {
    assignment: Assignment,
    /// The index of the first task without an answer.
    next: u64,
}

impl Progress {
    fn left(&self) -> u32 {
        let Assignment { chunk, .. } = &self.assignment;
        (chunk.first + u64::from(chunk.count) - self.next) as u32
    }

    fn release(&self, count: u32, how: Requeue) -> Release {
        let (lease, job) = (self.assignment.chunk.lease, self.assignment.chunk.job);
        Release { lease, job, first: self.next, count, how }
    }
}

/// Outcomes of the first chunk that have not been passed on.
#[derive(Debug, Default)]
struct Answers {
    outcomes: Outcomes,
    lines: Vec<u8>,
    busy_ns: u64,
}

impl Answers {
    fn push(&mut self, ns: u64, failed: bool, line: &[u8]) {
        self.outcomes.push(ns, failed);
        self.busy_ns += ns;
        json::push_line(&mut self.lines, line);
    }
}

impl Work {
    pub(super) fn new(worker: String) -> Self {
        Self {
            worker,
            pid: 0,
            chunks: VecDeque::new(),
            since: Instant::now(),
            answers: Answers::default(),
            settled: Vec::new(),
            cpu_ns: 0,
            rss: (0, None),
        }
    }

    /// Puts a chunk behind the others and its message behind theirs.
    pub(super) fn add(&mut self, assignment: Assignment, outgoing: &mut Vec<u8>) {
        if self.chunks.is_empty() {
            self.since = Instant::now();
        }
        let chunk = &assignment.chunk;
        Run::encode(outgoing, chunk.job, chunk.first, chunk.attempt, &chunk.inputs);
        self.chunks.push_back(Progress { next: chunk.first, assignment });
    }

    /// Whether it has nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The hard limit of the task at work; zero if there is none.
    pub(super) fn timeout(&self) -> Duration {
        self.chunks.front().and_then(|chunk| chunk.assignment.timeout).unwrap_or_default()
    }

    /// When the task at work will have run too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.chunks.front()?.assignment.timeout.map(|timeout| self.since + timeout)
    }

    /// Takes in outputs; what is wrong with them, if anything is.
    pub(super) fn done(&mut self, done: &Done<'_>) -> Result<(), String> {
        let left = self.chunks.front().filter(|chunk| chunk.next == done.index).map_or(0, Progress::left);
        if done.outputs.len() > left as usize {
            return Err(self.unexpected(done.index, done.outputs.len()));
        }
        let unmeasured = self.since.elapsed().as_nanos() as u64 / (done.outputs.len() as u64).max(1);
        for (at, output) in done.outputs.iter().enumerate() {
            let ns = done.ns.as_ref().map_or(unmeasured, |ns| ns[at]);
            self.answers.push(ns, false, output.get().as_bytes());
        }
        self.advance(done.outputs.len() as u32);
        Ok(())
    }

    /// Takes in an error; what is wrong with it, if anything is.
    pub(super) fn failed(&mut self, failed: &Failed<'_>) -> Result<(), String> {
        let Some(chunk) = self.chunks.front().filter(|chunk| chunk.next == failed.index) else {
            return Err(self.unexpected(failed.index, 1));
        };
        let Assignment { chunk: Chunk { attempt, .. }, max_attempts, .. } = chunk.assignment;
        let ns = failed.ns.unwrap_or_else(|| self.since.elapsed().as_nanos() as u64);
        if retries(failed.retryable, attempt, max_attempts) {
            self.pass_on();
            let release = self.chunks[0].release(1, Requeue::Charged);
            self.settled.push((Settlement::Release(release), 1, Duration::from_nanos(ns)));
        } else {
            let Failed { kind, message, stack, .. } = failed;
            let (kind, message, stack) = (kind.clone(), message.clone(), stack.clone());
            let error = TaskError { verdict: Verdict::Exception, kind, message, stack };
            self.answers.push(ns, true, &error.to_line());
        }
        self.advance(1);
        Ok(())
    }

    fn unexpected(&self, index: u64, count: usize) -> String {
        let expected = self.chunks.front().map_or_else(
            || "nothing, as it has no task".to_owned(),
            |chunk| format!("task {} next, and at most {} in all", chunk.next, chunk.left()),
        );
        format!("it answered {count} tasks from task {index} on; expected was {expected}")
    }

    fn advance(&mut self, count: u32) {
        self.since = Instant::now();
        let Some(chunk) = self.chunks.front_mut() else { return };
        chunk.next += u64::from(count);
        if chunk.left() == 0 {
            self.pass_on();
            self.chunks.pop_front();
        }
    }

    /// What the answers so far come to, with how many tasks each concerns and how long they took.
    pub(super) fn settlements(&mut self) -> Vec<(Settlement, u32, Duration)> {
        self.pass_on();
        std::mem::take(&mut self.settled)
    }

    /// Makes one completion of the answers to the first chunk.
    fn pass_on(&mut self) {
        let count = self.answers.outcomes.count();
        if count == 0 {
            return;
        }
        let Answers { outcomes, lines, busy_ns } = std::mem::take(&mut self.answers);
        let (cpu_ns, max_rss_bytes) = self.usage();
        let Some(Progress { assignment: Assignment { chunk, .. }, next }) = self.chunks.front() else {
            return;
        };
        let completion = Completion {
            lease: chunk.lease,
            job: chunk.job,
            first: next - u64::from(count),
            attempt: chunk.attempt,
            worker: self.worker.clone(),
            pid: self.pid,
            outcomes,
            lines: lines.into(),
            busy_ns,
            cpu_ns,
            max_rss_bytes,
        };
        self.settled.push((Settlement::Complete(completion), count, Duration::from_nanos(busy_ns)));
    }

    /// The CPU time used since the last look, in nanoseconds, and the most memory held, in bytes.
    fn usage(&mut self) -> (u64, u64) {
        let before = self.cpu_ns;
        self.cpu_ns = sys::process_cpu_ns(self.pid).unwrap_or(before);
        if self.rss.1.is_none_or(|at| at.elapsed() >= RSS_EVERY) {
            self.rss = (sys::proc::max_rss_bytes(self.pid).unwrap_or(self.rss.0), Some(Instant::now()));
        }
        (self.cpu_ns.saturating_sub(before), self.rss.0)
    }

    /// What becomes of all that has no answer, now that the worker has ended.
    pub(super) fn abandon(
        &mut self,
        cause: Option<&Cause>,
        ending: &Ending,
        stderr: &str,
    ) -> Vec<Settlement> {
        let mut chunks = std::mem::take(&mut self.chunks).into_iter();
        let at_work = chunks.next().map(|chunk| self.judge(&chunk, cause, ending, stderr));
        let untouched =
            chunks.map(|chunk| Settlement::Release(chunk.release(chunk.left(), Requeue::AsBefore)));
        at_work.into_iter().chain(untouched).collect()
    }

    fn judge(&self, progress: &Progress, cause: Option<&Cause>, ending: &Ending, stderr: &str) -> Settlement {
        let left = progress.left();
        let Assignment { chunk, max_attempts, .. } = &progress.assignment;
        let how = match judge(ending.fault(cause), left, chunk.attempt, *max_attempts) {
            Blame::Nobody => Requeue::AsBefore,
            Blame::OneOfThem => Requeue::Alone,
            Blame::Charged => Requeue::Charged,
            Blame::Failed => {
                return Settlement::Complete(self.failure(progress, &ending.error(cause, stderr)));
            }
        };
        Settlement::Release(progress.release(left, how))
    }

    fn failure(&self, progress: &Progress, error: &TaskError<'_>) -> Completion {
        let chunk = &progress.assignment.chunk;
        let mut answers = Answers::default();
        answers.push(self.since.elapsed().as_nanos() as u64, true, &error.to_line());
        Completion {
            lease: chunk.lease,
            job: chunk.job,
            first: progress.next,
            attempt: chunk.attempt,
            worker: self.worker.clone(),
            pid: self.pid,
            outcomes: answers.outcomes,
            lines: answers.lines.into(),
            busy_ns: answers.busy_ns,
            cpu_ns: 0,
            max_rss_bytes: self.rss.0,
        }
    }
}
