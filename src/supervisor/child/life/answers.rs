//! What a worker says and prints: lines of its stdout into answers, logs and progress, and those passed on.

use std::time::{Duration, Instant};

use super::{Child, Phase};
use crate::model::limits::MAX_MESSAGE_BYTES;
use crate::protocol::frames::Log;
use crate::protocol::{Answer, LineSplitter, PROTOCOL_VERSION, RECORD_SEPARATOR};
use crate::supervisor::child::Event;
use crate::supervisor::child::ending::Cause;
use crate::supervisor::child::work::Answered;

impl Child<'_> {
    pub(super) fn take_answers(&mut self, bytes: &[u8]) {
        let mut answers = std::mem::replace(&mut self.answers, LineSplitter::new(MAX_MESSAGE_BYTES));
        let outcome = answers.feed(bytes, |line| self.take_line(line));
        self.answers = answers;
        // Whoever sees the end of a job finds what its tasks printed.
        if self.work.is_empty() {
            self.pass_on_logs();
        }
        if let Err(cause) = outcome {
            self.settle();
            self.end(cause, Duration::ZERO);
            self.process.close_stdout();
        }
    }

    /// A line of stdout: what stands before a record separator is a stray print, what follows is a message.
    fn take_line(&mut self, line: &[u8]) -> Result<(), Cause> {
        let Some(at) = memchr::memchr(RECORD_SEPARATOR, line) else {
            self.stray_print(line);
            return Ok(());
        };
        if at > 0 {
            self.stray_print(&line[..at]);
        }
        if self.cause.as_ref().is_some_and(Cause::ends_answers) {
            return Ok(());
        }
        match Answer::decode(&line[at + 1..]).map_err(|error| Cause::BadOutput(error.to_string()))? {
            Answer::Ready { protocol: PROTOCOL_VERSION, take_back } => {
                self.work.returns = take_back;
                self.become_ready();
                Ok(())
            }
            Answer::Ready { protocol, .. } => Err(Cause::BadOutput(format!(
                "it speaks version {protocol} of the frames protocol; this server speaks {PROTOCOL_VERSION}"
            ))),
            // What was printed before belongs to tasks that are answered.
            Answer::Done(done) => {
                self.last_words.take();
                self.logs.task_ended(Instant::now());
                self.work.done(&done)
            }
            Answer::Failed(failed) => {
                self.last_words.take();
                self.logs.task_ended(Instant::now());
                self.work.failed(&failed)
            }
            Answer::Returned { index } => {
                self.settle();
                if let Some(release) = self.work.returned(index).map_err(Cause::BadOutput)? {
                    self.tell.say(Event::Returned { release });
                }
                Ok(())
            }
            Answer::Log(log) => {
                self.last_words.push(log.text.as_bytes());
                self.take_log(&log);
                Ok(())
            }
            Answer::Progress(progress) => {
                self.progress = Some(progress);
                self.logs.wake(Instant::now());
                Ok(())
            }
        }
    }

    fn stray_print(&mut self, line: &[u8]) {
        self.last_words.push(line);
        self.last_words.push(b"\n");
        let (text, dropped) = self.stray.feed(&[line, b"\n"].concat());
        self.print("stdout", &text, dropped);
    }

    fn take_log(&mut self, log: &Log<'_>) {
        let by = log.index.map_or_else(|| self.work.at_work(), |index| self.work.attempt_at(index));
        if let Some(by) = by {
            let text =
                if log.text.ends_with('\n') { log.text.to_string() } else { format!("{}\n", log.text) };
            self.logs.push(by, &log.stream, &text, log.dropped_bytes, (Instant::now(), (self.now)()));
        }
    }

    fn become_ready(&mut self) {
        if let Phase::Starting { .. } = self.phase {
            self.phase = Phase::Up;
            self.was_ready = true;
            self.tell.say(Event::Ready);
        }
    }

    /// Has what its tasks print passed on soon.
    pub(super) fn print(&mut self, stream: &str, text: &str, dropped: u64) {
        if let Some(by) = self.work.at_work() {
            self.logs.push(by, stream, text, dropped, (Instant::now(), (self.now)()));
        }
    }

    pub(super) fn pass_on_logs(&mut self) {
        for (job, entries) in self.logs.take(&self.work.worker, self.work.pid) {
            self.has_printed = true;
            self.tell.say(Event::Printed { job, entries });
        }
        if let Some(progress) = self.progress.take() {
            self.tell.say(Event::Progress(progress));
        }
    }

    /// Passes on what the answers so far come to.
    pub(super) fn settle(&mut self) {
        for answered in self.work.settlements() {
            // Whoever sees the end of a job finds what its tasks printed, which the loop passes on.
            let is_last = answered.is_last && !self.has_printed;
            self.tell.answered(Answered { is_last, ..answered }, (self.now)());
            self.has_printed = false;
        }
    }
}
