//! Results on their way to standard output.

use std::io::{ErrorKind, StdoutLock, Write as _};

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use serde_json::Value;

use super::streams::NotRead;

/// Begins the line with which a map says why an answer ends before its end.
const PROBLEM: &[u8] = br#"{"type":"urn:gristmill:problem:"#;

/// What is written of a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fields {
    /// All there is.
    All,
    /// The bare output.
    Output,
}

impl Fields {
    /// As it is asked for.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Output => "output",
        }
    }
}

/// What has been written, and what waits for the end of its line.
pub(super) struct Output {
    stdout: StdoutLock<'static>,
    fields: Fields,
    bar: ProgressBar,
    /// How many results are expected so far.
    expected: Box<dyn Fn() -> u64>,
    /// Whether a last line may be a problem.
    may_have_problem: bool,
    /// What has come of a line whose end has not, and a line that may turn out to be a problem.
    held: Vec<u8>,
    lines: u64,
}

impl Output {
    /// Nothing has been written yet; the bar shows how many of the expected have.
    pub(super) fn new(fields: Fields, bar: ProgressBar, expected: impl Fn() -> u64 + 'static) -> Self {
        let (stdout, expected) = (std::io::stdout().lock(), Box::new(expected));
        Self { stdout, fields, bar, expected, may_have_problem: false, held: Vec::new(), lines: 0 }
    }

    /// As the answer of a map, whose last line may be a problem.
    pub(super) fn of_map(self) -> Self {
        Self { may_have_problem: true, ..self }
    }

    /// Writes the whole lines of what has come.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<()> {
        if self.held.is_empty() && !self.begins_problem(piece) && piece.ends_with(b"\n") {
            return self.write_lines(piece);
        }
        self.held.extend_from_slice(piece);
        if self.begins_problem(&self.held) && memchr::memchr_iter(b'\n', &self.held).nth(1).is_none() {
            return Ok(());
        }
        let end = memchr::memrchr(b'\n', &self.held).map_or(0, |at| at + 1);
        let rest = self.held.split_off(end);
        let whole = std::mem::replace(&mut self.held, rest);
        self.write_lines(&whole)
    }

    fn begins_problem(&self, line: &[u8]) -> bool {
        self.may_have_problem && line.starts_with(PROBLEM)
    }

    /// Writes what was held back.
    pub(super) fn flush(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        self.write_lines(&held)
    }

    /// What the server says is wrong, if it said so and then cut the answer. That it shuts down is nothing that it
    /// would not get over.
    pub(super) fn problem(&self) -> Option<String> {
        let problem: Value =
            serde_json::from_slice(&self.held).ok().filter(|_| self.begins_problem(&self.held))?;
        let is_temporary = problem["type"] == "urn:gristmill:problem:shutting-down";
        Some(problem["detail"].as_str()?.to_owned()).filter(|_| !is_temporary)
    }

    /// How many results have been written; what there is of the next is forgotten, as it will come again.
    pub(super) fn whole_lines(&mut self) -> u64 {
        self.held.clear();
        self.lines
    }

    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    pub(super) fn fields(&self) -> Fields {
        self.fields
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn write_lines(&mut self, lines: &[u8]) -> Result<()> {
        self.lines += memchr::memchr_iter(b'\n', lines).count() as u64;
        self.bar.set_length((self.expected)());
        self.bar.set_position(self.lines);
        match self.stdout.write_all(lines).and_then(|()| self.stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(NotRead.into()),
            written => written.context("writing the results"),
        }
    }
}
