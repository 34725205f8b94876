//! SIGTERM: no new work, running tasks get the grace, then nothing is left running and nothing is lost.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::time::{Duration, Instant};

use common::{Server, check, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

fn sorted_pids(tasks: &[Value]) -> Vec<u64> {
    let mut pids: Vec<u64> = tasks.iter().map(|task| task["pid"].as_u64().unwrap()).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn a_drain_lets_running_tasks_end_and_keeps_them() {
    let server = Server::start();
    let job = server.map("sleep", &json!(vec![2; 4]));
    let running = job.wait_for_running(2);
    server.terminate();
    assert_eq!(server.ended().code(), Some(0), "{:#?}", server.log());
    server.leaves_nothing_running();
    server.restart();
    job.succeeds();
    job.has_each_result_once(4);
    let results = job.results();
    assert_eq!(sorted_pids(&results[..2]), sorted_pids(&running), "what ran was kept");
    assert!(sorted_pids(&results[2..]).iter().all(|pid| !sorted_pids(&running).contains(pid)), "no new work");
    assert!(results.iter().all(|result| result["attempt"] == 1));
}

#[test]
fn a_draining_server_says_so() {
    let server = Server::start();
    let job = server.map("sleep", &json!([6]));
    job.wait_for_running(1);
    server.terminate();
    let submit = || server.post_json("/v1/jobs", r#"{"function": "echo", "inputs": [1]}"#);
    eventually("the refusal of new jobs", || check(submit().status, |status| *status == 503));
    let refusal = submit();
    refusal.problem(503, "shutting-down");
    assert!(!refusal.header("retry-after").is_empty());
    assert_eq!(server.get("/readyz").status, 503);
    server.get("/healthz").expect(200);
    assert_eq!(job.status()["state"], "running", "what there is can still be read");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_task_longer_than_the_grace_goes_back_and_is_not_charged() {
    let server = Server::with(&["--processes=2", "--grace=300ms"]);
    let job = server.map("sleep", &json!([6]));
    job.wait_for_running(1);
    server.terminate();
    assert_eq!(server.ended().code(), Some(0), "{:#?}", server.log());
    server.leaves_nothing_running();
    server.restart();
    assert_eq!(job.status()["progress"]["done"], 0);
    job.succeeds();
    let result = job.results().remove(0);
    assert_eq!((&result["seq"], &result["attempt"]), (&json!(1), &json!(1)));
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let server = Server::with(&["--processes=2", "--grace=60s"]);
    let job = server.map("sleep", &json!([60, 60]));
    job.wait_for_running(2);
    server.terminate();
    server.wait_for_log("shutting down");
    let start = Instant::now();
    common::procs::signal(server.pid(), Signal::INT);
    assert_ne!(server.ended().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
    server.leaves_nothing_running();
    server.restart();
    assert_eq!(job.status()["progress"]["done"], 0);
}

#[test]
fn an_idle_server_ends_at_once() {
    let server = Server::start();
    server.map("echo", &json!([1])).succeeds();
    let start = Instant::now();
    server.terminate();
    assert_eq!(server.ended().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    server.leaves_nothing_running();
}

#[test]
fn a_reader_that_follows_is_let_go_at_a_shutdown() {
    let server = Server::with(&["--processes=2", "--grace=300ms"]);
    let job = server.map("sleep", &json!([0, 60]));
    let mut lines = server.client().lines(&format!("{}/results?follow=true", job.path()));
    lines.next().unwrap().unwrap();
    server.terminate();
    assert!(lines.next().unwrap().is_err(), "the stream is cut, so that nobody takes it for whole");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn requests_that_wait_are_answered_at_a_shutdown() {
    // Long enough that both requests come in before the server listens no more.
    let server = Server::with(&["--processes=2", "--grace=3s"]);
    let job = server.map("sleep", &json!([60]));
    job.wait_for_running(1);
    let (client, path) = (server.client(), format!("{}?wait=60s", job.path()));
    let (submitter, body) = (server.client(), r#"{"function": "sleep", "inputs": [60]}"#);
    let (status, accepted) = std::thread::scope(|scope| {
        let status = scope.spawn(move || client.get(&path));
        let headers = [("Content-Type", common::client::JSON), ("Prefer", "wait=60")];
        let accepted = scope.spawn(move || submitter.call("POST", "/v1/jobs", &headers, body));
        eventually("the second job", || {
            let jobs = server.get("/v1/jobs").json();
            check(jobs, |jobs| jobs["items"].as_array().unwrap().len() == 2)
        });
        server.terminate();
        (status.join().unwrap(), accepted.join().unwrap())
    });
    assert_eq!(status.expect(200).json()["state"], "running");
    let accepted = accepted.expect(202);
    assert_eq!(server.ended().code(), Some(0));
    server.restart();
    server.get(accepted.header("location")).expect(200);
}
