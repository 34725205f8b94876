//! How a worker ended and why, in words for people.

use std::time::Duration;

use crate::model::{TaskError, Verdict};
use crate::pool::blame::Fault;
use crate::sys::signal_name;

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
    /// It wrote a message that is too long.
    TooLong(String),
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
            (Some(Cause::Timeout(_) | Cause::BadOutput(_) | Cause::TooLong(_)), _)
            | (None, Self::Exited(_) | Self::Killed(_) | Self::Lost) => Fault::Task,
        }
    }

    /// The error of the task that is charged with the end.
    pub(super) fn error<'a>(&self, cause: Option<&Cause>, stderr: &'a str) -> TaskError<'a> {
        let (verdict, message) = match cause {
            Some(Cause::Timeout(after)) => {
                (Verdict::Timeout, format!("timeout after {} s", after.as_secs_f64()))
            }
            Some(Cause::BadOutput(why)) => (Verdict::BadOutput, why.clone()),
            Some(Cause::TooLong(why)) => (Verdict::OutputTooLarge, why.clone()),
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
            Some(Cause::BadOutput(why) | Cause::TooLong(why)) => why.clone(),
            Some(Cause::Asked | Cause::Timeout(_)) | None => self.message(),
        };
        last_words(stderr).map_or_else(|| why.clone(), |words| format!("{why}; its last words: {words}"))
    }
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
