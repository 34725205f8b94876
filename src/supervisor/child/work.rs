//! What a worker has to do and how far it is: chunks in the order of their sending, each answered in order.

mod left;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chunk::{Answers, Progress};
use super::ending::Cause;
use super::logs::TaskRun;
use super::measure::{Budget, Clock};
use super::{Assignment, Launch, Settlement};
use crate::model::{TaskError, Verdict};
use crate::pool::blame::retries;
use crate::protocol::{Done, Failed, Request, Usage};
use crate::schema::Schema;
use crate::store::{Chunk, Completion, Release, Requeue};
use crate::sys;

/// A worker that has not answered for so long, with tasks of its chunk unstarted, is asked to return them.
const SLOW: Duration = Duration::from_millis(30);
/// Behind a chunk of at least this, to pass a small one on costs too little to be done ahead: some 0.05 ms.
const LONG: Duration = Duration::from_millis(2);
/// No machine has so much memory, in bytes.
const MOST_MEMORY: u64 = 1 << 56;
/// Memory is looked up at most so often.
const RSS_EVERY: Duration = Duration::from_millis(100);

/// What a worker has answered of its first chunk.
#[derive(Debug)]
pub(super) struct Answered {
    /// What is to be written of it.
    pub(super) settlement: Settlement,
    /// How many tasks it concerns.
    pub(super) count: u32,
    /// How long the worker was at work on them.
    pub(super) elapsed: Duration,
    /// Whether it is the whole chunk, and nothing else of the job is under way.
    pub(super) is_last: bool,
}

/// The work of one worker.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) worker: String,
    pub(super) pid: u32,
    max_output_bytes: u64,
    output_schema: Option<Schema>,
    started: Instant,
    task_time: Budget,
    cpu_time: Budget,
    /// Whether it returns what it has not started when it is asked.
    pub(super) returns: bool,
    chunks: VecDeque<Progress>,
    /// Since when it has been at work on the next task, as far as one can tell from outside.
    since: Instant,
    /// Since when it has been at work on its first chunk, and how long the one before that took.
    chunk_since: Instant,
    chunk_took: Duration,
    clock: Clock,
    answers: Answers,
    settled: Vec<Answered>,
    /// The tasks that it has answered of the chunk that it answered last.
    answered: Range<u64>,
    cpu_ns: u64,
    /// The CPU time that completions have told of, and that of all its life once it has ended, in nanoseconds.
    told_ns: u64,
    life_ns: u64,
    rss: (u64, Option<Instant>),
    /// What it says that the tasks since the last completion used.
    used: Usage,
}

impl Work {
    pub(super) fn new(launch: &Launch) -> Self {
        Self {
            worker: launch.name.to_string(),
            max_output_bytes: launch.limits.max_output_bytes,
            output_schema: launch.output_schema.clone(),
            started: Instant::now(),
            task_time: Budget::default(),
            cpu_time: Budget::default(),
            pid: 0,
            returns: false,
            chunks: VecDeque::new(),
            since: Instant::now(),
            chunk_since: Instant::now(),
            chunk_took: Duration::ZERO,
            clock: Clock::new(launch.now),
            answers: Answers::default(),
            settled: Vec::new(),
            answered: 0..0,
            cpu_ns: 0,
            told_ns: 0,
            life_ns: 0,
            rss: (0, None),
            used: Usage::default(),
        }
    }

    /// Puts a chunk behind the others and its message behind theirs, `from` there in all that is written. Behind a single
    /// task it waits here: a worker that is at one could not give it back. So does one that is written in no time, if chunks
    /// take some.
    pub(super) fn add(&mut self, assignment: Assignment, from: u64, outgoing: &mut Vec<u8>) {
        if self.chunks.is_empty() {
            self.clock = Clock::new(self.clock.now);
            (self.since, self.chunk_since) = (self.clock.set.0, self.clock.set.0);
        }
        let can_wait = self.takes_long() && assignment.is_small();
        let waits = |last: &Progress| last.from.is_none() || last.assignment.chunk.count == 1 || can_wait;
        let waits = self.chunks.back().is_some_and(waits);
        let next = assignment.chunk.first;
        self.chunks.push_back(Progress { next, from: None, asked_back: false, assignment });
        if !waits {
            self.chunks.back_mut().into_iter().for_each(|chunk| chunk.send(from, outgoing));
        }
    }

    fn takes_long(&self) -> bool {
        self.chunk_took >= LONG
    }

