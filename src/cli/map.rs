//! `gristmill map FUNCTION < inputs.ndjson > outputs.ndjson`: `Pool.map` as a filter.
//!
//! The inputs go up while the outputs come down.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use reqwest::{Body, Method, Response};
use serde_json::json;

use super::client::{Client, ServerArgument, segment};
use super::input::{Input, InputArguments};
use super::options::JobOptions;
use super::output::{Fields, Output};
use super::reading::Reading;
use super::show::whole;
use super::streams::NotRead;
use super::{bar, exit, follow};

/// The arguments of `map`.
#[derive(Args, Debug)]
#[command(after_help = exit::help())]
pub(super) struct Arguments {
    /// The function
    function: String,
    #[command(flatten)]
    inputs: InputArguments,
    /// `input`: as `Pool.map` and `imap`; `completion`: as `imap_unordered`
    #[arg(long, default_value = "input", value_parser = ["input", "completion"])]
    order: String,
    /// Write whole results with index, PID, timings and errors, not bare outputs
    #[arg(long)]
    results: bool,
    #[command(flatten)]
    server: ServerArgument,
    #[command(flatten)]
    options: JobOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.server.run(async |client| map(&client, arguments).await)
}

async fn map(client: &Client, arguments: &Arguments) -> Result<ExitCode> {
    let (input, body) = arguments.inputs.start(true)?;
    let fields = if arguments.results { Fields::All } else { Fields::Output };
    let response = start(client, arguments, fields, body).await.map_err(|error| input.blamed(error))?;
    let mut interrupts = follow::interrupts()?;
    let path = location(&response)?;
    let (job, order) = (&path, &arguments.order);
    let reading = Reading { client, job, order, after: 0, limit: None, follow: true };
    let expected = input.clone();
    let mut output = Output::new(fields, bar::results(), move || expected.lines()).of_map();
    let copied = tokio::select! {
        copied = reading.copy(response, &mut output) => copied,
        _ = interrupts.recv() => {
            output.finish();
            cancel(client, job).await?;
            return Ok(exit::INTERRUPTED.into());
        }
    };
    output.finish();
    match copied {
        Err(error) if error.is::<NotRead>() => cancel(client, job).await.and(Err(error)),
        copied => {
            copied.map_err(|error| input.blamed(error))?;
            report(&reading, &input, &output).await
        }
    }
}

/// Sends the first bytes; the answer begins when the job is there.
async fn start(client: &Client, arguments: &Arguments, fields: Fields, body: Body) -> Result<Response> {
    let own = [("order", arguments.order.as_str()), ("fields", fields.as_str())];
    let request = client.request(Method::POST, &format!("/v1/map/{}", segment(&arguments.function)));
    let request = request.query(&own).query(&arguments.options.query());
    client.sent(request.header("content-type", "application/x-ndjson").body(body)).await
}

fn location(response: &Response) -> Result<String> {
    let value = response.headers().get("location").context("the answer has no location")?;
    Ok(value.to_str()?.to_owned())
}

async fn cancel(client: &Client, job: &str) -> Result<()> {
    client.post(&format!("{job}/cancel"), &json!({})).await.map(drop)
}

/// Says what is missing or failed.
async fn report(reading: &Reading<'_>, input: &Input, output: &Output) -> Result<ExitCode> {
    let job = reading.client.get_patiently(reading.job).await?;
    let taken = whole(&job["progress"]["total"]);
    if !input.is_at_end() || taken < input.lines() {
        bail!("the server took {taken} inputs and has done them; send those behind them again");
    }
    if output.lines() < taken {
        bail!(
            "{} results of {taken} came; {} has the others, unless they were freed",
            output.lines(),
            reading.job
        );
    }
    Ok(follow::tell_outcome(reading.client, reading.job, &job).await)
}
