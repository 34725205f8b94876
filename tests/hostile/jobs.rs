//! What a job does about failures, and what its tasks tell meanwhile.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::job::Job;
use super::{Mill, bad, fails};

/// A file that a task waits for.
fn gate() -> (TempDir, PathBuf) {
    let home = TempDir::new().unwrap();
    let path = home.path().join("then");
    (home, path)
}

fn logs(mill: &Mill, job: &Job<'_>) -> Vec<Value> {
    let text = mill.server.get(&format!("{}/logs", job.path())).expect(200).text;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// In microseconds.
fn time(entry: &Value) -> i64 {
    entry["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

#[test]
fn a_failed_task_waits_before_its_next_attempt() {
    let mill = Mill::start();
    let options =
        json!({"function": "refuse", "inputs": [1, bad(), 2], "max_attempts": 2, "retry_backoff": "1s"});
    let job = mill.server.submit(&options);
    job.wait();
    let result = &job.by_input()[1];
    assert_eq!((&result["error"]["message"], &result["attempt"]), (&json!("no"), &json!(2)), "{result:#}");
    let entries = logs(&mill, &job);
    let attempts: Vec<_> =
        entries.iter().map(|entry| (&entry["index"], &entry["attempt"], &entry["text"])).collect();
    let expected = [(&json!(1), &json!(1), &json!("attempt 1")), (&json!(1), &json!(2), &json!("attempt 2"))];
    assert_eq!(attempts, expected);
    // Half of the wait is left to chance.
    let waited = time(&entries[1]) - time(&entries[0]);
    assert!(waited >= 500_000, "{waited} µs");
    mill.ends_clean();
}

#[test]
fn what_is_not_worth_a_retry_fails_at_once() {
    let result = fails("refuse", &json!({"bad": true, "retryable": false}), 1, "exception", "no");
    assert_eq!(result["error"]["type"], "ValueError");
}

#[test]
fn failed_tasks_run_again_on_demand() {
    let mill = Mill::start();
    let (_home, unless) = gate();
    let refused = json!({"bad": true, "unless": unless});
    let job = mill.server.map("refuse", &json!([1, refused, 2]));
    assert_eq!(job.wait()["state"], "failed");
    assert_eq!(job.by_input()[1]["attempt"], 3);
    std::fs::write(&unless, "").unwrap();
    mill.server.post_json(&format!("{}/retry", job.path()), "").expect(202);
    job.succeeds();
    assert_eq!(job.results_text("order=input&fields=output"), "1\n\"at last\"\n2\n");
    let attempts: Vec<Value> = job.by_input().iter().map(|result| result["attempt"].clone()).collect();
    assert_eq!(attempts, [1, 4, 1]);
    mill.server.post_json(&format!("{}/retry", job.path()), "").expect(200);
    mill.ends_clean();
}

#[test]
fn a_job_can_stop_at_its_first_failure() {
    let mill = Mill::start();
    let (_home, then) = gate();
    let waits = json!({"bad": true, "then": then});
    let inputs = json!([{"bad": true, "retryable": false}, waits, waits, waits]);
    let job = mill
        .server
        .submit(&json!({"function": "refuse", "inputs": inputs, "on_error": "stop", "processes": 1}));
    assert_eq!(job.wait()["state"], "failed");
    let verdicts: Vec<Value> =
        job.by_input().iter().map(|result| result["error"]["verdict"].clone()).collect();
    assert_eq!(verdicts, ["exception", "cancelled", "cancelled", "cancelled"]);
    mill.ends_clean();
}

#[test]
fn what_a_task_prints_is_kept_with_its_place() {
    let mill = Mill::start();
    let job = mill.server.map("noisy", &json!([1, bad(), 2]));
    job.succeeds();
    let (result, entries) = (&job.by_input()[1], logs(&mill, &job));
    let texts: Vec<_> = entries.iter().map(|entry| (&entry["stream"], &entry["text"])).collect();
    let (printed, said) =
        ((json!("stderr"), json!("stderr of 1, attempt 1")), (json!("warning"), json!("a log message")));
    assert!(texts.contains(&(&printed.0, &printed.1)) && texts.contains(&(&said.0, &said.1)), "{entries:#?}");
    for entry in &entries {
        let seen = (&entry["index"], &entry["attempt"], &entry["pid"]);
        assert_eq!(seen, (&json!(1), &json!(1), &result["pid"]), "{entries:#?}");
    }
    mill.ends_clean();
}

#[test]
fn a_task_tells_how_far_it_is() {
    let mill = Mill::start();
    let (_home, then) = gate();
    let job = mill.server.map("far", &json!([{"bad": true, "then": then}]));
    let progress = json!({"done": 3.0, "total": 10.0});
    job.wait_for("the task's progress", |status| status["running"][0]["progress"] == progress);
    std::fs::write(&then, "").unwrap();
    job.succeeds();
    mill.ends_clean();
}
