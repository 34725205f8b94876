//! `gristmill submit` and `gristmill add`: inputs stream up, and are a job, or more of one, when the answer comes.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::signal::unix::Signal;

use super::bar;
use super::client::{Client, ServerArgument};
use super::failure::is_lost;
use super::input::InputArguments;
use super::names::JobArgument;
use super::options::JobOptions;
use super::output::{Fields, Output};
use super::reading::Reading;
use super::show::{count, text, whole};
use super::streams::{is_terminal, print_line, tell};
use super::{exit, follow};

/// The arguments of `submit`.
#[derive(Args, Debug)]
#[command(after_help = exit::help())]
pub(super) struct Arguments {
    /// The function
    function: String,
    #[command(flatten)]
    sending: Sending,
    /// Leave the job open for more inputs, which `gristmill add` brings, until `gristmill close`
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    then: Then,
    #[command(flatten)]
    options: JobOptions,
}

/// What is done when the job is accepted.
#[derive(Args, Debug)]
struct Then {
    /// Wait until the job has ended, and exit by how it did
    #[arg(short, long)]
    wait: bool,
    /// Wait, and write the results as they come, whole
    #[arg(long, conflicts_with_all = ["outputs", "json"])]
    results: bool,
    /// Wait, and write the outputs as they come, bare
    #[arg(long, conflicts_with = "json")]
    outputs: bool,
    /// The order of results and outputs: as they came, or as the inputs were
    #[arg(long, default_value = "completion", value_parser = ["completion", "input"])]
    order: String,
}

/// The arguments of `add`.
#[derive(Args, Debug)]
pub(super) struct AddArguments {
    #[command(flatten)]
    job: JobArgument,
    #[command(flatten)]
    sending: Sending,
}

/// What is sent, and how.
#[derive(Args, Debug)]
struct Sending {
    #[command(flatten)]
    inputs: InputArguments,
    /// With the same key, the same inputs and the same options, it is the same job: safe to send again
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Print the job as the API gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.sending.server.run(async |client| submit(&client, arguments).await)
}

pub(super) fn add(arguments: &AddArguments) -> Result<ExitCode> {
    let AddArguments { job, sending } = arguments;
    sending.server.run(async |client| {
        let path = job.path(&client).await?;
        let request = client.request(Method::POST, &format!("{path}/inputs"));
        let (answer, job) = sending.send(&client, request, true).await?;
        print_line(if sending.json { &answer } else { text(&job["id"]) })?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn submit(client: &Client, arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { function, sending, options, open, then } = arguments;
    let mut query = vec![("function".to_owned(), function.clone())];
    query.extend(open.then(|| ("open".to_owned(), "true".to_owned())));
    query.extend(options.query());
    let request = client.request(Method::POST, "/v1/jobs").query(&query);
    let (answer, job) = sending.send(client, request, !open).await?;
    let (id, path) = (text(&job["id"]), text(&job["links"]["self"]));
    let interrupts = follow::interrupts()?;
    if then.results || then.outputs {
        tell(format_args!("job {id}"));
        return then.read(interrupts, client, &job).await;
    }
    if !then.wait {
        print_line(if sending.json { &answer } else { id })?;
        tell_next(&job);
        return Ok(ExitCode::SUCCESS);
    }
    if !sending.json {
        print_line(id)?;
    }
    let Some(job) = follow::unless_interrupted(interrupts, client, path).await? else {
        return Ok(exit::INTERRUPTED.into());
    };
    if sending.json {
        print_line(&client.text_patiently(path).await?)?;
    }
    Ok(follow::tell_outcome(client, path, &job).await)
}

/// People see what they can do next.
fn tell_next(job: &Value) {
    if is_terminal() {
        let (tasks, function) = (count(whole(&job["progress"]["total"])), text(&job["function"]));
        tell(format_args!("{tasks} tasks of {function}; `gristmill status last --follow` follows them"));
    }
}

impl Then {
    /// Writes the results as they come.
    async fn read(&self, mut interrupts: Signal, client: &Client, job: &Value) -> Result<ExitCode> {
        let (path, total) = (text(&job["links"]["self"]), whole(&job["progress"]["total"]));
        let fields = if self.outputs { Fields::Output } else { Fields::All };
        let reading = Reading { client, job: path, order: &self.order, after: 0, limit: None, follow: true };
        let mut output = Output::new(fields, bar::results(), move || total);
        tokio::select! {
            read = reading.run(&mut output) => read?,
            _ = interrupts.recv() => {
                output.finish();
                follow::goes_on(path);
                return Ok(exit::INTERRUPTED.into());
            }
        }
        output.finish();
        let job = client.get_patiently(path).await?;
        Ok(follow::tell_outcome(client, path, &job).await)
    }
}

impl Sending {
    /// Sends the inputs; gives the answer as it came, and the job.
    async fn send(
        &self,
        client: &Client,
        mut request: RequestBuilder,
        needed: bool,
    ) -> Result<(String, Value)> {
        let are_typed = self.inputs.are_typed();
        let (input, body) = self.inputs.start(needed)?;
        if let Some(key) = &self.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let bar = bar::upload(are_typed);
        let mut sending =
            std::pin::pin!(client.sent(request.header("content-type", "application/x-ndjson").body(body)));
        let sent = loop {
            tokio::select! {
                sent = &mut sending => break sent,
                () = tokio::time::sleep(bar::TICK) => bar.set_position(input.lines()),
            }
        };
        bar.finish_and_clear();
        let response = sent.map_err(|error| self.unknown(input.blamed(error)))?;
        if response.headers().contains_key("idempotent-replayed") {
            tell("this was accepted before, under the same key");
        }
        let answer = client.whole(response).await.map_err(|error| self.unknown(error))?;
        let job = serde_json::from_str(&answer).context("the answer is no job")?;
        Ok((answer, job))
    }

    /// Without an answer, it is not known whether it was accepted.
    fn unknown(&self, error: anyhow::Error) -> anyhow::Error {
        let remedy = match self.idempotency_key {
            Some(_) => "send it again under the same key",
            None => "`gristmill jobs` tells; with --idempotency-key it can be sent again in any case",
        };
        if is_lost(&error) {
            error.context(format!("whether the inputs were accepted is not known; {remedy}"))
        } else {
            error
        }
    }
}
