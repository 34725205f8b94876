//! The scenarios of the README: submit, poll, results, cancel, resize, end a worker by its process id.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::time::{Duration, Instant};

use common::client::JSON;
use common::job::{Job, indices, seqs};
use common::procs::alive;
use common::{Server, check, eventually};
use serde_json::{Value, json};

/// FIPS 180-2's vector for "abc", and what `printf a | sha256sum` gives.
const SHA256_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const SHA256_A: &str = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

/// The answer to a submit as the README shows it.
fn documented_job() -> Value {
    json!({
        "id": "…", "function": "sha256", "name": "nightly", "labels": {"team": "x"}, "state": "queued", "open": false,
        "options": {"processes": {"requested": 4, "granted": 2}, "priority": 0, "timeout_ms": null,
                    "max_attempts": 3, "on_error": "continue", "retry_backoff_ms": 0.0, "chunk_size": null, "lock": null},
        "progress": {"total": 2, "queued": 2, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "done": 0,
                     "ratio": 0.0, "rate_per_s": null, "eta_ms": null},
        "timings": {"created_at": "…", "started_at": null, "finished_at": null, "queued_ms": 0.4, "wall_ms": null,
                    "cpu_ms": 0.0, "task_ms": {"sum": 0.0, "min": null, "mean": null, "p50": null, "p95": null,
                    "p99": null, "max": null, "histogram": [[0.0, 0.1, 1]]}, "speedup": null, "efficiency": null},
        "workers": [{"name": "worker-1", "node": "…", "pid": 4242, "state": "busy", "tasks": 0, "busy_ms": 0.0,
                     "cpu_ms": 0.0, "max_rss_bytes": 0}],
        "running": [{"index": 0, "attempt": 1, "worker": "worker-1", "pid": 4242, "running_ms": 0.1}],
        "links": {"self": "/v1/jobs/…", "results": "/v1/jobs/…/results", "events": "/v1/jobs/…/events", "logs": "/v1/jobs/…/logs", "timeline": "/v1/jobs/…/timeline"},
    })
}

/// Both have the same members, all the way down; lists are compared by their first items, if both have one.
fn assert_same_shape(shown: &Value, documented: &Value, path: &str) {
    match (shown, documented) {
        (Value::Object(shown), Value::Object(documented)) => {
            let keys = |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(shown), keys(documented), "members of {path}");
            shown.iter().for_each(|(key, value)| {
                assert_same_shape(value, &documented[key], &format!("{path}.{key}"))
            });
        }
        (Value::Array(shown), Value::Array(documented)) => {
            let pairs = shown.iter().zip(documented).take(1);
            pairs.for_each(|(shown, documented)| assert_same_shape(shown, documented, &format!("{path}[0]")));
        }
        (shown, documented) => {
            let alike = shown.is_null()
                || documented.is_null()
                || std::mem::discriminant(shown) == std::mem::discriminant(documented);
            assert!(alike, "{path} is {shown}, documented as {documented}");
        }
    }
}

#[test]
fn a_batch_is_submitted_polled_and_read() {
    let server = Server::start();
    let body = r#"{"function": "sha256", "inputs": ["abc", "a"], "processes": 4, "name": "nightly",
                   "labels": {"team": "x"}}"#;
    let answer = server.post_json("/v1/jobs", body).expect(202);
    let (job, accepted) = (Job::of(&server, &answer), answer.json());
    assert_eq!(answer.header("location"), job.path());
    assert_same_shape(&accepted, &documented_job(), "job");
    assert_eq!(accepted["state"], "queued");
    assert_eq!(accepted["options"]["processes"], json!({"requested": 4, "granted": 2}));
    assert_eq!((&accepted["progress"]["total"], &accepted["progress"]["done"]), (&json!(2), &json!(0)));
    assert_eq!(accepted["links"]["self"], job.path());
    assert_eq!(accepted["links"]["results"], format!("{}/results", job.path()));

    let status = job.succeeds();
    assert_same_shape(&status, &documented_job(), "job");
    assert_eq!((&status["progress"]["succeeded"], &status["progress"]["ratio"]), (&json!(2), &json!(1.0)));
    assert!(!status["workers"].as_array().unwrap().is_empty(), "{status:#}");

    assert_eq!(job.results_text("order=input&fields=output"), format!("\"{SHA256_ABC}\"\n\"{SHA256_A}\"\n"));
    let first = &job.by_input()[0];
    let keys: Vec<_> = first.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["attempt", "cpu_ms", "duration_ms", "index", "output", "pid", "seq", "status", "worker"]
    );
    assert_eq!(
        (&first["index"], &first["status"], &first["attempt"]),
        (&json!(0), &json!("succeeded"), &json!(1))
    );
}

