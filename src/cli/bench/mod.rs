//! `gristmill bench`: what a user gets of this machine, end to end, beside what else does the same work.
//!
//! A run of a batch lasts from the first byte of its submit to the last byte of its results in the order of the inputs, and
//! every output is compared with what it has to be. Deliberately absent: a verdict in the exit code. A bar that
//! is not met is shown; only what fails or is wrong is an error.

mod bars;
mod calibrate;
mod disk;
mod floor;
mod lines;
mod machine;
mod measure;
mod oversubscription;
mod peers;
mod report;
mod requests;
mod scaling;
mod sink;
mod skew;
mod suite;
mod svg;
mod target;
mod threads;
mod wire;
mod workloads;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use super::signals::unless_ended;
use super::streams::print_line;
use sink::Sink;
use target::Site;
use workloads::Workload;

/// A directory is removed at most so many times.
const REMOVALS: u32 = 10;

/// The arguments of `bench`.
#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    /// What to measure; may be repeated [default: all]
    #[arg(long, value_enum, value_name = "NAME")]
    workload: Vec<Workload>,
    /// How often at least, and beside peers for 4 s a run, or --scale times that below 1; medians are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    runs: u32,
    /// Run the peers too, turn by turn: Python's pools, `FastAPI` if it is installed, threads, bare pipes
    #[arg(long)]
    compare: bool,
    /// A factor on the numbers of tasks; bars are shown from 1 on
    #[arg(long, default_value_t = 1.0, value_parser = scale, value_name = "F")]
    scale: f64,
    /// Write all numbers of each run as JSON; - is stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the own server keeps its data: on a real disk, or syncs cost nothing [default: the temporary directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Measure this server, not an own one; without its CPU time and memory
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Measure one job by the number of processes instead, such as 1,2,4,8
    #[arg(long, value_name = "N,…", value_delimiter = ',', requires_all = ["function", "inputs"],
          value_parser = clap::value_parser!(u32).range(1..=4096), conflicts_with_all = ["workload", "compare", "scale"])]
    scaling: Vec<u32>,
    /// The function of that job
    #[arg(long, value_name = "NAME", requires = "scaling")]
    function: Option<String>,
    /// The inputs of that job, one a line
    #[arg(long, value_name = "FILE", requires = "scaling")]
    inputs: Option<PathBuf>,
    /// Draw its speed-up
    #[arg(long, value_name = "FILE", requires = "scaling")]
    svg: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<ExitCode> {
    let json = arguments.json.as_deref().map(Sink::open).transpose()?;
    let svg = arguments.svg.as_deref().map(Sink::file).transpose()?;
    super::block_on(unless_ended(async {
        let scratch = Scratch::make(&arguments.data_dir.clone().unwrap_or_else(usual_dir))?;
        let site = Site { server: arguments.server.clone(), dir: scratch.0.clone() };
        // What is measured blocks, in a thread of its own, with which its servers end; this one waits for it or for a signal.
        let work = tokio::task::spawn_blocking(move || {
            if arguments.scaling.is_empty() {
                suite::run(&arguments, json, &site)
            } else {
                scaling::run(&arguments, (json, svg), &site)
            }
        });
        work.await.context("the benchmark panicked")?
    }))
}

/// A factor that leaves some tasks, and not too many to count.
fn scale(text: &str) -> Result<f64, String> {
    let scale = text.parse().ok().filter(|scale| *scale > 0.0 && *scale <= 1000.0);
    scale.ok_or_else(|| "it is above 0, 1000 at most".to_owned())
}

/// A directory for the time of the benchmark.
struct Scratch(PathBuf);

impl Scratch {
    fn make(under: &Path) -> Result<Self> {
        let dir = under.join(format!("gristmill-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Self(std::path::absolute(dir)?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A server whose benchmark a signal has ended may still put files there.
        let _ = (0..REMOVALS).any(|_| fs::remove_dir_all(&self.0).is_ok());
    }
}

/// The temporary directory, or this one if that is in memory.
fn usual_dir() -> PathBuf {
    let temporary = std::env::temp_dir();
    if disk::is_in_memory(&temporary) { PathBuf::from(".") } else { temporary }
}

/// Shows text on stdout, or on stderr if the JSON goes there.
fn show(arguments: &Arguments, text: &impl std::fmt::Display) -> Result<()> {
    if arguments.json.as_deref() == Some(Path::new("-")) {
        eprintln!("{text}");
        return Ok(());
    }
    print_line(text)
}
