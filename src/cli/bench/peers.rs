//! What else does the same work, to be run side by side.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::Value;

use super::measure::{Run, median};
use super::target::Target;
use super::workloads::{Batch, Workload};
use super::{floor, threads};

/// `multiprocessing.Pool.map`, or `Pool.apply` for one task at a time.
pub(super) const POOL: &str = "Pool.map";
/// `ProcessPoolExecutor.map` with the best chunk size.
pub(super) const EXECUTOR: &str = "ProcessPoolExecutor";
/// An HTTP service of a few lines around a pool, all of it in memory.
pub(super) const FASTAPI: &str = "FastAPI";
/// Threads that call the function.
pub(super) const THREADS: &str = "threads";
/// Processes and pipes without HTTP, store and supervision.
pub(super) const FLOOR: &str = "pipes + fsync";

const SCRIPT: &str = include_str!("peers.py");

/// Runs the work once; the seconds that it took.
type Work<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// A peer, warm.
pub(super) struct Peer<'a> {
    name: &'static str,
    work: Work<'a>,
    runs_s: Vec<f64>,
}

/// What a peer came to.
#[derive(Serialize, Clone, Default, Debug)]
pub(super) struct PeerRuns {
    /// Which.
    pub(super) name: &'static str,
    /// The seconds of each run.
    pub(super) runs_s: Vec<f64>,
    /// Their median.
    pub(super) median_s: Option<f64>,
    /// The median of what each wall of ours is of the peer's beside it: a clock that drifts moves the medians of walls apart,
    /// but not the two runs of a pair.
    pub(super) gristmill_over_peer: Option<f64>,
    /// Why there are none.
    pub(super) missing: Option<String>,
}

impl Peer<'_> {
    /// Runs once.
    pub(super) fn run(&mut self) -> Result<()> {
        self.runs_s.push((self.work)().with_context(|| format!("running {}", self.name))?);
        Ok(())
    }

    /// Ends it, and compares each of its runs with the one of ours that it followed.
    pub(super) fn finish(self, ours: &[Run]) -> PeerRuns {
        let median_s = median(self.runs_s.iter().copied());
        let gristmill_over_peer =
            median(ours.iter().zip(&self.runs_s).map(|(run, peer_s)| run.wall_s / peer_s));
        PeerRuns { name: self.name, runs_s: self.runs_s, median_s, gristmill_over_peer, missing: None }
    }
}

/// The peers of a workload, warm, and those that are not there.
pub(super) fn start<'a>(
    workload: Workload,
    batch: &'a Batch,
    target: &'a Target,
) -> Result<(Vec<Peer<'a>>, Vec<PeerRuns>)> {
    let (mut peers, mut missing) = (Vec::new(), Vec::new());
    for name in names(workload) {
        match work(name, workload, batch, target)? {
            Ok(work) => peers.push(Peer { name, work, runs_s: Vec::new() }),
            Err(why) => missing.push(PeerRuns { name, missing: Some(why), ..PeerRuns::default() }),
        }
    }
    Ok((peers, missing))
}

fn names(workload: Workload) -> &'static [&'static str] {
    match workload {
        Workload::Echo => &[POOL, EXECUTOR, FASTAPI, FLOOR],
        Workload::EchoPython | Workload::Sha256 | Workload::Sha256Python => &[POOL, EXECUTOR],
        Workload::Large => &[POOL, FASTAPI],
        Workload::Latency => &[POOL],
        Workload::Count | Workload::Mine | Workload::Skewed | Workload::SkewedAscending => &[THREADS],
        Workload::Clients | Workload::TenMillion | Workload::Exec | Workload::Oversubscription => &[],
    }
}

/// The peer's work, or why it cannot be done here.
fn work<'a>(
    name: &str,
    workload: Workload,
    batch: &'a Batch,
    target: &'a Target,
) -> Result<Result<Work<'a>, String>> {
    let kind = match name {
        THREADS => return Ok(Ok(threads::start(batch, target.slots)?)),
        FLOOR => return Ok(Ok(floor::start(batch, target)?)),
        POOL if workload == Workload::Latency => "apply",
        POOL => "map",
        EXECUTOR => "executor",
        _ => "fastapi",
    };
    let python = Python::start(kind, &workload.name(), target.slots, batch.tasks, &target.dir)?;
    Ok(python.map(|mut python| Box::new(move || python.run()) as Work<'a>))
}

/// `peers.py`, at rest until it is asked for a run.
struct Python {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Python {
    fn start(
        kind: &str,
        workload: &str,
        slots: u32,
        tasks: u64,
        scripts: &Path,
    ) -> Result<Result<Self, String>> {
        let script = scripts.join("peers.py");
        fs::write(&script, SCRIPT)?;
        let mut command = Command::new("python3");
        command.arg(script).args([kind, workload, &slots.to_string(), &tasks.to_string()]);
        let Ok(mut process) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            return Ok(Err("python3 is not installed".to_owned()));
        };
        let stdin = process.stdin.take();
        let stdout = BufReader::new(process.stdout.take().context("it is piped")?).lines();
        let mut python = Self { process, stdin, stdout };
        let answer = python.hear()?;
        Ok(match answer["missing"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(python),
        })
    }

    fn run(&mut self) -> Result<f64> {
        self.stdin.as_mut().context("it is open until the end")?.write_all(b"run\n")?;
        self.hear()?["seconds"].as_f64().context("the peer says how long it took")
    }

    fn hear(&mut self) -> Result<Value> {
        match self.stdout.next() {
            Some(line) => Ok(serde_json::from_str(&line?)?),
            None => bail!("the peer has ended"),
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It ends with its stdin; multiprocessing then ends its workers.
        drop(self.stdin.take());
        drop(self.process.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_drifts_does_not_move_a_ratio() {
        let wall = |wall_s| Run { wall_s, ..Run::default() };
        let peer = Peer { name: POOL, work: Box::new(|| Ok(0.0)), runs_s: vec![1.0, 1.5, 2.0, 2.5, 2.5] };
        let compared = peer.finish(&[1.2, 1.8, 2.4, 3.0, 2.0].map(wall));
        assert_eq!(compared.median_s, Some(2.0));
        assert!((compared.gristmill_over_peer.unwrap() - 1.2).abs() < 1e-9);
    }
}
