//! `exec`: one process a task.

use std::io;
use std::time::Duration;

use serde_json::value::RawValue;

use super::Host;
use super::form::{Input, Output};
use super::program::{Program, Told, bad_input, failure, trace_of};
use super::template::Template;
use crate::model::Verdict;
use crate::protocol::Run;
use crate::worker::{Answers, Failure, Runner};

const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Exec {
    host: Host,
    template: Template,
    input: Input,
    output: Output,
}

impl Exec {
    pub(super) fn new(host: Host, input: Input, output: Output) -> Self {
        let template = Template::new(&host.argv);
        Self { host, template, input, output }
    }

    fn map(
        &self,
        run: &Run<'_>,
        index: u64,
        input: &RawValue,
        answers: &mut Answers<'_>,
    ) -> io::Result<Outcome> {
        let mut program = match self.start(run, index, input) {
            Ok(program) => program,
            Err(failure) => return Ok(Err(failure)),
        };
        while !program.has_ended() && !program.is_over_limit() {
            program.turn(&self.host, LOOK_EVERY)?;
            program.log(index, answers, false)?;
        }
        program.log(index, answers, true)?;
        answers.used(program.usage());
        let outcome = if program.is_over_limit() {
            Err(program.too_much())
        } else {
            program.check_end().and_then(|()| {
                self.output.decode(&program.output).map_err(|why| program.fail(Verdict::BadOutput, why))
            })
        };
        program.kill(&self.host)?;
        Ok(outcome)
    }

    fn start(&self, run: &Run<'_>, index: u64, input: &RawValue) -> Result<Program, Failure> {
        let argv = self.template.fill(input).map_err(bad_input)?;
        let stdin = if self.template.takes_input() {
            Vec::new()
        } else {
            self.input.encode(run, index, input.get()).map_err(bad_input)?
        };
        let mut program = Program::start(&self.host, &argv, about(run, index))?;
        let sent = program.send(&stdin).and_then(|()| program.close_stdin());
        sent.map_err(|error| failure(Verdict::Crash, format!("its stdin could not be written: {error}")))?;
        Ok(program)
    }
}

/// What the program is told of its task.
fn about(run: &Run<'_>, index: u64) -> impl Iterator<Item = Told> {
    let task = [
        ("GRISTMILL_JOB", run.job.to_string()),
        ("GRISTMILL_INDEX", index.to_string()),
        ("GRISTMILL_ATTEMPT", run.attempt.to_string()),
    ];
    task.into_iter().chain(trace_of(run))
}

type Outcome = Result<Vec<u8>, Failure>;

impl Runner for Exec {
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
