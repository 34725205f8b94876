//! What was measured: as a table for people, as JSON with every run for programs.

use std::fmt;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::Arguments;
use super::bars::Bar;
use super::machine::Machine;
use super::measure::Run;
use super::peers::PeerRuns;
use super::workloads::Workload;

const WIDTH: u16 = 150;

/// Everything.
#[derive(Serialize, Debug)]
pub(super) struct Report {
    /// Where.
    machine: Machine,
    /// How often at least.
    runs: u32,
    /// The factor on the numbers of tasks.
    scale: f64,
    /// What was measured.
    pub(super) workloads: Vec<Outcome>,
    /// What was not.
    pub(super) skipped: Vec<Skipped>,
}

/// A workload, measured.
#[derive(Serialize, Debug)]
pub(super) struct Outcome {
    /// Which.
    #[serde(skip)]
    pub(super) workload: Workload,
    /// Its name.
    pub(super) name: String,
    /// The function that it called.
    pub(super) function: String,
    /// How many tasks a run had.
    pub(super) tasks: u64,
    /// Whether every output was compared with what it had to be; if one had been wrong, there would be no report.
    pub(super) outputs_checked: bool,
    /// Each run.
    pub(super) runs: Vec<Run>,
    /// The median of each number.
    pub(super) median: Run,
    /// Its peers.
    pub(super) peers: Vec<PeerRuns>,
    /// Its bars.
    pub(super) bars: Vec<Bar>,
}

/// A workload that was left out.
#[derive(Serialize, Debug)]
pub(super) struct Skipped {
    /// Which.
    pub(super) name: String,
    /// Why.
    pub(super) why: String,
}

impl Report {
    /// A report of nothing yet.
    pub(super) fn new(arguments: &Arguments, machine: Machine) -> Self {
        let Arguments { runs, scale, .. } = *arguments;
        Self { machine, runs, scale, workloads: Vec::new(), skipped: Vec::new() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_width(WIDTH);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([
            "workload",
            "runs",
            "tasks",
            "wall",
            "tasks/s",
            "server µs/task",
            "worker µs/task",
            "peak RSS",
            "gristmill/peer",
            "bar",
        ]);
        for outcome in &self.workloads {
            outcome.add_to(&mut table);
        }
        writeln!(
            f,
            "{}\nMedians of the runs, each compared with the peer's beside it.\n\n{table}\n",
            self.machine
        )?;
        for outcome in self.workloads.iter().filter(|outcome| outcome.workload.has_figures()) {
            let figures = outcome.median.figures.iter().map(|(name, value)| format!("{name} {value:.3}"));
            writeln!(f, "{}: {}", outcome.name, figures.collect::<Vec<_>>().join(", "))?;
        }
        self.skipped.iter().try_for_each(|Skipped { name, why }| writeln!(f, "{name} was left out: {why}"))
    }
}

impl Workload {
    /// Whether its table row does not say all that people want to know.
    fn has_figures(self) -> bool {
        matches!(self, Self::Skewed | Self::SkewedAscending | Self::Latency | Self::Oversubscription)
    }
}

impl Outcome {
    fn add_to(&self, table: &mut Table) {
        let run = &self.median;
        let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
        let rss = run
            .server_peak_rss_bytes
            .map_or_else(|| "–".to_owned(), |bytes| format!("{:.0} MB", bytes / 1e6));
        let bars: Vec<String> = self.bars.iter().map(Bar::to_string).collect();
        table.add_row([
            self.name.clone(),
            self.runs.len().to_string(),
            self.tasks.to_string(),
            seconds(run.wall_s),
            format!("{:.0}", run.tasks_per_s),
            number(run.server_cpu_us_per_task),
            number(run.worker_cpu_us_per_task),
            rss,
            String::new(),
            bars.join("\n"),
        ]);
        for peer in &self.peers {
            let wall = peer.median_s.map(seconds).or_else(|| peer.missing.clone()).unwrap_or_default();
            let ratio = peer.gristmill_over_peer.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            table.add_row([
                format!("  {}", peer.name),
                String::new(),
                String::new(),
                wall,
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                ratio,
            ]);
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.value < 100.0 { 2 } else { 0 };
        write!(f, "{} {}: {:.digits$}", if self.met { "✓" } else { "✗" }, self.words, self.value)
    }
}

fn seconds(seconds: f64) -> String {
    if seconds < 0.1 { format!("{:.2} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}
