//! `gristmill status JOB`: how far a job is, on which processes; with `--follow`, until it has ended.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::client::ServerArgument;
use super::names::JobArgument;
use super::show::{count, items, number, percent, printable, text, time, whole};
use super::streams::{print, print_line};
use super::table::{Table, Tone};
use super::{exit, follow, show};
use crate::units::show_size;

/// The arguments of `status`.
#[derive(Args, Debug)]
#[command(after_help = exit::help())]
pub(super) struct Arguments {
    #[command(flatten)]
    job: JobArgument,
    /// Wait until it has ended, with a live bar on a terminal, and exit by how it did
    #[arg(short, long, visible_alias = "wait")]
    follow: bool,
    /// Print the job as the API gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.server.run(async |client| {
        let path = arguments.job.path(&client).await?;
        let answer = if arguments.follow {
            if follow::unless_interrupted(follow::interrupts()?, &client, &path).await?.is_none() {
                return Ok(exit::INTERRUPTED.into());
            }
            client.text_patiently(&path).await?
        } else {
            client.text(client.request(Method::GET, &path)).await?
        };
        let job: Value = serde_json::from_str(&answer)?;
        if arguments.json {
            print_line(&answer)?;
        } else {
            print(page(&job))?;
        }
        if arguments.follow {
            Ok(follow::tell_outcome(&client, &path, &job).await)
        } else {
            Ok(ExitCode::SUCCESS)
        }
    })
}

/// All there is to say of a job.
fn page(job: &Value) -> String {
    let lines = facts(job).into_iter().map(|(name, fact)| format!("{name:<10} {}\n", printable(&fact)));
    let workers = workers(job);
    let table = if workers.is_empty() { String::new() } else { format!("\n{}", workers.text()) };
    lines.chain([table]).collect()
}

fn facts(job: &Value) -> Vec<(&'static str, String)> {
    let labels = job["labels"].as_object().into_iter().flatten();
    let labels: Vec<String> = labels.map(|(key, value)| format!("{key}={}", text(value))).collect();
    let failure = &job["start_failure"];
    let open = if job["open"] == true { ", open for more inputs" } else { "" };
    let facts = [
        ("job", text(&job["id"]).to_owned()),
        ("function", text(&job["function"]).to_owned()),
        ("name", text(&job["name"]).to_owned()),
        ("labels", labels.join(" ")),
        ("state", format!("{}{open}", text(&job["state"]))),
        ("tasks", tasks(&job["progress"])),
        ("rate", rate(&job["progress"])),
        ("time", times(&job["timings"])),
        ("a task", task_times(&job["timings"]["task_ms"])),
        ("speed-up", speedup(job)),
        ("callback", callback(&job["callback"])),
        (
            "workers",
            failure["message"].as_str().map_or_else(String::new, |why| format!("do not start: {why}")),
        ),
    ];
    facts.into_iter().filter(|(_, fact)| !fact.is_empty()).collect()
}

/// Where the end of the job is told, and whether it has been.
fn callback(callback: &Value) -> String {
    let Some(url) = callback["url"].as_str() else { return String::new() };
    let why = callback["last_error"].as_str().map_or_else(String::new, |why| format!(": {why}"));
    format!("{} {url}, {} attempts{why}", text(&callback["state"]), callback["attempts"])
}

fn tasks(progress: &Value) -> String {
    let total = whole(&progress["total"]);
    let done = number(&progress["ratio"]).map_or_else(String::new, percent);
    let parts =
        ["running", "queued", "succeeded", "failed", "cancelled"].map(|what| (what, whole(&progress[what])));
    let parts = parts.into_iter().filter(|(_, number)| *number > 0);
    let parts: Vec<String> = parts.map(|(what, number)| format!("{} {what}", count(number))).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{}, {done} done{parts}", count(total))
}

fn rate(progress: &Value) -> String {
    let left = number(&progress["eta_ms"]).filter(|ms| *ms > 0.0);
    let left = left.map_or_else(String::new, |ms| format!(", {} left", time(ms)));
    number(&progress["rate_per_s"]).map_or_else(String::new, |rate| show::rate(rate) + &left)
}

fn times(timings: &Value) -> String {
    let shown = [("queued", "queued_ms"), ("wall", "wall_ms"), ("CPU", "cpu_ms")];
    let shown =
        shown.into_iter().filter_map(|(name, key)| Some(format!("{name} {}", time(number(&timings[key])?))));
    shown.collect::<Vec<_>>().join(", ")
}

fn task_times(times: &Value) -> String {
    let shown = ["min", "mean", "p50", "p95", "p99", "max"];
    let shown = shown.into_iter().filter_map(|name| Some(format!("{name} {}", time(number(&times[name])?))));
    shown.collect::<Vec<_>>().join(", ")
}

fn speedup(job: &Value) -> String {
    let (timings, granted) = (&job["timings"], &job["options"]["processes"]["granted"]);
    let shown = |speedup: f64| {
        let efficiency = number(&timings["efficiency"]).unwrap_or(0.0);
        format!("{speedup:.2} ×, {} of {granted} processes", percent(efficiency))
    };
    number(&timings["speedup"]).map_or_else(String::new, shown)
}

fn workers(job: &Value) -> Table {
    let columns =
        [("WORKER", false), ("PID", true), ("STATE", false), ("TASKS", true), ("BUSY", true), ("CPU", true)];
    let mut table = Table::new(&[&columns[..], &[("MEMORY", true), ("RUNS", false)]].concat());
    for worker in items(&job["workers"]) {
        let ms = |key: &str| time(number(&worker[key]).unwrap_or(0.0));
        let cells = [
            text(&worker["name"]).to_owned(),
            worker["pid"].to_string(),
            text(&worker["state"]).to_owned(),
            count(whole(&worker["tasks"])),
            ms("busy_ms"),
            ms("cpu_ms"),
            show_size(whole(&worker["max_rss_bytes"])),
            runs(job, &worker["pid"]),
        ];
        table.add(Tone::Plain, cells);
    }
    table
}

/// What the process runs.
fn runs(job: &Value, pid: &Value) -> String {
    let Some(task) = items(&job["running"]).find(|task| task["pid"] == *pid) else { return String::new() };
    let tries = match whole(&task["attempt"]) {
        0 | 1 => String::new(),
        attempt => format!(", attempt {attempt}"),
    };
    let far = &task["progress"];
    let far = match (number(&far["done"]), number(&far["total"])) {
        (Some(done), Some(total)) if total > 0.0 => format!(", {} of it", percent(done / total)),
        _ => String::new(),
    };
    format!("task {} for {}{tries}{far}", task["index"], time(number(&task["running_ms"]).unwrap_or(0.0)))
}
