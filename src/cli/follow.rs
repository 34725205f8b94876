//! Following a job to its end, and what a command says of it then.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::bar::JobBar;
use super::client::Client;
use super::show::{count, has_ended, items, text, whole};
use super::streams::tell;
use super::{exit, show};

/// A bar is redrawn this often …
const REDRAW: Duration = Duration::from_millis(300);
/// … and a request without one is held so long.
const HOLD: Duration = Duration::from_secs(30);
/// The messages of so many failed tasks are told.
const TOLD: u32 = 5;

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
pub(super) async fn tell_outcome(client: &Client, path: &str, job: &Value) -> ExitCode {
    let counted = |what: &str| whole(&job["progress"][what]);
    let (failed, cancelled, total) = (counted("failed"), counted("cancelled"), count(counted("total")));
    if failed + cancelled > 0 {
        let (failed, cancelled, id) = (count(failed), count(cancelled), text(&job["id"]));
        tell(format_args!("{failed} of {total} tasks failed, {cancelled} were cancelled; job {id}"));
    }
    if failed > 0 {
        match client.get_patiently(&format!("{path}/results?failed=true&limit={TOLD}")).await {
            Ok(page) => items(&page["items"]).for_each(tell_failure),
            Err(error) => tell(format_args!("why they failed is not known: {error:#}")),
        }
    }
    exit::of(job)
}

fn tell_failure(result: &Value) {
    let (index, error) = (&result["index"], &result["error"]);
    let (verdict, message) = (text(&error["verdict"]), show::printable(text(&error["message"])));
    tell(format_args!("task {index}: {verdict}: {message}"));
}
