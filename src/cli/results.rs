//! `gristmill results JOB`: the results, as they came or as the inputs were, a line each.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::client::ServerArgument;
use super::names::JobArgument;
use super::output::{Fields, Output};
use super::reading::Reading;
use super::show::{has_ended, whole};
use super::{bar, exit, follow};

/// The arguments of `results`.
#[derive(Args, Debug)]
#[command(after_help = exit::help())]
pub(super) struct Arguments {
    #[command(flatten)]
    job: JobArgument,
    /// As they came (the queue, by `seq`), or as the inputs were
    #[arg(long, default_value = "completion", value_parser = ["completion", "input"])]
    order: String,
    /// Leave out so many of this order: the last `seq` you have, or how many results
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    /// So many at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Go on as results come until the job has ended, and exit by how it did
    #[arg(short, long)]
    follow: bool,
    /// Write bare outputs, `null` where there is none
    #[arg(long)]
    outputs: bool,
    #[command(flatten)]
    server: ServerArgument,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.server.run(async |client| {
        let path = arguments.job.path(&client).await?;
        let Arguments { order, after, limit, follow, outputs, .. } = arguments;
        let reading =
            Reading { client: &client, job: &path, order, after: *after, limit: *limit, follow: *follow };
        let total = whole(&client.get(&path).await?["progress"]["total"]);
        let expected = total.saturating_sub(*after).min(limit.unwrap_or(u64::MAX));
        let fields = if *outputs { Fields::Output } else { Fields::All };
        let mut output = Output::new(fields, bar::results(), move || expected);
        let read = reading.run(&mut output).await;
        output.finish();
        read?;
        let job = client.get_patiently(&path).await?;
        if !follow || !has_ended(&job) {
            return Ok(ExitCode::SUCCESS);
        }
        Ok(follow::tell_outcome(&client, &path, &job).await)
    })
}
