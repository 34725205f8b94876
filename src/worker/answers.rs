//! Answers that have not been sent, and how far the chunk is.

use std::io;

use super::{Failure, write_out};
use crate::protocol::frames::{self, Failed, Log, Usage};

const FLUSH_BYTES: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Batch {
    /// Whole messages.
    messages: Vec<u8>,
    /// The indexes of the chunk's first task, of the next one to be answered, and behind the last one to be run.
    first: u64,
    next: u64,
    end: u64,
    /// How many outputs there are since the last whole message, and what they are.
    count: u64,
    outputs: Vec<u8>,
    ns: Vec<u8>,
    /// What the tasks since the last whole message used.
    usage: Usage,
}

impl Batch {
    /// A chunk begins.
    pub(super) fn begin(&mut self, first: u64, count: u64) {
        (self.first, self.next, self.end) = (first, first, first + count);
    }

    /// Whether every task that is to be run is answered.
    pub(super) fn is_done(&self) -> bool {
        self.next >= self.end
    }

    pub(super) fn push_output(&mut self, output: &[u8], ns: u64) {
        if self.count > 0 {
            self.outputs.push(b',');
            self.ns.push(b',');
        }
        self.outputs.extend_from_slice(output);
        self.ns.extend_from_slice(itoa::Buffer::new().format(ns).as_bytes());
        self.count += 1;
        self.next += 1;
    }

    pub(super) fn used(&mut self, usage: Usage) {
        self.usage.add(usage);
    }

    pub(super) fn push_log(&mut self, log: &Log<'_>) -> io::Result<()> {
        self.close();
        frames::encode_log(&mut self.messages, log);
        self.flush()
    }

    pub(super) fn push_failure(&mut self, failure: Failure, ns: u64) {
        let usage = if self.count == 0 { std::mem::take(&mut self.usage) } else { Usage::default() };
        self.close();
        let Failure { verdict, kind, message, stack, retryable } = failure;
        let (message, stack) = (message.into(), stack.map(Into::into));
        let failed =
            Failed { index: self.next, verdict, kind, message, stack, retryable, ns: Some(ns), usage };
        frames::encode_failed(&mut self.messages, &failed);
        self.next += 1;
    }

    /// Returns what is not started of the chunk that begins at this index: all behind the task at work.
    pub(super) fn take_back(&mut self, first: u64) -> io::Result<()> {
        if first != self.first || self.is_done() {
            return Ok(());
        }
        self.end = self.next + 1;
        self.close();
        frames::encode_returned(&mut self.messages, self.end);
        self.flush()
    }

    /// Returns a chunk that has not begun.
    pub(super) fn return_whole(&mut self, first: u64) -> io::Result<()> {
        self.close();
        frames::encode_returned(&mut self.messages, first);
        self.flush()
    }

    /// Makes a message of the outputs.
    fn close(&mut self) {
        if self.count > 0 {
            let usage = std::mem::take(&mut self.usage);
            let first = self.next - self.count;
            frames::encode_done(&mut self.messages, first, &self.outputs, &self.ns, usage);
            self.outputs.clear();
            self.ns.clear();
            self.count = 0;
        }
    }

    pub(super) fn flush_if_large(&mut self) -> io::Result<()> {
        if self.messages.len() + self.outputs.len() >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.close();
        if !self.messages.is_empty() {
            write_out(&self.messages)?;
            self.messages.clear();
        }
        Ok(())
    }
}
