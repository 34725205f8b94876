//! The log: an event is a line that names its job, function, worker and PID, and a flood of tiny jobs is none of lines.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::collections::BTreeMap;

use common::{Server, eventually};
use serde_json::{Value, json};

/// The events with this message.
fn events(server: &Server, message: &str) -> Vec<Value> {
    let all = server.log().into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
    all.filter(|event| event["message"] == message).collect()
}

#[track_caller]
fn wait_for(server: &Server, message: &str, right: impl Fn(&Value) -> bool) -> Value {
    eventually(message, || {
        let seen = events(server, message);
        seen.iter().find(|event| right(event)).cloned().ok_or(seen)
    })
}

#[test]
fn events_name_what_they_are_about() {
    let server = Server::with(&["--processes=1"]);
    let job = server.submit(
        &json!({"function": "fail", "inputs": [{"mode": "stdout"}, {"mode": "exit"}], "max_attempts": 1}),
    );
    job.wait();
    let of_job = |event: &Value| event["job"] == job.id.as_str() && event["function"] == "fail";
    assert_eq!(wait_for(&server, "job accepted", of_job)["tasks"], 2);
    let ended = wait_for(&server, "job ended", of_job);
    let counts = ["tasks", "succeeded", "failed", "cancelled"].map(|count| ended[count].as_u64().unwrap());
    assert_eq!((counts, ended["state"].as_str()), ([2, 1, 1, 0], Some("failed")));
    // Its first task is leased as soon as it is accepted.
    assert!(ended["wall_ms"].as_f64() > Some(0.0) && ended["queued_ms"].as_f64() < Some(1_000.0), "{ended}");
    for time in ["queued_ms", "wall_ms", "cpu_ms"] {
        let written = ended[time].to_string();
        let digits = written.split_once('.').map_or(0, |(_, digits)| digits.len());
        assert!(digits <= 3, "{time} in whole microseconds: {written}");
    }
    let crash = wait_for(&server, "worker ended", |event| event["reason"] == "crash");
    assert_eq!((&crash["worker"], &crash["function"]), (&json!("worker-1"), &json!("fail")));
    wait_for(&server, "worker started", |event| {
        event["pid"] == crash["pid"] && event["worker"] == "worker-1"
    });
    let cancelled = server.map("sleep", &json!([60]));
    cancelled.wait_for_running(1);
    let queued = server.map("sleep", &json!([60]));
    for job in [&queued, &cancelled] {
        job.cancel();
        job.wait();
        wait_for(&server, "job ended", |event| {
            event["job"] == job.id.as_str() && event["state"] == "cancelled"
        });
    }
    wait_for(&server, "worker ended", |event| event["reason"] == "stopped");
    // What would be told a second time is in the log before the end of a later job.
    let last = server.map("echo", &json!([1]));
    last.succeeds();
    wait_for(&server, "job ended", |event| event["job"] == last.id.as_str());
    assert_eq!(events(&server, "job ended").len(), 4, "each end is told once");
}

#[test]
fn a_flood_of_jobs_is_told_in_part() {
    let server = Server::with(&["--processes=1"]);
    let jobs: Vec<_> = (0..300).map(|n| server.map("echo", &json!([n]))).collect();
    jobs.iter().for_each(|job| drop(job.succeeds()));
    let told = || [events(&server, "job accepted"), events(&server, "job ended")].concat();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let last = server.map("echo", &json!([0]));
    let of_last = |event: &Value| event["job"] == last.id.as_str();
    wait_for(&server, "job accepted", of_last);
    let mut in_a_second = BTreeMap::<String, usize>::new();
    for event in told() {
        *in_a_second.entry(event["timestamp"].as_str().unwrap()[..19].to_owned()).or_default() += 1;
    }
    // The seconds of the budget are not those of the clock.
    assert!(in_a_second.values().all(|lines| *lines <= 100), "{in_a_second:?}");
    let left_out: u64 = told().iter().filter_map(|event| event["left_out"].as_u64()).sum();
    let written = told().iter().filter(|event| !of_last(event)).count() as u64;
    assert_eq!(written + left_out, 600, "all are told or counted");
}
