//! `gristmill pool`: the slots and the workers; resize it, end a worker.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, ServerArgument, segment};
use super::names::shortened;
use super::show::{count, items, number, printable, text, time, whole};
use super::streams::{is_terminal, print, print_line};
use super::table::{Table, Tone};
use crate::units::show_size;

/// The arguments of `pool`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    act: Option<Act>,
    /// Print the pool as the API gives it
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

#[derive(Subcommand, Debug)]
enum Act {
    /// Give it another number of slots; running tasks go on to their end
    Resize {
        /// How many processes may work at once
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        slots: u32,
    },
    /// End workers; each is replaced, and its task runs again free of charge
    End {
        /// Their names or process ids
        #[arg(required = true, value_name = "WORKER")]
        workers: Vec<String>,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.server.run(async |client| {
        let request = match &arguments.act {
            None => client.request(Method::GET, "/v1/pool"),
            Some(Act::Resize { slots }) => {
                client.request(Method::PATCH, "/v1/pool").json(&json!({"slots": slots}))
            }
            Some(Act::End { workers }) => return end(&client, workers).await,
        };
        let answer = client.text(request).await?;
        if arguments.json {
            print_line(&answer)?
        } else {
            print(page(&serde_json::from_str(&answer)?))?
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn end(client: &Client, workers: &[String]) -> Result<ExitCode> {
    for worker in workers {
        client.text(client.request(Method::DELETE, &format!("/v1/workers/{}", segment(worker)))).await?;
        print_line(format_args!("{worker}: is being ended"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn page(pool: &Value) -> String {
    let workers = workers(pool);
    let table = if workers.is_empty() { String::new() } else { format!("\n{}", workers.text()) };
    let failures = items(&pool["start_failures"]).map(start_failure).map(|line| line + "\n");
    [summary(pool) + "\n"].into_iter().chain(failures).chain([table]).collect()
}

/// The pool in a line.
pub(super) fn summary(pool: &Value) -> String {
    let (node, reason) = (text(&pool["node"]), text(&pool["slots_reason"]));
    printable(&format!("node {node} · {} slots ({reason}) · {} busy", pool["slots"], pool["busy"]))
}

/// That the workers of a function do not start.
pub(super) fn start_failure(failure: &Value) -> String {
    let (function, message) = (text(&failure["function"]), text(&failure["message"]));
    printable(&format!("workers of {function} do not start ({} times): {message}", failure["times"]))
}

fn workers(pool: &Value) -> Table {
    let columns = [("WORKER", false), ("PID", true), ("STATE", false), ("FUNCTION", false), ("TASKS", true)];
    let mut table = Table::new(
        &[&columns[..], &[("BUSY", true), ("CPU", true), ("MEMORY", true), ("RUNS", false)]].concat(),
    );
    let jobs: Vec<&str> = items(&pool["workers"]).map(|worker| text(&worker["job"])).collect();
    let jobs =
        if is_terminal() { shortened(&jobs) } else { jobs.iter().map(|&job| job.to_owned()).collect() };
    for (worker, job) in items(&pool["workers"]).zip(jobs) {
        let ms = |key: &str| time(number(&worker[key]).unwrap_or(0.0));
        let cells = [
            text(&worker["name"]).to_owned(),
            pid(worker),
            text(&worker["state"]).to_owned(),
            text(&worker["function"]).to_owned(),
            count(whole(&worker["tasks"])),
            ms("busy_ms"),
            ms("cpu_ms"),
            show_size(whole(&worker["max_rss_bytes"])),
            runs(worker, &job),
        ];
        table.add(Tone::of_state(text(&worker["state"])), cells);
    }
    table
}

/// The worker's process id, once it has one.
pub(super) fn pid(worker: &Value) -> String {
    worker["pid"].as_u64().map_or_else(String::new, |pid| pid.to_string())
}

/// The task that a worker runs, of the job shown like this.
pub(super) fn runs(worker: &Value, job: &str) -> String {
    let running = |ms: f64| format!("{job} task {} for {}", worker["index"], time(ms));
    number(&worker["running_ms"]).map_or_else(String::new, running)
}
