//! `gristmill jobs`: the newest jobs.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;

use super::client::ServerArgument;
use super::names::shortened;
use super::options::pair;
use super::show;
use super::show::{count, items, number, percent, text, time, whole};
use super::streams::{is_terminal, print, print_line, tell};
use super::table::{Column, Table, Tone};

/// The columns of a job; [`cells`] fills them.
pub(super) const COLUMNS: [Column; 7] = [
    ("JOB", false),
    ("STATE", false),
    ("FUNCTION", false),
    ("TASKS", true),
    ("DONE", true),
    ("FAILED", true),
    ("TIME", true),
];

/// The arguments of `jobs`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Only those in this state
    #[arg(long, value_parser = ["queued", "running", "paused", "cancelling", "succeeded", "failed", "cancelled"])]
    state: Option<String>,
    /// Only those of this function
    #[arg(long)]
    function: Option<String>,
    /// Only those with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Option<(String, String)>,
    /// So many at most, up to 1000
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Those older than this job
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print the page as the API gives it
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.server.run(async |client| {
        let request = client.request(Method::GET, "/v1/jobs").query(&arguments.query());
        let answer = client.text(request).await?;
        if arguments.json {
            print_line(&answer)?;
            return Ok(ExitCode::SUCCESS);
        }
        let page: Value = serde_json::from_str(&answer)?;
        if arguments.quiet {
            let ids: Vec<&str> = items(&page["items"]).flat_map(|job| [text(&job["id"]), "\n"]).collect();
            print(ids.concat())?;
        } else {
            print(table(&page).text())?;
        }
        if let Some(next) = page["next"].as_str().filter(|_| is_terminal()) {
            tell(format_args!("there may be more: --after {next}"));
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl Arguments {
    fn query(&self) -> Vec<(&'static str, String)> {
        let label = self.label.as_ref().map(|(key, value)| format!("{key}={value}"));
        let filters = [
            ("state", self.state.clone()),
            ("function", self.function.clone()),
            ("label", label),
            ("limit", Some(self.limit.to_string())),
            ("after", self.after.clone()),
        ];
        filters.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

fn table(page: &Value) -> Table {
    let jobs: Vec<&Value> = items(&page["items"]).collect();
    let ids: Vec<&str> = jobs.iter().map(|job| text(&job["id"])).collect();
    // Others than people want ids that stay unique.
    let shown = if is_terminal() { shortened(&ids) } else { ids.iter().map(|&id| id.to_owned()).collect() };
    let mut table = Table::new(&[&COLUMNS[..], &[("AGE", true), ("NAME", false)]].concat());
    for (job, id) in jobs.into_iter().zip(shown) {
        let row = cells(job, id).into_iter().chain([age(job), text(&job["name"]).to_owned()]);
        table.add(Tone::of_state(text(&job["state"])), row);
    }
    table
}

/// A job as a row of [`COLUMNS`].
pub(super) fn cells(job: &Value, id: String) -> [String; 7] {
    let progress = &job["progress"];
    [
        id,
        text(&job["state"]).to_owned(),
        text(&job["function"]).to_owned(),
        count(whole(&progress["total"])),
        number(&progress["ratio"]).map_or_else(String::new, percent),
        count(whole(&progress["failed"])),
        number(&job["timings"]["wall_ms"]).map_or_else(String::new, time),
    ]
}

fn age(job: &Value) -> String {
    let created = text(&job["timings"]["created_at"]).parse::<Timestamp>();
    created
        .map_or_else(|_| String::new(), |at| show::age(Timestamp::now().duration_since(at).as_millis_f64()))
}
