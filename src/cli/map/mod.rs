//! `gristmill map FUNCTION < inputs.ndjson > outputs.ndjson`: `Pool.map` as a filter.
//!
//! The inputs go up while the outputs come down. A connection that is lost costs nothing: the job is durable, and its
//! results are read on from where they were cut.

mod input;
mod output;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use futures_util::StreamExt as _;
use reqwest::{Body, Method, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::client::{Client, ServerArgument};
use input::Input;
use output::{Output, Written};

/// Some tasks failed; their messages are on standard error.
const TASKS_FAILED: u8 = 3;
/// As a shell says it of a command that Ctrl-C has ended …
const INTERRUPTED: u8 = 130;
/// … and of one whose output nobody reads any more.
const NOT_READ: u8 = 141;
/// A server that was lost is looked for again this often …
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// … for so long.
const LOOK_FOR: Duration = Duration::from_mins(1);
/// The messages of so many failed tasks are shown.
const SHOWN_FAILURES: u64 = 5;

/// The arguments of `map`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The function
    function: String,
    #[command(flatten)]
    server: ServerArgument,
    /// `input`: as `Pool.map` and `imap`; `completion`: as `imap_unordered`
    #[arg(long, default_value = "input", value_parser = ["input", "completion"])]
    order: String,
    /// Write whole results with index, PID, timings and errors, not bare outputs
    #[arg(long)]
    results: bool,
    /// An option of the job, as in the query of POST /v1/jobs: processes=2, timeout=30s, label=a=b …
    #[arg(short, long = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let client = arguments.server.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(map(&client, arguments));
    // The thread that reads standard input may wait for it for ever.
    runtime.shutdown_background();
    outcome
}

async fn map(client: &Client, arguments: &Arguments) -> Result<ExitCode> {
    let (input, body) = Input::start();
    let response = start(client, arguments, body).await?;
    let job = Job { client, path: header(&response, "location")?, order: &arguments.order };
    let mut output = Output::new(input.clone(), arguments.results);
    let ended = tokio::select! {
        ended = job.read(response, &mut output) => ended,
        _ = tokio::signal::ctrl_c() => {
            output.finish();
            job.cancel().await?;
            return Ok(INTERRUPTED.into());
        }
    };
    output.finish();
    match ended? {
        End::NotRead => job.cancel().await.map(|()| NOT_READ.into()),
        End::All => job.report(&input, &output).await,
    }
}

/// Sends the first bytes; the answer begins when the job is there.
async fn start(client: &Client, arguments: &Arguments, body: Body) -> Result<Response> {
    let fields = if arguments.results { "all" } else { "output" };
    let own = [("order", arguments.order.as_str()), ("fields", fields)];
    let options = arguments.options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let request = client.request(Method::POST, &format!("/v1/map/{}", arguments.function));
    let request = request.query(&own.into_iter().chain(options).collect::<Vec<_>>());
    client.sent(request.header("content-type", "application/x-ndjson").body(body)).await
}

fn header(response: &Response, name: &str) -> Result<String> {
    let value = response.headers().get(name).with_context(|| format!("the answer has no {name}"))?;
    Ok(value.to_str()?.to_owned())
}

/// How reading came to its end.
enum End {
    /// All results are written.
    All,
    /// Standard output is closed.
    NotRead,
}

/// The job behind the map.
struct Job<'a> {
    client: &'a Client,
    path: String,
    order: &'a str,
}

impl Job<'_> {
    /// Writes the results, wherever the connection is cut.
    async fn read(&self, mut response: Response, output: &mut Output) -> Result<End> {
        loop {
            let mut pieces = response.bytes_stream();
            let lost = loop {
                match pieces.next().await {
                    None => {
                        return Ok(if output.flush()? == Written::All { End::All } else { End::NotRead });
                    }
                    Some(Err(error)) => break error,
                    Some(Ok(piece)) => {
                        if output.write(&piece)? == Written::NotRead {
                            return Ok(End::NotRead);
                        }
                    }
                }
            };
            if let Some(problem) = output.problem() {
                bail!("{problem}; the results of the inputs before it have been written");
            }
            sleep(AGAIN_AFTER).await;
            eprintln!(
                "gristmill: the connection was lost ({lost}); going on after {} results",
                output.lines()
            );
            response = self.go_on(output).await?;
        }
    }

    async fn go_on(&self, output: &mut Output) -> Result<Response> {
        let after = output.whole_lines().to_string();
        let fields = output.fields();
        let until = Instant::now() + LOOK_FOR;
        loop {
            let request = self.client.request(Method::GET, &format!("{}/results", self.path));
            let query = [("order", self.order), ("fields", fields), ("after", &after), ("follow", "true")];
            match self.client.sent(request.query(&query)).await {
                Err(_) if Instant::now() < until => sleep(AGAIN_AFTER).await,
                response => return response,
            }
        }
    }

    async fn cancel(&self) -> Result<()> {
        self.client.post(&format!("{}/cancel", self.path), &json!({})).await.map(drop)
    }

    /// Says what failed.
    async fn report(&self, input: &Arc<Input>, output: &Output) -> Result<ExitCode> {
        let job = self.client.get(&self.path).await?;
        let count = |what: &str| job["progress"][what].as_u64().unwrap_or(0);
        let (taken, failed, cancelled) = (count("total"), count("failed"), count("cancelled"));
        if !input.is_at_end() || taken < input.lines() {
            bail!("the server took {taken} inputs and has done them; send those behind them again");
        }
        if output.lines() < taken {
            bail!(
                "{} results of {taken} came; {} has the others, unless they were freed",
                output.lines(),
                self.path
            );
        }
        if failed + cancelled == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!(
            "gristmill: {failed} of {taken} tasks failed, {cancelled} were cancelled; job {}",
            self.path
        );
        for place in output.places_of_null() {
            self.show(*place).await?;
        }
        Ok(TASKS_FAILED.into())
    }

    /// Shows why the task at this place of the order has no output, if it has none.
    async fn show(&self, place: u64) -> Result<()> {
        let path = format!("{}/results?order={}&after={place}&limit=1", self.path, self.order);
        let page = self.client.get(&path).await?;
        let result = &page["items"][0];
        if let Some(message) = result["error"]["message"].as_str() {
            eprintln!("  task {}: {}: {message}", result["index"], text(&result["error"]["verdict"]));
        }
        Ok(())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
