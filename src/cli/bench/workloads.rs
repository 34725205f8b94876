//! The workloads: what each one sends, and what has to come back.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde_json::value::RawValue;

use super::calibrate::Speeds;
use super::lines::Lines;
use super::skew;
use crate::functions;

const ANY_HEADER: &str = "00";
const HEADER_BYTES: usize = 76;
const LARGE_BYTES: usize = 100 << 10;

/// What may be measured.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Workload {
    /// 1,000,000 small integers through the built-in `echo`
    Echo,
    /// The same through a Python function
    EchoPython,
    /// 1,000,000 strings of 64 bytes through the built-in `sha256`
    Sha256,
    /// The same through hashlib
    Sha256Python,
    /// 1,000 tasks of 1 ms
    Count,
    /// 200 tasks of 20 ms
    Mine,
    /// 1,000 tasks of 2 ms on average, the largest some 60 times as long, in no order
    Skewed,
    /// The same with the longest ones last
    SkewedAscending,
    /// 1,000 strings of 100 KiB, there and back
    Large,
    /// One small task alone, 1,000 times
    Latency,
    /// 32 clients at once, each with one small task after another
    Clients,
    /// 10,000,000 small integers through `echo`
    TenMillion,
    /// 10,000 starts of /bin/true
    Exec,
    /// The tasks of `mine` by more and more processes
    Oversubscription,
}

/// Inputs for a function, and what it makes of them.
#[derive(Debug)]
pub(super) struct Batch {
    /// The function.
    pub(super) function: String,
    /// How many inputs.
    pub(super) tasks: u64,
    /// The inputs.
    pub(super) inputs: Lines,
    /// The outputs.
    pub(super) outputs: Outputs,
}

/// What has to come back.
#[derive(Debug)]
pub(super) enum Outputs {
    /// The inputs.
    Inputs,
    /// These.
    Lines(Lines),
    /// Whatever it is, if all tasks succeed.
    Any,
}

impl Batch {
    /// What has to come back, if that is known.
    pub(super) fn expected(&self) -> Option<&Lines> {
        match &self.outputs {
            Outputs::Inputs => Some(&self.inputs),
            Outputs::Lines(lines) => Some(lines),
            Outputs::Any => None,
        }
    }
}

impl Workload {
    /// Its name on the command line.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The function that it calls.
    pub(super) fn function(self) -> &'static str {
        match self {
            Self::Echo | Self::Large | Self::Latency | Self::Clients | Self::TenMillion => "echo",
            Self::EchoPython => "bench-echo",
            Self::Sha256 => "sha256",
            Self::Sha256Python => "bench-sha256",
            Self::Count | Self::Skewed | Self::SkewedAscending => "count",
            Self::Mine | Self::Oversubscription => "mine",
            Self::Exec => "bench-true",
        }
    }

    /// How many tasks it has.
    pub(super) fn tasks(self, scale: f64) -> u64 {
        let full = match self {
            Self::TenMillion => 10_000_000,
            Self::Echo | Self::EchoPython | Self::Sha256 | Self::Sha256Python => 1_000_000,
            Self::Exec => 10_000,
            Self::Count | Self::Skewed | Self::SkewedAscending | Self::Large | Self::Latency => 1000,
            Self::Mine | Self::Oversubscription => 200,
            Self::Clients => 1,
        };
        ((f64::from(full) * scale).round() as u64).max(1)
    }

    /// Its batch.
    pub(super) fn batch(self, scale: f64, speeds: &Speeds) -> Result<Batch> {
        let tasks = self.tasks(scale);
        let (inputs, outputs) = match self {
            Self::TenMillion => (Lines::Numbers(tasks), Outputs::Inputs),
            Self::Echo | Self::EchoPython | Self::Latency | Self::Clients => {
                (Lines::each(tasks, |index| index.to_string()), Outputs::Inputs)
            }
            Self::Exec => {
                let nothing = Lines::each(tasks, |_| r#""""#.to_owned());
                (Lines::each(tasks, |index| index.to_string()), Outputs::Lines(nothing))
            }
            Self::Sha256 | Self::Sha256Python => {
                let inputs = Lines::each(tasks, |index| format!("\"{index:064x}\""));
                let outputs = mapped("sha256", &inputs)?;
                (inputs, Outputs::Lines(outputs))
            }
            Self::Count => {
                let n = speeds.counts_per_ms;
                (Lines::each(tasks, |index| (n as u64 + index % 2).to_string()), Outputs::Inputs)
            }
            Self::Skewed => (skew::counts(tasks, false, speeds), Outputs::Inputs),
            Self::SkewedAscending => (skew::counts(tasks, true, speeds), Outputs::Inputs),
            Self::Mine | Self::Oversubscription => mine(tasks, speeds),
            Self::Large => {
                let text = |index| format!("\"{}\"", format!("{index:08x}").repeat(LARGE_BYTES / 8));
                (Lines::each(tasks, text), Outputs::Inputs)
            }
        };
        Ok(Batch { function: self.function().to_owned(), tasks, inputs, outputs })
    }
}

/// Tasks of 20 ms that find nothing.
fn mine(tasks: u64, speeds: &Speeds) -> (Lines, Outputs) {
    let hashes = ((speeds.hashes_per_ms * 20.0) as u64).max(1);
    let inputs = Lines::each(tasks, |index| mine_input(index * hashes % (1 << 31), hashes));
    let nothing = Lines::each(tasks, |_| format!(r#"{{"hashes":{hashes},"found":null}}"#));
    (inputs, Outputs::Lines(nothing))
}

/// An input of `mine` with a target that no hash meets.
pub(super) fn mine_input(start: u64, count: u64) -> String {
    let (header, target) = (ANY_HEADER.repeat(HEADER_BYTES), "0".repeat(64));
    format!(r#"{{"header":"{header}","start":{start},"count":{count},"target":"{target}"}}"#)
}

/// What a built-in function makes of these inputs.
fn mapped(name: &str, inputs: &Lines) -> Result<Lines> {
    let function = functions::find(name).context("it is built in")?;
    let mut outputs = Vec::new();
    for block in inputs.blocks() {
        for line in std::str::from_utf8(&block)?.lines() {
            let input: &RawValue = serde_json::from_str(line)?;
            (function.run)(input, &mut outputs)?;
            outputs.push(b'\n');
        }
    }
    Ok(Lines::Ready(outputs))
}
