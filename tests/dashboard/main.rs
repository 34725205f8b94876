//! The dashboard, driven in a browser: each test fails, too, on any error in the console, on a breach of the page's policy,
//! and on a request that leaves the server.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
#[path = "../common/mod.rs"]
mod common;
mod images;
mod jobs;
mod keyboard;
mod pool;
mod reading;
mod safety;
mod smooth;

use common::job::Job;

fn job_page(job: &Job<'_>) -> String {
    format!("/#/jobs/{}", job.id)
}
