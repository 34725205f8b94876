//! `gristmill check-worker`: whether a program is a worker, as a table.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use comfy_table::{ContentArrangement, Table, presets};

use super::streams::print_line;
use crate::adapter::{self, Input, Mode, Output};
use crate::check::{self, Finding, Outcome};
use crate::protocol::json;
use crate::{app, units};

const MODES: [Mode; 4] = [Mode::Frames, Mode::Lines, Mode::Batch, Mode::Exec];
const MAX_OUTPUT_BYTES: u64 = 16 << 20;
const WIDTH: u16 = 140;

/// The arguments of `check-worker`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How the program is spoken to; all but frames put it behind the adapter
    #[arg(long, default_value = "frames", value_parser = PossibleValuesParser::new(MODES.map(Mode::as_str)).map(|word| mode(&word)))]
    mode: Mode,
    /// An input that the function understands; more of them take turns [default: the numbers from 0 on]
    #[arg(long, value_name = "JSON", value_parser = one_value, allow_hyphen_values = true)]
    input: Vec<String>,
    /// An input that the function refuses
    #[arg(long, value_name = "JSON", value_parser = one_value, allow_hyphen_values = true)]
    bad_input: Option<String>,
    /// Try odd inputs even where --input says what the function understands
    #[arg(long)]
    probe: bool,
    /// How long the worker may be silent over a task
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = units::duration)]
    timeout: Duration,
    /// Print a line of JSON for each check, as it is made
    #[arg(long)]
    json: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(super) fn run(arguments: Arguments) -> Result<()> {
    let json = arguments.json;
    let (mut findings, mut written) = (Vec::new(), Ok(()));
    let all_hold = check::run(&settings(arguments), |finding| {
        if json && written.is_ok() {
            written = print_line(serde_json::to_string(&finding).expect("words always serialise"));
        }
        findings.push(finding);
    })?;
    written?;
    if !json {
        print_line(table(&findings))?;
    }
    let failed = findings.iter().filter(|finding| finding.outcome == Outcome::Fails).count();
    ensure!(all_hold, "{failed} of {} checks failed", findings.len());
    Ok(())
}

/// The worker as a server would start it.
fn settings(arguments: Arguments) -> check::Settings {
    let Arguments { mode, input: inputs, bad_input, probe, timeout, command, json: _ } = arguments;
    let (input, output) = (Input::Json, Output::Json);
    let adapter = adapter::Settings { mode, input, output, max_output_bytes: MAX_OUTPUT_BYTES };
    let mut env = app::environment(&[], &BTreeMap::new());
    env.insert("GRISTMILL_WORKER".into(), "worker-1".into());
    env.insert("GRISTMILL_FUNCTION".into(), "check-worker".into());
    let (argv, probes) = (adapter.worker_argv(&command), probe || inputs.is_empty());
    check::Settings { argv, env, mode, inputs, bad_input, probes, timeout }
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_width(WIDTH);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["", "check", "needs", "seen"]);
    for Finding { check, outcome, needs, seen } in findings {
        let (mark, seen) = match outcome {
            Outcome::Holds => ("✓", seen.clone()),
            Outcome::Fails => ("✗", seen.clone()),
            Outcome::Skipped => ("–", format!("skipped: {seen}")),
            Outcome::Info => ("·", seen.clone()),
        };
        table.add_row([mark, check, needs, &seen]);
    }
    table
}

fn mode(word: &str) -> Mode {
    MODES.into_iter().find(|mode| mode.as_str() == word).unwrap_or(Mode::Frames)
}

fn one_value(text: &str) -> Result<String, json::BadJson> {
    json::check(text.as_bytes()).map(|()| text.to_owned())
}
