//! The child's side: reads chunks from stdin, runs a built-in function on each input, answers on stdout in batches.
//!
//! A batch goes out at the end of its chunk, when it is large, and some [`FLUSH_EVERY`] after its first answer even
//! while a long task runs, so that the server always knows how far a chunk is.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Function, FunctionError};
use crate::protocol::frames::{self, Failed, Run};

const FLUSH_EVERY: Duration = Duration::from_millis(10);
const FLUSH_BYTES: usize = 1 << 20;

/// Serves `function` until stdin ends.
pub fn serve(function: &Function) -> io::Result<()> {
    let shared = Shared::default();
    let mut ready = Vec::new();
    frames::encode_ready(&mut ready);
    write_out(&ready)?;
    std::thread::scope(|scope| {
        scope.spawn(|| shared.flush_while_running());
        let outcome = run_chunks(function, &shared);
        shared.lock().phase = Phase::Ended;
        shared.changed.notify_one();
        outcome
    })
}

fn run_chunks(function: &Function, shared: &Shared) -> io::Result<()> {
    let mut stdin = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let mut line = Vec::new();
    while stdin.read_until(b'\n', &mut line)? > 0 {
        let run = Run::decode(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        run_chunk(function, &run, shared)?;
        line.clear();
    }
    Ok(())
}

fn run_chunk(function: &Function, run: &Run<'_>, shared: &Shared) -> io::Result<()> {
    let mut batch = shared.lock();
    batch.next = run.index;
    // One task needs no flush before its end, and so no wake-up of the flusher.
    if run.inputs.len() > 1 {
        batch.phase = Phase::Running;
        shared.changed.notify_one();
    }
    drop(batch);
    let (mut output, mut started) = (Vec::new(), Instant::now());
    for input in &run.inputs {
        output.clear();
        let outcome = catch_unwind(AssertUnwindSafe(|| (function.run)(input, &mut output)));
        let now = Instant::now();
        let ns = (now - started).as_nanos() as u64;
        started = now;
        let mut batch = shared.lock();
        match outcome.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
            Ok(()) => batch.push_output(&output, ns),
            Err(error) => batch.push_error(error, ns),
        }
        if batch.len() >= FLUSH_BYTES {
            batch.flush()?;
        }
    }
    let mut batch = shared.lock();
    batch.phase = Phase::Idle;
    batch.flush()
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> FunctionError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    FunctionError { kind: "Panic", message: text.to_owned(), retryable: true }
}

fn write_out(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Idle,
    Running,
    Ended,
}

#[derive(Default)]
struct Shared {
    batch: Mutex<Batch>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is answered every so often while a chunk runs; sleeps for good while none does.
    fn flush_while_running(&self) {
        let mut batch = self.lock();
        loop {
            batch = match batch.phase {
                Phase::Ended => return,
                Phase::Idle => self.changed.wait(batch).unwrap_or_else(PoisonError::into_inner),
                Phase::Running => {
                    let waited = self.changed.wait_timeout(batch, FLUSH_EVERY);
                    let (mut batch, _) = waited.unwrap_or_else(PoisonError::into_inner);
                    // Where the server is gone, the end of stdin tells the other thread.
                    drop(batch.flush());
                    batch
                }
            };
        }
    }
}

/// Answers that have not been sent.
#[derive(Default)]
struct Batch {
    phase: Phase,
    /// Whole messages.
    messages: Vec<u8>,
    /// The index of the next task to be answered.
    next: u64,
    /// How many outputs there are since the last whole message, and what they are.
    count: u64,
    outputs: Vec<u8>,
    ns: Vec<u8>,
}

impl Batch {
    fn len(&self) -> usize {
        self.messages.len() + self.outputs.len()
    }

    fn push_output(&mut self, output: &[u8], ns: u64) {
        if self.count > 0 {
            self.outputs.push(b',');
            self.ns.push(b',');
        }
        self.outputs.extend_from_slice(output);
        self.ns.extend_from_slice(itoa::Buffer::new().format(ns).as_bytes());
        self.count += 1;
        self.next += 1;
    }

    fn push_error(&mut self, error: FunctionError, ns: u64) {
        self.close();
        let FunctionError { kind, message, retryable } = error;
        let (kind, message) = (Some(kind.into()), message.into());
        let failed = Failed { index: self.next, kind, message, stack: None, retryable, ns: Some(ns) };
        frames::encode_failed(&mut self.messages, &failed);
        self.next += 1;
    }

    /// Makes a message of the outputs.
    fn close(&mut self) {
        if self.count > 0 {
            frames::encode_done(&mut self.messages, self.next - self.count, &self.outputs, &self.ns);
            self.outputs.clear();
            self.ns.clear();
            self.count = 0;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.close();
        if !self.messages.is_empty() {
            write_out(&self.messages)?;
            self.messages.clear();
        }
        Ok(())
    }
}