    /// Until when nothing needs to be told of its next chunk, as it is at work on one.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        let at_work = self.chunks.front()?;
        (self.takes_long() || at_work.assignment.chunk.count == 1).then(|| self.since + SLOW)
    }

    /// Sends the next chunk if it waits here.
    pub(super) fn send_next(&mut self, from: u64, outgoing: &mut Vec<u8>) {
        let next = self.chunks.front_mut().filter(|chunk| chunk.from.is_none());
        next.into_iter().for_each(|chunk| chunk.send(from, outgoing));
    }

    /// Which task is at work, as far as one can tell from outside: the first without an answer.
    pub(super) fn at_work(&self) -> Option<TaskRun> {
        self.chunks.front().and_then(|chunk| self.attempt_at(chunk.next))
    }

    /// The attempt at this task, if it is one of its own.
    pub(super) fn attempt_at(&self, index: u64) -> Option<TaskRun> {
        let chunk = self.chunks.iter().find(|chunk| (chunk.first()..chunk.end()).contains(&index))?;
        let Chunk { job, attempt, .. } = chunk.assignment.chunk;
        Some(TaskRun { job, index, attempt })
    }

    /// Since when the task at work has run.
    pub(super) fn at_work_since(&self) -> Option<Instant> {
        (!self.is_empty()).then_some(self.since)
    }

    /// The most memory that it was seen to hold, in bytes.
    pub(super) fn max_rss_bytes(&self) -> u64 {
        self.rss.0
    }

    /// Takes in what it used in all, as it has ended.
    pub(super) fn ended(&mut self, cpu: Duration, max_rss_bytes: u64) {
        self.life_ns = cpu.as_nanos() as u64;
        self.rss.0 = self.rss.0.max(max_rss_bytes);
    }

    /// The CPU time that it has used in all, once it has ended.
    pub(super) fn life_cpu(&self) -> Duration {
        Duration::from_nanos(self.life_ns)
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

    /// When what is not started should be asked back, so that others can run it.
    pub(super) fn slow_at(&self) -> Option<Instant> {
        let (at_work, behind) = (self.chunks.front()?, self.chunks.back()?);
        let more = !at_work.asked_back && at_work.left() > 1 || self.chunks.len() > 1 && !behind.asked_back;
        (behind.from.is_none() || self.returns && more).then(|| self.since + SLOW)
    }

    /// Takes the chunk out that waits here.
    pub(super) fn give_back(&mut self) -> Option<Release> {
        let waiting = self.chunks.pop_back_if(|chunk| chunk.from.is_none())?;
        Some(waiting.release(waiting.next, waiting.left(), Requeue::AsBefore))
    }

    /// Asks for all that is not started.
    pub(super) fn take_back(&mut self, outgoing: &mut Vec<u8>) {
        for chunk in self.chunks.iter_mut().filter(|chunk| !chunk.asked_back) {
            chunk.asked_back = true;
            Request::encode_take_back(outgoing, chunk.assignment.chunk.first);
        }
    }

    /// Takes in that the tasks from `index` on, of the chunk that they are in, will not be run; what is to become of
    /// them.
    pub(super) fn returned(&mut self, index: u64) -> Result<Option<Release>, String> {
        let asked = |chunk: &Progress| chunk.asked_back && (chunk.first()..=chunk.end()).contains(&index);
        // At the border of two chunks it is the later one, whole, or else nothing of the earlier one.
        let Some(at) = self.chunks.iter().rposition(asked) else {
            return Err(format!("it returned its tasks from {index} on, which were not asked for"));
        };
        let progress = &mut self.chunks[at];
        // Of a chunk that it has begun it keeps the task that it is at.
        let begun = progress.next > progress.first();
        if index < progress.next || begun && index == progress.next {
            return Err(format!("it returned task {index}, which it is at"));
        }
        let count = (progress.end() - index) as u32;
        progress.assignment.chunk.count -= count;
        let release = progress.release(index, count, Requeue::AsBefore);
        if progress.left() == 0 {
            self.chunks.remove(at);
        }
        Ok(Some(release).filter(|release| release.count > 0))
    }

    /// Takes in outputs; what is wrong with them, if anything is.
    pub(super) fn done(&mut self, done: &Done<'_>) -> Result<(), Cause> {
        let left = self.chunks.front().filter(|chunk| chunk.next == done.index).map_or(0, Progress::left);
        if done.outputs.len() > left as usize {
            return Err(self.unexpected(done.index, done.outputs.len()));
        }
        let unmeasured = self.since.elapsed().as_nanos() as u64 / (done.outputs.len() as u64).max(1);
        let lived = self.started.elapsed();
        for (at, output) in done.outputs.iter().enumerate() {
            let ns = done.ns.as_ref().map_or(unmeasured, |ns| ns.of(at));
            let ns = self.task_time.grant(ns, lived);
            self.push(ns, None, output.get().as_bytes());
        }
        self.used.add(done.usage);
        self.advance(done.outputs.len() as u32);
        Ok(())
    }

    /// Takes in an output or an error, unless something is wrong with it.
    fn push(&mut self, ns: u64, failed: Option<Verdict>, line: &[u8]) {
        self.answers.after.get_or_insert(self.since);
        match self.refuse(failed.is_some(), line) {
            None => self.answers.push(ns, failed, line),
            Some(error) => self.answers.push(ns, Some(error.verdict), &error.to_line()),
        }
    }

    /// What is wrong with an output or an error; another attempt would hardly be better.
    fn refuse(&self, failed: bool, line: &[u8]) -> Option<TaskError<'static>> {
        if line.len() as u64 > self.max_output_bytes {
            let what = if failed { "error" } else { "output" };
            let message =
                format!("its {what} has {} bytes; it may have {}", line.len(), self.max_output_bytes);
            return Some(TaskError::new(Verdict::OutputTooLarge, message));
        }
        let mismatch = self.output_schema.as_ref().filter(|_| !failed)?.check(line).err()?;
        let message = format!("its output does not fit the function's schema: {mismatch}");
        Some(TaskError::new(Verdict::BadOutput, message))
    }

    /// Takes in an error; what is wrong with it, if anything is.
    pub(super) fn failed(&mut self, failed: &Failed<'_>) -> Result<(), Cause> {
        let Some(chunk) = self.chunks.front().filter(|chunk| chunk.next == failed.index) else {
            return Err(self.unexpected(failed.index, 1));
        };
        let Assignment { chunk: Chunk { attempt, .. }, max_attempts, .. } = chunk.assignment;
        let ns = failed.ns.unwrap_or_else(|| self.since.elapsed().as_nanos() as u64);
        let ns = self.task_time.grant(ns, self.started.elapsed());
        self.used.add(failed.usage);
        if retries(failed.retryable, attempt, max_attempts) {
            self.pass_on();
            let release = self.chunks[0].release(failed.index, 1, Requeue::Charged);
            let settlement = Settlement::Release(release, Some(failed.verdict));
            let elapsed = Duration::from_nanos(ns);
            self.settled.push(Answered { settlement, count: 1, elapsed, is_last: false });
        } else {
            let Failed { verdict, kind, message, stack, .. } = failed;
            let (kind, message, stack) = (kind.clone(), message.clone(), stack.clone());
            let error = TaskError { verdict: *verdict, kind, message, stack };
            self.push(ns, Some(error.verdict), &error.to_line());
        }
        self.advance(1);
        Ok(())
    }

    fn unexpected(&self, index: u64, count: usize) -> Cause {
        let expected = self.chunks.front().map_or_else(
            || "nothing, as it has no task".to_owned(),
            |chunk| format!("task {} next, and at most {} in all", chunk.next, chunk.left()),
        );
        let why = format!("it answered {count} tasks from task {index} on; expected was {expected}");
        let is_next = self.chunks.front().is_some_and(|chunk| chunk.next == index);
        if self.answered.contains(&index) && !is_next {
            Cause::BrokenBefore(why)
        } else {
            Cause::BadOutput(why)
        }
    }

    fn advance(&mut self, count: u32) {
        self.since = Instant::now();
        let Some(chunk) = self.chunks.front_mut() else { return };
        chunk.next += u64::from(count);
        self.answered = chunk.first()..chunk.next;
        if chunk.left() == 0 {
            self.chunk_took = self.since - self.chunk_since;
            self.chunk_since = self.since;
            self.pass_on();
            self.chunks.pop_front();
        }
    }

    /// What the answers so far come to.
    pub(super) fn settlements(&mut self) -> Vec<Answered> {
        self.pass_on();
        std::mem::take(&mut self.settled)
    }

    /// Makes one completion of the answers to the first chunk.
    fn pass_on(&mut self) {
        let count = self.answers.outcomes.count();
        if count == 0 {
            return;
        }
        let Answers { after, outcomes, lines, busy_ns, failures } = std::mem::take(&mut self.answers);
        let span = self.clock.span(after.unwrap_or(self.since), self.since, busy_ns);
        let (cpu_ns, max_rss_bytes) = self.usage();
        let Some(at_work) = self.chunks.front() else { return };
        let (chunk, next) = (&at_work.assignment.chunk, at_work.next);
        // Of a chunk that is answered in parts, the loop keeps the order.
        let is_last = at_work.assignment.is_last && count == chunk.count;
        let completion = Completion {
            lease: chunk.lease,
            job: chunk.job,
            first: next - u64::from(count),
            attempt: chunk.attempt,
            worker: self.worker.clone(),
            pid: self.pid,
            task_times: outcomes.times(),
            outcomes,
            lines: lines.into(),
            span,
            busy_ns,
            cpu_ns,
            max_rss_bytes,
        };
        let settlement = Settlement::Complete(Arc::new(completion), failures);
        let elapsed = Duration::from_nanos(busy_ns);
        self.settled.push(Answered { settlement, count, elapsed, is_last });
    }

    /// The CPU time used since the last look, in nanoseconds, and the most memory held, in bytes.
    fn usage(&mut self) -> (u64, u64) {
        let before = self.cpu_ns;
        self.cpu_ns = sys::process_cpu_ns(self.pid).unwrap_or(before);
        if self.rss.1.is_none_or(|at| at.elapsed() >= RSS_EVERY) {
            self.rss = (sys::proc::max_rss_bytes(self.pid).unwrap_or(self.rss.0), Some(Instant::now()));
        }
        let said = std::mem::take(&mut self.used);
        let seen = self.cpu_ns.saturating_sub(before);
        let said_ns = self.cpu_time.grant(said.cpu_ns.unwrap_or(0), self.started.elapsed());
        self.told_ns += said_ns + seen;
        (said_ns + seen, self.rss.0.max(said.max_rss_bytes.unwrap_or(0).min(MOST_MEMORY)))
    }
}
