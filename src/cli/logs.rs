//! `gristmill logs JOB`: what its tasks printed.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::client::{Client, ServerArgument};
use super::names::JobArgument;
use super::show::{printable, text, whole};
use super::streams::{is_terminal, print};

/// The arguments of `logs`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    job: JobArgument,
    /// Only what this task printed
    #[arg(long, value_name = "N")]
    index: Option<u64>,
    /// Leave out what comes up to this `seq`
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// Print the entries as the API gives them, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.server.run(async |client| {
        let path = format!("{}/logs", arguments.job.path(&client).await?);
        let mut after = arguments.after;
        loop {
            let piece = arguments.ask(&client, &path, after).await?;
            let Some(last) = piece.lines().next_back() else { return Ok(ExitCode::SUCCESS) };
            after = whole(&serde_json::from_str::<Value>(last)?["seq"]);
            print(if arguments.json { piece } else { told(&piece)? })?;
        }
    })
}

impl Arguments {
    /// The next entries, one a line.
    async fn ask(&self, client: &Client, path: &str, after: u64) -> Result<String> {
        let index = self.index.map(|index| ("index", index));
        let query: Vec<(&str, u64)> = [("after", after)].into_iter().chain(index).collect();
        let response = client.sent(client.request(Method::GET, path).query(&query)).await?;
        client.whole(response).await.map(|lines| if lines.is_empty() { lines } else { lines + "\n" })
    }
}

/// The lines of each entry, with the task that printed them.
fn told(entries: &str) -> Result<String> {
    let mut told = String::new();
    for entry in entries.lines() {
        let entry: Value = serde_json::from_str(entry)?;
        let dropped = whole(&entry["dropped_bytes"]);
        if dropped > 0 {
            told += &line(&entry, &format!("({dropped} bytes are missing here)"));
        }
        text(&entry["text"]).lines().for_each(|text| told += &line(&entry, text));
    }
    Ok(told)
}

fn line(entry: &Value, text: &str) -> String {
    // Only a terminal takes orders from what is written to it.
    let text = if is_terminal() { printable(&text.replace('\t', "    ")) } else { text.to_owned() };
    format!("task {}: {text}\n", entry["index"])
}
