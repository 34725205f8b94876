//! One job, measured from the first byte of its submit to the last byte of its results.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use super::lines::Checker;
use super::target::Target;
use super::wire::Wire;
use super::workloads::Batch;

/// What one run came to.
#[derive(Serialize, Clone, Default, Debug)]
pub(super) struct Run {
    /// Seconds by the clock: of the whole batch, or of what the workload repeats.
    pub(super) wall_s: f64,
    /// Tasks a second.
    pub(super) tasks_per_s: f64,
    /// CPU time of the server's process alone, in microseconds a task.
    pub(super) server_cpu_us_per_task: Option<f64>,
    /// CPU time of the workers.
    pub(super) worker_cpu_us_per_task: Option<f64>,
    /// The most memory that the server's process held.
    pub(super) server_peak_rss_bytes: Option<f64>,
    /// What this workload alone knows; the unit is in the name.
    pub(super) figures: BTreeMap<String, f64>,
}

impl Run {
    /// The median of each number on its own.
    pub(super) fn median(runs: &[Self]) -> Self {
        let each = |number: fn(&Self) -> Option<f64>| median(runs.iter().filter_map(number));
        let names = runs.iter().flat_map(|run| run.figures.keys());
        let figure = |name: &String| {
            let values = runs.iter().filter_map(|run| run.figures.get(name).copied());
            Some((name.clone(), median(values)?))
        };
        Self {
            wall_s: each(|run| Some(run.wall_s)).unwrap_or(0.0),
            tasks_per_s: each(|run| Some(run.tasks_per_s)).unwrap_or(0.0),
            server_cpu_us_per_task: each(|run| run.server_cpu_us_per_task),
            worker_cpu_us_per_task: each(|run| run.worker_cpu_us_per_task),
            server_peak_rss_bytes: each(|run| run.server_peak_rss_bytes),
            figures: names.filter_map(figure).collect(),
        }
    }
}

/// The median; the mean of the two in the middle if there are two.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

/// The smallest of the values that so large a part of all does not exceed.
pub(super) fn percentile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * part).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Has the workers start, so that they are as warm as those of a pool that is there already.
pub(super) fn warm_up(target: &Target, batch: &Batch, processes: u32) -> Result<()> {
    let inputs = batch.inputs.first(4 * processes as usize);
    let path = format!("/v1/jobs?function={}", batch.function);
    let mut wire = target.wire()?;
    let job = wire.post_lines(&path, std::iter::once(inputs.into()))?;
    finish(&mut wire, &job).map(drop)
}

/// Runs the batch as one job, and checks its outputs.
pub(super) fn job(target: &Target, batch: &Batch, processes: Option<u32>) -> Result<Run> {
    let mut wire = target.wire()?;
    let mut path = format!("/v1/jobs?function={}", batch.function);
    if let Some(processes) = processes {
        path = format!("{path}&processes={processes}");
    }
    target.forget_peak_rss();
    let cpu = target.server_cpu_s();
    let since = Instant::now();
    let job = wire.post_lines(&path, batch.inputs.blocks())?;
    let checked = results(&mut wire, &job, batch);
    let wall_s = since.elapsed().as_secs_f64();
    let cpu = target.server_cpu_s().zip(cpu).map(|(after, before)| after - before);
    let job = match checked {
        Ok(()) => finish(&mut wire, &job)?,
        // Why tasks failed says more than that their outputs are not there.
        Err(error) => return Err(finish(&mut target.wire()?, &job).err().unwrap_or(error)),
    };
    let tasks = batch.tasks as f64;
    Ok(Run {
        wall_s,
        tasks_per_s: tasks / wall_s,
        server_cpu_us_per_task: cpu.map(|cpu| cpu * 1e6 / tasks),
        worker_cpu_us_per_task: job["timings"]["cpu_ms"].as_f64().map(|ms| ms * 1e3 / tasks),
        server_peak_rss_bytes: target.peak_rss_bytes(),
        figures: task_times(target, &job, wall_s),
    })
}

fn results(wire: &mut Wire, job: &Value, batch: &Batch) -> Result<()> {
    let path = format!("{}?follow=true&order=input&fields=output", text(&job["links"]["results"]));
    match batch.expected() {
        None => wire.get_lines(&path, |_| Ok(())),
        Some(expected) => {
            let mut checker = Checker::new(expected);
            wire.get_lines(&path, |piece| checker.check(piece))?;
            checker.finish()
        }
    }
}

/// Waits for the job's end and forgets it; gives it as it ended.
fn finish(wire: &mut Wire, job: &Value) -> Result<Value> {
    let path = text(&job["links"]["self"]).to_owned();
    let mut job = job.clone();
    while !matches!(text(&job["state"]), "succeeded" | "failed" | "cancelled") {
        job = wire.get(&format!("{path}?wait=10s"))?;
    }
    if text(&job["state"]) != "succeeded" {
        let page = wire.get(text(&job["links"]["results"]))?;
        let results = page["items"].as_array().into_iter().flatten();
        let failed = results.into_iter().find(|result| !result["error"].is_null());
        let why = failed.map(|result| result["error"]["message"].to_string()).unwrap_or_default();
        anyhow::bail!("the job ended as {}: {why}", text(&job["state"]));
    }
    let (done, total) = (&job["progress"]["succeeded"], &job["progress"]["total"]);
    ensure!(done == total, "{done} of {total} tasks succeeded");
    wire.call("DELETE", &path, "").context("forgetting the job")?;
    Ok(job)
}

/// The sum of the task times, and how near the wall comes to the least that it can be: an even share of that sum, or
/// the longest task.
fn task_times(target: &Target, job: &Value, wall_s: f64) -> BTreeMap<String, f64> {
    let ms = &job["timings"]["task_ms"];
    let (Some(sum), Some(max)) = (ms["sum"].as_f64(), ms["max"].as_f64()) else { return BTreeMap::new() };
    let least_ms = (sum / f64::from(target.slots)).max(max);
    let cpu = job["timings"]["cpu_ms"].as_f64().map(|ms| ("workers_cpu_s", ms / 1e3));
    let times = [
        ("task_sum_s", sum / 1e3),
        ("longest_task_s", max / 1e3),
        ("wall_over_least", wall_s * 1e3 / least_ms),
    ];
    times.into_iter().chain(cpu).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((percentile(&values, 0.99) - 99.0).abs() < 1e-9);
        assert!((percentile(&values, 0.5) - 50.0).abs() < 1e-9);
    }
}
