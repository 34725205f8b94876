//! Looks after what a worker and all below it use: memory, CPU time, age.

use std::time::{Duration, Instant};

use super::ending::Cause;
use crate::supervisor::WorkerLimits;
use crate::sys::proc;

/// How often the memory of a worker with a limit is looked up while it works. At a gigabyte a second, which is fast
/// for a process that touches what it allocates, it gets 25 MB over.
const MEMORY_EVERY: Duration = Duration::from_millis(25);
const CPU_LOOKS: u32 = 10;

/// What a look has shown.
#[derive(Debug)]
pub(super) enum Seen {
    /// Nothing of note.
    Fine,
    /// It should get no more work.
    Worn,
    /// It has to end now.
    Over(Cause),
}

/// The limits of one worker and how near it is to them.
#[derive(Debug)]
pub(super) struct Watch {
    limits: WorkerLimits,
    guard: u32,
    started: Instant,
    next: Instant,
    /// The CPU time of all below the guard when it last grew, and since when it has not.
    cpu: (Duration, Instant),
    worn: bool,
    /// The most memory seen, in bytes.
    pub(super) most_held: u64,
}

impl Watch {
    pub(super) fn new(limits: WorkerLimits, guard: u32, now: Instant) -> Self {
        Self { limits, guard, started: now, next: now, cpu: (Duration::ZERO, now), worn: false, most_held: 0 }
    }

    fn has_memory_limit(&self) -> bool {
        self.limits.memory_soft.or(self.limits.memory_hard).is_some()
    }

    /// When to look next, if there is anything to look after.
    pub(super) fn next_look(&self, is_busy: bool) -> Option<Instant> {
        let memory = self.has_memory_limit().then_some(MEMORY_EVERY);
        let every = memory.into_iter().chain(self.limits.hang_after.map(|time| time / CPU_LOOKS)).min();
        let regular = every.filter(|_| is_busy).map(|_| self.next);
        let old = self.limits.max_age.filter(|_| !self.worn).map(|age| self.started + age);
        regular.into_iter().chain(old).min()
    }

    /// Looks; `at_work_since` is when the task at work began, if there is one.
    pub(super) fn look(&mut self, at_work_since: Option<Instant>, now: Instant) -> Seen {
        let hang_look = self.limits.hang_after.map(|time| time / CPU_LOOKS);
        self.next = now
            + hang_look
                .into_iter()
                .chain(self.has_memory_limit().then_some(MEMORY_EVERY))
                .min()
                .unwrap_or_default();
        let family = proc::below(self.guard);
        if let Some(cause) = self.hang(&family, at_work_since, now) {
            return Seen::Over(cause);
        }
        let held = if self.has_memory_limit() { proc::memory_bytes(&family) } else { 0 };
        self.most_held = self.most_held.max(held);
        if let Some(limit) = self.limits.memory_hard.filter(|limit| held > *limit) {
            return Seen::Over(Cause::Oom { held, limit: Some(limit) });
        }
        let is_old = self.limits.max_age.is_some_and(|age| now >= self.started + age);
        let is_large = self.limits.memory_soft.is_some_and(|limit| held > limit);
        if (is_old || is_large) && !self.worn {
            self.worn = true;
            return Seen::Worn;
        }
        Seen::Fine
    }

    fn hang(&mut self, family: &[u32], at_work_since: Option<Instant>, now: Instant) -> Option<Cause> {
        let (most, since) = (self.limits.hang_after?, at_work_since?);
        let used = family.iter().filter_map(|pid| proc::cpu_time(*pid)).sum();
        if used != self.cpu.0 {
            self.cpu = (used, now);
        }
        (now.saturating_duration_since(self.cpu.1.max(since)) >= most).then_some(Cause::Hang(most))
    }
}
