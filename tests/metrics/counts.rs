//! What is counted, against what is known to have happened.

use rustix::process::Signal;
use serde_json::json;

use crate::common::procs::signal;
use crate::common::{Server, check, eventually};
use crate::scrape::Scrape;

/// Waits until a page is as wanted.
#[track_caller]
pub(crate) fn wait_for(server: &Server, what: &str, right: impl Fn(&Scrape) -> bool) -> Scrape {
    eventually(what, || check(Scrape::of(server), &right))
}

pub(crate) fn tasks(scrape: &Scrape, function: &str, verdict: &str) -> f64 {
    scrape.find("gristmill_tasks_total", &[("function", function), ("verdict", verdict)]).unwrap_or(0.0)
}

fn retries(scrape: &Scrape, verdict: &str) -> f64 {
    scrape.find("gristmill_task_retries_total", &[("function", "fail"), ("verdict", verdict)]).unwrap_or(0.0)
}

fn ends(scrape: &Scrape, function: &str, reason: &str) -> f64 {
    scrape.find("gristmill_worker_ends_total", &[("function", function), ("reason", reason)]).unwrap_or(0.0)
}

fn jobs(scrape: &Scrape, state: &str) -> f64 {
    scrape.value("gristmill_jobs", &[("state", state)])
}

#[test]
fn counts_are_what_has_happened() {
    let server = Server::start();
    let inputs: Vec<u32> = (0..5000).collect();
    server.map("echo", &json!(inputs)).succeeds();
    let twice = |mode: &str| json!({"function": "fail", "inputs": [{"mode": mode}], "max_attempts": 2});
    server.submit(&twice("exception")).wait();
    server.submit(&twice("segfault")).wait();
    let hanging = json!({"function": "fail", "inputs": [{"mode": "hang"}, {"mode": "stdout"}], "max_attempts": 1, "timeout": "2s"});
    server.submit(&hanging).wait();
    let cancelled = server.submit(&json!({"function": "sleep", "inputs": [60, 60, 60, 60]}));
    cancelled.wait_for_running(2);
    let scrape = wait_for(&server, "two sleepers", |scrape| {
        scrape.value("gristmill_tasks_running", &[("function", "sleep")]) == 2.0
    });
    assert_eq!(scrape.value("gristmill_tasks_queued", &[("function", "sleep")]), 2.0);
    assert_eq!(scrape.value("gristmill_workers", &[("function", "sleep"), ("state", "busy")]), 2.0);
    assert_eq!(jobs(&scrape, "running"), 1.0);
    cancelled.cancel();
    cancelled.wait();

    let scrape =
        wait_for(&server, "the end of the sleepers", |scrape| ends(scrape, "sleep", "stopped") == 2.0);
    assert_eq!((tasks(&scrape, "echo", "ok"), tasks(&scrape, "sleep", "cancelled")), (5000.0, 4.0));
    let failed = ["ok", "exception", "crash", "timeout"].map(|verdict| tasks(&scrape, "fail", verdict));
    assert_eq!(failed, [1.0, 1.0, 1.0, 1.0]);
    assert_eq!(scrape.sum("gristmill_tasks_total"), 5008.0);
    assert_eq!(["exception", "crash", "timeout"].map(|verdict| retries(&scrape, verdict)), [1.0, 1.0, 0.0]);
    assert_eq!((ends(&scrape, "fail", "crash"), ends(&scrape, "fail", "timeout")), (2.0, 1.0));
    assert_eq!(
        (jobs(&scrape, "succeeded"), jobs(&scrape, "failed"), jobs(&scrape, "cancelled")),
        (1.0, 3.0, 1.0)
    );
    assert_eq!(scrape.value("gristmill_task_duration_seconds_count", &[("function", "echo")]), 5000.0);
    assert_eq!(scrape.sum("gristmill_job_queue_duration_seconds_count"), 5.0);
    assert_eq!(scrape.sum("gristmill_tasks_queued") + scrape.sum("gristmill_tasks_running"), 0.0);
    let starts = scrape.sum("gristmill_worker_starts_total");
    assert_eq!(starts - scrape.sum("gristmill_worker_ends_total"), scrape.sum("gristmill_workers"));
}

