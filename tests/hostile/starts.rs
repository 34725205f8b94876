//! Workers that never get to work.

use super::Mill;
use serde_json::json;

/// The job says meanwhile why nothing starts, and its tasks fail with the same.
#[track_caller]
fn does_not_start(function: &str, times: u32, why: &str) {
    let mill = Mill::start();
    let job = mill.server.submit(&json!({"function": function, "inputs": [1, 2, 3], "processes": 1}));
    let status = job.wait_for("why nothing starts", |status| status["start_failure"].is_object());
    let failure = &status["start_failure"];
    assert_eq!((&failure["function"], &failure["message"]), (&json!(function), &json!(why)), "{status:#}");
    assert!(failure["times"].as_u64() >= Some(1), "{status:#}");
    assert_eq!(job.wait()["state"], "failed");
    for result in job.by_input() {
        let error = &result["error"];
        assert_eq!((&error["type"], &error["verdict"]), (&json!("StartFailure"), &json!("crash")));
        let message = format!("no worker of {function} started, {times} times in a row: {why}");
        assert_eq!(error["message"], message);
    }
    // The slots are free for others.
    mill.server.map("echo", &json!([1])).succeeds();
    mill.ends_clean();
}

#[test]
fn a_worker_that_is_never_ready_fails_its_job() {
    let why = "it did not say that it was ready in time; its last words: looking for the model";
    does_not_start("never_ready", 2, why);
}

#[test]
fn a_worker_of_another_version_fails_its_job() {
    let why = "it speaks version 2 of the frames protocol; this server speaks 1";
    does_not_start("wrong_version", 5, why);
}

#[test]
fn a_worker_that_exits_at_its_start_fails_its_job() {
    let why =
        "the worker exited with code 7 before it had answered; its last words: no module named frobnicate";
    does_not_start("exits_at_start", 5, why);
}

#[test]
fn a_job_whose_workers_do_not_start_is_logged_once() {
    let mill = Mill::start();
    let job = mill.server.map("exits_at_start", &json!([1, 2, 3, 4, 5]));
    assert_eq!(job.wait()["state"], "failed");
    let next = mill.server.map("echo", &json!([1]));
    // What there is to say of the one before is said by then.
    mill.server.wait_for_log(&format!(r#""job ended","job":"{}""#, next.id));
    let told = |line: &&String| line.contains("the job has failed: its workers do not start");
    let log = mill.server.log();
    assert_eq!(log.iter().filter(told).count(), 1, "{log:#?}");
    mill.ends_clean();
}
