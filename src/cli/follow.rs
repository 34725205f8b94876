//! Following a job to its end, and what a command says of it then.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::bar::JobBar;
use super::client::Client;
use super::show::{count, has_ended, text, whole};
use super::streams::tell;
use super::{exit, show};

/// A bar is redrawn this often …
const REDRAW: Duration = Duration::from_millis(300);
/// … and a request without one is held so long.
const HOLD: Duration = Duration::from_secs(30);
/// Some failed tasks are looked for among so many results.
const LOOK_THROUGH: u32 = 1000;
/// The messages of so many failed tasks are told.
const TOLD: usize = 5;

/// Follows the job until it has ended; gives it as it is then.
pub(super) async fn to_the_end(client: &Client, path: &str, bar: &JobBar) -> Result<Value> {
    let hold = if bar.is_hidden() { HOLD } else { REDRAW };
    let path = format!("{path}?wait={}", hold.as_secs_f64());
    loop {
        // A server that shuts down holds nothing.
        let next = Instant::now() + REDRAW;
        let job = client.get_patiently(&path).await?;
        if has_ended(&job) {
            bar.clear();
            return Ok(job);
        }
        bar.show(&job);
        sleep_until(next).await;
    }
}

/// Ctrl-C, from now on.
pub(super) fn interrupts() -> Result<Signal> {
    Ok(signal(SignalKind::interrupt())?)
}

/// As [`to_the_end`], with a bar, unless Ctrl-C comes before: the job goes on, and nothing is given.
pub(super) async fn unless_interrupted(
    mut interrupts: Signal,
    client: &Client,
    path: &str,
) -> Result<Option<Value>> {
    let bar = JobBar::new();
    tokio::select! {
        job = to_the_end(client, path, &bar) => job.map(Some),
        _ = interrupts.recv() => {
            bar.clear();
            goes_on(path);
            Ok(None)
        }
    }
}

/// Says that it is not the job that was interrupted.
pub(super) fn goes_on(path: &str) {
    let id = show::id_of_path(path);
    tell(format_args!("the job goes on; `gristmill cancel {id}` would end it"));
}

/// Tells how a job ended if not every task of it succeeded, with some messages; gives the exit code.
pub(super) async fn tell_outcome(client: &Client, path: &str, job: &Value) -> Result<ExitCode> {
    tell_counts(job);
    if whole(&job["progress"]["failed"]) > 0 {
        let page = client.get_patiently(&format!("{path}/results?limit={LOOK_THROUGH}")).await?;
        let results = page["items"].as_array().into_iter().flatten();
        results.filter(|result| result["status"] == "failed").take(TOLD).for_each(tell_failure);
    }
    Ok(exit::of(job))
}

/// Tells how many tasks failed or were cancelled, if any.
pub(super) fn tell_counts(job: &Value) {
    let counted = |what: &str| whole(&job["progress"][what]);
    let (failed, cancelled, total) = (counted("failed"), counted("cancelled"), count(counted("total")));
    if failed + cancelled > 0 {
        let (failed, cancelled) = (count(failed), count(cancelled));
        let id = text(&job["id"]);
        tell(format_args!("{failed} of {total} tasks failed, {cancelled} were cancelled; job {id}"));
    }
}

/// Tells why a task has no output, if it has none.
pub(super) fn tell_failure(result: &Value) {
    if let Some(message) = result["error"]["message"].as_str() {
        let (index, verdict) = (&result["index"], text(&result["error"]["verdict"]));
        tell(format_args!("task {index}: {verdict}: {}", show::printable(message)));
    }
}
