//! One worker process that is spoken to: chunks out, answers in, each held against what may come next.
//!
//! What is wrong with the worker comes back as a sentence; the session is of no more use then.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Settings;
use super::process::Process;
use super::work::{Outcome, Work};
use crate::model::limits::MAX_MESSAGE_BYTES;
use crate::model::{JobId, TraceParent};
use crate::protocol::{
    Answer, LineSplitter, LineTooLong, PROTOCOL_VERSION, RECORD_SEPARATOR, Request, Run, json,
};
use crate::sys::{ExitReport, Family, signal_name};

const READY_WITHIN: Duration = Duration::from_secs(10);
const EXIT_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Session<'a> {
    process: Process<'a>,
    lines: LineSplitter,
    timeout: Duration,
    ready: bool,
    pub(super) take_back: bool,
    /// How long it took until it was ready.
    pub(super) ready_after: Duration,
    work: Work,
    /// The lines that are no messages.
    pub(super) stray: u64,
}

impl<'a> Session<'a> {
    /// Starts a worker and waits until it is ready.
    pub(super) fn start(settings: &Settings, family: &'a Family) -> Result<Self, String> {
        let since = Instant::now();
        let process = Process::start(settings, family).map_err(|error| {
            let program = settings.argv.first().map(|program| program.display().to_string());
            format!("{:?} could not be started: {error}", program.unwrap_or_default())
        })?;
        let mut session = Self {
            process,
            lines: LineSplitter::new(MAX_MESSAGE_BYTES),
            timeout: settings.timeout,
            ready: false,
            take_back: false,
            ready_after: Duration::ZERO,
            work: Work::default(),
            stray: 0,
        };
        session.wait_until_ready(since + READY_WITHIN)?;
        session.ready_after = since.elapsed();
        Ok(session)
    }

    fn wait_until_ready(&mut self, until: Instant) -> Result<(), String> {
        while !self.ready {
            if self.process.ended.is_some() {
                return Err(self.died("before it said that it was ready"));
            }
            if Instant::now() >= until {
                let within = READY_WITHIN.as_secs();
                let what = format!("it did not say that it was ready within {within} s, and was killed");
                return Err(self.with_last_words(&what));
            }
            self.turn(until)?;
        }
        Ok(())
    }

    /// Sends a chunk, of a job of its own; gives the index that it begins at.
    pub(super) fn send(&mut self, inputs: &[String]) -> Result<u64, String> {
        let (mut message, mut lines) = (Vec::new(), Vec::new());
        inputs.iter().for_each(|input| json::push_line(&mut lines, input.as_bytes()));
        let first = self.work.add(inputs.len() as u64);
        // A worker that has no use for it ignores it.
        let trace = Some(TraceParent { trace: 1, span: 1, flags: 0 });
        Run::encode(&mut message, JobId(Uuid::now_v7()), (first, 1), trace, &lines);
        self.process.send(&message).map_err(|error| error.to_string())?;
        Ok(first)
    }

    /// Asks for what is not started of the chunk that begins there.
    pub(super) fn take_back(&mut self, first: u64) -> Result<(), String> {
        self.work.ask_back(first);
        let mut message = Vec::new();
        Request::encode_take_back(&mut message, first);
        self.process.send(&message).map_err(|error| error.to_string())
    }

    /// Waits until every task has its outcome; gives those since the last time, in order.
    pub(super) fn outcomes(&mut self) -> Result<Vec<Outcome>, String> {
        self.wait_for(0)?;
        Ok(std::mem::take(&mut self.work.outcomes))
    }

    /// Waits until only so many chunks are not answered to their end.
    pub(super) fn wait_for(&mut self, chunks: usize) -> Result<(), String> {
        let mut heard_at = Instant::now();
        while self.work.chunks() > chunks {
            let (left, before) = (self.work.left(), self.work.outcomes.len());
            // All that it said before its end has been read.
            if self.process.ended.is_some() {
                return Err(self.died(&format!("with unanswered tasks: {left}")));
            }
            if heard_at.elapsed() >= self.timeout {
                let silent = self.timeout.as_secs_f64();
                let what =
                    format!("it was silent for {silent} s, and was killed with unanswered tasks: {left}");
                return Err(self.with_last_words(&what));
            }
            self.turn(heard_at + self.timeout)?;
            if self.work.outcomes.len() > before {
                heard_at = Instant::now();
            }
        }
        Ok(())
    }

    /// Closes its stdin, waits for its answers and its end; gives how long the end took after the last answer.
    pub(super) fn finish(&mut self) -> Result<Duration, String> {
        self.process.close_stdin().map_err(|error| error.to_string())?;
        self.wait_for(0)?;
        let since = Instant::now();
        loop {
            match self.process.ended {
                Some(ExitReport { code: Some(0), .. }) => return Ok(since.elapsed()),
                Some(_) => return Err(self.died("at the end of its input, where it must exit with code 0")),
                None if since.elapsed() >= EXIT_WITHIN => {
                    let what = "it did not exit within 5 s of the end of its input, and was killed";
                    return Err(self.with_last_words(what));
                }
                None => self.turn(since + EXIT_WITHIN)?,
            }
        }
    }

    fn turn(&mut self, until: Instant) -> Result<(), String> {
        let said = self.process.turn(until).map_err(|error| error.to_string())?;
        let mut lines = std::mem::replace(&mut self.lines, LineSplitter::new(MAX_MESSAGE_BYTES));
        let outcome = lines.feed(&said, |line| self.take_line(line).map_err(Wrong));
        self.lines = lines;
        outcome.map_err(|Wrong(what)| what)
    }

    /// A line of stdout: what stands before a record separator is a stray print, what follows is a message.
    fn take_line(&mut self, line: &[u8]) -> Result<(), String> {
        let at = memchr::memchr(RECORD_SEPARATOR, line);
        self.stray += u64::from(at != Some(0));
        let Some(at) = at else { return Ok(()) };
        match Answer::decode(&line[at + 1..]).map_err(|error| error.to_string())? {
            Answer::Ready { protocol: PROTOCOL_VERSION, take_back } => {
                (self.ready, self.take_back) = (true, take_back);
                Ok(())
            }
            Answer::Ready { protocol, .. } => {
                Err(format!("it speaks version {protocol} of the protocol, not {PROTOCOL_VERSION}"))
            }
            Answer::Done(done) => self.work.done(&done),
            Answer::Failed(failed) => self.work.failed(failed),
            Answer::Returned { index } => self.work.returned(index),
            Answer::Log(log) => {
                self.process.last_words.push(log.text.as_bytes());
                Ok(())
            }
            Answer::Progress(_) => Ok(()),
        }
    }

    /// Why it ended too early.
    fn died(&mut self, when: &str) -> String {
        let how = match self.process.ended {
            Some(ExitReport { code: Some(code), .. }) => format!("exited with code {code}"),
            Some(ExitReport { signal: Some(signal), .. }) => format!("was killed by {}", signal_name(signal)),
            _ => "ended".to_owned(),
        };
        self.with_last_words(&format!("it {how} {when}"))
    }

    fn with_last_words(&mut self, what: &str) -> String {
        match self.process.last_words.text().trim() {
            "" => what.to_owned(),
            words => format!("{what}; its last words: {words}"),
        }
    }
}

/// What is wrong with the worker.
struct Wrong(String);

impl From<LineTooLong> for Wrong {
    fn from(error: LineTooLong) -> Self {
        Self(error.to_string())
    }
}