#[test]
fn a_running_job_shows_its_tasks_and_workers() {
    let server = Server::start();
    let job = server.submit(&json!({"function": "sleep", "inputs": [60, 60, 60], "labels": {"team": "x"}}));
    job.wait_for_running(2);
    let status = job.status();
    assert_same_shape(&status, &documented_job(), "job");
    assert_eq!((&status["state"], &status["progress"]["queued"]), (&json!("running"), &json!(1)));
    let busy = |worker: &&Value| worker["state"] == "busy";
    assert_eq!(status["workers"].as_array().unwrap().iter().filter(busy).count(), 2, "{status:#}");
}

#[test]
fn an_ndjson_stream_is_a_job_with_its_options_in_the_query() {
    let server = Server::start();
    let path =
        "/v1/jobs?function=sha256&name=nightly&label=team=x&label=run=7&processes=1&priority=3&timeout=30s";
    // The last line has no end; the blank one is no input.
    let answer = server.post_ndjson(path, "\"abc\"\n\n\"a\"").expect(202);
    let accepted = answer.json();
    assert_eq!(
        (&accepted["name"], &accepted["labels"]),
        (&json!("nightly"), &json!({"team": "x", "run": "7"}))
    );
    let options = &accepted["options"];
    assert_eq!(options["processes"], json!({"requested": 1, "granted": 1}));
    assert_eq!((&options["priority"], &options["timeout_ms"]), (&json!(3), &json!(30_000.0)));
    let job = Job::of(&server, &answer);
    job.succeeds();
    assert_eq!(job.results_text("order=input&fields=output"), format!("\"{SHA256_ABC}\"\n\"{SHA256_A}\"\n"));
}

#[test]
fn a_client_that_prefers_to_wait_gets_the_results_at_once() {
    let server = Server::start();
    let submit = |seconds: &str, inputs: Value| {
        let headers = [("Content-Type", JSON), ("Prefer", seconds)];
        let body = json!({"function": "sleep", "inputs": inputs}).to_string();
        server.client().call("POST", "/v1/jobs", &headers, &body)
    };
    let answer = submit("wait=30", json!([0.02, 0])).expect(200);
    assert_eq!(answer.header("location"), Job::of(&server, &answer).path());
    let body = answer.json();
    assert_eq!(body["state"], "succeeded");
    let outputs: Vec<_> =
        body["results"]["items"].as_array().unwrap().iter().map(|item| &item["output"]).collect();
    assert_eq!(outputs, [&json!(0.02), &json!(0)], "in the order of the inputs");
    assert_eq!(body["results"]["next"], Value::Null);

    let late = submit("wait=0", json!([60])).expect(202).json();
    assert!(late["state"] == "queued" || late["state"] == "running", "{late:#}");
}

