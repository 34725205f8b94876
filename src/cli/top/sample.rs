//! What the server says at one moment, and what has changed since another.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;
use tokio::time::Instant;

use crate::cli::client::Client;
use crate::cli::show::{items, number, text, whole};

/// So many jobs of each state are asked for, and so many of the newest.
const JOBS: u32 = 25;
/// The states of jobs that have not ended, the most interesting first.
const STATES: [&str; 4] = ["running", "cancelling", "paused", "queued"];

/// The pool and the jobs.
pub(super) struct Sample {
    at: Instant,
    pub(super) pool: Value,
    /// Those that have not ended first, and the newest of the others.
    pub(super) jobs: Vec<Value>,
}

impl Sample {
    pub(super) async fn take(client: &Client) -> Result<Self> {
        let pool = client.get("/v1/pool").await?;
        let at = Instant::now();
        let (mut jobs, mut seen) = (Vec::new(), BTreeSet::new());
        let of_state = STATES.iter().map(|state| format!("/v1/jobs?limit={JOBS}&state={state}"));
        for path in of_state.chain([format!("/v1/jobs?limit={JOBS}")]) {
            let page = client.get(&path).await?;
            // One may have changed its state between two answers.
            jobs.extend(
                items(&page["items"]).filter(|job| seen.insert(text(&job["id"]).to_owned())).cloned(),
            );
        }
        Ok(Self { at, pool, jobs })
    }

    fn seconds_since(&self, before: &Self) -> f64 {
        self.at.duration_since(before.at).as_secs_f64().max(1e-3)
    }

    /// How much of a CPU the worker has used since then.
    pub(super) fn cpu_share(&self, worker: &Value, before: &Self) -> Option<f64> {
        let same = |other: &&Value| other["pid"] == worker["pid"] && other["name"] == worker["name"];
        let then = number(&items(&before.pool["workers"]).find(same)?["cpu_ms"])?;
        Some((number(&worker["cpu_ms"])? - then).max(0.0) / 1e3 / self.seconds_since(before))
    }

    /// How many tasks a second have been done since then, of the jobs that were there.
    pub(super) fn throughput(&self, before: &Self) -> f64 {
        let done = |job: &Value| whole(&job["progress"]["done"]);
        let same = |job: &Value| before.jobs.iter().find(|other| other["id"] == job["id"]).map(done);
        let since: u64 = self.jobs.iter().filter_map(|job| Some(done(job).saturating_sub(same(job)?))).sum();
        since as f64 / self.seconds_since(before)
    }

    /// How many of the jobs are in this state; with a `+` if there may be more.
    pub(super) fn count(&self, state: &str) -> String {
        let count = self.jobs.iter().filter(|job| job["state"] == state).count();
        format!("{count}{}", if count < JOBS as usize { "" } else { "+" })
    }
}
