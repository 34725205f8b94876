//! Results on their way to standard output.

use std::io::{ErrorKind, IsTerminal as _, Result, StdoutLock, Write as _};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::SHOWN_FAILURES;
use super::input::Input;

/// Begins the line with which a server says why an answer ends before its end.
const PROBLEM: &[u8] = br#"{"type":"urn:gristmill:problem:"#;

/// What has been written, and what waits for the end of its line.
pub(super) struct Output {
    stdout: StdoutLock<'static>,
    input: Arc<Input>,
    bar: ProgressBar,
    /// Whole results, not bare outputs.
    results: bool,
    /// What has come of a line whose end has not, and a line that may turn out to be a problem.
    held: Vec<u8>,
    lines: u64,
    nulls: Vec<u64>,
}

/// Whether anyone reads standard output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    All,
    NotRead,
}

impl Output {
    pub(super) fn new(input: Arc<Input>, results: bool) -> Self {
        let (stdout, held, nulls) = (std::io::stdout().lock(), Vec::new(), Vec::new());
        Self { stdout, input, bar: progress_bar(), results, held, lines: 0, nulls }
    }

    /// Writes the whole lines of what has come.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<Written> {
        if self.held.is_empty() && !piece.starts_with(PROBLEM) && piece.ends_with(b"\n") {
            return self.write_lines(piece);
        }
        self.held.extend_from_slice(piece);
        if self.held.starts_with(PROBLEM) && memchr::memchr_iter(b'\n', &self.held).nth(1).is_none() {
            return Ok(Written::All);
        }
        let end = memchr::memrchr(b'\n', &self.held).map_or(0, |at| at + 1);
        let rest = self.held.split_off(end);
        let whole = std::mem::replace(&mut self.held, rest);
        self.write_lines(&whole)
    }

    /// Writes what was held back.
    pub(super) fn flush(&mut self) -> Result<Written> {
        let held = std::mem::take(&mut self.held);
        self.write_lines(&held)
    }

    /// What the server says is wrong, if it said so and then cut the answer. That it shuts down is nothing that it
    /// would not get over.
    pub(super) fn problem(&self) -> Option<String> {
        let problem: Value = serde_json::from_slice(&self.held).ok()?;
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

    /// How the results are asked for.
    pub(super) fn fields(&self) -> &'static str {
        if self.results { "all" } else { "output" }
    }

    /// The places of the first results that may be those of failed tasks.
    pub(super) fn places_of_null(&self) -> &[u64] {
        &self.nulls
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn write_lines(&mut self, lines: &[u8]) -> Result<Written> {
        let mut start = 0;
        for (place, end) in (self.lines..).zip(memchr::memchr_iter(b'\n', lines)) {
            if &lines[start..end] == b"null" && (self.nulls.len() as u64) < SHOWN_FAILURES {
                self.nulls.push(place);
            }
            start = end + 1;
            self.lines = place + 1;
        }
        self.bar.set_length(self.input.lines());
        self.bar.set_position(self.lines);
        match self.stdout.write_all(lines).and_then(|()| self.stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Written::NotRead),
            written => written.map(|()| Written::All),
        }
    }
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} tasks · {per_sec} · {eta} left");
    ProgressBar::new(0).with_style(style.expect("the template is valid"))
}
