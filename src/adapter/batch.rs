//! `batch`: a process for a chunk: lines in, the end of its input, as many lines out. For filters that buffer.
//!
//! A chunk that goes wrong is halved until the tasks at fault stand alone.

use std::io;
use std::time::Duration;

use serde_json::value::RawValue;

use super::Host;
use super::form::check_json;
use super::program::{Program, failure, trace_of};
use crate::model::Verdict;
use crate::protocol::{Run, json};
use crate::worker::{Answers, Failure, Runner};

const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Batch {
    host: Host,
}

impl Batch {
    pub(super) fn new(host: Host) -> Self {
        Self { host }
    }

    /// Runs these inputs of the chunk, which begin at this index.
    fn map(
        &self,
        run: &Run<'_>,
        index: u64,
        inputs: &[&RawValue],
        answers: &mut Answers<'_>,
    ) -> io::Result<()> {
        let mut program = match Program::start(&self.host, &self.host.argv, trace_of(run)) {
            Ok(program) => program,
            Err(failure) => return each(inputs, answers, |_| Err(failure.clone())),
        };
        let mut text = Vec::new();
        inputs.iter().for_each(|input| json::push_line(&mut text, input.get().as_bytes()));
        program.send(&text)?;
        program.close_stdin()?;
        while !program.has_ended() && !program.is_over_limit() {
            program.turn(&self.host, LOOK_EVERY)?;
        }
        let lines = lines(&mut program, inputs.len());
        if lines.is_ok() || inputs.len() == 1 {
            program.log(index, answers, true)?;
        }
        answers.used(program.usage());
        program.kill(&self.host)?;
        match lines {
            Ok(lines) => each(inputs, answers, |at| judge(&lines[at])),
            Err(failure) if inputs.len() == 1 => each(inputs, answers, |_| Err(failure.clone())),
            Err(_) => {
                let (left, right) = inputs.split_at(inputs.len() / 2);
                self.map(run, index, left, answers)?;
                self.map(run, index + left.len() as u64, right, answers)
            }
        }
    }
}

/// As many lines as there are inputs, or why not.
fn lines(program: &mut Program, count: usize) -> Result<Vec<Vec<u8>>, Failure> {
    if program.is_over_limit() {
        return Err(program.too_much());
    }
    program.check_end()?;
    let output = std::mem::take(&mut program.output);
    let output = output.strip_suffix(b"\n").unwrap_or(&output);
    let lines: Vec<_> = match output {
        [] => Vec::new(),
        output => output.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect(),
    };
    if lines.len() == count {
        return Ok(lines);
    }
    let message =
        format!("it wrote {} lines for {count} input; in batch mode every input line has one", lines.len());
    Err(Failure { retryable: false, ..program.fail(Verdict::BadOutput, message) })
}

fn judge(line: &[u8]) -> Result<Vec<u8>, Failure> {
    let checked = check_json(line.trim_ascii()).map(<[u8]>::to_vec);
    checked.map_err(|why| failure(Verdict::BadOutput, why))
}

fn each(
    inputs: &[&RawValue],
    answers: &mut Answers<'_>,
    outcome: impl Fn(usize) -> Result<Vec<u8>, Failure>,
) -> io::Result<()> {
    for at in 0..inputs.len() {
        answers.push(outcome(at).as_deref().map_err(Clone::clone))?;
    }
    Ok(())
}

impl Runner for Batch {
    const RETURNS: bool = false;

    fn run(&mut self, run: &Run<'_>, answers: &mut Answers<'_>) -> io::Result<()> {
        self.map(run, run.index, &run.inputs, answers)
    }
}
