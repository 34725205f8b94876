//! The pool and its workers: real processes, as many at once as was asked for.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use common::client::JSON;
use common::job::Job;
use common::procs::{Proc, alive};
use common::{Server, check, eventually};
use serde_json::{Value, json};

/// Longer than any test, and any test ends it.
const ENDLESS: u64 = 1_000_000_000_000;

fn pids(tasks: &[Value]) -> Vec<u32> {
    let mut pids: Vec<u32> = tasks.iter().map(|task| task["pid"].as_u64().unwrap() as u32).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn the_process_ids_are_those_of_the_processes_at_work() {
    let server = Server::start();
    let job = server.map("count", &json!([ENDLESS, ENDLESS, ENDLESS]));
    let pids = pids(&job.wait_for_running(2));
    assert_ne!(pids[0], pids[1]);
    for &pid in &pids {
        let worker = Proc::find(pid).unwrap();
        let guard = Proc::find(worker.parent).unwrap();
        assert_eq!((guard.parent, worker.name.as_str()), (server.pid(), "gristmill"), "{guard:?} {worker:?}");
        // A fifth of a second of CPU time.
        eventually("a worker to use the CPU", || {
            check(Proc::find(pid), |now| now.as_ref().unwrap().cpu_ticks >= 20)
        });
    }
    let shown = server.pool();
    let busy: Vec<Value> = shown["workers"].as_array().unwrap().clone();
    assert_eq!(pids, self::pids(&busy), "{shown:#}");
    assert!(
        busy.iter().all(|worker| worker["job"] == job.id.as_str() && worker["function"] == "count"),
        "{shown:#}"
    );
}

#[test]
fn workers_stay_warm_from_job_to_job() {
    let server = Server::with(&["--processes=1"]);
    let worker_of = |n: u64| {
        let job = server.map("echo", &json!([n]));
        job.succeeds();
        job.results()[0]["pid"].clone()
    };
    let first = worker_of(1);
    assert_eq!([worker_of(2), worker_of(3)], [first.clone(), first]);
}

#[test]
fn a_slow_task_does_not_hold_back_those_behind_it() {
    let server = Server::start();
    // The first is measured as quick, so those behind it may share a chunk with the slow one.
    let job = server.map("sleep", &json!([0, 60, 0, 0, 0, 0]));
    job.wait_for_done(5);
    assert_eq!(job.wait_for_running(1)[0]["index"], 1);
}

#[test]
fn a_slot_goes_from_one_function_to_another() {
    let server = Server::with(&["--processes=1"]);
    for function in ["echo", "sleep", "echo", "count"] {
        server.map(function, &json!([0])).succeeds();
        assert_eq!(server.pool()["workers"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_job_never_runs_in_more_processes_than_it_asked_for() {
    let server = Server::with(&["--processes=4"]);
    let job = server.submit(&json!({"function": "sleep", "inputs": vec![0.1; 30], "processes": 2}));
    let mut most = 0;
    let status = eventually("the end of the job", || {
        let status = job.status();
        most = most.max(status["running"].as_array().unwrap().len());
        check(status, |status| status["state"] == "succeeded")
    });
    assert_eq!(most, 2);
    assert_eq!(status["options"]["processes"], json!({"requested": 2, "granted": 2}));
    let wall = status["timings"]["wall_ms"].as_f64().unwrap();
    assert!(wall >= 1500.0, "30 tasks of 100 ms, two at a time, took {wall} ms");
    let more = server.submit(&json!({"function": "echo", "inputs": [1], "processes": 9}));
    assert_eq!(more.status()["options"]["processes"], json!({"requested": 9, "granted": 4}));
}

#[test]
fn a_smaller_pool_lets_surplus_workers_go() {
    let server = Server::with(&["--processes=3"]);
    let job = server.map("sleep", &json!(vec![0.1; 9]));
    let before = pids(&job.wait_for_running(3));
    server.resize(1);
    server.wait_for_pool("one worker", |pool| pool["workers"].as_array().unwrap().len() == 1);
    job.succeeds();
    let left = || before.iter().filter(|pid| alive(**pid)).count();
    eventually("the end of the surplus workers", || check(left(), |left| *left <= 1));
    assert!(job.results().iter().all(|result| result["attempt"] == 1));
}

#[test]
fn a_server_with_nothing_to_do_does_nothing() {
    let server = Server::start();
    server.map("echo", &json!([1, 2, 3])).succeeds();
    let ticks = || server.processes().iter().map(|process| process.cpu_ticks).sum::<u64>();
    // Writes and clean-up behind the last answer may go on for a moment.
    eventually("a second without work", || {
        let before = ticks();
        // Idleness is no state that could be waited for.
        std::thread::sleep(std::time::Duration::from_secs(1));
        check(ticks() - before, |used| *used <= 1)
    });
}

#[test]
fn every_result_names_the_process_it_came_from() {
    let server = Server::with(&["--processes=1"]);
    for round in 0..30 {
        let job = server.map(["echo", "sha256"][round % 2], &json!(["a", "b"]));
        job.succeeds();
        assert!(job.results().iter().all(|result| result["pid"].as_u64() > Some(1)), "{:#?}", job.results());
    }
}

#[test]
fn a_program_hears_all_signals() {
    let home = tempfile::TempDir::new().unwrap();
    let config = home.path().join("gristmill.toml");
    let mask = "command = ['grep', 'SigBlk', '/proc/self/status']\nmode = 'exec'\noutput = 'text'";
    let stubborn =
        "command = ['sleep', '1000']\nmode = 'exec'\ntimeout = '100ms'\ngrace = '10m'\nmax_attempts = 1";
    std::fs::write(&config, format!("[functions.mask]\n{mask}\n[functions.stubborn]\n{stubborn}\n")).unwrap();
    let flags = ["--processes=2", "--config", config.to_str().unwrap()];
    let server = Server::launch(home, &flags, &[]).unwrap();
    let job = server.map("mask", &json!([1]));
    job.succeeds();
    assert_eq!(job.results()[0]["output"], "SigBlk:\t0000000000000000");
    let job = server.map("stubborn", &json!([1]));
    job.wait();
    assert_eq!(
        job.results()[0]["error"]["verdict"],
        "timeout",
        "SIGTERM ends it long before the grace is over"
    );
}

/// A server with filters that read tasks: one tells what it read, and one does so only at the second attempt.
fn server_of_filters() -> Server {
    let home = tempfile::TempDir::new().unwrap();
    let config = home.path().join("gristmill.toml");
    let filter = "mode = 'lines'\ninput = 'task'";
    let late = r#"['sed', '-u', '/"attempt":1/s/.*/not yet/']"#;
    let declared = format!(
        "[functions.told]\ncommand = ['cat']\n{filter}\n[functions.late]\ncommand = {late}\n{filter}\n"
    );
    std::fs::write(&config, declared).unwrap();
    let flags = ["--processes=1", "--config", config.to_str().unwrap()];
    Server::launch(home, &flags, &[]).unwrap()
}

#[test]
fn a_filter_that_reads_tasks_reads_them_around_the_inputs_as_they_came() {
    let server = server_of_filters();
    let inputs = [r#"{"n": 1e400, "big":9007199254740993}"#, r#""\u00e9\n""#, "null"];
    let body = format!(r#"{{"function": "told", "chunk_size": 3, "inputs": [{}]}}"#, inputs.join(","));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("Content-Type", JSON), ("traceparent", parent)];
    let trace = format!(r#","traceparent":"{parent}""#);
    for (headers, trace) in [(&headers[..1], ""), (&headers[..], &trace)] {
        let job = Job::of(&server, &server.client().call("POST", "/v1/jobs", headers, &body).expect(202));
        job.succeeds();
        let tasks = inputs.iter().enumerate().map(|(index, input)| {
            format!(r#"{{"input":{input},"job":"{}","index":{index},"attempt":1{trace}}}"#, job.id) + "\n"
        });
        assert_eq!(job.results_text("order=input&fields=output"), tasks.collect::<String>());
    }
}

#[test]
fn a_filter_that_reads_tasks_knows_the_attempt() {
    let server = server_of_filters();
    let job = server.map("late", &json!([5, 6]));
    job.succeeds();
    for (result, index) in job.by_input().iter().zip(0..) {
        let task = json!({"input": 5 + index, "job": job.id, "index": index, "attempt": 2});
        assert_eq!((&result["output"], &result["attempt"]), (&task, &json!(2)));
    }
}
