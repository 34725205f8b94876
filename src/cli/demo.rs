//! `gristmill demo`: a real batch on a server of its own, then the classic experiment: its time by number of processes.

use std::fs;
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::client::Client;
use crate::config::TOKEN_VARIABLE;
use crate::sys;

/// The first 76 bytes of Bitcoin's genesis block: all of its header but the nonce.
const GENESIS: &str = "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b2\
                       7ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d";
/// The nonce that was found for it on 3 January 2009.
const GENESIS_NONCE: u64 = 2_083_236_893;
const TASKS: u64 = 240;
const TASK_MS: f64 = 25.0;
const POLL: Duration = Duration::from_millis(100);

/// The arguments of `demo`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How many tasks the batch has
    #[arg(long, default_value_t = TASKS, value_parser = clap::value_parser!(u64).range(1..100_000))]
    tasks: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let server = OwnServer::start()?;
    let client = Client::new(&server.address, Some(server.token.clone()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = show(&client, &server, arguments.tasks) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })
}

async fn show(client: &Client, server: &OwnServer, tasks: u64) -> Result<()> {
    let pool = client.get("/v1/pool").await?;
    let slots = pool["slots"].as_u64().context("the pool has slots")?;
    println!("A server of its own: {} · {slots} slots ({})", server.address, text(&pool["slots_reason"]));
    let batch = Batch { tasks, hashes: calibrate(client).await? };
    println!(
        "The batch: {tasks} tasks of {} proof-of-work hashes each, around the nonce of Bitcoin's genesis block.\n",
        batch.hashes
    );
    let job = batch.run(client, None).await?;
    show_found(client, &job).await?;
    show_table(client, &batch, slots).await?;
    show_curl();
    Ok(())
}

struct Batch {
    tasks: u64,
    hashes: u64,
}

/// How many hashes make a task of about [`TASK_MS`] on this machine.
async fn calibrate(client: &Client) -> Result<u64> {
    let hashes = 100_000;
    let job = finish(client, submit(client, vec![mine(0, hashes)], Some(1)).await?, |_| ()).await?;
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
        let bar = progress_bar(self.tasks);
        let outcome = finish(client, job, |job| {
            bar.set_position(job["progress"]["done"].as_u64().unwrap_or(0));
            bar.set_message(pids(&job["running"]));
        });
        let job = outcome.await?;
        bar.finish_and_clear();
        Ok(job)
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
async fn finish(client: &Client, mut job: Value, mut watch: impl FnMut(&Value)) -> Result<Value> {
    let path = text(&job["links"]["self"]).to_owned();
    while !matches!(text(&job["state"]), "succeeded" | "failed" | "cancelled") {
        job = client.get(&format!("{path}?wait={}", POLL.as_secs_f64())).await?;
        watch(&job);
    }
    match text(&job["state"]) {
        "succeeded" => Ok(job),
        state => bail!("the job ended as {state}"),
    }
}

fn progress_bar(tasks: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:32} {pos}/{len} tasks · {per_sec} · {eta} left · PIDs {msg}");
    ProgressBar::new(tasks).with_style(style.expect("the template is valid"))
}

fn pids(list: &Value) -> String {
    let pids: Vec<String> =
        list.as_array().into_iter().flatten().map(|item| item["pid"].to_string()).collect();
    pids.join(" ")
}

async fn show_found(client: &Client, job: &Value) -> Result<()> {
    let page = client.get(text(&job["links"]["results"])).await?;
    let found =
        page["items"].as_array().into_iter().flatten().find(|result| !result["output"]["found"].is_null());
    let wall = job["timings"]["wall_ms"].as_f64().unwrap_or(0.0) / 1e3;
    println!("Done in {wall:.2} s by processes {}.", pids(&job["workers"]));
    if let Some(found) = found {
        let Value::Object(nonce) = &found["output"]["found"] else { return Ok(()) };
        println!(
            "Task {} found nonce {} with hash {}.",
            found["index"],
            nonce["nonce"],
            text(&nonce["hash"])
        );
    }
    Ok(())
}

/// The same batch with 1, 2, 4 … processes, up to twice the slots.
async fn show_table(client: &Client, batch: &Batch, slots: u64) -> Result<()> {
    println!("\nThe same batch by number of processes:");
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
    println!("{table}");
    println!("Beyond the {slots} CPUs there is nothing to gain: the processes only take turns.");
    Ok(())
}

fn show_curl() {
    println!(
        r#"
The same by hand: start a server that stays,
  gristmill serve
and talk to it with curl:
  curl --json '{{"function": "sha256", "inputs": ["a", "b", "c"]}}' localhost:8080/v1/jobs
  curl localhost:8080/v1/jobs/ID
  curl 'localhost:8080/v1/jobs/ID/results?order=input'
  curl -X POST localhost:8080/v1/jobs/ID/cancel
  curl localhost:8080/v1/pool
  curl -X PATCH --json '{{"slots": 4}}' localhost:8080/v1/pool
  curl -X DELETE localhost:8080/v1/workers/PID"#
    );
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A server over a temporary directory, gone when it is dropped.
struct OwnServer {
    process: Child,
    address: String,
    token: String,
    dir: PathBuf,
}

impl OwnServer {
    fn start() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("gristmill-demo-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        // One that the caller has is for another server.
        let token = uuid::Uuid::now_v7().simple().to_string();
        let mut command = Command::new("/proc/self/exe");
        command.env(TOKEN_VARIABLE, &token).args([
            "serve",
            "--no-auth=false",
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--grace",
            "0s",
            "--data-dir",
        ]);
        command.arg(&dir).stdin(Stdio::null()).stderr(Stdio::piped());
        sys::before_worker_exec(&mut command, std::process::id());
        let mut process = command.spawn().context("starting the server")?;
        let mut lines = BufReader::new(process.stderr.take().context("its log is piped")?).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let event: Value = serde_json::from_str(&line).ok()?;
            Some(event["address"].as_str()?.to_owned())
        });
        // The log goes on to be read, so that the server never waits for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.context("the server did not start")?;
        Ok(Self { process, address, token, dir })
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.process.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.dir));
    }
}
