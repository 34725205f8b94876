//! What is due: when a worker is looked at, asked for what it has not begun, told to end, killed, or left.

use std::io;
use std::time::{Duration, Instant};

use super::{Child, DRAIN_FOR, Phase};
use crate::supervisor::child::Event;
use crate::supervisor::child::ending::Cause;
use crate::supervisor::child::watch::Seen;
use crate::sys::guard::KILL;

/// How long a guard has to kill; one that is stopped never does.
const GUARD_GRACE: Duration = Duration::from_secs(2);

impl Child<'_> {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let look = self.watch.next_look(!self.work.is_empty()).filter(|_| self.phase == Phase::Up);
        let silent = self.cut_off_since.filter(|_| !self.is_ending()).map(|since| since + DRAIN_FOR);
        let phase = self.phase_deadline();
        let rests = self.work.rests_until().filter(|at| *at > Instant::now());
        [look, silent, phase, rests, self.logs.due()].into_iter().flatten().min()
    }

    fn phase_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Starting { until } => Some(until),
            Phase::Up | Phase::Finishing => self.work.deadline().into_iter().chain(self.work.slow_at()).min(),
            Phase::Ending { kill_at, .. } => Some(kill_at),
            Phase::Ended { leave_at } => Some(leave_at),
        }
    }

    pub(super) fn keep_time(&mut self, now: Instant) -> io::Result<()> {
        if self.phase_deadline().is_none_or(|at| at > now) {
            return Ok(());
        }
        match &mut self.phase {
            Phase::Starting { .. } => self.terminate(Cause::NotReady),
            Phase::Up | Phase::Finishing if self.work.deadline().is_some_and(|at| at <= now) => {
                self.terminate(Cause::Timeout(self.work.timeout()));
            }
            Phase::Up | Phase::Finishing => {
                if !self.give_back() {
                    self.work.take_back(&mut self.process.outgoing);
                    self.process.write()?;
                }
            }
            Phase::Ending { told: true, .. } => self.process.kill_guard(),
            Phase::Ending { kill_at, told } => {
                (*kill_at, *told) = (now + GUARD_GRACE, true);
                self.process.order(KILL)?;
            }
            Phase::Ended { .. } => self.process.leave(),
        }
        Ok(())
    }

    /// A worker that has closed its stdin or its stdout and lives on is of no more use.
    pub(super) fn mind_silence(&mut self, now: Instant) {
        if self.is_ending() || self.process.has_stdout() && !self.process.is_deaf() {
            return;
        }
        let since = *self.cut_off_since.get_or_insert(now);
        if now < since + DRAIN_FOR {
            return;
        }
        self.terminate(if !self.process.has_stdout() {
            Cause::BadOutput("it closed its stdout and went on, and could answer no more".into())
        } else if self.process.has_undelivered() {
            Cause::BrokenBefore("it had closed its stdin and went on, and could take no work".into())
        } else {
            Cause::BadOutput("it closed its stdin and went on, and could take no more work".into())
        });
    }

    /// Keeps an eye on what it uses.
    pub(super) fn look_after(&mut self, now: Instant) {
        if self.phase != Phase::Up || self.watch.next_look(!self.work.is_empty()).is_none_or(|at| at > now) {
            return;
        }
        match self.watch.look(self.work.at_work_since(), now) {
            Seen::Fine => {}
            Seen::Worn => self.tell.say(Event::Worn),
            Seen::Over(cause @ Cause::Oom { .. }) => self.end(cause, Duration::ZERO),
            Seen::Over(cause) => self.terminate(cause),
        }
    }
}