#[test]
fn a_kill_restarts_the_counters_and_keeps_the_gauges() {
    let server = Server::start();
    server.map("echo", &json!([1, 2, 3])).succeeds();
    // It has its input only when it is paused, so that none is run before.
    let paused = server.submit(&json!({"function": "echo", "open": true}));
    server.post_json(&format!("{}/pause", paused.path()), "").expect(200);
    server.post_json(&format!("{}/inputs", paused.path()), r#"{"inputs": [1]}"#).expect(202);
    server.post_json(&format!("{}/close", paused.path()), "").expect(200);
    let job = server.map("sleep", &json!([0.3, 60, 60]));
    job.wait_for_done(1);
    server.kill9();
    server.restart();
    let scrape = wait_for(&server, "the sleepers", |scrape| scrape.sum("gristmill_tasks_running") == 2.0);
    assert_eq!(scrape.sum("gristmill_tasks_total"), 0.0);
    assert_eq!(
        (jobs(&scrape, "succeeded"), jobs(&scrape, "running"), jobs(&scrape, "paused")),
        (1.0, 1.0, 1.0)
    );
    assert_eq!(scrape.sum("gristmill_tasks_queued"), 1.0);
    server.post_json(&format!("{}/cancel", job.path()), "");
    server.post_json(&format!("{}/resume", paused.path()), "").expect(200);
    paused.succeeds();
    let scrape = wait_for(&server, "the echo", |scrape| tasks(scrape, "echo", "ok") == 1.0);
    let queued =
        |function| scrape.find("gristmill_job_queue_duration_seconds_count", &[("function", function)]);
    assert_eq!(queued("sleep"), None, "it began before the restart");
    assert_eq!(server.delete(&paused.path()).status, 204);
    wait_for(&server, "one less", |scrape| jobs(scrape, "succeeded") == 1.0);
}

#[test]
fn workers_are_measured_and_their_ends_counted() {
    let server = Server::with(&["--processes=1"]);
    server.map("count", &json!([400_000_000])).succeeds();
    let before = Scrape::of(&server);
    let cpu = |scrape: &Scrape| scrape.value("gristmill_worker_cpu_seconds_total", &[("function", "count")]);
    let memory =
        |scrape: &Scrape| scrape.value("gristmill_worker_resident_memory_bytes", &[("function", "count")]);
    assert!(cpu(&before) >= 0.05 && memory(&before) > 1e5, "{} {}", cpu(&before), memory(&before));
    assert!(before.value("process_cpu_seconds_total", &[]) > 0.0);
    assert!(before.value("process_resident_memory_bytes", &[]) > 1e6);
    let pid = server.pool()["workers"][0]["pid"].as_u64().unwrap() as u32;
    signal(pid, Signal::KILL);
    let after = wait_for(&server, "its end", |scrape| ends(scrape, "count", "crash") == 1.0);
    assert!(cpu(&after) >= cpu(&before), "{} became {}", cpu(&before), cpu(&after));
    assert_eq!(memory(&after), 0.0);
}

#[test]
fn requests_are_counted_by_template_and_streams_while_they_last() {
    let server = Server::start();
    let job = server.map("sleep", &json!([60]));
    server.get(&job.path()).expect(200);
    server.get("/v1/jobs/none").expect(404);
    server.get("/surely/not/here").expect(404);
    server.client().call("TRACE", "/v1/pool", &[], "");
    let lines = server.client().lines(&format!("{}/results?follow=true", job.path()));
    let of = |route: &'static str, method: &'static str, status: &'static str| {
        [("route", route), ("method", method), ("status", status)]
    };
    let scrape = wait_for(&server, "the stream", |scrape| scrape.sum("gristmill_http_streams_open") == 1.0);
    let requests = |labels: &[(&str, &str)]| scrape.value("gristmill_http_requests_total", labels);
    assert_eq!(requests(&of("/v1/jobs", "POST", "202")), 1.0);
    assert_eq!(requests(&of("/v1/jobs/{id}", "GET", "200")), 1.0);
    assert_eq!(requests(&of("/v1/jobs/{id}", "GET", "404")), 1.0);
    assert_eq!(requests(&of("other", "GET", "404")), 1.0);
    assert_eq!(requests(&of("/v1/pool", "other", "405")), 1.0);
    let labels = [("route", "/v1/jobs"), ("method", "POST")];
    assert_eq!(scrape.value("gristmill_http_request_duration_seconds_count", &labels), 1.0);
    drop(lines);
    job.cancel();
    let scrape = wait_for(&server, "its end", |scrape| scrape.sum("gristmill_http_streams_open") == 0.0);
    assert!(scrape.value("gristmill_commit_duration_seconds_count", &[]) >= 2.0);
    assert!(scrape.value("gristmill_store_log_bytes", &[]) > 0.0);
}

#[test]
fn what_did_not_run_is_counted_with_what_did() {
    let home = tempfile::TempDir::new().unwrap();
    let config = home.path().join("gristmill.toml");
    let text = "[functions.broken]\ncommand = [\"/bin/false\"]\nmode = \"frames\"\nmax_failed_starts = 2\n";
    std::fs::write(&config, text).unwrap();
    let flags = ["--processes=1", "--config", config.to_str().unwrap()];
    let server = Server::launch(home, &flags, &[]).unwrap();
    server.map("broken", &json!([1, 2, 3])).wait();
    let scrape = wait_for(&server, "its tasks", |scrape| tasks(scrape, "broken", "crash") == 3.0);
    assert!(ends(&scrape, "broken", "failed_start") >= 2.0);
    assert!(scrape.value("gristmill_worker_failed_starts", &[("function", "broken")]) >= 2.0);
    let long = scrape.find("gristmill_task_duration_seconds_sum", &[("function", "broken")]);
    assert_eq!(long, None, "tasks that did not run have no time");
}
