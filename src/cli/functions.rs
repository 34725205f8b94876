//! `gristmill functions`: what may be called.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::client::ServerArgument;
use super::show::{items, text};
use super::streams::{print, print_line};
use super::table::{Table, Tone};

/// The arguments of `functions`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Print them as the API gives them, with examples and schemas
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.server.run(async |client| {
        let answer = client.text(client.request(Method::GET, "/v1/functions")).await?;
        if arguments.json {
            print_line(&answer)?
        } else {
            print(table(&serde_json::from_str(&answer)?).text())?
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn table(page: &Value) -> Table {
    let mut table = Table::new(&[("FUNCTION", false), ("MODE", false), ("DOES", false), ("EXAMPLE", false)]);
    for function in items(&page["items"]) {
        let cells = ["name", "mode", "description"].map(|key| text(&function[key]).to_owned());
        table.add(Tone::Plain, cells.into_iter().chain([example(&function["example"])]));
    }
    table
}

fn example(example: &Value) -> String {
    if example.is_null() { String::new() } else { format!("{} → {}", example["input"], example["output"]) }
}