#[test]
fn a_status_call_can_wait_for_the_end() {
    let server = Server::start();
    let job = server.map("sleep", &json!([60]));
    let start = Instant::now();
    let status = server.get(&format!("{}?wait=200ms", job.path())).expect(200).json();
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_ne!(status["state"], "succeeded");
    let quick = server.map("sleep", &json!([0.05]));
    let status = server.get(&format!("{}?wait=30s", quick.path())).expect(200).json();
    assert_eq!(status["state"], "succeeded");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_batch_of_nothing_has_succeeded() {
    let server = Server::start();
    let job = server.map("echo", &json!([]));
    let status = job.succeeds();
    assert_eq!((&status["progress"]["total"], &status["progress"]["ratio"]), (&json!(0), &json!(1.0)));
    assert_eq!(job.results_text(""), "");
    assert_eq!(job.page(""), json!({"items": [], "next": null}));
    let job = Job::of(&server, &server.post_ndjson("/v1/jobs?function=echo", "").expect(202));
    job.succeeds();
}

#[test]
fn a_cancelled_job_ends_at_once_and_keeps_what_it_has() {
    let server = Server::start();
    let mut inputs = vec![json!(0); 2];
    inputs.resize(50, json!(60));
    let job = server.map("sleep", &json!(inputs));
    job.wait_for_done(2);
    let running = job.wait_for_running(2);
    let start = Instant::now();
    assert!(matches!(job.cancel().status, 200 | 202));
    assert_eq!(job.wait()["state"], "cancelled");
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    for task in running {
        let pid = task["pid"].as_u64().unwrap() as u32;
        eventually("the end of a cancelled worker", || check(pid, |pid| !alive(*pid)));
    }
    job.has_each_result_once(50);
    let results = job.by_input();
    let (kept, cancelled) = results.split_at(2);
    assert!(kept.iter().all(|result| result["status"] == "succeeded"), "{kept:#?}");
    let is_cancelled =
        |result: &Value| result["status"] == "cancelled" && result["error"]["verdict"] == "cancelled";
    assert!(cancelled.iter().all(is_cancelled), "{cancelled:#?}");
    assert_eq!(job.status()["progress"]["cancelled"], 48);
    // A second cancel changes nothing.
    assert_eq!(job.cancel().expect(200).json()["state"], "cancelled");
}

#[test]
fn the_pool_is_resized_while_it_works() {
    let server = Server::start();
    let job = server.map("sleep", &json!(vec![0.3; 24]));
    let busy = |count: u64| server.wait_for_pool("so many busy workers", |pool| pool["busy"] == count);
    busy(2);
    assert_eq!(server.resize(4)["slots"], 4);
    busy(4);
    assert_eq!(server.resize(1)["slots"], 1);
    busy(1);
    assert_eq!(job.status()["options"]["processes"]["granted"], 1);
    server.resize(12);
    job.succeeds();
    assert!(job.results().iter().all(|result| result["attempt"] == 1), "running tasks were let to their end");
}

#[test]
fn a_worker_is_ended_by_name_or_process_id_and_replaced() {
    let server = Server::start();
    for key in ["worker", "pid"] {
        let job = server.map("sleep", &json!([3]));
        let victim = job.wait_for_running(1).remove(0);
        let who = victim[key].to_string().replace('"', "");
        server.delete(&format!("/v1/workers/{who}")).expect(202);
        job.succeeds();
        let results = job.results();
        assert_eq!(seqs(&results), [1]);
        assert_eq!(results[0]["attempt"], 1, "the operator's wish costs no attempt");
        assert_ne!(results[0]["pid"], victim["pid"]);
        // Its name may be another's by now.
        server.delete(&format!("/v1/workers/{}", victim["pid"])).problem(404, "unknown-worker");
    }
}

#[test]
fn what_may_be_called_is_listed_and_the_probes_answer() {
    let server = Server::start();
    let functions = server.get("/v1/functions").expect(200).json();
    let names: Vec<_> =
        functions["items"].as_array().unwrap().iter().map(|function| &function["name"]).collect();
    for name in ["count", "primes", "sha256", "mine", "rainbow", "rainbow_lookup", "sleep", "echo", "fail"] {
        assert!(names.contains(&&json!(name)), "{name} in {names:?}");
    }
    for function in functions["items"].as_array().unwrap() {
        for member in ["description", "input", "output"] {
            assert!(function[member].is_string(), "{function:#}");
        }
    }
    server.get("/healthz").expect(200);
    server.get("/readyz").expect(200);
}

#[test]
fn what_waits_behind_a_long_task_is_run_by_others() {
    let server = Server::start();
    let mut seconds = vec![0.002; 300];
    seconds[50] = 60.0;
    let job = server.map("sleep", &json!(seconds));
    let status = job.wait_for_done(299);
    let running: Vec<u64> = indices(status["running"].as_array().unwrap());
    assert_eq!(running, [50], "{status:#}");
    job.cancel();
    job.wait();
}
