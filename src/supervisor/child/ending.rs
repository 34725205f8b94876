//! How a worker ended and why, in words for people.

use std::time::Duration;

use crate::model::{TaskError, Verdict};
use crate::pool::blame::Fault;
use crate::sys::signal_name;
use crate::units::show_size;

/// How much of a worker's last words goes into an error, in bytes.
const LAST_WORDS_BYTES: usize = 4096;

/// Why we ended a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// The pool asked for it: a shutdown, a cancel, a wish of the operator.
    Asked,
    /// It was not ready in time.
    NotReady,
    /// Its task ran longer than this.
    Timeout(Duration),
    /// It wrote what is no answer.
    BadOutput(String),
    /// It was broken by a task that has its outcome.
    BrokenBefore(String),
    /// It wrote a message that is too long.
    TooLong(String),
    /// It and all below it held more memory than they may; `limit` is unknown where the kernel killed it.
    Oom {
        /// How much they held when it was last looked up, in bytes.
        held: u64,
        /// How much they may hold, in bytes.
        limit: Option<u64>,
    },
    /// It and all below it held more than any other worker when the container was nearly full.
    NoRoom {
        /// How much they held, in bytes.
        held: u64,
        /// How much the container may hold, in bytes.
        limit: u64,
    },
    /// It used no CPU time for so long.
    Hang(Duration),
}

impl Cause {
    /// Whether an answer that comes after it is too late.
    pub(super) fn ends_answers(&self) -> bool {
        match self {
            Self::Asked | Self::NotReady => false,
            Self::Timeout(_)
            | Self::BadOutput(_)
            | Self::BrokenBefore(_)
            | Self::TooLong(_)
            | Self::Oom { .. }
            | Self::NoRoom { .. }
            | Self::Hang(_) => true,
        }
    }
}

impl From<crate::protocol::LineTooLong> for Cause {
    fn from(error: crate::protocol::LineTooLong) -> Self {
        Self::TooLong(error.to_string())
    }
}

/// How a worker's process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It could not be started.
    NotStarted(String),
    /// Its guard has ended without a word, and so has it.
    Lost,
}

impl Ending {
    pub(super) fn of(code: Option<i32>, signal: Option<i32>) -> Self {
        match (code, signal) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Killed(signal),
            (None, None) => Self::Lost,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Exited(code) => format!("the worker exited with code {code} before it had answered"),
            Self::Killed(signal) => format!("killed by {}", signal_name(*signal)),
            Self::NotStarted(why) => format!("the worker could not be started: {why}"),
            Self::Lost => "the worker's guard process was killed, and the worker with it".into(),
        }
    }

    /// Whose fault the end is.
    pub(super) fn fault(&self, cause: Option<&Cause>) -> Fault {
        match (cause, self) {
            (Some(Cause::Asked | Cause::NotReady), _) | (None, Self::NotStarted(_)) => Fault::Ours,
            (Some(Cause::BrokenBefore(_)), _) => Fault::Earlier,
            (Some(_), _) | (None, Self::Exited(_) | Self::Killed(_) | Self::Lost) => Fault::Task,
        }
    }

    /// The error of the task that is charged with the end.
    pub(super) fn error<'a>(&self, cause: Option<&Cause>, stderr: &'a str) -> TaskError<'a> {
        let (verdict, message) = match cause {
            Some(Cause::Timeout(after)) => {
                (Verdict::Timeout, format!("timeout after {} s", after.as_secs_f64()))
            }
            Some(Cause::BadOutput(why) | Cause::BrokenBefore(why)) => (Verdict::BadOutput, why.clone()),
            Some(Cause::TooLong(why)) => (Verdict::OutputTooLarge, why.clone()),
            Some(Cause::Oom { held, limit }) => (Verdict::Oom, oom(*held, *limit)),
            Some(Cause::NoRoom { held, limit }) => (Verdict::Oom, no_room(*held, *limit)),
            Some(Cause::Hang(most)) => {
                (Verdict::Hang, format!("hang: no CPU time for {} s", most.as_secs_f64()))
            }
            Some(Cause::Asked | Cause::NotReady) => (Verdict::Interrupted, self.message()),
            None => (Verdict::Crash, self.message()),
        };
        let stack = last_words(stderr).map(Into::into);
        TaskError { verdict, kind: None, message: message.into(), stack }
    }

    /// Why a worker that never was ready is gone.
    pub(super) fn describe(&self, cause: Option<&Cause>, stderr: &str) -> String {
        let why = match cause {
            Some(Cause::NotReady) => "it did not say that it was ready in time".into(),
            Some(Cause::BadOutput(why) | Cause::BrokenBefore(why) | Cause::TooLong(why)) => why.clone(),
            Some(Cause::Oom { held, limit }) => oom(*held, *limit),
            Some(Cause::NoRoom { held, limit }) => no_room(*held, *limit),
            Some(Cause::Asked | Cause::Timeout(_) | Cause::Hang(_)) | None => self.message(),
        };
        last_words(stderr).map_or_else(|| why.clone(), |words| format!("{why}; its last words: {words}"))
    }
}

fn oom(held: u64, limit: Option<u64>) -> String {
    let held = show_size(held);
    match limit {
        Some(limit) => format!("oom: {held} of {}", show_size(limit)),
        None => format!("oom: killed by the kernel, which was out of memory; the worker held {held}"),
    }
}

fn no_room(held: u64, limit: u64) -> String {
    let (held, limit) = (show_size(held), show_size(limit));
    format!("oom: it held {held}, more than any other worker, when the container's {limit} were nearly full")
}

fn last_words(stderr: &str) -> Option<&str> {
    let mut start = stderr.len().saturating_sub(LAST_WORDS_BYTES);
    while !stderr.is_char_boundary(start) {
        start += 1;
    }
    Some(stderr[start..].trim()).filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_words() {
        let killed = Ending::of(None, Some(libc::SIGSEGV));
        let error = killed.error(None, "a\nlast line\n");
        assert_eq!((error.verdict, error.message.as_ref()), (Verdict::Crash, "killed by SIGSEGV"));
        assert_eq!(error.stack.as_deref(), Some("a\nlast line"));
        assert_eq!(killed.fault(None), Fault::Task);
        assert_eq!(killed.fault(Some(&Cause::Asked)), Fault::Ours);
        let timeout = Cause::Timeout(Duration::from_millis(1500));
        assert_eq!(killed.error(Some(&timeout), "").message, "timeout after 1.5 s");
        let exited = Ending::of(Some(3), None);
        assert!(exited.describe(None, "no module named x").contains("code 3"));
        assert!(exited.describe(None, "no module named x").ends_with("no module named x"));
    }
}
