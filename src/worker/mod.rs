//! The child's side of the `frames` protocol: reads chunks from stdin, has them run, answers on stdout in batches.
//!
//! Imports `protocol`. Deliberately absent: what a task is; that is the runner's.
//!
//! A batch goes out at the end of its chunk, when it is large, and every 12 ms while the chunk runs, be it at a long task,
//! so that the server always knows how far a chunk is. Then, too, a request to return what is not started is answered.

mod answers;
mod input;
mod timer;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use crate::model::Verdict;
use crate::protocol::frames::{self, Log, Request, Run, Usage};
use answers::Batch;
use input::Input;
use timer::Timer;

/// Longer than a chunk is to take, so that most are not looked at.
const LOOK_EVERY: Duration = Duration::from_millis(12);

/// Why a task has no output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// How the attempt ended.
    pub verdict: Verdict,
    /// The error's type, if it has one.
    pub kind: Option<Cow<'static, str>>,
    /// What went wrong.
    pub message: String,
    /// Where, or the last words.
    pub stack: Option<String>,
    /// Whether another attempt may help.
    pub retryable: bool,
}

/// What runs the tasks of a chunk.
pub trait Runner {
    /// Whether tasks of a chunk can be taken back while it runs: not if they run all at once.
    const RETURNS: bool = true;

    /// Runs the chunk's inputs in order and answers each, as long as [`Answers::push`] wants more.
    fn run(&mut self, run: &Run<'_>, answers: &mut Answers<'_>) -> io::Result<()>;
}

/// A runner that maps one input at a time: appends the output as compact JSON, or says why there is none.
pub struct EachTask<F>(pub F);

impl<F: FnMut(&RawValue, &mut Vec<u8>) -> Result<(), Failure>> Runner for EachTask<F> {
    fn run(&mut self, run: &Run<'_>, answers: &mut Answers<'_>) -> io::Result<()> {
        let mut output = Vec::new();
        for input in &run.inputs {
            output.clear();
            let outcome = self.0(input, &mut output);
            if !answers.push(outcome.map(|()| output.as_slice()))? {
                break;
            }
        }
        Ok(())
    }
}

/// Serves chunks until stdin ends.
pub fn serve<R: Runner>(runner: &mut R) -> io::Result<()> {
    let shared = Shared::new()?;
    let mut ready = Vec::new();
    frames::encode_ready(&mut ready, R::RETURNS);
    write_out(&ready)?;
    std::thread::scope(|scope| {
        scope.spawn(|| shared.look_after_chunks());
        let outcome = run_chunks(runner, &shared);
        let ended = shared.enter(Phase::Ended);
        outcome.and(ended)
    })
}

fn run_chunks(runner: &mut impl Runner, shared: &Shared) -> io::Result<()> {
    while let Some(line) = shared.next_request()? {
        match Request::decode(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            Request::Run(run) => run_chunk(runner, &run, shared)?,
            // Its chunk has been answered to the end.
            Request::TakeBack { .. } => {}
        }
    }
    Ok(())
}

fn run_chunk(runner: &mut impl Runner, run: &Run<'_>, shared: &Shared) -> io::Result<()> {
    lock(&shared.batch).begin(run.index, run.inputs.len() as u64);
    // One task needs no look after it, and so wakes nobody.
    let watched = run.inputs.len() > 1;
    if watched {
        shared.enter(Phase::Running)?;
    }
    let outcome = runner.run(run, &mut Answers { shared, since: Instant::now() });
    if watched {
        shared.enter(Phase::Idle)?;
    }
    outcome.and_then(|()| lock(&shared.batch).flush())
}

/// Where a runner answers the tasks of its chunk, in order.
pub struct Answers<'a> {
    shared: &'a Shared,
    since: Instant,
}

impl Answers<'_> {
    /// Answers the next task, which took the time since the last answer; whether there is another one to run.
    pub fn push(&mut self, outcome: Result<&[u8], Failure>) -> io::Result<bool> {
        let now = Instant::now();
        let ns = (now - std::mem::replace(&mut self.since, now)).as_nanos() as u64;
        let mut batch = lock(&self.shared.batch);
        match outcome {
            Ok(output) => batch.push_output(output, ns),
            Err(failure) => batch.push_failure(failure, ns),
        }
        batch.flush_if_large()?;
        Ok(!batch.is_done())
    }

    /// Adds what the task used that is to be answered next.
    pub fn used(&mut self, usage: Usage) {
        lock(&self.shared.batch).used(usage);
    }

    /// Passes on at once what a task printed.
    pub fn log(&mut self, log: &Log<'_>) -> io::Result<()> {
        lock(&self.shared.batch).push_log(log)
    }
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
struct Shared {
    batch: Mutex<Batch>,
    input: Mutex<Input>,
    /// Requests that came in while a chunk ran.
    waiting: Mutex<VecDeque<Vec<u8>>>,
    phase: Mutex<Phase>,
    timer: Timer,
}

impl Shared {
    fn new() -> io::Result<Self> {
        Ok(Self {
            batch: Mutex::default(),
            input: Mutex::default(),
            waiting: Mutex::default(),
            phase: Mutex::default(),
            timer: Timer::new()?,
        })
    }

    fn enter(&self, phase: Phase) -> io::Result<()> {
        let mut its = lock(&self.phase);
        *its = phase;
        match phase {
            // The other thread stops the timer if nothing else has begun.
            Phase::Idle => Ok(()),
            Phase::Running => self.timer.start(LOOK_EVERY),
            Phase::Ended => self.timer.start(Duration::from_nanos(1)),
        }
    }

    fn next_request(&self) -> io::Result<Option<Vec<u8>>> {
        let mut input = lock(&self.input);
        match lock(&self.waiting).pop_front() {
            Some(line) => Ok(Some(line)),
            None => input.next(),
        }
    }

    /// Every so often while a chunk runs, sends what is answered and hears requests; sleeps for good while none does, and as
    /// long as chunks take less.
    fn look_after_chunks(&self) -> io::Result<()> {
        loop {
            self.timer.wait()?;
            let phase = lock(&self.phase);
            match *phase {
                Phase::Ended => return Ok(()),
                Phase::Idle => self.timer.stop()?,
                // Where the server is gone, the end of stdin tells the other thread.
                Phase::Running => drop(self.look()),
            }
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
