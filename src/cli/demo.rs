//! `gristmill demo`: a real batch on a server of its own, then the classic experiment: its time by number of processes.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::bar::JobBar;
use super::client::Client;
use super::follow;
use super::own_server::OwnServer;
use super::show::{pids, text};
use super::signals::unless_ended;
use super::streams::print_line;

/// The first 76 bytes of Bitcoin's genesis block: all of its header but the nonce.
const GENESIS: &str = "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b2\
                       7ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d";
/// The nonce that was found for it on 3 January 2009.
const GENESIS_NONCE: u64 = 2_083_236_893;
const TASKS: u64 = 240;
const TASK_MS: f64 = 25.0;

/// The arguments of `demo`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How many tasks the batch has
    #[arg(long, default_value_t = TASKS, value_parser = clap::value_parser!(u64).range(1..100_000))]
    tasks: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    super::block_on(unless_ended(async {
        let server = OwnServer::start("demo", &std::env::temp_dir(), &[])?;
        let client = Client::new(server.address(), None)?;
        show(&client, &server, arguments.tasks).await
    }))
}

async fn show(client: &Client, server: &OwnServer, tasks: u64) -> Result<()> {
    let pool = client.get("/v1/pool").await?;
    let slots = pool["slots"].as_u64().context("the pool has slots")?;
    let (address, reason) = (server.address(), text(&pool["slots_reason"]));
    print_line(format_args!("A server of its own: {address} · {slots} slots ({reason})"))?;
    let batch = Batch { tasks, hashes: calibrate(client).await? };
    print_line(format_args!(
        "The batch: {tasks} tasks of {} proof-of-work hashes each, around the nonce of Bitcoin's genesis block.\n",
        batch.hashes
    ))?;
    let job = batch.run(client, None).await?;
    show_found(client, &job).await?;
    show_table(client, &batch, slots).await?;
    show_curl()
}

struct Batch {
    tasks: u64,
    hashes: u64,
}

/// How many hashes make a task of about [`TASK_MS`] on this machine.
async fn calibrate(client: &Client) -> Result<u64> {
    let hashes = 100_000;
    let job =
        finish(client, submit(client, vec![mine(0, hashes)], Some(1)).await?, &JobBar::hidden()).await?;
    let ms =
        job["timings"]["task_ms"]["sum"].as_f64().filter(|ms| *ms > 0.0).context("the task took no time")?;
    Ok(((hashes as f64 * TASK_MS / ms) as u64).max(1))
}

fn mine(start: u64, count: u64) -> Value {
    json!({"header": GENESIS, "start": start, "count": count, "bits": "1d00ffff"})
}

impl Batch {
    /// Runs the batch with a progress bar that shows the processes at work; gives the job as it ended.
    async fn run(&self, client: &Client, processes: Option<u64>) -> Result<Value> {
        // Two thirds of the batch lie before the nonce, so that it is found on the way.
        let first = GENESIS_NONCE.saturating_sub(self.tasks * self.hashes * 2 / 3);
        let inputs = (0..self.tasks).map(|task| mine(first + task * self.hashes, self.hashes)).collect();
        let job = submit(client, inputs, processes).await?;
        finish(client, job, &JobBar::new()).await
    }
}

async fn submit(client: &Client, inputs: Vec<Value>, processes: Option<u64>) -> Result<Value> {
    let mut body = json!({"function": "mine", "inputs": inputs, "name": "demo"});
    if let Some(processes) = processes {
        body["processes"] = processes.into();
    }
    client.post("/v1/jobs", &body).await
}

/// Follows the job until it has ended.
async fn finish(client: &Client, job: Value, bar: &JobBar) -> Result<Value> {
    let job = follow::to_the_end(client, text(&job["links"]["self"]), bar).await?;
    match text(&job["state"]) {
        "succeeded" => Ok(job),
        state => bail!("the job ended as {state}"),
    }
}

async fn show_found(client: &Client, job: &Value) -> Result<()> {
    let page = client.get(text(&job["links"]["results"])).await?;
    let found =
        page["items"].as_array().into_iter().flatten().find(|result| !result["output"]["found"].is_null());
    let wall = job["timings"]["wall_ms"].as_f64().unwrap_or(0.0) / 1e3;
    print_line(format_args!("Done in {wall:.2} s by processes {}.", pids(&job["workers"])))?;
    if let Some(found) = found {
        let Value::Object(nonce) = &found["output"]["found"] else { return Ok(()) };
        let (index, nonce, hash) = (&found["index"], &nonce["nonce"], text(&nonce["hash"]));
        print_line(format_args!("Task {index} found nonce {nonce} with hash {hash}."))?;
    }
    Ok(())
}

/// The same batch with 1, 2, 4 … processes, up to twice the slots.
async fn show_table(client: &Client, batch: &Batch, slots: u64) -> Result<()> {
    print_line("\nThe same batch by number of processes:")?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["processes", "wall s", "speed-up", "efficiency", "CPU s", "PIDs"]);
    let mut alone = None;
    let counts =
        std::iter::successors(Some(1), |count| Some(count * 2)).take_while(|count| *count <= 2 * slots);
    for processes in counts {
        client.patch("/v1/pool", &json!({"slots": processes.max(slots)})).await?;
        let job = batch.run(client, Some(processes)).await?;
        let number = |value: &Value| value.as_f64().unwrap_or(0.0) / 1e3;
        let (wall, cpu) = (number(&job["timings"]["wall_ms"]), number(&job["timings"]["cpu_ms"]));
        let speedup = *alone.get_or_insert(wall) / wall;
        let efficiency = speedup / processes as f64;
        table.add_row([
            processes.to_string(),
            format!("{wall:.2}"),
            format!("{speedup:.2} ×"),
            format!("{:.0} %", efficiency * 100.0),
            format!("{cpu:.2}"),
            pids(&job["workers"]),
        ]);
    }
    client.patch("/v1/pool", &json!({"slots": slots})).await?;
    print_line(table)?;
    print_line(format_args!(
        "Beyond the {slots} CPUs there is nothing to gain: the processes only take turns."
    ))
}

fn show_curl() -> Result<()> {
    print_line(
        r#"
The same by hand: start a server that stays,
  gristmill serve
and talk to it with curl:
  curl --json '{"function": "sha256", "inputs": ["a", "b", "c"]}' localhost:8080/v1/jobs
  curl localhost:8080/v1/jobs/ID
  curl 'localhost:8080/v1/jobs/ID/results?order=input'
  curl -X POST localhost:8080/v1/jobs/ID/cancel
  curl localhost:8080/v1/pool
  curl -X PATCH --json '{"slots": 4}' localhost:8080/v1/pool
  curl -X DELETE localhost:8080/v1/workers/PID"#,
    )
}
