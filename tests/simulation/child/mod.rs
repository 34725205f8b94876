//! A worker and the thread that owns it: how far it is, what it answers, and what it gives back.

mod departure;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use gristmill::model::segment::lines;
use gristmill::model::{LeaseId, Outcomes, Span, Timestamp, WorkerName};
use gristmill::pool::blame::{Fault, backoff, retries};
use gristmill::pool::{Event, WorkerId};
use gristmill::store::{Chunk, Completion, Release, Requeue};

use crate::bugs::Bug;
use crate::disk::Write;
use crate::plan::{Job, Kind, Plan};
use crate::shell::Limits;
use crate::world::{Happening, World};

const SLOW: Duration = Duration::from_millis(30);
/// How long a word takes from one thread or process to another, at most.
const WORD: Duration = Duration::from_micros(200);

/// What a worker's thread tells the loop.
#[derive(Debug)]
pub(crate) enum Told {
    Ready,
    Worn,
    Answered(Write, u32, Duration),
    Returned(Release),
    /// What is to become of what it had, and whether it never was of use.
    Gone(Vec<Write>, bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Starting,
    Up,
    Finishing,
    /// Told to end.
    Ending,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Child {
    name: WorkerName,
    phase: Phase,
    chunks: VecDeque<Work>,
    part: Option<Part>,
    /// Tells what it is at from what it was at before.
    version: u64,
    /// Whether it has begun any work.
    useful: bool,
    /// Whether it gives back what it has not begun.
    returns: bool,
    /// What it tells comes in order.
    told_at: Duration,
}

impl Child {
    /// Behind a single task the next chunk waits outside of the worker, and so comes back whatever the worker can do.
    fn holds_what_comes(&self) -> bool {
        self.chunks.front().is_some_and(|work| work.chunk.count == 1)
    }
}

#[derive(Debug)]
struct Work {
    chunk: Chunk,
    limits: Limits,
    /// The first task without an answer.
    next: u64,
    asked_back: bool,
}

/// The tasks that are answered together; the last of them may be none that succeeds.
#[derive(Clone, Copy, Debug)]
struct Part {
    end: u64,
    since: Duration,
}

impl Work {
    fn end(&self) -> u64 {
        self.chunk.first + u64::from(self.chunk.count)
    }

    fn left(&self) -> u32 {
        (self.end() - self.next) as u32
    }

    fn release(&self, first: u64, count: u32, how: Requeue) -> Release {
        let Chunk { lease, job, attempt, .. } = self.chunk;
        let seed = job.0.as_u64_pair().1.wrapping_add(first);
        let charged = how == Requeue::Charged;
        let delay = if charged { backoff(self.limits.retry_backoff, attempt, seed) } else { Duration::ZERO };
        Release { lease, job, first, count, how, delay }
    }

    /// The outcomes of the next tasks; the last of them has failed or not.
    fn complete(
        &self,
        worker: WorkerName,
        (count, last_failed): (u32, bool),
        plan: &Plan,
        shift: u64,
    ) -> Write {
        let Chunk { lease, job, first, attempt, ref inputs, .. } = self.chunk;
        let (mut outcomes, mut block) = (Outcomes::default(), Vec::new());
        let inputs: Vec<&[u8]> = lines(inputs).collect();
        for index in self.next..self.next + u64::from(count) {
            let failed = last_failed && index + 1 == self.next + u64::from(count);
            let input = inputs[((index - first + shift) % inputs.len() as u64) as usize];
            outcomes.push(plan.job(job).task(index).0.as_nanos() as u64, failed);
            block.extend(if failed { b"{}".to_vec() } else { Job::output(input) });
            block.push(b'\n');
        }
        Write::Complete(Arc::new(Completion {
            lease,
            job,
            first: self.next,
            attempt,
            worker: worker.to_string(),
            pid: 1,
            task_times: outcomes.times(),
            outcomes,
            lines: block.into(),
            span: Span { start: Timestamp(0), end: Timestamp(0) },
            busy_ns: 0,
            cpu_ns: 0,
            max_rss_bytes: 0,
        }))
    }
}

/// What this attempt at a task comes to.
fn fails(kind: Kind, attempt: u32) -> bool {
    matches!(kind, Kind::Fails) || matches!(kind, Kind::FailsAtFirst(times) if attempt <= times)
}

impl World {
    pub(crate) fn tell(&mut self, worker: WorkerId, told: Told) {
        let after = self.now + self.random.time(WORD);
        let Some(child) = self.children.get_mut(&worker) else { return };
        child.told_at = child.told_at.max(after);
        let at = child.told_at;
        self.at(at, Happening::Told(worker, told));
    }

    pub(crate) fn spawn(&mut self, worker: WorkerId, name: WorkerName, function: &str) {
        let function = self.plan.function(function);
        let (fails, time) = (function.fails, function.start_time);
        let fails = self.random.percent(fails);
        if fails && self.random.percent(30) {
            let gone = Event::Gone { worker, settled: Vec::new(), failed_start: true };
            return self.not_started.push_back(gone);
        }
        let (phase, returns, told_at) = (Phase::Starting, self.random.percent(80), self.now);
        let (chunks, part) = (VecDeque::new(), None);
        let child = Child { name, phase, chunks, part, version: 0, useful: false, returns, told_at };
        self.children.insert(worker, child);
        let after = self.random.time(time);
        self.later(after, if fails { Happening::FailsToStart(worker) } else { Happening::Worked(worker, 0) });
        if self.has(Bug::SendToStarting) {
            self.pool.handle(Event::Ready(worker), self.instant());
        }
    }

    pub(crate) fn run_chunk(&mut self, worker: WorkerId, chunk: Chunk, limits: Limits) {
        let Some(child) = self.children.get_mut(&worker).filter(|child| child.phase != Phase::Ended) else {
            return;
        };
        let next = chunk.first;
        let returns = child.returns || child.holds_what_comes();
        child.chunks.push_back(Work { chunk, limits, next, asked_back: false });
        let version = child.version;
        match child.part {
            None => self.later(WORD, Happening::Worked(worker, version)),
            Some(part) if returns => self.at(part.since + SLOW, Happening::Slow(worker, version)),
            Some(_) => {}
        }
    }

    /// It is ready, or has read its next chunk, or has done what it was at.
    pub(crate) fn worked(&mut self, worker: WorkerId, version: u64) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        if child.version != version || child.phase == Phase::Ended {
            return;
        }
        if child.phase == Phase::Starting {
            child.phase = Phase::Up;
            child.version += 1;
            self.tell(worker, Told::Ready);
        } else if let Some(part) = child.part.take() {
            self.answer_part(worker, part);
        }
        self.begin_part(worker);
    }

    fn answer_part(&mut self, worker: WorkerId, part: Part) {
        let shift = u64::from(self.has(Bug::ShiftOutputs));
        let Some(child) = self.children.get_mut(&worker) else { return };
        let name = child.name;
        let Some(work) = child.chunks.front_mut() else { return };
        let Chunk { lease, job, attempt, .. } = work.chunk;
        let last = part.end - 1;
        let kind = self.plan.job(job).task(last).1;
        if kind == Kind::Poison {
            child.part = Some(part);
            return self.conclude(worker, Fault::Task);
        }
        let again = fails(kind, attempt)
            && retries(matches!(kind, Kind::FailsAtFirst(_)), attempt, work.limits.max_attempts);
        let times = |from, to| (from..to).map(|index| self.plan.job(job).task(index).0).sum::<Duration>();
        let mut told = Vec::new();
        let complete = (part.end - work.next) as u32 - u32::from(again);
        if complete > 0 {
            let elapsed = times(work.next, work.next + u64::from(complete));
            let done = work.complete(name, (complete, fails(kind, attempt) && !again), &self.plan, shift);
            told.push(Told::Answered(done, complete, elapsed));
        }
        if again {
            self.checks.blame(lease, last);
            let release = Write::Release(work.release(last, 1, Requeue::Charged));
            told.push(Told::Answered(release, 1, times(last, part.end)));
        }
        work.next = part.end;
        if work.left() == 0 {
            child.chunks.pop_front();
        }
        told.into_iter().for_each(|told| self.tell(worker, told));
    }

    /// Goes on with its next tasks, if it has any.
    fn begin_part(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        if child.part.is_some() || matches!(child.phase, Phase::Starting | Phase::Ended) {
            return;
        }
        child.version += 1;
        let Some(work) = child.chunks.front() else {
            if child.phase == Phase::Finishing {
                self.leave(worker);
            }
            return;
        };
        child.useful = true;
        let left = u64::from(work.left());
        let most = if self.random.percent(50) { left } else { 1 + self.random.below(left) };
        let (mut end, mut time) = (work.next, Duration::ZERO);
        while end < work.next + most {
            let (takes, kind) = self.plan.job(work.chunk.job).task(end);
            (end, time) = (end + 1, time + takes);
            if kind == Kind::Poison || fails(kind, work.chunk.attempt) {
                break;
            }
        }
        child.part = Some(Part { end, since: self.now });
        let (version, returns) = (child.version, child.returns || child.holds_what_comes());
        self.later(time, Happening::Worked(worker, version));
        if returns && time > SLOW {
            self.later(SLOW, Happening::Slow(worker, version));
        }
    }

    /// Asks a slow worker for what it has not begun.
    pub(crate) fn ask_back(&mut self, worker: WorkerId, version: u64) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        if child.version != version || !matches!(child.phase, Phase::Up | Phase::Finishing) {
            return;
        }
        let mut asked = Vec::new();
        for work in child.chunks.iter_mut().filter(|work| !work.asked_back) {
            work.asked_back = true;
            asked.push(work.chunk.lease);
        }
        let after = self.random.time(WORD);
        asked.into_iter().for_each(|lease| self.later(after, Happening::AskedBack(worker, lease)));
    }

