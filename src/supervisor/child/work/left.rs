//! What becomes of the tasks that a worker leaves without an answer when it ends.

use std::sync::Arc;
use std::time::Instant;

use super::super::chunk::{Answers, Progress};
use super::super::ending::{Cause, Ending};
use super::super::{Assignment, Settlement};
use super::Work;
use crate::model::TaskError;
use crate::pool::blame::{Blame, judge};
use crate::store::{Completion, Requeue};

impl Work {
    /// What becomes of all that has no answer, now that the worker has ended and may have read so many bytes.
    pub(in crate::supervisor::child) fn abandon(
        &mut self,
        cause: Option<&Cause>,
        ending: &Ending,
        stderr: &str,
        read: u64,
    ) -> Vec<Settlement> {
        let mut chunks = std::mem::take(&mut self.chunks).into_iter().peekable();
        // A worker that has not read the first byte of its chunk has not begun it.
        let begun = chunks.next_if(|chunk| chunk.from.is_some_and(|from| read > from));
        let at_work = begun.map(|chunk| self.judge(&chunk, cause, ending, stderr));
        let back = |chunk: Progress| chunk.release(chunk.next, chunk.left(), Requeue::AsBefore);
        let untouched = chunks.map(|chunk| Settlement::Release(back(chunk), None));
        at_work.into_iter().chain(untouched).collect()
    }

    fn judge(&self, progress: &Progress, cause: Option<&Cause>, ending: &Ending, stderr: &str) -> Settlement {
        let left = progress.left();
        let Assignment { chunk, max_attempts, .. } = &progress.assignment;
        let error = || ending.error(cause, stderr);
        let (how, verdict) = match judge(ending.fault(cause), left, chunk.attempt, *max_attempts) {
            Blame::Nobody => (Requeue::AsBefore, None),
            Blame::OneOfThem => (Requeue::Alone, None),
            Blame::Charged => (Requeue::Charged, Some(error().verdict)),
            Blame::Failed => return self.failure(progress, &error()),
        };
        Settlement::Release(progress.release(progress.next, left, how), verdict)
    }

    fn failure(&self, progress: &Progress, error: &TaskError<'_>) -> Settlement {
        let chunk = &progress.assignment.chunk;
        let (mut answers, now) = (Answers::default(), Instant::now());
        answers.push((now - self.since).as_nanos() as u64, Some(error.verdict), &error.to_line());
        let completion = Completion {
            lease: chunk.lease,
            job: chunk.job,
            first: progress.next,
            attempt: chunk.attempt,
            worker: self.worker.clone(),
            pid: self.pid,
            task_times: answers.outcomes.times(),
            outcomes: answers.outcomes,
            lines: answers.lines.into(),
            span: self.clock.span(self.since, now, answers.busy_ns),
            busy_ns: answers.busy_ns,
            cpu_ns: self.life_ns.saturating_sub(self.told_ns),
            max_rss_bytes: self.rss.0,
        };
        Settlement::Complete(Arc::new(completion), answers.failures)
    }
}
