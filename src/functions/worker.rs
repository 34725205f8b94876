//! The child's side: reads chunks from stdin, runs a built-in function on each input, answers on stdout in batches.
//!
//! A batch goes out at the end of its chunk, when it is large, and some [`LOOK_EVERY`] after its first answer even
//! while a long task runs, so that the server always knows how far a chunk is. Then, too, a request to return what is
//! not started is answered.

mod batch;
mod input;

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Function, FunctionError};
use crate::protocol::frames::{self, Request, Run};
use batch::Batch;
use input::Input;

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Serves `function` until stdin ends.
pub fn serve(function: &Function) -> io::Result<()> {
    let shared = Shared::default();
    let mut ready = Vec::new();
    frames::encode_ready(&mut ready);
    write_out(&ready)?;
    std::thread::scope(|scope| {
        scope.spawn(|| shared.look_after_chunks());
        let outcome = run_chunks(function, &shared);
        shared.enter(Phase::Ended);
        outcome
    })
}

fn run_chunks(function: &Function, shared: &Shared) -> io::Result<()> {
    while let Some(line) = shared.next_request()? {
        match Request::decode(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            Request::Run(run) => run_chunk(function, &run, shared)?,
            // Its chunk has been answered to the end.
            Request::TakeBack { .. } => {}
        }
    }
    Ok(())
}

fn run_chunk(function: &Function, run: &Run<'_>, shared: &Shared) -> io::Result<()> {
    lock(&shared.batch).begin(run.index, run.inputs.len() as u64);
    // One task needs no look after it, and so wakes nobody.
    if run.inputs.len() > 1 {
        shared.enter(Phase::Running);
    }
    let (mut output, mut started) = (Vec::new(), Instant::now());
    for input in &run.inputs {
        output.clear();
        let outcome = catch_unwind(AssertUnwindSafe(|| (function.run)(input, &mut output)));
        let now = Instant::now();
        let ns = (now - started).as_nanos() as u64;
        started = now;
        let mut batch = lock(&shared.batch);
        match outcome.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
            Ok(()) => batch.push_output(&output, ns),
            Err(error) => batch.push_error(error, ns),
        }
        batch.flush_if_large()?;
        if batch.is_done() {
            break;
        }
    }
    if run.inputs.len() > 1 {
        shared.enter(Phase::Idle);
    }
    lock(&shared.batch).flush()
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Idle,
    Running,
    Ended,
}

/// What the thread that runs tasks and the one that looks after them share.
#[derive(Default)]
struct Shared {
    batch: Mutex<Batch>,
    input: Mutex<Input>,
    /// Requests that came in while a chunk ran.
    waiting: Mutex<VecDeque<Vec<u8>>>,
    phase: Mutex<Phase>,
    entered: Condvar,
}

impl Shared {
    fn enter(&self, phase: Phase) {
        *lock(&self.phase) = phase;
        if phase != Phase::Idle {
            self.entered.notify_one();
        }
    }

    fn next_request(&self) -> io::Result<Option<Vec<u8>>> {
        let mut input = lock(&self.input);
        match lock(&self.waiting).pop_front() {
            Some(line) => Ok(Some(line)),
            None => input.next(),
        }
    }

    /// Every so often while a chunk runs, sends what is answered and hears requests; sleeps for good while none does.
    fn look_after_chunks(&self) {
        let mut phase = lock(&self.phase);
        loop {
            phase = match *phase {
                Phase::Ended => return,
                Phase::Idle => self.entered.wait(phase).unwrap_or_else(PoisonError::into_inner),
                Phase::Running => {
                    let waited = self.entered.wait_timeout(phase, LOOK_EVERY);
                    let (phase, _) = waited.unwrap_or_else(PoisonError::into_inner);
                    if *phase == Phase::Running {
                        // Where the server is gone, the end of stdin tells the other thread.
                        drop(self.look());
                    }
                    phase
                }
            };
        }
    }

    /// Returns what is not started of the chunk that begins at this index, be it at work or waiting.
    fn take_back(&self, first: u64) -> io::Result<()> {
        let begins =
            |line: &[u8]| matches!(Request::decode(line), Ok(Request::Run(run)) if run.index == first);
        let mut waiting = lock(&self.waiting);
        match waiting.iter().position(|line| begins(line)) {
            Some(at) => {
                waiting.remove(at);
                lock(&self.batch).return_whole(first)
            }
            None => lock(&self.batch).take_back(first),
        }
    }

    fn look(&self) -> io::Result<()> {
        lock(&self.batch).flush()?;
        // While the other thread waits for a request, no chunk runs.
        let Ok(mut input) = self.input.try_lock() else { return Ok(()) };
        while let Some(line) = input.next_if_there()? {
            match Request::decode(&line) {
                Ok(Request::TakeBack { index }) => self.take_back(index)?,
                _ => lock(&self.waiting).push_back(line),
            }
        }
        Ok(())
    }
}
