//! How an attempt at a task ended, as data.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The function gave an output.
    Ok,
    /// The function answered with an error of its own.
    Exception,
    /// The worker died of a signal or left with an exit code.
    Crash,
    /// The task ran longer than its hard limit.
    Timeout,
    /// The worker used more memory than it may.
    Oom,
    /// The worker used no CPU for too long.
    Hang,
    /// The output was over the limit.
    OutputTooLarge,
    /// What the worker wrote was no valid answer.
    BadOutput,
    /// The job was cancelled before the task ended.
    Cancelled,
    /// The server stopped the attempt for a reason of its own; it costs the task nothing.
    Interrupted,
}

impl Verdict {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Exception => "exception",
            Self::Crash => "crash",
            Self::Timeout => "timeout",
            Self::Oom => "oom",
            Self::Hang => "hang",
            Self::OutputTooLarge => "output_too_large",
            Self::BadOutput => "bad_output",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a task has no output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskError<'a> {
    /// How the last attempt ended.
    pub verdict: Verdict,
    /// The error's type in the words of the function's language, such as `ValueError`.
    #[serde(rename = "type", borrow, default)]
    pub kind: Option<Cow<'a, str>>,
    /// What went wrong, for a person, with figures.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    /// The stack or the last lines that the worker wrote on stderr.
    #[serde(borrow, default)]
    pub stack: Option<Cow<'a, str>>,
}

impl TaskError<'static> {
    /// An error that the server found, without a type or stack.
    pub fn new(verdict: Verdict, message: impl Into<Cow<'static, str>>) -> Self {
        Self { verdict, kind: None, message: message.into(), stack: None }
    }

    /// The error of a task whose job was cancelled.
    pub fn cancelled() -> Self {
        Self::new(Verdict::Cancelled, "the job was cancelled before this task ended")
    }
}

impl TaskError<'_> {
    /// One line of JSON, as result segments keep it.
    pub fn to_line(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and a unit enum always serialise")
    }
}
