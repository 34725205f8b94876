//! The classic experiment: the time of one job by the number of processes, and which number to take.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use comfy_table::{Table, presets};
use serde::Serialize;

use super::lines::Lines;
use super::machine::Machine;
use super::measure::{self, Run};
use super::sink::Sink;
use super::svg::draw;
use super::target::Site;
use super::workloads::{Batch, Outputs};
use super::{Arguments, show};

/// A number of processes is as good as the best if its wall is at most so much longer.
const AS_GOOD: f64 = 1.02;

/// A number of processes, and what came of it.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Point {
    /// How many processes.
    pub(super) processes: u32,
    /// The median of the walls.
    pub(super) wall_s: f64,
    /// How many times as fast as the fewest processes, which count as perfect.
    pub(super) speedup: f64,
    /// The speed-up a process.
    pub(super) efficiency: f64,
    /// CPU time of the workers.
    pub(super) cpu_s: Option<f64>,
    /// The wall of each run.
    pub(super) runs_s: Vec<f64>,
}

#[derive(Serialize)]
struct Report<'a> {
    machine: Machine,
    function: &'a str,
    tasks: u64,
    points: &'a [Point],
    recommended_processes: u32,
}

/// Measures, shows, draws.
pub(super) fn run(
    arguments: &Arguments,
    (json, svg): (Option<Sink>, Option<Sink>),
    site: &Site,
) -> Result<()> {
    let mut counts = arguments.scaling.clone();
    counts.sort_unstable();
    counts.dedup();
    let (batch, most) = (batch(arguments)?, counts.last().copied().unwrap_or(1));
    let served = site.open()?;
    let target = &served.target;
    let machine = Machine::look(target)?;
    let _widened = target.widen(most)?;
    measure::warm_up(target, &batch, most)?;
    let mut runs = vec![Vec::new(); counts.len()];
    for number in 1..=arguments.runs {
        for (count, runs) in counts.iter().zip(&mut runs) {
            let run = measure::job(target, &batch, Some(*count))?;
            eprintln!("{count} processes: run {number} of {}: {:.4} s", arguments.runs, run.wall_s);
            runs.push(run);
        }
    }
    let points = points(&counts, &runs);
    let recommended = recommended(&points);
    show(
        arguments,
        &format!("{machine}\n{} tasks of {}\n\n{}", batch.tasks, batch.function, table(&points, recommended)),
    )?;
    if let Some(svg) = svg {
        let title = format!("{} tasks of {} by the number of processes", batch.tasks, batch.function);
        svg.write(&draw(&title, &points, recommended))?;
    }
    let (function, tasks) = (batch.function.as_str(), batch.tasks);
    let report = Report { machine, function, tasks, points: &points, recommended_processes: recommended };
    json.map_or(Ok(()), |json| json.write_json(&report))
}

fn batch(arguments: &Arguments) -> Result<Batch> {
    let path = arguments.inputs.as_deref().context("--scaling needs --inputs")?;
    let mut text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    let tasks = memchr::memchr_iter(b'\n', &text).count() as u64;
    ensure!(tasks > 0, "there are no inputs in {}", path.display());
    let function = arguments.function.clone().context("--scaling needs --function")?;
    Ok(Batch { function, tasks, inputs: Lines::Ready(text), outputs: Outputs::Any })
}

fn points(counts: &[u32], runs: &[Vec<Run>]) -> Vec<Point> {
    let medians: Vec<Run> = runs.iter().map(|runs| Run::median(runs)).collect();
    // One process's work, as far as the fewest processes tell.
    let alone_s =
        medians.first().map_or(0.0, |run| run.wall_s) * f64::from(counts.first().copied().unwrap_or(1));
    let point = |((processes, run), runs): ((&u32, &Run), &Vec<Run>)| {
        let speedup = alone_s / run.wall_s;
        Point {
            processes: *processes,
            wall_s: run.wall_s,
            speedup,
            efficiency: speedup / f64::from(*processes),
            cpu_s: run.figures.get("workers_cpu_s").copied(),
            runs_s: runs.iter().map(|run| run.wall_s).collect(),
        }
    };
    counts.iter().zip(&medians).zip(runs).map(point).collect()
}

/// The smallest number of processes that is as good as the best.
fn recommended(points: &[Point]) -> u32 {
    let best = points.iter().map(|point| point.wall_s).fold(f64::INFINITY, f64::min);
    points.iter().find(|point| point.wall_s <= best * AS_GOOD).map_or(1, |point| point.processes)
}

fn table(points: &[Point], recommended: u32) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["processes", "wall s", "speed-up", "efficiency", "CPU s", ""]);
    for point in points {
        table.add_row([
            point.processes.to_string(),
            format!("{:.3}", point.wall_s),
            format!("{:.2} ×", point.speedup),
            format!("{:.0} %", point.efficiency * 100.0),
            point.cpu_s.map_or_else(|| "–".to_owned(), |cpu| format!("{cpu:.2}")),
            if point.processes == recommended { "← recommended".to_owned() } else { String::new() },
        ]);
    }
    format!("{table}\n\nRecommended: {recommended}, the fewest processes within 2 % of the best wall.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_processes_near_the_best_are_recommended() {
        let run = |wall_s| vec![Run { wall_s, ..Run::default() }];
        let points = points(&[1, 2, 4, 8], &[run(8.0), run(4.0), run(2.03), run(2.0)]);
        assert_eq!(recommended(&points), 4);
        assert!((points[1].speedup - 2.0).abs() < 1e-9 && (points[3].efficiency - 0.5).abs() < 1e-9);
    }
}
