//! What is drawn: lines, made of two samples.

use console::truncate_str;
use serde_json::Value;

use super::sample::Sample;
use crate::cli::names::shortened;
use crate::cli::pool::{pid, runs, start_failure, summary};
use crate::cli::show::{count, has_ended, items, number, percent, printable, rate, text, time, whole};
use crate::cli::table::{Table, Tone};
use crate::units::show_size;

/// The newest sample and the one before it.
pub(super) struct Frame {
    address: String,
    now: Sample,
    before: Option<Sample>,
    /// Why there is no newer sample.
    trouble: Option<String>,
}

impl Frame {
    pub(super) fn new(address: &str, now: Sample) -> Self {
        Self { address: address.to_owned(), now, before: None, trouble: None }
    }

    pub(super) fn update(&mut self, now: Sample) {
        self.before = Some(std::mem::replace(&mut self.now, now));
        self.trouble = None;
    }

    /// There is no newer sample, for this reason.
    pub(super) fn is_old(&mut self, error: &anyhow::Error) {
        self.trouble = Some(error.to_string());
    }

    /// The lines, cut to columns and rows if there is an end to these.
    pub(super) fn lines(&self, size: Option<(usize, usize)>, is_coloured: bool) -> Vec<String> {
        let width = size.map(|(columns, _)| columns);
        let cut =
            |line: String| width.map_or(line.clone(), |width| truncate_str(&line, width, "…").into_owned());
        let mut lines: Vec<String> = self.head().into_iter().map(cut).collect();
        let ids: Vec<&str> = self.now.jobs.iter().map(|job| text(&job["id"])).collect();
        let short = shortened(&ids);
        let id = |long: &str| ids.iter().position(|id| *id == long).map_or(long, |at| &short[at]).to_owned();
        let mut workers = self.workers(id).lines(width, is_coloured);
        let jobs = self.jobs(id).lines(width, is_coloured);
        if let Some((_, rows)) = size {
            let left = rows.saturating_sub(lines.len() + 2);
            // What one table does not need, the other has.
            let most = (left / 2).max(left.saturating_sub(jobs.len()));
            workers.truncate(most);
        }
        lines.extend([vec![String::new()], workers, vec![String::new()], jobs].concat());
        lines.truncate(size.map_or(usize::MAX, |(_, rows)| rows));
        lines
    }

    fn head(&self) -> Vec<String> {
        let pool = format!("{} · {}", self.address, summary(&self.now.pool));
        let [running, queued] = ["running", "queued"].map(|state| self.now.count(state));
        let throughput = self.before.as_ref().map_or(0.0, |before| self.now.throughput(before));
        let rate = count(throughput.round() as u64);
        let jobs = format!("jobs: {running} running, {queued} queued · {rate} tasks/s");
        let failures = items(&self.now.pool["start_failures"]).map(start_failure);
        let trouble = self.trouble.iter().map(|why| printable(&format!("as it was: {why}")));
        [pool, jobs].into_iter().chain(failures).chain(trouble).collect()
    }

    fn workers(&self, id: impl Fn(&str) -> String) -> Table {
        let columns = [("WORKER", false), ("PID", true), ("STATE", false), ("FUNCTION", false)];
        let mut table =
            Table::new(&[&columns[..], &[("CPU", true), ("MEMORY", true), ("RUNS", false)]].concat());
        for worker in items(&self.now.pool["workers"]) {
            let cells = [
                text(&worker["name"]).to_owned(),
                pid(worker),
                text(&worker["state"]).to_owned(),
                text(&worker["function"]).to_owned(),
                self.cpu(worker),
                show_size(whole(&worker["max_rss_bytes"])),
                runs(worker, &id(text(&worker["job"]))),
            ];
            table.add(Tone::of_state(text(&worker["state"])), cells);
        }
        table
    }

    fn cpu(&self, worker: &Value) -> String {
        let share = self.before.as_ref().and_then(|before| self.now.cpu_share(worker, before));
        share.map_or_else(String::new, percent)
    }

    fn jobs(&self, id: impl Fn(&str) -> String) -> Table {
        let columns =
            [("JOB", false), ("STATE", false), ("FUNCTION", false), ("TASKS", true), ("DONE", true)];
        let more = [("FAILED", true), ("RATE", true), ("LEFT", true), ("NAME", false)];
        let mut table = Table::new(&[&columns[..], &more].concat());
        for job in &self.now.jobs {
            let progress = &job["progress"];
            let now = |key: &str| number(&progress[key]).filter(|_| !has_ended(job));
            let cells = [
                id(text(&job["id"])),
                text(&job["state"]).to_owned(),
                text(&job["function"]).to_owned(),
                count(whole(&progress["total"])),
                number(&progress["ratio"]).map_or_else(String::new, percent),
                count(whole(&progress["failed"])),
                now("rate_per_s").map_or_else(String::new, rate),
                now("eta_ms").map_or_else(String::new, time),
                text(&job["name"]).to_owned(),
            ];
            table.add(Tone::of_state(text(&job["state"])), cells);
        }
        table
    }
}
