//! `lines`: a warm filter, one JSON line in, one JSON line out. It is sent a line when it has answered the one before,
//! so that what it does is always the doing of one task.

use std::io;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::Host;
use super::form::{Input, check_json};
use super::program::{Program, bad_input, failure};
use crate::model::Verdict;
use crate::protocol::{Run, Usage};
use crate::worker::{Answers, Failure, Runner};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A program that waits for more input at so many looks in a row has taken its line and gives none.
const LOOKS: u32 = 3;
/// For so many looks a program may write what it kept when its input ends, or end when it has closed a pipe.
const LAST_CHANCE: u32 = 10;
/// A program that has closed its stdin makes way for a new one, which should not do so before its first line.
const TRIES: u32 = 2;

pub(super) struct Lines {
    host: Host,
    input: Input,
    program: Option<Program>,
}

type Outcome = Result<Vec<u8>, Failure>;

impl Lines {
    pub(super) fn new(host: Host, input: Input) -> Self {
        Self { host, input, program: None }
    }

    fn map(
        &mut self,
        run: &Run<'_>,
        index: u64,
        input: &RawValue,
        answers: &mut Answers<'_>,
    ) -> io::Result<Outcome> {
        let line = match self.input.encode(run, index, input.get()) {
            Ok(line) => line,
            Err(message) => return Ok(Err(bad_input(message))),
        };
        for _ in 0..TRIES {
            if let Some(outcome) = self.try_line(&line, index, answers)? {
                return Ok(outcome);
            }
        }
        let message = "it closed its stdin before it had read its input";
        Ok(Err(Failure { retryable: false, ..failure(Verdict::BadOutput, message) }))
    }

    /// Has the program answer this line; `None` if it has not read any of it, and never will.
    fn try_line(
        &mut self,
        line: &[u8],
        index: u64,
        answers: &mut Answers<'_>,
    ) -> io::Result<Option<Outcome>> {
        let mut program = match self.warm_program()? {
            Ok(program) => program,
            Err(failure) => return Ok(Some(Err(failure))),
        };
        let before = program.cpu_ns();
        program.send(line)?;
        let outcome = self.answer(&mut program, line.len(), index, answers)?;
        let cpu_ns = program.cpu_ns().saturating_sub(before);
        answers.used(Usage { cpu_ns: Some(cpu_ns), max_rss_bytes: program.max_rss_bytes() });
        program.log(index, answers, true)?;
        // One that is out of step, or was told that its input has ended, is of no more use.
        match &outcome {
            Some(Ok(_)) if !program.has_ended() => self.program = Some(program),
            _ => program.kill(&self.host)?,
        }
        Ok(outcome.map(|outcome| outcome.and_then(|line| judge(&line))))
    }

    /// The program that runs, or a new one; with nothing on its stdout that no input asked for.
    fn warm_program(&mut self) -> io::Result<Result<Program, Failure>> {
        if let Some(mut program) = self.program.take() {
            program.turn(&self.host, Duration::ZERO)?;
            let is_deaf_or_mute = program.has_closed_stdin() || program.has_closed_stdout();
            if program.output.is_empty() && !program.has_ended() && !is_deaf_or_mute {
                program.forget_last_words();
                return Ok(Ok(program));
            }
            program.kill(&self.host)?;
        }
        Ok(Program::start(&self.host, &self.host.argv, None))
    }

    /// Its next line, or why there is none; `None` if it has not read any of the last `count` bytes, and never will.
    fn answer(
        &self,
        program: &mut Program,
        count: usize,
        index: u64,
        answers: &mut Answers<'_>,
    ) -> io::Result<Option<Outcome>> {
        let (mut waits, mut useless_since) = (0, None);
        loop {
            if let Some(end) = memchr::memchr(b'\n', &program.output) {
                let rest = program.output.split_off(end + 1);
                let line = std::mem::replace(&mut program.output, rest);
                let is_all = program.output.is_empty();
                return Ok(Some(if is_all { Ok(line) } else { Err(more_than_one(program)) }));
            }
            if program.is_over_limit() {
                return Ok(Some(Err(program.too_much())));
            }
            if program.has_ended() {
                return Ok(Some(Err(ended(program))));
            }
            let is_deaf = program.has_closed_stdin() && program.unread() >= count;
            if is_deaf || program.has_closed_stdout() {
                let since = *useless_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= LOOK_EVERY * LAST_CHANCE {
                    return Ok((!is_deaf).then(|| Err(mute(program))));
                }
            }
            let seen = program.output.len();
            program.turn(&self.host, LOOK_EVERY)?;
            program.log(index, answers, false)?;
            // What is there may be a part of a line that its buffer could not hold.
            let is_still = program.output.len() == seen;
            let is_of_use = useless_since.is_none();
            waits = if is_still && is_of_use && program.waits_for_input() { waits + 1 } else { 0 };
            if waits == LOOKS {
                return self.diagnose(program).map(|failure| Some(Err(failure)));
            }
        }
    }

    /// It has taken its input, waits for more, and gave no line. Does it when its input ends?
    fn diagnose(&self, program: &mut Program) -> io::Result<Failure> {
        let seen = program.output.len();
        program.close_stdin()?;
        for _ in 0..LAST_CHANCE {
            if program.has_ended() {
                break;
            }
            program.turn(&self.host, LOOK_EVERY)?;
        }
        let message = if program.output.len() == seen {
            "it read its input, gave no line, and waited for more; a function in lines mode answers every line with one"
        } else {
            "it gave its line only when its input ended: its output is buffered; flush it after every line \
             (Python: print(…, flush=True); Ruby: $stdout.sync = true; awk: fflush(); jq: --unbuffered; sed: -u), or \
             declare mode = \"batch\""
        };
        Ok(Failure { retryable: false, ..program.fail(Verdict::BadOutput, message) })
    }
}

fn mute(program: &mut Program) -> Failure {
    let message = "it closed its stdout and went on, and could answer no more";
    Failure { retryable: false, ..program.fail(Verdict::BadOutput, message) }
}

fn more_than_one(program: &mut Program) -> Failure {
    let message = "it wrote more than one line for one input";
    Failure { retryable: false, ..program.fail(Verdict::BadOutput, message) }
}

fn ended(program: &mut Program) -> Failure {
    match program.check_end() {
        Err(failure) => failure,
        Ok(()) => program.fail(Verdict::Crash, "it ended, with code 0, before it had answered this input"),
    }
}

fn judge(line: &[u8]) -> Outcome {
    let checked = check_json(line.trim_ascii()).map(<[u8]>::to_vec);
    checked.map_err(|why| failure(Verdict::BadOutput, why))
}

impl Runner for Lines {
    fn run(&mut self, run: &Run<'_>, answers: &mut Answers<'_>) -> io::Result<()> {
        for (index, input) in (run.index..).zip(&run.inputs) {
            let outcome = self.map(run, index, input, answers)?;
            if !answers.push(outcome.as_deref().map_err(Clone::clone))? {
                break;
            }
        }
        Ok(())
    }
}