    pub(crate) fn give_back(&mut self, worker: WorkerId, lease: LeaseId) {
        let (one_more, one_less) = (self.has(Bug::ReturnOneMore), self.has(Bug::ReturnOneLess));
        let now = self.now;
        let Some(child) = self.children.get_mut(&worker).filter(|child| child.phase != Phase::Ended) else {
            return;
        };
        let Some(place) = child.chunks.iter().position(|work| work.chunk.lease == lease) else { return };
        let work = &mut child.chunks[place];
        let mut from = work.next;
        // Of the chunk at work it keeps the task that it is at.
        if let Some(part) = child.part.as_mut().filter(|_| place == 0) {
            let mut until = part.since;
            while until <= now && from < part.end {
                until += self.plan.job(work.chunk.job).task(from).0;
                from += 1;
            }
            from -= u64::from(one_more);
            part.end = part.end.min(from.max(work.next + 1));
        }
        let count = (work.end() - from) as u32;
        work.chunk.count -= count;
        let mut release = work.release(from, count, Requeue::AsBefore);
        if one_less && release.count > 1 {
            (release.first, release.count) = (release.first + 1, release.count - 1);
        }
        if work.left() == 0 {
            child.chunks.remove(place);
            child.part.take_if(|_| place == 0);
        }
        if count > 0 {
            self.tell(worker, Told::Returned(release));
        }
        if place == 0 {
            self.hurry(worker);
        }
    }

    /// What it is at has become less: it is done sooner.
    fn hurry(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        let (Some(part), Some(work)) = (child.part, child.chunks.front()) else {
            child.part = None;
            return self.begin_part(worker);
        };
        child.version += 1;
        let version = child.version;
        let tasks = work.next..part.end;
        let time = tasks.map(|index| self.plan.job(work.chunk.job).task(index).0).sum::<Duration>();
        self.at(part.since + time, Happening::Worked(worker, version));
    }
}
