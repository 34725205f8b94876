//! How a worker ends, by itself or by others, and what becomes of its tasks.

use std::time::Duration;

use gristmill::pool::WorkerId;
use gristmill::pool::blame::{Blame, Fault, judge};
use gristmill::store::Requeue;

use super::{Phase, Told, WORD};
use crate::bugs::Bug;
use crate::disk::Write;
use crate::world::{Happening, World};

/// How long a worker that is told to end goes on, at most.
const GRACE: Duration = Duration::from_millis(50);

impl World {
    pub(crate) fn fail_to_start(&mut self, worker: WorkerId) {
        self.conclude(worker, Fault::Task);
    }

    pub(crate) fn finish(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        if matches!(child.phase, Phase::Ending | Phase::Ended) {
            return;
        }
        child.phase = Phase::Finishing;
        if child.chunks.is_empty() {
            self.leave(worker);
        }
    }

    pub(crate) fn stop(&mut self, worker: WorkerId) {
        self.leave(worker);
    }

    /// It is asked to end, and does so in its own time.
    pub(super) fn leave(&mut self, worker: WorkerId) {
        let Some(child) = self.children.get_mut(&worker) else { return };
        if !matches!(child.phase, Phase::Ending | Phase::Ended) {
            child.phase = Phase::Ending;
            let most = if self.random.percent(50) { WORD } else { GRACE };
            let after = self.random.time(most);
            self.later(after, Happening::Dies(worker));
        }
    }

    pub(crate) fn die(&mut self, worker: WorkerId) {
        self.conclude(worker, Fault::Ours);
    }

    /// Someone kills it; from here it looks as if its task had.
    pub(crate) fn kill(&mut self, worker: WorkerId) {
        let asked = self.children.get(&worker).is_some_and(|child| child.phase == Phase::Ending);
        self.conclude(worker, if asked { Fault::Ours } else { Fault::Task });
    }

    /// It has ended: what it left unanswered is judged.
    pub(super) fn conclude(&mut self, worker: WorkerId, fault: Fault) {
        let innocents = self.has(Bug::ChargeInnocents);
        let Some(child) = self.children.get_mut(&worker).filter(|child| child.phase != Phase::Ended) else {
            return;
        };
        let fault = if child.phase == Phase::Ending { Fault::Ours } else { fault };
        child.phase = Phase::Ended;
        let useless = !child.useful && fault == Fault::Task;
        let mut writes = Vec::new();
        let begun = child.part.take().is_some();
        let mut chunks = std::mem::take(&mut child.chunks).into_iter().peekable();
        if begun && let Some(work) = chunks.next() {
            let (left, next) = (work.left(), work.next);
            if left == 1 && fault == Fault::Task {
                self.checks.blame(work.chunk.lease, next);
                self.checks.results.suspect(work.chunk.job, next);
            }
            let judged = judge(fault, left, work.chunk.attempt, work.limits.max_attempts);
            writes.push(match judged {
                Blame::Failed => work.complete(child.name, (1, true), &self.plan, 0),
                Blame::Nobody | Blame::OneOfThem if innocents => {
                    Write::Release(work.release(next, left, Requeue::Charged))
                }
                Blame::Nobody => Write::Release(work.release(next, left, Requeue::AsBefore)),
                Blame::OneOfThem => Write::Release(work.release(next, left, Requeue::Alone)),
                Blame::Charged => Write::Release(work.release(next, left, Requeue::Charged)),
            });
        }
        let untouched = chunks.map(|work| work.release(work.next, work.left(), Requeue::AsBefore));
        writes.extend(untouched.map(Write::Release));
        self.tell(worker, Told::Gone(writes, useless));
    }
}
